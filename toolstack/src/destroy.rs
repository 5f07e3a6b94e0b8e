//! The end of a domain: its devices let go, the domain itself, and what it left in the store and on disk.
//!
//! What is left by whom is what Debian's tools leave; so it does not matter who created the domain.

use std::fs;
use std::path::Path;
use std::time::Duration;

use abi::Errno;
use xenctl::{DomId, Error, Result, Xen};

use crate::devices::{Device, devices};
use crate::hotplug;
use crate::store::Client;

/// Where managers of guests keep files on each.
pub const USERDATA: &str = "/var/lib/xen";
/// For how long a backend may take to let go of its device.
const PATIENCE: Duration = Duration::from_secs(10);

// States of a device's end (`XenbusState*`).
const CLOSING: &[u8] = b"5";
const CLOSED: &[u8] = b"6";

/// Ends the domain with this UUID (as its text) and removes every trace of it. What goes wrong on the way is told to
/// `complain`, and the rest is done all the same: afterwards the domain is gone, unless the answer is an error.
pub fn destroy(
    xen: &Xen,
    store: &mut Client,
    domain: DomId,
    uuid: &str,
    complain: &mut dyn FnMut(&Error),
) -> Result<()> {
    destroy_in(xen, store, domain, uuid, Path::new(USERDATA), complain)
}

/// The same, with the files on guests in this folder.
pub fn destroy_in(
    xen: &Xen,
    store: &mut Client,
    domain: DomId,
    uuid: &str,
    folder: &Path,
    complain: &mut dyn FnMut(&Error),
) -> Result<()> {
    let mut told = |result: Result<()>| {
        if let Err(e) = result {
            complain(&e);
        }
    };
    // Its frontends cannot reconnect what is taken away.
    told(xen.pause(domain));
    let model = store.text(&format!("/local/domain/{domain}/image/device-model-pid"))?;
    if let Some(pid) = model.and_then(|pid| pid.parse().ok()) {
        told(xenctl::process::hang_up(pid));
    }
    for device in devices(store, domain)? {
        told(let_go(store, &device));
    }
    let vm = store.text(&format!("/local/domain/{domain}/vm"))?;
    for path in vm.into_iter().chain([format!("/local/domain/{domain}"), format!("/libxl/{domain}")]) {
        told(store.remove(&path).map(drop));
    }
    told(forget(folder, domain, uuid));
    xen.destroy(domain)
}

/// Has the backend let go of the device whatever its frontend does, undoes what was prepared for it, and removes it from
/// the store.
pub fn let_go(store: &mut Client, device: &Device) -> Result<()> {
    // The console's backend is a program that sees by itself when the domain is gone.
    let closed = if device.kind == "console" { Ok(()) } else { close(store, device, true) };
    forget_device(store, device).and(closed)
}

/// The same of a device that its guest can let go of first.
///
/// # Errors
/// If it does not: the device is there as before then, but its backend is still waiting.
pub fn release(store: &mut Client, device: &Device) -> Result<()> {
    close(store, device, false)?;
    forget_device(store, device)
}

fn forget_device(store: &mut Client, device: &Device) -> Result<()> {
    let undone = if device.kind == "console" { Ok(()) } else { hotplug::undo(store, device) };
    store.transaction(|store| {
        for path in [&device.frontend, &device.backend, &device.path] {
            remove_with_parents(store, path)?;
        }
        Ok(())
    })?;
    undone
}

fn close(store: &mut Client, device: &Device, by_force: bool) -> Result<()> {
    let state = format!("{}/state", device.backend);
    let there = store.transaction(|store| {
        if by_force {
            store.remove(&device.frontend)?;
        }
        let now = store.read(&state)?;
        if now.as_deref().is_some_and(|s| s != CLOSED) {
            store.write(&format!("{}/online", device.backend), b"0")?;
            store.write(&state, CLOSING)?;
        }
        Ok(now.is_some())
    })?;
    if !there || store.wait(&state, PATIENCE, |now| now.is_none_or(|now| now == CLOSED))? {
        return Ok(());
    }
    let doing = format!("waiting for {} to be closed", device.backend);
    let why = if by_force {
        "its backend does not answer; going on without it"
    } else {
        "the guest still uses it; let it go there, or take it away with --force"
    };
    Err(Error::new(doing, Errno::ETIMEDOUT).because(why))
}

/// The node, and those above it that have nothing else below them; the first two levels stay.
fn remove_with_parents(store: &mut Client, path: &str) -> Result<()> {
    store.remove(path)?;
    let mut path = path;
    while let Some((parent, _)) = path.rsplit_once('/').filter(|(p, _)| p.matches('/').count() > 2) {
        if store.list(parent)?.is_none_or(|children| !children.is_empty()) {
            break;
        }
        store.remove(parent)?;
        path = parent;
    }
    Ok(())
}

/// Removes the files on a domain: `userdata-KIND.ID.UUID.NAME`.
fn forget(dir: &Path, domain: DomId, uuid: &str) -> Result<()> {
    let doing = || format!("removing what {} has on domain {domain}", dir.display());
    let listed = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(|e| Error::os(doing(), &e))?,
    };
    let of_this = format!("{domain}.{uuid}.");
    for entry in listed {
        let entry = entry.map_err(|e| Error::os(doing(), &e))?;
        let name = entry.file_name();
        let rest = name.to_str().and_then(|n| n.strip_prefix("userdata-")?.split_once('.'));
        if rest.is_some_and(|(_, rest)| rest.starts_with(&of_this)) {
            fs::remove_file(entry.path()).map_err(|e| Error::os(doing(), &e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_domain_alone_are_removed() {
        let dir = std::env::temp_dir().join(format!("toolstack-userdata-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let gone =
            ["userdata-d.7.u-u.libxl-json", "userdata-d.7.u-u.domain-userdata-lock", "userdata-l.7.u-u.x"];
        let kept = ["userdata-d.77.u-u.libxl-json", "userdata-d.7.other.libxl-json", "other"];
        gone.iter().chain(&kept).for_each(|name| fs::write(dir.join(name), "").unwrap());
        forget(&dir, DomId(7), "u-u").unwrap();
        assert!(gone.iter().all(|name| !dir.join(name).exists()));
        assert!(kept.iter().all(|name| dir.join(name).exists()));
        fs::remove_dir_all(&dir).unwrap();
        forget(&dir, DomId(7), "u-u").unwrap();
    }
}
