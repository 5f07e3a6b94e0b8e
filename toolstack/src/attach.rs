//! Devices that a guest gets, and loses, while it is there.
//!
//! What is kept of its configuration follows, so that every manager of guests knows of them and a guest that begins anew
//! has them too.

use std::path::Path;

use abi::Errno;
use xenctl::{DomId, Error, Result};

use crate::config::model::{Disk, DomainConfig, Mac, Nic};
use crate::create::{disk, files, nic, vdev};
use crate::destroy;
use crate::devices::{Device, devices};
use crate::hotplug::SCRIPTS;
use crate::store::Client;

/// A guest and where its configuration is kept.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    pub domain: DomId,
    pub uuid: &'a str,
    pub folder: &'a Path,
}

impl Guest<'_> {
    /// Changes what is kept of its configuration. One that nobody keeps stays so.
    fn keep(&self, change: impl FnOnce(&mut DomainConfig)) -> Result<()> {
        if !files::path(self.folder, self.domain, self.uuid).exists() {
            return Ok(());
        }
        let mut config = files::kept(self.folder, self.domain, self.uuid)?;
        change(&mut config);
        files::keep(self.folder, self.domain, &config)
    }

    fn device(&self, store: &mut Client, kind: &str, number: u32) -> Result<Option<Device>> {
        let found = devices(store, self.domain)?.into_iter();
        Ok(found.into_iter().find(|d| d.kind == kind && d.id == number.to_string()))
    }

    /// Takes away what could not be made or kept wholly.
    fn undone(&self, store: &mut Client, kind: &str, number: u32, error: Error) -> Error {
        let gone = self.device(store, kind, number);
        match gone.and_then(|device| device.map_or(Ok(()), |device| destroy::let_go(store, &device))) {
            Ok(()) => error,
            Err(e) => error.because(format!("and {e}")),
        }
    }
}

/// Gives the guest a disk.
pub fn add_disk(store: &mut Client, guest: Guest<'_>, what: &Disk) -> Result<()> {
    disk::check(what)?;
    let name = what.vdev.clone().unwrap_or_default();
    let number = vdev::number(&name).unwrap_or_default();
    if guest.device(store, "vbd", number)?.is_some() {
        let doing = format!("giving domain {} the disk {name}", guest.domain);
        return Err(Error::new(doing, Errno::EEXIST).because("it has a disk of that name"));
    }
    disk::attach(store, guest.domain, &[what], SCRIPTS)
        .and_then(|()| guest.keep(|config| config.disks.push(what.clone())))
        .map_err(|e| guest.undone(store, "vbd", number, e))
}

/// Gives the guest an interface, under the next number if it has none; which it is.
pub fn add_nic(store: &mut Client, guest: Guest<'_>, what: &Nic) -> Result<i32> {
    nic::check(what)?;
    let all = devices(store, guest.domain)?;
    let numbers = all.iter().filter(|d| d.kind == "vif").filter_map(|d| d.id.parse::<i32>().ok());
    let next = numbers.clone().max().map_or(0, |last| last + 1);
    let mut what = what.clone();
    let number = *what.devid.get_or_insert(next);
    if numbers.into_iter().any(|taken| taken == number) {
        let doing = format!("giving domain {} the interface {number}", guest.domain);
        return Err(Error::new(doing, Errno::EEXIST).because("it has an interface of that number"));
    }
    if what.mac == Mac::default() {
        what.mac = nic::random().map_err(|e| Error::os("choosing an Ethernet address", &e))?;
    }
    nic::attach(store, guest.domain, &[&what], SCRIPTS)
        .and_then(|()| guest.keep(|config| config.nics.push(what)))
        .map(|()| number)
        .map_err(|e| guest.undone(store, "vif", number as u32, e))
}

/// The guest's disk that is called so, by its name or number.
pub fn find_disk(store: &mut Client, guest: Guest<'_>, called: &str) -> Result<Option<Device>> {
    vdev::number(called).map_or(Ok(None), |number| guest.device(store, "vbd", number))
}

