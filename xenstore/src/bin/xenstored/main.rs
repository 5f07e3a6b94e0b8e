//! The store's daemon: [`xenstore::Store`] between a Unix socket, guests' rings and the hypervisor.
//!
//! [`server`] waits and moves bytes; [`guests`] is all that it has of Xen; [`options`] the command line.
#![forbid(unsafe_code)]

mod guests;
mod options;
mod server;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use guests::Guests;
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
    let background = keeper::background::is_daemon();
    let result = if options.no_fork || background {
        serve(&options, background)
    } else {
        keeper::background::launch().context("going into the background")
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenstored: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn serve(options: &Options, background: bool) -> Result<()> {
    let folder = std::env::var_os("XENSTORED_RUNDIR").map_or("/run/xenstored".into(), PathBuf::from);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let socket = folder.join("socket");
    if socket.exists() {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            bail!("{} is served by another daemon", socket.display());
        }
        fs::remove_file(&socket).with_context(|| format!("removing {}", socket.display()))?;
    }
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("listening at {}", socket.display()))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&socket, private)
        .with_context(|| format!("closing {} to others", socket.display()))?;
    let guests = if options.no_domain_init { None } else { Some(Guests::open()?) };
    let mut server = Server::new(options, listener, guests)?;
    let pid = std::process::id();
    if let Some(file) = &options.pid_file {
        fs::write(file, format!("{pid}\n")).with_context(|| format!("writing {}", file.display()))?;
    }
    let say = if options.output_pid { format!("{pid}\n") } else { String::new() };
    if background {
        keeper::background::detach(&say).context("leaving the terminal")?;
        // Whoever waits for the end of what the command says must not wait for the daemon's.
        rustix::stdio::dup2_stderr(rustix::stdio::stdout()).context("leaving the terminal")?;
    } else {
        print!("{say}");
    }
    server.run()
}
