//! The hypervisor's memory: which RAM there is ([`init`]), its address space ([`paging`]), per-CPU mappings
//! ([`percpu_map`]), device registers ([`mmio`]), the tables over all frames ([`tables`]), the heap ([`heap`]).
//!
//! At boot pages come from [`take_pages`], from the top of RAM down, so that memory below 4 GiB stays for
//! dom0's devices. [`hand_over`] then gives all free RAM away, and names who provides pages from there on.

pub mod heap;
pub mod mmio;
pub mod paging;
pub mod percpu_map;
pub mod tables;

use core::sync::atomic::{AtomicU64, Ordering};

use hypercore::boot::PhysMem;
use hypercore::boot::info::{BootInfo, E820_ACPI, E820_NVS};
use hypercore::boot::ranges::RangeSet;

use crate::layout::{DIRECT_MAP, DIRECT_MAP_END, IMAGE_OFFSET, PAGE};
use crate::sync::{Mutex, Once};

/// Ranges of RAM, by physical address.
pub type Ranges = RangeSet<256>;

static FREE: Mutex<Ranges> = Mutex::new(Ranges::new());
static RAM: Once<RangeSet<{ hypercore::boot::info::MAX_MAP }>> = Once::new();
/// Physical addresses from here on are not mapped yet.
static MAPPED_BELOW: AtomicU64 = AtomicU64::new(1 << 32);
static SOURCE: Once<PageSource> = Once::new();

/// Who has the free pages after [`hand_over`].
pub struct PageSource {
    /// Provides contiguous pages that no CPU has translations of, with any contents: their number, the alignment in
    /// pages (a power of two); their physical address.
    pub take: fn(u64, u64) -> Option<u64>,
    /// Takes pages back: their physical address and number.
    pub give: fn(u64, u64),
}

/// Virtual address in the direct map of physical address `phys`.
#[inline]
pub const fn phys_to_virt(phys: u64) -> u64 {
    DIRECT_MAP + phys
}

/// Physical address of an address of the direct map or the image.
#[inline]
pub const fn virt_to_phys(va: u64) -> u64 {
    if va >= DIRECT_MAP { va - DIRECT_MAP } else { va - IMAGE_OFFSET }
}

/// All RAM of the machine, the hypervisor's own included.
pub fn ram() -> &'static RangeSet<{ hypercore::boot::info::MAX_MAP }> {
    RAM.get().expect("memory is set up early in boot")
}

/// First page number above all RAM.
pub fn max_mfn() -> u64 {
    ram().iter().last().map_or(0, |r| r.end / PAGE)
}

/// Physical memory as the parsers of `hypercore::boot` read it.
pub struct Firmware;

impl PhysMem for Firmware {
    fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let end = addr.checked_add(len as u64)?;
        if end > 1 << 32 || MAPPED_BELOW.load(Ordering::Relaxed) != 1 << 32 {
            return None;
        }
        // SAFETY: during boot the low 4 GiB are mapped, and firmware's tables do not change.
        Some(unsafe { core::slice::from_raw_parts(phys_to_virt(addr) as *const u8, len) })
    }
}

/// Reads a piece of RAM that a boot module or the symbol blob occupies.
///
/// # Safety
/// The range is RAM, and nobody writes to it while the slice is in use.
pub unsafe fn ram_bytes(start: u64, len: usize) -> &'static [u8] {
    // SAFETY: all RAM is in the direct map; by this function's contract.
    unsafe { core::slice::from_raw_parts(phys_to_virt(start) as *const u8, len) }
}

/// Finds free RAM and builds the hypervisor's address space, which the CPU then runs in.
///
/// Memory below 1 MiB is never handed out: firmware and the CPUs' start live there, and to dom0 it is I/O memory.
pub fn init(boot: &BootInfo) {
    RAM.call_once(|| {
        let mut ram = boot.ram();
        ram.remove(DIRECT_MAP_END - DIRECT_MAP, u64::MAX);
        ram
    });
    {
        let mut free = FREE.lock();
        for r in ram().iter() {
            free.add(r.start, r.end);
        }
        free.remove(0, 1 << 20);
        free.remove(paging::image_start(), crate::symbols::end());
        for m in &boot.modules {
            free.remove(m.start & !(PAGE - 1), m.end.next_multiple_of(PAGE));
        }
    }
    let tables = boot.memory.iter().filter(|r| r.kind == E820_ACPI || r.kind == E820_NVS);
    // A loader may put a module where the firmware has memory of its own: QEMU does, beside some devices.
    let modules = boot.modules.iter().map(|m| (m.start, m.end));
    let others = tables.map(|r| (r.start, r.end)).chain(modules);
    paging::build(ram(), others.map(|(start, end)| (start & !(PAGE - 1), end.next_multiple_of(PAGE))));
    MAPPED_BELOW.store(u64::MAX, Ordering::Relaxed);
    tables::init();
}

/// Takes `count` contiguous pages, aligned to `align` pages, with any contents; their physical address.
pub fn take_dirty_pages(count: u64, align: u64) -> Option<u64> {
    match SOURCE.get() {
        Some(source) => (source.take)(count, align),
        None => {
            let limit = MAPPED_BELOW.load(Ordering::Relaxed);
            FREE.lock().take_high(count * PAGE, align * PAGE, limit)
        }
    }
}

/// Gives back `count` pages at `phys` that were taken and that nobody uses any more.
pub fn give_pages(phys: u64, count: u64) {
    match SOURCE.get() {
        Some(source) => (source.give)(phys, count),
        None => FREE.lock().add(phys, phys + count * PAGE),
    }
}

/// As [`take_dirty_pages`], filled with zeros.
pub fn take_pages(count: u64, align: u64) -> Option<u64> {
    let phys = take_dirty_pages(count, align)?;
    // SAFETY: RAM that was free is the caller's now, and it is mapped.
    unsafe { core::ptr::write_bytes(phys_to_virt(phys) as *mut u8, 0, (count * PAGE) as usize) };
    Some(phys)
}

/// As [`take_pages`], where boot cannot go on without.
pub fn need_pages(count: u64, align: u64) -> u64 {
    take_pages(count, align)
        .unwrap_or_else(|| panic!("no {count} contiguous free pages left for the hypervisor"))
}

/// Gives away all free RAM; from now on the hypervisor's own pages come from `source`.
pub fn hand_over(source: PageSource) -> Ranges {
    SOURCE.call_once(|| source);
    core::mem::take(&mut *FREE.lock())
}
