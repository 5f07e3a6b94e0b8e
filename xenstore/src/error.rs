//! Why a request is refused: the errors of `xs_wire.h`, which travel as their names.

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

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;
