//! The kernel's Xen devices, and what else of the kernel no safe wrapper offers. All unsafe code of the tools stands here.
//!
//! Structures and numbers are those of the kernel's `xen/privcmd.h`, `xen/evtchn.h` and `xen/gntdev.h`.

pub mod clock;
mod evtchn;
mod foreign;
mod gntdev;
mod heritage;
mod loop_device;
mod mapping;
pub mod peek;
mod privcmd;
pub mod process;
mod region;
mod signals;
mod store_page;

pub use evtchn::{EventChannels, Port};
pub use foreign::Foreign;
pub use gntdev::{GrantMapping, Grants};
pub use heritage::{Heritage, keep_on_exec};
pub use loop_device::LoopDevice;
pub use mapping::Mapping;
pub use privcmd::Privcmd;
pub use region::{HEAD_WORDS, Region};
pub use signals::{Signal, Signals};
pub use store_page::StorePage;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd};

use abi::Errno;

use crate::error::{Error, Result};

pub(crate) const PAGE: usize = 4096;

/// `_IOC(_IOC_NONE, kind, number, size of T)`.
const fn ioc<T>(kind: u8, number: u32) -> u32 {
    (size_of::<T>() as u32) << 16 | (kind as u32) << 8 | number
}

/// A device of `/dev/xen`, not inherited by other programs.
fn open(name: &str) -> Result<File> {
    let path = format!("/dev/xen/{name}");
    OpenOptions::new().read(true).write(true).open(&path).map_err(|e| {
        let error = Error::os(format!("opening {path}"), &e);
        match error.errno {
            Errno::ENOENT => error.because("is this a domain with Xen's drivers?"),
            Errno::EACCES => error.because("only root may"),
            _ => error,
        }
    })
}

/// The errno of the system call that has just failed.
fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(Errno::EIO.0))
}

/// What an ioctl answers, which is 0 or more.
///
/// # Safety
/// `T` is the structure that `request` of this device reads and writes, and what it points at is as the kernel expects.
unsafe fn ioctl<T>(
    device: BorrowedFd<'_>,
    request: u32,
    argument: &mut T,
) -> std::result::Result<u32, Errno> {
    // SAFETY: the caller's promise; the argument lives until the call returns.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
    u32::try_from(answer).map_err(|_| last_errno())
}

/// What an ioctl answers whose argument is a number.
///
/// # Safety
/// `request` of this device takes a number, and not memory that it names.
unsafe fn ioctl_number(
    device: BorrowedFd<'_>,
    request: u32,
    argument: u64,
) -> std::result::Result<u32, Errno> {
    // SAFETY: the caller's promise.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), request as _, argument) };
    u32::try_from(answer).map_err(|_| last_errno())
}
