//! `xen/domctl.h`: domctl, what a toolstack does to one domain.
//!
//! A call's argument is a [`DomctlHeader`] and, at [`DOMCTL_PAYLOAD_OFFSET`], the command's
//! structure inside a union of [`DOMCTL_PAYLOAD_SIZE`] bytes. The layouts are those of interface
//! 0x15; where 0x17 differs a structure ends in `V17`.

mod numbers;

pub use numbers::*;

use crate::GuestHandle;
use crate::arch_x86::ArchDomainconfig;
use crate::xen::{DomainHandle, XenctlBitmap};

abi_struct! {
    /// The part of `struct xen_domctl` before its union (tools → hypervisor and back).
    pub struct DomctlHeader [16] {
        /// `XEN_DOMCTL_*`.
        pub cmd: u32,
        pub interface_version: u32,
        /// In, and out of createdomain and getdomaininfo.
        pub domain: u16,
        pub _pad: [u16; 3],
    }

    /// `struct xen_domctl_createdomain` of interface 0x15.
    pub struct DomctlCreatedomain [64] {
        /// XSM label.
        pub ssidref: u32,
        /// UUID.
        pub handle: DomainHandle,
        /// `XEN_DOMCTL_CDF_*`.
        pub flags: u32,
        /// `XEN_DOMCTL_IOMMU_*`.
        pub iommu_opts: u32,
        pub max_vcpus: u32,
        /// Highest port number.
        pub max_evtchn_port: u32,
        /// Negative: the hypervisor's default.
        pub max_grant_frames: i32,
        /// Negative: the hypervisor's default.
        pub max_maptrack_frames: i32,
        /// `XEN_DOMCTL_GRANT_VERSION_MASK`.
        pub grant_opts: u32,
        /// Bytes of the trace buffer of each vCPU; 0 for none.
        pub vmtrace_size: u32,
        pub cpupool_id: u32,
        pub arch: ArchDomainconfig,
    }

    /// `struct xen_domctl_createdomain` of interface 0x17.
    pub struct DomctlCreatedomainV17 [68] {
        /// XSM label.
        pub ssidref: u32,
        /// UUID.
        pub handle: DomainHandle,
        /// `XEN_DOMCTL_CDF_*`.
        pub flags: u32,
        /// `XEN_DOMCTL_IOMMU_*`.
        pub iommu_opts: u32,
        pub max_vcpus: u32,
        /// Highest port number.
        pub max_evtchn_port: u32,
        /// Negative: the hypervisor's default.
        pub max_grant_frames: i32,
        /// Negative: the hypervisor's default.
        pub max_maptrack_frames: i32,
        /// `XEN_DOMCTL_GRANT_VERSION_MASK`.
        pub grant_opts: u32,
        /// `XEN_DOMCTL_ALTP2M_MODE_MASK`.
        pub altp2m_opts: u32,
        /// Bytes of the trace buffer of each vCPU; 0 for none.
        pub vmtrace_size: u32,
        pub cpupool_id: u32,
        pub arch: ArchDomainconfig,
    }

    /// `struct xen_domctl_getdomaininfo` (hypervisor → tools; also sysctl getdomaininfolist).
    pub struct DomctlGetdomaininfo [112] {
        pub domain: u16,
        pub pad1: u16,
        /// `XEN_DOMINF_*`.
        pub flags: u32,
        /// Frames the domain has.
        pub tot_pages: u64,
        /// Frames it may have.
        pub max_pages: u64,
        /// Frames claimed for it and not yet given.
        pub outstanding_pages: u64,
        /// Frames shared with others by deduplication.
        pub shr_pages: u64,
        /// Frames paged out.
        pub paged_pages: u64,
        /// Guest frame of shared_info.
        pub shared_info_frame: u64,
        /// Nanoseconds run, of all vCPUs.
        pub cpu_time: u64,
        pub nr_online_vcpus: u32,
        /// `XEN_INVALID_MAX_VCPU_ID` without vCPUs.
        pub max_vcpu_id: u32,
        pub ssidref: u32,
        pub handle: DomainHandle,
        pub cpupool: u32,
        /// Guest-physical address bits.
        pub gpaddr_bits: u8,
        pub pad2: [u8; 7],
        pub arch_config: ArchDomainconfig,
    }

    /// `struct xen_domctl_getpageframeinfo3`.
    pub struct DomctlGetpageframeinfo3 [16] {
        /// Elements.
        pub num: u64,
        /// `xen_pfn_t[num]`: frames in, `XEN_DOMCTL_PFINFO_*` out.
        pub array: GuestHandle,
    }

    /// `struct xen_domctl_nodeaffinity`.
    pub struct DomctlNodeaffinity [16] {
        pub nodemap: XenctlBitmap,
    }

    /// `struct xen_domctl_vcpuaffinity`.
    pub struct DomctlVcpuaffinity [40] {
        pub vcpu: u32,
        /// `XEN_VCPUAFFINITY_*`.
        pub flags: u32,
        /// Set: out is what is in force.
        pub cpumap_hard: XenctlBitmap,
        pub cpumap_soft: XenctlBitmap,
    }

    /// `struct xen_domctl_shadow_op_stats`.
    pub struct DomctlShadowOpStats [8] {
        pub fault_count: u32,
        pub dirty_count: u32,
    }

    /// `struct xen_domctl_shadow_op`.
    pub struct DomctlShadowOp [40] {
        /// `XEN_DOMCTL_SHADOW_OP_*`.
        pub op: u32,
        pub mode: u32,
        /// MiB, of the allocation operations.
        pub mb: u32,
        pub _pad0: u32,
        /// One bit a guest frame.
        pub dirty_bitmap: GuestHandle,
        /// Bits of room in, used out.
        pub pages: u64,
        /// Out.
        pub stats: DomctlShadowOpStats,
    }

    /// `struct xen_domctl_max_mem`.
    pub struct DomctlMaxMem [8] {
        /// KiB.
        pub max_memkb: u64,
    }

    /// `struct xen_domctl_vcpucontext`.
    pub struct DomctlVcpucontext [16] {
        pub vcpu: u32,
        pub _pad0: u32,
        /// [`crate::arch_x86::VcpuGuestContext`]; null resets the vCPU (set).
        pub ctxt: GuestHandle,
    }

    /// `struct xen_domctl_getvcpuinfo`: `vcpu` in, the rest out.
    pub struct DomctlGetvcpuinfo [24] {
        pub vcpu: u32,
        /// 0 or 1.
        pub online: u8,
        /// 0 or 1.
        pub blocked: u8,
        /// 0 or 1.
        pub running: u8,
        pub _pad0: u8,
        /// Nanoseconds run.
        pub cpu_time: u64,
        /// Physical CPU it runs or ran on.
        pub cpu: u32,
        pub _pad1: u32,
    }

    /// `struct xen_domctl_max_vcpus`.
    pub struct DomctlMaxVcpus [4] {
        pub max: u32,
    }

    /// `struct xen_domctl_sched_credit`.
    pub struct DomctlSchedCredit [4] {
        pub weight: u16,
        /// Per cent of one CPU; 0 for none.
        pub cap: u16,
    }

    /// `struct xen_domctl_sched_credit2`.
    pub struct DomctlSchedCredit2 [4] {
        pub weight: u16,
        /// Per cent of one CPU; 0 for none.
        pub cap: u16,
    }

    /// `struct xen_domctl_sched_rtds`.
    pub struct DomctlSchedRtds [12] {
        /// Microseconds.
        pub period: u32,
        /// Microseconds.
        pub budget: u32,
        /// `XEN_DOMCTL_SCHEDRT_EXTRA`.
        pub flags: u32,
    }

    /// `struct xen_domctl_schedparam_vcpu`.
    pub struct DomctlSchedparamVcpu [16] {
        /// The scheduler's structure.
        pub u: [u32; 3],
        pub vcpuid: u32,
    }

    /// `struct xen_domctl_scheduler_op`.
    pub struct DomctlSchedulerOp [24] {
        /// `XEN_SCHEDULER_*`.
        pub sched_id: u32,
        /// `XEN_DOMCTL_SCHEDOP_*`.
        pub cmd: u32,
        /// The scheduler's structure, or the handle of [`DomctlSchedparamVcpu`]s and their number.
        pub u: [u64; 2],
    }

    /// `struct xen_domctl_setdomainhandle`.
    pub struct DomctlSetdomainhandle [16] {
        pub handle: DomainHandle,
    }

    /// `struct xen_domctl_setdebugging`.
    pub struct DomctlSetdebugging [1] {
        pub enable: u8,
    }

    /// `struct xen_domctl_irq_permission`.
    pub struct DomctlIrqPermission [8] {
        pub pirq: u32,
        pub allow_access: u8,
        pub pad: [u8; 3],
    }

    /// `struct xen_domctl_iomem_permission`.
    pub struct DomctlIomemPermission [24] {
        pub first_mfn: u64,
        pub nr_mfns: u64,
        pub allow_access: u8,
        pub _pad0: [u8; 7],
    }

    /// `struct xen_domctl_ioport_permission`.
    pub struct DomctlIoportPermission [12] {
        pub first_port: u32,
        pub nr_ports: u32,
        pub allow_access: u8,
        pub _pad0: [u8; 3],
    }

    /// `struct xen_domctl_hypercall_init`: fills a guest's hypercall page.
    pub struct DomctlHypercallInit [8] {
        pub gmfn: u64,
    }

    /// `struct xen_domctl_settimeoffset`.
    pub struct DomctlSettimeoffset [8] {
        pub time_offset_seconds: i64,
    }

    /// `struct xen_domctl_tsc_info`.
    pub struct DomctlTscInfo [24] {
        /// `TSC_MODE_*`.
        pub tsc_mode: u32,
        pub gtsc_khz: u32,
        /// Counts migrations.
        pub incarnation: u32,
        pub pad: u32,
        /// Guest time since its creation.
        pub elapsed_nsec: u64,
    }

    /// `struct xen_domctl_hvmcontext`.
    pub struct DomctlHvmcontext [16] {
        /// Bytes: room in, used out.
        pub size: u32,
        pub _pad0: u32,
        /// Null only asks for the size.
        pub buffer: GuestHandle,
    }

    /// `struct xen_domctl_hvmcontext_partial`.
    pub struct DomctlHvmcontextPartial [24] {
        /// Record type.
        pub type_: u32,
        pub instance: u32,
        /// Bytes: room in, used out.
        pub bufsz: u64,
        pub buffer: GuestHandle,
    }

    /// `struct xen_domctl_address_size`.
    pub struct DomctlAddressSize [4] {
        /// Bits: 32 or 64.
        pub size: u32,
    }

    /// `struct xen_domctl_sendtrigger`.
    pub struct DomctlSendtrigger [8] {
        /// `XEN_DOMCTL_SENDTRIGGER_*`.
        pub trigger: u32,
        pub vcpu: u32,
    }

    /// `struct xen_domctl_assign_device`: assign, deassign, test.
    pub struct DomctlAssignDevice [24] {
        /// `XEN_DOMCTL_DEV_*`.
        pub dev: u32,
        /// `XEN_DOMCTL_DEV_RDM_RELAXED`.
        pub flags: u32,
        /// `u.pci.machine_sbdf`.
        pub machine_sbdf: u32,
        pub _pad0: u32,
        /// `u.dt.path`.
        pub dt_path: GuestHandle,
    }

    /// `struct xen_domctl_get_device_group`.
    pub struct DomctlGetDeviceGroup [24] {
        pub machine_sbdf: u32,
        /// Room.
        pub max_sdevs: u32,
        /// Out.
        pub num_sdevs: u32,
        pub _pad0: u32,
        /// `uint32_t[max_sdevs]`, out.
        pub sdev_array: GuestHandle,
    }

    /// `struct xen_domctl_bind_pt_irq`.
    pub struct DomctlBindPtIrq [24] {
        /// The PIRQ.
        pub machine_irq: u32,
        /// `PT_IRQ_TYPE_*`.
        pub irq_type: u32,
        /// The type's bytes: isa_irq; bus, device, intx; or gvec and, at 4, gflags.
        pub u: [u32; 2],
        /// `u.msi.gtable`.
        pub msi_gtable: u64,
    }

    /// `struct xen_domctl_memory_mapping`.
    pub struct DomctlMemoryMapping [32] {
        pub first_gfn: u64,
        pub first_mfn: u64,
        pub nr_mfns: u64,
        /// `DPCI_*`.
        pub add_mapping: u32,
        pub padding: u32,
    }

    /// `struct xen_domctl_ioport_mapping`.
    pub struct DomctlIoportMapping [16] {
        pub first_gport: u32,
        pub first_mport: u32,
        pub nr_ports: u32,
        /// `DPCI_*`.
        pub add_mapping: u32,
    }

    /// `struct xen_domctl_ext_vcpucontext`.
    pub struct DomctlExtVcpucontext [64] {
        pub vcpu: u32,
        /// Bytes used: in for set, out for get.
        pub size: u32,
        pub syscall32_callback_eip: u64,
        pub sysenter_callback_eip: u64,
        pub syscall32_callback_cs: u16,
        pub sysenter_callback_cs: u16,
        pub syscall32_disables_events: u8,
        pub sysenter_disables_events: u8,
        pub _pad0: u16,
        /// `vmce.caps` (older: mcg_cap).
        pub vmce_caps: u64,
        pub vmce_mci_ctl2_bank0: u64,
        pub vmce_mci_ctl2_bank1: u64,
        pub vmce_mcg_ext_ctl: u64,
    }

    /// `struct xen_domctl_set_target`: a stub domain's guest.
    pub struct DomctlSetTarget [2] {
        pub target: u16,
    }

    /// `struct xen_domctl_subscribe`.
    pub struct DomctlSubscribe [4] {
        /// Port that is notified at suspend.
        pub port: u32,
    }

    /// `struct xen_domctl_debug_op`.
    pub struct DomctlDebugOp [8] {
        /// `XEN_DOMCTL_DEBUG_OP_*`.
        pub op: u32,
        pub vcpu: u32,
    }

    /// `struct xen_domctl_vm_event_op`.
    pub struct DomctlVmEventOp [12] {
        /// `XEN_VM_EVENT_*`.
        pub op: u32,
        /// `XEN_DOMCTL_VM_EVENT_OP_*`.
        pub mode: u32,
        /// Out: `enable.port` or `version`.
        pub u: u32,
    }

    /// `struct xen_domctl_mem_sharing_op`.
    pub struct DomctlMemSharingOp [2] {
        pub op: u8,
        pub enable: u8,
    }

    /// `struct xen_domctl_cpu_policy`.
    pub struct DomctlCpuPolicy [40] {
        /// Room in, used out.
        pub nr_leaves: u32,
        /// Room in, used out.
        pub nr_msrs: u32,
        /// [`crate::cpu_policy::CpuidLeaf`]`[nr_leaves]`.
        pub leaves: GuestHandle,
        /// [`crate::cpu_policy::MsrEntry`]`[nr_msrs]`.
        pub msrs: GuestHandle,
        /// Out of set: what was wrong, or ~0.
        pub err_leaf: u32,
        pub err_subleaf: u32,
        pub err_msr: u32,
        pub _pad0: u32,
    }

    /// `struct xen_domctl_vcpuextstate`.
    pub struct DomctlVcpuextstate [32] {
        pub vcpu: u32,
        pub _pad0: u32,
        /// XCR0 and features the buffer covers.
        pub xfeature_mask: u64,
        /// Bytes.
        pub size: u64,
        /// xcr0, xcr0_accum, then an XSAVE image.
        pub buffer: GuestHandle,
    }

    /// `struct xen_domctl_vcpu_msr`.
    pub struct DomctlVcpuMsr [16] {
        pub index: u32,
        /// 0.
        pub reserved: u32,
        pub value: u64,
    }

    /// `struct xen_domctl_vcpu_msrs`.
    pub struct DomctlVcpuMsrs [16] {
        pub vcpu: u32,
        /// Room in, used out; a null list only asks.
        pub msr_count: u32,
        /// [`DomctlVcpuMsr`]`[msr_count]`.
        pub msrs: GuestHandle,
    }

    /// `struct xen_domctl_set_access_required`.
    pub struct DomctlSetAccessRequired [1] {
        pub access_required: u8,
    }

    /// `struct xen_domctl_audit_p2m` (out).
    pub struct DomctlAuditP2m [24] {
        pub orphans: u64,
        pub m2p_bad: u64,
        pub p2m_bad: u64,
    }

    /// `struct xen_domctl_set_virq_handler`: gives a global VIRQ to another domain.
    pub struct DomctlSetVirqHandler [4] {
        pub virq: u32,
    }

    /// `struct xen_domctl_set_broken_page_p2m`.
    pub struct DomctlSetBrokenPageP2m [8] {
        pub pfn: u64,
    }

    /// `struct xen_domctl_cacheflush`.
    pub struct DomctlCacheflush [16] {
        pub start_pfn: u64,
        pub nr_pfns: u64,
    }

    /// `struct xen_domctl_paging_mempool`.
    pub struct DomctlPagingMempool [8] {
        /// Bytes.
        pub size: u64,
    }

    /// `struct xen_domctl_vnuma`.
    pub struct DomctlVnuma [48] {
        pub nr_vnodes: u32,
        pub nr_vmemranges: u32,
        pub nr_vcpus: u32,
        pub pad: u32,
        /// `unsigned int[nr_vnodes * nr_vnodes]`.
        pub vdistance: GuestHandle,
        /// `unsigned int[nr_vcpus]`.
        pub vcpu_to_vnode: GuestHandle,
        /// `unsigned int[nr_vnodes]`.
        pub vnode_to_pnode: GuestHandle,
        /// [`crate::memory::Vmemrange`]`[nr_vmemranges]`.
        pub vmemrange: GuestHandle,
    }

    /// `struct xen_domctl_psr_cmt_op`.
    pub struct DomctlPsrCmtOp [8] {
        pub cmd: u32,
        pub data: u32,
    }

    /// `struct xen_domctl_psr_alloc`.
    pub struct DomctlPsrAlloc [16] {
        pub cmd: u32,
        pub target: u32,
        pub data: u64,
    }

    /// `struct xen_domctl_monitor_op`.
    pub struct DomctlMonitorOp [24] {
        pub op: u32,
        pub event: u32,
        pub u: [u64; 2],
    }

    /// `struct xen_domctl_vuart_op`.
    pub struct DomctlVuartOp [24] {
        pub cmd: u32,
        pub type_: u32,
        pub gfn: u64,
        pub console_domid: u16,
        pub pad: [u8; 2],
        pub evtchn: u32,
    }

    /// `struct xen_domctl_vmtrace_op`.
    pub struct DomctlVmtraceOp [24] {
        pub cmd: u32,
        pub vcpu: u32,
        pub key: u64,
        pub value: u64,
    }

    /// `struct xen_domctl_gdbsx_memio`.
    pub struct DomctlGdbsxMemio [40] {
        pub pgd3val: u64,
        /// Guest linear address.
        pub gva: u64,
        /// The tool's address.
        pub uva: u64,
        /// Bytes.
        pub len: u32,
        /// 1 writes.
        pub gwr: u8,
        pub _pad0: [u8; 3],
        /// Out: bytes not done.
        pub remain: u32,
        pub _pad1: u32,
    }

    /// `struct xen_domctl_gdbsx_pauseunp_vcpu`.
    pub struct DomctlGdbsxPauseunpVcpu [4] {
        pub vcpu: u32,
    }

    /// `struct xen_domctl_gdbsx_domstatus` (out).
    pub struct DomctlGdbsxDomstatus [12] {
        pub paused: u8,
        pub _pad0: [u8; 3],
        pub vcpu_id: u32,
        pub vcpu_ev: u32,
    }
}

impl From<DomctlCreatedomainV17> for DomctlCreatedomain {
    /// What both layouts share; `altp2m_opts` is the caller's to look at.
    fn from(new: DomctlCreatedomainV17) -> Self {
        Self {
            ssidref: new.ssidref,
            handle: new.handle,
            flags: new.flags,
            iommu_opts: new.iommu_opts,
            max_vcpus: new.max_vcpus,
            max_evtchn_port: new.max_evtchn_port,
            max_grant_frames: new.max_grant_frames,
            max_maptrack_frames: new.max_maptrack_frames,
            grant_opts: new.grant_opts,
            vmtrace_size: new.vmtrace_size,
            cpupool_id: new.cpupool_id,
            arch: new.arch,
        }
    }
}
