//! Emulated writes of a guest to its own level-1 tables, which it maps read-only: the commit.

use super::lock::TableLock;
use super::update::set_entry;
use super::{Fail, Pt, walk};
use crate::emulate::decode::Segment;
use crate::emulate::ptwr::{Commit, PteWrite, TableOps};
use crate::frame::record::{B, FrameType};
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::xen::Cx;
use x86::pte::Pte;

/// The running vCPU's tables, as written through its own mappings.
pub struct Tables<'a, 'b, M: Machine> {
    pub cx: &'a Cx<'b, M>,
}

impl<M: Machine> Tables<'_, '_, M> {
    /// The frame that `va` maps, if it is one of the domain's level-1 tables.
    fn table(&self, va: u64) -> Option<Mfn> {
        let cx = self.cx;
        let root = cx.vcpu.mm.cr3_to_load(cx.vp.kernel_mode);
        let pte = walk::translate(cx.xen, cx.dom, root, va)?;
        let mfn = Mfn(pte.mfn());
        let (a, b) = cx.xen.frames.peek(mfn)?;
        (a.owner() == cx.dom.id && b.kind() == FrameType::L1 && b.has(B::VALIDATED)).then_some(mfn)
    }
}

impl<M: Machine> TableOps for Tables<'_, '_, M> {
    fn read(&mut self, va: u64) -> Option<u64> {
        let f = self.cx.xen.frames.get_held(self.table(va)?, self.cx.dom.id)?;
        Some(self.cx.xen.m.load(&f, (va & 0xff8) as usize))
    }

    fn commit(&mut self, va: u64, write: PteWrite) -> Commit {
        let pt = Pt::own(self.cx.xen, self.cx.dom);
        let index = (va & 0xfff) as usize / 8;
        let Some(f) = self.table(va).and_then(|mfn| pt.xen.frames.get_held(mfn, pt.dom.id)) else {
            return Commit::Refused;
        };
        let lock = match TableLock::new(&pt, f) {
            Ok(Ok(lock)) if lock.level() == 1 => lock,
            Ok(_) => return Commit::Refused,
            Err(Fail::Again) => return Commit::Retry,
            Err(Fail::Errno(_)) => return Commit::Refused,
        };
        let new = match write {
            PteWrite::Write(new) => new,
            PteWrite::CmpXchg { old, new } => {
                let now = lock.load(index).0;
                if now != old {
                    return Commit::Changed(now);
                }
                new
            }
        };
        match set_entry(&pt, &lock, index, Pte(new), false) {
            Ok(()) => Commit::Done,
            Err(Fail::Again) => Commit::Retry,
            Err(Fail::Errno(_)) => Commit::Refused,
        }
    }

    fn device_store(&mut self, va: u64, size: u8, value: u64) -> Option<()> {
        let cx = self.cx;
        let root = cx.vcpu.mm.cr3_to_load(cx.vp.kernel_mode);
        let pte = walk::translate(cx.xen, cx.dom, root, va)?;
        let device = cx.xen.frames.is_reserved(Mfn(pte.mfn()));
        // The entry must still be what the fault was about: a device page without the right to write.
        if !device || pte.has(Pte::RW) {
            return None;
        }
        crate::io::read_only::store(cx.xen, pte.mfn() << 12 | va & 0xfff, size, value)
    }

    fn segment_base(&mut self, segment: Segment) -> Option<u64> {
        match segment {
            Segment::Fs => Some(self.cx.vp.fs_base),
            Segment::Gs if self.cx.vp.kernel_mode => Some(self.cx.vp.gs_base_kernel),
            Segment::Gs => Some(self.cx.vp.gs_base_user),
            _ => Some(0),
        }
    }
}
