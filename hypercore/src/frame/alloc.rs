//! The allocator of free frames: a bitmap buddy, so that no list links live in frame records.
//!
//! One [`Bitmap`] an order holds the free blocks, another the frames whose contents must be scrubbed before
//! a domain may see them. High addresses go first: memory below 4 GiB is what devices with 32 address bits
//! can reach, and what `XENMEM_exchange` must still find late in a machine's life.

use super::bitmap::Bitmap;
use crate::fallible::strikes;
use crate::ids::Mfn;
use crate::sync::{Mutex, relax};
use arrayvec::ArrayVec;

/// Largest order: 1 GiB.
pub const MAX_ORDER: u32 = 18;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// Frames scrubbed at a time, as an order.
const SCRUB_ORDER: u32 = 4;
/// First frames of the zones, in the order they are used up: above 4 GiB, above 16 MiB, the rest.
const ZONES: [u64; 3] = [1 << 20, 1 << 12, 0];

/// Free frames of the whole machine.
pub struct FrameAllocator {
    inner: Mutex<Inner>,
    max_mfn: u64,
}

struct Inner {
    /// Free blocks of each order, by first frame >> order.
    free: ArrayVec<Bitmap, ORDERS>,
    /// Frames with old contents; meaningful for free frames, and for allocated ones until
    /// [`FrameAllocator::take_dirty`].
    dirty: Bitmap,
    free_pages: u64,
    /// Dirty ones among the free.
    dirty_pages: u64,
    /// Free frames that a CPU has out for scrubbing; counted as free.
    scrubbing: u64,
    /// CPUs that wait for those: nobody takes more out meanwhile.
    waiting: u32,
    /// Frames promised to domains and not given yet.
    outstanding: u64,
}

/// What an allocation got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed {
    pub mfn: Mfn,
    /// Some of the frames are dirty; [`FrameAllocator::take_dirty`] says which.
    pub dirty: bool,
    /// Frames of the claim that it used up.
    pub claim_used: u64,
}

/// Free frames that are out for scrubbing.
#[derive(Debug)]
#[must_use = "the frames are lost unless they come back by `scrubbed`"]
pub struct DirtyBlock {
    pub first: Mfn,
    order: u32,
    /// Bit i: `first + i` is dirty.
    pub dirty: u64,
}

/// What there is to scrub.
#[derive(Debug)]
pub enum ToScrub {
    Block(DirtyBlock),
    /// Somebody waits for what is out: soon again.
    Later,
    Nothing,
}

impl DirtyBlock {
    pub fn frames(&self) -> u64 {
        1 << self.order
    }
}

impl FrameAllocator {
    /// Words of zeroed storage for frames 0..`max_mfn`.
    pub fn words_needed(max_mfn: u64) -> usize {
        (0..=MAX_ORDER).map(|k| Bitmap::words_needed(max_mfn >> k)).sum::<usize>()
            + Bitmap::words_needed(max_mfn)
    }

    /// For frames 0..`max_mfn`, all absent until [`Self::free_range`]; bookkeeping in `storage`, which is zero
    /// and [`Self::words_needed`] long. `None` if it is too short.
    pub fn with_storage(max_mfn: u64, storage: &'static mut [u64]) -> Option<Self> {
        if storage.len() < Self::words_needed(max_mfn) {
            return None;
        }
        let mut rest = storage;
        let free = (0..=MAX_ORDER).map(|k| Bitmap::take(max_mfn >> k, &mut rest)).collect();
        let dirty = Bitmap::take(max_mfn, &mut rest);
        let inner =
            Inner { free, dirty, free_pages: 0, dirty_pages: 0, scrubbing: 0, waiting: 0, outstanding: 0 };
        Some(Self { inner: Mutex::new(inner), max_mfn })
    }

    /// As [`Self::with_storage`], with storage from the heap, for ever; `None` when that is short.
    pub fn try_new(max_mfn: u64) -> Option<Self> {
        let words = Self::words_needed(max_mfn);
        Self::with_storage(max_mfn, crate::fallible::filled(words, || 0).ok()?.leak())
    }

