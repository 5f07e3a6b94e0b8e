//! What a configuration may ask for that is not served here, told before anything is touched.

use serde_json::Value;

use crate::config::Diagnostic;
use crate::config::model::{Action, DomainType};
use crate::config::read::Loaded;

/// An error for each option that would make another guest than the one that is described.
pub fn unserved(loaded: &Loaded) -> Vec<Diagnostic> {
    let config = &loaded.config;
    let (info, mut said) = (&config.b_info, Vec::new());
    let mut refuse = |refused: bool, keys: &[&str], message: &str, help: &str| {
        if refused {
            let at = keys.iter().find_map(|key| loaded.settings.get(key)).map(|setting| setting.value.at);
            said.push(Diagnostic::error(at, message).help(help));
        }
    };
    let pv = config.c_info.kind == DomainType::Pv;
    refuse(!pv, &["type", "builder"], "only PV guests are served", "write type = \"pv\"");
    let help = "copy the guest's kernel to this host and name it: kernel = \"...\"";
    refuse(info.bootloader.is_some(), &["bootloader"], "boot loaders that run in dom0 are not served", help);
    let no_kernel = info.kernel.is_none() && info.bootloader.is_none();
    refuse(no_kernel && loaded.parsed, &[], "the guest has no kernel", "write kernel = \"...\"");
    let devices = [
        (config.pcidevs.is_empty(), "pci", "devices of the host"),
        (config.dtdevs.is_empty(), "dtdev", "devices of the host"),
        (config.vfbs.is_empty(), "vfb", "displays"),
        (config.vkbs.is_empty(), "vkb", "keyboards"),
        (config.vtpms.is_empty(), "vtpm", "TPMs"),
        (config.p9s.is_empty(), "p9", "9P file systems"),
        (config.pvcallsifs.is_empty(), "pvcalls", "sockets of dom0"),
        (config.vdispls.is_empty(), "vdispl", "displays"),
        (config.vsnds.is_empty(), "vsnd", "sound cards"),
        (config.channels.is_empty(), "channel", "channels"),
        (config.usbctrls.is_empty() && config.usbdevs.is_empty(), "usbctrl", "USB devices"),
        (info.ioports.is_empty(), "ioports", "ports of the host"),
        (info.irqs.is_empty(), "irqs", "interrupts of the host"),
        (info.iomem.is_empty(), "iomem", "device memory of the host"),
        (info.vnuma_nodes.is_empty(), "vnuma", "virtual NUMA nodes"),
    ];
    for (none, key, what) in devices {
        let message = format!("guests are not given {what}: `{key}` is not served");
        refuse(!none, &[key], &message, "delete it");
    }
    let policy =
        !matches!(info.cpuid, Value::Null) && info.cpuid.as_array().is_none_or(|all| !all.is_empty());
    refuse(
        policy,
        &["cpuid"],
        "`cpuid` is not served: guests see what the hypervisor shows all of them",
        "delete it",
    );
    let ends = [
        ("on_poweroff", config.on_poweroff),
        ("on_reboot", config.on_reboot),
        ("on_watchdog", config.on_watchdog),
        ("on_crash", config.on_crash),
    ];
    for (key, action) in ends {
        let dump = matches!(action, Action::CoredumpDestroy | Action::CoredumpRestart);
        let message = format!("no memory image can be taken: `{key}` cannot be \"{}\"", action.name());
        refuse(dump, &[key], &message, "write destroy, restart or preserve");
    }
    said
}
