//! `xen/arch-x86/xen-mca.h`: the `mca` hypercall, machine checks as dom0 reads them.
//!
//! A call's argument is an [`McHeader`] and, at [`MC_PAYLOAD_OFFSET`], the command's structure.

use crate::GuestHandle;
use crate::xen::XenctlBitmap;

pub const XEN_MCA_INTERFACE_VERSION: u32 = 0x01ec_c003;

/// Bytes of `struct xen_mc`.
pub const MC_SIZE: usize = 152;
/// Where the command's structure begins.
pub const MC_PAYLOAD_OFFSET: usize = 8;

// Commands (`McHeader::cmd`).
pub const XEN_MC_FETCH: u32 = 1;
pub const XEN_MC_NOTIFYDOMAIN: u32 = 2;
pub const XEN_MC_PHYSCPUINFO: u32 = 3;
pub const XEN_MC_MSRINJECT: u32 = 4;
pub const XEN_MC_MCEINJECT: u32 = 5;
pub const XEN_MC_INJECT_V2: u32 = 6;

// McFetch::flags, in.
pub const XEN_MC_NONURGENT: u32 = 1;
pub const XEN_MC_URGENT: u32 = 2;
/// The record with this id has been consumed.
pub const XEN_MC_ACK: u32 = 4;
// McFetch::flags, out.
pub const XEN_MC_OK: u32 = 0;
pub const XEN_MC_FETCHFAILED: u32 = 1;
/// Nothing is logged.
pub const XEN_MC_NODATA: u32 = 2;
pub const XEN_MC_NOMATCH: u32 = 4;
pub const XEN_MC_CANNOTHANDLE: u32 = 8;
pub const XEN_MC_NOTDELIVERED: u32 = 0x10;
pub const XEN_MC_VCPUID_INVALID: u16 = 0xffff;

// McinfoCommon::type_.
pub const MC_TYPE_GLOBAL: u16 = 0;
pub const MC_TYPE_BANK: u16 = 1;
pub const MC_TYPE_EXTENDED: u16 = 2;
pub const MC_TYPE_RECOVERY: u16 = 3;

// McinfoGlobal::mc_flags.
pub const MC_FLAG_CORRECTABLE: u32 = 1 << 0;
pub const MC_FLAG_UNCORRECTABLE: u32 = 1 << 1;
pub const MC_FLAG_RECOVERABLE: u32 = 1 << 2;
pub const MC_FLAG_POLLED: u32 = 1 << 3;
pub const MC_FLAG_RESET: u32 = 1 << 4;
pub const MC_FLAG_CMCI: u32 = 1 << 5;
pub const MC_FLAG_MCE: u32 = 1 << 6;

abi_struct! {
    /// The part of `struct xen_mc` before its union (dom0 → hypervisor and back).
    pub struct McHeader [8] {
        /// `XEN_MC_*`.
        pub cmd: u32,
        /// `XEN_MCA_INTERFACE_VERSION`.
        pub interface_version: u32,
    }

    /// `struct xen_mc_fetch`.
    pub struct McFetch [24] {
        pub flags: u32,
        pub _pad0: u32,
        /// Out of a fetch, in of its acknowledgement.
        pub fetch_id: u64,
        /// [`McInfo`], out.
        pub data: GuestHandle,
    }

    /// `struct xen_mc_notifydomain`.
    pub struct McNotifydomain [8] {
        pub mc_domid: u16,
        pub mc_vcpuid: u16,
        pub flags: u32,
    }

    /// `struct xen_mc_physcpuinfo`.
    pub struct McPhyscpuinfo [16] {
        /// Room in, CPUs out.
        pub ncpus: u32,
        pub _pad0: u32,
        /// [`McinfoLogicalCpu`]`[ncpus]`; null only asks.
        pub info: GuestHandle,
    }

    /// `struct xen_mc_mceinject`.
    pub struct McMceinject [4] {
        pub mceinj_cpunr: u32,
    }

    /// `struct xen_mc_inject_v2`.
    pub struct McInjectV2 [24] {
        pub flags: u32,
        pub _pad0: u32,
        pub cpumap: XenctlBitmap,
    }

    /// `struct mcinfo_msr`.
    pub struct McinfoMsr [16] {
        pub reg: u64,
        pub value: u64,
    }

    /// `struct xen_mc_msrinject`.
    pub struct McMsrinject [144] {
        pub mcinj_cpunr: u32,
        pub mcinj_flags: u32,
        pub mcinj_count: u32,
        pub mcinj_domid: u16,
        pub _pad0: u16,
        pub mcinj_msr: [McinfoMsr; 8],
    }

    /// `struct mcinfo_common`: the head of every record of [`McInfo`].
    pub struct McinfoCommon [4] {
        /// `MC_TYPE_*`.
        pub type_: u16,
        /// Bytes of the record.
        pub size: u16,
    }

    /// `struct mcinfo_global`.
    pub struct McinfoGlobal [32] {
        pub common: McinfoCommon,
        pub mc_domid: u16,
        pub mc_vcpuid: u16,
        pub mc_socketid: u32,
        pub mc_coreid: u16,
        pub mc_core_threadid: u16,
        pub mc_apicid: u32,
        /// `MC_FLAG_*`.
        pub mc_flags: u32,
        /// MCG_STATUS.
        pub mc_gstatus: u64,
    }

    /// `struct mcinfo_bank`.
    pub struct McinfoBank [48] {
        pub common: McinfoCommon,
        pub mc_bank: u16,
        pub mc_domid: u16,
        /// MCi_STATUS.
        pub mc_status: u64,
        /// MCi_ADDR.
        pub mc_addr: u64,
        /// MCi_MISC.
        pub mc_misc: u64,
        pub mc_ctrl2: u64,
        pub mc_tsc: u64,
    }

    /// `struct mc_info`.
    pub struct McInfo [768] {
        pub mi_nentries: u32,
        pub flags: u32,
        /// Records.
        pub mi_data: [u64; 95],
    }

    /// `struct mcinfo_logical_cpu`.
    pub struct McinfoLogicalCpu [304] {
        pub mc_cpunr: u32,
        pub mc_chipid: u32,
        pub mc_coreid: u16,
        pub mc_threadid: u16,
        pub mc_apicid: u32,
        pub mc_clusterid: u32,
        pub mc_ncores: u32,
        pub mc_ncores_active: u32,
        pub mc_nthreads: u32,
        pub mc_cpuid_level: i32,
        pub mc_family: u32,
        pub mc_vendor: u32,
        pub mc_model: u32,
        pub mc_step: u32,
        pub mc_vendorid: [u8; 16],
        pub mc_brandid: [u8; 64],
        /// `MC_CAPS_*`: 1d, e1d, thermal, Linux's, 1c, VIA's, e1c.
        pub mc_cpu_caps: [u32; 7],
        /// KiB.
        pub mc_cache_size: u32,
        pub mc_cache_alignment: u32,
        pub mc_nmsrvals: i32,
        pub _pad0: u32,
        pub mc_msrvalues: [McinfoMsr; 8],
    }
}
