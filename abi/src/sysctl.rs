//! `xen/sysctl.h`: sysctl, what a toolstack asks of the whole machine.
//!
//! A call's argument is a [`SysctlHeader`] and, at [`SYSCTL_PAYLOAD_OFFSET`], the command's
//! structure inside a union of [`SYSCTL_PAYLOAD_SIZE`] bytes.

use crate::GuestHandle;
use crate::xen::XenctlBitmap;

/// Interface version of the tools of Xen 4.17 to 4.20.
pub const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x15;

/// Bytes of `struct xen_sysctl`.
pub const SYSCTL_SIZE: usize = 136;
/// Where the command's structure begins.
pub const SYSCTL_PAYLOAD_OFFSET: usize = 8;
/// Bytes of the union.
pub const SYSCTL_PAYLOAD_SIZE: usize = 128;

// Commands (`SysctlHeader::cmd`).
pub const XEN_SYSCTL_READCONSOLE: u32 = 1;
pub const XEN_SYSCTL_TBUF_OP: u32 = 2;
pub const XEN_SYSCTL_PHYSINFO: u32 = 3;
pub const XEN_SYSCTL_SCHED_ID: u32 = 4;
pub const XEN_SYSCTL_PERFC_OP: u32 = 5;
pub const XEN_SYSCTL_GETDOMAININFOLIST: u32 = 6;
pub const XEN_SYSCTL_DEBUG_KEYS: u32 = 7;
pub const XEN_SYSCTL_GETCPUINFO: u32 = 8;
pub const XEN_SYSCTL_AVAILHEAP: u32 = 9;
pub const XEN_SYSCTL_GET_PMSTAT: u32 = 10;
pub const XEN_SYSCTL_CPU_HOTPLUG: u32 = 11;
pub const XEN_SYSCTL_PM_OP: u32 = 12;
pub const XEN_SYSCTL_PAGE_OFFLINE_OP: u32 = 14;
pub const XEN_SYSCTL_LOCKPROF_OP: u32 = 15;
pub const XEN_SYSCTL_CPUTOPOINFO: u32 = 16;
pub const XEN_SYSCTL_NUMAINFO: u32 = 17;
pub const XEN_SYSCTL_CPUPOOL_OP: u32 = 18;
pub const XEN_SYSCTL_SCHEDULER_OP: u32 = 19;
pub const XEN_SYSCTL_COVERAGE_OP: u32 = 20;
pub const XEN_SYSCTL_PSR_CMT_OP: u32 = 21;
pub const XEN_SYSCTL_PCITOPOINFO: u32 = 22;
pub const XEN_SYSCTL_PSR_ALLOC: u32 = 23;
pub const XEN_SYSCTL_GET_CPU_LEVELLING_CAPS: u32 = 25;
pub const XEN_SYSCTL_GET_CPU_FEATURESET: u32 = 26;
pub const XEN_SYSCTL_LIVEPATCH_OP: u32 = 27;
pub const XEN_SYSCTL_GET_CPU_POLICY: u32 = 29;

// SysctlPhysinfo::capabilities.
pub const XEN_SYSCTL_PHYSCAP_HVM: u32 = 1 << 0;
pub const XEN_SYSCTL_PHYSCAP_PV: u32 = 1 << 1;
/// There is an IOMMU.
pub const XEN_SYSCTL_PHYSCAP_DIRECTIO: u32 = 1 << 2;
pub const XEN_SYSCTL_PHYSCAP_HAP: u32 = 1 << 3;
pub const XEN_SYSCTL_PHYSCAP_SHADOW: u32 = 1 << 4;
pub const XEN_SYSCTL_PHYSCAP_IOMMU_HAP_PT_SHARE: u32 = 1 << 5;
pub const XEN_SYSCTL_PHYSCAP_VMTRACE: u32 = 1 << 6;
pub const XEN_SYSCTL_PHYSCAP_VPMU: u32 = 1 << 7;
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V1: u32 = 1 << 8;
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V2: u32 = 1 << 9;

