//! Processes: others, and how this one ends.

use crate::error::{Error, Result};

/// Asks a process to end (SIGHUP); one that is gone has.
pub fn hang_up(pid: u32) -> Result<()> {
    let doing = || format!("ending process {pid}");
    // 0 and what would be negative stand for groups of processes.
    let Some(number) = i32::try_from(pid).ok().filter(|p| *p > 1) else {
        return Err(Error::new(doing(), abi::Errno::EINVAL));
    };
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(number, libc::SIGHUP) } == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() == Some(abi::Errno::ESRCH.0) { Ok(()) } else { Err(Error::os(doing(), &error)) }
}

/// A program whose output nobody reads any more ends, as those written in C do; Rust's are told by an error instead.
pub fn end_unread() {
    // SAFETY: the default action is no handler of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use super::hang_up;
    use std::process::Command;

    #[test]
    fn a_process_ends_and_a_group_is_none() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        hang_up(child.id()).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!([0, 1, u32::MAX].iter().all(|pid| hang_up(*pid).is_err()));
    }
}
