//! The state as bytes and back: what a daemon's next life begins with.
//!
//! Each type says which of its parts are kept ([`kept!`]), where it is defined. Nodes that several trees share are written
//! once and shared again ([`tree`]). The bytes are for this program alone, or a newer one that knows their [`VERSION`].

mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::perms::Perms;
use crate::tree::Node;

/// Of the form that the bytes have. A change of any kept type changes it.
pub const VERSION: u32 = 2;

/// Bytes being written.
pub struct Writer {
    pub bytes: Vec<u8>,
    /// Numbers of nodes written, by their address; only where some may be shared.
    nodes: Option<HashMap<*const Node, u32>>,
}

impl Writer {
    /// `sharing`: a node may be part of several trees.
    pub fn new(sharing: bool) -> Self {
        Self { bytes: Vec::new(), nodes: sharing.then(HashMap::new) }
    }

    /// Behind `bytes`, which become the first.
    pub fn behind(bytes: Vec<u8>) -> Self {
        Self { bytes, nodes: None }
    }
}

/// Bytes being read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    nodes: Vec<Arc<Node>>,
    perms: HashMap<Perms, Arc<Perms>>,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, nodes: Vec::new(), perms: HashMap::new() }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    /// Bytes that are left.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What can be written and found again.
pub trait Kept: Sized {
    fn keep(&self, to: &mut Writer);
    /// `None` where the bytes are not what [`Kept::keep`] wrote.
    fn find(from: &mut Reader<'_>) -> Option<Self>;
}

/// Says which fields of a struct are kept: all, for it is made of them again.
macro_rules! kept {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::kept::Kept for $type {
            fn keep(&self, to: &mut $crate::kept::Writer) {
                $($crate::kept::Kept::keep(&self.$field, to);)*
            }

            fn find(from: &mut $crate::kept::Reader<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::kept::Kept::find(from)?),* })
            }
        }
    };
}
pub(crate) use kept;

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Kept for $type {
            fn keep(&self, to: &mut Writer) {
                to.bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn find(from: &mut Reader<'_>) -> Option<Self> {
                from.take(size_of::<Self>())?.try_into().ok().map(Self::from_le_bytes)
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i32);

impl Kept for usize {
    fn keep(&self, to: &mut Writer) {
        (*self as u64).keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        u64::find(from)?.try_into().ok()
    }
}

impl Kept for bool {
    fn keep(&self, to: &mut Writer) {
        u8::from(*self).keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some(u8::find(from)? == 1)
    }
}

impl Kept for Arc<[u8]> {
    fn keep(&self, to: &mut Writer) {
        (self.len() as u32).keep(to);
        to.bytes.extend_from_slice(self);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        let len = u32::find(from)? as usize;
        from.take(len).map(Into::into)
    }
}

impl Kept for Arc<str> {
    fn keep(&self, to: &mut Writer) {
        (self.len() as u32).keep(to);
        to.bytes.extend_from_slice(self.as_bytes());
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        let len = u32::find(from)? as usize;
        std::str::from_utf8(from.take(len)?).ok().map(Into::into)
    }
}

impl Kept for String {
    fn keep(&self, to: &mut Writer) {
        Arc::<str>::from(&**self).keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some(Arc::<str>::find(from)?.to_string())
    }
}

/// One for each list that is the same.
impl Kept for Arc<Perms> {
    fn keep(&self, to: &mut Writer) {
        Perms::keep(self, to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        let perms = Perms::find(from)?;
        Some(from.perms.entry(perms).or_insert_with_key(|perms| Arc::new(perms.clone())).clone())
    }
}

impl<T: Kept> Kept for Vec<T> {
    fn keep(&self, to: &mut Writer) {
        (self.len() as u32).keep(to);
        self.iter().for_each(|one| one.keep(to));
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        (0..u32::find(from)?).map(|_| T::find(from)).collect()
    }
}

impl<K: Kept + Ord, V: Kept> Kept for BTreeMap<K, V> {
    fn keep(&self, to: &mut Writer) {
        (self.len() as u32).keep(to);
        for (key, value) in self {
            key.keep(to);
            value.keep(to);
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        (0..u32::find(from)?).map(|_| Kept::find(from)).collect()
    }
}

impl<T: Kept + Ord> Kept for BTreeSet<T> {
    fn keep(&self, to: &mut Writer) {
        (self.len() as u32).keep(to);
        self.iter().for_each(|one| one.keep(to));
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        (0..u32::find(from)?).map(|_| T::find(from)).collect()
    }
}

impl<T: Kept> Kept for Option<T> {
    fn keep(&self, to: &mut Writer) {
        self.is_some().keep(to);
        self.iter().for_each(|some| some.keep(to));
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        if bool::find(from)? { T::find(from).map(Some) } else { Some(None) }
    }
}

impl<T: Kept, E: Kept> Kept for Result<T, E> {
    fn keep(&self, to: &mut Writer) {
        self.is_ok().keep(to);
        match self {
            Ok(value) => value.keep(to),
            Err(error) => error.keep(to),
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        if bool::find(from)? { T::find(from).map(Ok) } else { E::find(from).map(Err) }
    }
}

impl<A: Kept, B: Kept> Kept for (A, B) {
    fn keep(&self, to: &mut Writer) {
        self.0.keep(to);
        self.1.keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::find(from)?, B::find(from)?))
    }
}

impl Kept for () {
    fn keep(&self, _: &mut Writer) {}

    fn find(_: &mut Reader<'_>) -> Option<Self> {
        Some(())
    }
}
