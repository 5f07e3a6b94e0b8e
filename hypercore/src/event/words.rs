//! Atomic changes of shared words, bounded.
//!
//! A guest can write the same words from another CPU, so a compare-exchange can fail for ever. Every loop
//! here gives up after a number of attempts that no well-behaved guest comes near; the one that loses by it
//! is the guest that fought. A compare-exchange is always made, even where the value stays: it is the
//! barrier between what a sender wrote before and what the receiver reads after it saw the bit.

use crate::frame::CanWrite;
use crate::machine::Frames;

/// Attempts per change.
const ATTEMPTS: usize = 4096;

/// Replaces the 8-byte word at `offset` by `change(old)`. The old word; `None` if a guest would not let us.
pub fn update64<M: Frames>(
    m: &M,
    f: &impl CanWrite,
    offset: usize,
    change: impl Fn(u64) -> u64,
) -> Option<u64> {
    let mut old = m.load(f, offset);
    for _ in 0..ATTEMPTS {
        match m.compare_exchange(f, offset, old, change(old)) {
            Ok(_) => return Some(old),
            Err(now) => old = now,
        }
    }
    None
}

/// As [`update64`] for the 4-byte word at `offset` (a multiple of 4).
pub fn update32<M: Frames>(
    m: &M,
    f: &impl CanWrite,
    offset: usize,
    change: impl Fn(u32) -> u32,
) -> Option<u32> {
    let (word, shift) = containing(offset);
    update64(m, f, word, |w| merge(w, shift, change((w >> shift) as u32))).map(|w| (w >> shift) as u32)
}

/// The 4-byte word at `offset`.
pub fn load32<M: Frames>(m: &M, f: &impl crate::frame::CanRead, offset: usize) -> u32 {
    let (word, shift) = containing(offset);
    (m.load(f, word) >> shift) as u32
}

/// Offset of the 8-byte word that holds the 4-byte word at `offset`, and the shift within it.
fn containing(offset: usize) -> (usize, u32) {
    (offset & !7, (offset as u32 & 4) * 8)
}

fn merge(word: u64, shift: u32, half: u32) -> u64 {
    word & !(u64::from(u32::MAX) << shift) | u64::from(half) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_changed_and_the_other_kept() {
        assert_eq!(containing(0), (0, 0));
        assert_eq!(containing(12), (8, 32));
        assert_eq!(merge(0x1111_1111_2222_2222, 0, 0x3333_3333), 0x1111_1111_3333_3333);
        assert_eq!(merge(0x1111_1111_2222_2222, 32, 0x3333_3333), 0x3333_3333_2222_2222);
    }
}
