//! What one domain may use of the store. Dom0 is under none of these but the length of paths.

use std::collections::HashMap;

use crate::DomId;
use crate::kept::{Kept, Reader, Writer, kept};

/// The limits, with the values and names that Xen's own daemons have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Nodes a domain may own.
    pub nodes: u32,
    /// Watches a domain may have set.
    pub watches: u32,
    /// Transactions it may have open.
    pub transactions: u32,
    /// Requests one transaction may hold (a read repeated with nothing written between counts once).
    pub transaction_nodes: u32,
    /// Bytes of one node's value.
    pub node_size: u32,
    /// Entries of one node's permissions.
    pub node_permissions: u32,
    /// Bytes of a path, `/local/domain/N/` not counted.
    pub path_max: u32,
    /// Undelivered watch events, after which those of one watch become one.
    pub events: u32,
}

kept!(Quotas {
    nodes,
    watches,
    transactions,
    transaction_nodes,
    node_size,
    node_permissions,
    path_max,
    events,
});

impl Default for Quotas {
    fn default() -> Self {
        Self {
            nodes: 1000,
            watches: 128,
            transactions: 10,
            transaction_nodes: 1024,
            node_size: 2048,
            node_permissions: 5,
            path_max: 2048,
            events: 1024,
        }
    }
}

impl Quotas {
    /// Names and what they mean, in the order of a listing.
    pub const NAMES: [(&'static str, &'static str); 8] = [
        ("nodes", "Nodes per domain"),
        ("watches", "Watches per domain"),
        ("transactions", "Transactions per domain"),
        ("events", "Undelivered watch events per domain"),
        ("transaction-nodes", "Max. number of accessed nodes per transaction"),
        ("permissions", "Max. number of permissions per node"),
        ("node-size", "Max. size of a node's value"),
        ("path-max", "Max. length of a node path"),
    ];

    /// The limit of that name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut u32> {
        Some(match name {
            "nodes" => &mut self.nodes,
            "watches" => &mut self.watches,
            "transactions" => &mut self.transactions,
            "events" => &mut self.events,
            "transaction-nodes" => &mut self.transaction_nodes,
            "permissions" => &mut self.node_permissions,
            "node-size" => &mut self.node_size,
            "path-max" => &mut self.path_max,
            _ => return None,
        })
    }
}

/// How many nodes each domain owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned(HashMap<DomId, u32>);

impl Owned {
    pub fn of(&self, domid: DomId) -> u32 {
        self.0.get(&domid).copied().unwrap_or(0)
    }

    /// Counts what a change of the tree has changed.
    pub fn apply(&mut self, delta: &Delta) {
        for &(domid, change) in &delta.0 {
            let count = self.0.entry(domid).or_default();
            *count = count.checked_add_signed(change).expect("a domain owns no fewer than no nodes");
            if *count == 0 {
                self.0.remove(&domid);
            }
        }
    }
}

impl Kept for Owned {
    fn keep(&self, to: &mut Writer) {
        let mut counts: Vec<_> = self.0.iter().map(|(&domid, &count)| (domid, count)).collect();
        counts.sort_unstable();
        counts.keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self(Vec::find(from)?.into_iter().collect()))
    }
}

impl Kept for Delta {
    fn keep(&self, to: &mut Writer) {
        self.0.keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Kept::find(from).map(Self)
    }
}

/// How a change of the tree changes the counts. Few domains are in one.
#[derive(Clone, Debug, Default)]
pub struct Delta(Vec<(DomId, i32)>);

impl Delta {
    pub fn add(&mut self, domid: DomId, nodes: i32) {
        match self.0.iter_mut().find(|(of, _)| *of == domid) {
            Some((_, change)) => *change += nodes,
            None => self.0.push((domid, nodes)),
        }
    }

    pub fn of(&self, domid: DomId) -> i32 {
        self.0.iter().find(|(of, _)| *of == domid).map_or(0, |&(_, change)| change)
    }
}
