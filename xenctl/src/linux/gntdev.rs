//! [`Grants`]: pages that other domains grant, by `/dev/xen/gntdev`.

use std::fs::File;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;

use super::mapping::Mapping;
use super::{PAGE, ioc, ioctl, open};
use crate::DomId;
use crate::error::{Error, Result};

/// `struct ioctl_gntdev_map_grant_ref` of one reference. The request's number is made from this size, whatever the
/// count: the references follow.
#[repr(C)]
struct MapGrantRef {
    count: u32,
    _pad: u32,
    index: u64,
    domid: u32,
    ref_: u32,
}

/// `struct ioctl_gntdev_unmap_grant_ref`.
#[repr(C)]
struct UnmapGrantRef {
    index: u64,
    count: u32,
    _pad: u32,
}

const IOCTL_GNTDEV_MAP_GRANT_REF: u32 = ioc::<MapGrantRef>(b'G', 0);
const IOCTL_GNTDEV_UNMAP_GRANT_REF: u32 = ioc::<UnmapGrantRef>(b'G', 1);

/// `/dev/xen/gntdev`. Mappings keep it open.
#[derive(Clone)]
pub struct Grants {
    device: Arc<OwnedFd>,
}

impl Grants {
    pub fn open() -> Result<Self> {
        Ok(Self::from(OwnedFd::from(open("gntdev")?)))
    }

    /// The device, to hand it on to a program that continues.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// The page that `domain` grants as `reference`, to read and to write.
    pub fn map(&self, domain: DomId, reference: u32) -> Result<GrantMapping> {
        let doing = || format!("mapping grant {reference} of domain {domain}");
        let mut map = MapGrantRef { count: 1, _pad: 0, index: 0, domid: domain.0.into(), ref_: reference };
        // SAFETY: the request's structure, with one reference.
        unsafe { ioctl(self.as_fd(), IOCTL_GNTDEV_MAP_GRANT_REF, &mut map) }
            .map_err(|e| Error::new(doing(), e))?;
        self.mapping(map.index).map_err(|e| Error::new(doing(), e))
    }

    /// A page that an earlier program mapped by this device, under the index that it had there.
    pub fn again(&self, index: u64) -> Result<GrantMapping> {
        self.mapping(index).map_err(|e| Error::new(format!("mapping the grant at {index:#x} again"), e))
    }

    fn mapping(&self, index: u64) -> std::result::Result<GrantMapping, Errno> {
        match Mapping::new(Some(self.as_fd()), index, 1, true) {
            Ok(mapping) => Ok(GrantMapping { mapping: Some(mapping), grants: self.clone(), index }),
            Err(e) => {
                self.forget(index);
                Err(e)
            }
        }
    }

    /// Takes the reference out of the device's list. Its pages are unmapped.
    fn forget(&self, index: u64) {
        let mut unmap = UnmapGrantRef { index, count: 1, _pad: 0 };
        // An index that is not listed any more is what was wanted.
        // SAFETY: the request's structure.
        let _ = unsafe { ioctl(self.as_fd(), IOCTL_GNTDEV_UNMAP_GRANT_REF, &mut unmap) };
    }
}

/// A device that is open already: an earlier program's.
impl From<OwnedFd> for Grants {
    fn from(device: OwnedFd) -> Self {
        Self { device: Arc::new(device) }
    }
}

impl From<File> for Grants {
    fn from(device: File) -> Self {
        OwnedFd::from(device).into()
    }
}

/// A page of another domain. It may change at any time.
pub struct GrantMapping {
    /// `Some` until it is dropped.
    mapping: Option<Mapping>,
    grants: Grants,
    index: u64,
}

impl GrantMapping {
    /// Bytes of a page.
    pub const BYTES: usize = PAGE;

    /// Names the mapping in its device, for [`Grants::again`] of a program that continues with the descriptor; the kernel
    /// keeps what a program that ended did not unmap for as long as the descriptor is open.
    pub fn index(&self) -> u64 {
        self.index
    }
}

impl Deref for GrantMapping {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        self.mapping.as_ref().expect("there until it is dropped")
    }
}

impl Drop for GrantMapping {
    fn drop(&mut self) {
        if self.mapping.take().is_some() {
            self.grants.forget(self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_kernels() {
        assert_eq!(IOCTL_GNTDEV_MAP_GRANT_REF, 0x0018_4700);
        assert_eq!(IOCTL_GNTDEV_UNMAP_GRANT_REF, 0x0010_4701);
    }
}
