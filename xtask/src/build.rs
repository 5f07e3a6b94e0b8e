//! `cargo xtask build`: the hypervisor's ELF file, made bootable.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::proc;
use crate::setup::{self, Env};

/// The bootable image in both forms.
pub struct Image {
    /// A 32-bit multiboot ELF file, what QEMU's `-kernel` takes.
    pub elf: PathBuf,
}

pub fn build(env: &Env) -> Result<Image> {
    println!("build: the hypervisor");
    let built = bare_metal(env, "hypervisor", "hypervisor")?;
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

/// Builds a package for bare metal; answers its linked program.
pub fn bare_metal(env: &Env, package: &str, program: &str) -> Result<PathBuf> {
    proc::run(setup::bare_metal_cargo(env, "build")?.args(["--quiet", "--release", "-p", package]))?;
    let built = cargo_target(env)?.join(setup::BARE_METAL).join("release").join(program);
    if !built.is_file() {
        bail!("{} was not built", built.display());
    }
    Ok(built)
}

/// Where cargo builds: `target/`, unless the environment or its configuration says otherwise.
pub fn cargo_target(env: &Env) -> Result<PathBuf> {
    let text = proc::capture(env.cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    Ok(PathBuf::from(json["target_directory"].as_str().context("cargo metadata names no target directory")?))
}
