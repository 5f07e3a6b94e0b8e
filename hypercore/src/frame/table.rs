//! All frame records, and the existence reference.

use super::alloc::FrameAllocator;
use super::record::{A, B, FrameRecord, FrameState};
use super::stamp::TlbStamps;
use crate::cpumask::CpuMask;
use crate::ids::{DomId, Mfn};
use crate::machine::{Cpus, Flush};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// The records of every frame below the highest RAM address, the allocator of the free ones, and how many
/// frames each domain owns. One per machine, `'static` (on the host it is leaked).
pub struct FrameTable {
    records: &'static [FrameRecord],
    pub alloc: FrameAllocator,
    /// Frames owned by each real domain, mapped elsewhere or not; index = domain id.
    owned: &'static [AtomicU32],
    /// When each CPU last flushed; what stamps in records are compared with.
    pub tlb: TlbStamps,
    /// Frames that went back to the allocator, ever, and references to shared ones: wakes those who wait for a
    /// zombie to end.
    pub freed: AtomicU64,
}

/// Length of the `owned` array a [`FrameTable`] needs.
pub const OWNED_LEN: usize = DomId::FIRST_RESERVED.0 as usize;

impl FrameTable {
    /// `records[mfn]` all zero (= reserved); the boot code then calls [`Self::give`] for each usable range.
    pub fn new(records: &'static [FrameRecord], owned: &'static [AtomicU32], alloc: FrameAllocator) -> Self {
        assert!(owned.len() >= OWNED_LEN);
        Self { records, alloc, owned, tlb: TlbStamps::new(), freed: AtomicU64::new(0) }
    }

    /// One past the highest frame with a record.
    pub fn max_mfn(&self) -> Mfn {
        Mfn(self.records.len() as u64)
    }

