//! Checks on real kernels, where `XENOLITH_TEST_KERNELS` names a folder with `vmlinuz-*` files.

use std::path::PathBuf;
use std::vec::Vec;
use std::{println, vec};

use super::elf::Elf;
use super::notes::Notes;
use super::{bzimage, decompress};

/// The kernel files to check with; none where the variable is not set.
fn kernels() -> Vec<PathBuf> {
    let Some(dir) = std::env::var_os("XENOLITH_TEST_KERNELS") else { return Vec::new() };
    let mut found: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("XENOLITH_TEST_KERNELS is a folder")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no vmlinuz-* in {}", dir.display());
    found
}

#[test]
fn real_kernels_unpack() {
    for path in kernels() {
        let file = std::fs::read(&path).unwrap();
        let bzimage::Kernel::Compressed { payload, size } = bzimage::open(&file).unwrap() else {
            panic!("{} is not compressed", path.display());
        };
        let mut out = vec![0; size as usize];
        let start = std::time::Instant::now();
        assert_eq!(decompress::decompress(payload, &mut out), Ok(size as usize));
        println!("{}: {size} bytes in {:?}", path.display(), start.elapsed());
        let elf = Elf::parse(&out).unwrap();
        let notes = Notes::read(&elf).unwrap();
        println!("{} segments, {notes:x?}", elf.segments().len());
        assert_eq!(notes.check_pv_dom0(1), Ok(()));
    }
}
