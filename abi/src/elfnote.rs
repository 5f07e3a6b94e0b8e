//! `xen/elfnote.h`: ELF notes with the name "Xen" in a kernel (guest image → builder).

/// Name of the notes, its terminating zero included.
pub const XEN_ELFNOTE_NAME: &[u8; 4] = b"Xen\0";

pub const XEN_ELFNOTE_INFO: u32 = 0;
/// Virtual address of the entry point.
pub const XEN_ELFNOTE_ENTRY: u32 = 1;
/// Virtual address of the page the hypervisor fills with hypercall stubs.
pub const XEN_ELFNOTE_HYPERCALL_PAGE: u32 = 2;
/// Virtual address where guest-physical 0 is mapped.
pub const XEN_ELFNOTE_VIRT_BASE: u32 = 3;
/// What to subtract from ELF physical addresses.
pub const XEN_ELFNOTE_PADDR_OFFSET: u32 = 4;
/// String, "xen-3.0".
pub const XEN_ELFNOTE_XEN_VERSION: u32 = 5;
/// String, "linux".
pub const XEN_ELFNOTE_GUEST_OS: u32 = 6;
/// String.
pub const XEN_ELFNOTE_GUEST_VERSION: u32 = 7;
/// String, "generic".
pub const XEN_ELFNOTE_LOADER: u32 = 8;
/// String: "yes", "no", "bimodal"...
pub const XEN_ELFNOTE_PAE_MODE: u32 = 9;
/// String of feature names with `|` between; `!` before one requires it.
pub const XEN_ELFNOTE_FEATURES: u32 = 10;
/// String, "yes": load the symbol table.
pub const XEN_ELFNOTE_BSD_SYMTAB: u32 = 11;
/// Lowest address the hypervisor may begin at.
pub const XEN_ELFNOTE_HV_START_LOW: u32 = 12;
/// Pairs of mask and value that mark a valid L1 entry.
pub const XEN_ELFNOTE_L1_MFN_VALID: u32 = 13;
/// 1: the guest can be resumed after a cancelled suspend.
pub const XEN_ELFNOTE_SUSPEND_CANCEL: u32 = 14;
/// Virtual address where the p2m list is to be mapped.
pub const XEN_ELFNOTE_INIT_P2M: u32 = 15;
/// 1: `mod_start` may be a frame, not mapped.
pub const XEN_ELFNOTE_MOD_START_PFN: u32 = 16;
/// Bits of `XENFEAT_*` that the kernel supports.
pub const XEN_ELFNOTE_SUPPORTED_FEATURES: u32 = 17;
/// Physical address of the 32-bit entry point (PVH).
pub const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
pub const XEN_ELFNOTE_MAX: u32 = XEN_ELFNOTE_PHYS32_ENTRY;

// Notes of crash dumps and of `xl dump-core`.
pub const XEN_ELFNOTE_CRASH_INFO: u32 = 0x100_0001;
pub const XEN_ELFNOTE_CRASH_REGS: u32 = 0x100_0002;
pub const XEN_ELFNOTE_DUMPCORE_NONE: u32 = 0x200_0000;
pub const XEN_ELFNOTE_DUMPCORE_HEADER: u32 = 0x200_0001;
pub const XEN_ELFNOTE_DUMPCORE_XEN_VERSION: u32 = 0x200_0002;
pub const XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION: u32 = 0x200_0003;
