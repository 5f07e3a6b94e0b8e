//! `xen/hvm/hvm_op.h`: hvm_op.

// hvm_op commands.
pub const HVMOP_SET_PARAM: u32 = 0;
pub const HVMOP_GET_PARAM: u32 = 1;
pub const HVMOP_FLUSH_TLBS: u32 = 5;
pub const HVMOP_PAGETABLE_DYING: u32 = 9;
pub const HVMOP_GET_TIME: u32 = 10;
pub const HVMOP_XENTRACE: u32 = 11;
pub const HVMOP_SET_MEM_ACCESS: u32 = 12;
pub const HVMOP_GET_MEM_ACCESS: u32 = 13;
pub const HVMOP_GET_MEM_TYPE: u32 = 15;
pub const HVMOP_SET_EVTCHN_UPCALL_VECTOR: u32 = 23;
pub const HVMOP_GUEST_REQUEST_VM_EVENT: u32 = 24;
pub const HVMOP_ALTP2M: u32 = 25;

abi_struct! {
    /// `struct xen_hvm_param`: set and get.
    pub struct HvmParam [16] {
        pub domid: u16,
        pub pad: u16,
        /// `HVM_PARAM_*`.
        pub index: u32,
        /// In of set, out of get.
        pub value: u64,
    }

    /// `struct xen_hvm_pagetable_dying`.
    pub struct HvmPagetableDying [16] {
        pub domid: u16,
        pub pad: [u16; 3],
        /// Guest-physical address of the top table.
        pub gpa: u64,
    }

    /// `struct xen_hvm_get_time`.
    pub struct HvmGetTime [8] {
        /// Guest system time in nanoseconds, out.
        pub now: u64,
    }

    /// `struct xen_hvm_get_mem_type`.
    pub struct HvmGetMemType [16] {
        pub domid: u16,
        /// Out.
        pub mem_type: u16,
        pub pad: [u16; 2],
        pub pfn: u64,
    }

    /// `struct xen_hvm_evtchn_upcall_vector`.
    pub struct HvmEvtchnUpcallVector [8] {
        pub vcpu: u32,
        pub vector: u8,
        pub _pad0: [u8; 3],
    }
}
