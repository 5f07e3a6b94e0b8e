//! [`Cpus`]: a set of CPUs, as a bitmap of the ABI.

use std::fmt;

/// A set of numbers from 0, least significant bit of the first byte first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cpus {
    bytes: Vec<u8>,
}

impl Cpus {
    /// None of `count`.
    pub fn none(count: usize) -> Self {
        Self { bytes: vec![0; count.div_ceil(8)] }
    }

    /// The first `count`.
    pub fn first(count: usize) -> Self {
        (0..count).fold(Self::none(count), |mut set, n| {
            set.insert(n);
            set
        })
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn contains(&self, n: usize) -> bool {
        self.bytes.get(n / 8).is_some_and(|b| b & 1 << (n % 8) != 0)
    }

    pub fn insert(&mut self, n: usize) {
        if self.bytes.len() <= n / 8 {
            self.bytes.resize(n / 8 + 1, 0);
        }
        self.bytes[n / 8] |= 1 << (n % 8);
    }

    pub fn remove(&mut self, n: usize) {
        if let Some(byte) = self.bytes.get_mut(n / 8) {
            *byte &= !(1 << (n % 8));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.bytes.len() * 8).filter(|n| self.contains(*n))
    }

    pub fn count(&self) -> usize {
        self.bytes.iter().map(|b| b.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether all of `other` are in it.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|n| self.contains(n))
    }
}

impl Extend<usize> for Cpus {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, numbers: I) {
        numbers.into_iter().for_each(|n| self.insert(n));
    }
}

impl FromIterator<usize> for Cpus {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut set = Self::default();
        set.extend(numbers);
        set
    }
}

/// Ranges: `0-3,7`; nothing of an empty set.
impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|n| *n == last + 1) {
                last = next;
            }
            match last {
                _ if last == first => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::Cpus;

    #[test]
    fn ranges_are_joined() {
        let show = |numbers: &[usize]| numbers.iter().copied().collect::<Cpus>().to_string();
        assert_eq!(show(&[]), "");
        assert_eq!(show(&[9]), "9");
        assert_eq!(show(&[0, 1, 3, 5, 6, 7, 64]), "0-1,3,5-7,64");
        assert_eq!(Cpus::first(10).as_bytes(), [0xff, 3]);
        assert!(Cpus::first(9).covers(&Cpus::first(3)) && !Cpus::first(3).covers(&Cpus::first(9)));
    }
}
