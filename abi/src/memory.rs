//! `xen/memory.h`: memory_op.

use crate::GuestHandle;
use crate::physdev::PhysdevPciDevice;

// memory_op commands (guest → hypervisor): the low six bits of the command; the bits above hold
// the first extent still to do when a call continues.
pub const XENMEM_INCREASE_RESERVATION: u32 = 0;
pub const XENMEM_DECREASE_RESERVATION: u32 = 1;
pub const XENMEM_MAXIMUM_RAM_PAGE: u32 = 2;
pub const XENMEM_CURRENT_RESERVATION: u32 = 3;
pub const XENMEM_MAXIMUM_RESERVATION: u32 = 4;
pub const XENMEM_MACHPHYS_MFN_LIST: u32 = 5;
pub const XENMEM_POPULATE_PHYSMAP: u32 = 6;
pub const XENMEM_ADD_TO_PHYSMAP: u32 = 7;
pub const XENMEM_MEMORY_MAP: u32 = 9;
pub const XENMEM_MACHINE_MEMORY_MAP: u32 = 10;
pub const XENMEM_EXCHANGE: u32 = 11;
pub const XENMEM_MACHPHYS_MAPPING: u32 = 12;
pub const XENMEM_SET_MEMORY_MAP: u32 = 13;
pub const XENMEM_MAXIMUM_GPFN: u32 = 14;
pub const XENMEM_REMOVE_FROM_PHYSMAP: u32 = 15;
pub const XENMEM_SET_POD_TARGET: u32 = 16;
pub const XENMEM_GET_POD_TARGET: u32 = 17;
pub const XENMEM_GET_SHARING_FREED_PAGES: u32 = 18;
pub const XENMEM_GET_SHARING_SHARED_PAGES: u32 = 19;
pub const XENMEM_PAGING_OP: u32 = 20;
pub const XENMEM_ACCESS_OP: u32 = 21;
pub const XENMEM_SHARING_OP: u32 = 22;
pub const XENMEM_ADD_TO_PHYSMAP_BATCH: u32 = 23;
pub const XENMEM_CLAIM_PAGES: u32 = 24;
pub const XENMEM_MACHPHYS_COMPAT_MFN_LIST: u32 = 25;
pub const XENMEM_GET_VNUMAINFO: u32 = 26;
pub const XENMEM_RESERVED_DEVICE_MEMORY_MAP: u32 = 27;
pub const XENMEM_ACQUIRE_RESOURCE: u32 = 28;

// MemoryReservation::mem_flags.
/// Bits of a machine address the extents must fit into; 0 is any.
pub const XENMEMF_ADDRESS_BITS_MASK: u32 = 0xff;
/// NUMA node plus one, in bits 8..16.
pub const XENMEMF_NODE_SHIFT: u32 = 8;
pub const XENMEMF_POPULATE_ON_DEMAND: u32 = 1 << 16;
pub const XENMEMF_EXACT_NODE_REQUEST: u32 = 1 << 17;
/// The node is a virtual one.
pub const XENMEMF_VNODE: u32 = 1 << 18;

// AddToPhysmap::space.
pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;
pub const XENMAPSPACE_GMFN: u32 = 2;
pub const XENMAPSPACE_GMFN_RANGE: u32 = 3;
pub const XENMAPSPACE_GMFN_FOREIGN: u32 = 4;
pub const XENMAPSPACE_DEV_MMIO: u32 = 5;
/// In `AddToPhysmap::idx` with the grant table: a status frame.
pub const XENMAPIDX_GRANT_TABLE_STATUS: u64 = 0x8000_0000;

// MemAcquireResource::type_.
pub const XENMEM_RESOURCE_IOREQ_SERVER: u16 = 0;
pub const XENMEM_RESOURCE_GRANT_TABLE: u16 = 1;
pub const XENMEM_RESOURCE_VMTRACE_BUF: u16 = 2;
// MemAcquireResource::id of a grant table.
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS: u32 = 1;
// MemAcquireResource::frame of an ioreq server; the ioreq pages follow the buffered one.
pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ: u64 = 0;
pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ_BASE: u64 = 1;

// paging, access and sharing operations.
pub const XENMEM_PAGING_OP_NOMINATE: u8 = 0;
pub const XENMEM_PAGING_OP_EVICT: u8 = 1;
pub const XENMEM_PAGING_OP_PREP: u8 = 2;
pub const XENMEM_ACCESS_OP_SET_ACCESS: u8 = 0;
pub const XENMEM_ACCESS_OP_GET_ACCESS: u8 = 1;
pub const XENMEM_ACCESS_OP_SET_ACCESS_MULTI: u8 = 4;
pub const XENMEM_SHARING_OP_NOMINATE_GFN: u8 = 0;
pub const XENMEM_SHARING_OP_AUDIT: u8 = 7;

