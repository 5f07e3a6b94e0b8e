//! Why a request is refused: the errors of `xs_wire.h`, which travel as their names.

use crate::kept::{Kept, Reader, Writer};

/// An error of the protocol. The wire carries its name (`"ENOENT\0"`), never a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    EINVAL,
    EACCES,
    EEXIST,
    ENOENT,
    ENOSPC,
    EIO,
    ENOSYS,
    EBUSY,
    EAGAIN,
    E2BIG,
    EPERM,
}

impl Error {
    /// Its name, as `struct xsd_errors` lists it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EINVAL => "EINVAL",
            Self::EACCES => "EACCES",
            Self::EEXIST => "EEXIST",
            Self::ENOENT => "ENOENT",
            Self::ENOSPC => "ENOSPC",
            Self::EIO => "EIO",
            Self::ENOSYS => "ENOSYS",
            Self::EBUSY => "EBUSY",
            Self::EAGAIN => "EAGAIN",
            Self::E2BIG => "E2BIG",
            Self::EPERM => "EPERM",
        }
    }
}

impl Error {
    const ALL: [Self; 11] = [
        Self::EINVAL,
        Self::EACCES,
        Self::EEXIST,
        Self::ENOENT,
        Self::ENOSPC,
        Self::EIO,
        Self::ENOSYS,
        Self::EBUSY,
        Self::EAGAIN,
        Self::E2BIG,
        Self::EPERM,
    ];
}

impl Kept for Error {
    fn keep(&self, to: &mut Writer) {
        (*self as u8).keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Self::ALL.get(usize::from(u8::find(from)?)).copied()
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;