// SysctlTbufOp::cmd.
pub const XEN_SYSCTL_TBUFOP_GET_INFO: u32 = 0;
pub const XEN_SYSCTL_TBUFOP_SET_CPU_MASK: u32 = 1;
pub const XEN_SYSCTL_TBUFOP_SET_EVT_MASK: u32 = 2;
pub const XEN_SYSCTL_TBUFOP_SET_SIZE: u32 = 3;
pub const XEN_SYSCTL_TBUFOP_ENABLE: u32 = 4;
pub const XEN_SYSCTL_TBUFOP_DISABLE: u32 = 5;

pub const XEN_SYSCTL_PERFCOP_RESET: u32 = 1;
pub const XEN_SYSCTL_PERFCOP_QUERY: u32 = 2;

// SysctlGetPmstat::type_.
pub const PMSTAT_CATEGORY_MASK: u32 = 0xf0;
pub const PMSTAT_PX: u32 = 0x10;
pub const PMSTAT_CX: u32 = 0x20;
pub const PMSTAT_GET_MAX_PX: u32 = PMSTAT_PX | 1;
pub const PMSTAT_GET_PXSTAT: u32 = PMSTAT_PX | 2;
pub const PMSTAT_RESET_PXSTAT: u32 = PMSTAT_PX | 3;
pub const PMSTAT_GET_MAX_CX: u32 = PMSTAT_CX | 1;
pub const PMSTAT_GET_CXSTAT: u32 = PMSTAT_CX | 2;
pub const PMSTAT_RESET_CXSTAT: u32 = PMSTAT_CX | 3;

// SysctlCpuHotplug::op.
pub const XEN_SYSCTL_CPU_HOTPLUG_ONLINE: u32 = 0;
pub const XEN_SYSCTL_CPU_HOTPLUG_OFFLINE: u32 = 1;
pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE: u32 = 2;
pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE: u32 = 3;

// SysctlPmOp::cmd.
pub const GET_CPUFREQ_PARA: u32 = 0x11;
pub const SET_CPUFREQ_GOV: u32 = 0x12;
pub const SET_CPUFREQ_PARA: u32 = 0x13;
pub const GET_CPUFREQ_AVGFREQ: u32 = 0x14;
pub const XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT: u32 = 0x21;
pub const XEN_SYSCTL_PM_OP_GET_MAX_CSTATE: u32 = 0x22;
pub const XEN_SYSCTL_PM_OP_SET_MAX_CSTATE: u32 = 0x23;
/// No limit on C-states.
pub const XEN_SYSCTL_CX_UNLIMITED: u32 = 0xffff_ffff;
pub const XEN_SYSCTL_PM_OP_ENABLE_TURBO: u32 = 0x26;
pub const XEN_SYSCTL_PM_OP_DISABLE_TURBO: u32 = 0x27;

// SysctlPageOfflineOp::cmd.
pub const SYSCTL_PAGE_OFFLINE: u32 = 1;
pub const SYSCTL_PAGE_ONLINE: u32 = 2;
pub const SYSCTL_QUERY_PAGE_OFFLINE: u32 = 3;

// Topology: no such thing.
pub const XEN_INVALID_CORE_ID: u32 = !0;
pub const XEN_INVALID_SOCKET_ID: u32 = !0;
pub const XEN_INVALID_NODE_ID: u32 = !0;
pub const XEN_INVALID_DEV: u32 = XEN_INVALID_NODE_ID - 1;
pub const XEN_INVALID_MEM_SZ: u64 = 0xffff_ffff;
pub const XEN_INVALID_NODE_DIST: u32 = !0;

// SysctlCpupoolOp::op.
pub const XEN_SYSCTL_CPUPOOL_OP_CREATE: u32 = 1;
pub const XEN_SYSCTL_CPUPOOL_OP_DESTROY: u32 = 2;
/// The pool with the given or the next higher id.
pub const XEN_SYSCTL_CPUPOOL_OP_INFO: u32 = 3;
pub const XEN_SYSCTL_CPUPOOL_OP_ADDCPU: u32 = 4;
pub const XEN_SYSCTL_CPUPOOL_OP_RMCPU: u32 = 5;
pub const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: u32 = 6;
/// CPUs of no pool.
pub const XEN_SYSCTL_CPUPOOL_OP_FREEINFO: u32 = 7;
/// Any id, any CPU.
pub const XEN_SYSCTL_CPUPOOL_PAR_ANY: u32 = 0xffff_ffff;

