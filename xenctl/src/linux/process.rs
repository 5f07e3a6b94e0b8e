//! Processes: others, copies of this one, and how this one ends.

use std::ffi::OsString;
use std::fs;
use std::io;

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

/// Runs `child` in a process with a copy of this one's memory and *the same* table of descriptors; answers its number.
/// That process leaves where `child` comes back.
///
/// # Errors
/// As clone(2). `InvalidInput` where this process has more than one thread: the copy would have locks that nobody releases.
pub fn clone_sharing_descriptors(child: &dyn Fn()) -> io::Result<u32> {
    single_thread("a process with threads cannot be kept")?;
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without CLONE_VM the child has memory of its own, a copy of this single thread's (checked above), stack
    // included; no pointer is passed, and the kernel writes nothing. What the parent owns is only lent to the child, which
    // leaves behind `child`, after a panic too: it drops nothing of it.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, i64::from(libc::CLONE_FILES | libc::SIGCHLD), none, none, none, none)
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let _stays = Leave;
            child();
            leave(0)
        }
        pid => u32::try_from(pid).map_err(io::Error::other),
    }
}

/// Ends a copy that panics before what it shares is dropped.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        leave(101);
    }
}

/// Leaves at once: no handler runs and nothing is flushed that a copy of it would flush again.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit(2) takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// A variable of the environment, which is not there any more then: no program started from here sees it.
///
/// # Errors
/// `InvalidInput` where it is there and this process has more than one thread, which might be reading it.
pub fn take_variable(name: &str) -> io::Result<Option<OsString>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    single_thread("a variable is taken before there are threads")?;
    // SAFETY: no other thread is there that could read the environment (just checked).
    unsafe { std::env::remove_var(name) };
    Ok(Some(value))
}

fn single_thread(otherwise: &str) -> io::Result<()> {
    match fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, otherwise)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_ends_and_a_group_is_none() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        hang_up(child.id()).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!([0, 1, u32::MAX].iter().all(|pid| hang_up(*pid).is_err()));
    }

    #[test]
    fn a_process_with_threads_is_not_copied() {
        // A test runs in a thread of its own.
        let error = clone_sharing_descriptors(&|| leave(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(take_variable("PATH").is_err() && std::env::var_os("PATH").is_some());
        assert_eq!(take_variable("A_VARIABLE_THAT_NOBODY_SET").unwrap(), None);
    }
}
