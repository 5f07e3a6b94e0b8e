//! Network interfaces: addresses, numbers, bridges.

use super::Check;
use crate::config::model::{Mac, Nic};

/// Linux's IFNAMSIZ without the terminating zero.
const NAME_MAX: usize = 15;

pub fn nics(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    if !check.whole("vif", config.nics.len()) {
        return;
    }
    for (index, nic) in config.nics.iter().enumerate() {
        address(check, index, nic);
        names(check, index, nic);
    }
}

fn address(check: &mut Check<'_>, index: usize, nic: &Nic) {
    let at = check.element("vif", index);
    if nic.mac == Mac::default() {
        return;
    }
    if nic.mac.0[0] & 1 != 0 {
        let message = format!("{} is a group address: no interface can have it", nic.mac);
        check.error(at, message, "its first byte must be even; addresses for guests begin with 00:16:3e");
    }
    if let Some(before) = check.loaded.config.nics[..index].iter().position(|other| other.mac == nic.mac) {
        let line = check.element("vif", before).map_or(0, |at| at.line);
        let message = format!("two interfaces have the address {}: the other stands in line {line}", nic.mac);
        check.error(at, message, "give each interface an address of its own, or leave it out to get one");
    }
    if let Some(other) = check.host.neighbours.iter().find(|other| other.macs.contains(&nic.mac)) {
        let message =
            format!("the address {} is taken: guest {} (\"{}\") has it", nic.mac, other.domid, other.name);
        check.error(
            at,
            message,
            "packets would go to either; choose another address or leave it out to get one",
        );
    }
}

fn names(check: &mut Check<'_>, index: usize, nic: &Nic) {
    let at = check.element("vif", index);
    let before = &check.loaded.config.nics[..index];
    if before.iter().any(|other| other.devid == nic.devid) {
        let number = nic.devid.unwrap_or(0);
        check.error(
            at,
            format!("two interfaces have the number {number}"),
            "delete `devid`: each gets its place in the list",
        );
    }
    if let Some(name) = &nic.ifname {
        if name.len() > NAME_MAX || name.is_empty() || name.contains(['/', ' ']) {
            let message = format!("no interface can be called \"{name}\"");
            check.error(at, message, format!("it is 1 to {NAME_MAX} characters without blanks and `/`"));
        }
        if before.iter().any(|other| other.ifname == nic.ifname) {
            check.error(
                at,
                format!("two interfaces are called {name}"),
                "give each a name of its own, or none",
            );
        }
    }
    // The backend's host is another one.
    if nic.backend_domname.as_deref().is_some_and(|name| name != "0") {
        return;
    }
    if let (Some(bridge), Some(bridges)) = (&nic.bridge, check.host.bridges)
        && !bridges.contains(bridge)
    {
        let there = if bridges.is_empty() {
            "there is none".into()
        } else {
            format!("there are: {}", bridges.join(", "))
        };
        let help = format!("{there}; to make it: ip link add {bridge} type bridge; ip link set {bridge} up");
        check.error(at, format!("there is no bridge \"{bridge}\""), help);
    }
    if let Some(script) = &nic.script {
        let path =
            if script.contains('/') { script.clone() } else { format!("{}/{script}", check.host.scripts) };
        check.file(at, "the script of this interface", &path);
    }
}
