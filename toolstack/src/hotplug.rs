//! Backends of devices: until they are ready, and the scripts that prepare them.
//!
//! What the stock scripts `block` and `vif-bridge` do is done without them, here and in [`crate::create`]; others run as
//! stock tools run them.

use std::process::{Command, Stdio};
use std::time::Duration;

use abi::Errno;
use xenctl::{Error, LoopDevice, Result};

use crate::devices::Device;
use crate::store::Client;

/// Where scripts are that a configuration names without a path.
pub const SCRIPTS: &str = "/etc/xen/scripts";
/// The stock scripts that nobody has to name.
pub const BLOCK: &str = "block";
pub const VIF: &str = "vif-bridge";

/// For how long a backend, or who prepares it, may take.
const PATIENCE: Duration = Duration::from_secs(40);
// States of `xen/io/xenbus.h`.
const INIT_WAIT: u8 = b'2';
const CLOSING: u8 = b'5';
const CLOSED: u8 = b'6';

/// The path of a script that is called so.
pub fn path(script: &str, folder: &str) -> String {
    if script.starts_with('/') { script.into() } else { format!("{folder}/{script}") }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Add,
    Remove,
}

/// Waits until the device's backend has seen it.
pub fn ready(store: &mut Client, device: &Device) -> Result<()> {
    let path = format!("{}/state", device.backend);
    let mut last = None;
    let waited = store.wait(&path, PATIENCE, |state| {
        last = state.and_then(<[u8]>::first).copied();
        last.is_none_or(|state| state >= INIT_WAIT)
    })?;
    let doing = || format!("waiting for the backend of {}", device.frontend);
    match last {
        Some(CLOSING | CLOSED) | None => Err(refusal(store, device, Error::new(doing(), Errno::EIO))?),
        _ if waited => Ok(()),
        _ => {
            let driver = if device.kind == "vif" { "xen-netback" } else { "xen-blkback" };
            let why = format!("it does not answer; is its driver loaded? modprobe {driver}");
            Err(Error::new(doing(), Errno::ETIMEDOUT).because(why))
        }
    }
}

/// Waits until a script has said that its work is done.
pub fn connected(store: &mut Client, device: &Device) -> Result<()> {
    let path = format!("{}/hotplug-status", device.backend);
    let mut last = Vec::new();
    let waited = store.wait(&path, PATIENCE, |status| {
        last = status.unwrap_or_default().to_vec();
        !last.is_empty()
    })?;
    let doing = || format!("waiting for the script of {}", device.backend);
    match (waited, last == b"connected") {
        (true, true) => Ok(()),
        (true, false) => Err(refusal(store, device, Error::new(doing(), Errno::EIO))?),
        (false, _) => Err(Error::new(doing(), Errno::ETIMEDOUT)),
    }
}

/// With what the backend, or its script, has said of it.
fn refusal(store: &mut Client, device: &Device, error: Error) -> Result<Error> {
    let place = device.backend.strip_prefix("/local/domain/0/").unwrap_or_default();
    for path in [format!("{}/hotplug-error", device.backend), format!("/local/domain/0/error/{place}/error")]
    {
        if let Some(why) = store.text(&path)? {
            return Ok(error.because(why));
        }
    }
    Ok(error.because("see dom0's kernel's messages: dmesg"))
}

/// Undoes what made the backend's device, ourselves if it was done as the stock scripts do it.
pub fn undo(store: &mut Client, device: &Device) -> Result<()> {
    let Some(script) = store.text(&format!("{}/script", device.backend))? else { return Ok(()) };
    if script == path(VIF, SCRIPTS) {
        // The interface leaves its bridge by going.
        return Ok(());
    }
    if script != path(BLOCK, SCRIPTS) {
        return run(&script, device, Action::Remove);
    }
    let node = store.text(&format!("{}/node", device.backend))?;
    let number = node.as_deref().and_then(|node| node.strip_prefix("/dev/loop")?.parse().ok());
    number.map_or(Ok(()), |number| LoopDevice(number).detach())
}

/// Runs a script that prepares the backend, or undoes that, as it expects it.
pub fn run(script: &str, device: &Device, action: Action) -> Result<()> {
    let mut command = Command::new(script);
    // `KIND/DOMAIN/NUMBER`, of the kind that the backend is.
    let place = device.backend.split_once("/backend/").map_or("", |(_, place)| place);
    command
        .env("script", script)
        .env("XENBUS_TYPE", place.split('/').next().unwrap_or(&device.kind))
        .env("XENBUS_PATH", format!("backend/{place}"))
        .env("XENBUS_BASE_PATH", "backend")
        .stdin(Stdio::null());
    if device.kind == "vif" {
        let owner = device.frontend.split('/').nth(3).unwrap_or_default();
        let what = if action == Action::Add { "online" } else { "offline" };
        command.args([what, "type_if=vif"]).env("vif", format!("vif{owner}.{}", device.id));
    } else {
        command.arg(if action == Action::Add { "add" } else { "remove" });
    }
    let doing = || format!("running {script} for {}", device.backend);
    let ended = command.output().map_err(|e| Error::os(doing(), &e))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(Error::new(doing(), Errno::EIO).because(format!("{}: {said}", ended.status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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
        run(name, &device("vif", "vif"), Action::Remove).unwrap_err();
        assert_eq!(said(), format!("offline type_if=vif {name} vif backend/vif/7/2 backend vif7.2\n"));
        let e = run(name, &device("vbd", "qdisk"), Action::Remove).unwrap_err();
        assert_eq!(said(), format!("remove {name} qdisk backend/qdisk/7/2 backend\n"));
        assert!(e.to_string().contains("exit status"), "{e}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