    #[inline]
    pub(crate) fn rec(&self, mfn: Mfn) -> Option<&'static FrameRecord> {
        self.records.get(usize::try_from(mfn.0).ok()?)
    }

    /// Takes `count` contiguous frames, aligned to `align` (a power of two), for the hypervisor's own use: nobody's,
    /// with any contents, and reached by no CPU's translations. [`Self::give`] returns them.
    pub fn take_own(&self, m: &impl Cpus, count: u64, align: u64) -> Option<Mfn> {
        let order = count.max(align).checked_next_power_of_two()?.trailing_zeros();
        let first = self.alloc.alloc_claimed(order, u64::MAX, 0)?.mfn;
        self.alloc.free_range(Mfn(first.0 + count), (1 << order) - count, false);
        for at in (0..count).step_by(64) {
            self.alloc.take_dirty(Mfn(first.0 + at), count - at);
        }
        self.settle_free(m, first, count);
        Some(first)
    }

    /// Hands `count` frames from `start` that are reserved (at boot) or the hypervisor's own to the allocator.
    /// `dirty`: contents unknown.
    pub fn give(&self, start: Mfn, count: u64, dirty: bool) {
        for mfn in start.0..start.0 + count {
            let Some(r) = self.rec(Mfn(mfn)) else { return };
            r.a.store(A::new(DomId(0), FrameState::Free, false, 0).0, Release);
            r.b.store(0, Release);
        }
        self.alloc.free_range(start, count, dirty);
    }

    /// Shows `count` frames from `start` that are reserved (at boot) to whoever may map [`DomId::XEN`]'s: read-only and
    /// for ever, for a type count that is never ended keeps every type from them.
    pub fn publish(&self, start: Mfn, count: u64) {
        for mfn in start.0..start.0 + count {
            let Some(r) = self.rec(Mfn(mfn)) else { return };
            r.b.store(B::COUNT_ONE, Release);
            r.a.store(A::new(DomId::XEN, FrameState::Shared, true, 1).0, Release);
        }
    }

    /// Owner and decoded words, for reports and the audit (a snapshot).
    pub fn peek(&self, mfn: Mfn) -> Option<(A, B)> {
        let r = self.rec(mfn)?;
        Some((A(r.a.load(Acquire)), B(r.b.load(Acquire))))
    }

    /// Takes an existence reference if `mfn` belongs to `owner` (checked in the same compare-exchange).
    #[inline]
    pub fn get(&'static self, mfn: Mfn, owner: DomId) -> Option<FrameRef> {
        self.get_if(mfn, |a| a.owner() == owner)
    }

    /// As [`Self::get`], whoever the owner is (it is then in [`FrameRef::owner`]).
    pub fn get_any(&'static self, mfn: Mfn) -> Option<FrameRef> {
        self.get_if(mfn, |_| true)
    }

    /// As [`Self::get`], also for a frame that its owner gave back and others' references keep: for ending
    /// references, not for making new ones.
    pub(crate) fn get_held(&'static self, mfn: Mfn, owner: DomId) -> Option<FrameRef> {
        let r = self.rec(mfn)?;
        let usable = |a: A| {
            matches!(a.state(), FrameState::Domain | FrameState::Shared)
                && a.owner() == owner
                && a.count() != 0
                && a.count() != A::COUNT
        };
        r.a.fetch_update(AcqRel, Relaxed, |a| usable(A(a)).then_some(a + 1)).ok()?;
        Some(FrameRef { table: self, mfn })
    }

    #[inline]
    fn get_if(&'static self, mfn: Mfn, ok: impl Fn(A) -> bool) -> Option<FrameRef> {
        let r = self.rec(mfn)?;
        let mut cur = r.a.load(Relaxed);
        loop {
            let a = A(cur);
            let usable = matches!(a.state(), FrameState::Domain | FrameState::Shared);
            // A frame its owner gave back gains no reference.
            if !usable || !a.allocated() || a.count() == 0 || a.count() == A::COUNT || !ok(a) {
                return None;
            }
            match r.a.compare_exchange_weak(cur, cur + 1, AcqRel, Relaxed) {
                Ok(_) => return Some(FrameRef { table: self, mfn }),
                Err(now) => cur = now,
            }
        }
    }

    /// Adopts one existence count that is recorded elsewhere (a PTE, a CR3, a pin) and that the caller
    /// now removes from there. The inverse of [`FrameRef::into_raw`].
    pub(crate) fn adopt(&'static self, mfn: Mfn) -> FrameRef {
        FrameRef { table: self, mfn }
    }

    /// Gives a frame fresh from the allocator to `owner`: allocated, one count held by the allocation.
    /// Contents must already be scrubbed. Counts it in [`Self::owned`].
    pub fn assign(&'static self, mfn: Mfn, owner: DomId, state: FrameState) {
        let Some(r) = self.rec(mfn) else { return };
        debug_assert!(A(r.a.load(Relaxed)).state() == FrameState::Free);
        r.b.store(r.b.load(Relaxed) & B::UNION, Relaxed);
        if state == FrameState::Domain && owner.is_real() {
            self.owned[owner.0 as usize].fetch_add(1, AcqRel);
        }
        r.a.store(A::new(owner, state, true, 1).0, Release);
    }

    /// Flushes every CPU that may still cache translations (or uncached lines) of `count` frames fresh from the
    /// allocator. Call it before scrubbing and [`Self::assign`].
    pub fn settle_free(&self, m: &impl Cpus, start: Mfn, count: u64) {
        let mut newest = None;
        let mut uncached = false;
        for mfn in start.0..start.0.saturating_add(count) {
            let Some((a, b)) = self.peek(Mfn(mfn)) else { break };
            uncached |= a.has(A::UNCACHED);
            newest = newest.max(Some(self.tlb.meant(b.union())));
        }
        if let Some(newest) = newest {
            self.tlb.settle_since(m, &CpuMask::ALL, newest);
        }
        if uncached {
            m.flush(&CpuMask::ALL, Flush::Cache);
        }
    }

    /// Takes back what [`Self::assign`] gave: clears `allocated` and returns the count the allocation held,
    /// or `None` if it was already cleared (or the frame is another's). The frame is free when the last
    /// reference goes.
    pub fn unassign(&'static self, mfn: Mfn, owner: DomId) -> Option<FrameRef> {
        let r = self.rec(mfn)?;
        let mut cur = r.a.load(Relaxed);
        loop {
            let a = A(cur);
            if a.owner() != owner || !a.allocated() || a.state() != FrameState::Domain {
                return None;
            }
            match r.a.compare_exchange_weak(cur, cur & !A::ALLOCATED, AcqRel, Relaxed) {
                Ok(_) => return Some(FrameRef { table: self, mfn }),
                Err(now) => cur = now,
            }
        }
    }

    /// Remembers that a domain other than the owner maps the frame, or that it is mapped uncached: later
    /// flushes reach further for it.
    pub(crate) fn mark(&self, f: &FrameRef, bits: u64) {
        if let Some(r) = self.rec(f.mfn)
            && r.a.load(Relaxed) & bits != bits
        {
            r.a.fetch_or(bits & (A::FOREIGN | A::UNCACHED), AcqRel);
        }
    }

    /// Whether no frame of RAM that a domain may own has this number: device memory, firmware, a hole, or the
    /// hypervisor's own. Fixed from boot on.
    pub fn is_reserved(&self, mfn: Mfn) -> bool {
        self.rec(mfn).is_none_or(|r| A(r.a.load(Acquire)).state() == FrameState::Reserved)
    }

    /// Takes a frame with exactly one reference (the allocation's) and no type from its owner: nobody's, then,
    /// and free when the reference goes. `None`, with nothing changed, if it has other users.
    pub(crate) fn withdraw(&'static self, mfn: Mfn, from: DomId) -> Option<FrameRef> {
        let r = self.rec(mfn)?;
        let old = r.a.load(Acquire);
        let sticky = old & (A::FOREIGN | A::UNCACHED);
        // Even a compare-exchange that fails is a write, and records of holes in memory cannot be written.
        if old != A::new(from, FrameState::Domain, true, 1).0 | sticky || B(r.b.load(Acquire)).count() != 0 {
            return None;
        }
        let new = A::new(DomId::XEN, FrameState::Shared, false, 1).0 | sticky;
        r.a.compare_exchange(old, new, AcqRel, Relaxed).ok()?;
        self.owned[from.0 as usize].fetch_sub(1, AcqRel);
        Some(FrameRef { table: self, mfn })
    }

    /// Undoes [`Self::withdraw`].
    pub(crate) fn put_back(&'static self, f: FrameRef, owner: DomId) {
        if let Some(r) = self.rec(f.mfn) {
            let sticky = r.a.load(Acquire) & (A::FOREIGN | A::UNCACHED);
            self.owned[owner.0 as usize].fetch_add(1, AcqRel);
            r.a.store(A::new(owner, FrameState::Domain, true, 1).0 | sticky, Release);
        }
        // The allocation's count, now in the record.
        core::mem::forget(f);
    }

    /// Frames `domain` owns now, those that only others' references keep alive included.
    pub fn owned(&self, domain: DomId) -> u32 {
        self.owned.get(domain.0 as usize).map_or(0, |c| c.load(Acquire))
    }

    /// Drops one existence count; the last one frees the frame (dirty: scrubbed before its next owner).
    fn put(&self, mfn: Mfn) {
        let Some(r) = self.rec(mfn) else { return };
        let old = A(r.a.fetch_sub(1, AcqRel));
        debug_assert!(old.count() > 0, "existence count underflow at {mfn}");
        if old.count() != 1 {
            if old.state() == FrameState::Shared {
                // A dead domain may have waited for just this.
                self.freed.fetch_add(1, AcqRel);
            }
            return;
        }
        debug_assert!(B(r.b.load(Acquire)).count() == 0, "freed {mfn} still typed");
        // Translations of it may linger until this stamp is older than every CPU's last flush.
        r.b.store(B(0).with_union(self.tlb.stamp()).0, Release);
        r.a.store(A::new(DomId(0), FrameState::Free, false, 0).0 | old.0 & A::UNCACHED, Release);
        self.alloc.free_range(mfn, 1, true);
        if old.state() == FrameState::Domain && old.owner().is_real() {
            self.owned[old.owner().0 as usize].fetch_sub(1, AcqRel);
        }
        self.freed.fetch_add(1, AcqRel);
    }
}

