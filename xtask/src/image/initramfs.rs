//! Small initramfs archives from busybox and a few modules: a shell, or the way to a root on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Cpio;
use super::modules::Tree;
use crate::setup::{self, Env, Kernel};

/// What the archive is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A shell on the console: dom0 without a disk.
    Shell,
    /// Finds the disk labelled as `root=LABEL=…` says and hands over to its init.
    Root,
}

/// The machines' usual disks, and what else they may have.
const DISKS: [&str; 3] = ["ahci", "ata_piix", "sd_mod"];
const MORE_DISKS: [&str; 3] = ["nvme", "virtio_pci", "virtio_blk"];
const NETWORK: [&str; 1] = ["e1000e"];
const FILES: [&str; 2] = ["ext4", "crc32c_generic"];
/// What dom0's programs work with.
const DOM0: [&str; 5] = ["xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs"];
const FRONTENDS: [&str; 2] = ["xen-blkfront", "xen-netfront"];
const BACKENDS: [&str; 4] = ["bridge", "loop", "xen-blkback", "xen-netback"];

/// The modules of a dom0 that serves guests.
pub fn serving() -> Vec<&'static str> {
    [&DISKS[..], &MORE_DISKS, &NETWORK, &FILES, &DOM0, &BACKENDS].concat()
}

const SHELL_INIT: &str = r#"#!/bin/sh
export PATH=/bin HOME=/root PS1='dom0# ' TERM=linux
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts pts /dev/pts
for m in $(cat /modules/order); do insmod /modules/$m.ko 2>/dev/null; done
[ -d /proc/xen ] && mount -t xenfs xenfs /proc/xen
hostname dom0
ip link set lo up
ip link set eth0 up 2>/dev/null && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2
echo "hypervisor: $(cat /sys/hypervisor/type 2>/dev/null || echo none) $(cat /sys/hypervisor/version/major 2>/dev/null).$(cat /sys/hypervisor/version/minor 2>/dev/null)$(cat /sys/hypervisor/version/extra 2>/dev/null)"
echo "Linux $(uname -r), $(nproc) CPU(s). \"poweroff -f\" ends, \"reboot -f\" restarts."
console=$(sed 's/.*console=\([a-zA-Z0-9]*\).*/\1/' /proc/cmdline)
while :; do setsid sh -c "exec sh </dev/$console >/dev/$console 2>&1"; done
"#;

const ROOT_INIT: &str = r#"#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m.ko 2>/dev/null; done
label=$(sed 's/.*root=LABEL=\([^ ]*\).*/\1/' /proc/cmdline)
tries=0
until disk=$(findfs "LABEL=$label" 2>/dev/null); do
    tries=$((tries + 1))
    if [ $tries -gt 300 ]; then
        echo "initramfs: no disk has the label $label; disks here:"
        cat /proc/partitions
        setsid sh -c 'exec sh </dev/console >/dev/console 2>&1'
    fi
    usleep 200000
done
mount -t ext4 -o rw,noatime "$disk" /root || { echo "initramfs: cannot mount $disk"; exec sh; }
umount /proc /sys
mount --move /dev /root/dev
exec switch_root /root /sbin/init
"#;

/// Makes the archive for a kernel, or finds it made.
pub fn make(env: &Env, kernel: &Kernel, purpose: Purpose) -> Result<PathBuf> {
    let (name, init, modules) = match purpose {
        Purpose::Shell => ("shell", SHELL_INIT, [&DISKS[..], &NETWORK, &DOM0, &FRONTENDS].concat()),
        Purpose::Root => ("root", ROOT_INIT, [&DISKS[..], &MORE_DISKS, &FRONTENDS, &FILES].concat()),
    };
    pack(env, kernel, &Recipe { name, modules, files: vec![File::program("init", init)] })
}

/// A file of an archive.
pub struct File {
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl File {
    pub fn program(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o755, bytes: bytes.into() }
    }

    pub fn text(path: &str, text: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o644, bytes: text.into() }
    }

    pub fn executable(self) -> Self {
        Self { mode: 0o755, ..self }
    }

    /// A copy of a file of the host.
    pub fn copy(path: &str, from: &Path) -> Result<Self> {
        Ok(Self::text(path, fs::read(from).with_context(|| format!("reading {}", from.display()))?))
    }
}

/// What an archive holds besides busybox. `/modules/order` names its kernel's modules in the order they load in.
pub struct Recipe<'a> {
    pub name: &'a str,
    pub modules: Vec<&'a str>,
    pub files: Vec<File>,
}

/// Makes the archive, or finds it made.
pub fn pack(env: &Env, kernel: &Kernel, recipe: &Recipe) -> Result<PathBuf> {
    let modules = recipe.modules.join(" ");
    let of_files = recipe.files.iter().flat_map(|f| [f.path.as_bytes(), &f.bytes]);
    let parts = [APPLETS, &modules, &kernel.version].map(str::as_bytes);
    let hash = super::hash(parts.into_iter().chain(of_files));
    let name = format!("initramfs-{}-{}-{hash}.gz", recipe.name, kernel.version);
    let path = env.target.join("images").join(name);
    if path.exists() {
        return Ok(path);
    }
    let mut cpio = Cpio::default();
    for dir in ["proc", "sys", "dev", "tmp", "root", "run", "etc", "var"] {
        cpio.dir(dir);
    }
    cpio.char_device("dev/console", 5, 1);
    cpio.char_device("dev/null", 1, 3);
    let busybox = fs::read(setup::busybox(env)?)?;
    cpio.file("bin/busybox", 0o755, &busybox);
    for applet in APPLETS.split_whitespace() {
        cpio.link(&format!("bin/{applet}"), "busybox");
    }
    recipe.files.iter().for_each(|f| cpio.file(&f.path, f.mode, &f.bytes));
    let mut order = String::new();
    for module in Tree::read(kernel)?.closure(&recipe.modules)? {
        order += &format!("{} ", module.name);
        cpio.file(&format!("modules/{}.ko", module.name), 0o644, &module.bytes);
    }
    cpio.file("modules/order", 0o644, order.as_bytes());

    fs::create_dir_all(path.parent().context("images folder")?)?;
    let part = path.with_extension("part");
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&part)?, flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &cpio.finish())?;
    gz.finish()?;
    fs::rename(part, &path)?;
    Ok(path)
}

const APPLETS: &str = "sh ash mount umount mkdir cat echo ls insmod lsmod modprobe hostname ip ping sed grep awk setsid \
    sleep usleep findfs blkid switch_root poweroff reboot halt dmesg ps top free df dd sha256sum md5sum cp mv rm ln \
    find head tail wc tr cut sort uniq od hexdump vi less more uname nproc mknod chmod chown date time test true false \
    nc wget telnet kill killall sync stty reset clear env id seq yes tee xargs expr which devmem init brctl losetup pidof \
    touch basename dirname readlink stat nslookup route ifconfig timeout watch tar gzip gunzip xz egrep";
