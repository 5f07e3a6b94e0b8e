//! What the commands need and a fresh machine lacks; each piece is made once and kept under `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt};
use crate::image::debian;
use crate::proc;
use crate::repository;

/// Where things are.
pub struct Env {
    /// The workspace's folder.
    pub root: PathBuf,
    /// Downloads, images, logs: `target/` of the workspace, wherever cargo builds.
    pub target: PathBuf,
}

impl Env {
    pub fn new() -> Result<Env> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's folder")?.to_owned();
        let target = root.join("target");
        fs::create_dir_all(&target)?;
        Ok(Env { root, target })
    }

    /// A path for messages: relative to the workspace.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    pub fn apt(&self) -> Result<Apt> {
        Apt::open(&self.target)
    }

    /// The log of a boot: `target/logs/NAME.log`.
    pub fn log(&self, name: &str) -> Result<PathBuf> {
        let dir = self.target.join("logs");
        fs::create_dir_all(&dir)?;
        Ok(dir.join(format!("{name}.log")))
    }

    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }
}

/// A Debian kernel: the image, and the folder of its modules.
#[derive(Clone)]
pub struct Kernel {
    pub version: String,
    pub image: PathBuf,
    pub modules: PathBuf,
}

/// A QEMU unpacked under `target/`, with the libraries it was built for.
#[derive(Clone)]
pub struct Qemu {
    pub root: PathBuf,
    pub version: QemuVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum QemuVersion {
    /// QEMU 10, from Debian 12's backports
    #[value(name = "10")]
    V10,
    /// QEMU 7.2, Debian 12's own
    #[value(name = "7.2")]
    V7,
}

pub fn qemu(env: &Env, version: QemuVersion) -> Result<Qemu> {
    let (name, suite) = match version {
        QemuVersion::V10 => ("qemu-10", apt::BACKPORTS),
        QemuVersion::V7 => ("qemu-7.2", apt::RELEASE),
    };
    let root = env.apt()?.unpack(name, suite, &["qemu-system-x86"], true)?;
    Ok(Qemu { root, version })
}

/// The newest Debian kernel of a series ("6.1", "6.12").
pub fn kernel(env: &Env, series: &str) -> Result<Kernel> {
    let dir = env.target.join("pkg").join(format!("linux-{series}"));
    if !dir.join(".complete").exists() {
        let apt = env.apt()?;
        let package = apt.newest(&format!("linux-image-{series}."), "-amd64")?;
        apt.unpack(&format!("linux-{series}"), apt::BACKPORTS, &[&package], false)?;
    }
    let image = fs::read_dir(dir.join("boot"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-")))
        .with_context(|| format!("no vmlinuz in {}", dir.display()))?;
    let version = image.file_name().unwrap_or_default().to_string_lossy().replace("vmlinuz-", "");
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|lib| dir.join(lib).join(&version))
        .find(|path| path.is_dir())
        .with_context(|| format!("no modules of {version} in {}", dir.display()))?;
    Ok(Kernel { version, image, modules })
}

/// Debian's statically linked busybox.
pub fn busybox(env: &Env) -> Result<PathBuf> {
    let dir = env.apt()?.unpack("busybox", apt::RELEASE, &["busybox-static"], false)?;
    first_file(&dir, &["bin/busybox", "usr/bin/busybox"])
}

/// Debian's Xen 4.17, unpacked to the ELF file QEMU's `-kernel` takes.
pub fn debian_xen(env: &Env) -> Result<PathBuf> {
    let dir = env.apt()?.unpack("xen", apt::RELEASE, &["xen-hypervisor-4.17-amd64"], false)?;
    let elf = dir.join("xen");
    if !elf.exists() {
        let packed = fs::File::open(dir.join("boot/xen-4.17-amd64.gz"))?;
        let part = dir.join("xen.part");
        std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut fs::File::create(&part)?)?;
        fs::rename(part, &elf)?;
    }
    Ok(elf)
}

/// The folder that contains `xen/xen.h`: Debian's public headers, for `abi`'s layout test (`XEN_HEADERS`).
pub fn xen_headers(env: &Env) -> Result<PathBuf> {
    let dir = env.apt()?.unpack("xen-headers", apt::RELEASE, &["libxen-dev"], false)?;
    let include = dir.join("usr/include");
    if !include.join("xen/xen.h").exists() {
        bail!("libxen-dev has no xen/xen.h");
    }
    Ok(include)
}

pub fn first_file(dir: &Path, names: &[&str]) -> Result<PathBuf> {
    names
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("none of {} in {}", names.join(", "), dir.display()))
}

/// The Rust targets: bare metal for the hypervisor, musl for static tools in images.
pub fn rust_target(env: &Env, target: &str) -> Result<()> {
    let installed =
        proc::output(Command::new("rustup").args(["target", "list", "--installed"]).current_dir(&env.root));
    if installed.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).lines().any(|line| line == target)) {
        return Ok(());
    }
    println!("setup: adding the Rust target {target}");
    proc::capture(Command::new("rustup").args(["target", "add", target]).current_dir(&env.root)).map(drop)
}

/// Everything at once, so that later commands need no network.
pub fn everything(env: &Env) -> Result<()> {
    rust_target(env, "x86_64-unknown-none")?;
    rust_target(env, "x86_64-unknown-linux-musl")?;
    qemu(env, QemuVersion::V10)?;
    qemu(env, QemuVersion::V7)?;
    kernel(env, "6.1")?;
    kernel(env, "6.12")?;
    busybox(env)?;
    debian_xen(env)?;
    xen_headers(env)?;
    repository::package(env)?;
    debian::dom0(env).map(drop)
}
