//! `xenconsoled`: gives each guest's console a terminal for `xl console`, and writes logs of guests and the hypervisor.
//!
//! It survives `kill -9`: terminals stay open, and no byte is lost or doubled (see `keeper`).
#![forbid(unsafe_code)]

mod console;
mod daemon;
mod guest;
mod hypervisor;
mod log;
mod options;
mod record;
mod ring;
mod stamp;
mod terminal;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;
use keeper::Life;

use crate::daemon::Daemon;
use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.interactive || options.background { live(options) } else { start() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenconsoled: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the daemon in the background and waits until it works.
fn start() -> Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).arg("--background").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().context("starting the daemon")?;
    let mut said = Vec::new();
    child.stdout.take().context("the daemon's output")?.read_to_end(&mut said)?;
    if said != READY {
        bail!("the daemon does not start");
    }
    Ok(())
}

/// What the daemon says once it works.
const READY: &[u8] = b"ready";

fn live(options: Options) -> Result<()> {
    let mut life = Life::begin("xenconsoled").context("beginning a life that survives")?;
    let background = options.background;
    let begun = Daemon::new(&mut life, options).and_then(|daemon| daemon.write_pid_file().map(|()| daemon));
    let mut daemon = match begun {
        Ok(daemon) => daemon,
        Err(error) if life.number() == 1 => {
            eprintln!("xenconsoled: {error:#}");
            life.end(1);
        }
        Err(error) => return Err(error),
    };
    life.settled();
    if background && life.number() == 1 {
        detach().context("leaving the terminal")?;
    }
    daemon.work(&mut life)?;
    daemon.leave();
    life.end(0)
}

/// Nobody waits for the daemon any more, and no terminal can end it.
fn detach() -> Result<()> {
    std::io::stdout().write_all(READY)?;
    std::io::stdout().flush()?;
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    // A group leader cannot; it has no terminal that matters then.
    let _ = rustix::process::setsid();
    Ok(())
}
