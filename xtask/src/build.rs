//! `cargo xtask build`: the hypervisor's ELF file, made bootable; and the tools that dom0 runs.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::proc;
use crate::setup::{self, Env};

/// The bootable image. Beside it stand `.gz`, the same compressed for GRUB, and `-pvh`, a 64-bit ELF file with the
/// PVH note.
pub struct Image {
    /// A 32-bit multiboot ELF file, what QEMU's `-kernel` takes.
    pub elf: PathBuf,
    /// What the linker made, with its symbols.
    pub linked: PathBuf,
}

const TARGET: &str = "x86_64-unknown-none";

pub fn build(env: &Env) -> Result<Image> {
    setup::rust_target(env, TARGET)?;
    println!("build: the hypervisor");
    proc::run(env.cargo().args(["build", "--quiet", "--release", "-p", "hypervisor", "--target", TARGET]))?;
    let built = cargo_target(env)?.join(TARGET).join("release/hypervisor");
    let linked = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;

    let dir = env.target.join("boot");
    fs::create_dir_all(&dir)?;
    let images = bootimage::make(&linked).context("making the bootable image")?;
    let (elf, gz, pvh) = (dir.join("xenolith"), dir.join("xenolith.gz"), dir.join("xenolith-pvh"));
    fs::write(&elf, &images.multiboot)?;
    fs::write(&pvh, &images.pvh)?;
    let mut packed = flate2::write::GzEncoder::new(fs::File::create(&gz)?, flate2::Compression::best());
    packed.write_all(&images.multiboot)?;
    packed.finish()?;
    Ok(Image { elf, linked: built })
}

const LINUX: &str = "x86_64-unknown-linux-musl";

/// Builds the tools of these packages: static programs, which run in any dom0. Answers the folder they are in.
pub fn tools(env: &Env, packages: &[&str]) -> Result<PathBuf> {
    setup::rust_target(env, LINUX)?;
    println!("build: our tools");
    let mut cargo = env.cargo();
    cargo.args(["build", "--quiet", "--profile", "tools", "--target", LINUX]);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    proc::run(&mut cargo)?;
    Ok(cargo_target(env)?.join(LINUX).join("tools"))
}

/// Where cargo builds: `target/`, unless the environment or its configuration says otherwise.
pub fn cargo_target(env: &Env) -> Result<PathBuf> {
    let text = proc::capture(env.cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    Ok(PathBuf::from(json["target_directory"].as_str().context("cargo metadata names no target directory")?))
}
