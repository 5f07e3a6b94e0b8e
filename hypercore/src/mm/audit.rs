//! The audit: recounts every reference from what holds it and compares with the records.
//!
//! The caller keeps all CPUs from changing anything meanwhile. What holds references: allocations, pins, the marks
//! of partial tables, entries of validated tables (and of the validated part of partial ones), CR3s, GDTs and
//! LDTs, pages of events and of interrupts, grants, and the hypervisor's own shared frames (those it shows to tools
//! hold themselves, see [`FrameTable::publish`](crate::frame::FrameTable::publish)).

use super::base::M2P_SLOT;
use super::validate::hv_slot;
use super::{entry, linear};
use crate::domain::Domain;
use crate::fallible::{TryVec, filled};
use crate::frame::record::{A, B, FrameState, FrameType, Linear};
use crate::ids::{DomId, Mfn, VcpuId};
use crate::machine::Machine;
use crate::xen::Xen;
use abi::Errno;
use abi::arch_x86::LEGACY_MAX_VCPUS;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use x86::pte::{ENTRIES, HV_L4_FIRST, Pte};

/// How many mismatches a report shows.
pub const SHOWN: usize = 16;

/// What is wrong with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Existence references: stored, found.
    Existence(u64, u64),
    /// Type references: stored, found.
    Types(u64, u64),
    /// Somebody holds it as this type, which it has not.
    Kind(FrameType, FrameType),
    /// Locked, or counted without being validated, while nobody does anything.
    Unfinished,
    /// Entries that refer to their own level: stored, found; see [`Linear`].
    Linear(Linear, Linear),
    /// An entry (its index) that no validated table may have.
    Entry(usize),
    /// A holder names a frame that nobody owns.
    Dangling,
}

/// A frame whose record and holders disagree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mismatch {
    pub mfn: Mfn,
    pub owner: DomId,
    pub wrong: Wrong,
}

/// What the audit found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Frames that somebody owns.
    pub frames: u64,
    /// Existence and type references found.
    pub references: u64,
    pub types: u64,
    /// How many mismatches, and the first of them.
    pub mismatches: u64,
    pub first: ArrayVec<Mismatch, SHOWN>,
    /// Domains whose number of frames is not what their records say: (domain, stored, found).
    pub owned: ArrayVec<(DomId, u32, u32), SHOWN>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.mismatches == 0 && self.owned.is_empty()
    }
}

/// What was found to hold a frame: existence and type references, and entries of its own level that refer to it.
type Found = (u32, u32, u32);

/// Counts by frame.
struct Tally<'a, M: Machine> {
    xen: &'a Xen<M>,
    found: Vec<Found>,
    report: Report,
}

/// Recounts everything. ENOMEM when there is no memory for the counts.
pub fn audit<M: Machine>(xen: &Xen<M>) -> Result<Report, Errno> {
    let frames = xen.frames.max_mfn().0 as usize;
    let found: Vec<Found> = filled(frames, Default::default)?;
    let mut t = Tally { xen, found, report: Report::default() };
    for mfn in (0..frames as u64).map(Mfn) {
        t.frame(mfn);
    }
    for dom in xen.domains.all() {
        t.domain(&dom);
    }
    t.compare()?;
    Ok(t.report)
}

