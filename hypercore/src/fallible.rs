//! Containers that refuse when the heap is short, where `alloc`'s own end the machine. What guests can make grow grows
//! by these; `clippy.toml` forbids the others.

use abi::Errno;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

#[cfg(any(test, feature = "testing"))]
pub(crate) use crate::testing::shortage::strikes;

/// Only tests make memory short when it is not.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
pub(crate) fn strikes() -> bool {
    false
}

/// Makes room for `n` more values. ENOMEM leaves it as it was.
pub fn reserve<T>(v: &mut Vec<T>, n: usize) -> Result<(), Errno> {
    if strikes() || v.try_reserve(n).is_err() { Err(Errno::ENOMEM) } else { Ok(()) }
}

/// An empty vector with room for `n` values and no more. ENOMEM.
pub fn room<T>(n: usize) -> Result<Vec<T>, Errno> {
    let mut v = Vec::new();
    if strikes() || v.try_reserve_exact(n).is_err() { Err(Errno::ENOMEM) } else { Ok(v) }
}

/// `n` values of `f`'s. ENOMEM.
#[expect(clippy::disallowed_methods, reason = "there is room")]
pub fn filled<T>(n: usize, f: impl FnMut() -> T) -> Result<Vec<T>, Errno> {
    let mut v = room(n)?;
    v.resize_with(n, f);
    Ok(v)
}

/// As [`filled`], of a length that stays. ENOMEM.
pub fn boxed<T>(n: usize, f: impl FnMut() -> T) -> Result<Box<[T]>, Errno> {
    filled(n, f).map(Vec::into)
}

/// A value on the heap, as in a `Box`, which cannot refuse.
pub struct One<T>(Box<[T; 1]>);

impl<T> One<T> {
    /// ENOMEM.
    #[expect(clippy::disallowed_methods, reason = "there is room")]
    pub fn new(value: T) -> Result<Self, Errno> {
        let mut v = room(1)?;
        v.push(value);
        // One value is as long as one value.
        let boxed: Box<[T]> = v.into();
        boxed.try_into().map(Self).map_err(|_| Errno::ENOMEM)
    }
}

impl<T> Deref for One<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T> DerefMut for One<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0[0]
    }
}

/// A value that is shared. No `Arc` can refuse: room for it is asked for, and given back right before it is taken.
/// ENOMEM.
#[expect(clippy::disallowed_methods, reason = "there was room just now")]
pub fn shared<T>(value: T) -> Result<Arc<T>, Errno> {
    /// As long as what an `Arc` allocates.
    #[repr(C)]
    struct Counted<T> {
        _counts: [usize; 2],
        _value: T,
    }
    let asked: Vec<Counted<T>> = room(1)?;
    // Or the compiler would leave out what nobody uses.
    drop(core::hint::black_box(asked));
    Ok(Arc::new(value))
}

/// What grows a vector, or answers ENOMEM and leaves it as it was.
pub trait TryVec<T> {
    fn try_push(&mut self, value: T) -> Result<(), Errno>;
    fn try_insert(&mut self, at: usize, value: T) -> Result<(), Errno>;
    /// Makes it at least `n` long, with copies of `value`.
    fn try_lengthen(&mut self, n: usize, value: T) -> Result<(), Errno>
    where
        T: Clone;
}

#[expect(clippy::disallowed_methods, reason = "there is room")]
impl<T> TryVec<T> for Vec<T> {
    fn try_push(&mut self, value: T) -> Result<(), Errno> {
        reserve(self, 1)?;
        self.push(value);
        Ok(())
    }

    fn try_insert(&mut self, at: usize, value: T) -> Result<(), Errno> {
        reserve(self, 1)?;
        self.insert(at, value);
        Ok(())
    }

    fn try_lengthen(&mut self, n: usize, value: T) -> Result<(), Errno>
    where
        T: Clone,
    {
        if let Some(more) = n.checked_sub(self.len()) {
            reserve(self, more)?;
            self.resize(n, value);
        }
        Ok(())
    }
}

/// A map from few keys, in a sorted vector.
#[derive(Debug)]
pub struct SmallMap<K, V>(Vec<(K, V)>);

impl<K: Ord + Copy, V> SmallMap<K, V> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn get(&self, key: K) -> Option<&V> {
        let at = self.0.binary_search_by_key(&key, |e| e.0).ok()?;
        Some(&self.0[at].1)
    }

    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.0.binary_search_by_key(&key, |e| e.0).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Sets the value of `key`. ENOMEM.
    pub fn insert(&mut self, key: K, value: V) -> Result<(), Errno> {
        match self.0.binary_search_by_key(&key, |e| e.0) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.try_insert(at, (key, value))?,
        }
        Ok(())
    }

    pub fn remove(&mut self, key: K) -> Option<V> {
        let at = self.0.binary_search_by_key(&key, |e| e.0).ok()?;
        Some(self.0.remove(at).1)
    }

    /// By key.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter()
    }
}

impl<K: Ord + Copy, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_are_refused_as_well() {
        use crate::testing::shortage;
        struct Drops<'a>(&'a core::cell::Cell<u32>);
        impl Drop for Drops<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let dropped = core::cell::Cell::new(0);
        for short in [true, false] {
            for n in 0..2 {
                if short {
                    shortage::after(0);
                }
                let had = match n {
                    0 => One::new(Drops(&dropped)).map(|one| (*one).0.get()),
                    _ => shared(Drops(&dropped)).map(|arc| arc.0.get()),
                };
                assert_eq!(had.is_err(), short);
            }
        }
        assert_eq!(dropped.get(), 4, "once each");
        let mut one = One::new([7u8; 5000]).unwrap();
        one[4999] = 8;
        assert_eq!((one[0], one[4999]), (7, 8));
        // The second of three.
        shortage::after(1);
        let three: Vec<bool> = (0..3).map(|_| One::new(0).is_ok()).collect();
        assert_eq!((three, shortage::end()), (std::vec![true, false, true], false));
    }

    #[test]
    fn what_cannot_be_had_is_refused_and_nothing_changes() {
        assert_eq!(filled(usize::MAX, || 0u64), Err(Errno::ENOMEM));
        let mut v = filled(2, || 7u64).unwrap();
        assert_eq!(v.try_lengthen(usize::MAX, 0), Err(Errno::ENOMEM));
        assert_eq!(v, [7, 7]);
        v.try_lengthen(3, 1).unwrap();
        v.try_lengthen(1, 9).unwrap();
        v.try_insert(0, 5).unwrap();
        v.try_push(6).unwrap();
        assert_eq!(v, [5, 7, 7, 1, 6]);
        // The second of three.
        crate::testing::shortage::after(1);
        let had = [9; 3].map(|n| v.try_push(n));
        assert_eq!(had, [Ok(()), Err(Errno::ENOMEM), Ok(())]);
        assert_eq!(v, [5, 7, 7, 1, 6, 9, 9]);
    }

    #[test]
    fn a_small_map_keeps_its_keys_in_order() {
        let mut m = SmallMap::new();
        for key in [5, 1, 9, 5] {
            m.insert(key, key * 10 + m.iter().count() as u32).unwrap();
        }
        assert_eq!(m.iter().copied().collect::<Vec<_>>(), [(1, 11), (5, 53), (9, 92)]);
        assert_eq!((m.remove(1), m.remove(1)), (Some(11), None));
        *m.get_mut(9).unwrap() = 0;
        assert_eq!((m.get(9), m.get(1)), (Some(&0), None));
    }
}
