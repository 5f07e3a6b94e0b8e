//! Everything that needs no virtual machine: formatting, lints, licences, unit and property tests.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Outcome, Stage, licences, lints};
use crate::proc;
use crate::setup::{self, Env};

const BARE_METAL: &str = "x86_64-unknown-none";

pub fn stages() -> Vec<Stage> {
    vec![
        Stage::new("fmt", |env| quiet(env.cargo().args(["fmt", "--all", "--check"]))),
        Stage::new("clippy: host", |env| {
            quiet(env.cargo().args(["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]))
        }),
        Stage::new("clippy: hypervisor", |env| {
            setup::rust_target(env, BARE_METAL)?;
            let mut cargo = env.cargo();
            cargo.args([
                "clippy",
                "--quiet",
                "-p",
                "hypervisor",
                "--target",
                BARE_METAL,
                "--",
                "-D",
                "warnings",
            ]);
            quiet(&mut cargo)
        }),
        Stage::new("licences", |env| licences::check(env).map(Outcome::Passed)),
        Stage::new("lints", |env| lints::check(env).map(Outcome::Passed)),
        Stage::new("host tests", |env| {
            let mut cargo = env.cargo();
            cargo.args(["test", "--quiet"]).env("XEN_HEADERS", setup::xen_headers(env)?);
            counted(&mut cargo)
        }),
        fuzz("fuzz: smoke", 100_000),
    ]
}

/// Random hypercall sequences on the host, audited; a panic or a wrong count of references fails.
pub fn fuzz(name: &str, steps: u64) -> Stage {
    Stage::new(name, move |env| {
        let mut cargo = env.cargo();
        cargo.args(["run", "--quiet", "--release", "-p", "hypercore", "--features", "testing"]);
        cargo.args(["--example", "fuzz_hypercalls", "--", "--steps", &steps.to_string()]);
        quiet(&mut cargo)
    })
}

fn quiet(command: &mut Command) -> Result<Outcome> {
    proc::capture(command).map(|_| Outcome::Passed(1))
}

/// Runs `cargo test` and adds up what its parts passed.
pub fn counted(command: &mut Command) -> Result<Outcome> {
    let output = proc::output(command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("`{}` failed\n{text}{}", proc::shown(command), String::from_utf8_lossy(&output.stderr));
    }
    let passed = passed(&text);
    if passed == 0 {
        bail!("`{}` ran no test\n{text}", proc::shown(command));
    }
    Ok(Outcome::Passed(passed))
}

fn passed(text: &str) -> u32 {
    text.lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u32>().ok())
        .sum()
}

/// The names of the workspace's packages, with the folder of each.
pub fn packages(env: &Env) -> Result<Vec<(String, std::path::PathBuf)>> {
    let text = proc::capture(env.cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let list = json["packages"].as_array().context("cargo metadata lists no packages")?;
    Ok(list
        .iter()
        .filter_map(|package| {
            let manifest = std::path::Path::new(package["manifest_path"].as_str()?);
            Some((package["name"].as_str()?.to_owned(), manifest.parent()?.to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_of_several_binaries_add_up() {
        let text =
            "running 3 tests\ntest result: ok. 3 passed; 0 failed\n\ntest result: ok. 40 passed; 0 failed\n";
        assert_eq!(super::passed(text), 43);
        assert_eq!(super::passed("test result: FAILED. 1 passed; 1 failed"), 0);
    }
}
