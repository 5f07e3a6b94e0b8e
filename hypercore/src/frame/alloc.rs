//! The allocator of free frames: a bitmap buddy, so that no list links live in frame records.

use crate::ids::Mfn;

/// Largest order: 1 GiB.
pub const MAX_ORDER: u32 = 18;

/// Free frames of the whole machine.
pub struct FrameAllocator {}

impl FrameAllocator {
    /// For frames 0..`max_mfn`, all absent until [`Self::free_range`].
    pub fn new(_max_mfn: u64) -> Self {
        Self {}
    }
    /// Returns frames. `dirty`: they must be scrubbed before another domain owns them.
    pub fn free_range(&self, _start: Mfn, _count: u64, _dirty: bool) {}
    /// 2^`order` frames, naturally aligned, below `limit` (an MFN bound; highest fitting address first),
    /// and whether any of them is dirty.
    pub fn alloc(&self, _order: u32, _limit: u64) -> Option<(Mfn, bool)> {
        None
    }
}
