//! What the boot loader and the firmware tell: the loader's information ([`info`]) in the protocols
//! [`multiboot`], [`multiboot2`] and [`pvh`], the command line, ACPI tables, and the arithmetic of memory
//! ranges. Parsing only; nothing here acts on what it finds.
//!
//! All bytes come through [`PhysMem`], so the same code reads the machine's memory and a test's array.

pub mod acpi;
pub mod affinity;
pub mod bundle;
pub mod cmdline;
pub mod cpus;
pub mod info;
pub mod multiboot;
pub mod multiboot2;
pub mod pvh;
pub mod ranges;
pub mod video;

/// Reads firmware's memory by physical address.
pub trait PhysMem {
    /// The `len` bytes at `addr`, or `None` where they cannot be read.
    fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]>;

    /// The little-endian 32-bit word at `addr`.
    fn word(&self, addr: u64) -> Option<u32> {
        self.bytes(addr, 4).map(|b| le32(b, 0))
    }
}

/// Reads into `out`, which is new, what the loader left at `info`; `magic` is what eax held (our entry code sets
/// it for PVH loaders), and names the protocol.
///
/// # Errors
/// An unknown protocol, or information that cannot be used.
pub fn parse(
    magic: u32,
    info: u32,
    mem: &impl PhysMem,
    out: &mut info::BootInfo,
) -> Result<(), info::BootError> {
    match magic {
        multiboot::MAGIC => multiboot::parse(info, mem, out),
        multiboot2::MAGIC => multiboot2::parse(info, mem, out),
        pvh::MAGIC => pvh::parse(info, mem, out),
        _ => Err(info::BootError::UnknownLoader(magic)),
    }
}

/// The keyboard's shift, lock and control flags in the BIOS's data area (40:17, what INT 16h function 02h answers);
/// `None` where no BIOS has left its root pointer of ACPI.
pub fn kbd_shift_flags(mem: &impl PhysMem) -> Option<u8> {
    acpi::find_rsdp(None, mem)?;
    mem.bytes(0x417, 1).map(|b| b[0])
}

/// The protocol's name, for the log.
pub fn protocol(magic: u32) -> &'static str {
    match magic {
        multiboot::MAGIC => "multiboot",
        multiboot2::MAGIC => "multiboot2",
        pvh::MAGIC => "PVH",
        _ => "unknown protocol",
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

    pub mod random {
        //! Damages good information in thousands of ways; whatever comes of it, the parser must answer.
        use super::super::info::{BootError, BootInfo};
        use super::Memory;

        /// xorshift64*: the same sequence in each run.
        pub struct Random(pub u64);

        impl Random {
            pub fn below(&mut self, n: usize) -> usize {
                self.0 ^= self.0 >> 12;
                self.0 ^= self.0 << 25;
                self.0 ^= self.0 >> 27;
                (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
            }
        }

        /// Parses damaged copies of `good` and checks what every answer must keep.
        pub fn damage(good: &Memory, read: impl Fn(&Memory) -> Result<BootInfo, BootError>) {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            let (mut accepted, mut refused) = (0, 0);
            let rounds = if cfg!(miri) { 20 } else { 20_000 };
            for _ in 0..rounds {
                let mut m = Memory { base: good.base, bytes: good.bytes.clone() };
                for _ in 0..=random.below(8) {
                    let at = random.below(m.bytes.len() / 4) * 4;
                    // Most of the page is empty: stay where something is.
                    if m.bytes[at..at + 4] == [0; 4] {
                        continue;
                    }
                    let extremes = [0, 1, 7, 8, 0x7fff_ffff, 0xffff_ffff, 0xffff_fff8, 0x9000];
                    let value = match random.below(3) {
                        0 => extremes[random.below(extremes.len())],
                        1 => random.below(1 << 31) as u32,
                        _ => random.below(0x2000) as u32,
                    };
                    m.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                }
                if random.below(4) == 0 {
                    m.bytes.truncate(random.below(good.bytes.len()));
                }
                match read(&m) {
                    Ok(b) => {
                        accepted += 1;
                        assert!(b.memory.is_sorted_by_key(|r| r.start) && !b.memory.is_empty());
                        assert!(b.memory.iter().all(|r| r.start < r.end));
                        assert!(b.modules.iter().all(|m| m.start <= m.end));
                        let ram = b.ram();
                        assert!(
                            ram.iter().all(|r| r.start % 4096 == 0 && r.end % 4096 == 0 && !r.is_empty())
                        );
                        for r in b.memory.iter().filter(|r| r.kind != 1) {
                            assert!(!ram.contains(r.start) && !ram.contains(r.end - 1));
                        }
                    }
                    Err(_) => refused += 1,
                }
            }
            assert!(cfg!(miri) || accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
        }
    }

    impl super::PhysMem for Memory {
        fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]> {
            let at = usize::try_from(addr.checked_sub(self.base)?).ok()?;
            self.bytes.get(at..at.checked_add(len)?)
        }
    }
}
