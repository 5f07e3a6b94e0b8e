//! Bytes from a socket, of which the kernel says at any time whether they have been looked at, and whether taken.
//!
//! One system call for what [`crate::Inlet`] needs a pipe and more of them for; but its source must be a Unix socket. What
//! was looked at is taken now and then: that wakes the sender, who mostly waits for something else.

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

/// Makes a socket that was just accepted one to [`look`] at.
///
/// # Errors
/// Where it is no Unix stream socket.
pub fn begin(socket: impl AsFd) -> io::Result<()> {
    peek::begin_behind(socket, 0)
}

/// Copies what has come behind what was looked at, and leaves it in the socket.
///
/// To receive such that a life that is killed meanwhile leaves no doubt: `look`, straight into the region, and record how many
/// bytes came; now and then [`take`] all that were looked at, and record that, too. The next life calls [`settle`] with what
/// is recorded as looked at and not as taken.
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

/// What follows what the life before recorded as looked at is looked at next. `untaken`: how many bytes it recorded as looked
/// at and not as taken; answers how many of them have not been.
///
/// # Errors
/// Where it is no Unix stream socket.
pub fn settle(socket: impl AsFd, untaken: usize) -> io::Result<usize> {
    let left = peek::peeked(&socket)?;
    if left > untaken {
        // It looked at more, and was killed before it recorded that.
        peek::begin_behind(socket, untaken)?;
    }
    Ok(left.min(untaken))
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
        assert_eq!(settle(&ours, 0).unwrap(), 0);
        assert_eq!(look(&ours, &mut bytes[..6]).unwrap().len, 6);
        assert_eq!(&bytes[..6], b"abcdef");
        assert_eq!(settle(&ours, 6).unwrap(), 6, "killed with all recorded");
        assert_eq!(look(&ours, &mut bytes[6..]).unwrap().len, 2);
        assert_eq!(settle(&ours, 6).unwrap(), 6, "killed with all recorded but the last");
        assert_eq!(look(&ours, &mut bytes[6..]).unwrap().len, 2);
        assert_eq!(&bytes, b"abcdefgh");
        // Killed in the middle of taking, or before that was recorded: more that comes does not matter.
        take(&ours, 5).unwrap();
        theirs.write_all(b"ij").unwrap();
        assert_eq!(settle(&ours, 8).unwrap(), 3);
        assert_eq!(look(&ours, &mut bytes).unwrap().len, 2);
        assert_eq!(&bytes[..2], b"ij");
        take(&ours, 5).unwrap();
        assert_eq!(settle(&ours, 5).unwrap(), 0);
        drop(theirs);
        assert_eq!(look(&ours, &mut bytes).unwrap().came, Came::Ended);
    }
}
