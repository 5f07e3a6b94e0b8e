//! Bytes from a socket, of which the kernel says at any time whether they have been taken.
//!
//! Two system calls for what [`crate::Inlet`] needs a pipe and more of them for; but its source must be a Unix socket.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use xenctl::peek;

use crate::Came;

/// What [`look`] saw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    pub came: Came,
    pub len: usize,
}

/// Makes a socket one to [`look`] at: call it when it was accepted, and when the life before was not just taking.
///
/// # Errors
/// Where it is no Unix stream socket.
pub fn begin(socket: impl AsFd) -> io::Result<()> {
    peek::from_the_beginning(socket)
}

/// Copies what has come, and leaves it in the socket.
///
/// To receive such that a life that is killed meanwhile leaves no doubt: `look`, straight into the region; by one store record
/// that so many bytes came *and* that they are being taken; [`take`] them; record that this is over. The next life, where it
/// finds that they are being taken, calls [`finish`]; where not, [`begin`].
///
/// # Errors
/// As recv(2), but for a connection that was reset, which has ended.
pub fn look(socket: impl AsFd, into: &mut [u8]) -> io::Result<Seen> {
    let seen = |came, len| Ok(Seen { came, len });
    match recv(&socket, into, RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(len, _)| len) {
        Ok(0) | Err(Errno::CONNRESET) => seen(Came::Ended, 0),
        Ok(len) => seen(Came::Some, len),
        Err(Errno::AGAIN | Errno::INTR) => seen(Came::Nothing, 0),
        Err(error) => Err(error.into()),
    }
}

/// Takes `count` bytes that were looked at.
///
/// # Errors
/// As recv(2).
pub fn take(socket: impl AsFd, count: usize) -> io::Result<()> {
    let mut away = [0; 8192];
    let mut left = count;
    while left > 0 {
        let most = left.min(away.len());
        match recv(&socket, &mut away[..most], RecvFlags::DONTWAIT).map(|(len, _)| len) {
            Ok(0) => return Ok(()),
            Ok(len) => left -= len,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes what the life before had looked at and not taken.
///
/// # Errors
/// As [`take`].
pub fn finish(socket: impl AsFd) -> io::Result<()> {
    let left = peek::peeked(&socket)?;
    take(socket, left)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_looked_at_is_taken_once_wherever_it_ended() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        begin(&ours).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(look(&ours, &mut bytes).unwrap(), Seen { came: Came::Nothing, len: 0 });
        theirs.write_all(b"abcd").unwrap();
        theirs.write_all(b"efgh").unwrap();
        assert_eq!(look(&ours, &mut bytes[..3]).unwrap(), Seen { came: Came::Some, len: 3 });
        assert_eq!(&bytes[..3], b"abc");
        // Killed before it was recorded: as if nothing had been seen.
        begin(&ours).unwrap();
        assert_eq!(look(&ours, &mut bytes[..6]).unwrap().len, 6);
        // Killed after that, in the middle of taking: more that comes does not matter.
        take(&ours, 2).unwrap();
        theirs.write_all(b"ij").unwrap();
        finish(&ours).unwrap();
        finish(&ours).unwrap();
        assert_eq!(look(&ours, &mut bytes).unwrap().len, 4);
        assert_eq!(&bytes[..4], b"ghij");
        take(&ours, 4).unwrap();
        drop(theirs);
        assert_eq!(look(&ours, &mut bytes).unwrap().came, Came::Ended);
    }
}
