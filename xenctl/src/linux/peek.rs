//! Reading from a socket without taking, such that the kernel says at any time how much was read that way.
//!
//! The *peek offset* of `SO_PEEK_OFF` (socket(7)): a receive with `MSG_PEEK` begins there and moves it on, one without moves it
//! back by what it takes. So it is always what was peeked at and not taken.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

const OPTION: (libc::c_int, libc::c_int) = (libc::SOL_SOCKET, libc::SO_PEEK_OFF);

/// What is peeked at next begins behind the first `bytes` that were not taken.
///
/// # Errors
/// As setsockopt(2): where this is no stream socket of the family AF_UNIX.
pub fn begin_behind(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let offset = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
    let len = size_of_val(&offset) as libc::socklen_t;
    // SAFETY: the option's value is an int, which lives until the call returns.
    match unsafe { libc::setsockopt(fd, OPTION.0, OPTION.1, (&raw const offset).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes that were peeked at and not taken, as [`begin_behind`] counts.
///
/// # Errors
/// As getsockopt(2).
pub fn peeked(socket: impl AsFd) -> io::Result<usize> {
    let mut offset: libc::c_int = 0;
    let mut len = size_of_val(&offset) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the option's value is an int; both it and its length live until the call returns.
    match unsafe { libc::getsockopt(fd, OPTION.0, OPTION.1, (&raw mut offset).cast(), &mut len) } {
        0 => Ok(usize::try_from(offset).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}
