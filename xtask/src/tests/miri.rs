//! The host tests of `abi` and `hypercore` under Miri, where a nightly toolchain with Miri can be had.

use std::process::Command;

use super::{Outcome, Stage, host};
use crate::proc;

const TOOLCHAIN: &str = "nightly";

pub fn stage() -> Option<Stage> {
    Some(Stage::new("Miri: abi, hypercore", |env| {
        if !available() {
            return Ok(Outcome::Skipped("no nightly toolchain with Miri here".into()));
        }
        let mut cargo = Command::new("cargo");
        cargo.arg(format!("+{TOOLCHAIN}")).args([
            "miri",
            "test",
            "--quiet",
            "-p",
            "abi",
            "-p",
            "hypercore",
            "--lib",
        ]);
        // Cargo's own variables name the stable toolchain.
        for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
            cargo.env_remove(variable);
        }
        cargo.current_dir(&env.root).env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "2");
        host::counted(&mut cargo)
    }))
}

fn available() -> bool {
    let rustup = |args: &[&str]| proc::capture(Command::new("rustup").args(args)).ok();
    let listed = || rustup(&["component", "list", "--installed", "--toolchain", TOOLCHAIN]);
    if listed().is_some_and(|list| list.contains("miri") && list.contains("rust-src")) {
        return true;
    }
    println!("setup: adding Miri to the nightly toolchain");
    rustup(&["component", "add", "--toolchain", TOOLCHAIN, "miri", "rust-src"]).is_some()
}
