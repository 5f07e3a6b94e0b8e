//! What can be done to a tree, and what it answers: the same code for a request outside of any
//! transaction, one inside, and its repetition at the commit.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::kept::{Kept, Reader, Writer, kept};
use crate::path::Path;
use crate::perms::{Access, Caller, Perms};
use crate::quota::{Delta, Owned, Quotas};
use crate::tree::{Node, Tree};

/// A request to the tree.
#[derive(Clone, Debug)]
pub enum Op {
    Read(Path),
    Directory(Path),
    GetPerms(Path),
    Write(Path, Arc<[u8]>),
    Mkdir(Path),
    Rm(Path),
    SetPerms(Path, Arc<Perms>),
}

impl Op {
    pub fn path(&self) -> &Path {
        match self {
            Self::Read(path) | Self::Directory(path) | Self::GetPerms(path) => path,
            Self::Write(path, _) | Self::SetPerms(path, _) => path,
            Self::Mkdir(path) | Self::Rm(path) => path,
        }
    }

    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Directory(_) | Self::GetPerms(_))
    }
}

/// What the caller learns. Two are equal if it learns the same.
#[derive(Clone)]
pub enum Outcome {
    Value(Arc<[u8]>),
    /// The node whose children's names were asked for.
    Children(Arc<Node>),
    Perms(Arc<Perms>),
    Done,
}

impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Perms(a), Self::Perms(b)) => a == b,
            (Self::Children(a), Self::Children(b)) => {
                let names = |node: &'_ Arc<Node>| -> Vec<String> {
                    node.children.iter().map(|child| child.name().to_owned()).collect()
                };
                Arc::ptr_eq(a, b) || names(a) == names(b)
            }
            (Self::Done, Self::Done) => true,
            _ => false,
        }
    }
}

/// A node that changed, for those who watch.
#[derive(Clone)]
pub struct Change {
    pub path: Path,
    /// Its permissions before and after, where it existed.
    pub before: Option<Arc<Perms>>,
    pub after: Option<Arc<Perms>>,
    /// The node with all that was below it, where it was removed.
    pub removed: Option<Arc<Node>>,
}

kept!(Change { path, before, after, removed });

impl Kept for Op {
    fn keep(&self, to: &mut Writer) {
        let kind: u8 = match self {
            Self::Read(_) => 0,
            Self::Directory(_) => 1,
            Self::GetPerms(_) => 2,
            Self::Write(..) => 3,
            Self::Mkdir(_) => 4,
            Self::Rm(_) => 5,
            Self::SetPerms(..) => 6,
        };
        kind.keep(to);
        self.path().keep(to);
        match self {
            Self::Write(_, value) => value.keep(to),
            Self::SetPerms(_, perms) => perms.keep(to),
            _ => {}
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, path) = (u8::find(from)?, Path::find(from)?);
        Some(match kind {
            0 => Self::Read(path),
            1 => Self::Directory(path),
            2 => Self::GetPerms(path),
            3 => Self::Write(path, Kept::find(from)?),
            4 => Self::Mkdir(path),
            5 => Self::Rm(path),
            6 => Self::SetPerms(path, Kept::find(from)?),
            _ => return None,
        })
    }
}

impl Kept for Outcome {
    fn keep(&self, to: &mut Writer) {
        match self {
            Self::Value(value) => (0u8, value.clone()).keep(to),
            Self::Children(node) => (1u8, node.clone()).keep(to),
            Self::Perms(perms) => (2u8, perms.clone()).keep(to),
            Self::Done => 3u8.keep(to),
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some(match u8::find(from)? {
            0 => Self::Value(Kept::find(from)?),
            1 => Self::Children(Kept::find(from)?),
            2 => Self::Perms(Kept::find(from)?),
            3 => Self::Done,
            _ => return None,
        })
    }
}

/// A tree to work on, with what the work leaves behind.
pub struct Work<'a> {
    pub tree: &'a mut Tree,
    /// The last generation number given out.
    pub generation: &'a mut u64,
    pub quotas: &'a Quotas,
    /// Nodes owned before `delta`.
    pub owned: &'a Owned,
    pub delta: &'a mut Delta,
    pub changes: &'a mut Vec<Change>,
}

