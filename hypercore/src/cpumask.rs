//! Sets of physical CPUs.

use crate::ids::CpuId;
use core::sync::atomic::{AtomicU64, Ordering::*};

/// Most physical CPUs this build manages.
pub const MAX_CPUS: usize = 256;
const WORDS: usize = MAX_CPUS / 64;

#[derive(Clone, Copy, Debug, Default)]
pub struct CpuMask([u64; WORDS]);

impl PartialEq for CpuMask {
    /// Word by word: what is derived calls a function for bytes.
    #[inline]
    fn eq(&self, o: &Self) -> bool {
        (0..WORDS).fold(0, |differ, i| differ | (self.0[i] ^ o.0[i])) == 0
    }
}

impl Eq for CpuMask {}

impl CpuMask {
    pub const EMPTY: Self = Self([0; WORDS]);
    pub const ALL: Self = Self([u64::MAX; WORDS]);
    #[inline]
    pub fn single(cpu: CpuId) -> Self {
        let mut m = Self::EMPTY;
        m.insert(cpu);
        m
    }
    /// CPUs 0..n.
    pub fn first(n: usize) -> Self {
        let mut m = Self::EMPTY;
        (0..n).for_each(|c| m.insert(CpuId(c as u32)));
        m
    }
    #[inline]
    pub fn insert(&mut self, c: CpuId) {
        self.0[c.0 as usize / 64] |= 1 << (c.0 % 64);
    }
    pub fn remove(&mut self, c: CpuId) {
        self.0[c.0 as usize / 64] &= !(1 << (c.0 % 64));
    }
    #[inline]
    pub fn contains(&self, c: CpuId) -> bool {
        (c.0 as usize) < MAX_CPUS && self.0[c.0 as usize / 64] >> (c.0 % 64) & 1 != 0
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }
    pub fn count(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }
    pub fn and(&self, o: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & o.0[i]))
    }
    pub fn or(&self, o: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] | o.0[i]))
    }
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        (0..WORDS).flat_map(move |w| {
            let mut bits = self.0[w];
            core::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let b = bits.trailing_zeros();
                    bits &= bits - 1;
                    CpuId(w as u32 * 64 + b)
                })
            })
        })
    }
    /// Little-endian bytes, bit n = CPU n (the ABI's bitmap form).
    pub fn to_bytes(&self) -> [u8; MAX_CPUS / 8] {
        let mut b = [0; MAX_CPUS / 8];
        for (i, w) in self.0.iter().enumerate() {
            b[i * 8..i * 8 + 8].copy_from_slice(&w.to_le_bytes());
        }
        b
    }
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut m = Self::EMPTY;
        for (i, b) in bytes.iter().take(MAX_CPUS / 8).enumerate() {
            m.0[i / 8] |= u64::from(*b) << (i % 8 * 8);
        }
        m
    }
}

/// A [`CpuMask`] that several CPUs change.
#[derive(Debug, Default)]
pub struct AtomicCpuMask([AtomicU64; WORDS]);

impl AtomicCpuMask {
    pub fn insert(&self, c: CpuId) {
        self.0[c.0 as usize / 64].fetch_or(1 << (c.0 % 64), SeqCst);
    }
    pub fn remove(&self, c: CpuId) {
        self.0[c.0 as usize / 64].fetch_and(!(1 << (c.0 % 64)), SeqCst);
    }
    pub fn load(&self) -> CpuMask {
        CpuMask(core::array::from_fn(|i| self.0[i].load(SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_equal_by_every_word() {
        for c in [0, 63, 64, 130, 255] {
            let m = CpuMask::single(CpuId(c));
            assert!(!m.is_empty() && m != CpuMask::EMPTY && m == CpuMask::single(CpuId(c)));
            assert_ne!(m, CpuMask::single(CpuId(c ^ 128)));
        }
        assert!(CpuMask::EMPTY.is_empty());
    }
}
