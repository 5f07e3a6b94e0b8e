//! The end of a run: restart and power-off.

use hypercore::boot::acpi::Register;
use hypercore::boot::cmdline::RebootMethod;

use crate::boot::{self, options};
use crate::cpu::{self, instr};
use crate::mm::phys_to_virt;
use crate::{apic, console, time};

/// Restarts the machine in order: other CPUs are stopped first.
pub fn reboot() -> ! {
    if options::never_reboot() {
        console::always(format_args!("'noreboot' set - not rebooting."));
        stop_others();
        cpu::halt_forever();
    }
    console::always(format_args!("Resetting with the platform's methods"));
    stop_others();
    reboot_now()
}

/// Stops all activity for good.
pub fn halt() -> ! {
    console::always(format_args!("System halted."));
    stop_others();
    cpu::halt_forever()
}

fn stop_others() {
    crate::panic::begin_end();
    apic::send_nmi_to_others();
}

/// The debug key's action.
pub fn reboot_now_key() {
    reboot_now();
}

/// Restarts at once, by one method after the other. Locks nothing.
pub fn reboot_now() -> ! {
    let wanted = options::get().map_or(RebootMethod::Default, |o| o.reboot);
    if matches!(wanted, RebootMethod::Default | RebootMethod::Never | RebootMethod::Acpi) {
        by_acpi();
    }
    if matches!(wanted, RebootMethod::Default | RebootMethod::Never | RebootMethod::Keyboard) {
        by_keyboard();
    }
    if matches!(wanted, RebootMethod::Pci) {
        // SAFETY: the reset control register of PC chipsets; this ends the run.
        unsafe {
            instr::outb(0xcf9, 0x02);
            instr::outb(0xcf9, 0x06);
        }
        pause();
    }
    triple_fault()
}

fn pause() {
    time::delay_ns(50_000_000);
}

fn by_acpi() {
    let Some(tables) = boot::acpi() else { return };
    let value = tables.fadt.reset_value;
    // SAFETY: the register that the firmware names for a reset; this ends the run.
    unsafe {
        match tables.fadt.reset {
            Some(Register::Io(port)) => instr::outb(port, value),
            Some(Register::Memory(at)) if crate::mm::ram().contains(at) => {
                (phys_to_virt(at) as *mut u8).write_volatile(value);
            }
            Some(Register::PciConfig { device, function, offset }) => {
                let address = u32::from(device) << 11 | u32::from(function) << 8 | u32::from(offset) & 0xfc;
                instr::outl(0xcf8, 1 << 31 | address);
                instr::outb(0xcfc + (offset & 3), value);
            }
            _ => return,
        }
    }
    pause();
}

fn by_keyboard() {
    for _ in 0..10 {
        for _ in 0..0x10000 {
            // SAFETY: the keyboard controller's status and command port; this ends the run.
            if unsafe { instr::inb(0x64) } & 2 == 0 {
                break;
            }
        }
        // SAFETY: as above.
        unsafe { instr::outb(0x64, 0xfe) };
        pause();
    }
}

fn triple_fault() -> ! {
    let empty = [0u16; 5];
    // SAFETY: without an IDT the next exception resets the CPU, as wanted.
    unsafe { core::arch::asm!("lidt [{}]", "int3", in(reg) &empty) };
    cpu::halt_forever()
}

/// Puts the machine into an ACPI sleep state as dom0 asks (`XENPF_enter_acpi_sleep`): writes both control registers.
/// For power-off (S5) it does not return; `false`: there are no such registers, or the machine did not go to sleep.
pub fn acpi_sleep(pm1a_value: u16, pm1b_value: u16) -> bool {
    let Some(fadt) = boot::acpi().map(|t| t.fadt).filter(|f| f.pm1a_cnt != 0) else { return false };
    // SAFETY: the sleep registers that the firmware names, with dom0's values for them.
    unsafe {
        instr::outw(fadt.pm1a_cnt, pm1a_value);
        if fadt.pm1b_cnt != 0 {
            instr::outw(fadt.pm1b_cnt, pm1b_value);
        }
    }
    time::delay_ns(1_000_000_000);
    false
}
