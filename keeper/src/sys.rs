//! The system calls that no safe wrapper offers.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Which of the two processes of a clone this is.
pub enum Side {
    Parent { child: i32 },
    Child,
}

/// A process with a copy of this one's memory and *the same* table of descriptors.
///
/// # Errors
/// As clone(2). `InvalidInput` where this process has more than one thread: the copy would have locks that nobody releases.
pub fn clone_sharing_descriptors() -> io::Result<Side> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a process with threads cannot be kept"));
    }
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without CLONE_VM the child has memory of its own, a copy of this single thread's (checked above), stack
    // included; no pointer is passed, and the kernel writes nothing.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, i64::from(libc::CLONE_FILES | libc::SIGCHLD), none, none, none, none)
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => i32::try_from(pid).map(|child| Side::Parent { child }).map_err(io::Error::other),
    }
}

/// Takes over a descriptor of the life before. `None` where the number is not open.
pub fn inherit(number: RawFd) -> Option<OwnedFd> {
    is_open(number).then(|| {
        // SAFETY: the number is open (just seen, and this process has one thread), and what an earlier life recorded as its
        // own has no other owner in this one.
        unsafe { OwnedFd::from_raw_fd(number) }
    })
}

fn is_open(number: RawFd) -> bool {
    number >= 0 && with(number, |fd| fcntl_getfd(fd).is_ok())
}

/// Whether descriptors other than the standard three close when a program is executed.
pub fn close_on_exec(yes: bool) -> io::Result<()> {
    let flags = if yes { FdFlags::CLOEXEC } else { FdFlags::empty() };
    for number in descriptors()? {
        with(number, |fd| fcntl_setfd(fd, flags))?;
    }
    Ok(())
}

/// The numbers of all open descriptors but the standard three.
pub fn descriptors() -> io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    // The folder's own is among them, and is closed by now.
    numbers.retain(|&number| number > 2 && is_open(number));
    Ok(numbers)
}

fn with<R>(number: RawFd, ask: impl FnOnce(BorrowedFd) -> R) -> R {
    // SAFETY: the number is not -1, and the borrow ends with one system call that answers EBADF where it is not open.
    ask(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Leaves at once: no handler runs and nothing is flushed that a copy of it would flush again.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit(2) takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Removes a variable of the environment, so that no program started from here sees it.
pub fn forget_variable(name: &str) {
    // SAFETY: called while the process has one thread (`clone_sharing_descriptors` refuses others right after).
    unsafe { std::env::remove_var(name) }
}
