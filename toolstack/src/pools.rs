//! Pools of CPUs: made wholly or not at all, divided by nodes, and ended.

use std::collections::BTreeMap;
use std::fs;

use abi::Errno;
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

/// Divides the only pool into one of each node, `Pool-nodeN`; the first has all domains then. `nodes` says which CPUs are whose.
///
/// # Errors
/// EBUSY where there are other pools already; what refused a CPU. All is as it was then.
pub fn split(xen: &Xen, store: &mut Client, nodes: &BTreeMap<u32, Cpus>) -> Result<()> {
    let pools = xen.pools()?;
    let ([only], Some((first, _))) = (&pools[..], nodes.first_key_value()) else {
        return Err(
            Error::new("dividing the CPUs by nodes", Errno::EBUSY).because("they are in pools already")
        );
    };
    let mut made = Vec::new();
    let all = nodes.iter().skip(1).try_for_each(|(node, cpus)| {
        let cpus: Cpus = cpus.iter().filter(|&cpu| only.cpus.contains(cpu)).collect();
        let mut taken = Vec::new();
        let pool = cpus.iter().try_for_each(|cpu| {
            xen.remove_cpu_from_pool(only.id, cpu as u32)?;
            taken.push(cpu as u32);
            Ok(())
        });
        let pool = pool.and_then(|()| create(xen, store, &format!("Pool-node{node}"), only.scheduler, &cpus));
        match pool {
            Ok(id) => made.push(id),
            Err(_) => give(xen, only.id, &taken),
        }
        pool.map(drop)
    });
    let all = all.and_then(|()| {
        store.write(&format!("/local/pool/{}/name", only.id), format!("Pool-node{first}").as_bytes())
    });
    if all.is_err() {
        for id in made {
            let cpus = xen.pool_from(id).ok().flatten().filter(|pool| pool.id == id).map(|pool| pool.cpus);
            let cpus: Vec<u32> = cpus.unwrap_or_default().iter().map(|cpu| cpu as u32).collect();
            let _ = destroy(xen, store, id);
            give(xen, only.id, &cpus);
        }
    }
    all
}

/// Puts CPUs back where they were.
fn give(xen: &Xen, id: u32, cpus: &[u32]) {
    for &cpu in cpus {
        let _ = xen.add_cpu_to_pool(id, cpu);
    }
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
