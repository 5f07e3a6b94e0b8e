//! `xen/features.h`: bit numbers that XENVER_get_features reports (hypervisor → guest).

/// Page tables may be written while they are in use as tables.
pub const XENFEAT_WRITABLE_PAGE_TABLES: u32 = 0;
/// Descriptor tables may be written while in use.
pub const XENFEAT_WRITABLE_DESCRIPTOR_TABLES: u32 = 1;
/// The guest's frame numbers are translated by the hypervisor (HVM, PVH).
pub const XENFEAT_AUTO_TRANSLATED_PHYSMAP: u32 = 2;
/// The guest kernel runs in ring 0.
pub const XENFEAT_SUPERVISOR_MODE_KERNEL: u32 = 3;
/// PAE page directories may stand above 4 GiB.
pub const XENFEAT_PAE_PGDIR_ABOVE_4GB: u32 = 4;
/// MMU_PT_UPDATE_PRESERVE_AD is served.
pub const XENFEAT_MMU_PT_UPDATE_PRESERVE_AD: u32 = 5;
/// MMUEXT_CLEAR_PAGE and COPY_PAGE are served.
pub const XENFEAT_HIGHMEM_ASSIST: u32 = 6;
/// GNTTABOP_map_grant_ref honours the available bits.
pub const XENFEAT_GNTTAB_MAP_AVAIL_BITS: u32 = 7;
/// HVM_PARAM_CALLBACK_IRQ takes a vector.
pub const XENFEAT_HVM_CALLBACK_VECTOR: u32 = 8;
/// pvclock is safe for HVM guests.
pub const XENFEAT_HVM_SAFE_PVCLOCK: u32 = 9;
/// HVM guests may use PIRQs.
pub const XENFEAT_HVM_PIRQS: u32 = 10;
/// The caller is dom0.
pub const XENFEAT_DOM0: u32 = 11;
/// memory_op takes virtual nodes.
pub const XENFEAT_MEMORY_OP_VNODE_SUPPORTED: u32 = 13;
pub const XENFEAT_ARM_SMCCC_SUPPORTED: u32 = 14;
/// Linux may find the RSDP outside the first MiB (an ELF note's feature).
pub const XENFEAT_LINUX_RSDP_UNRESTRICTED: u32 = 15;
/// The domain is not mapped one to one.
pub const XENFEAT_NOT_DIRECT_MAPPED: u32 = 16;
/// The domain is mapped one to one.
pub const XENFEAT_DIRECT_MAPPED: u32 = 17;
pub const XENFEAT_NR_SUBMAPS: u32 = 1;
