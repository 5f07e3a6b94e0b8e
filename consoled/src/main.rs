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

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use keeper::{Life, background};

use crate::daemon::Daemon;
use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.interactive || background::is_daemon() {
        live(options)
    } else {
        background::launch().context("going into the background")
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenconsoled: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn live(options: Options) -> Result<()> {
    let mut life = Life::begin("xenconsoled").context("beginning a life that survives")?;
    let interactive = options.interactive;
    let mut daemon = Daemon::new(&mut life, options)?;
    daemon.write_pid_file()?;
    life.settled();
    if !interactive && life.number() == 1 {
        background::detach("").context("leaving the terminal")?;
    }
    daemon.work(&mut life)?;
    daemon.leave();
    life.end(0)
}
