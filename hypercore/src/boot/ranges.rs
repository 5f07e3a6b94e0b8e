//! Sets of physical address ranges: what is RAM, what of it is still free.

use arrayvec::ArrayVec;

/// Addresses `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    /// Bytes in the range.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// Disjoint, sorted ranges. At most `N`; a set that would need more drops its smallest.
#[derive(Clone, Debug, Default)]
pub struct RangeSet<const N: usize> {
    ranges: ArrayVec<Range, N>,
}

impl<const N: usize> RangeSet<N> {
    /// The empty set.
    pub const fn new() -> Self {
        RangeSet { ranges: ArrayVec::new_const() }
    }

    /// The ranges, by address.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range> + '_ {
        self.ranges.iter().copied()
    }

    /// Sum of the lengths in bytes.
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(Range::len).sum()
    }

    /// Whether `addr` is in the set.
    pub fn contains(&self, addr: u64) -> bool {
        self.ranges.iter().any(|r| (r.start..r.end).contains(&addr))
    }

    /// What of `start..end` is in the set.
    pub fn overlap(&self, start: u64, end: u64) -> impl Iterator<Item = Range> + '_ {
        let part = move |r: Range| Range { start: r.start.max(start), end: r.end.min(end) };
        self.iter().map(part).filter(|r| !r.is_empty())
    }

    /// Adds `start..end`, joining what touches it.
    pub fn add(&mut self, mut start: u64, mut end: u64) {
        if end <= start {
            return;
        }
        self.ranges.retain(|r| {
            let touches = r.start <= end && start <= r.end;
            if touches {
                start = start.min(r.start);
                end = end.max(r.end);
            }
            !touches
        });
        self.insert(Range { start, end });
    }

    /// Takes `start..end` out.
    pub fn remove(&mut self, start: u64, end: u64) {
        if end <= start {
            return;
        }
        let before = self.ranges.clone();
        self.ranges.clear();
        for r in before {
            for part in [
                Range { start: r.start, end: r.end.min(start) },
                Range { start: r.start.max(end), end: r.end },
            ] {
                if !part.is_empty() {
                    self.insert(part);
                }
            }
        }
    }

    /// Takes `size` bytes aligned to `align` (a power of two) from the highest place that ends at or below
    /// `limit`; their first address.
    pub fn take_high(&mut self, size: u64, align: u64, limit: u64) -> Option<u64> {
        let start = self.iter().rev().find_map(|r| {
            let start = r.end.min(limit).checked_sub(size)? & !(align - 1);
            (start >= r.start).then_some(start)
        })?;
        self.remove(start, start + size);
        Some(start)
    }

    fn insert(&mut self, range: Range) {
        if self.ranges.is_full() {
            let Some(smallest) = (0..self.ranges.len()).min_by_key(|&i| self.ranges[i].len()) else { return };
            if self.ranges[smallest].len() >= range.len() {
                return;
            }
            self.ranges.remove(smallest);
        }
        let at = self.ranges.partition_point(|r| r.start < range.start);
        self.ranges.insert(at, range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn list<const N: usize>(set: &RangeSet<N>) -> Vec<(u64, u64)> {
        set.iter().map(|r| (r.start, r.end)).collect()
    }

    #[test]
    fn adding_joins_what_touches() {
        let mut s = RangeSet::<8>::new();
        s.add(0, 10);
        s.add(20, 30);
        s.add(10, 20);
        assert_eq!(list(&s), [(0, 30)]);
    }

    #[test]
    fn removing_splits() {
        let mut s = RangeSet::<8>::new();
        s.add(0, 100);
        s.remove(40, 60);
        assert_eq!(list(&s), [(0, 40), (60, 100)]);
        s.remove(0, 40);
        assert_eq!(list(&s), [(60, 100)]);
    }

    #[test]
    fn overlap_is_what_both_have() {
        let mut s = RangeSet::<8>::new();
        s.add(0, 100);
        s.add(200, 300);
        let parts = |start, end| s.overlap(start, end).map(|r| (r.start, r.end)).collect::<Vec<_>>();
        assert_eq!(parts(50, 250), [(50, 100), (200, 250)]);
        assert_eq!(parts(100, 200), []);
        assert_eq!(parts(10, 20), [(10, 20)]);
    }

    #[test]
    fn takes_the_highest_fitting_place() {
        let mut s = RangeSet::<8>::new();
        s.add(0x1000, 0x9000);
        s.add(0x10000, 0x12000);
        assert_eq!(s.take_high(0x4000, 0x4000, u64::MAX), Some(0x4000));
        assert_eq!(s.take_high(0x1000, 0x1000, u64::MAX), Some(0x11000));
        assert_eq!(s.take_high(0x1000, 0x1000, 0x10000), Some(0x8000));
        assert_eq!(s.total(), 0x8000 + 0x2000 - 0x6000);
        assert_eq!(s.take_high(0x4000, 0x1000, u64::MAX), None);
    }

    #[test]
    fn a_full_set_drops_its_smallest() {
        let mut s = RangeSet::<2>::new();
        s.add(0, 10);
        s.add(20, 25);
        s.add(40, 60);
        assert_eq!(list(&s), [(0, 10), (40, 60)]);
    }
}