// SysctlSchedulerOp::cmd.
pub const XEN_SYSCTL_SCHEDOP_PUTINFO: u32 = 0;
pub const XEN_SYSCTL_SCHEDOP_GETINFO: u32 = 1;
/// Microseconds.
pub const XEN_SYSCTL_SCHED_RATELIMIT_MAX: u32 = 500_000;
/// Microseconds.
pub const XEN_SYSCTL_SCHED_RATELIMIT_MIN: u32 = 100;
/// Milliseconds.
pub const XEN_SYSCTL_CSCHED_TSLICE_MAX: u32 = 1000;
/// Milliseconds.
pub const XEN_SYSCTL_CSCHED_TSLICE_MIN: u32 = 1;
/// Microseconds.
pub const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US: u32 = 100_000;

pub const XEN_SYSCTL_PSR_CMT_GET_TOTAL_RMID: u32 = 0;
pub const XEN_SYSCTL_PSR_CMT_ENABLED: u32 = 3;
pub const XEN_SYSCTL_PSR_GET_L3_INFO: u32 = 0;
pub const XEN_SYSCTL_PSR_GET_L2_INFO: u32 = 1;
pub const XEN_SYSCTL_PSR_GET_MBA_INFO: u32 = 2;

// SysctlCpuLevellingCaps::caps.
/// CPUID of a PV guest's user mode can be made to fault.
pub const XEN_SYSCTL_CPU_LEVELCAP_FAULTING: u32 = 1 << 0;
pub const XEN_SYSCTL_CPU_LEVELCAP_ECX: u32 = 1 << 1;
pub const XEN_SYSCTL_CPU_LEVELCAP_EDX: u32 = 1 << 2;
pub const XEN_SYSCTL_CPU_LEVELCAP_EXTD_ECX: u32 = 1 << 3;
pub const XEN_SYSCTL_CPU_LEVELCAP_EXTD_EDX: u32 = 1 << 4;
pub const XEN_SYSCTL_CPU_LEVELCAP_XSAVE_EAX: u32 = 1 << 5;
pub const XEN_SYSCTL_CPU_LEVELCAP_THERMAL_ECX: u32 = 1 << 6;
pub const XEN_SYSCTL_CPU_LEVELCAP_L7S0_EAX: u32 = 1 << 7;
pub const XEN_SYSCTL_CPU_LEVELCAP_L7S0_EBX: u32 = 1 << 8;

// SysctlCpuFeatureset::index.
pub const XEN_SYSCTL_CPU_FEATURESET_RAW: u32 = 0;
pub const XEN_SYSCTL_CPU_FEATURESET_HOST: u32 = 1;
pub const XEN_SYSCTL_CPU_FEATURESET_PV: u32 = 2;
pub const XEN_SYSCTL_CPU_FEATURESET_HVM: u32 = 3;
pub const XEN_SYSCTL_CPU_FEATURESET_PV_MAX: u32 = 4;
pub const XEN_SYSCTL_CPU_FEATURESET_HVM_MAX: u32 = 5;

// SysctlCpuPolicy::index.
pub const XEN_SYSCTL_CPU_POLICY_RAW: u32 = 0;
pub const XEN_SYSCTL_CPU_POLICY_HOST: u32 = 1;
pub const XEN_SYSCTL_CPU_POLICY_PV_MAX: u32 = 2;
pub const XEN_SYSCTL_CPU_POLICY_HVM_MAX: u32 = 3;
pub const XEN_SYSCTL_CPU_POLICY_PV_DEFAULT: u32 = 4;
pub const XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT: u32 = 5;

// SysctlLivepatchOp::cmd.
pub const XEN_SYSCTL_LIVEPATCH_UPLOAD: u32 = 0;
pub const XEN_SYSCTL_LIVEPATCH_GET: u32 = 1;
pub const XEN_SYSCTL_LIVEPATCH_LIST: u32 = 2;
pub const XEN_SYSCTL_LIVEPATCH_ACTION: u32 = 3;

