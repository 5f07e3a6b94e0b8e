//! The store's daemon: [`xenstore::Store`] between a Unix socket, guests' rings and the hypervisor.
//!
//! [`server`] waits and moves bytes; [`guests`] is all that it has of Xen; [`options`] the command line.
#![forbid(unsafe_code)]

mod guests;
mod options;
mod server;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use guests::Guests;
use options::Options;
use server::Server;

/// Tells a daemon's own process that it is one, and that its standard output is waited for.
const BACKGROUND: &str = "XENSTORED_BACKGROUND";

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
    let background = std::env::var_os(BACKGROUND).is_some();
    let result = if options.no_fork || background { serve(&options, background) } else { launch() };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenstored: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Starts the daemon's process, and returns once it serves or has said why it cannot.
fn launch() -> Result<()> {
    // Under its own name, by which scripts look for it.
    let program = std::env::current_exe().context("looking for this program")?;
    let mut daemon = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(BACKGROUND, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the daemon's process")?;
    // It says one line when it is ready; where it is not, its output ends with it.
    let mut said = [0];
    let mut out = daemon.stdout.take().context("the daemon's output")?;
    if out.read(&mut said).context("waiting for the daemon")? == 0 {
        bail!("the daemon has not started: {}", daemon.wait().context("asking how the daemon ended")?);
    }
    let mut rest = String::new();
    out.read_to_string(&mut rest).context("reading the daemon's process id")?;
    print!("{rest}");
    Ok(())
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
    if background {
        rustix::process::setsid().context("leaving the terminal")?;
        std::env::set_current_dir("/").context("leaving the folder")?;
        // The first byte says that it serves.
        println!();
    }
    if options.output_pid {
        println!("{pid}");
    }
    if background {
        let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").context("/dev/null")?;
        std::io::Write::flush(&mut std::io::stdout()).context("telling that it serves")?;
        rustix::stdio::dup2_stdout(&null).context("leaving the terminal")?;
        rustix::stdio::dup2_stderr(&null).context("leaving the terminal")?;
    }
    server.run()
}