    /// As [`Self::try_new`], at boot, where the machine cannot go on without.
    ///
    /// # Panics
    /// When the heap is short.
    pub fn new(max_mfn: u64) -> Self {
        Self::try_new(max_mfn).expect("no memory for the frame allocator's bitmaps")
    }

    /// Returns frames. `dirty`: they must be scrubbed before another domain owns them.
    pub fn free_range(&self, start: Mfn, count: u64, dirty: bool) {
        let count = count.min(self.max_mfn.saturating_sub(start.0));
        let mut inner = self.inner.lock();
        if dirty {
            inner.dirty.insert_range(start.0, count);
        }
        inner.put_range(start.0, count);
    }

    /// Undoes [`Self::alloc_claimed`] of 2^`order` frames, claim included; those that [`Self::take_dirty`] was not asked
    /// for are as dirty as they were.
    pub fn give_back(&self, got: Claimed, order: u32) {
        let mut inner = self.inner.lock();
        inner.put_range(got.mfn.0, 1 << order);
        inner.outstanding += got.claim_used;
    }

    /// 2^`order` frames, naturally aligned, below `limit` (an MFN bound; highest fitting zone first),
    /// and whether any of them is dirty. Leaves frames claimed by domains alone.
    pub fn alloc(&self, order: u32, limit: u64) -> Option<(Mfn, bool)> {
        let got = self.alloc_claimed(order, limit, 0)?;
        if got.dirty {
            self.inner.lock().dirty.remove_range(got.mfn.0, 1 << order);
        }
        Some((got.mfn, got.dirty))
    }

    /// As [`Self::alloc`] for one who holds a claim of `claim` frames, of which the allocation is taken.
    /// Dirty frames stay marked for [`Self::take_dirty`].
    pub fn alloc_claimed(&self, order: u32, limit: u64, claim: u64) -> Option<Claimed> {
        if order > MAX_ORDER || strikes() {
            return None;
        }
        let limit = limit.min(self.max_mfn);
        let mut inner = self.inner.lock();
        let mut got = inner.take(order, limit, claim);
        if got.is_some() || inner.scrubbing == 0 {
            return got;
        }
        // A few frames are out for scrubbing and come back in microseconds.
        inner.waiting += 1;
        while got.is_none() && inner.scrubbing != 0 {
            drop(inner);
            relax();
            inner = self.inner.lock();
            got = inner.take(order, limit, claim);
        }
        inner.waiting -= 1;
        got
    }

    /// Which of the 64 allocated frames from `mfn` are dirty (bit i: `mfn + i`); forgets it, so the caller
    /// scrubs them. `count` bounds how many frames are the caller's.
    pub fn take_dirty(&self, mfn: Mfn, count: u64) -> u64 {
        let count = count.min(64).min(self.max_mfn.saturating_sub(mfn.0));
        self.inner.lock().dirty.take_bits(mfn.0, count)
    }

    /// Promises `pages` more frames to somebody; false if so many are not there.
    pub fn claim(&self, pages: u64) -> bool {
        let mut inner = self.inner.lock();
        let ok = inner.free_pages.saturating_sub(inner.outstanding) >= pages;
        if ok {
            inner.outstanding += pages;
        }
        ok
    }

    /// Takes a promise back.
    pub fn unclaim(&self, pages: u64) {
        let mut inner = self.inner.lock();
        inner.outstanding = inner.outstanding.saturating_sub(pages);
    }

    /// Takes a few dirty free frames out for scrubbing, still counted as free; [`Self::scrubbed`] brings them back.
    pub fn take_to_scrub(&self) -> ToScrub {
        let mut inner = self.inner.lock();
        if inner.waiting != 0 {
            return ToScrub::Later;
        }
        inner.take_dirty_block().map_or(ToScrub::Nothing, ToScrub::Block)
    }

