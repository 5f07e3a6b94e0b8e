//! Page-table entries of 4-level paging (Intel SDM vol. 3A 4.5, AMD APM vol. 2 5.3).

/// One entry of a page table of any level.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Pte(pub u64);

impl Pte {
    pub const PRESENT: u64 = 1 << 0;
    pub const RW: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const PWT: u64 = 1 << 3;
    pub const PCD: u64 = 1 << 4;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    /// Page size in L2/L3, PAT in L1.
    pub const PSE: u64 = 1 << 7;
    pub const PAT: u64 = 1 << 7;
    pub const GLOBAL: u64 = 1 << 8;
    pub const AVAIL: u64 = 7 << 9;
    /// PAT in a large-page entry.
    pub const PAT_LARGE: u64 = 1 << 12;
    /// Bits 52..=58 ignored by hardware (without protection keys), free for software.
    pub const AVAIL_HIGH: u64 = 0x7f << 52;
    pub const NX: u64 = 1 << 63;
    /// Physical address bits 12..=51.
    pub const ADDR: u64 = 0x000f_ffff_ffff_f000;

    pub const fn new(mfn: u64, flags: u64) -> Self {
        Self((mfn << 12) & Self::ADDR | flags)
    }
    pub const fn mfn(self) -> u64 {
        (self.0 & Self::ADDR) >> 12
    }
    pub const fn flags(self) -> u64 {
        self.0 & !Self::ADDR
    }
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }
    pub const fn present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }
    pub const fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }
    pub const fn without(self, bits: u64) -> Self {
        Self(self.0 & !bits)
    }
}

impl core::fmt::Debug for Pte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pte({:#x})", self.0)
    }
}

pub const PAGE_SHIFT: u32 = 12;
pub const PAGE_SIZE: usize = 4096;
/// Entries of one table.
pub const ENTRIES: usize = 512;
/// First and one-past-last L4 slot that belong to the hypervisor in every address space.
pub const HV_L4_FIRST: usize = 256;
pub const HV_L4_END: usize = 272;

/// Index of `va` in its table of `level` (1..=4).
pub const fn index(va: u64, level: u8) -> usize {
    ((va >> (12 + 9 * (level as u32 - 1))) & 511) as usize
}

/// Whether bits 63..=47 of `va` are equal.
pub const fn canonical(va: u64) -> bool {
    ((va as i64) << 16 >> 16) as u64 == va
}
