//! Memory that outlives the process: the pages of a memfd, mapped shared.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap, mremap, munmap};

use crate::sys;

/// The first page is the keeper's: it and the worker write there at the same time, so it is reached by atomics only.
const HEAD: usize = 4096;
/// "keepers ".
const MAGIC: u64 = u64::from_le_bytes(*b"keepers ");

/// Words of the keeper's page.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Head {
    Magic,
    /// Lives begun.
    Lives,
    /// Lives in a row that did not come as far as to work.
    Unsettled,
    /// 1: the worker left on purpose.
    Ended,
    /// Descriptor numbers, one more than they are.
    WorkerPidfd,
    KeeperPidfd,
    Signalfd,
}

/// Bytes that the next life finds as this one left them, even where it was killed between two instructions.
///
/// A store becomes part of the region at once, but the compiler may move plain ones: what orders them is [`Region::publish`],
/// after which all stores made before are there.
pub struct Region {
    fd: OwnedFd,
    at: NonNull<u8>,
    /// Of the mapping, in bytes.
    len: usize,
}

impl Region {
    /// An empty one of `len` bytes, zeroed.
    ///
    /// # Errors
    /// As memfd_create(2), ftruncate(2) and mmap(2).
    pub fn create(name: &str, len: usize) -> io::Result<Region> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, (HEAD + len) as u64)?;
        let region = Region::map(fd)?;
        region.head(Head::Magic).store(MAGIC, Ordering::Release);
        Ok(region)
    }

    /// The one of an earlier life, by its descriptor's number.
    pub(crate) fn inherit(number: RawFd) -> io::Result<Region> {
        let missing =
            || io::Error::new(io::ErrorKind::InvalidData, "no earlier life's memory under this descriptor");
        let region = Region::map(sys::inherit(number).ok_or_else(missing)?)?;
        if region.head(Head::Magic).load(Ordering::Acquire) != MAGIC {
            return Err(missing());
        }
        Ok(region)
    }

    fn map(fd: OwnedFd) -> io::Result<Region> {
        let len = usize::try_from(fstat(&fd)?.st_size).map_err(io::Error::other)?;
        if len < HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "smaller than the keeper's page"));
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else maps this memfd but copies of this process
        // made by `Life::begin`, which touch the keeper's page only.
        let at = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, &fd, 0) }?;
        let at = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Region { fd, at, len })
    }

    /// Bytes there are.
    pub fn len(&self) -> usize {
        self.len - HEAD
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for as long as `self` lives; the worker alone touches what is behind the keeper's page, and there
        // mutably only through `&mut self`, or by `publish`'s atomic store, which takes `&mut self` too.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(HEAD), self.len()) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`; `&mut self` makes it the only view.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr().add(HEAD), self.len()) }
    }

    /// Stores a word that makes all stores before it count: wherever the process is killed, who sees this word sees those.
    ///
    /// # Panics
    /// Where `offset` is not a multiple of 8 or the word is not inside.
    pub fn publish(&mut self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::SeqCst);
    }

    /// A word that [`Region::publish`] stored.
    ///
    /// # Panics
    /// As [`Region::publish`].
    pub fn published(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::SeqCst)
    }

    /// Makes it `len` bytes long; new ones are zero. The bytes' address may change.
    ///
    /// # Errors
    /// As ftruncate(2) and mremap(2); the region is then as it was.
    pub fn resize(&mut self, len: usize) -> io::Result<()> {
        let new = HEAD + len;
        if new > self.len {
            ftruncate(&self.fd, new as u64)?;
        }
        // SAFETY: the mapping is this region's alone, no slice of it is alive (`&mut self`), and the file is long enough.
        let at = unsafe { mremap(self.at.as_ptr().cast(), self.len, new, MremapFlags::MAYMOVE) }?;
        self.at = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        let shrunk = new < self.len;
        self.len = new;
        if shrunk {
            ftruncate(&self.fd, new as u64)?;
        }
        Ok(())
    }

    pub(crate) fn number(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }

    pub(crate) fn head(&self, word: Head) -> &AtomicU64 {
        // SAFETY: inside the keeper's page, aligned, and reached by atomics only, in this process and its copies.
        unsafe { AtomicU64::from_ptr(self.at.as_ptr().cast::<u64>().add(word as usize)) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len(), "no aligned word at {offset}");
        // SAFETY: inside the mapping and aligned (asserted; the mapping starts at a page); borrowed from `self`, so that no
        // `&mut [u8]` of the same bytes is alive.
        unsafe { AtomicU64::from_ptr(self.at.as_ptr().add(HEAD + offset).cast::<u64>()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's alone and no slice of it outlives `self`.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_shrinks_with_its_bytes() {
        let mut region = Region::create("test", 100).unwrap();
        assert_eq!(region.len(), 100);
        region.bytes_mut()[99] = 7;
        region.resize(1 << 20).unwrap();
        assert_eq!((region.bytes()[99], region.bytes()[100], region.bytes()[(1 << 20) - 1]), (7, 0, 0));
        region.bytes_mut()[(1 << 20) - 1] = 9;
        region.resize(100).unwrap();
        assert_eq!(region.bytes()[99], 7);
        region.resize(1 << 20).unwrap();
        assert_eq!(region.bytes()[(1 << 20) - 1], 0, "what was cut off does not come back");
    }

    #[test]
    fn a_second_mapping_has_the_same_bytes() {
        let mut region = Region::create("test", 4096).unwrap();
        region.bytes_mut()[0..3].copy_from_slice(b"abc");
        region.publish(8, 42);
        let again = Region::map(region.fd.try_clone().unwrap()).unwrap();
        assert_eq!((&again.bytes()[0..3], again.published(8)), (&b"abc"[..], 42));
    }

    #[test]
    #[should_panic(expected = "no aligned word at 4")]
    fn words_are_aligned() {
        Region::create("test", 64).unwrap().publish(4, 1);
    }

    #[test]
    fn another_file_is_refused() {
        let file = memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 8192).unwrap();
        let number = file.as_raw_fd();
        std::mem::forget(file);
        assert!(Region::inherit(number).is_err());
        assert!(Region::inherit(-1).is_err());
    }
}
