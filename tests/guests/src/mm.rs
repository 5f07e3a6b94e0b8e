//! The guest's memory: pages of its own to experiment with, translations, its page tables.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use abi::arch_x86::MACH2PHYS_VIRT_START;
use abi::xen::{SharedInfo, UVMF_INVLPG};

use crate::boot::start_info;
use crate::hypercall::update_va_mapping;

/// Where guest-physical 0 is mapped; the linker's script has it too.
pub const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;

pub const P: u64 = 1 << 0;
pub const RW: u64 = 1 << 1;
pub const US: u64 = 1 << 2;
pub const A: u64 = 1 << 5;
pub const D: u64 = 1 << 6;
pub const PS: u64 = 1 << 7;
pub const NX: u64 = 1 << 63;
/// An ordinary table entry.
pub const TABLE: u64 = P | RW | US | A | D;
/// A writable leaf, a read-only one.
pub const DATA: u64 = P | RW | A | D;
pub const READ: u64 = P | A;
/// The frame's address in an entry.
pub const ADDR: u64 = 0x000f_ffff_ffff_f000;

/// A page of the image, with a frame of its own.
#[repr(C, align(4096))]
pub struct Page(UnsafeCell<[u64; 512]>);
// SAFETY: accessed by volatile reads and writes of words only; the guest has one vCPU.
unsafe impl Sync for Page {}

const PAGES: usize = 272;
static POOL: [Page; PAGES] = [const { Page(UnsafeCell::new([0; 512])) }; PAGES];
static USED: AtomicUsize = AtomicUsize::new(0);

impl Page {
    /// A zeroed page that nobody has used.
    pub fn new() -> &'static Page {
        &POOL[USED.fetch_add(1, Ordering::Relaxed)]
    }

    pub fn va(&self) -> u64 {
        self.0.get() as u64
    }

    pub fn pfn(&self) -> u64 {
        (self.va() - VIRT_BASE) >> 12
    }

    pub fn mfn(&self) -> u64 {
        p2m(self.pfn())
    }

    pub fn maddr(&self) -> u64 {
        self.mfn() << 12
    }

    pub fn get(&self, index: usize) -> u64 {
        read(self.va() + 8 * index as u64)
    }

    pub fn set(&self, index: usize, value: u64) {
        write(self.va() + 8 * index as u64, value);
    }

    /// Maps the page's own frame at its address with these flags (0 unmaps it).
    pub fn map(&self, flags: u64) -> i64 {
        let entry = if flags & P == 0 { 0 } else { self.maddr() | flags };
        update_va_mapping(self.va(), entry, UVMF_INVLPG)
    }
}

/// A word anywhere; a fault there is a trap that a check must have armed for.
pub fn read(va: u64) -> u64 {
    // SAFETY: the word is the pool's, a shared page's or the M2P's; a bad address traps, and the
    // trap ends the run.
    unsafe { (va as *const u64).read_volatile() }
}

pub fn write(va: u64, value: u64) {
    // SAFETY: as in `read`; no Rust object lives in the pages that checks write.
    unsafe { (va as *mut u64).write_volatile(value) }
}

/// From the builder's list.
pub fn p2m(pfn: u64) -> u64 {
    read(start_info().mfn_list + 8 * pfn)
}

/// Sets the builder's list, as a guest does when it exchanges a frame.
pub fn set_p2m(pfn: u64, mfn: u64) {
    write(start_info().mfn_list + 8 * pfn, mfn);
}

/// From the hypervisor's table.
pub fn m2p(mfn: u64) -> u64 {
    read(MACH2PHYS_VIRT_START + 8 * mfn)
}

/// Where the initial mapping has this frame.
pub fn mfn_to_va(mfn: u64) -> u64 {
    VIRT_BASE + (m2p(mfn) << 12)
}

/// Machine frame of the L4 in use.
pub fn l4_mfn() -> u64 {
    p2m((start_info().pt_base - VIRT_BASE) >> 12)
}

/// Index into a table of `level` (1..=4).
pub fn index(va: u64, level: u32) -> u64 {
    va >> (3 + 9 * level) & 511
}

/// Machine address of the entry of `level` that maps `va`, if the tables above are there.
pub fn entry_maddr(va: u64, level: u32) -> Option<u64> {
    let mut table = l4_mfn();
    for at in (level + 1..=4).rev() {
        let entry = read(mfn_to_va(table) + 8 * index(va, at));
        if entry & P == 0 {
            return None;
        }
        table = (entry & ADDR) >> 12;
    }
    Some((table << 12) + 8 * index(va, level))
}

/// The entry of `level` that maps `va`; 0 where there is none.
pub fn entry(va: u64, level: u32) -> u64 {
    entry_maddr(va, level).map_or(0, |maddr| read(mfn_to_va(maddr >> 12) + (maddr & 0xfff)))
}

static SHARED: Page = Page(UnsafeCell::new([0; 512]));

pub fn map_shared_info() {
    let answer = update_va_mapping(SHARED.va(), start_info().shared_info | DATA, UVMF_INVLPG);
    assert!(answer == 0, "mapping shared_info: {answer}");
}

/// Address of a field of shared_info.
#[macro_export]
macro_rules! shared {
    ($($field:tt)+) => {
        $crate::mm::shared_info_va() + core::mem::offset_of!(abi::xen::SharedInfo, $($field)+) as u64
    };
}

pub fn shared_info_va() -> u64 {
    const { assert!(size_of::<SharedInfo>() <= 4096) };
    SHARED.va()
}

/// The first vCPU's vcpu_info stands first in shared_info.
#[macro_export]
macro_rules! vcpu {
    ($($field:tt)+) => {
        $crate::mm::shared_info_va() + core::mem::offset_of!(abi::xen::VcpuInfo, $($field)+) as u64
    };
}

pub fn read8(va: u64) -> u8 {
    // SAFETY: as in `read`.
    unsafe { (va as *const u8).read_volatile() }
}

pub fn write8(va: u64, value: u8) {
    // SAFETY: as in `write`.
    unsafe { (va as *mut u8).write_volatile(value) }
}
