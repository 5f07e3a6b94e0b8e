//! The terminal that `xl console` opens: a pseudo-terminal that changes no byte.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A terminal and who could look at it.
pub struct Terminal {
    /// The daemon's side; it does not block.
    pub master: OwnedFd,
    /// The other side, held open so that the terminal keeps its settings and its output while nobody looks.
    pub slave: OwnedFd,
    pub path: PathBuf,
}

impl Terminal {
    /// # Errors
    /// As posix_openpt(3) and its like.
    pub fn open() -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&master)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut raw = tcgetattr(&slave)?;
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw)?;
        let path = name.into_string().map_err(io::Error::other)?;
        Ok(Self { master, slave, path: path.into() })
    }

    /// One that an earlier life opened.
    ///
    /// # Errors
    /// Where it is no terminal.
    pub fn of(master: OwnedFd, slave: OwnedFd) -> io::Result<Self> {
        let path = ptsname(&master, Vec::new())?.into_string().map_err(io::Error::other)?;
        Ok(Self { master, slave, path: path.into() })
    }
}
