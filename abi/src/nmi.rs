//! `xen/nmi.h`: nmi_op(command, argument).

// Bits of ArchSharedInfo::nmi_reason.
pub const XEN_NMIREASON_IO_ERROR: u64 = 1 << 0;
pub const XEN_NMIREASON_PCI_SERR: u64 = 1 << 1;
pub const XEN_NMIREASON_UNKNOWN: u64 = 1 << 2;

// nmi_op commands.
pub const XENNMI_REGISTER_CALLBACK: u32 = 0;
pub const XENNMI_UNREGISTER_CALLBACK: u32 = 1;

abi_struct! {
    /// `struct xennmi_callback` (guest → hypervisor).
    pub struct XennmiCallback [16] {
        /// Linear address.
        pub handler_address: u64,
        pub pad: u64,
    }
}
