//! `xen/grant_table.h`: grant entries, grant_table_op and its per-element status.

use crate::GuestHandle;

/// First entries, kept for the toolstack.
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;

// GrantEntry*::flags: type in the low two bits.
pub const GTF_INVALID: u16 = 0;
pub const GTF_PERMIT_ACCESS: u16 = 1;
pub const GTF_ACCEPT_TRANSFER: u16 = 2;
pub const GTF_TRANSITIVE: u16 = 3;
pub const GTF_TYPE_MASK: u16 = 3;
/// The grantee may only read (guest → hypervisor).
pub const GTF_READONLY: u16 = 1 << 2;
/// Mapped or copied for reading (hypervisor → guest).
pub const GTF_READING: u16 = 1 << 3;
/// Mapped or copied for writing (hypervisor → guest).
pub const GTF_WRITING: u16 = 1 << 4;
pub const GTF_PWT: u16 = 1 << 5;
pub const GTF_PCD: u16 = 1 << 6;
pub const GTF_PAT: u16 = 1 << 7;
/// Version 2: only part of the page is granted.
pub const GTF_SUB_PAGE: u16 = 1 << 8;
// With GTF_ACCEPT_TRANSFER.
pub const GTF_TRANSFER_COMMITTED: u16 = 1 << 2;
pub const GTF_TRANSFER_COMPLETED: u16 = 1 << 3;

// grant_table_op commands.
pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
pub const GNTTABOP_SETUP_TABLE: u32 = 2;
pub const GNTTABOP_DUMP_TABLE: u32 = 3;
pub const GNTTABOP_TRANSFER: u32 = 4;
pub const GNTTABOP_COPY: u32 = 5;
pub const GNTTABOP_QUERY_SIZE: u32 = 6;
pub const GNTTABOP_UNMAP_AND_REPLACE: u32 = 7;
pub const GNTTABOP_SET_VERSION: u32 = 8;
pub const GNTTABOP_GET_STATUS_FRAMES: u32 = 9;
pub const GNTTABOP_GET_VERSION: u32 = 10;
pub const GNTTABOP_SWAP_GRANT_REF: u32 = 11;
pub const GNTTABOP_CACHE_FLUSH: u32 = 12;

// GnttabCopy::flags: an end names a grant reference instead of a frame.
pub const GNTCOPY_SOURCE_GREF: u16 = 1 << 0;
pub const GNTCOPY_DEST_GREF: u16 = 1 << 1;

// GnttabCacheFlush::op.
pub const GNTTAB_CACHE_CLEAN: u32 = 1 << 0;
pub const GNTTAB_CACHE_INVAL: u32 = 1 << 1;
pub const GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31;

// GnttabMapGrantRef::flags.
/// Map for a device: `dev_bus_addr` comes back.
pub const GNTMAP_DEVICE_MAP: u32 = 1 << 0;
/// Map at `host_addr`.
pub const GNTMAP_HOST_MAP: u32 = 1 << 1;
pub const GNTMAP_READONLY: u32 = 1 << 2;
/// The mapping is usable by user mode.
pub const GNTMAP_APPLICATION_MAP: u32 = 1 << 3;
/// `host_addr` is the machine address of a PTE, not a linear address.
pub const GNTMAP_CONTAINS_PTE: u32 = 1 << 4;
/// Bit from which the available bits of the PTE stand.
pub const GNTMAP_GUEST_AVAIL0: u32 = 16;
pub const GNTMAP_GUEST_AVAIL_MASK: u32 = !0 << GNTMAP_GUEST_AVAIL0;

// Status of one element (hypervisor → guest).
pub const GNTST_OKAY: i16 = 0;
pub const GNTST_GENERAL_ERROR: i16 = -1;
pub const GNTST_BAD_DOMAIN: i16 = -2;
pub const GNTST_BAD_GNTREF: i16 = -3;
pub const GNTST_BAD_HANDLE: i16 = -4;
pub const GNTST_BAD_VIRT_ADDR: i16 = -5;
pub const GNTST_BAD_DEV_ADDR: i16 = -6;
pub const GNTST_NO_DEVICE_SPACE: i16 = -7;
pub const GNTST_PERMISSION_DENIED: i16 = -8;
pub const GNTST_BAD_PAGE: i16 = -9;
pub const GNTST_BAD_COPY_ARG: i16 = -10;
pub const GNTST_ADDRESS_TOO_BIG: i16 = -11;
pub const GNTST_EAGAIN: i16 = -12;
pub const GNTST_NO_SPACE: i16 = -13;

