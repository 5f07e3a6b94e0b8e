//! The end of a domain: its devices let go, the domain itself, and what it left in the store and on disk.
//!
//! What is left by whom is what Debian's tools leave; so it does not matter who created the domain.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use abi::Errno;
use xenctl::{DomId, Error, Result, Xen};

use crate::devices::{Device, devices};
use crate::store::Client;

/// Where managers of guests keep files on each.
pub const USERDATA: &str = "/var/lib/xen";
/// For how long a backend may take to let go of its device.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at: the kernel's way to the store has no time limit of its own.
const LOOK: Duration = Duration::from_millis(10);

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
    told(forget(Path::new(USERDATA), domain, uuid));
    xen.destroy(domain)
}

/// Has the backend let go of the device, undoes what its script did, and removes it from the store.
fn let_go(store: &mut Client, device: &Device) -> Result<()> {
    // The console's backend is a program that sees by itself when the domain is gone.
    let closed = if device.kind == "console" { Ok(()) } else { close(store, device) };
    let undone = match store.text(&format!("{}/script", device.backend))? {
        Some(script) if device.kind != "console" => undo(&script, device),
        _ => Ok(()),
    };
    store.transaction(|store| {
        for path in [&device.frontend, &device.backend, &device.path] {
            remove_with_parents(store, path)?;
        }
        Ok(())
    })?;
    closed.and(undone)
}

fn close(store: &mut Client, device: &Device) -> Result<()> {
    let state = format!("{}/state", device.backend);
    let there = store.transaction(|store| {
        store.remove(&device.frontend)?;
        let now = store.read(&state)?;
        if now.as_deref().is_some_and(|s| s != CLOSED) {
            store.write(&format!("{}/online", device.backend), b"0")?;
            store.write(&state, CLOSING)?;
        }
        Ok(now.is_some())
    })?;
    let began = Instant::now();
    while there && began.elapsed() < PATIENCE {
        match store.read(&state)? {
            Some(now) if now != CLOSED => sleep(LOOK),
            _ => return Ok(()),
        }
    }
    if !there {
        return Ok(());
    }
    let doing = format!("waiting for {} to be closed", device.backend);
    Err(Error::new(doing, Errno::ETIMEDOUT).because("its backend does not answer; going on without it"))
}

/// Runs the script that prepared the backend, as it expects it.
fn undo(script: &str, device: &Device) -> Result<()> {
    let mut command = Command::new(script);
    // `KIND/DOMAIN/NUMBER`, of the kind that the backend is.
    let place = device.backend.split_once("/backend/").map_or("", |(_, place)| place);
    command
        .env("script", script)
        .env("XENBUS_TYPE", place.split('/').next().unwrap_or(&device.kind))
        .env("XENBUS_PATH", format!("backend/{place}"))
        .env("XENBUS_BASE_PATH", "backend")
        .stdin(std::process::Stdio::null());
    if device.kind == "vif" {
        let owner = device.frontend.split('/').nth(3).unwrap_or_default();
        command.args(["offline", "type_if=vif"]).env("vif", format!("vif{owner}.{}", device.id));
    } else {
        command.arg("remove");
    }
    let doing = || format!("running {script} for {}", device.backend);
    let ended = command.output().map_err(|e| Error::os(doing(), &e))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(Error::new(doing(), Errno::EIO).because(format!("{}: {said}", ended.status)))
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn scripts_are_told_what_they_know_from_debians_tools() {
        let dir = std::env::temp_dir().join(format!("toolstack-script-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let script = dir.join("script");
        let text = "#!/bin/sh\necho $* $script $XENBUS_TYPE $XENBUS_PATH $XENBUS_BASE_PATH $vif >${0}.out; exit ${1#rem}\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let name = script.to_str().unwrap();
        let device = |kind: &str, backend: &str| Device {
            path: String::new(),
            kind: kind.into(),
            id: "2".into(),
            backend: format!("/local/domain/0/backend/{backend}/7/2"),
            frontend: format!("/local/domain/7/device/{kind}/2"),
        };
        let said = || fs::read_to_string(dir.join("script.out")).unwrap();
        undo(name, &device("vif", "vif")).unwrap_err();
        assert_eq!(said(), format!("offline type_if=vif {name} vif backend/vif/7/2 backend vif7.2\n"));
        let e = undo(name, &device("vbd", "qdisk")).unwrap_err();
        assert_eq!(said(), format!("remove {name} qdisk backend/qdisk/7/2 backend\n"));
        assert!(e.to_string().contains("exit status"), "{e}");
        fs::remove_dir_all(&dir).unwrap();
    }

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
