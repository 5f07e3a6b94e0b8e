//! [`Error`]: what was being done, what it answered, and why.

use std::fmt;
use std::io;

use abi::Errno;

/// A refusal, of the hypervisor or of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was being done: "pausing domain 3".
    pub doing: String,
    /// Linux and the hypervisor number their errors alike.
    pub errno: Errno,
    /// The hypervisor's reason (a Xen has none), or what may be the matter.
    pub why: Option<String>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(doing: impl Into<String>, errno: Errno) -> Self {
        Self { doing: doing.into(), errno, why: None }
    }

    /// Of a system call.
    pub fn os(doing: impl Into<String>, error: &io::Error) -> Self {
        Self::new(doing, Errno(error.raw_os_error().unwrap_or(Errno::EIO.0)))
    }

    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// The errno in words, as the C library has them.
    pub fn words(&self) -> String {
        words(self.errno)
    }
}

/// An errno in words, as the C library has them: "No such process".
pub fn words(errno: Errno) -> String {
    let text = io::Error::from_raw_os_error(errno.0).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.words())?;
        match &self.why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_and_why() {
        let e = Error::new("pausing domain 3", Errno::ESRCH);
        assert_eq!(e.to_string(), "pausing domain 3: No such process");
        assert_eq!(e.because("it is gone").to_string(), "pausing domain 3: No such process (it is gone)");
    }
}
