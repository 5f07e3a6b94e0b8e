//! [`StorePage`]: the ring between dom0's own kernel and the store's daemon.

use std::fs::{File, read_to_string};
use std::ops::Deref;
use std::os::fd::AsFd;

use abi::Errno;

use super::mapping::Mapping;
use crate::error::{Error, Result};

/// Where dom0's kernel offers its page and its port (xenfs).
const PAGE: &str = "/proc/xen/xsd_kva";
const PORT: &str = "/proc/xen/xsd_port";

/// The page, until it is dropped.
pub struct StorePage {
    mapping: Mapping,
}

impl StorePage {
    /// The page, and the port that the kernel offers to dom0 itself.
    ///
    /// # Errors
    /// Where this is not dom0, or xenfs is not mounted at `/proc/xen`.
    pub fn open() -> Result<(Self, u32)> {
        let failed = |path: &str, error: &std::io::Error| {
            Error::os(format!("opening {path}"), error)
                .because("is xenfs mounted at /proc/xen, and is this dom0?")
        };
        let text = read_to_string(PORT).map_err(|error| failed(PORT, &error))?;
        let port = text.trim().parse().map_err(|_| Error::new(format!("reading {PORT}"), Errno::EINVAL))?;
        let file = File::options().read(true).write(true).open(PAGE).map_err(|error| failed(PAGE, &error))?;
        let mapping = Mapping::new(Some(file.as_fd()), 0, 1, true)
            .map_err(|errno| Error::new(format!("mapping {PAGE}"), errno))?;
        Ok((Self { mapping }, port))
    }
}

impl Deref for StorePage {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}
