//! [`Survey`]: the host as a configuration is checked against it.

use xenctl::{DomId, Result, Xen};

use super::room;
use crate::config::check::{Host, HostFiles, Neighbour};
use crate::config::globals::Globals;
use crate::config::model::{Mac, Uuid};
use crate::devices::devices;
use crate::host::bridge;
use crate::hotplug::SCRIPTS;
use crate::names;
use crate::store::Client;

/// What there is: looked at once.
pub struct Survey {
    neighbours: Vec<Neighbour>,
    bridges: Vec<String>,
    pools: Vec<String>,
    cpus: u32,
    free_kib: u64,
}

impl Survey {
    pub fn take(xen: &Xen, store: &mut Client, globals: &Globals) -> Result<Self> {
        let mut free_kib = room::free_kib(xen)?;
        if room::wanted(xen, globals.autoballoon)? {
            free_kib += room::dom0_kib(store)?;
        }
        let mut pools = Vec::new();
        for pool in xen.pools()? {
            pools.extend(names::of_pool(store, pool.id)?);
        }
        let cpus = xen.physinfo()?.nr_cpus;
        Ok(Self { neighbours: neighbours(xen, store)?, bridges: bridge::all(), pools, cpus, free_kib })
    }

    pub fn host(&self) -> Host<'_> {
        Host {
            files: &HostFiles,
            neighbours: &self.neighbours,
            bridges: Some(&self.bridges),
            pools: Some(&self.pools),
            cpus: self.cpus,
            free_kib: Some(self.free_kib),
            bootloaders: &["/usr/lib/xen/bin", "/usr/bin"],
            scripts: SCRIPTS,
        }
    }
}

fn neighbours(xen: &Xen, store: &mut Client) -> Result<Vec<Neighbour>> {
    let mut all = Vec::new();
    for info in xen.domains(DomId(1))? {
        let id = DomId(info.domain);
        let Some(name) = names::of_domain(store, id)? else { continue };
        let (mut macs, mut writes) = (Vec::new(), Vec::new());
        for device in devices(store, id)? {
            match device.kind.as_str() {
                "vif" => macs.extend(device.of_own(store, "mac")?.as_deref().and_then(Mac::parse)),
                "vbd" if device.of_own(store, "mode")?.as_deref() == Some("w") => {
                    writes.extend(device.of_own(store, "params")?);
                }
                _ => {}
            }
        }
        all.push(Neighbour { domid: id.0.into(), name, uuid: Uuid(info.handle), macs, writes });
    }
    Ok(all)
}
