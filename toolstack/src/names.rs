//! Domains and pools by what people call them. Names stand in the store.

use xenctl::{DomId, Result, Xen};

use crate::store::Client;

/// A domain's name; `None` while it has none, which a dying domain may not have.
pub fn of_domain(store: &mut Client, id: DomId) -> Result<Option<String>> {
    store.text(&format!("/local/domain/{id}/name"))
}

/// A pool's name.
pub fn of_pool(store: &mut Client, id: u32) -> Result<Option<String>> {
    let name = store.text(&format!("/local/pool/{id}/name"))?;
    // The first pool is there before anybody names it.
    Ok(name.or_else(|| (id == 0).then(|| "Pool-0".into())))
}

/// The domain that is called this: its number, which need not exist, or its name.
pub fn domain(xen: &Xen, store: &mut Client, called: &str) -> Result<Option<DomId>> {
    match called.parse() {
        Ok(number) => Ok(Some(DomId(number))),
        Err(_) => named(xen, store, called),
    }
}

/// The domain with this name.
pub fn named(xen: &Xen, store: &mut Client, name: &str) -> Result<Option<DomId>> {
    for domain in xen.domains(DomId(0))? {
        let id = DomId(domain.domain);
        if of_domain(store, id)?.as_deref() == Some(name) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Calls a domain this; false if the store does not know it.
pub fn rename(store: &mut Client, id: DomId, name: &str) -> Result<bool> {
    store.transaction(|store| {
        let path = format!("/local/domain/{id}");
        let there = store.text(&format!("{path}/name"))?.is_some();
        if there {
            store.write(&format!("{path}/name"), name.as_bytes())?;
            if let Some(vm) = store.text(&format!("{path}/vm"))? {
                store.write(&format!("{vm}/name"), name.as_bytes())?;
            }
        }
        Ok(there)
    })
}

/// The pool that is called this, by number or name.
pub fn pool(xen: &Xen, store: &mut Client, called: &str) -> Result<Option<u32>> {
    let number = called.parse::<u32>().ok();
    for pool in xen.pools()? {
        if number == Some(pool.id) || of_pool(store, pool.id)?.as_deref() == Some(called) {
            return Ok(Some(pool.id));
        }
    }
    Ok(None)
}
