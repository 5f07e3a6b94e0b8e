//! Every command of the README: `cargo xtask build | run | demo | test | bench | profile`.
//!
//! Each command does its own set-up (see `setup.rs`): what it downloads or makes is kept under
//! `target/`, and a second call finds it there.

#![forbid(unsafe_code)]

mod apt;
mod bench;
mod build;
mod demo;
mod expect;
mod guest_console;
mod image;
mod proc;
mod qemu;
mod repository;
mod run;
mod setup;
mod tests;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, runs and tests Xenolith")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the bootable image: target/boot/xenolith (multiboot), xenolith.gz (for GRUB), xenolith-pvh
    Build,
    /// Boot a dom0 in QEMU to a shell on this terminal
    Run(run::Args),
    /// From nothing to the prompt of a guest: builds, boots Debian as dom0, creates a PV guest
    Demo(demo::Args),
    /// Host tests, Miri, boots, the demo; one summary
    Test(tests::Args),
    /// What basic operations cost on Linux itself, Debian's Xen and Xenolith; Markdown and JSON in target/bench
    Bench(bench::Args),
    /// Where the instructions of one of the bench's operations go: hypervisor, kernels, functions
    Profile(bench::profile::Args),
    /// Download and make everything the other commands need
    Setup,
}

fn main() -> Result<()> {
    let env = setup::Env::new()?;
    match Cli::parse().command {
        Command::Build => build::build(&env).map(|image| println!("built {}", env.shown(&image.elf))),
        Command::Run(args) => run::run(&env, &args),
        Command::Demo(args) => demo::demo(&env, &args),
        Command::Test(args) => tests::test(&env, &args),
        Command::Bench(args) => bench::bench(&env, &args),
        Command::Profile(args) => bench::profile::profile(&env, &args),
        Command::Setup => setup::everything(&env),
    }
}
