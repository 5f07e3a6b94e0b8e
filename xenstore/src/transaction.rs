//! Transactions: a snapshot to work on, and a log of what was done and learnt there.
//!
//! A commit does the log's requests once more, on the tree as it is then. If each is answered as it
//! was, what the client knows is still true and its changes are already made: the transaction took
//! place at that moment. If one is answered differently, nothing happened and the answer is `EAGAIN`.
//! So two conflict exactly where one has changed an answer that the other was given. Where nobody
//! changed the tree meanwhile, the snapshot simply becomes the tree.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::kept::kept;
use crate::ops::{Change, Op, Outcome, Work};
use crate::path::Path;
use crate::perms::Caller;
use crate::quota::{Delta, Owned, Quotas};
use crate::tree::Tree;

/// One open transaction.
pub struct Transaction {
    /// The tree as it was at the start.
    base: Tree,
    /// The tree as the transaction sees it.
    tree: Tree,
    log: Vec<(Op, Result<Outcome>)>,
    /// What has been read since the last write, so that reading it again needs no place in the log.
    read: BTreeSet<(u8, Path)>,
    delta: Delta,
    changes: Vec<Change>,
}

kept!(Transaction { base, tree, log, read, delta, changes });

/// What a commit changed.
pub struct Committed {
    pub tree: Tree,
    pub delta: Delta,
    pub changes: Vec<Change>,
}

impl Transaction {
    pub fn start(tree: &Tree) -> Self {
        Self {
            base: tree.clone(),
            tree: tree.clone(),
            log: Vec::new(),
            read: BTreeSet::new(),
            delta: Delta::default(),
            changes: Vec::new(),
        }
    }

    /// Does `op` in the snapshot. `ENOSPC` where an unprivileged caller's log is full.
    pub fn perform(
        &mut self,
        caller: &Caller,
        op: &Op,
        generation: &mut u64,
        quotas: &Quotas,
        owned: &Owned,
    ) -> Result<Outcome> {
        let kind = match op {
            Op::Read(_) => 0,
            Op::Directory(_) => 1,
            _ => 2,
        };
        let known = op.is_read() && self.read.contains(&(kind, op.path().clone()));
        if !known && !caller.privileged && self.log.len() >= quotas.transaction_nodes as usize {
            return Err(Error::ENOSPC);
        }
        let outcome = Work {
            tree: &mut self.tree,
            generation,
            quotas,
            owned,
            delta: &mut self.delta,
            changes: &mut self.changes,
        }
        .perform(caller, op);
        if known {
            return outcome;
        }
        match op.is_read() {
            true => drop(self.read.insert((kind, op.path().clone()))),
            false => self.read.clear(),
        }
        self.log.push((op.clone(), outcome.clone()));
        outcome
    }

    /// What `tree` becomes with the transaction, or `EAGAIN` where an answer would be another now.
    pub fn commit(
        self,
        caller: &Caller,
        tree: &Tree,
        generation: &mut u64,
        quotas: &Quotas,
        owned: &Owned,
    ) -> Result<Committed> {
        if self.base.is_same(tree) {
            return Ok(Committed { tree: self.tree, delta: self.delta, changes: self.changes });
        }
        let mut now = Committed { tree: tree.clone(), delta: Delta::default(), changes: Vec::new() };
        for (op, then) in &self.log {
            let outcome = Work {
                tree: &mut now.tree,
                generation,
                quotas,
                owned,
                delta: &mut now.delta,
                changes: &mut now.changes,
            }
            .perform(caller, op);
            if outcome != *then {
                return Err(Error::EAGAIN);
            }
        }
        Ok(now)
    }
}
