//! Sets of numbers, kept as sorted disjoint inclusive ranges.

use crate::fallible::reserve;
use abi::Errno;
use alloc::vec::Vec;

/// A set of `u64`s.
#[derive(Clone, Debug, Default)]
pub struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Every number.
    pub fn all() -> Self {
        Self(alloc::vec![(0, u64::MAX)])
    }

    pub fn contains(&self, n: u64) -> bool {
        self.contains_range(n, n)
    }

    /// Whether all of `first..=last` is in the set.
    pub fn contains_range(&self, first: u64, last: u64) -> bool {
        let i = self.0.partition_point(|r| r.1 < first);
        self.0.get(i).is_some_and(|r| r.0 <= first && last <= r.1)
    }

    /// Whether any of `first..=last` is in the set.
    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        let i = self.0.partition_point(|r| r.1 < first);
        self.0.get(i).is_some_and(|r| r.0 <= last)
    }

    /// Adds `first..=last`. ENOMEM leaves the set as it was; EINVAL if `first > last`.
    #[expect(clippy::disallowed_methods, reason = "reserved first")]
    pub fn add(&mut self, first: u64, last: u64) -> Result<(), Errno> {
        if first > last {
            return Err(Errno::EINVAL);
        }
        reserve(&mut self.0, 1)?;
        // Ranges that touch or overlap become one.
        let from = self.0.partition_point(|r| r.1 < first.saturating_sub(1));
        let to = self.0.partition_point(|r| r.0 <= last.saturating_add(1));
        let (mut lo, mut hi) = (first, last);
        if from < to {
            lo = lo.min(self.0[from].0);
            hi = hi.max(self.0[to - 1].1);
            self.0.drain(from..to);
        }
        self.0.insert(from, (lo, hi));
        Ok(())
    }

    /// Removes `first..=last`. ENOMEM leaves the set as it was; EINVAL if `first > last`.
    #[expect(clippy::disallowed_methods, reason = "reserved first")]
    pub fn remove(&mut self, first: u64, last: u64) -> Result<(), Errno> {
        if first > last {
            return Err(Errno::EINVAL);
        }
        reserve(&mut self.0, 1)?;
        let from = self.0.partition_point(|r| r.1 < first);
        let to = self.0.partition_point(|r| r.0 <= last);
        if from >= to {
            return Ok(());
        }
        let (lo, hi) = (self.0[from].0, self.0[to - 1].1);
        self.0.drain(from..to);
        if hi > last {
            self.0.insert(from, (last + 1, hi));
        }
        if lo < first {
            self.0.insert(from, (lo, first - 1));
        }
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_bitmap() {
        let mut seed = 7u64;
        let mut next = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let (mut set, mut model) = (RangeSet::new(), [false; 64]);
        for _ in 0..5000 {
            let (a, b) = (next(64), next(64));
            let (lo, hi) = (a.min(b), a.max(b));
            if next(2) == 0 {
                set.add(lo, hi).unwrap();
                model[lo as usize..=hi as usize].fill(true);
            } else {
                set.remove(lo, hi).unwrap();
                model[lo as usize..=hi as usize].fill(false);
            }
            for n in 0..64 {
                assert_eq!(set.contains(n), model[n as usize]);
            }
            assert!(set.0.windows(2).all(|w| w[0].1 + 1 < w[1].0), "{set:?} not normal");
            let (a, b) = (next(64), next(64));
            let (lo, hi) = (a.min(b), a.max(b));
            let part = &model[lo as usize..=hi as usize];
            assert_eq!(set.contains_range(lo, hi), part.iter().all(|x| *x));
            assert_eq!(set.overlaps(lo, hi), part.iter().any(|x| *x));
        }
    }

    #[test]
    fn ends_of_the_number_line() {
        let mut s = RangeSet::all();
        s.remove(0xfee00, 0xfee00).unwrap();
        assert!(s.contains(0) && s.contains(u64::MAX) && !s.contains(0xfee00));
        assert_eq!(s.add(2, 1), Err(Errno::EINVAL));
    }
}
