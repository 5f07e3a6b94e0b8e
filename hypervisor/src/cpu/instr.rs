//! The instructions that Rust has no name for.
//!
//! Reading is safe here where the instruction cannot fault in ring 0 and changes nothing; all else is unsafe
//! and each caller says why it may.

use core::arch::asm;

use crate::asm_ex_table;

macro_rules! port_io {
    ($read:ident, $write:ident, $type:ty, $reg:tt) => {
        /// Reads an I/O port.
        ///
        /// # Safety
        /// Reading that device's register must be harmless.
        #[inline]
        pub unsafe fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: by this function's contract.
            unsafe { asm!(concat!("in ", $reg, ", dx"), in("dx") port, out($reg) value, options(nostack)) }
            value
        }

        /// Writes an I/O port.
        ///
        /// # Safety
        /// The device must be the caller's to drive, and must not be made to overwrite memory in use.
        #[inline]
        pub unsafe fn $write(port: u16, value: $type) {
            // SAFETY: by this function's contract.
            unsafe { asm!(concat!("out dx, ", $reg), in("dx") port, in($reg) value, options(nostack)) }
        }
    };
}

port_io!(inb, outb, u8, "al");
port_io!(inw, outw, u16, "ax");
port_io!(inl, outl, u32, "eax");

/// Reads a model-specific register.
///
/// # Safety
/// The register must exist on this CPU.
#[inline]
pub unsafe fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: by this function's contract.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack, preserves_flags))
    }
    u64::from(low) | u64::from(high) << 32
}

/// Writes a model-specific register.
///
/// # Safety
/// The register must exist, take the value, and the change must keep the hypervisor's own state sound.
#[inline]
pub unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: by this function's contract.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags))
    }
}

/// Reads a model-specific register that has no side effect, if it exists.
pub fn rdmsr_checked(msr: u32) -> Option<u64> {
    let (low, high, failed): (u32, u32, u32);
    // SAFETY: only reads; a fault goes on behind the instruction.
    unsafe {
        asm!(
            "mov {failed:e}, 1",
            "2: rdmsr",
            "xor {failed:e}, {failed:e}",
            "3:",
            asm_ex_table!("2b", "3b"),
            failed = out(reg) failed, in("ecx") msr, out("eax") low, out("edx") high, options(nostack)
        )
    }
    (failed == 0).then(|| u64::from(low) | u64::from(high) << 32)
}

/// Writes a model-specific register, if it exists and takes the value; whether it did.
///
/// # Safety
/// The change must keep the hypervisor's own state sound.
pub unsafe fn wrmsr_checked(msr: u32, value: u64) -> bool {
    let failed: u32;
    // SAFETY: by this function's contract; a fault goes on behind the instruction.
    unsafe {
        asm!(
            "mov {failed:e}, 1",
            "2: wrmsr",
            "xor {failed:e}, {failed:e}",
            "3:",
            asm_ex_table!("2b", "3b"),
            failed = out(reg) failed, in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack)
        )
    }
    failed == 0
}

macro_rules! control_register {
    ($read:ident, $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        #[inline]
        pub fn $read() -> u64 {
            let value: u64;
            // SAFETY: reading a control register changes nothing.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) }
            value
        }
    };
    ($read:ident, $write:ident, $name:literal) => {
        control_register!($read, $name);

        #[doc = concat!("Writes ", $name, ".")]
        ///
        /// # Safety
        /// The new value must keep the hypervisor's mappings and protections in force.
        #[inline]
        pub unsafe fn $write(value: u64) {
            // SAFETY: by this function's contract.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) }
        }
    };
}

control_register!(read_cr0, write_cr0, "cr0");
control_register!(read_cr2, "cr2");
control_register!(read_cr3, write_cr3, "cr3");
control_register!(read_cr4, write_cr4, "cr4");

/// Drops this CPU's translation of the page at `va`, global ones included.
#[inline]
pub fn invlpg(va: u64) {
    // SAFETY: dropping a translation only makes the CPU look it up again.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) }
}

/// Sets an extended control register.
///
/// # Safety
/// CR4.OSXSAVE must be on and the CPU must support each bit of `value`.
#[inline]
pub unsafe fn xsetbv(register: u32, value: u64) {
    // SAFETY: by this function's contract.
    unsafe {
        asm!("xsetbv", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags))
    }
}

/// The time stamp counter; earlier loads are done first.
#[inline]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: CR4.TSD does not bind ring 0.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    }
    u64::from(low) | u64::from(high) << 32
}

/// DR6 as after a reset: no debug exception has happened.
#[inline]
pub fn reset_dr6() {
    // SAFETY: the register only tells of exceptions.
    unsafe { asm!("mov dr6, {}", in(reg) 0xffff_0ff0u64, options(nomem, nostack)) };
}
