//! Debian root file systems as disk images: dom0 with the stock Xen tools, and a small PV guest.
//!
//! Two steps, each kept under `target/images` by the hash of its recipe: `mmdebstrap` makes a base archive
//! (slow, needs the network), then base + our few configuration files become an ext4 image without a
//! loop mount (`mke2fs -d`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::initramfs::{self, Purpose};
use super::overlay::Overlay;
use crate::apt;
use crate::proc;
use crate::setup::{self, Env, Kernel};

/// root's password in both images.
pub const PASSWORD: &str = "xenolith";
/// The label dom0's root is found by.
pub const DOM0_LABEL: &str = "dom0-root";
/// The label the guest's root is found by.
pub const GUEST_LABEL: &str = "guest-root";

const GUEST_PACKAGES: &str = "systemd-sysv,udev,kmod,iproute2,iputils-ping,netcat-openbsd,stress-ng";
const DOM0_PACKAGES: &str = "systemd-sysv,udev,kmod,iproute2,iputils-ping,netcat-openbsd,stress-ng,\
    bridge-utils,xen-utils-4.17,xen-utils-common,xenstore-utils";

/// What both also have where guests do real work.
const WORK_PACKAGES: &str = "fio,iperf3,xz-utils,zstd";
/// QEMU is the stock tools' only back-end of disks that are not raw.
const DOM0_WORK_PACKAGES: &str = "qemu-system-xen,qemu-utils";

/// What dom0 also has where libvirt is tried.
const LIBVIRT_PACKAGES: &str = "libvirt-daemon,libvirt-daemon-driver-xen,libvirt-clients";

/// Folders of the kernel's modules that dom0 gets: what a Xen host needs, without the thousands of drivers.
const MODULE_FOLDERS: &[&str] = &[
    "arch",
    "crypto",
    "drivers/ata",
    "drivers/block",
    "drivers/net/ethernet/intel",
    "drivers/net/xen-netback",
    "drivers/pps",
    "drivers/ptp",
    "drivers/scsi",
    "drivers/xen",
    "fs",
    "lib",
    "net/802",
    "net/8021q",
    "net/bridge",
    "net/llc",
    "net/packet",
    "net/unix",
];

/// The label, size and content of one image.
struct Recipe<'a> {
    name: &'a str,
    label: &'a str,
    size_mib: u32,
    base: &'a Path,
    overlay: Overlay,
    /// Kernel versions `depmod` runs for.
    depmod: Vec<String>,
}

/// The guest's kernel, as it is called in dom0's `/srv/guest`.
pub fn guest_kernel(env: &Env) -> Result<Kernel> {
    setup::kernel(env, "6.1")
}

/// dom0's disk, with the guest's disk, kernel and configuration in `/srv/guest`.
pub fn dom0(env: &Env) -> Result<PathBuf> {
    let base = base(env, "dom0", DOM0_PACKAGES)?;
    let mut overlay = Overlay::new("dom0", PASSWORD);
    overlay.dom0();
    overlay.copy("srv/guest/disk.img", &guest(env)?);
    dom0_from(env, "dom0", 3072, &base, overlay)
}

/// The same for guests that do real work: programs that load disk, network and processors in both roots, room for
/// what they write, QEMU as a back-end of disks, and the kernel 6.12 for guests beside 6.1.
pub fn dom0_for_work(env: &Env) -> Result<PathBuf> {
    let base = base(env, "workshop", &format!("{DOM0_PACKAGES},{WORK_PACKAGES},{DOM0_WORK_PACKAGES}"))?;
    let mut overlay = Overlay::new("dom0", PASSWORD);
    overlay.dom0();
    overlay.work();
    overlay.copy("srv/guest/disk.img", &worker(env)?);
    let kernel = setup::kernel(env, "6.12")?;
    overlay.copy("srv/guest/vmlinuz-6.12", &kernel.image);
    overlay.copy("srv/guest/initramfs-6.12.gz", &initramfs::make(env, &kernel, Purpose::Root)?);
    dom0_from(env, "workshop", 6144, &base, overlay)
}

/// The same with libvirt's daemon, which nothing starts.
pub fn dom0_with_libvirt(env: &Env) -> Result<PathBuf> {
    let base = base(env, "libvirt", &format!("{DOM0_PACKAGES},{LIBVIRT_PACKAGES}"))?;
    let mut overlay = Overlay::new("dom0", PASSWORD);
    overlay.dom0();
    overlay.libvirt();
    overlay.copy("srv/guest/disk.img", &guest(env)?);
    dom0_from(env, "libvirt", 3072, &base, overlay)
}

fn dom0_from(env: &Env, name: &str, size_mib: u32, base: &Path, mut overlay: Overlay) -> Result<PathBuf> {
    let kernel = guest_kernel(env)?;
    overlay.copy("srv/guest/vmlinuz", &kernel.image);
    overlay.copy("srv/guest/initramfs.gz", &initramfs::make(env, &kernel, Purpose::Root)?);
    overlay.copy("srv/guest/pvgrub", &pvgrub(env)?);
    let mut depmod = Vec::new();
    for series in ["6.1", "6.12"] {
        let kernel = setup::kernel(env, series)?;
        let lib = format!("usr/lib/modules/{}", kernel.version);
        for folder in MODULE_FOLDERS {
            overlay.copy(&format!("{lib}/kernel/{folder}"), &kernel.modules.join("kernel").join(folder));
        }
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            overlay.copy(&format!("{lib}/{list}"), &kernel.modules.join(list));
        }
        depmod.push(kernel.version);
    }
    assemble(env, Recipe { name, label: DOM0_LABEL, size_mib, base, overlay, depmod })
}

