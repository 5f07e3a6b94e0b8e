//! `xen/callback.h`: callback_op.

// callback_op commands.
pub const CALLBACKOP_REGISTER: u32 = 0;
pub const CALLBACKOP_UNREGISTER: u32 = 1;

// CallbackRegister::type_.
pub const CALLBACKTYPE_EVENT: u16 = 0;
pub const CALLBACKTYPE_FAILSAFE: u16 = 1;
/// `syscall` from 64-bit user mode.
pub const CALLBACKTYPE_SYSCALL: u16 = 2;
pub const CALLBACKTYPE_SYSENTER_DEPRECATED: u16 = 3;
pub const CALLBACKTYPE_NMI: u16 = 4;
pub const CALLBACKTYPE_SYSENTER: u16 = 5;
/// `syscall` from 32-bit user mode.
pub const CALLBACKTYPE_SYSCALL32: u16 = 7;

/// CallbackRegister::flags: upcalls are masked on delivery.
pub const CALLBACKF_MASK_EVENTS: u16 = 1 << 0;

abi_struct! {
    /// `struct callback_register` (guest → hypervisor).
    pub struct CallbackRegister [16] {
        /// `CALLBACKTYPE_*`.
        pub type_: u16,
        /// `CALLBACKF_*`.
        pub flags: u16,
        pub _pad0: u32,
        /// Linear address of the handler.
        pub address: u64,
    }

    /// `struct callback_unregister` (guest → hypervisor).
    pub struct CallbackUnregister [4] {
        /// `CALLBACKTYPE_*`.
        pub type_: u16,
        pub _unused: u16,
    }
}
