//! What a guest is, apart from its devices.

use super::json::{names, record};
use super::values::{Bitmap, DefBool, Uuid};
use crate::config::model::devices::*;
use serde_json::Value;

names! {
    /// What is done with a guest that has shut down.
    pub enum Action: "an action (destroy, restart, ...)" {
        Destroy = "destroy",
        Restart = "restart",
        RestartRename = "restart_rename",
        Preserve = "preserve",
        CoredumpDestroy = "coredump_destroy",
        CoredumpRestart = "coredump_restart",
        SoftReset = "soft_reset",
    }
}

names! {
    pub enum DomainType: "a type of guest (pv, pvh, hvm)" {
        Invalid = "invalid",
        Hvm = "hvm",
        Pv = "pv",
        Pvh = "pvh",
    }
}

names! {
    /// Whether and how the IOMMU follows the guest's memory.
    pub enum Passthrough: "default, disabled, enabled, sync_pt or share_pt" {
        Default = "default",
        Disabled = "disabled",
        Enabled = "enabled",
        SyncPt = "sync_pt",
        SharePt = "share_pt",
        Unknown = "unknown",
    }
}

names! {
    /// How RDTSC works in the guest.
    pub enum TscMode: "default, always_emulate, native or native_paravirt" {
        Default = "default",
        AlwaysEmulate = "always_emulate",
        Native = "native",
        NativeParavirt = "native_paravirt",
    }
}

names! {
    pub enum Altp2m: "disabled, mixed, external or limited" {
        Disabled = "disabled",
        Mixed = "mixed",
        External = "external",
        Limited = "limited",
    }
}

names! {
    pub enum DeviceModelVersion: "qemu_xen or qemu_xen_traditional" {
        Unknown = "unknown",
        QemuXenTraditional = "qemu_xen_traditional",
        QemuXen = "qemu_xen",
    }
}

record! {
    /// What must be known to create an empty guest.
    pub struct CreateInfo {
        kind: DomainType = "type",
        hap: DefBool = "hap",
        oos: DefBool = "oos",
        ssidref: u32 = "ssidref",
        ssid_label: Option<String> = "ssid_label",
        name: Option<String> = "name",
        domid: Option<u32> = "domid",
        uuid: Uuid = "uuid",
        xsdata: Value = "xsdata",
        platformdata: Value = "platformdata",
        poolid: u32 = "poolid",
        pool_name: Option<String> = "pool_name",
        run_hotplug_scripts: DefBool = "run_hotplug_scripts",
        driver_domain: DefBool = "driver_domain",
        passthrough: Passthrough = "passthrough",
        xend_suspend_evtchn_compat: DefBool = "xend_suspend_evtchn_compat",
    }
}

record! {
    /// Absent: the scheduler's default.
    pub struct SchedParams {
        sched: Option<String> = "sched",
        weight: Option<i32> = "weight",
        /// Percent of one CPU; 0 is no cap.
        cap: Option<i32> = "cap",
        period: Option<i32> = "period",
        budget: Option<i32> = "budget",
        extratime: Option<i32> = "extratime",
        slice: Option<i32> = "slice",
        latency: Option<i32> = "latency",
    }
}

record! {
    /// A virtual NUMA node.
    pub struct VnodeInfo {
        memkb: u64 = "memkb",
        distances: Vec<u32> = "distances",
        pnode: u32 = "pnode",
        vcpus: Bitmap = "vcpus",
    }
}

record! {
    pub struct IoportRange {
        first: u32 = "first",
        number: u32 = "number",
    }
}

record! {
    /// Pages of device memory; `gfn` is absent for a mapping at the same number.
    pub struct IomemRange {
        start: u64 = "start",
        number: u64 = "number",
        gfn: Option<u64> = "gfn",
    }
}

record! {
    pub struct PvInfo {
        kernel: Option<String> = "kernel",
        slack_memkb: Option<u64> = "slack_memkb",
        bootloader: Option<String> = "bootloader",
        bootloader_args: Vec<String> = "bootloader_args",
        cmdline: Option<String> = "cmdline",
        ramdisk: Option<String> = "ramdisk",
        features: Option<String> = "features",
        e820_host: DefBool = "e820_host",
    }
}

record! {
    pub struct PvhInfo {
        pvshim: DefBool = "pvshim",
        pvshim_path: Option<String> = "pvshim_path",
        pvshim_cmdline: Option<String> = "pvshim_cmdline",
        pvshim_extra: Option<String> = "pvshim_extra",
    }
}

record! {
    pub struct ArchArm {
        gic_version: Option<String> = "gic_version",
        vuart: Option<String> = "vuart",
    }
}

record! {
    pub struct ArchX86 {
        msr_relaxed: DefBool = "msr_relaxed",
    }
}

