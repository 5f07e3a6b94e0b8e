//! Network interfaces: ports of a bridge of dom0's, or what a script makes of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use abi::Errno;
use xenctl::{DomId, Error, Result};

use super::tree;
use crate::config::model::{Mac, Nic};
use crate::devices::Device;
use crate::host::bridge;
use crate::hotplug::{self, Action};
use crate::store::Client;

/// The bridge of interfaces that name none.
const BRIDGE: &str = "xenbr0";
/// For how long the kernel may take from the backend's first state to the interface.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(1);

/// Refuses what cannot be served here.
pub fn check(nic: &Nic) -> Result<()> {
    let local = nic.backend_domname.as_deref().is_none_or(|name| name == "0" || name == "Domain-0");
    if local && nic.backend_domid == 0 {
        return Ok(());
    }
    let doing = "making a network interface";
    Err(Error::new(doing, Errno::EOPNOTSUPP).because("only Domain-0 can serve interfaces"))
}

/// An address of the range that is set aside for guests.
pub fn random() -> io::Result<Mac> {
    let mut mac = [0x00, 0x16, 0x3e, 0, 0, 0];
    File::open("/dev/urandom")?.read_exact(&mut mac[3..])?;
    mac[3] &= 0x7f;
    Ok(Mac(mac))
}

fn number(nic: &Nic) -> u32 {
    nic.devid.and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

/// Adds the interfaces to the guest: their nodes in one transaction, then each until it is connected on our side.
pub fn attach(store: &mut Client, domain: DomId, nics: &[&Nic], scripts: &str) -> Result<()> {
    store.transaction(|store| nics.iter().try_for_each(|nic| write(store, domain, nic, scripts)))?;
    nics.iter().try_for_each(|nic| connect(store, domain, nic))
}

fn bridge_of(nic: &Nic) -> &str {
    nic.bridge.as_deref().unwrap_or(BRIDGE)
}

fn write(store: &mut Client, domain: DomId, nic: &Nic, scripts: &str) -> Result<()> {
    let trusted = String::from(if nic.trusted.or(true) { "1" } else { "0" });
    let (handle, mac) = (number(nic).to_string(), nic.mac.to_string());
    let mut front = vec![("handle", handle.clone()), ("mac", mac.clone()), ("trusted", trusted)];
    let script = nic.script.as_deref().unwrap_or(hotplug::VIF);
    let mut back = vec![
        ("online", "1".into()),
        ("script", hotplug::path(script, scripts)),
        ("mac", mac),
        ("bridge", bridge_of(nic).into()),
        ("handle", handle),
        ("type", "vif".into()),
        ("hotplug-status", String::new()),
    ];
    if nic.mtu > 0 {
        front.push(("mtu", nic.mtu.to_string()));
        back.push(("mtu", nic.mtu.to_string()));
    }
    let optional = [("vifname", &nic.ifname), ("ip", &nic.ip), ("gatewaydev", &nic.gatewaydev)];
    back.extend(optional.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.clone()))));
    if nic.rate_interval_usecs > 0 {
        back.push(("rate", format!("{},{}", nic.rate_bytes_per_interval, nic.rate_interval_usecs)));
    }
    tree::device(store, domain, "vif", number(nic), &front, &back)
}

fn connect(store: &mut Client, domain: DomId, nic: &Nic) -> Result<()> {
    let device = Device::new(domain, "vif", number(nic));
    hotplug::ready(store, &device)?;
    // A script that is named does it otherwise.
    if nic.script.is_none() {
        let name = format!("vif{domain}.{}", number(nic));
        appear(&name)?;
        let mtu = u32::try_from(nic.mtu).ok().filter(|mtu| *mtu > 0);
        bridge::join(&name, bridge_of(nic), nic.ifname.as_deref(), mtu)?;
        return store.write(&format!("{}/hotplug-status", device.backend), b"connected");
    }
    let script = store.text(&format!("{}/script", device.backend))?.unwrap_or_default();
    hotplug::run(&script, &device, Action::Add)?;
    hotplug::connected(store, &device)
}

/// The backend says that it is ready just before it makes its interface.
fn appear(interface: &str) -> Result<()> {
    let began = Instant::now();
    let path = format!("/sys/class/net/{interface}");
    while !Path::new(&path).exists() {
        if began.elapsed() > PATIENCE {
            let doing = format!("waiting for the network interface {interface}");
            return Err(
                Error::new(doing, Errno::ETIMEDOUT).because("is xen-netback loaded? modprobe xen-netback")
            );
        }
        sleep(LOOK);
    }
    Ok(())
}
