//! Creates guests: wholly, or not at all.
//!
//! [`create`] takes a configuration that has been read and checked, and leaves a paused domain with everything that
//! stock tools leave of theirs: nodes of the store ([`tree`], [`console`]), devices ([`disk`], [`nic`]) whose backends
//! are ready, the configuration's file ([`files`]). So it does not matter which tools look after it then.

pub mod console;
pub mod disk;
pub mod files;
pub mod lock;
pub mod nic;
pub mod room;
pub mod served;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod vdev;

use std::path::Path;

use abi::Errno;
use xenctl::{DomId, Error, Result, Xen};

use crate::build::{self, Boot, Pages, Ports};
use crate::config::model::{BuildInfo, Disk, DomainConfig, Mac, Nic};
use crate::store::Client;
use crate::{destroy, names};

/// What a guest is made of, and where its traces go.
pub struct Order<'a> {
    pub config: DomainConfig,
    pub contents: Contents<'a>,
    /// Where files on guests are: [`destroy::USERDATA`].
    pub folder: &'a Path,
    /// Where the scripts of the configuration are: [`crate::hotplug::SCRIPTS`].
    pub scripts: &'a str,
}

/// What a guest begins with.
pub enum Contents<'a> {
    /// A kernel, at its start.
    Boot(&'a Boot),
    /// What it was when it was saved: this fills a domain that has nothing but its limits
    /// ([`crate::save::read::guest`]).
    Saved(&'a mut dyn FnMut(&Xen, DomId) -> Result<Ports>),
}

impl Contents<'_> {
    fn fill(&mut self, xen: &Xen, domain: DomId, info: &BuildInfo) -> Result<Ports> {
        match self {
            Self::Boot(boot) => {
                let (count, claim) = (build::memory::target_pages(info), info.claim_mode.or(true));
                build::start(xen, domain, &Pages::give(xen, domain, count, claim)?, boot)
            }
            Self::Saved(fill) => fill(xen, domain),
        }
    }
}

/// A guest that there is now, paused.
#[derive(Clone, Debug)]
pub struct Created {
    pub domain: DomId,
    /// As it is kept: with what was chosen for it.
    pub config: DomainConfig,
}

/// Makes the guest. What goes wrong while an attempt is undone is told to `complain`; its error says why it failed.
pub fn create(
    xen: &Xen,
    store: &mut Client,
    mut order: Order<'_>,
    complain: &mut dyn FnMut(&Error),
) -> Result<Created> {
    complete(xen, store, &mut order.config)?;
    let pool = pool(xen, store, &order.config)?;
    let domain = build::domain::create(xen, &order.config, pool)?;
    match furnish(xen, store, &mut order, domain) {
        Ok(()) => Ok(Created { domain, config: order.config }),
        Err(e) => {
            let uuid = order.config.c_info.uuid.to_string();
            if let Err(e) = destroy::destroy_in(xen, store, domain, &uuid, order.folder, complain) {
                complain(&e);
            }
            Err(e)
        }
    }
}

/// Chooses what the configuration leaves open, and refuses what is taken meanwhile.
fn complete(xen: &Xen, store: &mut Client, config: &mut DomainConfig) -> Result<()> {
    let doing = || "creating a guest".to_owned();
    let name = config.c_info.name.clone().unwrap_or_default();
    if let Some(other) = names::named(xen, store, &name)? {
        return Err(Error::new(doing(), Errno::EEXIST).because(format!("domain {other} is called {name}")));
    }
    config.disks.iter().try_for_each(disk::check)?;
    for (index, nic) in config.nics.iter_mut().enumerate() {
        nic::check(nic)?;
        nic.devid.get_or_insert(index as i32);
        if nic.mac == Mac::default() {
            nic.mac = nic::random().map_err(|e| Error::os("choosing an Ethernet address", &e))?;
        }
    }
    Ok(())
}

fn pool(xen: &Xen, store: &mut Client, config: &DomainConfig) -> Result<u32> {
    let Some(name) = &config.c_info.pool_name else { return Ok(config.c_info.poolid) };
    names::pool(xen, store, name)?.ok_or_else(|| {
        Error::new(format!("looking for the CPU pool {name}"), Errno::ENOENT).because("see xl cpupool-list")
    })
}

/// Everything after the domain's number.
fn furnish(xen: &Xen, store: &mut Client, order: &mut Order<'_>, domain: DomId) -> Result<()> {
    let config = &order.config;
    let info = &config.b_info;
    store.transaction(|store| tree::begin(store, domain, config))?;
    build::domain::prepare(xen, domain, info)?;
    let ports = order.contents.fill(xen, domain, info)?;
    store.transaction(|store| {
        tree::finish(store, domain, config, &ports)?;
        console::write(store, domain, &ports.console)
    })?;
    store.introduce(domain, ports.store.frame, ports.store.port)?;
    let disks: Vec<&Disk> = config.disks.iter().collect();
    disk::attach(store, domain, &disks, order.scripts)?;
    let nics: Vec<&Nic> = config.nics.iter().collect();
    nic::attach(store, domain, &nics, order.scripts)?;
    files::keep(order.folder, domain, config)
}
