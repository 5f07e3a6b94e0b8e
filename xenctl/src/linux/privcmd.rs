//! [`Privcmd`]: hypercalls by `/dev/xen/privcmd`, their arguments in pages of `/dev/xen/hypercall`.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use abi::Errno;
use abi::memory::{XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED};

use super::mapping::Mapping;
use super::{Foreign, PAGE, ioc, ioctl, open};
use crate::DomId;
use crate::error::Result;
use crate::gate::{Gate, Memory};

/// `struct privcmd_hypercall`.
#[repr(C)]
struct PrivcmdHypercall {
    op: u64,
    arg: [u64; 5],
}

const IOCTL_PRIVCMD_HYPERCALL: u32 = ioc::<PrivcmdHypercall>(b'P', 0);

/// `/dev/xen/privcmd`.
pub struct Privcmd {
    device: File,
    /// Pages that the kernel never moves. Kernels before 4.18 lack it; locked pages must do there.
    buffers: Option<File>,
}

impl Privcmd {
    pub fn open() -> Result<Self> {
        Ok(Self { device: open("privcmd")?, buffers: open("hypercall").ok() })
    }

    /// The device, for what else it does.
    pub fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Gate for Privcmd {
    fn hypercall(&self, op: u32, arg: [u64; 5]) -> std::result::Result<u64, Errno> {
        let mut call = PrivcmdHypercall { op: op.into(), arg };
        // SAFETY: the request's structure. What the hypervisor writes is what the arguments point at: memory of
        // `Self::memory`, which callers give and which only volatile accesses read.
        unsafe { ioctl(self.device(), IOCTL_PRIVCMD_HYPERCALL, &mut call) }.map(u64::from)
    }

    fn memory(&self, bytes: usize) -> std::result::Result<Box<dyn Memory>, Errno> {
        let pages = bytes.div_ceil(PAGE);
        if let Some(buffers) = &self.buffers {
            let mapping = Mapping::new(Some(buffers.as_fd()), 0, pages, true)?;
            // The kernel does not clear these.
            mapping.write(0, &vec![0; mapping.len()]);
            return Ok(Box::new(mapping));
        }
        let mapping = Mapping::new(None, 0, pages, true)?;
        mapping.lock()?;
        Ok(Box::new(mapping))
    }

    fn frames(&self, domain: DomId, frames: &[u64], writable: bool) -> Result<Box<dyn Memory>> {
        Ok(Box::new(Foreign::frames(self, domain, frames, writable)?))
    }

    fn grant_table(&self, domain: DomId, page: u32) -> Result<Box<dyn Memory>> {
        let kind = XENMEM_RESOURCE_GRANT_TABLE.into();
        Ok(Box::new(Foreign::resource(self, domain, kind, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED, page, 1)?))
    }
}

impl Memory for Mapping {
    fn address(&self) -> u64 {
        Mapping::address(self)
    }

    fn len(&self) -> usize {
        Mapping::len(self)
    }

    fn read(&self, at: usize, to: &mut [u8]) {
        Mapping::read(self, at, to);
    }

    fn write(&self, at: usize, from: &[u8]) {
        Mapping::write(self, at, from);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_request_is_the_kernels() {
        assert_eq!(super::IOCTL_PRIVCMD_HYPERCALL, 0x0030_5000);
    }
}
