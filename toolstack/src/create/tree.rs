//! A guest's nodes of the store: what stock tools write of a PV guest, with the same rights.

use xenctl::{DomId, Result};

use crate::build::Ports;
use crate::build::memory::{most_kib, target_kib};
use crate::config::model::DomainConfig;
use crate::devices::Device;
use crate::store::Client;

/// Nodes below a guest's home that it may change.
const ITS_OWN: [&str; 11] = [
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
];
/// What the platform can do.
const PLATFORM: [&str; 2] =
    ["control/platform-feature-multiprocessor-suspend", "control/platform-feature-xs_reset_watches"];

/// Who may do what: the guest may read, or it owns the node, or it has no business with it.
pub fn readable(domain: DomId) -> [String; 2] {
    ["n0".into(), format!("r{domain}")]
}

pub fn its_own(domain: DomId) -> [String; 1] {
    [format!("n{domain}")]
}

/// A node with other rights than those of the node above it, which it would have by itself.
pub fn node(store: &mut Client, path: &str, value: &str, rights: &[String]) -> Result<()> {
    store.write(path, value.as_bytes())?;
    store.set_permissions(path, rights)
}

fn write(store: &mut Client, folder: &str, nodes: &[(&str, &str)]) -> Result<()> {
    nodes.iter().try_for_each(|(name, value)| store.write(&format!("{folder}/{name}"), value.as_bytes()))
}

/// What is known of the guest before it has memory.
pub fn begin(store: &mut Client, domain: DomId, config: &DomainConfig) -> Result<()> {
    let home = format!("/local/domain/{domain}");
    let uuid = config.c_info.uuid.to_string();
    let name = config.c_info.name.as_deref().unwrap_or_default();
    let (vm, own) = (format!("/vm/{uuid}"), format!("/libxl/{domain}"));
    node(store, &home, "", &readable(domain))?;
    node(store, &vm, "", &readable(domain))?;
    node(store, &own, "", &["n0".into()])?;
    write(store, &vm, &[("name", name), ("uuid", &uuid)])?;
    write(store, &home, &[("vm", &vm), ("name", name), ("domid", &domain.to_string())])?;
    for folder in ["cpu", "memory", "device", "control"] {
        store.write(&format!("{home}/{folder}"), b"")?;
    }
    for path in ITS_OWN {
        node(store, &format!("{home}/{path}"), "", &its_own(domain))?;
    }
    write(store, &home, &PLATFORM.map(|path| (path, "1")))?;
    write(store, &own, &[("type", "pv"), ("dm-version", "qemu_xen")])
}

/// What is known once it is built.
pub fn finish(store: &mut Client, domain: DomId, config: &DomainConfig, ports: &Ports) -> Result<()> {
    let home = format!("/local/domain/{domain}");
    let info = &config.b_info;
    let text = |number: u64| number.to_string();
    write(
        store,
        &home,
        &[
            ("memory/static-max", &text(most_kib(info))),
            ("memory/target", &text(target_kib(info))),
            ("memory/videoram", "0"),
            ("store/port", &text(ports.store.port.into())),
            ("store/ring-ref", &text(ports.store.frame)),
        ],
    )?;
    for vcpu in 0..info.max_vcpus.max(1) {
        // A configuration that says nothing has one.
        let online = info.avail_vcpus.0.contains(&vcpu) || (vcpu == 0 && info.avail_vcpus.0.is_empty());
        let value = if online { "online" } else { "offline" };
        store.write(&format!("{home}/cpu/{vcpu}/availability"), value.as_bytes())?;
    }
    let vm = format!("/vm/{}", config.c_info.uuid);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let started = format!("{}.{:02}", now.as_secs(), now.subsec_millis() / 10);
    write(store, &vm, &[("start_time", &started), ("image/ostype", "linux")])?;
    for (name, value) in [("kernel", &info.kernel), ("ramdisk", &info.ramdisk), ("cmdline", &info.cmdline)] {
        if let Some(value) = value {
            store.write(&format!("{vm}/image/{name}"), value.as_bytes())?;
        }
    }
    Ok(())
}

/// A device's two ends, and what managers of guests keep on it.
pub fn device(
    store: &mut Client,
    domain: DomId,
    kind: &str,
    number: u32,
    front: &[(&str, String)],
    back: &[(&str, String)],
) -> Result<()> {
    let Device { path: own, frontend, backend, .. } = Device::new(domain, kind, number);
    let with = |common: [(&str, String); 3], more: &[(&str, String)]| -> Vec<(String, String)> {
        common.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let front =
        with([("backend", backend.clone()), ("backend-id", "0".into()), ("state", "1".into())], front);
    let back_common =
        [("frontend", frontend.clone()), ("frontend-id", domain.to_string()), ("state", "1".into())];
    let back = with(back_common, back);
    // The frontend is the guest's, who lets the backend's domain read; the other way round for the backend.
    node(store, &frontend, "", &[format!("n{domain}"), "r0".into()])?;
    node(store, &backend, "", &readable(domain))?;
    node(store, &own, "", &["n0".into()])?;
    store.write(&format!("{own}/frontend"), frontend.as_bytes())?;
    store.write(&format!("{own}/backend"), backend.as_bytes())?;
    for (path, nodes) in [(&frontend, &front), (&backend, &back), (&own, &back)] {
        for (name, value) in nodes {
            // Its own nodes are what is trusted: the guest cannot change them.
            store.write(&format!("{path}/{name}"), value.as_bytes())?;
        }
    }
    Ok(())
}
