//! The children of a node, in the order of their names: a B-tree whose parts are shared between
//! snapshots and copied only when a shared one changes.
//!
//! A thousand guests' folders stand in one node. A change below one of them copies a few tens of
//! pointers if a snapshot is held, and nothing if none is. A name is looked for by its [`prefix`],
//! which stands beside each pointer: following them to compare names would cost more than all else
//! that a request does, and grow with the folder.

use std::cmp::Ordering;
use std::sync::Arc;

/// The most entries of one part.
const MAX: usize = 32;

/// What has a name that it can be found by.
pub trait Keyed {
    fn key(&self) -> &str;
}

/// A persistent map from names to items. Cloning it costs one part at most.
pub enum Children<T> {
    Leaf(Vec<Entry<T>>),
    /// Each part with a name that is not above its names and above those of the part before.
    Branch(Vec<Part<T>>),
}

/// An item, and the prefix of its name.
pub struct Entry<T> {
    prefix: u64,
    item: Arc<T>,
}

/// A lower bound of the names in a part, with its prefix, and the part.
pub struct Part<T> {
    prefix: u64,
    bound: Arc<str>,
    part: Arc<Children<T>>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { prefix: self.prefix, item: self.item.clone() }
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { prefix: self.prefix, bound: self.bound.clone(), part: self.part.clone() }
    }
}

impl<T> Part<T> {
    fn new(bound: Arc<str>, part: Children<T>) -> Self {
        Self { prefix: prefix(&bound), bound, part: Arc::new(part) }
    }
}

/// A name's first eight bytes as a number: where two names' differ, they order as the names do.
fn prefix(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let len = name.len().min(8);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    u64::from_be_bytes(bytes)
}

impl<T> Clone for Children<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(items) => Self::Leaf(items.clone()),
            Self::Branch(parts) => Self::Branch(parts.clone()),
        }
    }
}

impl<T> Default for Children<T> {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

impl<T: Keyed> Children<T> {
    pub fn get(&self, key: &str) -> Option<&Arc<T>> {
        let mut part = self;
        loop {
            match part {
                Self::Leaf(items) => return Some(&items[position(items, key).ok()?].item),
                Self::Branch(parts) => part = &parts[part_of(parts, key)].part,
            }
        }
    }

    /// The item, in parts that are this map's alone.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Arc<T>> {
        match self {
            Self::Leaf(items) => {
                let at = position(items, key).ok()?;
                Some(&mut items[at].item)
            }
            Self::Branch(parts) => {
                let at = part_of(parts, key);
                Arc::make_mut(&mut parts[at].part).get_mut(key)
            }
        }
    }

    /// Puts `item` in; one of the same name is replaced.
    pub fn insert(&mut self, item: Arc<T>) {
        if let Some(upper) = self.insert_in(item) {
            let lower = std::mem::take(self);
            *self = Self::Branch(vec![Part::new("".into(), lower), upper]);
        }
    }

    /// Inserts, and answers the upper half where the part had to be split.
    fn insert_in(&mut self, item: Arc<T>) -> Option<Part<T>> {
        match self {
            Self::Leaf(items) => {
                match position(items, item.key()) {
                    Ok(at) => items[at].item = item,
                    Err(at) => items.insert(at, Entry { prefix: prefix(item.key()), item }),
                }
                let upper = split(items)?;
                Some(Part::new(upper[0].item.key().into(), Self::Leaf(upper)))
            }
            Self::Branch(parts) => {
                let at = part_of(parts, item.key());
                let upper = Arc::make_mut(&mut parts[at].part).insert_in(item)?;
                parts.insert(at + 1, upper);
                let upper = split(parts)?;
                Some(Part::new(upper[0].bound.clone(), Self::Branch(upper)))
            }
        }
    }

    /// Takes the item out.
    pub fn remove(&mut self, key: &str) -> Option<Arc<T>> {
        match self {
            Self::Leaf(items) => Some(items.remove(position(items, key).ok()?).item),
            Self::Branch(parts) => {
                let at = part_of(parts, key);
                let removed = Arc::make_mut(&mut parts[at].part).remove(key)?;
                if parts[at].part.is_empty() {
                    parts.remove(at);
                }
                if let [only] = &parts[..] {
                    *self = Self::clone(&only.part);
                }
                Some(removed)
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(items) => items.is_empty(),
            Self::Branch(parts) => parts.is_empty(),
        }
    }

    /// Every item, in the order of the names.
    pub fn iter(&self) -> Iter<'_, T> {
        let mut iter = Iter { branches: Vec::new(), leaf: [].iter() };
        iter.descend(self);
        iter
    }
}

