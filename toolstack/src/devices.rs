//! Devices of a domain, as the store has them.

use xenctl::{DomId, Result};

use crate::store::Client;

/// A device of a domain, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What managers of guests keep on it.
    pub path: String,
    /// `vbd`, `vif`, `console`...
    pub kind: String,
    pub id: String,
    pub backend: String,
    pub frontend: String,
}

/// All devices of a domain.
pub fn devices(store: &mut Client, domain: DomId) -> Result<Vec<Device>> {
    let root = format!("/libxl/{domain}/device");
    let mut devices = Vec::new();
    for kind in store.list(&root)?.unwrap_or_default() {
        for id in store.list(&format!("{root}/{kind}"))?.unwrap_or_default() {
            let path = format!("{root}/{kind}/{id}");
            let backend = store.text(&format!("{path}/backend"))?;
            let frontend = store.text(&format!("{path}/frontend"))?;
            if let (Some(backend), Some(frontend)) = (backend, frontend) {
                devices.push(Device { path, kind: kind.clone(), id, backend, frontend });
            }
        }
    }
    Ok(devices)
}

impl Device {
    /// A device that dom0 serves, where its nodes are or will be.
    pub fn new(domain: DomId, kind: &str, number: u32) -> Self {
        Self {
            path: format!("/libxl/{domain}/device/{kind}/{number}"),
            kind: kind.into(),
            id: number.to_string(),
            backend: format!("/local/domain/0/backend/{kind}/{domain}/{number}"),
            frontend: format!("/local/domain/{domain}/device/{kind}/{number}"),
        }
    }

    /// A node of its frontend.
    pub fn of_frontend(&self, store: &mut Client, name: &str) -> Result<Option<String>> {
        store.text(&format!("{}/{name}", self.frontend))
    }

    /// A node that only managers of guests can write.
    pub fn of_own(&self, store: &mut Client, name: &str) -> Result<Option<String>> {
        store.text(&format!("{}/{name}", self.path))
    }

    /// A node of its backend.
    pub fn of_backend(&self, store: &mut Client, name: &str) -> Result<Option<String>> {
        store.text(&format!("{}/{name}", self.backend))
    }
}