    /// The frames of `block` are clean and may be allocated again.
    pub fn scrubbed(&self, block: DirtyBlock) {
        let mut inner = self.inner.lock();
        inner.scrubbing -= block.frames();
        inner.put(block.order, block.first.0);
    }

    /// Free frames, dirty ones included.
    pub fn free_pages(&self) -> u64 {
        self.inner.lock().free_pages
    }

    /// Free frames that wait to be scrubbed.
    pub fn scrub_pages(&self) -> u64 {
        self.inner.lock().dirty_pages
    }

    /// Frames claimed and not given yet.
    pub fn outstanding(&self) -> u64 {
        self.inner.lock().outstanding
    }

    /// Free frames among `first..end`.
    pub fn free_within(&self, first: u64, end: u64) -> u64 {
        let (first, end) = (first.min(self.max_mfn), end.min(self.max_mfn));
        let inner = self.inner.lock();
        let mut frames = 0;
        for (k, free) in inner.free.iter().enumerate() {
            // Blocks wholly inside, then the parts of the two that straddle a bound.
            let (lo, hi) = (first.div_ceil(1 << k), end >> k);
            frames += free.count_range(lo, hi.saturating_sub(lo)) << k;
            let straddles = [first >> k, end >> k];
            for (n, &i) in straddles.iter().enumerate() {
                let (from, to) = (i << k, (i + 1) << k);
                let whole = (from >= first && to <= end) || (n == 1 && i == straddles[0]);
                if !whole && free.contains(i) {
                    frames += to.min(end).saturating_sub(from.max(first));
                }
            }
        }
        frames
    }
}

impl Inner {
    /// Puts frames back; the dirty ones are marked.
    fn put_range(&mut self, start: u64, count: u64) {
        self.dirty_pages += self.dirty.count_range(start, count);
        self.free_pages += count;
        let (mut at, mut left) = (start, count);
        while left > 0 {
            let aligned = at.trailing_zeros().min(MAX_ORDER);
            let k = aligned.min(left.ilog2());
            self.put(k, at);
            at += 1 << k;
            left -= 1 << k;
        }
    }

    /// Puts a block back, merged with its buddies as far as they are free.
    fn put(&mut self, mut k: u32, start: u64) {
        let mut i = start >> k;
        debug_assert!(self.block_of(start).is_none(), "frame {start:#x} freed twice");
        while k < MAX_ORDER && self.free[k as usize].contains(i ^ 1) {
            self.free[k as usize].remove(i ^ 1);
            i >>= 1;
            k += 1;
        }
        self.free[k as usize].insert(i);
    }

    fn take(&mut self, order: u32, limit: u64, claim: u64) -> Option<Claimed> {
        let size = 1u64 << order;
        let claim_used = claim.min(size);
        if self.free_pages < size + (self.outstanding - claim_used.min(self.outstanding)) {
            return None;
        }
        let last = limit.checked_sub(size)?;
        let (k, i) = ZONES.iter().find_map(|&zone| {
            (order..=MAX_ORDER).find_map(|k| {
                let i = self.free[k as usize].highest_up_to(last >> k)?;
                (i << k >= zone).then_some((k, i))
            })
        })?;
        self.free[k as usize].remove(i);
        let mut start = i << k;
        for half in (order..k).rev() {
            let upper = start + (1 << half);
            if upper <= last {
                self.free[half as usize].insert(start >> half);
                start = upper;
            } else {
                self.free[half as usize].insert(upper >> half);
            }
        }
        let dirty = self.dirty.count_range(start, size);
        self.free_pages -= size;
        self.dirty_pages -= dirty;
        self.outstanding = self.outstanding.saturating_sub(claim_used);
        Some(Claimed { mfn: Mfn(start), dirty: dirty != 0, claim_used })
    }

