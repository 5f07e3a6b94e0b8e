//! Device registers: uncached mappings in slot 260, kept for ever.

use crate::layout::{MMIO_BASE, MMIO_SIZE, PAGE};
use crate::mm::paging::{self, GLOBAL, NO_EXEC, PRESENT, UNCACHED, WRITE};
use crate::sync::Mutex;

static NEXT: Mutex<u64> = Mutex::new(MMIO_BASE);

/// Maps `len` bytes of device registers at physical address `phys`; their virtual address.
pub fn map(phys: u64, len: u64) -> Option<u64> {
    let first = phys & !(PAGE - 1);
    let size = (phys + len).next_multiple_of(PAGE) - first;
    let va = {
        let mut next = NEXT.lock();
        if MMIO_BASE + MMIO_SIZE - *next < size {
            return None;
        }
        let va = *next;
        *next += size;
        va
    };
    // Small pages, so that unmapping and guards stay simple.
    for at in (0..size).step_by(PAGE as usize) {
        paging::map(va + at, first + at, PAGE, PRESENT | WRITE | UNCACHED | GLOBAL | NO_EXEC).ok()?;
    }
    Some(va + (phys - first))
}

/// Pages of device registers that were mapped for [`map_shared`]: physical and virtual address.
static SHARED: Mutex<alloc::vec::Vec<(u64, u64)>> = Mutex::new(alloc::vec::Vec::new());

/// As [`map`] for one register, reusing the page if it was mapped here before.
#[expect(clippy::disallowed_methods, reason = "reserved before the mapping, which stays for ever")]
pub fn map_shared(phys: u64) -> Option<u64> {
    let (page, offset) = (phys & !(PAGE - 1), phys & (PAGE - 1));
    let mut shared = SHARED.lock();
    if let Some((_, va)) = shared.iter().find(|(p, _)| *p == page) {
        return Some(va + offset);
    }
    shared.try_reserve(1).ok()?;
    let va = map(page, PAGE)?;
    shared.push((page, va));
    Some(va + offset)
}
