//! Per-CPU areas of slot 260: windows for descriptor tables, stacks between guard pages.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::gdt::{GdtPage, RESERVED_PAGE};
use crate::cpu::instr::invlpg;
use crate::layout::{
    GDT_WINDOW, IST_PAGES, IST_TOPS, LDT_WINDOW, MAX_CPUS, PAGE, PERCPU_BASE, PERCPU_STRIDE,
};
use crate::layout::{STACK_PAGES, STACK_TOP};
use crate::mm::paging::{DATA, NoMemory, READ_ONLY, map, table_for};
use crate::mm::{phys_to_virt, take_pages, virt_to_phys};

/// Address (in the direct map) of the level-1 entry of the first page of each CPU's area.
static ENTRIES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// What unused GDT pages of a guest show: null descriptors.
#[repr(C, align(4096))]
struct ZeroPage([u8; 4096]);
static ZERO_PAGE: ZeroPage = ZeroPage([0; 4096]);

/// Which of a CPU's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Pages 0..=13 are a guest's.
    Gdt,
    /// Pages 0..=15.
    Ldt,
}

/// Tops of a CPU's stacks.
#[derive(Clone, Copy, Debug)]
pub struct Stacks {
    /// Past the main stack's last byte.
    pub main: u64,
    /// NMI, #DF, #MC, #DB.
    pub ist: [u64; 4],
}

/// Maps `cpu`'s area: stacks, its page of descriptors at GDT page 14, nothing in the LDT window, null
/// descriptors in the guest's part of the GDT window.
pub fn create(cpu: u32, gdt: *const GdtPage) -> Result<Stacks, NoMemory> {
    let base = PERCPU_BASE + u64::from(cpu) * PERCPU_STRIDE;
    let table = table_for(base, 1)?;
    ENTRIES[cpu as usize].store(phys_to_virt(table) + (base >> 12 & 511) * 8, Ordering::Relaxed);
    for page in 0..RESERVED_PAGE as usize {
        set_window(cpu, Window::Gdt, page, None);
    }
    map(base + GDT_WINDOW + RESERVED_PAGE * PAGE, virt_to_phys(gdt as u64), PAGE, DATA)?;
    stack(base + STACK_TOP, STACK_PAGES)?;
    for top in IST_TOPS {
        stack(base + top, IST_PAGES)?;
    }
    Ok(stacks(cpu))
}

fn stack(top: u64, pages: u64) -> Result<(), NoMemory> {
    let phys = take_pages(pages, 1).ok_or(NoMemory)?;
    map(top - pages * PAGE, phys, pages * PAGE, DATA)
}

/// Where `cpu`'s stacks end.
pub fn stacks(cpu: u32) -> Stacks {
    let base = PERCPU_BASE + u64::from(cpu) * PERCPU_STRIDE;
    Stacks { main: base + STACK_TOP, ist: IST_TOPS.map(|top| base + top) }
}

/// Bottom and top of the stack that holds `address`, if it is one of a CPU's stacks.
pub fn stack_of(address: u64) -> Option<(u64, u64)> {
    let offset = address.checked_sub(PERCPU_BASE)?;
    if offset / PERCPU_STRIDE >= u64::from(crate::percpu::count()) {
        return None;
    }
    let base = address - offset % PERCPU_STRIDE;
    let tops = core::iter::once((STACK_TOP, STACK_PAGES)).chain(IST_TOPS.map(|t| (t, IST_PAGES)));
    tops.map(|(top, pages)| (base + top - pages * PAGE, base + top)).find(|s| (s.0..s.1).contains(&address))
}

/// Makes page `page` of `cpu`'s window show machine frame `mfn`; `None`: null descriptors (GDT) or a hole that
/// faults (LDT). Takes effect at once where the running CPU is `cpu`; nobody else may change a CPU's windows
/// while it runs.
///
/// The frame must be typed as a descriptor page for as long as it is shown.
pub fn set_window(cpu: u32, window: Window, page: usize, mfn: Option<u64>) {
    let (first, pages) = match window {
        Window::Gdt => (GDT_WINDOW / PAGE, RESERVED_PAGE as usize),
        Window::Ldt => (LDT_WINDOW / PAGE, 16),
    };
    assert!(page < pages, "page {page} of a descriptor window is not a guest's");
    let entry = match (mfn, window) {
        (Some(mfn), _) => (mfn * PAGE) | DATA,
        (None, Window::Gdt) => virt_to_phys(&raw const ZERO_PAGE.0 as u64) | READ_ONLY,
        (None, Window::Ldt) => 0,
    };
    let slot = first + page as u64;
    let at = (ENTRIES[cpu as usize].load(Ordering::Relaxed) + slot * 8) as *mut u64;
    // SAFETY: an entry of this CPU's own level-1 table (one table serves two whole areas); the page it maps is
    // either a constant or, by this function's contract, descriptors.
    let old = unsafe {
        let old = at.read_volatile();
        at.write_volatile(entry);
        old
    };
    if old != entry && old & 1 != 0 {
        invlpg(PERCPU_BASE + u64::from(cpu) * PERCPU_STRIDE + slot * PAGE);
    }
}
