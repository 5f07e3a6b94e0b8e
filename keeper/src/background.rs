//! How a daemon gets into the background: the command that was typed returns once it works, or has said why it does not.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Tells a process that it is the daemon's own, and that its standard output is waited for.
const VARIABLE: &str = "KEEPER_BACKGROUND";

/// Whether this is the daemon's own process, and not the command that launches it.
pub fn is_daemon() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Starts the daemon's own process, of this program with these arguments, in the folder `/`; returns once it has called
/// [`detach`], and prints what it said there.
///
/// # Errors
/// Where it cannot be started, or ended before: what it had to say about that stands on standard error.
pub fn launch() -> io::Result<()> {
    // Under its own name, by which scripts look for it.
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(VARIABLE, "1").current_dir("/");
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut out = daemon.stdout.take().expect("its output was asked for");
    // The first byte says that it works; where it does not, its output ends without one.
    if out.read(&mut [0])? == 0 {
        return Err(io::Error::other(format!("the daemon has not started: {}", daemon.wait()?)));
    }
    let mut said = String::new();
    out.read_to_string(&mut said)?;
    print!("{said}");
    Ok(())
}

/// Writes this process's number for who starts and stops the daemon.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_pid_file(path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, format!("{}\n", std::process::id()))?;
    fs::rename(&new, path)
}

/// In the daemon's own process: it works, nobody waits for it any more, and no terminal can end it. `say` is for who
/// launched it.
///
/// # Errors
/// Where whoever launched it has gone.
pub fn detach(say: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(format!("\n{say}").as_bytes())?;
    out.flush()?;
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::process::setsid()?;
    Ok(())
}