fn position<T: Keyed>(items: &[Entry<T>], key: &str) -> Result<usize, usize> {
    let wanted = prefix(key);
    // By numbers alone, which needs no branches; then through those that are the same, mostly one.
    let first = items.partition_point(|entry| entry.prefix < wanted);
    for (at, entry) in items.iter().enumerate().skip(first) {
        match entry.prefix.cmp(&wanted).then_with(|| entry.item.key().cmp(key)) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(at),
            Ordering::Greater => return Err(at),
        }
    }
    Err(items.len())
}

/// Which part has `key` if any has; names below the first part's bound are the first part's.
fn part_of<T>(parts: &[Part<T>], key: &str) -> usize {
    let wanted = prefix(key);
    let first = parts.partition_point(|part| part.prefix < wanted);
    let same = parts[first..].iter().take_while(|part| part.prefix == wanted && *part.bound <= *key);
    (first + same.count()).saturating_sub(1)
}

/// Takes the upper half out of what has grown beyond [`MAX`].
fn split<E>(entries: &mut Vec<E>) -> Option<Vec<E>> {
    (entries.len() > MAX).then(|| entries.split_off(entries.len() / 2))
}

/// See [`Children::iter`].
pub struct Iter<'a, T> {
    branches: Vec<std::slice::Iter<'a, Part<T>>>,
    leaf: std::slice::Iter<'a, Entry<T>>,
}

impl<'a, T> Iter<'a, T> {
    fn descend(&mut self, mut part: &'a Children<T>) {
        loop {
            match part {
                Children::Leaf(items) => {
                    self.leaf = items.iter();
                    return;
                }
                Children::Branch(parts) => {
                    let mut parts = parts.iter();
                    let Some(first) = parts.next() else { return };
                    self.branches.push(parts);
                    part = &first.part;
                }
            }
        }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a Arc<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(&entry.item);
            }
            match self.branches.last_mut()?.next() {
                Some(next) => self.descend(&next.part),
                None => drop(self.branches.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(String, u32);

    impl Keyed for Item {
        fn key(&self) -> &str {
            &self.0
        }
    }

    fn contents(children: &Children<Item>) -> Vec<(String, u32)> {
        children.iter().map(|item| (item.0.clone(), item.1)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against `BTreeMap`; every tenth state is kept and must not change afterwards.
        #[test]
        fn answers_as_a_map_does_and_leaves_snapshots_alone(
            steps in prop::collection::vec((0u32..300, 0u8..4), 0..1500),
        ) {
            let mut ours = Children::default();
            let mut model = BTreeMap::new();
            let mut kept = Vec::new();
            for (number, (key, what)) in steps.into_iter().enumerate() {
                // Some differ in their first eight bytes, some behind them.
                let name = format!("{}{key}", ["", "back", "backend-"][key as usize % 3]);
                match what {
                    0 | 1 => {
                        ours.insert(Arc::new(Item(name.clone(), number as u32)));
                        model.insert(name, number as u32);
                    }
                    2 => prop_assert_eq!(ours.remove(&name).map(|item| item.1), model.remove(&name)),
                    _ => {
                        prop_assert_eq!(ours.get(&name).map(|item| item.1), model.get(&name).copied());
                        if let Some(item) = ours.get_mut(&name) {
                            *item = Arc::new(Item(name.clone(), u32::MAX));
                            model.insert(name, u32::MAX);
                        }
                    }
                }
                if number % 10 == 0 {
                    kept.push((ours.clone(), contents(&ours)));
                }
            }
            prop_assert_eq!(contents(&ours), model.into_iter().collect::<Vec<_>>());
            for (snapshot, then) in kept {
                prop_assert_eq!(contents(&snapshot), then);
            }
        }
    }

    #[test]
    fn a_large_folder_stays_flat_and_empties_wholly() {
        let mut children = Children::default();
        for number in 0..10_000 {
            children.insert(Arc::new(Item(number.to_string(), number)));
        }
        let mut depth = 0;
        let mut part = &children;
        while let Children::Branch(parts) = part {
            part = &parts[0].part;
            depth += 1;
        }
        assert!((2..=3).contains(&depth), "{depth}");
        for number in (0..10_000).rev() {
            assert!(children.remove(&number.to_string()).is_some());
        }
        assert!(children.is_empty() && children.iter().next().is_none());
    }
}