record! {
    /// What the guest is built of. Amounts of memory are KiB.
    pub struct BuildInfo {
        max_vcpus: u32 = "max_vcpus",
        avail_vcpus: Bitmap = "avail_vcpus",
        cpumap: Bitmap = "cpumap",
        nodemap: Bitmap = "nodemap",
        vcpu_hard_affinity: Vec<Bitmap> = "vcpu_hard_affinity",
        vcpu_soft_affinity: Vec<Bitmap> = "vcpu_soft_affinity",
        numa_placement: DefBool = "numa_placement",
        tsc_mode: TscMode = "tsc_mode",
        max_memkb: Option<u64> = "max_memkb",
        target_memkb: Option<u64> = "target_memkb",
        video_memkb: Option<u64> = "video_memkb",
        shadow_memkb: Option<u64> = "shadow_memkb",
        iommu_memkb: Option<u64> = "iommu_memkb",
        /// Seconds, modulo 2^32.
        rtc_timeoffset: u32 = "rtc_timeoffset",
        exec_ssidref: u32 = "exec_ssidref",
        exec_ssid_label: Option<String> = "exec_ssid_label",
        localtime: DefBool = "localtime",
        disable_migrate: DefBool = "disable_migrate",
        cpuid: Value = "cpuid",
        blkdev_start: Option<String> = "blkdev_start",
        vnuma_nodes: Vec<VnodeInfo> = "vnuma_nodes",
        max_grant_frames: Option<u32> = "max_grant_frames",
        max_maptrack_frames: Option<u32> = "max_maptrack_frames",
        max_grant_version: Option<i32> = "max_grant_version",
        device_model_version: DeviceModelVersion = "device_model_version",
        device_model_stubdomain: DefBool = "device_model_stubdomain",
        stubdomain_memkb: Option<u64> = "stubdomain_memkb",
        stubdomain_kernel: Option<String> = "stubdomain_kernel",
        stubdomain_cmdline: Option<String> = "stubdomain_cmdline",
        stubdomain_ramdisk: Option<String> = "stubdomain_ramdisk",
        device_model: Option<String> = "device_model",
        device_model_ssidref: u32 = "device_model_ssidref",
        device_model_ssid_label: Option<String> = "device_model_ssid_label",
        device_model_user: Option<String> = "device_model_user",
        extra: Vec<String> = "extra",
        extra_pv: Vec<String> = "extra_pv",
        extra_hvm: Vec<String> = "extra_hvm",
        sched_params: SchedParams = "sched_params",
        ioports: Vec<IoportRange> = "ioports",
        irqs: Vec<u32> = "irqs",
        iomem: Vec<IomemRange> = "iomem",
        claim_mode: DefBool = "claim_mode",
        event_channels: u32 = "event_channels",
        kernel: Option<String> = "kernel",
        cmdline: Option<String> = "cmdline",
        ramdisk: Option<String> = "ramdisk",
        device_tree: Option<String> = "device_tree",
        acpi: DefBool = "acpi",
        bootloader: Option<String> = "bootloader",
        bootloader_args: Vec<String> = "bootloader_args",
        timer_mode: Option<String> = "timer_mode",
        nested_hvm: DefBool = "nested_hvm",
        apic: DefBool = "apic",
        dm_restrict: DefBool = "dm_restrict",
        tee: Option<String> = "tee",
        hvm: Option<Value> = "type.hvm",
        pv: Option<PvInfo> = "type.pv",
        pvh: Option<PvhInfo> = "type.pvh",
        arch_arm: ArchArm = "arch_arm",
        arch_x86: ArchX86 = "arch_x86",
        altp2m: Altp2m = "altp2m",
        vmtrace_buf_kb: i32 = "vmtrace_buf_kb",
        vpmu: DefBool = "vpmu",
    }
}

record! {
    /// A guest.
    pub struct DomainConfig {
        c_info: CreateInfo = "c_info",
        b_info: BuildInfo = "b_info",
        disks: Vec<Disk> = "disks",
        nics: Vec<Nic> = "nics",
        pcidevs: Vec<Pci> = "pcidevs",
        rdms: Vec<Value> = "rdms",
        dtdevs: Vec<DtDev> = "dtdevs",
        vfbs: Vec<Vfb> = "vfbs",
        vkbs: Vec<Vkb> = "vkbs",
        vtpms: Vec<Vtpm> = "vtpms",
        p9s: Vec<P9> = "p9s",
        pvcallsifs: Vec<PvCalls> = "pvcallsifs",
        vdispls: Vec<Vdispl> = "vdispls",
        vsnds: Vec<Vsnd> = "vsnds",
        channels: Vec<Channel> = "channels",
        usbctrls: Vec<UsbCtrl> = "usbctrls",
        usbdevs: Vec<UsbDev> = "usbdevs",
        on_poweroff: Action = "on_poweroff",
        on_reboot: Action = "on_reboot",
        on_watchdog: Action = "on_watchdog",
        on_crash: Action = "on_crash",
        on_soft_reset: Action = "on_soft_reset",
    }
}
