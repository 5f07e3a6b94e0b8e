//! [`Files`]: a small kernel and an initrd in a folder of their own.

use std::fs;
use std::path::PathBuf;

use abi::elfnote::*;
use hypercore::dom0::elf::synthetic::{elf, note};

/// Where the kernel wants to be, and its list of frames.
pub const BASE: u64 = 0xffff_ffff_8000_0000;
pub const P2M: u64 = 0x80_0000_0000;

/// Removed at the end.
pub struct Files {
    pub folder: PathBuf,
    initrd: Vec<u8>,
}

/// A kernel that needs less than 8 MiB; it does nothing.
fn kernel() -> Vec<u8> {
    let notes: Vec<u8> = [
        note(XEN_ELFNOTE_XEN_VERSION, b"xen-3.0\0"),
        note(XEN_ELFNOTE_VIRT_BASE, &BASE.to_le_bytes()),
        note(XEN_ELFNOTE_ENTRY, &(BASE + 0x10_0010).to_le_bytes()),
        note(XEN_ELFNOTE_HYPERCALL_PAGE, &(BASE + 0x10_1000).to_le_bytes()),
        note(XEN_ELFNOTE_INIT_P2M, &P2M.to_le_bytes()),
        note(XEN_ELFNOTE_MOD_START_PFN, &1u32.to_le_bytes()),
        note(XEN_ELFNOTE_FEATURES, b"!writable_page_tables"),
    ]
    .concat();
    let data: Vec<u8> = (0..5000u32).map(|i| (i % 251) as u8).collect();
    elf(0, &[(0x10_0000, BASE + 0x10_0000, 0x3000, &data)], &notes)
}

impl Files {
    /// `name` tells it from others of this process.
    pub fn new(name: &str, initrd: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("toolstack-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let files = Self { folder, initrd: (0..initrd).map(|i| (i / 7) as u8).collect() };
        fs::write(files.kernel(), kernel()).expect("room for a kernel");
        fs::write(files.initrd(), &files.initrd).expect("room for an initrd");
        files
    }

    pub fn kernel(&self) -> String {
        format!("{}/kernel", self.folder.display())
    }

    pub fn initrd(&self) -> String {
        format!("{}/initrd", self.folder.display())
    }

    pub fn initrd_bytes(&self) -> &[u8] {
        &self.initrd
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
