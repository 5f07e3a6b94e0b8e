//! [`Mapping`]: pages of this process that stand for something else, unmapped at the end.
//!
//! Another domain may write to them at any time: bytes are copied in and out by volatile accesses, and no reference to
//! them is ever formed.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use abi::Errno;

use super::{PAGE, last_errno};

/// Whole pages.
pub struct Mapping {
    base: *mut u8,
    pages: usize,
}

// SAFETY: the pages belong to the mapping alone, and are accessed by atomic and volatile accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Pages of this process alone.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn anonymous(pages: usize) -> Result<Self, Errno> {
        Self::new(None, 0, pages, true)
    }

    /// Pages of a device from byte `offset` on, or anonymous ones.
    pub(super) fn new(
        device: Option<BorrowedFd<'_>>,
        offset: u64,
        pages: usize,
        writable: bool,
    ) -> Result<Self, Errno> {
        let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let (flags, fd) = match device {
            Some(device) => (libc::MAP_SHARED, device.as_raw_fd()),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        };
        let length = pages.checked_mul(PAGE).ok_or(Errno::ENOMEM)?;
        // SAFETY: the kernel chooses an address where nothing is yet.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, fd, offset as _) };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        Ok(Self { base: base.cast(), pages })
    }

    /// Keeps the pages where they are, and from children.
    pub(super) fn lock(&self) -> Result<(), Errno> {
        // SAFETY: the pages are ours.
        if unsafe { libc::mlock(self.base.cast(), self.len()) } != 0 {
            return Err(last_errno());
        }
        // After a fork a write would move the parent's page. Kernels that do not know the advice do not matter.
        // SAFETY: the pages are ours.
        unsafe { libc::madvise(self.base.cast(), self.len(), libc::MADV_DONTFORK) };
        Ok(())
    }

    /// Where it begins.
    pub(super) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Where it begins, as the kernel and the hypervisor know it.
    pub fn address(&self) -> u64 {
        self.base as u64
    }

    /// Bytes, whole pages.
    #[expect(clippy::len_without_is_empty, reason = "nobody maps nothing")]
    pub fn len(&self) -> usize {
        self.pages * PAGE
    }

    fn at(&self, at: usize, bytes: usize) -> *mut u8 {
        let end = at.checked_add(bytes);
        assert!(
            end.is_some_and(|end| end <= self.len()),
            "bytes {at}+{bytes} of a mapping of {}",
            self.len()
        );
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.base.add(at) }
    }

    /// Copies bytes out, from byte `at` on.
    ///
    /// # Panics
    /// Where some of them are not inside; so do the others.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        let from = self.at(at, to.len());
        let mut done = 0;
        while done < to.len() {
            // SAFETY: inside the mapping, which lives as long as `self`; a word only where it is aligned.
            unsafe {
                let from = from.add(done);
                if from.addr() % 8 == 0 && to.len() - done >= 8 {
                    to[done..done + 8].copy_from_slice(&from.cast::<u64>().read_volatile().to_ne_bytes());
                    done += 8;
                } else {
                    to[done] = from.read_volatile();
                    done += 1;
                }
            }
        }
    }

    /// Copies bytes in, from byte `at` on.
    pub fn write(&self, at: usize, from: &[u8]) {
        let to = self.at(at, from.len());
        let mut done = 0;
        while done < from.len() {
            // SAFETY: inside the mapping, which lives as long as `self`; a word only where it is aligned.
            unsafe {
                let to = to.add(done);
                if let Some(word) = from[done..].first_chunk::<8>().filter(|_| to.addr() % 8 == 0) {
                    to.cast::<u64>().write_volatile(u64::from_ne_bytes(*word));
                    done += 8;
                } else {
                    to.write_volatile(from[done]);
                    done += 1;
                }
            }
        }
    }

    /// An index of a ring, or another word that both sides change. `at` is a multiple of 4.
    pub fn word(&self, at: usize) -> &AtomicU32 {
        let word = self.at(at, 4);
        assert!(at.is_multiple_of(4), "an unaligned word");
        // SAFETY: inside the mapping and aligned; all that our side does with it is atomic, and the mapping outlives the
        // reference.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }

    /// As [`Self::word`], of 8 bytes. `at` is a multiple of 8.
    pub fn long_word(&self, at: usize) -> &AtomicU64 {
        let word = self.at(at, 8);
        assert!(at.is_multiple_of(8), "an unaligned word");
        // SAFETY: as `word`.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the pages are ours and nothing refers to them any more.
        unsafe { libc::munmap(self.base.cast(), self.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_at_any_alignment() {
        let m = Mapping::new(None, 0, 2, true).unwrap();
        m.lock().unwrap();
        let bytes: Vec<u8> = (0..100).collect();
        for at in [0, 1, 7, 4090] {
            m.write(at, &bytes);
            let mut back = [0; 100];
            m.read(at, &mut back);
            assert_eq!(back[..], bytes[..]);
        }
        m.word(8).store(7, std::sync::atomic::Ordering::Release);
        let mut word = [0; 4];
        m.read(8, &mut word);
        assert_eq!(word, 7u32.to_ne_bytes());
    }

    #[test]
    #[should_panic(expected = "of a mapping of 4096")]
    fn nothing_outside_is_reached() {
        Mapping::new(None, 0, 1, true).unwrap().read(4090, &mut [0; 8]);
    }
}
