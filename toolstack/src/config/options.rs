//! Every option xl.cfg(5) names, and for which guests it is.

/// Who can use an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// PV guests, alone or among others.
    Pv,
    /// PVH guests, and perhaps HVM guests.
    Pvh,
    Hvm,
    Arm,
    /// Guests of xm, xl's predecessor; nobody now.
    Xm,
}

use For::*;

const OPTIONS: &[(For, &[&str])] = &[
    (
        Pv,
        &[
            "name",
            "type",
            "builder",
            "pool",
            "vcpus",
            "maxvcpus",
            "cpus",
            "cpus_soft",
            "cpu_weight",
            "cap",
            "period",
            "slice",
            "latency",
            "extratime",
            "budget",
            "memory",
            "maxmem",
            "vnuma",
            "on_poweroff",
            "on_reboot",
            "on_watchdog",
            "on_crash",
            "on_soft_reset",
            "kernel",
            "ramdisk",
            "cmdline",
            "root",
            "extra",
            "firmware",
            "uuid",
            "seclabel",
            "init_seclabel",
            "max_grant_frames",
            "max_maptrack_frames",
            "max_grant_version",
            "nomigrate",
            "driver_domain",
            "passthrough",
            "xend_suspend_evtchn_compat",
            "vmtrace_buf_kb",
            "disk",
            "vif",
            "vtpm",
            "p9",
            "pvcalls",
            "vfb",
            "vkb",
            "channel",
            "usbctrl",
            "usbdev",
            "pci",
            "pci_permissive",
            "pci_msitranslate",
            "pci_seize",
            "pci_power_mgmt",
            "dtdev",
            "ioports",
            "iomem",
            "irqs",
            "max_event_channels",
            "vdispl",
            "vsnd",
            "dm_restrict",
            "device_model_user",
            "device_model_version",
            "device_model_override",
            "device_model_args",
            "device_model_args_pv",
            "bootloader",
            "bootloader_args",
            "e820_host",
            "cpuid",
            "tsc_mode",
            "localtime",
            "rtc_timeoffset",
            "vnc",
            "vnclisten",
            "vncdisplay",
            "vncunused",
            "vncpasswd",
            "sdl",
            "opengl",
            "keymap",
            "msr_relaxed",
            "altp2m",
            "shadow_memory",
            "videoram",
            "device_tree",
            "vpmu",
            "acpi",
            "hap",
            "oos",
            "nestedhvm",
            "display",
            "xauthority",
            "device_model_stubdomain_override",
        ],
    ),
    (Pvh, &["pvshim", "pvshim_path", "pvshim_cmdline", "pvshim_extra", "timer_mode", "apic", "mca_caps"]),
    (
        Hvm,
        &[
            "boot",
            "hdtype",
            "bios",
            "bios_path_override",
            "pae",
            "acpi_s3",
            "acpi_s4",
            "acpi_laptop_slate",
            "nx",
            "altp2mhvm",
            "smbios_firmware",
            "acpi_firmware",
            "ms_vm_genid",
            "viridian",
            "hpet",
            "vpt_align",
            "mmio_hole",
            "stdvga",
            "vga",
            "gfx_passthru",
            "rdm",
            "rdm_mem_boundary",
            "nographic",
            "serial",
            "usb",
            "usbversion",
            "usbdevice",
            "vkb_device",
            "soundhw",
            "xen_platform_pci",
            "vendor_device",
            "spice",
            "spicehost",
            "spiceport",
            "spicetls_port",
            "spicedisable_ticketing",
            "spicepasswd",
            "spiceagent_mouse",
            "spicevdagent",
            "spice_clipboard_sharing",
            "spiceusbredirection",
            "spice_image_compression",
            "spice_streaming_video",
            "device_model_args_hvm",
            "device_model_stubdomain_seclabel",
            "stubdomain_kernel",
            "stubdomain_cmdline",
            "stubdomain_ramdisk",
            "stubdomain_memory",
            "firmware_override",
            "hvmloader",
        ],
    ),
    (Arm, &["gic_version", "vuart", "tee"]),
    (
        Xm,
        &[
            "vif2",
            "bootargs",
            "device_model",
            "on_xend_start",
            "on_xend_stop",
            "cpu",
            "nics",
            "vnccons",
            "apic_mode",
            "dhcp",
            "ip",
            "netmask",
            "gateway",
            "hostname",
            "interface",
            "nfs_root",
            "nfs_server",
            "tpm",
            "vcpu_avail",
            "irq",
            "features",
            "suppress_spurious_page_faults",
            "machine_address_size",
            "superpages",
            "vscsi",
            "blkif",
            "netif",
            "tpmif",
            "access_control",
            "target",
            "pci_dom",
        ],
    ),
];

/// Who can use the option; `None` where there is no such option.
pub fn of(name: &str) -> Option<For> {
    OPTIONS.iter().find(|(_, names)| names.contains(&name)).map(|(who, _)| *who)
}

/// The option whose name looks most like `name`, if one does.
pub fn similar(name: &str) -> Option<&'static str> {
    let names: Vec<&'static str> =
        OPTIONS.iter().filter(|(who, _)| *who != Xm).flat_map(|(_, names)| names.iter().copied()).collect();
    nearest(name, &names)
}

/// The name nearest to `name`, where no more than a third of it differs.
pub fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let scored = names.iter().map(|known| (distance(name, known), *known)).min_by_key(|(score, _)| *score)?;
    (scored.0 <= name.len().max(3) / 3).then_some(scored.1)
}

/// Insertions, deletions, replacements and swaps of neighbours between two names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_not() {
        assert_eq!(similar("memroy"), Some("memory"));
        assert_eq!(similar("vcpu"), Some("vcpus"));
        assert_eq!(similar("disks"), Some("disk"));
        assert_eq!(similar("on_crach"), Some("on_crash"));
        assert_eq!(similar("bogus_option"), None);
    }

    #[test]
    fn no_option_stands_twice() {
        let mut names: Vec<&str> = OPTIONS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