impl<M: Machine> Tally<'_, M> {
    fn wrong(&mut self, mfn: Mfn, wrong: Wrong) {
        let owner = self.xen.frames.peek(mfn).map_or(DomId::INVALID, |(a, _)| a.owner());
        self.report.mismatches += 1;
        let _ = self.report.first.try_push(Mismatch { mfn, owner, wrong });
    }

    /// One holder of an existence reference and, with a type, of a type count.
    fn holder(&mut self, mfn: Mfn, kind: Option<FrameType>) {
        let Some((a, b)) = self.xen.frames.peek(mfn) else { return self.wrong(mfn, Wrong::Dangling) };
        if !matches!(a.state(), FrameState::Domain | FrameState::Shared) {
            return self.wrong(mfn, Wrong::Dangling);
        }
        let count = &mut self.found[mfn.0 as usize];
        count.0 += 1;
        if let Some(kind) = kind {
            count.1 += 1;
            if b.kind() != kind {
                self.wrong(mfn, Wrong::Kind(b.kind(), kind));
            }
        }
    }

    /// What a frame's own record says it holds, and what its entries hold.
    fn frame(&mut self, mfn: Mfn) {
        let Some((a, b)) = self.xen.frames.peek(mfn) else { return };
        if !matches!(a.state(), FrameState::Domain | FrameState::Shared) {
            return;
        }
        self.report.frames += 1;
        if a.allocated() {
            let shown = a.owner() == DomId::XEN;
            self.holder(mfn, shown.then_some(FrameType::None));
        }
        if b.has(B::PINNED) {
            self.holder(mfn, Some(b.kind()));
        }
        if b.has(B::PARTIAL) {
            self.holder(mfn, None);
        }
        let checked = b.kind().level().is_some() || b.kind() == FrameType::SegDesc;
        if b.has(B::LOCKED) || (checked && b.count() > 0 && !b.has(B::VALIDATED)) {
            self.wrong(mfn, Wrong::Unfinished);
        }
        let Some(level) = b.kind().level() else { return };
        let end = match (b.has(B::VALIDATED), b.has(B::PARTIAL)) {
            (true, _) => ENTRIES,
            (false, true) => b.progress(),
            (false, false) => return,
        };
        self.entries(mfn, a, level, end);
    }

    fn entries(&mut self, mfn: Mfn, a: A, level: u8, end: usize) {
        let xen = self.xen;
        let Some(f) = xen.frames.get_held(mfn, a.owner()) else { return };
        let mut refers = 0;
        for i in 0..end {
            let pte = Pte(xen.m.load(&f, i * 8));
            if hv_slot(level, i) {
                let blank = i == M2P_SLOT && pte == Pte(0);
                if !blank && (pte.0 ^ xen.host.hv_l4[i - HV_L4_FIRST]) & !(Pte::ACCESSED | Pte::DIRTY) != 0 {
                    self.wrong(mfn, Wrong::Entry(i));
                }
                continue;
            }
            if !pte.present() {
                continue;
            }
            if entry::adjust(level, pte) != Ok(pte) {
                self.wrong(mfn, Wrong::Entry(i));
            }
            let target = Mfn(pte.mfn());
            if linear::is(xen, level, pte) {
                if pte.has(Pte::RW) {
                    self.wrong(mfn, Wrong::Entry(i));
                }
                if target != mfn {
                    refers += 1;
                    self.holder(target, Some(FrameType::table(level)));
                    self.found[target.0 as usize].2 += 1;
                }
            } else if level > 1 {
                self.holder(target, Some(FrameType::table(level - 1)));
            } else if entry::counted(xen, target) {
                self.holder(target, pte.has(Pte::RW).then_some(FrameType::Writable));
            }
        }
        let stored = xen.frames.peek(mfn).map(|(_, b)| b.linear());
        match stored {
            // What refers to it is found later.
            Some(Linear::Referred(_)) | None if refers == 0 => {}
            Some(Linear::Refers(n)) if n == refers => {}
            other => {
                let stored = other.unwrap_or(Linear::Refers(0));
                self.wrong(mfn, Wrong::Linear(stored, Linear::Refers(refers)));
            }
        }
    }

    /// What a domain's vCPUs and its other state hold.
    fn domain(&mut self, dom: &Domain) {
        dom.for_each_vcpu(|v| {
            for root in [v.mm.kernel_cr3(), v.mm.user_cr3()].into_iter().flatten() {
                self.holder(root, Some(FrameType::L4));
            }
            let d = v.mm.descriptors();
            for page in d.gdt.into_iter().chain(d.ldt.into_iter().flatten()) {
                self.holder(page, Some(FrameType::SegDesc));
            }
            // Its default vcpu_info.
            if v.id < VcpuId(LEGACY_MAX_VCPUS as u32) {
                self.holder(dom.shared_info.frame().mfn(), None);
            }
        });
        crate::event::audit(dom, |mfn| self.holder(mfn, Some(FrameType::Writable)));
        if let Some(page) = dom.io.pirqs.lock().eoi_page() {
            self.holder(page, Some(FrameType::Writable));
        }
        crate::grant::audit(dom, |mfn, write| self.holder(mfn, write.then_some(FrameType::Writable)));
    }

    fn compare(&mut self) -> Result<(), Errno> {
        let mut owned: Vec<(DomId, u32)> = Vec::new();
        self.xen.domains.all().try_for_each(|d| owned.try_push((d.id, 0)))?;
        for i in 0..self.found.len() {
            let mfn = Mfn(i as u64);
            let Some((a, b)) = self.xen.frames.peek(mfn) else { continue };
            let (exist, types, linear) = self.found[i];
            let (exist, types) = (u64::from(exist), u64::from(types));
            self.report.references += exist;
            self.report.types += types;
            if !matches!(a.state(), FrameState::Domain | FrameState::Shared) {
                continue;
            }
            if a.count() != exist {
                self.wrong(mfn, Wrong::Existence(a.count(), exist));
            }
            if b.count() != types {
                self.wrong(mfn, Wrong::Types(b.count(), types));
            }
            let used = b.kind().level().is_some() && (b.count() > 0 || b.has(B::PARTIAL));
            let referred = match b.linear() {
                Linear::Referred(n) if used => u32::from(n),
                _ => 0,
            };
            if referred != linear {
                self.wrong(mfn, Wrong::Linear(b.linear(), Linear::Referred(linear as u16)));
            }
            if a.state() == FrameState::Domain
                && let Some((_, n)) = owned.iter_mut().find(|(d, _)| *d == a.owner())
            {
                *n += 1;
            }
        }
        for (dom, found) in owned {
            let stored = self.xen.frames.owned(dom);
            if stored != found {
                let _ = self.report.owned.try_push((dom, stored, found));
            }
        }
        Ok(())
    }
}
