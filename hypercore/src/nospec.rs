//! Indices that a guest chooses, made safe for speculation as well.
//!
//! A bounds check that the processor guesses past lets it read, and leave traces in the caches of, whatever an index
//! beyond the end reaches (Spectre variant 1). Here the index itself becomes 0 then, by arithmetic that nothing is
//! guessed about.

use core::hint::black_box;

/// `index` if it is below `len`, else 0. For use after the check that refuses it.
#[inline(always)]
pub fn clamp(index: usize, len: usize) -> usize {
    // The compiler must not conclude from the check before that there is nothing to do.
    let index = black_box(index);
    // The difference is negative just for an index below `len`, as neither is near 2^63; the shift spreads its sign.
    let below = ((index as i64).wrapping_sub(len as i64) >> 63) as usize;
    // An index near 2^64 looks negative as well.
    let positive = !((index as i64 >> 63) as usize);
    index & below & positive
}

/// As `slice.get(index)`.
#[inline(always)]
pub fn get<T>(slice: &[T], index: usize) -> Option<&T> {
    if index < slice.len() { slice.get(clamp(index, slice.len())) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_index_within_bounds_survives() {
        for len in [1, 2, 64, 1 << 40] {
            for index in
                [0, 1, 63, 64, 65, (1 << 40) - 1, 1 << 40, usize::MAX / 2, usize::MAX - 1, usize::MAX]
            {
                assert_eq!(clamp(index, len), if index < len { index } else { 0 }, "{index} of {len}");
            }
        }
        assert_eq!(get(&[7, 8, 9], 2), Some(&9));
        assert_eq!(get(&[7, 8, 9], 3), None);
    }
}
