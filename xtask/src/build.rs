//! `cargo xtask build`: the hypervisor's ELF file, made bootable.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::proc;
use crate::setup::{self, Env};

/// The bootable image in both forms.
pub struct Image {
    /// A 32-bit multiboot ELF file, what QEMU's `-kernel` takes.
    pub elf: PathBuf,
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
    let image = bootimage::make(&linked).context("making the bootable image")?;
    let elf = dir.join("xenolith");
    fs::write(&elf, &image)?;
    let mut gz = flate2::write::GzEncoder::new(
        fs::File::create(dir.join("xenolith.gz"))?,
        flate2::Compression::best(),
    );
    gz.write_all(&image)?;
    gz.finish()?;
    Ok(Image { elf })
}

/// Where cargo builds: `target/`, unless the environment or its configuration says otherwise.
pub fn cargo_target(env: &Env) -> Result<PathBuf> {
    let text = proc::capture(env.cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    Ok(PathBuf::from(json["target_directory"].as_str().context("cargo metadata names no target directory")?))
}
