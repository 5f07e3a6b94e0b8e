//! [`Foreign`]: frames of another domain, or of what the hypervisor keeps for it, in this process.

use std::ops::Deref;

use abi::Errno;

use super::mapping::Mapping;
use super::{PAGE, Privcmd, ioc, ioctl};
use crate::DomId;
use crate::error::{Error, Result};
use crate::gate::Memory;

/// `struct privcmd_mmapbatch_v2`.
#[repr(C)]
struct MmapBatchV2 {
    num: u32,
    dom: u16,
    addr: u64,
    arr: *const u64,
    err: *mut i32,
}

/// `struct privcmd_mmap_resource`.
#[repr(C)]
struct MmapResource {
    dom: u16,
    type_: u32,
    id: u32,
    idx: u32,
    num: u64,
    addr: u64,
}

const IOCTL_PRIVCMD_MMAPBATCH_V2: u32 = ioc::<MmapBatchV2>(b'P', 4);
const IOCTL_PRIVCMD_MMAP_RESOURCE: u32 = ioc::<MmapResource>(b'P', 7);

/// Frames of another domain, unmapped at the end.
pub struct Foreign {
    mapping: Mapping,
}

impl Foreign {
    /// Frames of `domain`, one page after the other: all of them, or none.
    pub fn frames(privcmd: &Privcmd, domain: DomId, frames: &[u64], writable: bool) -> Result<Self> {
        let doing = || format!("mapping {} frames of domain {domain}", frames.len());
        let failed = |e| Error::new(doing(), e);
        let mapping = Mapping::new(Some(privcmd.device()), 0, frames.len(), writable).map_err(failed)?;
        let mut errors = vec![0i32; frames.len()];
        let mut batch = MmapBatchV2 {
            num: u32::try_from(frames.len()).map_err(|_| failed(Errno::E2BIG))?,
            dom: domain.0,
            addr: mapping.address(),
            arr: frames.as_ptr(),
            err: errors.as_mut_ptr(),
        };
        // SAFETY: the request's structure; both lists have `num` elements, and the address is a mapping of this device.
        let answer = unsafe { ioctl(privcmd.device(), IOCTL_PRIVCMD_MMAPBATCH_V2, &mut batch) };
        // ENOENT: of a single frame; the list says of which.
        if let Some(at) = errors.iter().position(|e| *e != 0) {
            let error = failed(Errno(-errors[at]));
            return Err(error.because(format!("frame {:#x} cannot be", frames[at])));
        }
        answer.map_err(failed)?;
        Ok(Self { mapping })
    }

    /// `frames` pages from `first` on of resource `kind` (`XENMEM_resource_*`) number `id` of `domain`.
    pub fn resource(
        privcmd: &Privcmd,
        domain: DomId,
        kind: u32,
        id: u32,
        first: u32,
        frames: usize,
    ) -> Result<Self> {
        let doing = || format!("mapping resource {kind}/{id} of domain {domain}");
        let failed = |e| Error::new(doing(), e);
        let mapping = Mapping::new(Some(privcmd.device()), 0, frames, true).map_err(failed)?;
        let mut resource = MmapResource {
            dom: domain.0,
            type_: kind,
            id,
            idx: first,
            num: frames as u64,
            addr: mapping.address(),
        };
        // SAFETY: the request's structure; the address is a mapping of this device with that many pages.
        unsafe { ioctl(privcmd.device(), IOCTL_PRIVCMD_MMAP_RESOURCE, &mut resource) }.map_err(failed)?;
        Ok(Self { mapping })
    }

    /// Pages.
    pub fn pages(&self) -> usize {
        self.mapping.len() / PAGE
    }
}

impl Deref for Foreign {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}

impl Memory for Foreign {
    fn address(&self) -> u64 {
        self.mapping.address()
    }

    fn len(&self) -> usize {
        self.mapping.len()
    }

    fn read(&self, at: usize, to: &mut [u8]) {
        self.mapping.read(at, to);
    }

    fn write(&self, at: usize, from: &[u8]) {
        self.mapping.write(at, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_kernels() {
        assert_eq!(IOCTL_PRIVCMD_MMAPBATCH_V2, 0x0020_5004);
        assert_eq!(IOCTL_PRIVCMD_MMAP_RESOURCE, 0x0020_5007);
    }
}
