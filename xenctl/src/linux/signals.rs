//! Signals as something to wait for: blocked, and read from a descriptor.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A signal that a daemon waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// SIGTERM or SIGINT: leave.
    Terminate,
    /// SIGHUP: open log files anew.
    Hangup,
}

const WAITED_FOR: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// The signals that came: readable when there is one.
pub struct Signals {
    fd: File,
}

impl Signals {
    /// Blocks them for this process (and those it clones; programs that it starts are not concerned).
    ///
    /// # Errors
    /// As sigprocmask(2) and signalfd(2).
    pub fn block() -> io::Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset(3) initialises the set that it is given; the others read and write only that set; a null old
        // mask is allowed; -1 asks signalfd(2) for a new descriptor, which nobody else owns.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in WAITED_FOR {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Signals { fd: OwnedFd::from_raw_fd(fd).into() }),
            }
        }
    }

    /// The next one that came.
    ///
    /// # Errors
    /// As read(2).
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match (&self.fd).read(&mut record) {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        // `ssi_signo` is the record's first field.
        let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        Ok(Some(if number == libc::SIGHUP { Signal::Hangup } else { Signal::Terminate }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
