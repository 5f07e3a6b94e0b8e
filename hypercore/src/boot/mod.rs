//! What the boot loader and the firmware tell: multiboot information, the command line, ACPI tables, and the
//! arithmetic of memory ranges. Parsing only; nothing here acts on what it finds.
//!
//! All bytes come through [`PhysMem`], so the same code reads the machine's memory and a test's array.

pub mod acpi;
pub mod cmdline;
pub mod multiboot;
pub mod ranges;

/// Reads firmware's memory by physical address.
pub trait PhysMem {
    /// The `len` bytes at `addr`, or `None` where they cannot be read.
    fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]>;

    /// The little-endian 32-bit word at `addr`.
    fn word(&self, addr: u64) -> Option<u32> {
        self.bytes(addr, 4).map(|b| le32(b, 0))
    }
}

/// The 16-bit word at `at`; the caller has checked the length.
fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit word at `at`; the caller has checked the length.
fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The 64-bit word at `at`; the caller has checked the length.
fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

#[cfg(test)]
pub(crate) mod testing {
    //! Memory for the parsers' tests: one array at a physical base address.
    extern crate std;
    use std::vec::Vec;

    pub struct Memory {
        pub base: u64,
        pub bytes: Vec<u8>,
    }

    impl Memory {
        pub fn new(base: u64, len: usize) -> Self {
            Memory { base, bytes: std::vec![0; len] }
        }

        pub fn put(&mut self, addr: u64, bytes: &[u8]) {
            let at = (addr - self.base) as usize;
            self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        }

        pub fn put32(&mut self, addr: u64, value: u32) {
            self.put(addr, &value.to_le_bytes());
        }
    }

    impl super::PhysMem for Memory {
        fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]> {
            let at = usize::try_from(addr.checked_sub(self.base)?).ok()?;
            self.bytes.get(at..at.checked_add(len)?)
        }
    }
}
