//! A set of small numbers as bits, with summary levels above it, so that the highest member at or below a
//! number is found in a few steps however large the machine is.

use arrayvec::ArrayVec;

/// Enough for 2^36 bits.
const LEVELS: usize = 6;

/// Bit `i` of level n+1 says whether word `i` of level n has any bit set.
pub(super) struct Bitmap {
    levels: ArrayVec<&'static mut [u64], LEVELS>,
    bits: u64,
}

/// Words of each level of a set of `bits` numbers, the lowest first.
fn level_words(bits: u64) -> impl Iterator<Item = usize> {
    let mut left = bits.max(1);
    let mut last = false;
    core::iter::from_fn(move || {
        if last {
            return None;
        }
        left = left.div_ceil(64);
        last = left == 1;
        Some(left as usize)
    })
}

impl Bitmap {
    pub fn words_needed(bits: u64) -> usize {
        level_words(bits).sum()
    }

    /// An empty set of numbers below `bits`; takes its words, which must be zero, off the front of `storage`.
    pub fn take(bits: u64, storage: &mut &'static mut [u64]) -> Self {
        let mut levels = ArrayVec::new();
        for words in level_words(bits) {
            let (level, rest) = core::mem::take(storage).split_at_mut(words);
            *storage = rest;
            levels.push(level);
        }
        Self { levels, bits }
    }

    pub fn contains(&self, i: u64) -> bool {
        i < self.bits && self.levels[0][(i / 64) as usize] >> (i % 64) & 1 != 0
    }

    pub fn insert(&mut self, i: u64) {
        let mut i = i;
        for level in &mut self.levels {
            let word = &mut level[(i / 64) as usize];
            let was = *word;
            *word |= 1 << (i % 64);
            if was != 0 {
                return;
            }
            i /= 64;
        }
    }

    pub fn remove(&mut self, i: u64) {
        let mut i = i;
        for level in &mut self.levels {
            let word = &mut level[(i / 64) as usize];
            *word &= !(1 << (i % 64));
            if *word != 0 {
                return;
            }
            i /= 64;
        }
    }

    /// The highest member at or below `i`.
    pub fn highest_up_to(&self, i: u64) -> Option<u64> {
        if self.bits == 0 {
            return None;
        }
        let mut i = i.min(self.bits - 1);
        let mut depth = 0;
        loop {
            let level = self.levels.get(depth)?;
            let word = level[(i / 64) as usize] & (u64::MAX >> (63 - i % 64));
            if word != 0 {
                i = i / 64 * 64 + (63 - u64::from(word.leading_zeros()));
                break;
            }
            i = (i / 64).checked_sub(1)?;
            depth += 1;
        }
        for level in self.levels[..depth].iter().rev() {
            i = i * 64 + (63 - u64::from(level[i as usize].leading_zeros()));
        }
        Some(i)
    }

    /// Calls `f` with each word index that `start..start + count` touches and the mask of its bits inside.
    fn words(start: u64, count: u64) -> impl Iterator<Item = (usize, u64)> {
        let end = start + count;
        let mut at = start;
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let next = (at / 64 * 64 + 64).min(end);
            let mask = (u64::MAX << (at % 64)) & (u64::MAX >> (63 - (next - 1) % 64));
            let word = (at / 64) as usize;
            at = next;
            Some((word, mask))
        })
    }

    pub fn insert_range(&mut self, start: u64, count: u64) {
        for (word, mask) in Self::words(start, count) {
            let was = self.levels[0][word];
            self.levels[0][word] |= mask;
            if was == 0 {
                self.summarise(word, true);
            }
        }
    }

    /// Empties the range; says how many members it had.
    pub fn remove_range(&mut self, start: u64, count: u64) -> u64 {
        let mut had = 0;
        for (word, mask) in Self::words(start, count) {
            let was = self.levels[0][word];
            had += u64::from((was & mask).count_ones());
            self.levels[0][word] = was & !mask;
            if was != 0 && was & !mask == 0 {
                self.summarise(word, false);
            }
        }
        had
    }

    /// Members in the range.
    pub fn count_range(&self, start: u64, count: u64) -> u64 {
        Self::words(start, count).map(|(w, mask)| u64::from((self.levels[0][w] & mask).count_ones())).sum()
    }

    /// Takes the members among the `n` (at most 64) numbers from `start` out: bit i is `start + i`.
    pub fn take_bits(&mut self, start: u64, n: u64) -> u64 {
        let mut bits = 0;
        for i in 0..n.min(64) {
            if self.contains(start + i) {
                bits |= 1 << i;
            }
        }
        self.remove_range(start, n.min(64));
        bits
    }

    /// Carries the state of word `i` of the lowest level upwards.
    fn summarise(&mut self, i: usize, any: bool) {
        let mut i = i as u64;
        for level in &mut self.levels[1..] {
            let word = &mut level[(i / 64) as usize];
            let was = *word;
            if any {
                *word |= 1 << (i % 64);
            } else {
                *word &= !(1 << (i % 64));
            }
            // Above, only a change between empty and not is news.
            if (was == 0) == (*word == 0) {
                return;
            }
            i /= 64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn bitmap(bits: u64) -> Bitmap {
        let mut storage: &'static mut [u64] = vec![0; Bitmap::words_needed(bits)].leak();
        let b = Bitmap::take(bits, &mut storage);
        assert!(storage.is_empty());
        b
    }

    #[test]
    fn it_agrees_with_a_set() {
        let bits = 64 * 64 * 3 + 17;
        let (mut b, mut model) = (bitmap(bits), BTreeSet::new());
        let mut seed = 12345u64;
        let mut rnd = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..4000 {
            let i = rnd(bits);
            match rnd(6) {
                0 => {
                    b.insert(i);
                    model.insert(i);
                }
                1 => {
                    b.remove(i);
                    model.remove(&i);
                }
                2 => {
                    let n = rnd(200).min(bits - i);
                    b.insert_range(i, n);
                    model.extend(i..i + n);
                }
                3 => {
                    let n = rnd(900).min(bits - i);
                    let had = model.range(i..i + n).count() as u64;
                    assert_eq!(b.count_range(i, n), had);
                    assert_eq!(b.remove_range(i, n), had);
                    model.retain(|m| !(i..i + n).contains(m));
                }
                4 => assert_eq!(b.contains(i), model.contains(&i)),
                _ => assert_eq!(b.highest_up_to(i), model.range(..=i).next_back().copied()),
            }
        }
        assert_eq!(b.highest_up_to(u64::MAX), model.last().copied());
    }

    #[test]
    fn a_terabyte_costs_one_bit_a_frame_and_little_more() {
        let frames = 1u64 << 28;
        assert!(Bitmap::words_needed(frames) as u64 <= frames / 64 + frames / 64 / 60);
    }

    #[test]
    fn taken_bits_are_relative_to_the_start() {
        let mut b = bitmap(300);
        b.insert_range(100, 3);
        assert_eq!(b.take_bits(99, 64), 0b1110);
        assert_eq!(b.highest_up_to(299), None);
    }
}