/// The disk of a small Debian guest.
pub fn guest(env: &Env) -> Result<PathBuf> {
    let base = base(env, "guest", GUEST_PACKAGES)?;
    guest_from(env, "guest", 512, &base)
}

/// A guest with the programs and the room to do real work.
fn worker(env: &Env) -> Result<PathBuf> {
    let base = base(env, "worker", &format!("{GUEST_PACKAGES},{WORK_PACKAGES}"))?;
    guest_from(env, "worker", 1024, &base)
}

fn guest_from(env: &Env, name: &str, size_mib: u32, base: &Path) -> Result<PathBuf> {
    let mut overlay = Overlay::new("guest", PASSWORD);
    overlay.guest();
    let kernel = guest_kernel(env)?;
    overlay.copy("boot/vmlinuz", &kernel.image);
    overlay.copy("boot/initrd.gz", &initramfs::make(env, &kernel, Purpose::Root)?);
    assemble(env, Recipe { name, label: GUEST_LABEL, size_mib, base, overlay, depmod: vec![] })
}

/// GRUB as a PV kernel: it finds `/boot/grub/grub.cfg` on the guest's disks and loads the kernel that it names.
fn pvgrub(env: &Env) -> Result<PathBuf> {
    let dir = env.apt()?.unpack("grub-xen-host", apt::RELEASE, &["grub-xen-host"], false)?;
    Ok(dir.join("usr/lib/grub-xen/grub-x86_64-xen.bin"))
}

/// A Debian root with these packages, as a tar archive.
fn base(env: &Env, name: &str, packages: &str) -> Result<PathBuf> {
    let dir = env.target.join("images");
    let path = dir.join(format!("base-{name}-{}.tar", super::hash([packages, apt::RELEASE])));
    if path.exists() {
        return Ok(path);
    }
    install(&["mmdebstrap"])?;
    println!("setup: {name}: making a Debian {} root with mmdebstrap (half a minute or more)", apt::RELEASE);
    fs::create_dir_all(&dir)?;
    let part = path.with_extension("part.tar");
    let mut command = proc::as_root("mmdebstrap")?;
    command.args(["--quiet", "--variant=minbase", "--mode=root", "--format=tar"]);
    command.arg(format!("--include={packages}"));
    for folder in ["man", "doc", "info", "locale"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    command.arg(apt::RELEASE).arg(&part);
    command.args(env.apt()?.source_lines()?.iter().filter(|line| !line.contains(apt::BACKPORTS)));
    proc::capture(&mut command).with_context(|| format!("making the Debian root of {name}"))?;
    proc::capture(proc::as_root("mv")?.arg(&part).arg(&path))?;
    Ok(path)
}

/// Unpacks the base, adds the overlay and makes the file system; as root, so that owners are right.
const ASSEMBLE: &str = r#"
base=$1 overlay=$2 image=$3 label=$4 password=$5 tree=$6; shift 6
rm -rf "$tree"; mkdir -p "$tree"; trap 'rm -rf "$tree"' EXIT
tar -C "$tree" --numeric-owner -xf "$base"
cp -a --no-preserve=ownership --sparse=always "$overlay/." "$tree/"
chown -R 0:0 "$tree/etc/systemd" "$tree/usr/local" "$tree/usr/lib/modules" "$tree/srv" "$tree/root" 2>/dev/null || true
chmod 755 "$tree"
for version; do chroot "$tree" depmod "$version"; done
echo "root:$password" | chroot "$tree" chpasswd
rm -rf "$tree/var/lib/apt/lists" "$tree/var/cache/apt"
mke2fs -q -F -t ext4 -O ^has_journal -m 0 -L "$label" -d "$tree" "$image"
"#;

fn assemble(env: &Env, recipe: Recipe) -> Result<PathBuf> {
    let Recipe { name, label, size_mib, base, overlay, depmod } = recipe;
    let size = size_mib.to_string();
    let base_name = base.display().to_string();
    let hash = super::hash([&base_name, label, &size, &overlay.describe(), &depmod.join(" "), ASSEMBLE]);
    let dir = env.target.join("images");
    let path = dir.join(format!("{name}-{hash}.ext4"));
    if path.exists() {
        return Ok(path);
    }
    println!("setup: {name}: writing the disk image");
    let staging = dir.join(format!("{name}-overlay"));
    overlay.write(&staging)?;
    let part = path.with_extension("part");
    fs::File::create(&part)?.set_len(u64::from(size_mib) << 20)?;
    let mut command = proc::as_root("sh")?;
    command.args(["-e", "-c", ASSEMBLE, "assemble"]).arg(base).arg(&staging).arg(&part);
    command.args([label, PASSWORD]).arg(dir.join(format!("{name}-tree"))).args(&depmod);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    proc::capture(&mut command).with_context(|| format!("writing the disk image of {name}"))?;
    fs::remove_dir_all(&staging)?;
    forget_older(&dir, &format!("{name}-"), ".ext4")?;
    fs::rename(part, &path)?;
    Ok(path)
}

/// Images of earlier recipes only take room.
fn forget_older(dir: &Path, prefix: &str, suffix: &str) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(prefix) && name.ends_with(suffix) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Installs Debian packages on this machine, if their program is not there: only what cannot run unpacked.
fn install(programs: &[&str]) -> Result<()> {
    let missing: Vec<&&str> = programs.iter().filter(|program| !proc::exists(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: installing {missing:?} with apt-get");
    let install = || -> Result<()> {
        let mut command = proc::as_root("apt-get")?;
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "--no-install-recommends"]);
        proc::capture(command.args(&missing)).map(drop)
    };
    if install().is_err() {
        proc::capture(proc::as_root("apt-get")?.arg("update"))?;
        install()?;
    }
    Ok(())
}
