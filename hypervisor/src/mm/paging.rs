//! Builds the hypervisor's part of every address space and changes single mappings in it.
//!
//! The template table holds slots 256..=271; a guest's level-4 table gets a copy of them
//! ([`hypervisor_slots`]). Everything that can come later hangs below entries that exist from the start, so a
//! copy never grows stale.

use core::sync::atomic::{AtomicU64, Ordering};

use hypercore::boot::ranges::RangeSet;

use crate::boot::entry::BOOT_PML4;
use crate::cpu::features;
use crate::cpu::instr::write_cr3;
use crate::layout::{
    DIRECT_MAP, FIRST_SLOT, IMAGE_OFFSET, LAST_SLOT, M2P_GUEST, MMIO_BASE, PAGE, PERCPU_BASE,
};
use crate::mm::{need_pages, phys_to_virt, take_pages, virt_to_phys};

pub const PRESENT: u64 = 1;
pub const WRITE: u64 = 1 << 1;
pub const USER: u64 = 1 << 2;
/// Page attribute table index 3: uncached.
pub const UNCACHED: u64 = 1 << 3 | 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
pub const GLOBAL: u64 = 1 << 8;
pub const NO_EXEC: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The hypervisor's data.
pub const DATA: u64 = PRESENT | WRITE | GLOBAL | NO_EXEC | ACCESSED | DIRTY;
/// Its constants.
pub const READ_ONLY: u64 = PRESENT | GLOBAL | NO_EXEC | ACCESSED;
/// Its code.
pub const CODE: u64 = PRESENT | GLOBAL | ACCESSED;
/// What guest kernels may read. Not global: their user mode's tables do not show it.
pub const GUEST_READ: u64 = PRESENT | USER | NO_EXEC | ACCESSED;

const SIZE_2M: u64 = 2 << 20;
const SIZE_1G: u64 = 1 << 30;

/// Physical address of the template's level-4 table.
static TEMPLATE: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// Physical address of the image's first byte.
pub fn image_start() -> u64 {
    virt_to_phys(&raw const __image_start as u64)
}

/// Physical address after the image's last byte, page-aligned: where the symbol blob begins.
pub fn image_end() -> u64 {
    virt_to_phys(&raw const __image_end as u64)
}

/// Level-4 table of the hypervisor alone: what a CPU without a guest runs on.
pub fn template() -> u64 {
    TEMPLATE.load(Ordering::Relaxed)
}

/// Index and value of the level-4 entries that every address space has: slots 256..=271.
pub fn hypervisor_slots() -> [u64; LAST_SLOT - FIRST_SLOT + 1] {
    // SAFETY: the template's upper half does not change after boot.
    let table = unsafe { &*(phys_to_virt(template()) as *const [u64; 512]) };
    core::array::from_fn(|i| table[FIRST_SLOT + i])
}

/// Builds all of it from the RAM ranges and what else of low memory (`others`) is to be readable; switches to it.
pub fn build<const N: usize>(ram: &RangeSet<N>, others: impl Iterator<Item = (u64, u64)>) {
    TEMPLATE.store(need_pages(1, 1), Ordering::Relaxed);
    // Level-3 tables of every slot in use, so that copies of the level-4 entries stay true.
    let top = ram.iter().last().map_or(0, |r| r.end);
    for va in [M2P_GUEST, MMIO_BASE, IMAGE_OFFSET] {
        table_for(va, 3).expect("boot");
    }
    for va in (DIRECT_MAP..DIRECT_MAP + top).step_by(512 << 30) {
        table_for(va, 3).expect("boot");
    }
    table_for(PERCPU_BASE, 3).expect("boot");

    let (start, text, rodata, end) = (
        &raw const __image_start as u64,
        &raw const __text_end as u64,
        &raw const __rodata_end as u64,
        &raw const __image_end as u64,
    );
    for (from, to, flags) in [(start, text, CODE), (text, rodata, READ_ONLY), (rodata, end, DATA)] {
        map(from, from - IMAGE_OFFSET, to - from, flags).expect("boot");
    }
    // The first megabyte is mapped whole: firmware's tables, the video memory, the CPUs' start.
    let mut direct = RangeSet::<256>::new();
    direct.add(0, 1 << 20);
    for r in ram.iter() {
        direct.add(r.start, r.end);
    }
    for (from, to) in others {
        direct.add(from, to);
    }
    for r in direct.iter() {
        map(DIRECT_MAP + r.start, r.start, r.len(), DATA).expect("boot");
    }
    // CPUs start on the boot table; it shows them the same hypervisor.
    let slots = hypervisor_slots();
    // SAFETY: the running code, data and stack are mapped at the same addresses by the new table. The boot
    // table is not in use once CR3 is written.
    unsafe {
        write_cr3(template());
        let boot = &mut *BOOT_PML4.as_ptr();
        boot[FIRST_SLOT..=LAST_SLOT].copy_from_slice(&slots);
    }
}

/// No page was left for a table.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

/// Maps `len` bytes at `va` to `phys` with the largest pages that fit; both page-aligned.
pub fn map(mut va: u64, mut phys: u64, len: u64, flags: u64) -> Result<(), NoMemory> {
    let giant = features::get().page_1gb;
    let end = va + len.next_multiple_of(PAGE);
    while va < end {
        let fits = |size: u64| (va | phys) & (size - 1) == 0 && end - va >= size;
        let (size, level) = match () {
            _ if giant && fits(SIZE_1G) => (SIZE_1G, 3),
            _ if fits(SIZE_2M) => (SIZE_2M, 2),
            _ => (PAGE, 1),
        };
        let large = if level > 1 { LARGE } else { 0 };
        set(table_for(va, level)?, index(va, level), phys | flags | large);
        va += size;
        phys += size;
    }
    Ok(())
}

/// Makes the level-1 table at `table` translate the 2 MiB at `va`, which nothing maps yet.
pub fn share_table(va: u64, table: u64) -> Result<(), NoMemory> {
    set(table_for(va, 2)?, index(va, 2), table | PRESENT | WRITE | ACCESSED);
    Ok(())
}

/// The table of `level` (1 to 3) that translates `va`, made if need be; its physical address.
pub fn table_for(va: u64, level: u32) -> Result<u64, NoMemory> {
    let mut table = template();
    for at in (level + 1..=4).rev() {
        let slot = index(va, at);
        let entry = get(table, slot);
        table = if entry & PRESENT == 0 {
            let new = take_pages(1, 1).ok_or(NoMemory)?;
            // The leaf's flags decide; tables allow everything, the user bit included for the guests' window.
            let user = if (M2P_GUEST..MMIO_BASE).contains(&va) { USER } else { 0 };
            set(table, slot, new | PRESENT | WRITE | ACCESSED | user);
            new
        } else {
            assert!(entry & LARGE == 0, "{va:#x} is already mapped by a large page");
            entry & ADDRESS
        };
    }
    Ok(table)
}

fn index(va: u64, level: u32) -> usize {
    (va >> (3 + 9 * level) & 511) as usize
}

fn get(table: u64, slot: usize) -> u64 {
    // SAFETY: `table` is one of the hypervisor's own tables, in mapped RAM.
    unsafe { ((phys_to_virt(table) as *const u64).add(slot)).read_volatile() }
}

fn set(table: u64, slot: usize, entry: u64) {
    // SAFETY: as in `get`; callers map only memory that is the hypervisor's to use at that address.
    unsafe { ((phys_to_virt(table) as *mut u64).add(slot)).write_volatile(entry) }
}