abi_struct! {
    /// The part of `struct xen_sysctl` before its union (tools → hypervisor).
    pub struct SysctlHeader [8] {
        /// `XEN_SYSCTL_*`.
        pub cmd: u32,
        pub interface_version: u32,
    }

    /// `struct xen_sysctl_readconsole`: the hypervisor's console ring.
    pub struct SysctlReadconsole [24] {
        /// 1 empties the ring afterwards.
        pub clear: u8,
        /// 1 begins at `index`.
        pub incremental: u8,
        pub pad0: u8,
        pub pad1: u8,
        /// Bytes ever written: where to begin in, where it ended out.
        pub index: u32,
        /// `char[count]`.
        pub buffer: GuestHandle,
        /// Bytes: room in, copied out.
        pub count: u32,
        pub _pad0: u32,
    }

    /// `struct xen_sysctl_tbuf_op`.
    pub struct SysctlTbufOp [48] {
        /// `XEN_SYSCTL_TBUFOP_*`.
        pub cmd: u32,
        pub _pad0: u32,
        pub cpu_mask: XenctlBitmap,
        pub evt_mask: u32,
        pub _pad1: u32,
        /// Out.
        pub buffer_mfn: u64,
        /// Pages in, bytes out.
        pub size: u32,
        pub _pad2: u32,
    }

    /// `struct xen_sysctl_physinfo` (hypervisor → tools).
    pub struct SysctlPhysinfo [112] {
        pub threads_per_core: u32,
        pub cores_per_socket: u32,
        /// Online CPUs.
        pub nr_cpus: u32,
        /// Highest possible CPU.
        pub max_cpu_id: u32,
        /// Online NUMA nodes.
        pub nr_nodes: u32,
        pub max_node_id: u32,
        pub cpu_khz: u32,
        /// `XEN_SYSCTL_PHYSCAP_*`.
        pub capabilities: u32,
        pub arch_capabilities: u32,
        pub pad: u32,
        /// Frames.
        pub total_pages: u64,
        /// Frames, `scrub_pages` not included.
        pub free_pages: u64,
        /// Frames that wait to be scrubbed.
        pub scrub_pages: u64,
        /// Frames claimed and not given yet.
        pub outstanding_pages: u64,
        /// Highest machine frame.
        pub max_mfn: u64,
        /// Feature words in the order of [`crate::cpufeatureset`]'s first eight.
        pub hw_cap: [u32; 8],
    }

    /// `struct xen_sysctl_sched_id` (hypervisor → tools).
    pub struct SysctlSchedId [4] {
        /// `XEN_SCHEDULER_*`.
        pub sched_id: u32,
    }

    /// `struct xen_sysctl_perfc_desc`.
    pub struct SysctlPerfcDesc [84] {
        pub name: [u8; 80],
        pub nr_vals: u32,
    }

    /// `struct xen_sysctl_perfc_op`.
    pub struct SysctlPerfcOp [32] {
        /// `XEN_SYSCTL_PERFCOP_*`.
        pub cmd: u32,
        /// Out.
        pub nr_counters: u32,
        /// Out.
        pub nr_vals: u32,
        pub _pad0: u32,
        /// [`SysctlPerfcDesc`]`[nr_counters]`, or null.
        pub desc: GuestHandle,
        /// `uint32_t[nr_vals]`, or null.
        pub val: GuestHandle,
    }

    /// `struct xen_sysctl_getdomaininfolist`.
    pub struct SysctlGetdomaininfolist [24] {
        pub first_domain: u16,
        pub _pad0: u16,
        /// Room.
        pub max_domains: u32,
        /// [`crate::domctl::DomctlGetdomaininfo`]`[max_domains]`, out.
        pub buffer: GuestHandle,
        /// Out.
        pub num_domains: u32,
        pub _pad1: u32,
    }

    /// `struct xen_sysctl_debug_keys`.
    pub struct SysctlDebugKeys [16] {
        /// `char[nr_keys]`.
        pub keys: GuestHandle,
        pub nr_keys: u32,
        pub _pad0: u32,
    }

    /// `struct xen_sysctl_cpuinfo`.
    pub struct SysctlCpuinfo [8] {
        /// Nanoseconds.
        pub idletime: u64,
    }

    /// `struct xen_sysctl_getcpuinfo`.
    pub struct SysctlGetcpuinfo [24] {
        /// Room.
        pub max_cpus: u32,
        pub _pad0: u32,
        /// [`SysctlCpuinfo`]`[max_cpus]`, out.
        pub info: GuestHandle,
        /// Out.
        pub nr_cpus: u32,
        pub _pad1: u32,
    }

    /// `struct xen_sysctl_availheap`.
    pub struct SysctlAvailheap [24] {
        /// Smallest address width counted.
        pub min_bitwidth: u32,
        /// Largest; 0 for none.
        pub max_bitwidth: u32,
        /// -1 for all.
        pub node: i32,
        pub _pad0: u32,
        /// Out.
        pub avail_bytes: u64,
    }

    /// `struct pm_px_stat`.
    pub struct PmPxStat [24] {
        pub total: u8,
        pub usable: u8,
        pub last: u8,
        pub cur: u8,
        pub _pad0: u32,
        pub trans_pt: GuestHandle,
        /// [`PmPxVal`]`[]`.
        pub pt: GuestHandle,
    }

    /// `struct pm_px_val`.
    pub struct PmPxVal [24] {
        /// MHz.
        pub freq: u64,
        /// Nanoseconds.
        pub residency: u64,
        /// Transitions.
        pub count: u64,
    }

    /// `struct pm_cx_stat`.
    pub struct PmCxStat [56] {
        /// Entries in `triggers` and `residencies`, C0 included.
        pub nr: u32,
        /// Last state.
        pub last: u32,
        /// Nanoseconds.
        pub idle_time: u64,
        pub triggers: GuestHandle,
        pub residencies: GuestHandle,
        /// Room in, used out.
        pub nr_pc: u32,
        /// Room in, used out.
        pub nr_cc: u32,
        pub pc: GuestHandle,
        pub cc: GuestHandle,
    }

    /// `struct xen_sysctl_get_pmstat`.
    pub struct SysctlGetPmstat [64] {
        /// `PMSTAT_*`.
        pub type_: u32,
        pub cpuid: u32,
        /// [`PmPxStat`] or [`PmCxStat`]; the count itself for GET_MAX.
        pub u: [u64; 7],
    }

    /// `struct xen_sysctl_cpu_hotplug`.
    pub struct SysctlCpuHotplug [8] {
        pub cpu: u32,
        /// `XEN_SYSCTL_CPU_HOTPLUG_*`.
        pub op: u32,
    }

    /// `struct xen_sysctl_pm_op`: the head; the union begins at 8.
    pub struct SysctlPmOp [128] {
        pub cmd: u32,
        pub cpuid: u32,
        pub u: [u64; 15],
    }

    /// `struct xen_sysctl_page_offline_op`.
    pub struct SysctlPageOfflineOp [24] {
        /// `SYSCTL_*PAGE_*`.
        pub cmd: u32,
        /// First frame.
        pub start: u32,
        /// Last frame.
        pub end: u32,
        pub _pad0: u32,
        /// `uint32_t[end - start + 1]`, out.
        pub status: GuestHandle,
    }

    /// `struct xen_sysctl_lockprof_op`.
    pub struct SysctlLockprofOp [32] {
        pub cmd: u32,
        pub max_elem: u32,
        pub nr_elem: u32,
        pub _pad0: u32,
        pub time: u64,
        pub data: GuestHandle,
    }

    /// `struct xen_sysctl_cputopo`.
    pub struct SysctlCputopo [12] {
        pub core: u32,
        pub socket: u32,
        pub node: u32,
    }

    /// `struct xen_sysctl_cputopoinfo`.
    pub struct SysctlCputopoinfo [16] {
        /// Room in, CPUs out.
        pub num_cpus: u32,
        pub _pad0: u32,
        /// [`SysctlCputopo`]`[num_cpus]`; null only asks.
        pub cputopo: GuestHandle,
    }

    /// `struct xen_sysctl_pcitopoinfo`.
    pub struct SysctlPcitopoinfo [24] {
        pub num_devs: u32,
        pub _pad0: u32,
        /// [`crate::physdev::PhysdevPciDevice`]`[num_devs]`, in.
        pub devs: GuestHandle,
        /// `uint32_t[num_devs]`, out.
        pub nodes: GuestHandle,
    }

    /// `struct xen_sysctl_meminfo`: a NUMA node.
    pub struct SysctlMeminfo [16] {
        /// Bytes.
        pub memsize: u64,
        /// Bytes.
        pub memfree: u64,
    }

    /// `struct xen_sysctl_numainfo`.
    pub struct SysctlNumainfo [24] {
        /// Room in, nodes out.
        pub num_nodes: u32,
        pub _pad0: u32,
        /// [`SysctlMeminfo`]`[num_nodes]`; null only asks.
        pub meminfo: GuestHandle,
        /// `uint32_t[num_nodes * num_nodes]`, or null.
        pub distance: GuestHandle,
    }

    /// `struct xen_sysctl_cpupool_op`.
    pub struct SysctlCpupoolOp [40] {
        /// `XEN_SYSCTL_CPUPOOL_OP_*`.
        pub op: u32,
        /// In; out of create and info.
        pub cpupool_id: u32,
        /// In of create, out of info.
        pub sched_id: u32,
        /// In of movedomain.
        pub domid: u32,
        /// In of addcpu, rmcpu.
        pub cpu: u32,
        /// Out of info.
        pub n_dom: u32,
        /// Out of info, freeinfo.
        pub cpumap: XenctlBitmap,
    }

    /// `struct xen_sysctl_credit_schedule`.
    pub struct SysctlCreditSchedule [12] {
        pub tslice_ms: u32,
        pub ratelimit_us: u32,
        pub vcpu_migr_delay_us: u32,
    }

    /// `struct xen_sysctl_credit2_schedule`.
    pub struct SysctlCredit2Schedule [4] {
        pub ratelimit_us: u32,
    }

    /// `struct xen_sysctl_scheduler_op`.
    pub struct SysctlSchedulerOp [32] {
        pub cpupool_id: u32,
        /// `XEN_SCHEDULER_*`.
        pub sched_id: u32,
        /// `XEN_SYSCTL_SCHEDOP_*`.
        pub cmd: u32,
        pub _pad0: u32,
        /// The scheduler's structure.
        pub u: [u64; 2],
    }

    /// `struct xen_sysctl_coverage_op`.
    pub struct SysctlCoverageOp [16] {
        pub cmd: u32,
        pub size: u32,
        pub buffer: GuestHandle,
    }

    /// `struct xen_sysctl_psr_cmt_op`.
    pub struct SysctlPsrCmtOp [16] {
        pub cmd: u32,
        pub flags: u32,
        pub u: u64,
    }

    /// `struct xen_sysctl_psr_alloc`.
    pub struct SysctlPsrAlloc [20] {
        pub cmd: u32,
        /// Socket.
        pub target: u32,
        pub u: [u32; 3],
    }

    /// `struct xen_sysctl_cpu_levelling_caps` (out).
    pub struct SysctlCpuLevellingCaps [4] {
        /// `XEN_SYSCTL_CPU_LEVELCAP_*`.
        pub caps: u32,
    }

    /// `struct xen_sysctl_cpu_featureset`.
    pub struct SysctlCpuFeatureset [16] {
        /// `XEN_SYSCTL_CPU_FEATURESET_*`.
        pub index: u32,
        /// Words: room in, used out.
        pub nr_features: u32,
        /// `uint32_t[nr_features]`; null only asks. See [`crate::cpufeatureset`].
        pub features: GuestHandle,
    }

    /// `struct xen_sysctl_cpu_policy`.
    pub struct SysctlCpuPolicy [32] {
        /// `XEN_SYSCTL_CPU_POLICY_*`.
        pub index: u32,
        /// Room in, used out.
        pub nr_leaves: u32,
        /// Room in, used out.
        pub nr_msrs: u32,
        pub _rsvd: u32,
        /// [`crate::cpu_policy::CpuidLeaf`]`[nr_leaves]`; null only asks.
        pub leaves: GuestHandle,
        /// [`crate::cpu_policy::MsrEntry`]`[nr_msrs]`; null only asks.
        pub msrs: GuestHandle,
    }

    /// `struct xen_livepatch_name`.
    pub struct LivepatchName [16] {
        pub name: GuestHandle,
        /// Bytes, the terminating zero included.
        pub size: u16,
        pub pad: [u16; 3],
    }

    /// `struct xen_sysctl_livepatch_op`: the union begins at 8.
    pub struct SysctlLivepatchOp [72] {
        /// `XEN_SYSCTL_LIVEPATCH_*`.
        pub cmd: u32,
        pub pad: u32,
        pub u: [u64; 8],
    }
}
