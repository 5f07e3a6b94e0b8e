//! [`LoopDevice`]: a file as a block device, as `losetup` makes it.
//!
//! Structures and numbers are those of the kernel's `linux/loop.h`.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use abi::Errno;

use super::{ioctl, ioctl_number};
use crate::error::{Error, Result};

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

const LOOP_CLR_FD: u32 = 0x4c01;
const LOOP_CONFIGURE: u32 = 0x4c0a;
const LOOP_CTL_GET_FREE: u32 = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;
/// How often another program may be faster with the device that is free.
const TRIES: u32 = 100;

/// The number of a loop device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopDevice(pub u32);

impl LoopDevice {
    pub fn path(self) -> String {
        format!("/dev/loop{}", self.0)
    }

    /// A device that is the file until [`Self::detach`].
    pub fn attach(file: &Path, writable: bool) -> Result<Self> {
        let doing = || format!("making a block device of {}", file.display());
        let opened =
            |path: &Path, write: bool| {
                OpenOptions::new().read(true).write(write).open(path).map_err(|e| {
                    Error::os(doing(), &e).because(format!("{} cannot be opened", path.display()))
                })
            };
        let backing = opened(file, writable)?;
        let control = opened(Path::new("/dev/loop-control"), true)?;
        for _ in 0..TRIES {
            // SAFETY: the request takes no argument and touches no memory.
            let free = unsafe { ioctl_number(control.as_fd(), LOOP_CTL_GET_FREE, 0) };
            let device = Self(free.map_err(|e| Error::new(doing(), e))?);
            let mut config = configuration(&backing, file, writable);
            let node = opened(Path::new(&device.path()), true)?;
            // SAFETY: the request's structure.
            match unsafe { ioctl(node.as_fd(), LOOP_CONFIGURE, &mut config) } {
                Ok(_) => return Ok(device),
                Err(Errno::EBUSY) => {}
                Err(e) => return Err(Error::new(doing(), e)),
            }
        }
        Err(Error::new(doing(), Errno::EBUSY).because("others take every loop device that is free"))
    }

    /// The device is no file's any more once nobody has it open.
    pub fn detach(self) -> Result<()> {
        let doing = || format!("giving {} back", self.path());
        let node = File::open(self.path()).map_err(|e| Error::os(doing(), &e))?;
        // SAFETY: the request takes no argument and touches no memory.
        match unsafe { ioctl_number(node.as_fd(), LOOP_CLR_FD, 0) } {
            Ok(_) => Ok(()),
            // It is no file's already.
            Err(Errno::ENXIO) => Ok(()),
            Err(e) => Err(Error::new(doing(), e)),
        }
    }
}

fn configuration(backing: &File, file: &Path, writable: bool) -> LoopConfig {
    let mut name = [0; 64];
    let text = file.as_os_str().as_encoded_bytes();
    let len = text.len().min(name.len() - 1);
    name[..len].copy_from_slice(&text[..len]);
    LoopConfig {
        fd: backing.as_raw_fd() as u32,
        block_size: 0,
        info: LoopInfo64 {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: if writable { 0 } else { LO_FLAGS_READ_ONLY },
            file_name: name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_the_kernels() {
        assert_eq!(size_of::<LoopInfo64>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let e = LoopDevice::attach(Path::new("/nonexistent/disk"), true).unwrap_err();
        assert!(e.to_string().contains("making a block device of /nonexistent/disk"), "{e}");
    }
}
