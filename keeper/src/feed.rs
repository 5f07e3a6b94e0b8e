//! Bytes on their way to a socket, of which the kernel says at any time how many have ever left.
//!
//! The counterpart of [`crate::intake`], and what [`crate::Outlet`] does with a pipe, in two system calls: they are written to a
//! file in memory, and sendfile(2) sends them from where that file's position is, which it moves on by what it sent. Who
//! finds the descriptor again finds the position.
//!
//! The socket gets the file's pages themselves. So what has been sent is never written over: the file only grows, and what
//! nobody needs any more is cut out of its beginning.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::{FallocateFlags, MemfdFlags, SeekFrom, fallocate, memfd_create, seek, sendfile};
use rustix::io::{Errno, pwritev};

use crate::Life;

/// Memory is given back in pieces of so many bytes.
const PIECE: u64 = 64 << 10;

/// A file that answers are sent from. The next life must find it again: record [`Feed::number`].
pub struct Feed {
    file: OwnedFd,
    /// Bytes that have been sent.
    sent: u64,
}

impl Feed {
    /// # Errors
    /// As memfd_create(2).
    pub fn new() -> io::Result<Feed> {
        Ok(Feed { file: memfd_create("feed", MemfdFlags::CLOEXEC)?, sent: 0 })
    }

    /// Of its descriptor.
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The one that an earlier life recorded. `None` where it is not open.
    pub fn inherit(life: &mut Life, number: RawFd) -> Option<Feed> {
        let file = life.inherit(number)?;
        let sent = seek(&file, SeekFrom::Current(0)).ok()?;
        Some(Feed { file, sent })
    }

    /// Bytes that have been sent, by all lives.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends what the socket takes of `parts`, which follow what has been sent; 0 where it takes nothing for now.
    ///
    /// # Errors
    /// As pwritev(2) and sendfile(2): the receiver may have gone.
    pub fn send(&mut self, socket: impl AsFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = pwritev(&self.file, parts, self.sent)?;
        match sendfile(&socket, &self.file, None, written) {
            Ok(count) => {
                let before = self.sent / PIECE;
                self.sent += count as u64;
                if self.sent / PIECE > before {
                    self.give_back()?;
                }
                Ok(count)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn give_back(&self) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, hole, 0, self.sent / PIECE * PIECE)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn each_byte_is_sent_once_and_its_file_knows() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut feed = Feed::new().unwrap();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 3) as u8).collect();
        let mut came = Vec::new();
        while came.len() < bytes.len() {
            let from = feed.sent() as usize;
            let to = (from + 5000).min(bytes.len());
            let half = from + (to - from) / 2;
            let parts = [IoSlice::new(&bytes[from..half]), IoSlice::new(&bytes[half..to])];
            let sent = feed.send(&ours, &parts).unwrap();
            assert_eq!(feed.sent() as usize, from + sent);
            assert_eq!(seek(&feed.file, SeekFrom::Current(0)).unwrap(), feed.sent());
            // It is read long after it was sent: what is written since must not show.
            if sent < to - from || to == bytes.len() {
                let mut some = vec![0; feed.sent() as usize - came.len()];
                theirs.read_exact(&mut some).unwrap();
                came.extend(some);
            }
        }
        assert!(came == bytes);
        let blocks = rustix::fs::fstat(&feed.file).unwrap().st_blocks * 512;
        assert!(blocks < 3 * PIECE as i64, "{blocks} bytes are held");
        drop(theirs);
        assert!(feed.send(&ours, &[IoSlice::new(b"x")]).is_err());
    }
}
