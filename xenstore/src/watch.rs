//! Watches, kept by path: an event finds those that want it on the way down to its own node, however
//! many there are elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ConnId;
use crate::error::{Error, Result};
use crate::kept::kept;
use crate::path::Path;
use crate::perms::Perms;
use crate::tree::Node;

/// What a client gave to know its watch by: any bytes but nul.
pub type Token = Arc<[u8]>;

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub path: Path,
    /// Bytes of the path that its events leave out; see [`crate::path::Named`].
    pub implied: usize,
    /// How many levels below the path still count; no limit where `None`.
    pub depth: Option<u32>,
}

kept!(Watch { path, implied, depth });

#[derive(Default)]
struct Level {
    here: BTreeMap<(ConnId, Token), Watch>,
    below: HashMap<Box<str>, Level>,
}

impl Level {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty()
    }

    /// Takes a watch out and what is empty without it. Whether it was there.
    fn remove<'a>(&mut self, mut names: impl Iterator<Item = &'a str>, key: &(ConnId, Token)) -> bool {
        let Some(name) = names.next() else { return self.here.remove(key).is_some() };
        let Some(level) = self.below.get_mut(name) else { return false };
        let removed = level.remove(names, key);
        if level.is_empty() {
            self.below.remove(name);
        }
        removed
    }

    fn removed(&self, node: &Arc<Node>, each: &mut impl FnMut(ConnId, &Token, &Watch, &Arc<Perms>)) {
        // The tree's order, not that of a hash table: the same input gives the same events.
        for child in node.children.iter().take_while(|_| !self.below.is_empty()) {
            if let Some(level) = self.below.get(child.name()) {
                for ((conn, token), watch) in &level.here {
                    each(*conn, token, watch, &child.perms);
                }
                level.removed(child, each);
            }
        }
    }
}

/// All watches of all connections.
#[derive(Default)]
pub struct Watches {
    nodes: Level,
    special: Level,
}

impl Watches {
    fn root(&self, path: &Path) -> &Level {
        if path.is_special() { &self.special } else { &self.nodes }
    }

    fn root_mut(&mut self, path: &Path) -> &mut Level {
        if path.is_special() { &mut self.special } else { &mut self.nodes }
    }

    /// `EEXIST` where the connection has one of that path and token.
    pub fn add(&mut self, conn: ConnId, token: Token, watch: Watch) -> Result<()> {
        let path = watch.path.clone();
        let mut level = self.root_mut(&path);
        for name in path.names() {
            if !level.below.contains_key(name) {
                level.below.insert(name.into(), Level::default());
            }
            level = level.below.get_mut(name).expect("it was just made");
        }
        match level.here.entry((conn, token)) {
            std::collections::btree_map::Entry::Occupied(_) => Err(Error::EEXIST),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(watch);
                Ok(())
            }
        }
    }

    /// `ENOENT` where there is none.
    pub fn remove(&mut self, conn: ConnId, token: &Token, path: &Path) -> Result<()> {
        let removed = self.root_mut(path).remove(path.names(), &(conn, token.clone()));
        if removed { Ok(()) } else { Err(Error::ENOENT) }
    }

    pub fn get(&self, conn: ConnId, token: &Token, path: &Path) -> Option<&Watch> {
        let level = path.names().try_fold(self.root(path), |level, name| level.below.get(name))?;
        level.here.get(&(conn, token.clone()))
    }

    /// Calls `each` for every watch that an event at `path` matches.
    pub fn matching(&self, path: &Path, mut each: impl FnMut(ConnId, &Token, &Watch)) {
        let mut level = self.root(path);
        let mut names = path.names();
        let mut distance = path.depth() as u32;
        loop {
            for ((conn, token), watch) in &level.here {
                if watch.depth.is_none_or(|depth| distance <= depth) {
                    each(*conn, token, watch);
                }
            }
            let Some(next) = names.next().and_then(|name| level.below.get(name)) else { return };
            level = next;
            distance -= 1;
        }
    }

    /// Calls `each` for every watch below `path` on a node that went with `removed`, the node at
    /// `path`; with that node's permissions.
    pub fn removed(
        &self,
        path: &Path,
        removed: &Arc<Node>,
        mut each: impl FnMut(ConnId, &Token, &Watch, &Arc<Perms>),
    ) {
        let level = path.names().try_fold(self.root(path), |level, name| level.below.get(name));
        if let Some(level) = level {
            level.removed(removed, &mut each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(path: &str, depth: Option<u32>) -> Watch {
        Watch { path: Path::known(path), implied: 0, depth }
    }

    fn matched(watches: &Watches, path: &str) -> Vec<ConnId> {
        let mut conns = Vec::new();
        watches.matching(&Path::known(path), |conn, _, _| conns.push(conn));
        conns
    }

    #[test]
    fn an_event_meets_the_watches_above_it() {
        let mut watches = Watches::default();
        let token: Token = b"t"[..].into();
        for (conn, path) in [(1, "/"), (2, "/a"), (3, "/a/b"), (4, "/a/b/c"), (5, "/x")] {
            watches.add(conn, token.clone(), watch(path, None)).unwrap();
        }
        assert_eq!(matched(&watches, "/a/b"), [1, 2, 3]);
        assert_eq!(matched(&watches, "/a/bb"), [1, 2]);
        assert_eq!(watches.add(2, token.clone(), watch("/a", None)), Err(Error::EEXIST));
        watches.remove(2, &token, &Path::known("/a")).unwrap();
        assert_eq!(watches.remove(2, &token, &Path::known("/a")), Err(Error::ENOENT));
        assert_eq!(matched(&watches, "/a/b"), [1, 3]);
    }

    #[test]
    fn what_no_watch_needs_is_forgotten() {
        let mut watches = Watches::default();
        let token: Token = b"t"[..].into();
        watches.add(1, token.clone(), watch("/a/b/c", None)).unwrap();
        watches.add(1, token.clone(), watch("/a", None)).unwrap();
        watches.remove(1, &token, &Path::known("/a/b/c")).unwrap();
        assert!(watches.nodes.below["a"].below.is_empty());
        watches.remove(1, &token, &Path::known("/a")).unwrap();
        assert!(watches.nodes.is_empty());
    }

    #[test]
    fn depth_limits_what_counts() {
        let mut watches = Watches::default();
        for depth in 0..3 {
            watches.add(depth.into(), [].into(), watch("/a", Some(depth))).unwrap();
        }
        assert_eq!(matched(&watches, "/a"), [0, 1, 2]);
        assert_eq!(matched(&watches, "/a/b"), [1, 2]);
        assert_eq!(matched(&watches, "/a/b/c"), [2]);
    }

    #[test]
    fn special_events_and_nodes_of_that_name_are_apart() {
        let mut watches = Watches::default();
        watches.add(1, [].into(), watch("@releaseDomain", None)).unwrap();
        watches.add(2, [].into(), watch("/@releaseDomain", None)).unwrap();
        watches.add(3, [].into(), watch("/", None)).unwrap();
        assert_eq!(matched(&watches, "@releaseDomain"), [1]);
        assert_eq!(matched(&watches, "/@releaseDomain"), [3, 2]);
    }
}
