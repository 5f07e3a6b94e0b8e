//! Bytes on their way from a terminal or socket, of which the kernel says at any time how many have not been taken yet.
//!
//! The counterpart of [`crate::Outlet`]: what splice(2) has moved into the pipe has left the source, and what read(2) has taken
//! out of the pipe is missing in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::Life;

/// What the source of an [`Inlet`] had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Came {
    Some,
    /// Nothing for now, or the pipe is full.
    Nothing,
    /// The source has ended.
    Ended,
}

/// A pipe that is filled from a descriptor. Both ends must be found again by the next life: record [`Inlet::numbers`].
///
/// To take bytes such that a life that is killed meanwhile leaves no doubt: record [`Inlet::held`] and that a `take` begins;
/// `take` into the region; record how many came and that it ended; only then `pull` again. The next life, where it finds a
/// `take` begun and not ended, has in the region as many bytes as `held` has shrunk by.
pub struct Inlet {
    from: OwnedFd,
    into: OwnedFd,
}

impl Inlet {
    /// # Errors
    /// As pipe2(2).
    pub fn new() -> io::Result<Inlet> {
        let (from, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Inlet { from, into })
    }

    /// The numbers of its descriptors: where it is read and where it is written.
    pub fn numbers(&self) -> [RawFd; 2] {
        [self.from.as_raw_fd(), self.into.as_raw_fd()]
    }

    /// The one that an earlier life recorded. `None` where either is not open.
    pub fn inherit(life: &mut Life, numbers: [RawFd; 2]) -> Option<Inlet> {
        Some(Inlet { from: life.inherit(numbers[0])?, into: life.inherit(numbers[1])? })
    }

    /// Bytes that came and were not taken.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn held(&self) -> io::Result<usize> {
        Ok(usize::try_from(ioctl_fionread(&self.from)?).unwrap_or(usize::MAX))
    }

    /// Moves in what the source has, at most `most` bytes.
    ///
    /// # Errors
    /// As splice(2), but for a source that has ended.
    pub fn pull(&self, source: impl AsFd, most: usize) -> io::Result<Came> {
        match splice(&source, None, &self.into, None, most, SpliceFlags::NONBLOCK) {
            Ok(0) => Ok(Came::Ended),
            Ok(_) => Ok(Came::Some),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Came::Nothing),
            // A terminal's other side has gone; a socket's.
            Err(Errno::IO | Errno::CONNRESET) => Ok(Came::Ended),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes bytes out; 0 where none is there.
    ///
    /// # Errors
    /// As read(2).
    pub fn take(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.from, bytes) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn says_what_was_not_taken() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let inlet = Inlet::new().unwrap();
        assert_eq!(inlet.pull(&ours, 100).unwrap(), Came::Nothing);
        theirs.write_all(b"0123456789").unwrap();
        assert_eq!(inlet.pull(&ours, 4).unwrap(), Came::Some);
        assert_eq!(inlet.held().unwrap(), 4, "no more than asked for");
        assert_eq!(inlet.pull(&ours, 100).unwrap(), Came::Some);
        let mut bytes = [0; 7];
        assert_eq!(inlet.take(&mut bytes).unwrap(), 7);
        assert_eq!((&bytes, inlet.held().unwrap()), (b"0123456", 3));
        drop(theirs);
        assert_eq!(inlet.pull(&ours, 100).unwrap(), Came::Ended);
        assert_eq!(inlet.take(&mut bytes).unwrap(), 3);
        assert_eq!(inlet.take(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn a_terminal_is_a_source_and_a_sink() {
        use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut raw = rustix::termios::tcgetattr(&slave).unwrap();
        raw.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &raw).unwrap();
        let inlet = Inlet::new().unwrap();
        assert_eq!(inlet.pull(&master, 100).unwrap(), Came::Nothing);
        (&slave).write_all(b"typed").unwrap();
        while inlet.pull(&master, 100).unwrap() != Came::Some {}
        let mut bytes = [0; 9];
        assert_eq!((inlet.take(&mut bytes).unwrap(), &bytes[..5]), (5, &b"typed"[..]));
        let outlet = crate::Outlet::new().unwrap();
        outlet.put(b"shown").unwrap();
        assert_eq!(outlet.pass(&master).unwrap(), crate::Passed::All);
        let mut shown = [0; 5];
        std::io::Read::read_exact(&mut (&slave), &mut shown).unwrap();
        assert_eq!(&shown, b"shown");
    }
}
