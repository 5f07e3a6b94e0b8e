//! Interrupt controllers: the local APIC ([`local`]), the IOAPICs ([`ioapic`]), and the old 8259s, which are
//! silenced.

pub mod ioapic;
pub mod local;

pub use local::{eoi, interrupt_self, on_error, send_ipi, send_nmi_to_others};

use crate::cpu::instr::outb;

/// Masks all lines of both 8259s, after moving their vectors out of the exceptions' way.
pub fn disable_8259() {
    // SAFETY: the PC/AT's interrupt controllers at their fixed ports; nothing else drives them.
    unsafe {
        for (command, data, base, cascade) in [(0x20u16, 0x21u16, 0x20u8, 4u8), (0xa0, 0xa1, 0x28, 2)] {
            outb(command, 0x11);
            outb(data, base);
            outb(data, cascade);
            outb(data, 1);
            outb(data, 0xff);
        }
    }
}