/// ReservedDeviceMemoryMap::flags: every device's, not only `pci`'s.
pub const XENMEM_RDM_ALL: u32 = 1;

// E820Entry::type_.
pub const E820_RAM: u32 = 1;
pub const E820_RESERVED: u32 = 2;
pub const E820_ACPI: u32 = 3;
pub const E820_NVS: u32 = 4;
pub const E820_UNUSABLE: u32 = 5;

abi_struct! {
    /// `struct xen_memory_reservation`: increase, decrease, populate; also half of an exchange, and
    /// claim_pages.
    pub struct MemoryReservation [32] {
        /// `xen_pfn_t[nr_extents]`: frames in (what to free, where to populate) or out.
        pub extent_start: GuestHandle,
        pub nr_extents: u64,
        /// log2 of an extent's frames.
        pub extent_order: u32,
        /// `XENMEMF_*`.
        pub mem_flags: u32,
        /// `DOMID_SELF` or, privileged, another.
        pub domid: u16,
        pub _pad0: [u16; 3],
    }

    /// `struct xen_memory_exchange`: gives up `in`, gets `out`.
    pub struct MemoryExchange [72] {
        pub in_: MemoryReservation,
        pub out: MemoryReservation,
        /// In: 0. Out: input extents done.
        pub nr_exchanged: u64,
    }

    /// `struct xen_memory_domain`: current, maximum reservation, maximum_gpfn.
    pub struct MemoryDomain [2] {
        pub domid: u16,
    }

    /// `struct xen_machphys_mfn_list`: which frames the machine-to-physical table is made of.
    pub struct MachphysMfnList [24] {
        /// Room in `extent_start`.
        pub max_extents: u32,
        pub _pad0: u32,
        /// `xen_pfn_t[max_extents]`, out: the first frame of each 2 MiB piece.
        pub extent_start: GuestHandle,
        /// Out.
        pub nr_extents: u32,
        pub _pad1: u32,
    }

    /// `struct xen_machphys_mapping`: where the machine-to-physical table is mapped (out).
    pub struct MachphysMapping [24] {
        pub v_start: u64,
        pub v_end: u64,
        /// Last machine frame with an entry.
        pub max_mfn: u64,
    }

    /// `struct xen_add_to_physmap`.
    pub struct AddToPhysmap [24] {
        pub domid: u16,
        /// Frames, for `XENMAPSPACE_GMFN_RANGE`.
        pub size: u16,
        /// `XENMAPSPACE_*`.
        pub space: u32,
        /// Index into the space.
        pub idx: u64,
        /// Guest frame where it appears.
        pub gpfn: u64,
    }

    /// `struct xen_add_to_physmap_batch`.
    pub struct AddToPhysmapBatch [32] {
        pub domid: u16,
        /// `XENMAPSPACE_*`.
        pub space: u16,
        /// Elements of the arrays.
        pub size: u16,
        /// `u.foreign_domid` with `XENMAPSPACE_GMFN_FOREIGN`, else 0.
        pub foreign_domid: u16,
        /// `xen_ulong_t[size]`, in.
        pub idxs: GuestHandle,
        /// `xen_pfn_t[size]`, in.
        pub gpfns: GuestHandle,
        /// `int[size]`, out: 0 or a negated errno.
        pub errs: GuestHandle,
    }

    /// `struct xen_remove_from_physmap`.
    pub struct RemoveFromPhysmap [16] {
        pub domid: u16,
        pub _pad0: [u16; 3],
        pub gpfn: u64,
    }

    /// `struct xen_memory_map`: an e820 map.
    pub struct MemoryMap [16] {
        /// In: room. Out: entries.
        pub nr_entries: u32,
        pub _pad0: u32,
        /// [`E820Entry`]`[nr_entries]`.
        pub buffer: GuestHandle,
    }

    /// `struct xen_foreign_memory_map`: sets a domain's e820 map.
    pub struct ForeignMemoryMap [24] {
        pub domid: u16,
        pub _pad0: [u16; 3],
        pub map: MemoryMap,
    }

    /// `struct xen_pod_target`: populate-on-demand, in frames.
    pub struct PodTarget [40] {
        /// In.
        pub target_pages: u64,
        /// Out.
        pub tot_pages: u64,
        /// Out.
        pub pod_cache_pages: u64,
        /// Out.
        pub pod_entries: u64,
        pub domid: u16,
        pub _pad0: [u16; 3],
    }

    /// `struct xen_mem_paging_op`.
    pub struct MemPagingOp [24] {
        /// `XENMEM_PAGING_OP_*`.
        pub op: u8,
        pub _pad0: u8,
        pub domain: u16,
        pub _pad1: u32,
        /// Page contents, for PREP.
        pub buffer: GuestHandle,
        pub gfn: u64,
    }

    /// `struct xen_mem_access_op`.
    pub struct MemAccessOp [32] {
        /// `XENMEM_ACCESS_OP_*`.
        pub op: u8,
        /// `xenmem_access_t`.
        pub access: u8,
        pub domid: u16,
        /// Frames for SET_ACCESS, elements for SET_ACCESS_MULTI.
        pub nr: u32,
        /// ~0 is the default access.
        pub pfn: u64,
        /// `uint64_t[nr]`.
        pub pfn_list: GuestHandle,
        /// `uint8_t[nr]`.
        pub access_list: GuestHandle,
    }

    /// `struct xen_mem_sharing_op`.
    pub struct MemSharingOp [48] {
        /// `XENMEM_SHARING_OP_*`.
        pub op: u8,
        pub _pad0: u8,
        pub domain: u16,
        pub _pad1: u32,
        /// The operation's union.
        pub u: [u64; 5],
    }

    /// `struct xen_reserved_device_memory`.
    pub struct ReservedDeviceMemory [16] {
        pub start_pfn: u64,
        pub nr_pages: u64,
    }

    /// `struct xen_reserved_device_memory_map`.
    pub struct ReservedDeviceMemoryMap [24] {
        /// `XENMEM_RDM_ALL`.
        pub flags: u32,
        /// In: room. Out: entries.
        pub nr_entries: u32,
        /// [`ReservedDeviceMemory`]`[nr_entries]`, out.
        pub buffer: GuestHandle,
        /// `dev.pci`.
        pub pci: PhysdevPciDevice,
        pub _pad0: u32,
    }

    /// `struct xen_mem_acquire_resource`: frames of another domain's resource.
    pub struct MemAcquireResource [32] {
        pub domid: u16,
        /// `XENMEM_RESOURCE_*`.
        pub type_: u16,
        /// Depends on the type.
        pub id: u32,
        /// In: frames wanted; 0 with a null list asks for the size. Out: the size.
        pub nr_frames: u32,
        pub pad: u32,
        /// First frame of the resource.
        pub frame: u64,
        /// `xen_pfn_t[nr_frames]`: out in a PV caller, in (where to map) in a translated one.
        pub frame_list: GuestHandle,
    }

    /// `struct xen_vmemrange`: a virtual node's memory, in bytes of guest-physical address.
    pub struct Vmemrange [24] {
        pub start: u64,
        pub end: u64,
        pub flags: u32,
        pub nid: u32,
    }

    /// `struct xen_vnuma_topology_info`: counts are room in, sizes out.
    pub struct VnumaTopologyInfo [40] {
        pub domid: u16,
        pub pad: u16,
        pub nr_vnodes: u32,
        pub nr_vcpus: u32,
        pub nr_vmemranges: u32,
        /// `unsigned int[nr_vnodes * nr_vnodes]`.
        pub vdistance: GuestHandle,
        /// `unsigned int[nr_vcpus]`.
        pub vcpu_to_vnode: GuestHandle,
        /// [`Vmemrange`]`[nr_vmemranges]`.
        pub vmemrange: GuestHandle,
    }
}

/// An entry of [`MemoryMap`], in the packed format of the BIOS's INT 15h, E820h.
#[repr(C, packed)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct E820Entry {
    /// Bytes.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// `E820_*`.
    pub type_: u32,
}

const _: () = assert!(size_of::<E820Entry>() == 20);

/// `XENMEMF_get_address_bits`.
pub const fn xenmemf_get_address_bits(mem_flags: u32) -> u32 {
    mem_flags & XENMEMF_ADDRESS_BITS_MASK
}

/// `XENMEMF_get_node`: the NUMA node, 255 for none.
pub const fn xenmemf_get_node(mem_flags: u32) -> u32 {
    (mem_flags >> XENMEMF_NODE_SHIFT).wrapping_sub(1) & 0xff
}

/// `XENMEMF_node`.
pub const fn xenmemf_node(node: u32) -> u32 {
    (node + 1) << XENMEMF_NODE_SHIFT
}
