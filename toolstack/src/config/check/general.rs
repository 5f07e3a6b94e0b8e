//! Name, memory, CPUs, what is booted and what happens at the end.

use super::Check;
use crate::config::model::{Action, DomainType};

/// The scheduler's range of weights.
const WEIGHTS: std::ops::RangeInclusive<i32> = 1..=65_535;
/// What a guest gets that says nothing, in KiB.
const DEFAULT_KIB: u64 = 32 << 10;

pub fn identity(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    let at = check.at("name");
    match config.c_info.name.as_deref() {
        None if !check.loaded.parsed => {}
        None => check.error(None, "the guest has no name", "write name = \"...\""),
        Some("") => {
            check.error(at, "the name of the guest is empty", "write a name that no other guest here has")
        }
        Some(name) => {
            if name.bytes().all(|b| b.is_ascii_digit()) {
                let help = "put a letter into it";
                check.error(at, format!("the name \"{name}\" cannot be told from a guest's number"), help);
            } else if name.contains(|c: char| c == '/' || c.is_control()) {
                let message = format!("the name {name:?} has a character that no path in the store can have");
                check.error(at, message, "use letters, digits and -_.:");
            }
            if let Some(other) = check.host.neighbours.iter().find(|other| other.name == name) {
                let message = format!("the name \"{name}\" is taken: it is guest {}", other.domid);
                check.error(at, message, format!("choose another name, or xl shutdown {name} first"));
            }
        }
    }
    let uuid = config.c_info.uuid;
    if let Some(other) = check.host.neighbours.iter().find(|other| other.uuid == uuid) {
        let message = format!("the UUID is taken: guest {} (\"{}\") has it", other.domid, other.name);
        check.error(check.at("uuid"), message, "delete `uuid` to get a new one each time");
    }
    if let (Some(pool), Some(pools)) = (&config.c_info.pool_name, check.host.pools)
        && !pools.contains(pool)
    {
        let message = format!("there is no CPU pool \"{pool}\"");
        check.error(check.at("pool"), message, format!("there are: {}", pools.join(", ")));
    }
}

pub fn memory(check: &mut Check<'_>) {
    let info = &check.loaded.config.b_info;
    if info.target_memkb.is_none() && check.at("memory").is_none() && check.loaded.parsed {
        let message = format!("`memory` is not set: the guest gets {} MiB", DEFAULT_KIB >> 10);
        check.warning(None, message, "write memory = MIB");
    }
    let target = info.target_memkb.unwrap_or(DEFAULT_KIB);
    let at = check.at("memory");
    if info.target_memkb == Some(0) {
        check.error(at, "a guest with no memory cannot run", "write memory = MIB; Debian wants at least 256");
    }
    if let Some(max) = info.max_memkb
        && target > max
    {
        let message = format!("`memory` ({} MiB) is more than `maxmem` ({} MiB)", target >> 10, max >> 10);
        check.error(at, message, "raise `maxmem`, or delete it: it is then as much as `memory`");
    } else if let Some(free) = check.host.free_kib
        && target > free
    {
        let message = format!("the host has {} MiB free, the guest wants {}", free >> 10, target >> 10);
        check.error(at, message, "lower `memory`, or end or shrink another guest (xl list, xl mem-set)");
    }
}

pub fn cpus(check: &mut Check<'_>) {
    let info = &check.loaded.config.b_info;
    let online = info.avail_vcpus.0.len() as u32;
    if online > check.host.cpus {
        let message =
            format!("{online} vCPUs on {} CPUs of the host: they wait for each other", check.host.cpus);
        check.warning(check.at("vcpus"), message, "more vCPUs than CPUs make a guest slower");
    }
    if let Some(weight) = info.sched_params.weight
        && !WEIGHTS.contains(&weight)
    {
        let help = "it is a number from 1 to 65535; 256 is what others have";
        check.error(check.at("cpu_weight"), format!("`cpu_weight` cannot be {weight}"), help);
    }
    if let Some(cap) = info.sched_params.cap {
        let most = 100 * i64::from(info.max_vcpus.max(1));
        if cap < 0 {
            check.error(
                check.at("cap"),
                format!("`cap` cannot be {cap}"),
                "it is percent of one CPU; 0 is no cap",
            );
        } else if i64::from(cap) > most {
            let message = format!("`cap` ({cap}%) is more than the guest's vCPUs can use ({most}%)");
            check.warning(check.at("cap"), message, "delete it: it caps nothing");
        }
    }
}

pub fn boot(check: &mut Check<'_>) {
    let info = &check.loaded.config.b_info;
    if let Some(kernel) = &info.kernel {
        if info.bootloader.is_some() {
            let help = "delete one of them";
            check.warning(
                check.at("kernel"),
                "`kernel` is not used: `bootloader` finds one on the guest's disk",
                help,
            );
        } else {
            let key = if check.at("kernel").is_some() { "kernel" } else { "firmware" };
            check.file(check.at(key), "the kernel", kernel);
        }
    }
    if let Some(ramdisk) = &info.ramdisk
        && info.bootloader.is_none()
    {
        check.file(check.at("ramdisk"), "the ramdisk", ramdisk);
    }
    if let Some(loader) = &info.bootloader {
        let at = check.at("bootloader");
        let places: Vec<String> = match loader.starts_with('/') {
            true => vec![loader.clone()],
            false => check.host.bootloaders.iter().map(|folder| format!("{folder}/{loader}")).collect(),
        };
        if !places.iter().any(|path| check.host.files.find(path) == super::Found::File) {
            let message = format!("the boot loader \"{loader}\" is not there");
            check.error(at, message, format!("looked for {}", places.join(", ")));
        }
        if check.loaded.config.disks.is_empty() {
            let help = "add the disk that has the kernel, or name a `kernel` of this host";
            check.error(
                at,
                "a boot loader needs a disk to look for the kernel on, and the guest has none",
                help,
            );
        }
    } else if !info.bootloader_args.is_empty() {
        check.warning(
            check.at("bootloader_args"),
            "`bootloader_args` without `bootloader`",
            "delete it, or add bootloader = \"pygrub\"",
        );
    }
}

pub fn ends(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    let soft = [
        ("on_poweroff", config.on_poweroff),
        ("on_reboot", config.on_reboot),
        ("on_watchdog", config.on_watchdog),
        ("on_crash", config.on_crash),
    ];
    for (key, action) in soft {
        if action == Action::SoftReset && config.c_info.kind == DomainType::Pv {
            let help = "write restart: the guest begins anew";
            check.error(
                check.at(key),
                "a PV guest cannot be soft-reset: its memory is laid out at creation",
                help,
            );
        }
    }
}
