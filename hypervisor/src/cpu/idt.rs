//! The interrupt descriptor table: one for all CPUs, filled at boot from the table of entry stubs.

use core::arch::asm;
use core::cell::UnsafeCell;

use super::gdt::RING0_CS;
use crate::trap::entry::{STUB_SIZE, stubs};

/// Vectors that get a stack of their own, and which (index into the TSS's table, from 1).
pub const IST_VECTORS: [(u8, u8); 4] = [(2, 1), (8, 2), (18, 3), (1, 4)];

#[repr(C, align(4096))]
struct Idt(UnsafeCell<[[u64; 2]; 256]>);

// SAFETY: written once by the boot processor before others start; then only read, by the CPUs.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new([[0; 2]; 256]));

/// Fills the table. Once, on the boot processor, before [`load`].
pub fn init() {
    for vector in 0..256 {
        let handler = stubs() + vector as u64 * STUB_SIZE;
        // INT3, INTO and INT 0x80 are a guest's to use; all other vectors answer its INT n with #GP.
        let dpl: u64 = if matches!(vector, 3 | 4 | 0x80) { 3 } else { 0 };
        let ist = IST_VECTORS.iter().find(|v| usize::from(v.0) == vector).map_or(0, |v| u64::from(v.1));
        let low = handler & 0xffff
            | u64::from(RING0_CS) << 16
            | ist << 32
            | (0x8e | dpl << 5) << 40
            | (handler >> 16 & 0xffff) << 48;
        // SAFETY: the boot processor runs alone.
        unsafe { (*IDT.0.get())[vector] = [low, handler >> 32] };
    }
}

/// Makes this CPU use the table.
pub fn load() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: 4095, base: IDT.0.get() as u64 };
    // SAFETY: the table is filled with valid gates and lives for ever.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(nostack, preserves_flags)) }
}
