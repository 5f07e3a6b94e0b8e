//! The tree of nodes. Copying it is one reference count: what changes afterwards is copied on the
//! way from the root to the change, and only as long as the copy is held.

use std::sync::Arc;

use crate::children::{Children, Keyed};
use crate::path::Path;
use crate::perms::Perms;

/// One node. A node without a name is the root.
#[derive(Clone)]
pub struct Node {
    pub(crate) name: Arc<str>,
    pub value: Arc<[u8]>,
    pub perms: Arc<Perms>,
    /// Changes, to a number never used before, with the node's value, permissions and children.
    pub generation: u64,
    pub children: Children<Node>,
}

impl Keyed for Node {
    fn key(&self) -> &str {
        &self.name
    }
}

impl Node {
    /// A node without children.
    pub fn new(name: &str, value: Arc<[u8]>, perms: Arc<Perms>, generation: u64) -> Self {
        Self { name: name.into(), value, perms, generation, children: Children::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `each` with this node and everything below it, and its path below `path`.
    pub fn visit(self: &Arc<Self>, path: &Path, each: &mut impl FnMut(&Path, &Arc<Node>)) {
        each(path, self);
        for child in self.children.iter() {
            child.visit(&path.child(child.name()), each);
        }
    }
}

/// The whole store's nodes. A clone is a snapshot.
#[derive(Clone)]
pub struct Tree {
    root: Arc<Node>,
}

impl Tree {
    pub fn new(root: Node) -> Self {
        Self { root: Arc::new(root) }
    }

    /// The tree below `root`.
    pub fn of(root: Arc<Node>) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Whether nothing was changed in either since one was cloned from the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    pub fn get(&self, path: &Path) -> Option<&Arc<Node>> {
        path.names().try_fold(&self.root, |node, name| node.children.get(name))
    }

    /// The node, or else the nearest of its ancestors that exists, and how many of the path's
    /// names are missing (0: it is the node itself).
    pub fn nearest(&self, path: &Path) -> (&Arc<Node>, usize) {
        let mut node = &self.root;
        let mut names = path.names();
        while let Some(name) = names.next() {
            match node.children.get(name) {
                Some(child) => node = child,
                None => return (node, 1 + names.count()),
            }
        }
        (node, 0)
    }

    /// The node, this tree's alone.
    pub fn get_mut(&mut self, path: &Path) -> Option<&mut Node> {
        let mut node = Arc::make_mut(&mut self.root);
        for name in path.names() {
            node = Arc::make_mut(node.children.get_mut(name)?);
        }
        Some(node)
    }

    /// Makes the node and what is missing above it, all with `perms`; only the last has `value`.
    /// It must not exist.
    pub fn create(&mut self, path: &Path, value: Arc<[u8]>, perms: &Arc<Perms>, generation: u64) {
        let mut names = path.names();
        let last = names.next_back().expect("the root exists");
        let mut node = Arc::make_mut(&mut self.root);
        for name in names {
            if node.children.get(name).is_none() {
                node.generation = generation;
                node.children.insert(Arc::new(Node::new(name, [].into(), perms.clone(), generation)));
            }
            node = Arc::make_mut(node.children.get_mut(name).expect("it was just made"));
        }
        node.generation = generation;
        node.children.insert(Arc::new(Node::new(last, value, perms.clone(), generation)));
    }

    /// Takes the node out, with everything below it. `None`: it does not exist, or is the root.
    pub fn remove(&mut self, path: &Path, generation: u64) -> Option<Arc<Node>> {
        let last = path.names().next_back()?;
        self.get(path)?;
        let parent = self.get_mut(&path.parent()?)?;
        parent.generation = generation;
        parent.children.remove(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perms::Access;

    fn tree() -> (Tree, Arc<Perms>) {
        let perms = Arc::new(Perms::owned(0, Access::NONE));
        (Tree::new(Node::new("", [].into(), perms.clone(), 0)), perms)
    }

    #[test]
    fn what_is_missing_above_is_made() {
        let (mut tree, perms) = tree();
        tree.create(&Path::known("/a/b/c"), b"v"[..].into(), &perms, 1);
        assert_eq!(&*tree.get(&Path::known("/a/b/c")).unwrap().value, b"v");
        assert!(tree.get(&Path::known("/a/b")).unwrap().value.is_empty());
        let (nearest, missing) = tree.nearest(&Path::known("/a/b/x/y"));
        assert_eq!((nearest.name(), missing), ("b", 2));
        assert_eq!(tree.root().generation, 1);
    }

    #[test]
    fn a_snapshot_shares_what_did_not_change_and_never_changes() {
        let (mut tree, perms) = tree();
        for path in ["/a/x", "/b/y"] {
            tree.create(&Path::known(path), b"old"[..].into(), &perms, 1);
        }
        let snapshot = tree.clone();
        assert!(tree.is_same(&snapshot));
        tree.get_mut(&Path::known("/a/x")).unwrap().value = b"new"[..].into();
        tree.remove(&Path::known("/a/x"), 2);
        assert!(!tree.is_same(&snapshot));
        assert_eq!(&*snapshot.get(&Path::known("/a/x")).unwrap().value, b"old");
        let b = Path::known("/b");
        assert!(Arc::ptr_eq(tree.get(&b).unwrap(), snapshot.get(&b).unwrap()));
    }

    #[test]
    fn without_a_snapshot_nothing_is_copied() {
        let (mut tree, perms) = tree();
        tree.create(&Path::known("/a/x"), [].into(), &perms, 1);
        let before = Arc::as_ptr(tree.get(&Path::known("/a")).unwrap());
        tree.get_mut(&Path::known("/a/x")).unwrap().generation = 5;
        assert_eq!(Arc::as_ptr(tree.get(&Path::known("/a")).unwrap()), before);
    }

    #[test]
    fn the_root_stays_and_what_is_absent_is_not_removed() {
        let (mut tree, _) = tree();
        let before = tree.clone();
        assert!(tree.remove(&Path::known("/"), 1).is_none());
        assert!(tree.remove(&Path::known("/a/b"), 1).is_none());
        assert!(tree.is_same(&before));
    }
}
