//! Exceptions and interrupts: what each vector leads to.
//!
//! [`entry`] has the stubs, [`ex_table`] the places in the hypervisor where a fault is expected.

pub mod entry;
pub mod ex_table;

use crate::cpu::instr::read_cr2;
use crate::{apic, hooks, irq, panic};

/// Registers of the interrupted code, as the entry stubs leave them.
pub use x86::regs::GuestRegs as Frame;

/// Vectors of the hypervisor's own interrupts; [`irq`] hands out those below.
pub mod vector {
    /// Nothing to do but leave idle (or the guest) and look for work.
    pub const WAKE: u8 = 0xf8;
    /// A flush of translations waits in [`crate::hooks::serve_flush`].
    pub const FLUSH: u8 = 0xf9;
    /// The local APIC's timer.
    pub const TIMER: u8 = 0xfb;
    /// The local APIC found an error.
    pub const ERROR: u8 = 0xfe;
    /// An interrupt that vanished before it was taken.
    pub const SPURIOUS: u8 = 0xff;
}

/// Everything but NMI, #DF, #MC (and #DB in ring 0). Interrupts stay off until the return.
pub extern "C" fn trap_entry(frame: &mut Frame) {
    if frame.cs & 3 == 3 {
        hooks::from_guest(frame);
        return;
    }
    let number = frame.entry_vector as u8;
    if number >= 0x20 {
        interrupt(number);
        return;
    }
    if ex_table::fix_up(frame) {
        return;
    }
    panic::on_exception(frame, read_cr2());
}

/// Serves an interrupt: the hypervisor's own, or a device's.
pub fn interrupt(number: u8) {
    match number {
        vector::WAKE => apic::eoi(),
        vector::FLUSH => {
            apic::eoi();
            hooks::serve_flush();
        }
        vector::TIMER => {
            apic::eoi();
            crate::time::timer_fired();
        }
        vector::ERROR => apic::on_error(),
        vector::SPURIOUS => {}
        device => irq::dispatch(device),
    }
}

/// The processor refused to return to a guest with this frame.
pub extern "C" fn bad_return(frame: &mut Frame) {
    hooks::bad_return(frame);
}

/// NMI, #DF, #MC, and #DB in ring 0: on their own stacks, wherever they interrupted.
pub extern "C" fn trap_ist(frame: &mut Frame) {
    match frame.entry_vector {
        2 => match panic::ending() {
            None => hooks::nmi(frame),
            // The watchdog's: this CPU is busy with the end.
            Some(cpu) if cpu == crate::percpu::this().id => {}
            Some(_) => panic::stop_here(frame),
        },
        // A debug exception in the hypervisor is a guest's breakpoint on a stack or buffer of its own, put off by
        // MOV SS: nothing to do, and the guest gets no report from in here.
        1 => crate::cpu::instr::reset_dr6(),
        18 => match panic::ending() {
            None => crate::mca::arrived(frame),
            Some(cpu) if cpu == crate::percpu::this().id => panic::on_exception(frame, read_cr2()),
            Some(_) => panic::stop_here(frame),
        },
        _ => panic::on_exception(frame, read_cr2()),
    }
}
