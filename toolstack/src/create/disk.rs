//! Disks: block devices of the host, and files by loop devices, served by dom0's kernel.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use abi::Errno;
use rustix::fs::{major, minor};
use xenctl::{DomId, Error, LoopDevice, Result};

use super::{tree, vdev};
use crate::config::model::{Disk, DiskBackend, DiskFormat};
use crate::devices::Device;
use crate::hotplug::{self, Action};
use crate::store::Client;

/// Refuses what cannot be served here.
pub fn check(disk: &Disk) -> Result<()> {
    let name = disk.vdev.as_deref().unwrap_or_default();
    let refused = |errno, why: &str| Err(Error::new(format!("making the disk {name}"), errno).because(why));
    let local = disk.backend_domname.as_deref().is_none_or(|name| name == "0" || name == "Domain-0");
    if !local || disk.backend_domid != 0 {
        return refused(Errno::EOPNOTSUPP, "only Domain-0 can serve disks");
    }
    if vdev::number(name).is_none() {
        return refused(Errno::EINVAL, "it is no name of a disk: xvda, xvdb, xvda1, ...");
    }
    let raw = matches!(disk.format, DiskFormat::Raw | DiskFormat::Unknown | DiskFormat::Empty);
    if !raw || !matches!(disk.backend, DiskBackend::Phy | DiskBackend::Unknown) {
        return refused(
            Errno::EOPNOTSUPP,
            "its format wants a QEMU beside the guest, which is not started; convert it: qemu-img convert -O raw",
        );
    }
    if disk.format == DiskFormat::Empty || disk.pdev_path.as_deref().unwrap_or_default().is_empty() {
        return refused(Errno::EOPNOTSUPP, "an empty drive cannot be served; name what is in it");
    }
    Ok(())
}

/// What a disk is on the host.
struct Node {
    path: String,
    /// Major and minor number, hexadecimal, as the backend reads them.
    number: String,
    made: Option<LoopDevice>,
}

impl Node {
    /// The block device that `target` is or becomes.
    fn of(target: &Path, writable: bool) -> Result<Self> {
        let doing = || format!("looking at the disk {}", target.display());
        let found = fs::metadata(target).map_err(|e| Error::os(doing(), &e))?;
        if found.file_type().is_block_device() {
            let number = format!("{:x}:{:x}", major(found.rdev()), minor(found.rdev()));
            return Ok(Self { path: target.display().to_string(), number, made: None });
        }
        if !found.is_file() {
            return Err(Error::new(doing(), Errno::EINVAL).because("it is neither a file nor a block device"));
        }
        let device = LoopDevice::attach(target, writable)?;
        // What was made is given back if the rest does not come about.
        let number =
            fs::metadata(device.path()).map(|m| format!("{:x}:{:x}", major(m.rdev()), minor(m.rdev())));
        match number {
            Ok(number) => Ok(Self { path: device.path(), number, made: Some(device) }),
            Err(e) => Err(given_back(device, Error::os(doing(), &e))),
        }
    }
}

fn given_back(device: LoopDevice, error: Error) -> Error {
    match device.detach() {
        Ok(()) => error,
        Err(e) => error.because(format!("and {e}")),
    }
}

/// Adds the disks to the guest: their nodes in one transaction, then each until its backend is ready. A script that a
/// disk names prepares it instead.
pub fn attach(store: &mut Client, domain: DomId, disks: &[&Disk], scripts: &str) -> Result<()> {
    let mut nodes: Vec<Option<Node>> = Vec::new();
    let made = disks.iter().try_for_each(|disk| {
        nodes.push(match disk.script {
            Some(_) => None,
            None => Some(Node::of(Path::new(&target(disk)), disk.readwrite != 0)?),
        });
        Ok(())
    });
    let written = made.and_then(|()| {
        store.transaction(|store| {
            disks.iter().zip(&nodes).try_for_each(|(disk, node)| write(store, domain, disk, node, scripts))
        })
    });
    if let Err(e) = written {
        let devices = nodes.iter().flatten().filter_map(|node| node.made);
        return Err(devices.fold(e, |e, device| given_back(device, e)));
    }
    disks.iter().try_for_each(|disk| connect(store, domain, disk))
}

/// A path without a `/` in front is below /dev.
fn target(disk: &Disk) -> String {
    let path = disk.pdev_path.as_deref().unwrap_or_default();
    if disk.script.is_some() { path.into() } else { crate::config::check::absolute(path) }
}

fn number(disk: &Disk) -> u32 {
    disk.vdev.as_deref().and_then(vdev::number).unwrap_or_default()
}

fn write(store: &mut Client, domain: DomId, disk: &Disk, node: &Option<Node>, scripts: &str) -> Result<()> {
    let script = disk.script.as_deref().unwrap_or(hotplug::BLOCK);
    let kind = if disk.is_cdrom != 0 { "cdrom" } else { "disk" };
    let text = |yes: bool| String::from(if yes { "1" } else { "0" });
    let front = [
        ("virtual-device", number(disk).to_string()),
        ("device-type", kind.into()),
        ("trusted", text(disk.trusted.or(true))),
    ];
    let mut back = vec![
        ("params", target(disk)),
        ("script", hotplug::path(script, scripts)),
        ("online", "1".into()),
        ("removable", text(disk.removable != 0)),
        ("bootable", "1".into()),
        ("dev", disk.vdev.clone().unwrap_or_default()),
        ("type", "phy".into()),
        ("mode", if disk.readwrite != 0 { "w" } else { "r" }.into()),
        ("device-type", kind.into()),
        ("discard-enable", text(disk.discard_enable.or(disk.readwrite != 0))),
    ];
    if disk.direct_io_safe {
        back.push(("direct-io-safe", "1".into()));
    }
    tree::device(store, domain, "vbd", number(disk), &front, &back)?;
    let Some(node) = node else { return Ok(()) };
    // What the script would write when it has done this.
    let backend = Device::new(domain, "vbd", number(disk)).backend;
    let found = [
        ("node", node.path.as_str()),
        ("physical-device", &node.number),
        ("physical-device-path", &node.path),
        ("hotplug-status", "connected"),
    ];
    found.iter().try_for_each(|(name, value)| store.write(&format!("{backend}/{name}"), value.as_bytes()))
}

/// Waits for the backend, and has the script do its work where there is one.
fn connect(store: &mut Client, domain: DomId, disk: &Disk) -> Result<()> {
    let device = Device::new(domain, "vbd", number(disk));
    hotplug::ready(store, &device)?;
    if disk.script.is_none() {
        return Ok(());
    }
    let script = store.text(&format!("{}/script", device.backend))?.unwrap_or_default();
    hotplug::run(&script, &device, Action::Add)?;
    hotplug::connected(store, &device)
}
