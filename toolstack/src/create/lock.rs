//! [`Lock`]: one creation at a time, of whichever tools.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use xenctl::{Error, Result};

/// Held until it is dropped.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else has it. `busy` is told if that may take a while.
    pub fn take(path: &Path, busy: impl FnOnce()) -> Result<Self> {
        let failed = |e: &std::io::Error| Error::os(format!("locking {}", path.display()), e);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| failed(&e))?;
        if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            busy();
            fcntl_lock(&file, FlockOperation::LockExclusive).map_err(|e| failed(&e.into()))?;
        }
        Ok(Self { _file: file })
    }
}
