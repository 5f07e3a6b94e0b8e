//! Descriptor tables, as the Xen ABI lays out selectors: a guest's own descriptors fill GDT pages 0..=13, the
//! hypervisor's page is number 14 (`FIRST_RESERVED_GDT_PAGE`).
//!
//! Every CPU has a window of 16 pages for the GDT and 16 for the LDT; [`crate::mm::percpu_map`] changes what
//! the guest's pages show.

use core::arch::asm;
use core::cell::UnsafeCell;

use crate::layout::{LDT_WINDOW, PAGE, PERCPU_BASE, PERCPU_STRIDE};

/// The hypervisor's page of the GDT.
pub const RESERVED_PAGE: u64 = 14;
/// Ring 0 code.
pub const RING0_CS: u16 = 0xe008;
/// Ring 0 data.
pub const RING0_DS: u16 = 0xe010;
/// Task state segment (two slots).
pub const TSS: u16 = 0xe040;
/// LDT (two slots).
pub const LDT: u16 = 0xe050;

const RESERVED_BYTE: u64 = RESERVED_PAGE * PAGE;

/// The 64-bit task state segment (Intel SDM volume 3, 8.7): stacks only, no I/O bitmap (the guests' port
/// accesses all trap).
#[repr(C, packed(4))]
pub struct Tss {
    reserved0: u32,
    /// Stack pointers for rings 0 to 2.
    pub rsp: [u64; 3],
    reserved1: u64,
    /// Interrupt stack table; IST *n* is element *n* - 1.
    pub ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    pub io_map_base: u16,
}

impl Tss {
    /// One without stacks.
    pub const fn new() -> Self {
        Tss {
            reserved0: 0,
            rsp: [0; 3],
            reserved1: 0,
            ist: [0; 7],
            reserved2: 0,
            reserved3: 0,
            io_map_base: 104,
        }
    }
}

/// A page of descriptors.
#[repr(C, align(4096))]
pub struct GdtPage(UnsafeCell<[u64; 512]>);

// SAFETY: each page belongs to one CPU; only that CPU (or the one that prepares it before it starts) writes it.
unsafe impl Sync for GdtPage {}

/// The boot processor's, which must exist before there is memory to allocate.
pub static BSP_GDT: GdtPage = GdtPage::new();

impl GdtPage {
    /// The flat segments.
    pub const fn new() -> Self {
        let mut d = [0u64; 512];
        d[1] = 0x00af_9b00_0000_ffff; // ring 0 code, 64-bit
        d[2] = 0x00cf_9300_0000_ffff; // ring 0 data
        d[4] = 0x00cf_fb00_0000_ffff; // ring 3 code, 32-bit
        d[5] = 0x00cf_f300_0000_ffff; // ring 3 data
        d[6] = 0x00af_fb00_0000_ffff; // ring 3 code, 64-bit
        GdtPage(UnsafeCell::new(d))
    }

    /// The descriptors, to be written by the page's CPU alone.
    pub fn as_ptr(&self) -> *mut [u64; 512] {
        self.0.get()
    }
}

/// The two words of a system descriptor (SDM volume 3, 3.5 and 8.2.3): type 0x9 TSS, 0x2 LDT.
fn system_descriptor(kind: u64, base: u64, limit: u64) -> [u64; 2] {
    let low = limit & 0xffff
        | (base & 0xff_ffff) << 16
        | (0x80 | kind) << 40
        | (limit >> 16 & 0xf) << 48
        | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// Points the page's TSS descriptor at `tss`.
///
/// # Safety
/// `page` is this CPU's (or a stopped CPU's) page; `tss` stays where it is for ever.
pub unsafe fn set_tss(page: *mut [u64; 512], tss: *const Tss) {
    let d = system_descriptor(0x9, tss as u64, core::mem::size_of::<Tss>() as u64 - 1);
    // SAFETY: by this function's contract.
    unsafe {
        (*page)[usize::from(TSS - RESERVED_BYTE as u16) / 8] = d[0];
        (*page)[usize::from(TSS - RESERVED_BYTE as u16) / 8 + 1] = d[1];
    }
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Loads the GDT whose page 14 is at `page`, the segments, and the task register. Pages 0..=13 must not be used
/// until the real window is there: what is below `page` is not descriptors.
///
/// # Safety
/// `page` holds this CPU's [`GdtPage`] with a TSS set. GS's base survives.
pub unsafe fn load(page: u64) {
    // SAFETY: by this function's contract.
    unsafe { load_window(page - RESERVED_BYTE) }
}

/// As [`load`], with the address of the whole window.
///
/// # Safety
/// As [`load`].
pub unsafe fn load_window(base: u64) {
    let pointer = TablePointer { limit: (RESERVED_BYTE + PAGE - 1) as u16, base };
    let slot = base + u64::from(TSS);
    // SAFETY: by the contract the selectors name flat segments there; the far return reloads CS with the same
    // flat 64-bit code segment. GS is left alone, so its base stays. A TSS that is marked busy (from an earlier
    // load) would make LTR fault, so the mark is cleared.
    unsafe {
        let descriptor = slot as *mut u64;
        descriptor.write_volatile(descriptor.read_volatile() & !(2 << 40));
        asm!(
            "lgdt [{pointer}]",
            "push {cs}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            "mov ss, {ds:e}",
            "mov ds, {zero:e}",
            "mov es, {zero:e}",
            "ltr {tss:x}",
            "lldt {zero:x}",
            pointer = in(reg) &pointer,
            cs = in(reg) u64::from(RING0_CS),
            ds = in(reg) u32::from(RING0_DS),
            zero = in(reg) 0u32,
            tss = in(reg) u32::from(TSS),
            tmp = out(reg) _,
        );
    }
}

/// Where `cpu`'s GDT window is.
pub fn gdt_window(cpu: u32) -> u64 {
    PERCPU_BASE + u64::from(cpu) * PERCPU_STRIDE
}

/// Where `cpu`'s LDT window is.
pub fn ldt_window(cpu: u32) -> u64 {
    gdt_window(cpu) + LDT_WINDOW
}

/// Loads this CPU's LDT register with the first `entries` descriptors of its LDT window; 0 unloads it.
pub fn load_ldt(entries: u32) {
    let cpu = crate::percpu::this();
    if entries == 0 {
        // SAFETY: a null LDT selector is always loadable and makes every LDT selector fault.
        unsafe { asm!("lldt {:x}", in(reg) 0u32, options(nostack, preserves_flags)) };
        return;
    }
    let limit = u64::from(entries.min(8192)) * 8 - 1;
    let d = system_descriptor(0x2, ldt_window(cpu.id), limit);
    let slot = (gdt_window(cpu.id) + u64::from(LDT)) as *mut u64;
    // SAFETY: this CPU's own GDT page is mapped there and only it writes it; the window is its own too.
    unsafe {
        slot.write_volatile(d[0]);
        slot.add(1).write_volatile(d[1]);
        asm!("lldt {:x}", in(reg) u32::from(LDT), options(nostack, preserves_flags));
    }
}
