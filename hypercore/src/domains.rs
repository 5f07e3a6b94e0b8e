//! The list of domains.

use crate::domain::Domain;
use crate::ids::DomId;
use crate::sync::RwLock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// All domains by number; a lookup clones the `Arc`, which is the domain reference.
#[derive(Default)]
pub struct DomainTable {
    map: RwLock<BTreeMap<DomId, Arc<Domain>>>,
}

impl DomainTable {
    pub fn get(&self, id: DomId) -> Option<Arc<Domain>> {
        self.map.read().get(&id).cloned()
    }

    /// The first domain with a number at or above `id`.
    pub fn at_or_above(&self, id: DomId) -> Option<Arc<Domain>> {
        self.map.read().range(id..).next().map(|(_, d)| d.clone())
    }

    /// False if the number is taken.
    pub fn insert(&self, d: Arc<Domain>) -> bool {
        let mut map = self.map.write();
        if map.contains_key(&d.id) {
            return false;
        }
        map.insert(d.id, d);
        true
    }

    pub fn remove(&self, id: DomId) -> Option<Arc<Domain>> {
        self.map.write().remove(&id)
    }

    /// A snapshot in id order.
    pub fn all(&self) -> Vec<Arc<Domain>> {
        self.map.read().values().cloned().collect()
    }
}