impl Work<'_> {
    /// Does `op` for `caller`. A refusal has changed nothing.
    ///
    /// `EACCES` comes before `ENOENT`: what the nearest existing ancestor does not allow the caller
    /// to know, it is not told.
    pub fn perform(&mut self, caller: &Caller, op: &Op) -> Result<Outcome> {
        match op {
            Op::Read(path) => Ok(Outcome::Value(self.readable(caller, path)?.value.clone())),
            Op::Directory(path) => Ok(Outcome::Children(self.readable(caller, path)?.clone())),
            Op::GetPerms(path) => Ok(Outcome::Perms(self.readable(caller, path)?.perms.clone())),
            Op::Write(path, value) => self.write(caller, path, Some(value)),
            Op::Mkdir(path) => self.write(caller, path, None),
            Op::Rm(path) => self.rm(caller, path),
            Op::SetPerms(path, perms) => self.set_perms(caller, path, perms),
        }
    }

    fn readable(&self, caller: &Caller, path: &Path) -> Result<&Arc<Node>> {
        match self.tree.nearest(path) {
            (node, _) if !node.perms.access(caller).allows(Access::READ) => Err(Error::EACCES),
            (node, 0) => Ok(node),
            _ => Err(Error::ENOENT),
        }
    }

    /// Sets the value, or only sees to it that the node exists.
    fn write(&mut self, caller: &Caller, path: &Path, value: Option<&Arc<[u8]>>) -> Result<Outcome> {
        let limited = !caller.privileged;
        if limited && value.is_some_and(|value| value.len() > self.quotas.node_size as usize) {
            return Err(Error::ENOSPC);
        }
        let (node, missing) = self.tree.nearest(path);
        if !node.perms.access(caller).allows(Access::WRITE) {
            return Err(Error::EACCES);
        }
        let before = node.perms.clone();
        if missing == 0 {
            let Some(value) = value else { return Ok(Outcome::Done) };
            let generation = self.next_generation();
            let node = self.tree.get_mut(path).expect("it was just found");
            node.value = value.clone();
            node.generation = generation;
            self.changed(path, Some(before.clone()), Some(before), None);
            return Ok(Outcome::Done);
        }
        // What a guest makes is its own; what dom0 makes is of who owns the folder.
        let perms = match limited && before.owner() != caller.domid {
            true => Arc::new(before.with_owner(caller.domid)),
            false => before,
        };
        let owned = i64::from(self.owned.of(perms.owner())) + i64::from(self.delta.of(perms.owner()));
        if limited && owned + missing as i64 > i64::from(self.quotas.nodes) {
            return Err(Error::ENOSPC);
        }
        self.count(&perms, missing as i32);
        let generation = self.next_generation();
        let value = value.cloned().unwrap_or_else(|| [].into());
        self.tree.create(path, value, &perms, generation);
        self.changed(path, None, Some(perms), None);
        Ok(Outcome::Done)
    }

    fn rm(&mut self, caller: &Caller, path: &Path) -> Result<Outcome> {
        if path.is_root() {
            return Err(Error::EINVAL);
        }
        match self.tree.nearest(path) {
            (node, _) if !node.perms.access(caller).allows(Access::WRITE) => return Err(Error::EACCES),
            (_, 0) => {}
            (_, 1) => return Ok(Outcome::Done),
            _ => return Err(Error::ENOENT),
        }
        let generation = self.next_generation();
        let removed = self.tree.remove(path, generation).expect("it was just found");
        removed.visit(path, &mut |_, node| self.count(&node.perms, -1));
        self.changed(path, Some(removed.perms.clone()), None, Some(removed));
        Ok(Outcome::Done)
    }

    fn set_perms(&mut self, caller: &Caller, path: &Path, perms: &Arc<Perms>) -> Result<Outcome> {
        if !caller.privileged && perms.entries().len() > self.quotas.node_permissions as usize {
            return Err(Error::ENOSPC);
        }
        let before = match self.tree.nearest(path) {
            (node, _) if !node.perms.owned_by(caller) => return Err(Error::EACCES),
            (node, 0) => node.perms.clone(),
            _ => return Err(Error::ENOENT),
        };
        // Else a guest could charge its nodes to another.
        if !caller.privileged && perms.owner() != before.owner() {
            return Err(Error::EPERM);
        }
        self.count(&before, -1);
        self.count(perms, 1);
        let generation = self.next_generation();
        let node = self.tree.get_mut(path).expect("it was just found");
        node.perms = perms.clone();
        node.generation = generation;
        self.changed(path, Some(before), Some(perms.clone()), None);
        Ok(Outcome::Done)
    }

    /// Dom0's nodes are not counted: it has no quota, and most nodes are its.
    fn count(&mut self, perms: &Perms, nodes: i32) {
        if perms.owner() != 0 {
            self.delta.add(perms.owner(), nodes);
        }
    }

    fn next_generation(&mut self) -> u64 {
        *self.generation += 1;
        *self.generation
    }

    fn changed(
        &mut self,
        path: &Path,
        before: Option<Arc<Perms>>,
        after: Option<Arc<Perms>>,
        removed: Option<Arc<Node>>,
    ) {
        self.changes.push(Change { path: path.clone(), before, after, removed });
    }
}
