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

/// From here on the process is called so, wherever processes are listed: by its name (of which the kernel keeps 15 bytes) and
/// by its arguments, which are gone then, also for [`std::env::args`].
///
/// # Errors
/// `InvalidInput` where this process has more than one thread, which might be reading them; where `/proc` is not there.
pub fn call_itself(name: &str) -> io::Result<()> {
    single_thread("a process is renamed before there are threads")?;
    fs::write("/proc/self/comm", name)?;
    let (start, end) =
        arguments().ok_or_else(|| io::Error::other("/proc/self/stat tells of no arguments"))?;
    let room = end - start - 1;
    let text: Vec<u8> = name.bytes().take(room).chain(std::iter::repeat(0)).take(end - start).collect();
    // SAFETY: the kernel says that the arguments are there, in memory that is this process's own and can be written (the top of
    // its stack). No other thread is there that could read them (just checked), nothing in Rust has references to them, for
    // std copies what it is asked for, and the strings still end: the last byte is zero.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), std::ptr::with_exposed_provenance_mut(start), text.len())
    };
    Ok(())
}

/// Where this process's arguments are: `arg_start` and `arg_end` of proc(5).
fn arguments() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name before may have anything in it. Behind it is the third field.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(48 - 3);
    let (start, end) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (start != 0 && start < end).then_some((start, end))
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
        assert!(call_itself("other").is_err());
        assert!(take_variable("PATH").is_err() && std::env::var_os("PATH").is_some());
        assert_eq!(take_variable("A_VARIABLE_THAT_NOBODY_SET").unwrap(), None);
    }
}
