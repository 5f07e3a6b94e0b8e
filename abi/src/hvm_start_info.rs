//! `xen/arch-x86/hvm/start_info.h`: what a PVH kernel finds in ebx at its entry (loader → guest).
//! The same structure starts the hypervisor itself when a loader enters it by PVH.

pub const XEN_HVM_START_MAGIC_VALUE: u32 = 0x336e_c578;

// HvmMemmapTableEntry::type_, as in an e820 map.
pub const XEN_HVM_MEMMAP_TYPE_RAM: u32 = 1;
pub const XEN_HVM_MEMMAP_TYPE_RESERVED: u32 = 2;
pub const XEN_HVM_MEMMAP_TYPE_ACPI: u32 = 3;
pub const XEN_HVM_MEMMAP_TYPE_NVS: u32 = 4;
pub const XEN_HVM_MEMMAP_TYPE_UNUSABLE: u32 = 5;
pub const XEN_HVM_MEMMAP_TYPE_DISABLED: u32 = 6;
pub const XEN_HVM_MEMMAP_TYPE_PMEM: u32 = 7;

abi_struct! {
    /// `struct hvm_start_info`; addresses are guest-physical, 0 for none.
    pub struct HvmStartInfo [56] {
        /// `XEN_HVM_START_MAGIC_VALUE`.
        pub magic: u32,
        /// 1 and up has the memory map.
        pub version: u32,
        /// `SIF_*`.
        pub flags: u32,
        pub nr_modules: u32,
        /// [`HvmModlistEntry`]`[nr_modules]`.
        pub modlist_paddr: u64,
        pub cmdline_paddr: u64,
        pub rsdp_paddr: u64,
        /// [`HvmMemmapTableEntry`]`[memmap_entries]`.
        pub memmap_paddr: u64,
        pub memmap_entries: u32,
        pub reserved: u32,
    }

    /// `struct hvm_modlist_entry`.
    pub struct HvmModlistEntry [32] {
        pub paddr: u64,
        /// Bytes.
        pub size: u64,
        pub cmdline_paddr: u64,
        pub reserved: u64,
    }

    /// `struct hvm_memmap_table_entry`.
    pub struct HvmMemmapTableEntry [24] {
        pub addr: u64,
        /// Bytes.
        pub size: u64,
        /// `XEN_HVM_MEMMAP_TYPE_*`.
        pub type_: u32,
        pub reserved: u32,
    }
}
