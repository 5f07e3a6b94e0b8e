//! `xen/kexec.h`: kexec_op.

use crate::GuestHandle;

// kexec_op commands.
pub const KEXEC_CMD_KEXEC: u32 = 0;
pub const KEXEC_CMD_KEXEC_LOAD_V1: u32 = 1;
pub const KEXEC_CMD_KEXEC_UNLOAD_V1: u32 = 2;
pub const KEXEC_CMD_KEXEC_GET_RANGE: u32 = 3;
pub const KEXEC_CMD_KEXEC_LOAD: u32 = 4;
pub const KEXEC_CMD_KEXEC_UNLOAD: u32 = 5;
pub const KEXEC_CMD_KEXEC_STATUS: u32 = 6;

pub const KEXEC_TYPE_DEFAULT: u8 = 0;
pub const KEXEC_TYPE_CRASH: u8 = 1;

// KexecRange::range.
pub const KEXEC_RANGE_MA_CRASH: i32 = 0;
pub const KEXEC_RANGE_MA_XEN: i32 = 1;
pub const KEXEC_RANGE_MA_CPU: i32 = 2;
pub const KEXEC_RANGE_MA_XENHEAP: i32 = 3;
pub const KEXEC_RANGE_MA_BOOT_PARAM: i32 = 4;
pub const KEXEC_RANGE_MA_EFI_MEMMAP: i32 = 5;
pub const KEXEC_RANGE_MA_VMCOREINFO: i32 = 6;

abi_struct! {
    /// `struct xen_kexec_exec`.
    pub struct KexecExec [4] {
        /// `KEXEC_TYPE_*`.
        pub type_: i32,
    }

    /// `struct xen_kexec_range`: `range` and `nr` in, the rest out.
    pub struct KexecRange [24] {
        /// `KEXEC_RANGE_*`.
        pub range: i32,
        /// Which CPU's.
        pub nr: i32,
        /// Bytes.
        pub size: u64,
        /// Machine address.
        pub start: u64,
    }

    /// `struct xen_kexec_segment`.
    pub struct KexecSegment [32] {
        pub buf: GuestHandle,
        pub buf_size: u64,
        pub dest_maddr: u64,
        pub dest_size: u64,
    }

    /// `struct xen_kexec_load`.
    pub struct KexecLoad [24] {
        /// `KEXEC_TYPE_*`.
        pub type_: u8,
        pub _pad: u8,
        /// ELF machine.
        pub arch: u16,
        pub nr_segments: u32,
        /// [`KexecSegment`]`[nr_segments]`.
        pub segments: GuestHandle,
        pub entry_maddr: u64,
    }

    /// `struct xen_kexec_unload`.
    pub struct KexecUnload [1] {
        pub type_: u8,
    }

    /// `struct xen_kexec_status`.
    pub struct KexecStatus [1] {
        pub type_: u8,
    }
}
