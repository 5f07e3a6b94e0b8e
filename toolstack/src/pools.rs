//! Pools of CPUs: made wholly or not at all, and ended.

use std::fs;

use xenctl::{Cpus, Error, Result, Xen};

use crate::store::Client;

/// Makes a pool of free CPUs; its number.
pub fn create(xen: &Xen, store: &mut Client, name: &str, scheduler: u32, cpus: &Cpus) -> Result<u32> {
    let id = xen.create_pool(scheduler)?;
    let made = describe(store, id, name).and_then(|()| fill(xen, id, cpus));
    if let Err(e) = made {
        // What failed is what there is to tell.
        let _ = xen.destroy_pool(id);
        let _ = store.remove(&format!("/local/pool/{id}"));
        return Err(e);
    }
    Ok(id)
}

fn describe(store: &mut Client, id: u32, name: &str) -> Result<()> {
    const RANDOM: &str = "/proc/sys/kernel/random/uuid";
    let uuid = fs::read_to_string(RANDOM).map_err(|e| Error::os(format!("reading {RANDOM}"), &e))?;
    store.transaction(|store| {
        store.write(&format!("/local/pool/{id}/uuid"), uuid.trim().as_bytes())?;
        store.write(&format!("/local/pool/{id}/name"), name.as_bytes())
    })
}

/// All of them, or none.
fn fill(xen: &Xen, id: u32, cpus: &Cpus) -> Result<()> {
    let mut added = Vec::new();
    let filled = cpus.iter().try_for_each(|cpu| {
        xen.add_cpu_to_pool(id, cpu as u32)?;
        added.push(cpu as u32);
        Ok(())
    });
    if filled.is_err() {
        for cpu in added {
            let _ = xen.remove_cpu_from_pool(id, cpu);
        }
    }
    filled
}

/// Ends a pool without domains; its CPUs belong to none then. If that is refused, it is as it was.
pub fn destroy(xen: &Xen, store: &mut Client, id: u32) -> Result<()> {
    let cpus = xen.pool_from(id)?.filter(|p| p.id == id).map(|p| p.cpus).unwrap_or_default();
    let mut taken = Vec::new();
    let emptied = cpus.iter().try_for_each(|cpu| {
        xen.remove_cpu_from_pool(id, cpu as u32)?;
        taken.push(cpu as u32);
        Ok(())
    });
    if let Err(e) = emptied.and_then(|()| xen.destroy_pool(id)) {
        for cpu in taken {
            let _ = xen.add_cpu_to_pool(id, cpu);
        }
        return Err(e);
    }
    store.remove(&format!("/local/pool/{id}")).map(drop)
}
