//! The devices of a guest. Numbers of devices that are absent are chosen when the guest is created.

use super::json::{names, record};
use super::values::{DefBool, Mac, Uuid};

names! {
    /// Which driver serves a disk.
    pub enum DiskBackend: "phy, tap, qdisk or standalone" {
        Unknown = "unknown",
        Phy = "phy",
        Tap = "tap",
        Qdisk = "qdisk",
        Standalone = "standalone",
    }
}

names! {
    pub enum DiskFormat: "raw, qcow, qcow2, vhd, qed or empty" {
        Unknown = "unknown",
        Qcow = "qcow",
        Qcow2 = "qcow2",
        Vhd = "vhd",
        Raw = "raw",
        Empty = "empty",
        Qed = "qed",
    }
}

names! {
    pub enum NicType: "vif or vif_ioemu" {
        Unknown = "unknown",
        VifIoemu = "vif_ioemu",
        Vif = "vif",
    }
}

names! {
    pub enum VkbBackend: "qemu or linux" {
        Unknown = "unknown",
        Qemu = "qemu",
        Linux = "linux",
    }
}

names! {
    pub enum UsbCtrlType: "auto, pv, devicemodel or qusb" {
        Auto = "auto",
        Pv = "pv",
        DeviceModel = "devicemodel",
        Qusb = "qusb",
    }
}

names! {
    /// What becomes of memory that firmware has reserved for a device.
    pub enum RdmPolicy: "strict or relaxed" {
        Invalid = "invalid",
        Strict = "strict",
        Relaxed = "relaxed",
    }
}

record! {
    pub struct Disk {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        /// What it is on the host: a path, or what `script` makes of it.
        pdev_path: Option<String> = "pdev_path",
        /// What the guest calls it.
        vdev: Option<String> = "vdev",
        backend: DiskBackend = "backend",
        format: DiskFormat = "format",
        script: Option<String> = "script",
        removable: i32 = "removable",
        readwrite: i32 = "readwrite",
        is_cdrom: i32 = "is_cdrom",
        direct_io_safe: bool = "direct_io_safe",
        discard_enable: DefBool = "discard_enable",
        specification: Option<String> = "specification",
        transport: Option<String> = "transport",
        irq: u32 = "irq",
        base: u64 = "base",
        colo_enable: DefBool = "colo_enable",
        colo_restore_enable: DefBool = "colo_restore_enable",
        colo_host: Option<String> = "colo_host",
        colo_port: i32 = "colo_port",
        colo_export: Option<String> = "colo_export",
        active_disk: Option<String> = "active_disk",
        hidden_disk: Option<String> = "hidden_disk",
        trusted: DefBool = "trusted",
    }
}

record! {
    pub struct Nic {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
        mtu: i32 = "mtu",
        model: Option<String> = "model",
        mac: Mac = "mac",
        ip: Option<String> = "ip",
        bridge: Option<String> = "bridge",
        ifname: Option<String> = "ifname",
        script: Option<String> = "script",
        nictype: NicType = "nictype",
        /// Outgoing bytes in each interval; 0 is no limit.
        rate_bytes_per_interval: u64 = "rate_bytes_per_interval",
        rate_interval_usecs: u32 = "rate_interval_usecs",
        gatewaydev: Option<String> = "gatewaydev",
        coloft_forwarddev: Option<String> = "coloft_forwarddev",
        trusted: DefBool = "trusted",
    }
}

record! {
    pub struct Pci {
        func: u8 = "func",
        dev: u8 = "dev",
        bus: u8 = "bus",
        domain: i32 = "domain",
        /// Slot and function in the guest, as in configuration addresses (slot << 3).
        vdevfn: u32 = "vdevfn",
        /// Functions: all bits for every one the device has.
        vfunc_mask: u32 = "vfunc_mask",
        msitranslate: bool = "msitranslate",
        power_mgmt: bool = "power_mgmt",
        permissive: bool = "permissive",
        seize: bool = "seize",
        rdm_policy: RdmPolicy = "rdm_policy",
        name: Option<String> = "name",
    }
}

