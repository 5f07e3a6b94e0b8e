//! Unpacked kernels, kept in a folder under the hash of the file they came from.
//!
//! An entry appears by `rename` when it is whole, so any number of writers and readers may be at it
//! at once. It has a checksum: one that is damaged is taken away and made anew. A folder that cannot
//! be written only costs time, never the guest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::{Image, NoKernel};

/// Eight bytes of mark and version, then length and checksum of what follows.
const MARK: &[u8; 8] = b"XNLKRNL1";
const HEADER: usize = 24;
/// How many kernels are kept; the ones unused for longest go.
const KEPT: usize = 16;

/// Where a kernel was had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is not compressed: nothing to keep.
    Plain,
    Cache,
    Unpacked,
}

/// A folder of unpacked kernels.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The folder is made when the first kernel is kept; only root may look into it then.
    pub fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// The kernel in `file`, unpacked now or before.
    pub fn image(&self, file: &[u8]) -> Result<(Image, Source), NoKernel> {
        if file.starts_with(b"\x7fELF") {
            return Ok((Image::unpack(file)?, Source::Plain));
        }
        let path = self.folder.join(name(file));
        if let Some(bytes) = read(&path) {
            return Ok((Image { bytes }, Source::Cache));
        }
        let image = Image::unpack(file)?;
        // A cache that cannot be written is no reason not to start a guest.
        let _ = self.keep(&path, &image.bytes);
        Ok((image, Source::Unpacked))
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.folder)?;
        let unique = format!(".new-{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let new = self.folder.join(unique);
        let written = write(&new, bytes).and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        self.trim();
        written
    }

    /// Keeps the entries used last.
    fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut all: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "elf"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        all.sort();
        for (_, path) in all.iter().take(all.len().saturating_sub(KEPT)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The name of a file's entry.
fn name(file: &[u8]) -> String {
    let mut name: String = Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
    name.push_str(".elf");
    name
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(MARK)?;
    file.write_all(&(bytes.len() as u64).to_le_bytes())?;
    file.write_all(&checksum(bytes).to_le_bytes())?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// A whole entry; a damaged one is taken away.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let good = bytes.starts_with(MARK)
        && word(8) == Some((bytes.len() - HEADER.min(bytes.len())) as u64)
        && bytes.get(HEADER..).is_some_and(|rest| word(16) == Some(checksum(rest)));
    if !good {
        let _ = fs::remove_file(path);
        return None;
    }
    bytes.drain(..HEADER);
    // Its time is when it was last used.
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
    Some(bytes)
}

/// Finds damage, not malice: four sums of words, side by side, because it is many megabytes.
fn checksum(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sums = [1u64, 2, 3, 4];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum = (*sum ^ u64::from_le_bytes(*word)).wrapping_mul(ODD).rotate_left(29);
        }
    }
    let tail = rest.iter().fold(bytes.len() as u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(ODD));
    sums.iter().fold(tail, |all, sum| (all ^ sum).wrapping_mul(ODD).rotate_left(31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::bzimage;
    use std::thread;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("toolstack-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn entries(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_kernel_is_unpacked_once() {
        let folder = folder("once");
        let (cache, file) = (Cache::new(&folder), bzimage(b"hello"));
        assert_eq!(cache.image(&file).unwrap().1, Source::Unpacked);
        let (image, source) = cache.image(&file).unwrap();
        assert_eq!((image.bytes(), source), (&b"hello"[..], Source::Cache));
        assert_eq!(entries(&folder).len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn damage_anywhere_is_found_and_repaired() {
        let folder = folder("damage");
        let (cache, file) = (Cache::new(&folder), bzimage(b"hello"));
        cache.image(&file).unwrap();
        let entry = entries(&folder).remove(0);
        let good = fs::read(&entry).unwrap();
        let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|at| good[..at].to_vec()).collect();
        for at in 0..good.len() {
            let mut one = good.clone();
            one[at] ^= 0x40;
            bad.push(one);
        }
        bad.push([&good[..], b"x"].concat());
        for bytes in bad {
            fs::write(&entry, &bytes).unwrap();
            let (image, source) = cache.image(&file).unwrap();
            assert_eq!((image.bytes(), source), (&b"hello"[..], Source::Unpacked), "{bytes:?}");
        }
        assert_eq!(fs::read(&entry).unwrap(), good);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn many_at_once_see_only_whole_entries() {
        let folder = folder("many");
        let file = bzimage(b"hello");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let (image, _) = Cache::new(&folder).image(&file).unwrap();
                        assert_eq!(image.bytes(), b"hello");
                    }
                });
            }
        });
        assert_eq!(entries(&folder).len(), 1, "no half-written files are left");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_oldest_go_and_a_folder_that_cannot_be_is_no_error() {
        let folder = folder("old");
        let cache = Cache::new(&folder);
        for number in 0..KEPT as u8 + 3 {
            cache.image(&bzimage(&[number; 5])).unwrap();
        }
        assert_eq!(entries(&folder).len(), KEPT);
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(Cache::new("/dev/null/x").image(&bzimage(b"hello")).unwrap().1, Source::Unpacked);
    }
}
