//! The right to write a page table's entries: its lock bit, together with a type count.

use super::types::put_table;
use super::{Fail, Pt, R, validate, why};
use crate::domain::Domain;
use crate::frame::proof::sealed::Sealed;
use crate::frame::record::B;
use crate::frame::{CanRead, CanWrite, FrameRef};
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::sync::relax;
use crate::xen::Xen;
use abi::Errno;
use core::sync::atomic::Ordering::*;
use x86::pte::Pte;

/// Proof of the CPU that validates, devalidates or has locked the frame: nobody else writes it, and no guest can.
pub(super) struct Exclusive<'a>(pub(super) &'a FrameRef);

impl Sealed for Exclusive<'_> {}
impl CanRead for Exclusive<'_> {
    fn mfn(&self) -> Mfn {
        self.0.mfn()
    }
}
impl CanWrite for Exclusive<'_> {}

/// A validated table, locked. Dropping it releases; what then has to be devalidated and is interrupted is
/// left to the owner's next call.
pub struct TableLock<'a, M: Machine> {
    xen: &'a Xen<M>,
    dom: &'a Domain,
    f: Option<FrameRef>,
    level: u8,
}

impl<'a, M: Machine> TableLock<'a, M> {
    /// Locks `f` if it is a validated table. `Ok(Err(f))`: it is none (now).
    #[inline]
    pub fn new(pt: &Pt<'a, M>, f: FrameRef) -> R<Result<Self, FrameRef>> {
        if let Some(r) = pt.xen.frames.rec(f.mfn()) {
            let cur = r.b.load(Relaxed);
            let b = B(cur);
            let free = b.has(B::VALIDATED) && !b.has(B::LOCKED) && b.count() < B::COUNT_MAX;
            if free
                && let Some(level) = b.kind().level()
                && r.b.compare_exchange(cur, (cur + B::COUNT_ONE) | B::LOCKED, AcqRel, Relaxed).is_ok()
            {
                return Ok(Ok(Self { xen: pt.xen, dom: pt.dom, f: Some(f), level }));
            }
        }
        Self::wait(pt, f)
    }

    /// As [`Self::new`], when it is not there for the taking.
    #[cold]
    #[inline(never)]
    fn wait(pt: &Pt<'a, M>, f: FrameRef) -> R<Result<Self, FrameRef>> {
        let Some(r) = pt.xen.frames.rec(f.mfn()) else { return Err(Errno::EINVAL.into()) };
        let mut cur = r.b.load(Relaxed);
        loop {
            let b = B(cur);
            let Some(level) = b.kind().level() else { return Ok(Err(f)) };
            if !b.has(B::VALIDATED) {
                if b.has(B::PARTIAL) {
                    validate::finish(pt.xen, &f)?;
                } else if b.count() > 0 {
                    return Err(Fail::Again);
                } else {
                    return Ok(Err(f));
                }
                cur = r.b.load(Relaxed);
                continue;
            }
            if b.has(B::LOCKED) {
                relax();
                cur = r.b.load(Relaxed);
                continue;
            }
            if b.count() == B::COUNT_MAX {
                return Err(why::too_many(pt.xen, f.mfn()));
            }
            match r.b.compare_exchange_weak(cur, (cur + B::COUNT_ONE) | B::LOCKED, AcqRel, Relaxed) {
                Ok(_) => return Ok(Ok(Self { xen: pt.xen, dom: pt.dom, f: Some(f), level })),
                Err(now) => cur = now,
            }
        }
    }

    /// The lock goes, then the last type count.
    #[cold]
    #[inline(never)]
    fn last(&self, f: FrameRef) {
        let mfn = f.mfn();
        if let Some(r) = self.xen.frames.rec(mfn) {
            r.b.fetch_and(!B::LOCKED, Release);
        }
        if put_table(self.xen, f).is_err() {
            self.dom.mm.defer(mfn);
        }
    }

    pub fn level(&self) -> u8 {
        self.level
    }

    /// The frame.
    pub fn mfn(&self) -> Mfn {
        self.f.as_ref().map_or(Mfn(u64::MAX), FrameRef::mfn)
    }

    pub fn load(&self, index: usize) -> Pte {
        match &self.f {
            Some(f) => Pte(self.xen.m.load(f, index * 8)),
            None => Pte(0),
        }
    }

    /// `Ok` when the entry was `old` and is now `new`.
    pub(super) fn exchange(&self, index: usize, old: Pte, new: Pte) -> Result<(), Pte> {
        match &self.f {
            Some(f) => {
                self.xen.m.compare_exchange(&Exclusive(f), index * 8, old.0, new.0).map(drop).map_err(Pte)
            }
            None => Err(Pte(0)),
        }
    }
}

impl<M: Machine> Drop for TableLock<'_, M> {
    #[inline]
    fn drop(&mut self) {
        let Some(f) = self.f.take() else { return };
        let Some(r) = self.xen.frames.rec(f.mfn()) else { return };
        // The lock and the type count go in one exchange unless the count is the last.
        let mut cur = r.b.load(Relaxed);
        while B(cur).count() > 1 {
            match r.b.compare_exchange_weak(cur, (cur - B::COUNT_ONE) & !B::LOCKED, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => cur = now,
            }
        }
        self.last(f);
    }
}
