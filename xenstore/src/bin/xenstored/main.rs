//! The store's daemon: [`xenstore::Store`] between a Unix socket, guests' rings and the hypervisor.
//!
//! [`server`] waits and moves bytes; [`guests`] is all that it has of Xen; [`memory`] is what outlives `kill -9`, with the
//! process's descriptors (see `keeper`); [`update`] lets a newer program take its place; [`options`] the command line.
#![forbid(unsafe_code)]

mod guests;
mod listen;
mod memory;
mod options;
mod server;
mod update;

use std::process::ExitCode;

use anyhow::{Context, Result};
use keeper::{Life, background};

use options::Options;
use server::Server;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("xenstored: {error}\n{}", options::usage());
            return ExitCode::from(1);
        }
    };
    if options.help {
        print!("{}", options::usage());
        return ExitCode::SUCCESS;
    }
    if let Some(version) = &options.reads_state {
        print!("{}", update::answer(version));
        return ExitCode::SUCCESS;
    }
    let result = match options.no_fork || background::is_daemon() {
        true => live(&options),
        false => background::launch().context("going into the background"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenstored: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn live(options: &Options) -> Result<()> {
    let life = Life::begin("xenstored").context("beginning a life that survives")?;
    let first = life.number() == 1;
    let mut server = Server::new(life, options)?;
    if let Some(file) = &options.pid_file {
        background::write_pid_file(file).with_context(|| format!("writing {}", file.display()))?;
    }
    let say = if options.output_pid { format!("{}\n", std::process::id()) } else { String::new() };
    if first && background::is_daemon() {
        background::detach(&say).context("leaving the terminal")?;
        // Whoever waits for the end of what the command says must not wait for the daemon's.
        rustix::stdio::dup2_stderr(rustix::stdio::stdout()).context("leaving the terminal")?;
    } else if first {
        print!("{say}");
    }
    server.run()?;
    server.end()
}
