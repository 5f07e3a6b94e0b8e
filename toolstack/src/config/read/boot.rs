//! What the guest boots: a kernel, a boot loader that finds one, or GRUB as the kernel.

use super::reader::Reader;
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{BuildInfo, DefBool, DeviceModelVersion, DomainType, PvInfo, PvhInfo};

/// Where the GRUB images are that `firmware` names.
const FIRMWARE_FOLDER: &str = "/usr/lib/xen-4.17/boot";

pub fn boot(reader: &mut Reader<'_>, out: &mut BuildInfo, kind: DomainType) {
    out.kernel = reader.text("kernel");
    out.ramdisk = reader.text("ramdisk");
    out.cmdline = cmdline(reader);
    out.bootloader = reader.text("bootloader");
    out.bootloader_args = reader.strings("bootloader_args", true);
    device_model(reader, out);
    if kind == DomainType::Pvh {
        out.pvh = Some(PvhInfo {
            pvshim: reader.flag("pvshim"),
            pvshim_path: reader.text("pvshim_path"),
            pvshim_cmdline: reader.text("pvshim_cmdline"),
            pvshim_extra: reader.text("pvshim_extra"),
            ..PvhInfo::default()
        });
    } else {
        out.pv = Some(PvInfo { e820_host: reader.flag("e820_host"), ..PvInfo::default() });
        firmware(reader, out);
    }
    if out.kernel.is_none() && out.bootloader.is_none() && !reader.failed() {
        let help =
            "write kernel = \"/path/to/vmlinuz\", or bootloader = \"pygrub\" to find one on the guest's disk";
        reader
            .diagnostics
            .push(Diagnostic::error(None, "nothing to boot: neither `kernel` nor `bootloader`").help(help));
    }
}

/// `cmdline` alone, or `root` and `extra` put together.
fn cmdline(reader: &mut Reader<'_>) -> Option<String> {
    let (whole, root, extra) = (reader.text("cmdline"), reader.text("root"), reader.text("extra"));
    match (&whole, root, extra) {
        (None, None, extra) => extra,
        (None, Some(root), None) => Some(format!("root={root}")),
        (None, Some(root), Some(extra)) => Some(format!("root={root} {extra}")),
        (Some(_), None, None) => whole,
        (Some(_), ..) => {
            if let Some(value) = reader.value("root").or(reader.value("extra")) {
                reader.warning(
                    value,
                    "`root` and `extra` are ignored beside `cmdline`",
                    "write all of it into `cmdline`",
                );
            }
            whole
        }
    }
}

/// GRUB for PV guests, by its short name.
fn firmware(reader: &mut Reader<'_>, out: &mut BuildInfo) {
    let names = [("pvgrub32", "pvgrub32.bin"), ("pvgrub64", "pvgrub64.bin")];
    let Some(file) = reader.choice("firmware", &names) else { return };
    let Some(value) = reader.value("firmware") else { return };
    if out.kernel.is_some() || out.bootloader.is_some() {
        let other = if out.kernel.is_some() { "kernel" } else { "bootloader" };
        reader.error(value, format!("both `{other}` and `firmware` say what to boot"), "delete one of them");
        return;
    }
    out.kernel = Some(format!("{FIRMWARE_FOLDER}/{file}"));
}

/// A PV guest has one only for some devices (framebuffers, disks that are image files).
fn device_model(reader: &mut Reader<'_>, out: &mut BuildInfo) {
    let versions = [
        ("qemu-xen", DeviceModelVersion::QemuXen),
        ("qemu-xen-traditional", DeviceModelVersion::QemuXenTraditional),
    ];
    out.device_model_version = reader.choice("device_model_version", &versions).unwrap_or_default();
    out.device_model_stubdomain = match reader.flag("device_model_stubdomain_override") {
        DefBool::Default => DefBool::Default,
        set => set,
    };
    out.device_model = reader.text("device_model_override");
    out.device_model_user = reader.text("device_model_user");
    out.dm_restrict = reader.flag("dm_restrict");
    out.extra = reader.strings("device_model_args", false);
    out.extra_pv = reader.strings("device_model_args_pv", false);
    out.extra_hvm = reader.strings("device_model_args_hvm", false);
}
