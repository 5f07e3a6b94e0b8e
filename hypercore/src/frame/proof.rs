//! Proofs that the caller may touch a frame's contents.
//!
//! Reading takes any existence reference. Writing takes one of: a counted *writable* type reference
//! ([`WritableRef`]), the lock of a page table ([`crate::mm::lock::TableLock`]), or a frame no guest
//! owns ([`HvFrame`]). The traits are sealed, so no other module can make one up.

use super::record::{B, FrameType};
use super::table::{FrameRef, FrameTable};
use crate::ids::Mfn;
use core::sync::atomic::Ordering::*;

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// May read the frame.
pub trait CanRead: sealed::Sealed {
    fn mfn(&self) -> Mfn;
}
/// May write the frame.
pub trait CanWrite: CanRead {}

impl sealed::Sealed for FrameRef {}
impl CanRead for FrameRef {
    #[inline]
    fn mfn(&self) -> Mfn {
        FrameRef::mfn(self)
    }
}

/// An existence reference and a *writable* type reference: the frame cannot become a table while this lives.
#[derive(Debug)]
pub struct WritableRef(FrameRef);

impl WritableRef {
    /// Called by `mm::types` once it has taken the type count.
    pub(crate) fn new(f: FrameRef) -> Self {
        Self(f)
    }
    pub fn frame(&self) -> &FrameRef {
        &self.0
    }
    /// Leaves both counts to a record outside Rust's sight (a writable PTE, a grant mapping).
    pub(crate) fn into_raw(self) -> Mfn {
        let mfn = self.0.mfn();
        core::mem::forget(self);
        mfn
    }
}

impl Drop for WritableRef {
    fn drop(&mut self) {
        drop_writable(self.0.table(), self.0.mfn());
    }
}

/// Drops one *writable* type count. The last one leaves the stamp of its end in the same exchange: the next
/// type flushes what may still cache this use.
pub(crate) fn drop_writable(table: &'static FrameTable, mfn: Mfn) {
    let Some(r) = table.rec(mfn) else { return };
    let mut cur = r.b.load(Relaxed);
    loop {
        let b = B(cur);
        debug_assert!(b.kind() == FrameType::Writable && b.count() > 0);
        let mut next = B(cur - B::COUNT_ONE);
        if next.count() == 0 {
            next = next.with_union(table.tlb.stamp());
        }
        match r.b.compare_exchange_weak(cur, next.0, AcqRel, Relaxed) {
            Ok(_) => return,
            Err(now) => cur = now,
        }
    }
}

impl sealed::Sealed for WritableRef {}
impl CanRead for WritableRef {
    #[inline]
    fn mfn(&self) -> Mfn {
        self.0.mfn()
    }
}
impl CanWrite for WritableRef {}

/// A frame of the hypervisor's own: never a guest's, or shared with one (shared_info, grant frames) and
/// never typed as a table. Freed when the last reference goes.
#[derive(Debug)]
pub struct HvFrame(FrameRef);

impl HvFrame {
    /// A zeroed frame shared with `owner` (or nobody: `DomId::XEN`), outside its memory count.
    /// `None` when memory is short.
    pub fn alloc<M: crate::machine::Machine>(
        m: &M,
        table: &'static FrameTable,
        owner: crate::ids::DomId,
    ) -> Option<Self> {
        let (mfn, _dirty) = table.alloc.alloc(0, u64::MAX)?;
        table.settle_free(m, mfn, 1);
        m.zero(&FreshFrame(mfn));
        table.assign(mfn, owner, super::record::FrameState::Shared);
        Some(Self(table.adopt(mfn)))
    }
    pub fn frame(&self) -> &FrameRef {
        &self.0
    }
}

impl Drop for HvFrame {
    fn drop(&mut self) {
        // A guest that maps it keeps it, but nobody gets a new reference.
        if let Some(r) = self.0.table().rec(self.0.mfn()) {
            r.a.fetch_and(!super::record::A::ALLOCATED, AcqRel);
        }
    }
}

impl sealed::Sealed for HvFrame {}
impl CanRead for HvFrame {
    #[inline]
    fn mfn(&self) -> Mfn {
        self.0.mfn()
    }
}
impl CanWrite for HvFrame {}

/// A frame just taken from the allocator, before anybody owns it: for zeroing and filling.
#[derive(Debug)]
pub struct FreshFrame(pub(crate) Mfn);

impl sealed::Sealed for FreshFrame {}
impl CanRead for FreshFrame {
    fn mfn(&self) -> Mfn {
        self.0
    }
}
impl CanWrite for FreshFrame {}
