//! Nodes: with all that is below them, and each once, however many trees it is part of.
//!
//! Trees are snapshots of one another, and which nodes they share says what has not changed between them.

use std::sync::Arc;

use super::{Kept, Reader, Writer};
use crate::children::Children;
use crate::tree::{Node, Tree};

/// Before a node that has not been written yet; else its number follows, which is one more.
const NEW: u32 = 0;

impl Kept for Arc<Node> {
    fn keep(&self, to: &mut Writer) {
        if let Some(&number) = to.nodes.as_ref().and_then(|nodes| nodes.get(&Arc::as_ptr(self))) {
            return (number + 1).keep(to);
        }
        NEW.keep(to);
        self.name.keep(to);
        self.value.keep(to);
        self.perms.keep(to);
        self.generation.keep(to);
        (self.children.iter().count() as u32).keep(to);
        self.children.iter().for_each(|child| child.keep(to));
        if let Some(nodes) = &mut to.nodes {
            nodes.insert(Arc::as_ptr(self), nodes.len() as u32);
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        match u32::find(from)? {
            NEW => {}
            number => return from.nodes.get(number as usize - 1).cloned(),
        }
        let mut node = Node {
            name: Kept::find(from)?,
            value: Kept::find(from)?,
            perms: Kept::find(from)?,
            generation: Kept::find(from)?,
            children: Children::default(),
        };
        for _ in 0..u32::find(from)? {
            node.children.insert(Kept::find(from)?);
        }
        let node = Arc::new(node);
        from.nodes.push(node.clone());
        Some(node)
    }
}

impl Kept for Tree {
    fn keep(&self, to: &mut Writer) {
        self.root().keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Kept::find(from).map(Tree::of)
    }
}
