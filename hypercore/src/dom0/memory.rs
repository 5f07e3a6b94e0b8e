//! How much memory dom0 gets, and which frames.

use abi::Errno;
use alloc::vec::Vec;
use x86::pte::PAGE_SIZE;

use crate::boot::cmdline::{Amount, Dom0Mem};
use crate::domain::Domain;
use crate::frame::WritableRef;
use crate::frame::alloc::MAX_ORDER;
use crate::ids::{DomId, Mfn, Pfn};
use crate::machine::Machine;
use crate::memory::{UNSCRUBBED, assign_pages};
use crate::mm::Fail;
use crate::mm::types::get_writable;
use crate::xen::Xen;

/// Left to the hypervisor and to guests where the command line does not say how much dom0 gets:
/// a sixteenth of the memory, at most this.
const RESERVE_MAX: u64 = 128 << 20 >> 12;

/// Dom0's frames at the start, and the most it may ever have, of `free` frames there are now.
pub fn size(wanted: &Dom0Mem, free: u64) -> (u64, u64) {
    let pages = |amount: Option<Amount>, default| match amount {
        Some(Amount::Bytes(bytes)) => bytes >> 12,
        Some(Amount::AllBut(bytes)) => free.saturating_sub(bytes >> 12),
        Some(Amount::Share { bytes, percent }) => (bytes >> 12) + free * percent / 100,
        None => default,
    };
    let most = pages(wanted.max, u64::MAX);
    let least = pages(wanted.min, 0);
    let size = pages(wanted.size, free - (free / 16).min(RESERVE_MAX));
    let size = size.max(least).min(most).min(free);
    (size, most.max(size))
}

/// Consecutive frames that are consecutive in the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub pfn: Pfn,
    pub mfn: Mfn,
    pub pages: u64,
}

/// Dom0's frames, numbered from pfn 0.
#[derive(Debug, Default)]
pub struct Memory {
    extents: Vec<Extent>,
    pages: u64,
}

impl Memory {
    /// Gives `dom` `pages` frames in as large pieces as there are and tells the machine-to-physical
    /// table. Contents are left as they are: no domain has had them before, and what must be zero is
    /// zeroed by the builder.
    pub fn take<M: Machine>(xen: &'static Xen<M>, dom: &Domain, pages: u64) -> Result<Memory, Errno> {
        let mut memory = Memory::default();
        let mut order = MAX_ORDER;
        while memory.pages < pages {
            order = order.min((pages - memory.pages).ilog2());
            match assign_pages(xen, dom, order, u64::MAX, UNSCRUBBED) {
                Ok(mfn) => {
                    memory.extents.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                    memory.extents.push(Extent { pfn: Pfn(0), mfn, pages: 1 << order });
                    memory.pages += 1 << order;
                }
                Err(Errno::ENOMEM) if order > 0 => order -= 1,
                Err(errno) => return Err(errno),
            }
        }
        memory.number();
        for extent in &memory.extents {
            for i in 0..extent.pages {
                xen.m.set_m2p(Mfn(extent.mfn.0 + i), extent.pfn.0 + i);
            }
        }
        Ok(memory)
    }

    /// Orders the pieces by machine frame, joins neighbours and numbers the frames.
    fn number(&mut self) {
        self.extents.sort_unstable_by_key(|extent| extent.mfn);
        self.extents.dedup_by(|next, this| {
            let joined = this.mfn.0 + this.pages == next.mfn.0;
            if joined {
                this.pages += next.pages;
            }
            joined
        });
        let mut pfn = 0;
        for extent in &mut self.extents {
            extent.pfn = Pfn(pfn);
            pfn += extent.pages;
        }
    }

    pub fn pages(&self) -> u64 {
        self.pages
    }

    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The machine frame of `pfn`, which must be one of them.
    pub fn mfn(&self, pfn: Pfn) -> Mfn {
        let i = self.extents.partition_point(|extent| extent.pfn <= pfn) - 1;
        let extent = &self.extents[i];
        debug_assert!(pfn.0 - extent.pfn.0 < extent.pages);
        Mfn(extent.mfn.0 + (pfn.0 - extent.pfn.0))
    }

