//! How the hypervisor gets into memory: QEMU's own loader, GRUB from a CD or a disk, or the PVH note.
//!
//! GRUB's BIOS images are made as an ordinary user: `grub-mkimage` links its core, `xorriso` writes the CD,
//! `mke2fs -d` fills the disk's partition, and the core stands in the gap before it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio::Cpio;
use crate::apt;
use crate::proc;
use crate::qemu::Boot;
use crate::setup::Env;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Loader {
    /// QEMU's `-kernel`, multiboot
    Qemu,
    /// QEMU's `-kernel`, the PVH note
    Pvh,
    /// GRUB on a CD, `multiboot`
    GrubCd1,
    /// GRUB on a CD, `multiboot2`
    GrubCd2,
    /// GRUB on a disk, `multiboot`
    GrubDisk1,
    /// GRUB on a disk, `multiboot2`
    GrubDisk2,
}

const SECTOR: u64 = 512;
/// Where the disk's partition begins, and how long it is.
const PARTITION: (u64, u64) = (1 << 20, 63 << 20);
const MODULES: &[&str] = &["biosdisk", "normal", "serial", "terminal", "gzio", "multiboot", "multiboot2"];

impl Loader {
    /// Has what QEMU would load (`boot`, a hypervisor) loaded in this way.
    pub fn load(self, env: &Env, boot: Boot) -> Result<Boot> {
        let Boot::Hypervisor { image, options, kernel, kernel_args, initrd } = &boot else {
            return Ok(boot);
        };
        let initrd = initrd.as_deref().context("there is no initramfs to load")?;
        Ok(match self {
            Loader::Qemu => boot,
            Loader::Pvh => Boot::Pvh {
                image: beside(image, "-pvh").context("this hypervisor has no PVH image")?,
                options: format!("{options} -- {kernel_args}"),
                bundle: bundle(env, kernel, initrd)?,
            },
            _ => {
                let suffix = if matches!(self, Loader::GrubCd2 | Loader::GrubDisk2) { "2" } else { "" };
                let config = format!(
                    "serial --unit=0 --speed=115200\nterminal_output serial\n\
                     multiboot{suffix} /xenolith.gz placeholder {options}\n\
                     module{suffix} /vmlinuz placeholder {kernel_args}\n\
                     module{suffix} --nounzip /initrd.gz\nboot\n"
                );
                let image = beside(image, ".gz").unwrap_or_else(|| image.clone());
                let files = files(env, &image, kernel, initrd, &config)?;
                let grub = Grub::open(env)?;
                match self {
                    Loader::GrubCd1 | Loader::GrubCd2 => Boot::Cd { image: grub.cd(env, &files)? },
                    _ => Boot::Disk { image: grub.disk(env, &files)? },
                }
            }
        })
    }
}

/// Another form of the hypervisor's image, which the build left beside it.
fn beside(image: &Path, suffix: &str) -> Option<PathBuf> {
    let name = format!("{}{suffix}", image.file_name()?.to_string_lossy());
    Some(image.with_file_name(name)).filter(|path| path.is_file())
}

/// Kernel and initramfs in one file.
fn bundle(env: &Env, kernel: &Path, initrd: &Path) -> Result<PathBuf> {
    let mut cpio = Cpio::default();
    cpio.file("kernel", 0o644, &fs::read(kernel)?);
    cpio.file("initrd", 0o644, &fs::read(initrd)?);
    let path = env.target.join("images/pvh-bundle");
    fs::write(&path, cpio.finish())?;
    Ok(path)
}

/// A folder with what GRUB is to find.
fn files(env: &Env, image: &Path, kernel: &Path, initrd: &Path, config: &str) -> Result<PathBuf> {
    let dir = env.target.join("images/grub-files");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(dir.join("boot/grub"))?;
    for (from, to) in [(image, "xenolith.gz"), (kernel, "vmlinuz"), (initrd, "initrd.gz")] {
        fs::copy(from, dir.join(to)).with_context(|| format!("copying {}", from.display()))?;
    }
    fs::write(dir.join("boot/grub/grub.cfg"), config)?;
    Ok(dir)
}

/// GRUB's and xorriso's programs, with the libraries that belong to them.
struct Grub {
    root: PathBuf,
}

impl Grub {
    fn open(env: &Env) -> Result<Grub> {
        let packages = ["grub-common", "grub-pc-bin", "xorriso"];
        Ok(Grub { root: env.apt()?.unpack("grub", apt::RELEASE, &packages, true)? })
    }

    fn command(&self, program: &str) -> Command {
        let at = |path: &str| self.root.join(path).display().to_string();
        let libs = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(at);
        let mut command = Command::new(at("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(libs.join(":")).arg(at(program));
        command
    }

    /// GRUB's core for one kind of medium, which looks for its configuration at `prefix`.
    fn core(&self, format: &str, prefix: &str, modules: &[&str], out: &Path) -> Result<()> {
        let mut command = self.command("usr/bin/grub-mkimage");
        command.arg("-d").arg(self.root.join("usr/lib/grub/i386-pc"));
        command.args(["-O", format, "-p", prefix, "-o"]).arg(out).args(MODULES).args(modules);
        proc::capture(&mut command).map(drop).context("linking GRUB's core")
    }

    fn cd(&self, env: &Env, files: &Path) -> Result<PathBuf> {
        self.core("i386-pc-eltorito", "(cd)/boot/grub", &["iso9660"], &files.join("boot/eltorito.img"))?;
        let iso = env.target.join("images/grub.iso");
        let mut command = self.command("usr/bin/xorriso");
        command.args(["-as", "mkisofs", "-quiet", "-R", "-b", "boot/eltorito.img", "-no-emul-boot"]);
        command.args(["-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info", "-o"]);
        proc::capture(command.arg(&iso).arg(files)).context("writing the CD's image")?;
        Ok(iso)
    }

    fn disk(&self, env: &Env, files: &Path) -> Result<PathBuf> {
        let images = env.target.join("images");
        let (core, part) = (images.join("grub-core.img"), images.join("grub-part.img"));
        self.core("i386-pc", "(hd0,msdos1)/boot/grub", &["part_msdos", "ext2"], &core)?;
        let (start, len) = PARTITION;
        fs::File::create(&part)?.set_len(len)?;
        let mut mke2fs = Command::new("/sbin/mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext2", "-d"]).arg(files).arg(&part);
        proc::capture(&mut mke2fs).context("making the disk's file system")?;

        let (core, part) = (fs::read(core)?, fs::read(part)?);
        let mut disk = fs::read(self.root.join("usr/lib/grub/i386-pc/boot.img"))?;
        disk.resize(SECTOR as usize, 0);
        // One active Linux partition; its CHS addresses say that they do not count.
        let lba = |bytes: u64| ((bytes / SECTOR) as u32).to_le_bytes();
        disk[446..454].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
        disk[454..458].copy_from_slice(&lba(start));
        disk[458..462].copy_from_slice(&lba(len));
        disk[462..510].fill(0);
        disk[510..].copy_from_slice(&[0x55, 0xaa]);
        disk.extend_from_slice(&core);
        if disk.len() as u64 > start {
            bail!("GRUB's core of {} bytes does not fit before the partition", core.len());
        }
        disk.resize(start as usize, 0);
        disk.extend_from_slice(&part);
        let path = images.join("grub-disk.img");
        fs::write(&path, disk)?;
        Ok(path)
    }
}