/// An existence reference: the frame keeps its owner and is not freed while this lives.
#[must_use = "dropping it releases the frame"]
pub struct FrameRef {
    table: &'static FrameTable,
    mfn: Mfn,
}

impl FrameRef {
    pub fn mfn(&self) -> Mfn {
        self.mfn
    }
    pub fn table(&self) -> &'static FrameTable {
        self.table
    }
    /// Owner; cannot change while this reference lives.
    pub fn owner(&self) -> DomId {
        self.table.peek(self.mfn).map_or(DomId::INVALID, |(a, _)| a.owner())
    }
    pub fn state(&self) -> FrameState {
        self.table.peek(self.mfn).map_or(FrameState::Reserved, |(a, _)| a.state())
    }
    /// Leaves the count to whoever records it outside Rust's sight (a PTE, a CR3, a pin).
    pub(crate) fn into_raw(self) -> Mfn {
        let m = self.mfn;
        core::mem::forget(self);
        m
    }
    /// Another reference to the same frame; `None` if the count would overflow.
    pub fn try_clone(&self) -> Option<FrameRef> {
        let r = self.table.rec(self.mfn)?;
        r.a.fetch_update(AcqRel, Relaxed, |a| (A(a).count() < A::COUNT).then_some(a + 1)).ok()?;
        Some(FrameRef { table: self.table, mfn: self.mfn })
    }
}

impl Drop for FrameRef {
    #[inline]
    fn drop(&mut self) {
        self.table.put(self.mfn);
    }
}

impl core::fmt::Debug for FrameRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FrameRef({})", self.mfn)
    }
}