/// The guest's interface with this number or Ethernet address.
pub fn find_nic(store: &mut Client, guest: Guest<'_>, called: &str) -> Result<Option<Device>> {
    if let Ok(number) = called.parse() {
        return guest.device(store, "vif", number);
    }
    let Some(mac) = Mac::parse(called) else { return Ok(None) };
    for device in devices(store, guest.domain)? {
        let its = if device.kind == "vif" { device.of_own(store, "mac")? } else { None };
        if its.as_deref().and_then(Mac::parse) == Some(mac) {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// Takes a device away, once the guest has let go of it; with `force` at once.
pub fn remove(store: &mut Client, guest: Guest<'_>, device: &Device, force: bool) -> Result<()> {
    if force {
        destroy::let_go(store, device)?
    } else {
        destroy::release(store, device)?
    }
    let is = |number: Option<u32>| number.map(|n| n.to_string()).as_ref() == Some(&device.id);
    guest.keep(|config| match device.kind.as_str() {
        "vbd" => config.disks.retain(|disk| !is(disk.vdev.as_deref().and_then(vdev::number))),
        _ => config.nics.retain(|nic| !is(nic.devid.and_then(|n| u32::try_from(n).ok()))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{DiskFormat, Uuid};
    use crate::testing::{GUEST, Machine, UUID};
    use std::fs;

    #[test]
    fn devices_come_and_go_and_the_configuration_follows() {
        let mut m = Machine::new();
        let folder = std::env::temp_dir().join(format!("toolstack-attach-{}", std::process::id()));
        let guest = Guest { domain: GUEST, uuid: UUID, folder: &folder };
        let mut config = DomainConfig::default();
        config.c_info.uuid = Uuid::parse(UUID).unwrap();
        files::keep(&folder, GUEST, &config).unwrap();
        m.store.write("/libxl/7/type", b"pv").unwrap();
        let before = m.nodes();
        let script = Some("/bin/true".to_owned());
        let (format, vdev) = (DiskFormat::Raw, Some("xvdb".to_owned()));
        let disk =
            Disk { pdev_path: Some("x".into()), vdev, format, script: script.clone(), ..Disk::default() };
        add_disk(&mut m.store, guest, &disk).unwrap();
        let e = add_disk(&mut m.store, guest, &disk).unwrap_err();
        assert!(e.to_string().contains("it has a disk of that name"), "{e}");
        let nic = Nic { script, ..Nic::default() };
        assert_eq!(add_nic(&mut m.store, guest, &nic).unwrap(), 0);
        assert_eq!(add_nic(&mut m.store, guest, &nic).unwrap(), 1);
        let kept = files::kept(&folder, GUEST, UUID).unwrap();
        assert_eq!((kept.disks.len(), kept.nics.len()), (1, 2));
        assert_ne!(kept.nics[0].mac, kept.nics[1].mac);

        assert_eq!(find_disk(&mut m.store, guest, "xvdc").unwrap(), None);
        let found = find_disk(&mut m.store, guest, "51728").unwrap().unwrap();
        remove(&mut m.store, guest, &found, false).unwrap();
        let found = find_nic(&mut m.store, guest, &kept.nics[1].mac.to_string()).unwrap().unwrap();
        remove(&mut m.store, guest, &found, true).unwrap();
        let found = find_nic(&mut m.store, guest, "0").unwrap().unwrap();
        remove(&mut m.store, guest, &found, false).unwrap();
        assert_eq!(files::kept(&folder, GUEST, UUID).unwrap(), config);
        assert_eq!(m.nodes(), before);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_disk_that_cannot_be_leaves_nothing() {
        let mut m = Machine::new();
        let guest = Guest { domain: GUEST, uuid: UUID, folder: Path::new("/nonexistent") };
        m.store.write("/libxl/7/type", b"pv").unwrap();
        let before = m.nodes();
        let vdev = Some("xvdb".to_owned());
        let disk =
            Disk { pdev_path: Some("x".into()), vdev, script: Some("/bin/false".into()), ..Disk::default() };
        let e = add_disk(&mut m.store, guest, &disk).unwrap_err();
        assert!(e.to_string().starts_with("running /bin/false"), "{e}");
        assert_eq!(m.nodes(), before);
    }
}