    /// The free block that holds `frame`: (order, index).
    fn block_of(&self, frame: u64) -> Option<(u32, u64)> {
        (0..=MAX_ORDER).map(|k| (k, frame >> k)).find(|&(k, i)| self.free[k as usize].contains(i))
    }

    fn take_dirty_block(&mut self) -> Option<DirtyBlock> {
        let mut at = u64::MAX;
        // Marks of frames just allocated stay until their owner has looked; pass over them.
        let (frame, (k, i)) = loop {
            let frame = self.dirty.highest_up_to(at)?;
            match self.block_of(frame) {
                Some(block) => break (frame, block),
                None => at = frame.checked_sub(1)?,
            }
        };
        let order = k.min(SCRUB_ORDER);
        self.free[k as usize].remove(i);
        let mut start = i << k;
        for half in (order..k).rev() {
            let upper = start + (1 << half);
            if frame >= upper {
                self.free[half as usize].insert(start >> half);
                start = upper;
            } else {
                self.free[half as usize].insert(upper >> half);
            }
        }
        let dirty = self.dirty.take_bits(start, 1 << order);
        self.dirty_pages -= u64::from(dirty.count_ones());
        self.scrubbing += 1 << order;
        Some(DirtyBlock { first: Mfn(start), order, dirty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn allocator(frames: u64) -> FrameAllocator {
        let a = FrameAllocator::new(frames);
        a.free_range(Mfn(0), frames, false);
        a
    }

    struct Rnd(u64);
    impl Rnd {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % n
        }
    }

    /// Random allocations and releases against a set of free frames and one of dirty ones.
    #[test]
    fn it_agrees_with_sets_of_frames() {
        for seed in 0..4 {
            let frames = 5000 + seed * 777;
            let a = allocator(frames);
            let mut rnd = Rnd(seed);
            let mut free: BTreeSet<u64> = (0..frames).collect();
            let mut dirty = BTreeSet::new();
            let mut held: Vec<(u64, u32)> = Vec::new();
            for _ in 0..1000 {
                if rnd.below(2) == 0 || held.is_empty() {
                    let order = rnd.below(8) as u32;
                    let limit = if rnd.below(3) == 0 { 1 + rnd.below(frames) } else { u64::MAX };
                    let size = 1u64 << order;
                    let fits = |s: u64| s + size <= limit && free.range(s..s + size).count() as u64 == size;
                    match a.alloc(order, limit) {
                        Some((Mfn(s), d)) => {
                            assert!(s % size == 0 && fits(s));
                            assert_eq!(d, dirty.range(s..s + size).next().is_some());
                            (s..s + size).for_each(|f| assert!(free.remove(&f)));
                            dirty.retain(|f| !(s..s + size).contains(f));
                            held.push((s, order));
                        }
                        None => assert!(!(0..frames / size).any(|i| fits(i * size))),
                    }
                } else {
                    let (s, order) = held.swap_remove(rnd.below(held.len() as u64) as usize);
                    let d = rnd.below(2) == 0;
                    a.free_range(Mfn(s), 1 << order, d);
                    free.extend(s..s + (1 << order));
                    if d {
                        dirty.extend(s..s + (1 << order));
                    }
                }
                assert_eq!((a.free_pages(), a.scrub_pages()), (free.len() as u64, dirty.len() as u64));
            }
            let (lo, hi) = (rnd.below(frames), rnd.below(frames));
            let (lo, hi) = (lo.min(hi), lo.max(hi));
            assert_eq!(a.free_within(lo, hi), free.range(lo..hi).count() as u64);
            for bound in [a.max_mfn, 1 << 51, u64::MAX] {
                assert_eq!(a.free_within(bound, u64::MAX), 0);
            }
            for (s, order) in held {
                a.free_range(Mfn(s), 1 << order, false);
            }
            assert_eq!(a.free_pages(), frames);
            // Everything has merged again: the largest block that fits is there.
            assert!(a.alloc(12, u64::MAX).is_some());
        }
    }

    #[test]
    fn memory_below_4_gib_is_kept_for_last() {
        let frames = (1 << 20) + 64;
        let a = allocator(frames);
        for _ in 0..64 {
            assert!(a.alloc(0, u64::MAX).unwrap().0.0 >= 1 << 20);
        }
        let (below, _) = a.alloc(0, u64::MAX).unwrap();
        assert!(below.0 < 1 << 20 && below.0 >= 1 << 12);
    }

    #[test]
    fn a_bound_inside_a_large_block_is_kept() {
        let a = allocator(1 << 18);
        let (m, _) = a.alloc(3, 100).unwrap();
        assert_eq!(m, Mfn(88));
        assert!(a.alloc(4, 15).is_none());
    }

    #[test]
    fn claimed_frames_are_only_for_their_claimant() {
        let a = allocator(64);
        assert!(a.claim(60));
        assert!(!a.claim(5));
        assert!(a.alloc(3, u64::MAX).is_none());
        assert!(a.alloc(2, u64::MAX).is_some());
        assert!(a.alloc(0, u64::MAX).is_none());
        let got = a.alloc_claimed(3, u64::MAX, 60).unwrap();
        assert_eq!((got.claim_used, a.outstanding(), a.free_pages()), (8, 52, 52));
        a.unclaim(52);
        assert!(a.alloc(5, u64::MAX).is_some());
    }

    #[test]
    fn dirty_marks_outlive_a_claimed_allocation_until_taken() {
        let a = FrameAllocator::new(256);
        a.free_range(Mfn(0), 128, false);
        a.free_range(Mfn(128), 128, true);
        assert_eq!(a.scrub_pages(), 128);
        let got = a.alloc_claimed(7, u64::MAX, 0).unwrap();
        assert_eq!((got.mfn, got.dirty, a.scrub_pages()), (Mfn(128), true, 0));
        assert_eq!(a.take_dirty(Mfn(128), 128), u64::MAX);
        assert_eq!(a.take_dirty(Mfn(192), 2), 3);
        assert_eq!(a.take_dirty(Mfn(128), 128), 0);
    }

    #[test]
    fn frames_out_for_scrubbing_count_as_free_and_come_back_clean() {
        let a = FrameAllocator::new(64);
        a.free_range(Mfn(0), 32, false);
        a.free_range(Mfn(32), 20, true);
        let mut scrubbed = BTreeSet::new();
        while let ToScrub::Block(block) = a.take_to_scrub() {
            assert_eq!(a.free_pages(), 52);
            scrubbed
                .extend((0..block.frames()).filter(|i| block.dirty >> i & 1 != 0).map(|i| block.first.0 + i));
            a.scrubbed(block);
        }
        assert!(scrubbed.into_iter().eq(32..52));
        assert_eq!(a.scrub_pages(), 0);
        assert_eq!(a.alloc(5, u64::MAX), Some((Mfn(0), false)));
        assert_eq!(a.alloc(4, u64::MAX), Some((Mfn(32), false)));
    }

    #[test]
    fn who_asks_for_what_is_not_there_does_not_wait_for_all_to_be_scrubbed() {
        let a = &FrameAllocator::new(4096);
        a.free_range(Mfn(2048), 2048, true);
        let ToScrub::Block(out) = a.take_to_scrub() else { panic!("all is dirty") };
        std::thread::scope(|s| {
            let asking = s.spawn(|| a.alloc(0, 1024));
            while a.inner.lock().waiting == 0 {
                std::thread::yield_now();
            }
            // No more is taken out: what is out is all that it waits for.
            assert!(matches!(a.take_to_scrub(), ToScrub::Later));
            a.scrubbed(out);
            assert_eq!(asking.join().unwrap(), None);
        });
        assert!(matches!(a.take_to_scrub(), ToScrub::Block(_)), "scrubbing goes on");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "freed twice")]
    fn a_double_free_is_caught() {
        let a = allocator(64);
        a.free_range(Mfn(3), 1, false);
    }
}
