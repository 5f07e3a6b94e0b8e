//! The host tests of `abi` and `hypercore` under Miri, where a nightly toolchain with Miri can be had.
//!
//! Miri is hundreds of times slower than the machine. CI runs as many of the tests as fit a time limit and says
//! how many those were; `test soak` runs them all.

use std::process::Command;

use anyhow::{Result, bail};

use super::{Outcome, Stage};
use crate::proc;
use crate::setup::Env;

const TOOLCHAIN: &str = "nightly";
/// What `timeout` answers when it ended the command.
const TIMED_OUT: i32 = 124;

/// Runs for at most `limit_s` seconds after the build, or to the end.
pub fn stage(limit_s: Option<u32>) -> Stage {
    Stage::new("Miri: abi, hypercore", move |env| {
        if !available() {
            return Ok(Outcome::Skipped("no nightly toolchain with Miri here".into()));
        }
        proc::capture(miri(env, "cargo", &[]).arg("--no-run"))?;
        let limit = limit_s.unwrap_or(0).to_string();
        let output = proc::output(&mut miri(env, "timeout", &["--kill-after=5", &limit, "cargo"]))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let timed_out = output.status.code() == Some(TIMED_OUT);
        result(&text, output.status.success(), timed_out).map_err(|error| {
            error
                .context(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
                .context("Miri found a fault")
        })
    })
}

/// `timeout 0` sets no limit.
fn miri(env: &Env, program: &str, before: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(before).arg(format!("+{TOOLCHAIN}"));
    command.args(["miri", "test", "-p", "abi", "-p", "hypercore", "--lib"]);
    // Cargo's own variables name the stable toolchain.
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command.current_dir(&env.root).env("MIRIFLAGS", "-Zmiri-disable-isolation");
    command
}

fn result(text: &str, success: bool, timed_out: bool) -> Result<Outcome> {
    let lines = |end: &str| text.lines().filter(|l| l.starts_with("test ") && l.ends_with(end)).count();
    let passed = lines(" ... ok");
    if !(success || timed_out) || lines(" ... FAILED") > 0 || passed == 0 {
        bail!("{passed} tests had passed");
    }
    if timed_out {
        println!("the time limit ended Miri after {passed} tests; `cargo xtask test soak` runs all");
    }
    Ok(Outcome::Passed(passed as u32))
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

#[cfg(test)]
mod tests {
    use super::result;
    use crate::tests::Outcome;

    #[test]
    fn a_time_limit_is_no_failure_and_a_fault_is_one() {
        let text = "running 3 tests\ntest a ... ok\ntest b ... ok\n";
        assert!(matches!(result(text, false, true), Ok(Outcome::Passed(2))));
        assert!(matches!(result(text, true, false), Ok(Outcome::Passed(2))));
        assert!(result(text, false, false).is_err(), "Miri stopped at undefined behaviour");
        assert!(result("test a ... ok\ntest b ... FAILED\n", false, true).is_err());
        assert!(result("", false, true).is_err(), "nothing ran");
    }
}
