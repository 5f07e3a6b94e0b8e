//! The list of domains.

use crate::domain::Domain;
use crate::fallible::TryVec;
use crate::ids::DomId;
use crate::sync::RwLock;
use abi::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::*};

/// All domains by number; a lookup clones the `Arc`, which is the domain reference.
#[derive(Default)]
pub struct DomainTable {
    /// Ascending.
    list: RwLock<Vec<Arc<Domain>>>,
    /// The last number given: the next new domain gets a later one, so that numbers are not soon used again.
    last: AtomicU16,
    /// Domains that are dead and wait for others to let go of their frames.
    pub(crate) zombies: AtomicU32,
    /// [`FrameTable::freed`](crate::frame::FrameTable::freed) when somebody last looked for zombies that can go.
    pub(crate) reaped_at: AtomicU64,
}

impl DomainTable {
    pub fn get(&self, id: DomId) -> Option<Arc<Domain>> {
        let list = self.list.read();
        let at = list.binary_search_by_key(&id, |d| d.id).ok()?;
        Some(list[at].clone())
    }

    /// The first domain with a number at or above `id`.
    pub fn at_or_above(&self, id: DomId) -> Option<Arc<Domain>> {
        let list = self.list.read();
        list.get(list.partition_point(|d| d.id < id)).cloned()
    }

    /// EEXIST: the number is taken. ENOMEM.
    pub fn insert(&self, d: Arc<Domain>) -> Result<(), Errno> {
        let mut list = self.list.write();
        match list.binary_search_by_key(&d.id, |d| d.id) {
            Ok(_) => Err(Errno::EEXIST),
            Err(at) => list.try_insert(at, d),
        }
    }

    pub fn remove(&self, id: DomId) -> Option<Arc<Domain>> {
        let mut list = self.list.write();
        let at = list.binary_search_by_key(&id, |d| d.id).ok()?;
        Some(list.remove(at))
    }

    /// Every domain in id order; one that comes or goes meanwhile may be seen or not.
    pub fn all(&self) -> impl Iterator<Item = Arc<Domain>> + '_ {
        let mut next = DomId(0);
        core::iter::from_fn(move || {
            let d = self.at_or_above(next)?;
            next = DomId(d.id.0 + 1);
            Some(d)
        })
    }

    /// A number no domain has, or `None` when all are taken.
    pub fn free_id(&self) -> Option<DomId> {
        let list = self.list.read();
        let last = self.last.load(Relaxed);
        let after = (last + 1..DomId::FIRST_RESERVED.0).chain(1..=last).map(DomId);
        let free = after.into_iter().find(|id| list.binary_search_by_key(id, |d| d.id).is_err())?;
        self.last.store(free.0, Relaxed);
        Some(free)
    }
}
