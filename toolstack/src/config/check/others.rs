//! The other devices, and what they need of the rest of the configuration.

use super::Check;
use crate::config::model::{DomainType, Passthrough};

pub fn pci(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    if config.c_info.kind == DomainType::Pv && config.c_info.passthrough == Passthrough::SharePt {
        let help = "write sync_pt, or delete the line";
        check.error(
            check.at("passthrough"),
            "share_pt is not for PV guests: they have no tables the IOMMU could share",
            help,
        );
    }
    if !config.pcidevs.is_empty() && config.c_info.passthrough == Passthrough::Disabled {
        let help = "delete the line: with `pci` it is enabled by itself";
        check.error(
            check.at("passthrough"),
            "the guest has PCI devices, and `passthrough` disables them",
            help,
        );
    }
    if !check.whole("pci", config.pcidevs.len()) {
        return;
    }
    for (index, device) in config.pcidevs.iter().enumerate() {
        let place = |index: usize| {
            let device = &config.pcidevs[index];
            (device.domain, device.bus, device.dev, device.func, device.name.clone())
        };
        if (0..index).any(|before| place(before) == place(index)) {
            let name = format!("{:04x}:{:02x}:{:02x}.{}", device.domain, device.bus, device.dev, device.func);
            check.error(
                check.element("pci", index),
                format!("the device {name} is given twice"),
                "delete one of them",
            );
        }
    }
}

pub fn usb(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    if !check.whole("usbdev", config.usbdevs.len()) {
        return;
    }
    for (index, device) in config.usbdevs.iter().enumerate() {
        let at = check.element("usbdev", index);
        let controller =
            device.ctrl.map(|wanted| (wanted, config.usbctrls.iter().find(|one| one.devid == Some(wanted))));
        match controller {
            None if device.port != 0 => {
                check.error(
                    at,
                    "a `port` without a `controller`",
                    "write controller=N too, or leave both out",
                );
            }
            Some((wanted, None)) => {
                let message = format!("there is no USB controller {wanted}");
                check.error(
                    at,
                    message,
                    format!("`usbctrl` has {}; they are counted from 0", config.usbctrls.len()),
                );
            }
            Some((wanted, Some(found))) => {
                let ports = if found.ports == 0 { 8 } else { found.ports };
                if device.port > ports {
                    let message =
                        format!("the USB controller {wanted} has {ports} ports, not {}", device.port);
                    check.error(at, message, "raise `ports` of the controller, or choose another port");
                }
            }
            None => {}
        }
        if config.usbdevs[..index]
            .iter()
            .any(|other| other.hostdev.is_some() && other.hostdev == device.hostdev)
        {
            check.error(at, "this USB device is given twice", "delete one of them");
        }
    }
}

pub fn displays(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    for (index, vfb) in config.vfbs.iter().enumerate() {
        let fixed = |index: usize| {
            let vnc = &config.vfbs[index].vnc;
            (vnc.enable.or(true) && !vnc.findunused.or(true)).then_some(vnc.display)
        };
        if fixed(index).is_some() && (0..index).any(|before| fixed(before) == fixed(index)) {
            let message = format!("two framebuffers want the VNC display {}", vfb.vnc.display);
            check.error(
                check.element("vfb", index),
                message,
                "give each another `vncdisplay`, or write vncunused=1",
            );
        }
        let listen = vfb.vnc.listen.as_deref().unwrap_or_default();
        if listen.contains(':') && !listen.contains('[') && vfb.vnc.display != 0 {
            let help = "delete `vncdisplay`, or the number in `vnclisten`";
            check.error(
                check.element("vfb", index),
                "the VNC display is given twice: in `vnclisten` and `vncdisplay`",
                help,
            );
        }
    }
}

pub fn channels(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    for (index, channel) in config.channels.iter().enumerate() {
        if channel.name.is_some() && config.channels[..index].iter().any(|other| other.name == channel.name) {
            let name = channel.name.clone().unwrap_or_default();
            let help = "the guest finds a channel by its name: give each another";
            check.error(check.element("channel", index), format!("two channels have the name {name}"), help);
        }
    }
}

/// Domains that are to serve devices must be there.
pub fn backends(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    let lists: [(&str, Vec<Option<&String>>); 5] = [
        ("disk", config.disks.iter().map(|one| one.backend_domname.as_ref()).collect()),
        ("vif", config.nics.iter().map(|one| one.backend_domname.as_ref()).collect()),
        ("vtpm", config.vtpms.iter().map(|one| one.backend_domname.as_ref()).collect()),
        ("p9", config.p9s.iter().map(|one| one.backend_domname.as_ref()).collect()),
        ("channel", config.channels.iter().map(|one| one.backend_domname.as_ref()).collect()),
    ];
    let all = lists.into_iter().flat_map(|(key, names)| {
        let named = names.into_iter().enumerate();
        named.filter_map(move |(index, name)| name.map(|name| (key, index, name.as_str())))
    });
    for (key, index, name) in all {
        let at = check.element(key, index);
        let dom0 = matches!(name, "0" | "Domain-0");
        let there = |other: &super::Neighbour| other.name == name || other.domid.to_string() == name;
        if !dom0 && !check.host.neighbours.iter().any(there) {
            let message = format!("the backend \"{name}\" is not running: the device would never come up");
            check.error(at, message, "start that guest first, or delete `backend` to have dom0 serve it");
        }
    }
}

/// Devices move their data through grants.
pub fn grants(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    let devices = config.disks.len() + config.nics.len() + config.vfbs.len();
    if config.b_info.max_grant_version == Some(0) && devices > 0 {
        let message = format!(
            "without grant tables (`max_grant_version` = 0) none of the guest's {devices} devices works"
        );
        check.error(check.at("max_grant_version"), message, "write 1 or 2, or delete the line");
    }
    if config.b_info.max_grant_frames == Some(0) && devices > 0 {
        let message = format!("without grant frames none of the guest's {devices} devices works");
        check.error(check.at("max_grant_frames"), message, "write 4 or more, or delete the line");
    }
}
