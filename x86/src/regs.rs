//! The saved register frame of a guest (or of the interrupted hypervisor).
//!
//! Field order follows `struct cpu_user_regs` (public header arch-x86/xen-x86_64.h) so that one layout
//! serves trap entry, `vcpu_guest_context` and bounce frames.

/// General registers as trap entry pushes them. `error_code` and `entry_vector` are what the CPU and the
/// entry stub supplied; `entry_vector` is [`ENTRY_SYSCALL`] for the `syscall` instruction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestRegs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub error_code: u32,
    pub entry_vector: u32,
    pub rip: u64,
    pub cs: u16,
    pub _pad0: u16,
    /// Delivered `evtchn_upcall_mask` in bounce frames; otherwise unused.
    pub saved_upcall_mask: u8,
    pub _pad1: [u8; 3],
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u16,
    pub _pad2: [u16; 3],
}

/// `entry_vector` of a frame built by the `syscall` entry.
pub const ENTRY_SYSCALL: u32 = 0x100;
/// The same of `syscall` in compatibility mode, and of `sysenter`.
pub const ENTRY_SYSCALL32: u32 = ENTRY_SYSCALL + 1;
pub const ENTRY_SYSENTER: u32 = ENTRY_SYSCALL + 2;

impl GuestRegs {
    /// Requested privilege level of the interrupted code segment: 3 for anything a PV guest ran.
    pub const fn cpl(&self) -> u16 {
        self.cs & 3
    }
}

const _: () = assert!(size_of::<GuestRegs>() == 21 * 8);
