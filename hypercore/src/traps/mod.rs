//! What a PV vCPU wants done with traps, and how they are delivered to it.
//!
//! - [`VcpuTraps`]: its trap table and callbacks (set by `set_trap_table`, `set_callbacks`, `stack_switch`).
//! - [`bounce`]: frames on the guest's kernel stack; [`iret`]: the way back.
//! - [`inject`]: exceptions as the ABI delivers them; [`nmi`]: NMIs of the platform.

pub mod bounce;
pub mod context;
pub mod inject;
pub mod iret;
pub mod nmi;

use crate::fallible::One;
use abi::Errno;
use abi::arch_x86::FLAT_KERNEL_CS;

/// One entry of the virtual trap table (public header arch-x86/xen.h, `trap_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapEntry {
    /// Handler's selector, RPL forced to 3.
    pub cs: u16,
    /// Least privileged ring that may raise it with `INT n` (0: kernel only, 3: user as well).
    pub dpl: u8,
    /// Events are masked on entry.
    pub mask_events: bool,
    /// Handler; 0: none.
    pub address: u64,
}

/// A callback of the guest kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    /// Entry point; 0: not registered.
    pub address: u64,
    /// Events are masked on entry (`CALLBACKF_mask_events`).
    pub mask_events: bool,
}

/// Trap-related private state of a vCPU.
pub struct VcpuTraps {
    pub table: One<[TrapEntry; 256]>,
    pub event: Callback,
    pub failsafe: Callback,
    pub syscall: Callback,
    pub syscall32: Callback,
    pub sysenter: Callback,
    /// Its NMI handler runs: no other NMI before the next `iret`, as on a processor.
    pub in_nmi: bool,
    /// Kernel stack for entries from user mode (`stack_switch`); the selector has RPL 3.
    pub kernel_ss: u16,
    pub kernel_sp: u64,
}

impl VcpuTraps {
    /// Sets the handler of NMIs (`CALLBACKTYPE_nmi`, `nmi_op`), or none: the trap table's entry, which Linux sets
    /// with the others.
    pub fn set_nmi(&mut self, address: u64) {
        let entry = TrapEntry { cs: FLAT_KERNEL_CS, dpl: 0, mask_events: true, address };
        self.table[usize::from(inject::vector::NMI)] =
            if address == 0 { TrapEntry::default() } else { entry };
    }

    /// None of it set. ENOMEM.
    pub fn new() -> Result<Self, Errno> {
        let none = Callback::default();
        Ok(Self {
            table: One::new([TrapEntry::default(); 256])?,
            event: none,
            failsafe: none,
            syscall: none,
            syscall32: none,
            sysenter: none,
            in_nmi: false,
            kernel_ss: 0,
            kernel_sp: 0,
        })
    }
}

/// RFLAGS bits used by delivery (Intel SDM vol. 1 3.4.3).
pub mod rflags {
    pub const MBS: u64 = 1 << 1;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
}