/// The header's name of a status.
pub const fn status_name(status: i16) -> Option<&'static str> {
    Some(match status {
        GNTST_OKAY => "GNTST_okay",
        GNTST_GENERAL_ERROR => "GNTST_general_error",
        GNTST_BAD_DOMAIN => "GNTST_bad_domain",
        GNTST_BAD_GNTREF => "GNTST_bad_gntref",
        GNTST_BAD_HANDLE => "GNTST_bad_handle",
        GNTST_BAD_VIRT_ADDR => "GNTST_bad_virt_addr",
        GNTST_BAD_DEV_ADDR => "GNTST_bad_dev_addr",
        GNTST_NO_DEVICE_SPACE => "GNTST_no_device_space",
        GNTST_PERMISSION_DENIED => "GNTST_permission_denied",
        GNTST_BAD_PAGE => "GNTST_bad_page",
        GNTST_BAD_COPY_ARG => "GNTST_bad_copy_arg",
        GNTST_ADDRESS_TOO_BIG => "GNTST_address_too_big",
        GNTST_EAGAIN => "GNTST_eagain",
        GNTST_NO_SPACE => "GNTST_no_space",
        _ => return None,
    })
}

abi_struct! {
    /// `struct grant_entry_v1`: an entry of the version 1 table (shared memory, both ways).
    pub struct GrantEntryV1 [8] {
        /// `GTF_*`.
        pub flags: u16,
        /// The grantee.
        pub domid: u16,
        /// Guest frame (machine frame in a PV guest).
        pub frame: u32,
    }

    /// `struct grant_entry_header`, at the start of every version 2 entry.
    pub struct GrantEntryHeader [4] {
        pub flags: u16,
        pub domid: u16,
    }

    /// `union grant_entry_v2`: an entry of the version 2 table (shared memory, both ways).
    pub struct GrantEntryV2 [16] {
        pub hdr: GrantEntryHeader,
        /// `sub_page.page_off` or `transitive.trans_domid`.
        pub arm: u16,
        /// `sub_page.length`.
        pub length: u16,
        /// Guest frame; the low half is `transitive.gref`.
        pub frame: u64,
    }

    /// `struct gnttab_map_grant_ref`.
    pub struct GnttabMapGrantRef [32] {
        /// Where to map: linear address, or machine address of a PTE.
        pub host_addr: u64,
        /// `GNTMAP_*`.
        pub flags: u32,
        pub ref_: u32,
        /// The granting domain.
        pub dom: u16,
        /// Out: `GNTST_*`.
        pub status: i16,
        /// Out: names the mapping when it is unmapped.
        pub handle: u32,
        /// Out: machine address of the page.
        pub dev_bus_addr: u64,
    }

    /// `struct gnttab_unmap_grant_ref`.
    pub struct GnttabUnmapGrantRef [24] {
        /// As mapped; 0 keeps the host mapping.
        pub host_addr: u64,
        /// As mapped; 0 keeps the device mapping.
        pub dev_bus_addr: u64,
        pub handle: u32,
        /// Out: `GNTST_*`.
        pub status: i16,
        pub _pad0: u16,
    }

    /// `struct gnttab_setup_table`: grows the table to `nr_frames` and lists its frames.
    pub struct GnttabSetupTable [24] {
        pub dom: u16,
        pub _pad0: u16,
        pub nr_frames: u32,
        /// Out: `GNTST_*`.
        pub status: i16,
        pub _pad1: [u16; 3],
        /// `xen_pfn_t[nr_frames]`, out.
        pub frame_list: GuestHandle,
    }

    /// `struct gnttab_dump_table`.
    pub struct GnttabDumpTable [4] {
        pub dom: u16,
        pub status: i16,
    }

    /// `struct gnttab_transfer`.
    pub struct GnttabTransfer [24] {
        pub mfn: u64,
        pub domid: u16,
        pub _pad0: u16,
        pub ref_: u32,
        /// Out: `GNTST_*`.
        pub status: i16,
        pub _pad1: [u16; 3],
    }

    /// `struct gnttab_copy_ptr`: one end of a copy.
    pub struct GnttabCopyPtr [16] {
        /// `gmfn`, or `ref` in the low half.
        pub u: u64,
        pub domid: u16,
        /// Bytes into the page, 0..4096.
        pub offset: u16,
        pub _pad0: u32,
    }

    /// `struct gnttab_copy`.
    pub struct GnttabCopy [40] {
        pub source: GnttabCopyPtr,
        pub dest: GnttabCopyPtr,
        /// Bytes; neither end may cross its page.
        pub len: u16,
        /// `GNTCOPY_*`.
        pub flags: u16,
        /// Out: `GNTST_*`.
        pub status: i16,
        pub _pad0: u16,
    }

    /// `struct gnttab_query_size`.
    pub struct GnttabQuerySize [16] {
        pub dom: u16,
        pub _pad0: u16,
        /// Out: present frames.
        pub nr_frames: u32,
        /// Out: the limit.
        pub max_nr_frames: u32,
        /// Out: `GNTST_*`.
        pub status: i16,
        pub _pad1: u16,
    }

    /// `struct gnttab_unmap_and_replace`: unmaps and puts the PTE of `new_addr` in place.
    pub struct GnttabUnmapAndReplace [24] {
        pub host_addr: u64,
        pub new_addr: u64,
        pub handle: u32,
        /// Out: `GNTST_*`.
        pub status: i16,
        pub _pad0: u16,
    }

    /// `struct gnttab_set_version`.
    pub struct GnttabSetVersion [4] {
        /// In: 1 or 2. Out: the version in force.
        pub version: u32,
    }

    /// `struct gnttab_get_status_frames`.
    pub struct GnttabGetStatusFrames [16] {
        pub nr_frames: u32,
        pub dom: u16,
        /// Out: `GNTST_*`.
        pub status: i16,
        /// `uint64_t[nr_frames]`, out.
        pub frame_list: GuestHandle,
    }

    /// `struct gnttab_get_version`.
    pub struct GnttabGetVersion [8] {
        pub dom: u16,
        pub pad: u16,
        /// Out.
        pub version: u32,
    }

    /// `struct gnttab_swap_grant_ref`.
    pub struct GnttabSwapGrantRef [12] {
        pub ref_a: u32,
        pub ref_b: u32,
        /// Out: `GNTST_*`.
        pub status: i16,
        pub _pad0: u16,
    }

    /// `struct gnttab_cache_flush`.
    pub struct GnttabCacheFlush [16] {
        /// `dev_bus_addr`, or `ref` in the low half.
        pub a: u64,
        /// Bytes into the page.
        pub offset: u16,
        /// Bytes.
        pub length: u16,
        /// `GNTTAB_CACHE_*`.
        pub op: u32,
    }
}

impl GnttabCopyPtr {
    /// `u.ref`: with the `GNTCOPY_*_GREF` flag of this end.
    pub const fn gref(&self) -> u32 {
        self.u as u32
    }

    /// `u.gmfn`: without it.
    pub const fn gmfn(&self) -> u64 {
        self.u
    }
}

impl GrantEntryV2 {
    /// `sub_page.page_off`: bytes into the page.
    pub const fn page_off(&self) -> u16 {
        self.arm
    }

    /// `transitive.trans_domid`: the domain that granted first.
    pub const fn trans_domid(&self) -> u16 {
        self.arm
    }

    /// `transitive.gref`.
    pub const fn trans_gref(&self) -> u32 {
        self.frame as u32
    }
}

impl GnttabCacheFlush {
    /// `a.ref`: with `GNTTAB_CACHE_SOURCE_GREF`.
    pub const fn gref(&self) -> u32 {
        self.a as u32
    }
}
