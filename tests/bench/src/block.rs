//! Reads of a guest's disk, past the page cache.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::sys::{self, PAGE, Pages, check};

/// The disk that the benchmark's guest is given.
const DISK: &str = "/dev/xvda";
/// The most that one sequential read asks for.
const CHUNK: usize = 1 << 20;

struct Disk {
    file: File,
    /// In bytes.
    size: u64,
    buffer: Pages,
}

impl Disk {
    fn open(buffer: usize) -> Option<Disk> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(DISK).ok()?;
        // SAFETY: moves this file's position only.
        let size = unsafe { libc::lseek64(file.as_raw_fd(), 0, libc::SEEK_END) };
        let size = u64::try_from(size).ok().filter(|size| *size >= 2 * CHUNK as u64)?;
        let buffer = Pages::new(buffer / PAGE);
        (0..buffer.count()).for_each(|page| buffer.touch(page));
        Some(Disk { file, size, buffer })
    }

    fn read(&self, at: u64) {
        let length = self.buffer.count() * PAGE;
        // SAFETY: the buffer is that long, and nothing else refers to it.
        let got = unsafe {
            libc::pread64(self.file.as_raw_fd(), self.buffer.page(0).cast(), length, at.cast_signed())
        };
        let got = check(i32::try_from(got).unwrap_or(-1), "reading the disk");
        if got as usize != length {
            sys::die("reading less than the disk has");
        }
    }
}

/// 4 KiB anywhere on the disk; the places are the same in every run.
pub fn random_read() -> Option<Box<dyn FnMut(u64)>> {
    let disk = Disk::open(PAGE)?;
    let mut state = 1u64;
    Some(Box::new(move |times| {
        for _ in 0..times {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            disk.read((state >> 33) % (disk.size / PAGE as u64) * PAGE as u64);
        }
    }))
}

/// 1 MiB after another.
pub fn sequential_read() -> Option<Box<dyn FnMut(u64)>> {
    let disk = Disk::open(CHUNK)?;
    let mut next = 0;
    Some(Box::new(move |times| {
        for _ in 0..times {
            disk.read(next);
            next = if next + 2 * CHUNK as u64 > disk.size { 0 } else { next + CHUNK as u64 };
        }
    }))
}
