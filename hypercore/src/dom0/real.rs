//! Checks on real kernels, where `XENOLITH_TEST_KERNELS` names a folder with `vmlinuz-*` files.

use std::path::PathBuf;
use std::vec::Vec;
use std::{println, vec};

use super::build::{Dom0, build};
use super::bzimage;
use super::elf::Elf;
use super::notes::Notes;
use crate::boot::cmdline::Dom0Mem;
use crate::ids::VcpuId;
use crate::testing::World;

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
fn real_kernels_are_built() {
    for path in kernels() {
        let file = std::fs::read(&path).unwrap();
        let bzimage::Kernel::Compressed(kernel) = bzimage::open(&file).unwrap() else {
            panic!("{} is not compressed", path.display());
        };
        let mut out = vec![0; kernel.size()];
        let start = std::time::Instant::now();
        assert_eq!(kernel.unpack(&mut out), Ok(()));
        println!("{}: {} bytes in {:?}", path.display(), kernel.size(), start.elapsed());
        let elf = Elf::parse(&out).unwrap();
        let notes = Notes::read(&elf).unwrap();
        println!("{} segments, {notes:x?}", elf.segments().len());
        assert_eq!(notes.check_pv_dom0(1), Ok(()));

        let world = World::new(1 << 18, 1);
        let spec = Dom0 {
            elf: &out,
            initrd: Some(&file),
            cmdline: "console=hvc0",
            mem: Dom0Mem::default(),
            vcpus: 1,
            vga: None,
        };
        let dom = build(world.xen, &spec).unwrap();
        assert!(dom.vcpu(VcpuId(0)).unwrap().mm.kernel_cr3().is_some());
    }
}
