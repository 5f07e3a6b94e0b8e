//! Bytes on their way to a socket, of which the kernel says at any time how many have not left yet.
//!
//! A process that is killed inside send(2) cannot know afterwards how much was sent. A pipe can: what is moved from it to the
//! socket (splice(2)) leaves it, what is not stays, and its length can be asked for by who has the pipe.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::Life;

/// What became of the bytes of an [`Outlet`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Passed {
    /// None is left.
    All,
    /// The receiver takes no more for now: wait until its socket is writable.
    Full,
    /// The receiver has gone.
    Closed,
}

/// A pipe that is emptied into a socket. Both ends must be found again by the next life: record [`Outlet::numbers`].
///
/// To put bytes in such that a life that is killed meanwhile leaves no doubt: record [`Outlet::held`] and that a `put` begins;
/// `put`; record how many were put and that it ended; only then `pass`. The next life, where it finds a `put` begun and not
/// ended, knows how many went in: as many as `held` has grown by.
pub struct Outlet {
    from: OwnedFd,
    into: OwnedFd,
}

impl Outlet {
    /// # Errors
    /// As pipe2(2).
    pub fn new() -> io::Result<Outlet> {
        let (from, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Outlet { from, into })
    }

    /// The numbers of its descriptors: where it is read and where it is written.
    pub fn numbers(&self) -> [RawFd; 2] {
        [self.from.as_raw_fd(), self.into.as_raw_fd()]
    }

    /// The one that an earlier life recorded. `None` where either is not open.
    pub fn inherit(life: &mut Life, numbers: [RawFd; 2]) -> Option<Outlet> {
        Some(Outlet { from: life.inherit(numbers[0])?, into: life.inherit(numbers[1])? })
    }

    /// Bytes that were put and have not left.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn held(&self) -> io::Result<usize> {
        Ok(usize::try_from(ioctl_fionread(&self.from)?).unwrap_or(usize::MAX))
    }

    /// Puts bytes in; how many found room.
    ///
    /// # Errors
    /// As write(2), but for a full pipe, which is `Ok(0)`.
    pub fn put(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.into, bytes) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Moves to the socket what it takes.
    ///
    /// # Errors
    /// As splice(2), but for a receiver that has gone.
    pub fn pass(&self, to: impl AsFd) -> io::Result<Passed> {
        loop {
            let held = self.held()?;
            if held == 0 {
                return Ok(Passed::All);
            }
            match splice(&self.from, None, &to, None, held, SpliceFlags::NONBLOCK) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(Passed::Full),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Ok(Passed::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn says_what_has_not_left() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let outlet = Outlet::new().unwrap();
        let bytes: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
        let mut put = 0;
        // Until neither the pipe nor the socket takes more.
        loop {
            let now = outlet.put(&bytes[put % 256..]).unwrap();
            put += now;
            if outlet.pass(&ours).unwrap() == Passed::Full && now == 0 {
                break;
            }
        }
        let held = outlet.held().unwrap();
        assert!(held > 0 && held < put);
        let mut came = vec![0; put - held];
        theirs.read_exact(&mut came).unwrap();
        assert_eq!(outlet.pass(&ours).unwrap(), Passed::All);
        came.resize(put, 0);
        theirs.read_exact(&mut came[put - held..]).unwrap();
        assert!(came.iter().enumerate().all(|(n, &byte)| byte == n as u8), "in order, each once");
        drop(theirs);
        outlet.put(b"x").unwrap();
        assert_eq!(outlet.pass(&ours).unwrap(), Passed::Closed);
    }
}
