//! Ports of bridges: what the stock script `vif-bridge` does, without a shell.

use std::fs;

use abi::Errno;
use xenctl::{Error, Result};

use super::network::{Change, IFF_MULTICAST, IFF_NOARP, IFF_UP, number};

/// The address of every port of a guest: the highest there is, so that no bridge takes it for its own.
const ADDRESS: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
const NETWORKS: &str = "/sys/class/net";

/// Names of this host's bridges.
pub fn all() -> Vec<String> {
    let entries = fs::read_dir(NETWORKS).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("bridge").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Makes the interface a port of the bridge, under `name` where one is given, with the bridge's MTU unless `mtu` says
/// otherwise, and takes it up.
pub fn join(interface: &str, bridge: &str, name: Option<&str>, mtu: Option<u32>) -> Result<()> {
    let doing = || format!("adding {interface} to the bridge {bridge}");
    let master = number(bridge, "ifindex").map_err(|e| {
        Error::os(doing(), &e)
            .because(format!("make it: ip link add {bridge} type bridge; ip link set {bridge} up"))
    })?;
    if let Some(name) = name.filter(|name| *name != interface) {
        let named = Change { name: Some(name.into()), ..Change::default() };
        named.of(interface)?;
        return join(name, bridge, None, mtu);
    }
    let change = Change {
        address: Some(ADDRESS),
        mtu: mtu.or_else(|| number(bridge, "mtu").ok()),
        master: Some(master),
        flags: IFF_UP | IFF_NOARP,
        flags_changed: IFF_UP | IFF_NOARP | IFF_MULTICAST,
        name: None,
    };
    change.of(interface).map_err(|e| match e.errno {
        Errno::EOPNOTSUPP | Errno::EINVAL => e.because(format!("is {bridge} a bridge?")),
        _ => e,
    })
}