    /// The right to write the frame, which is nothing but memory yet.
    fn page<M: Machine>(&self, xen: &'static Xen<M>, pfn: Pfn) -> Result<WritableRef, Errno> {
        let frame = xen.frames.get(self.mfn(pfn), DomId::DOM0).ok_or(Errno::EINVAL)?;
        get_writable(xen, frame).map_err(Fail::errno)
    }

    /// Copies `data` to byte `at` of the domain's memory.
    pub fn write<M: Machine>(&self, xen: &'static Xen<M>, mut at: u64, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            let offset = (at % PAGE_SIZE as u64) as usize;
            let (this, rest) = data.split_at(data.len().min(PAGE_SIZE - offset));
            xen.m.write(&self.page(xen, Pfn(at / PAGE_SIZE as u64))?, offset, this);
            at += this.len() as u64;
            data = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Frames;
    use crate::testing::World;

    const MIB: u64 = 256;

    #[test]
    fn sizes() {
        let bytes = |pages: u64| Some(Amount::Bytes(pages << 12));
        let but = |pages: u64| Some(Amount::AllBut(pages << 12));
        let of = |size, min, max| super::size(&Dom0Mem { size, min, max }, 2048 * MIB);
        assert_eq!(of(None, None, None), (1920 * MIB, u64::MAX));
        assert_eq!(super::size(&Dom0Mem::default(), 512 * MIB).0, 480 * MIB);
        assert_eq!(of(bytes(512 * MIB), None, None), (512 * MIB, u64::MAX));
        assert_eq!(of(but(512 * MIB), None, None), (1536 * MIB, u64::MAX));
        let share = |pages: u64, percent| Some(Amount::Share { bytes: pages << 12, percent });
        assert_eq!(of(share(100 * MIB, 25), None, share(0, 50)), (612 * MIB, 1024 * MIB));
        assert_eq!(of(bytes(512 * MIB), bytes(600 * MIB), None).0, 600 * MIB);
        assert_eq!(of(bytes(900 * MIB), None, bytes(800 * MIB)), (800 * MIB, 800 * MIB));
        assert_eq!(of(bytes(4096 * MIB), None, None).0, 2048 * MIB, "there is no more");
    }

    #[test]
    fn pieces_become_one_numbering() {
        let w = World::new(1000, 1);
        let (xen, dom) = (w.xen, w.domain(0, 1).dom);
        dom.memory.set_max_pages(u32::MAX);
        let t = xen.frames;
        // Holes, so that there is no single piece.
        let held: std::vec::Vec<_> = (0..20).map(|_| t.alloc.alloc(3, u64::MAX).unwrap().0).collect();
        for mfn in held.iter().step_by(2) {
            t.alloc.free_range(*mfn, 8, false);
        }
        let pages = t.alloc.free_pages() - 5;
        let memory = Memory::take(xen, &dom, pages).unwrap();
        assert_eq!((memory.pages(), u64::from(t.owned(dom.id))), (pages, pages));
        assert_eq!(t.alloc.free_pages(), 5);
        let mut seen = std::collections::BTreeSet::new();
        let mut last = Mfn(0);
        for pfn in 0..memory.pages() {
            let mfn = memory.mfn(Pfn(pfn));
            assert!(mfn > last && seen.insert(mfn), "ascending, each once");
            assert_eq!(xen.m.get_m2p(mfn), pfn);
            last = mfn;
        }
        assert!(memory.extents().windows(2).all(|w| w[0].mfn.0 + w[0].pages < w[1].mfn.0), "joined");
        memory.write(xen, 4090, b"across pages").unwrap();
        assert_eq!(xen.m.debug_load(memory.mfn(Pfn(1)), 0), u64::from_le_bytes(*b" pages\0\0"));
        assert_eq!(Memory::take(xen, &dom, 6).unwrap_err(), Errno::ENOMEM);
    }
}
