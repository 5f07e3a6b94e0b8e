//! Memory that outlives the process: the pages of a memfd, mapped shared.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::PAGE;
use super::mapping::Mapping;

/// The first page is for words that several processes change at the same time: it is reached by atomics only.
const HEAD: usize = PAGE;
/// Words of the first page that [`Region::head`] gives out.
pub const HEAD_WORDS: usize = HEAD / 8;

/// Bytes that the next life finds as this one left them, even where it was killed between two instructions.
///
/// A store becomes part of the region at once, but the compiler may move plain ones: what orders them is [`Region::publish`],
/// after which all stores made before are there.
pub struct Region {
    file: File,
    mapping: Mapping,
    /// Of the file, in bytes.
    len: usize,
}

impl Region {
    /// An empty one of `len` bytes, zeroed. `name` is what `/proc` shows.
    ///
    /// # Errors
    /// As memfd_create(2), ftruncate(2) and mmap(2).
    pub fn create(name: &str, len: usize) -> io::Result<Region> {
        let name = CString::new(name)?;
        // SAFETY: the name ends with a nul and lives until the call returns.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this number out.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let file = File::from(fd);
        file.set_len((HEAD + len) as u64)?;
        Region::map(file)
    }

    /// The one of an earlier life, by its descriptor. Nobody else may have it mapped but copies of this process, which
    /// touch the head only.
    ///
    /// # Errors
    /// As fstat(2) and mmap(2); `InvalidData` for a file that is no region.
    pub fn of(fd: OwnedFd) -> io::Result<Region> {
        Region::map(File::from(fd))
    }

    fn map(file: File) -> io::Result<Region> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len < HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "smaller than a region's head"));
        }
        let mapping = map(&file, len)?;
        Ok(Region { file, mapping, len })
    }

    /// Bytes there are.
    pub fn len(&self) -> usize {
        self.len - HEAD
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for as long as `self` lives; this process alone touches what is behind the head (`Region::of`), and
        // there mutably only through `&mut self`, or by `publish`'s atomic store, which takes `&mut self` too.
        unsafe { std::slice::from_raw_parts(self.mapping.base().add(HEAD), self.len()) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`; `&mut self` makes it the only view.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.base().add(HEAD), self.len()) }
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
    /// As ftruncate(2) and mmap(2); the region is then as it was.
    pub fn resize(&mut self, len: usize) -> io::Result<()> {
        let new = HEAD + len;
        if new > self.len {
            self.file.set_len(new as u64)?;
        }
        // Mapped anew, for a mapping has the length that it was made with.
        self.mapping = map(&self.file, new)?;
        let shrunk = new < self.len;
        self.len = new;
        if shrunk {
            self.file.set_len(new as u64)?;
        }
        Ok(())
    }

    /// A word of the head, which other processes may have as well. `number` is below [`HEAD_WORDS`].
    pub fn head(&self, number: usize) -> &AtomicU64 {
        assert!(number < HEAD_WORDS, "no word {number} in a region's head");
        self.mapping.long_word(8 * number)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len(), "no aligned word at {offset}");
        self.mapping.long_word(HEAD + offset)
    }
}

/// Its descriptor, by which the next life finds it.
impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Region {
    fn as_raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

fn map(file: &File, len: usize) -> io::Result<Mapping> {
    let mapped = Mapping::new(Some(file.as_fd()), 0, len.div_ceil(PAGE), true);
    mapped.map_err(|errno| io::Error::from_raw_os_error(errno.0))
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
        region.head(3).store(7, Ordering::SeqCst);
        let again = Region::map(region.file.try_clone().unwrap()).unwrap();
        assert_eq!(again.head(3).load(Ordering::SeqCst), 7);
        assert_eq!((&again.bytes()[0..3], again.published(8)), (&b"abc"[..], 42));
    }

    #[test]
    #[should_panic(expected = "no aligned word at 4")]
    fn words_are_aligned() {
        Region::create("test", 64).unwrap().publish(4, 1);
    }

    #[test]
    fn another_file_is_refused() {
        assert!(Region::of(File::open("/dev/null").unwrap().into()).is_err());
    }
}