record! {
    pub struct DtDev {
        path: Option<String> = "path",
    }
}

record! {
    pub struct Vnc {
        enable: DefBool = "enable",
        listen: Option<String> = "listen",
        passwd: Option<String> = "passwd",
        display: i32 = "display",
        findunused: DefBool = "findunused",
    }
}

record! {
    pub struct Sdl {
        enable: DefBool = "enable",
        opengl: DefBool = "opengl",
        display: Option<String> = "display",
        xauthority: Option<String> = "xauthority",
    }
}

record! {
    pub struct Vfb {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
        vnc: Vnc = "vnc",
        sdl: Sdl = "sdl",
        keymap: Option<String> = "keymap",
    }
}

record! {
    pub struct Vkb {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
        backend_type: VkbBackend = "backend_type",
        unique_id: Option<String> = "unique_id",
        feature_disable_keyboard: bool = "feature_disable_keyboard",
        feature_disable_pointer: bool = "feature_disable_pointer",
        feature_abs_pointer: bool = "feature_abs_pointer",
        feature_raw_pointer: bool = "feature_raw_pointer",
        feature_multi_touch: bool = "feature_multi_touch",
        width: u32 = "width",
        height: u32 = "height",
        multi_touch_width: u32 = "multi_touch_width",
        multi_touch_height: u32 = "multi_touch_height",
        multi_touch_num_contacts: u32 = "multi_touch_num_contacts",
    }
}

record! {
    pub struct Vtpm {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
        uuid: Uuid = "uuid",
    }
}

record! {
    pub struct P9 {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        tag: Option<String> = "tag",
        path: Option<String> = "path",
        security_model: Option<String> = "security_model",
        devid: Option<i32> = "devid",
    }
}

record! {
    pub struct PvCalls {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
    }
}

record! {
    pub struct Connector {
        unique_id: Option<String> = "unique_id",
        width: u32 = "width",
        height: u32 = "height",
    }
}

record! {
    pub struct Vdispl {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
        be_alloc: bool = "be_alloc",
        connectors: Vec<Connector> = "connectors",
    }
}

record! {
    /// What a sound card, device or stream can do.
    pub struct SoundParams {
        sample_rates: Vec<u32> = "sample_rates",
        sample_formats: Vec<String> = "sample_formats",
        channels_min: u32 = "channels_min",
        channels_max: u32 = "channels_max",
        buffer_size: u32 = "buffer_size",
    }
}

record! {
    pub struct SoundStream {
        unique_id: Option<String> = "unique_id",
        kind: Option<String> = "type",
        params: SoundParams = "params",
    }
}

record! {
    pub struct SoundPcm {
        name: Option<String> = "name",
        params: SoundParams = "params",
        streams: Vec<SoundStream> = "streams",
    }
}

record! {
    pub struct Vsnd {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
        short_name: Option<String> = "short_name",
        long_name: Option<String> = "long_name",
        params: SoundParams = "params",
        pcms: Vec<SoundPcm> = "pcms",
    }
}

record! {
    pub struct ChannelPty {}
}

record! {
    pub struct ChannelSocket {
        path: Option<String> = "path",
    }
}

record! {
    /// A byte stream; exactly one of `pty` and `socket` is there.
    pub struct Channel {
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
        devid: Option<i32> = "devid",
        name: Option<String> = "name",
        pty: Option<ChannelPty> = "connection.pty",
        socket: Option<ChannelSocket> = "connection.socket",
    }
}

record! {
    pub struct UsbCtrl {
        kind: UsbCtrlType = "type",
        devid: Option<i32> = "devid",
        version: i32 = "version",
        ports: i32 = "ports",
        backend_domid: u32 = "backend_domid",
        backend_domname: Option<String> = "backend_domname",
    }
}

record! {
    pub struct HostUsb {
        hostbus: u8 = "hostbus",
        hostaddr: u8 = "hostaddr",
    }
}

record! {
    pub struct UsbDev {
        ctrl: Option<i32> = "ctrl",
        port: i32 = "port",
        hostdev: Option<HostUsb> = "type.hostdev",
    }
}
