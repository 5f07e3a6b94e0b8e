//! Numbers of `xen/domctl.h`: interface versions, commands, and what stands in the structures' fields.

/// Interface version of Xen 4.17's tools.
pub const XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x15;
/// Interface version of Xen 4.20's tools.
pub const XEN_DOMCTL_INTERFACE_VERSION_V17: u32 = 0x17;

/// Bytes of `struct xen_domctl`.
pub const DOMCTL_SIZE: usize = 144;
/// Where the command's structure begins.
pub const DOMCTL_PAYLOAD_OFFSET: usize = 16;
/// Bytes of the union.
pub const DOMCTL_PAYLOAD_SIZE: usize = 128;

// Commands (`DomctlHeader::cmd`).
pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1;
pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2;
pub const XEN_DOMCTL_PAUSEDOMAIN: u32 = 3;
pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4;
pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5;
pub const XEN_DOMCTL_SETVCPUAFFINITY: u32 = 9;
pub const XEN_DOMCTL_SHADOW_OP: u32 = 10;
pub const XEN_DOMCTL_MAX_MEM: u32 = 11;
pub const XEN_DOMCTL_SETVCPUCONTEXT: u32 = 12;
pub const XEN_DOMCTL_GETVCPUCONTEXT: u32 = 13;
pub const XEN_DOMCTL_GETVCPUINFO: u32 = 14;
pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15;
pub const XEN_DOMCTL_SCHEDULER_OP: u32 = 16;
pub const XEN_DOMCTL_SETDOMAINHANDLE: u32 = 17;
pub const XEN_DOMCTL_SETDEBUGGING: u32 = 18;
pub const XEN_DOMCTL_IRQ_PERMISSION: u32 = 19;
pub const XEN_DOMCTL_IOMEM_PERMISSION: u32 = 20;
pub const XEN_DOMCTL_IOPORT_PERMISSION: u32 = 21;
pub const XEN_DOMCTL_HYPERCALL_INIT: u32 = 22;
pub const XEN_DOMCTL_SETTIMEOFFSET: u32 = 24;
pub const XEN_DOMCTL_GETVCPUAFFINITY: u32 = 25;
pub const XEN_DOMCTL_RESUMEDOMAIN: u32 = 27;
pub const XEN_DOMCTL_SENDTRIGGER: u32 = 28;
pub const XEN_DOMCTL_SUBSCRIBE: u32 = 29;
pub const XEN_DOMCTL_GETHVMCONTEXT: u32 = 33;
pub const XEN_DOMCTL_SETHVMCONTEXT: u32 = 34;
pub const XEN_DOMCTL_SET_ADDRESS_SIZE: u32 = 35;
pub const XEN_DOMCTL_GET_ADDRESS_SIZE: u32 = 36;
pub const XEN_DOMCTL_ASSIGN_DEVICE: u32 = 37;
pub const XEN_DOMCTL_BIND_PT_IRQ: u32 = 38;
pub const XEN_DOMCTL_MEMORY_MAPPING: u32 = 39;
pub const XEN_DOMCTL_IOPORT_MAPPING: u32 = 40;
pub const XEN_DOMCTL_SET_EXT_VCPUCONTEXT: u32 = 42;
pub const XEN_DOMCTL_GET_EXT_VCPUCONTEXT: u32 = 43;
pub const XEN_DOMCTL_TEST_ASSIGN_DEVICE: u32 = 45;
pub const XEN_DOMCTL_SET_TARGET: u32 = 46;
pub const XEN_DOMCTL_DEASSIGN_DEVICE: u32 = 47;
pub const XEN_DOMCTL_UNBIND_PT_IRQ: u32 = 48;
pub const XEN_DOMCTL_GET_DEVICE_GROUP: u32 = 50;
pub const XEN_DOMCTL_DEBUG_OP: u32 = 54;
pub const XEN_DOMCTL_GETHVMCONTEXT_PARTIAL: u32 = 55;
pub const XEN_DOMCTL_VM_EVENT_OP: u32 = 56;
pub const XEN_DOMCTL_MEM_SHARING_OP: u32 = 57;
pub const XEN_DOMCTL_GETTSCINFO: u32 = 59;
pub const XEN_DOMCTL_SETTSCINFO: u32 = 60;
pub const XEN_DOMCTL_GETPAGEFRAMEINFO3: u32 = 61;
pub const XEN_DOMCTL_SETVCPUEXTSTATE: u32 = 62;
pub const XEN_DOMCTL_GETVCPUEXTSTATE: u32 = 63;
pub const XEN_DOMCTL_SET_ACCESS_REQUIRED: u32 = 64;
pub const XEN_DOMCTL_AUDIT_P2M: u32 = 65;
pub const XEN_DOMCTL_SET_VIRQ_HANDLER: u32 = 66;
pub const XEN_DOMCTL_SET_BROKEN_PAGE_P2M: u32 = 67;
pub const XEN_DOMCTL_SETNODEAFFINITY: u32 = 68;
pub const XEN_DOMCTL_GETNODEAFFINITY: u32 = 69;
pub const XEN_DOMCTL_CACHEFLUSH: u32 = 71;
pub const XEN_DOMCTL_GET_VCPU_MSRS: u32 = 72;
pub const XEN_DOMCTL_SET_VCPU_MSRS: u32 = 73;
pub const XEN_DOMCTL_SETVNUMAINFO: u32 = 74;
pub const XEN_DOMCTL_PSR_CMT_OP: u32 = 75;
pub const XEN_DOMCTL_MONITOR_OP: u32 = 77;
pub const XEN_DOMCTL_PSR_ALLOC: u32 = 78;
pub const XEN_DOMCTL_SOFT_RESET: u32 = 79;
pub const XEN_DOMCTL_VUART_OP: u32 = 81;
pub const XEN_DOMCTL_GET_CPU_POLICY: u32 = 82;
pub const XEN_DOMCTL_SET_CPU_POLICY: u32 = 83;
pub const XEN_DOMCTL_VMTRACE_OP: u32 = 84;
pub const XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE: u32 = 85;
pub const XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE: u32 = 86;
pub const XEN_DOMCTL_GDBSX_GUESTMEMIO: u32 = 1000;
pub const XEN_DOMCTL_GDBSX_PAUSEVCPU: u32 = 1001;
pub const XEN_DOMCTL_GDBSX_UNPAUSEVCPU: u32 = 1002;
pub const XEN_DOMCTL_GDBSX_DOMSTATUS: u32 = 1003;
/// How the header names a continued soft reset; only the hypervisor's own continuation uses it.
pub const XEN_DOMCTL_SOFT_RESET_CONT: u32 = 23;

// DomctlCreatedomain::flags.
/// An HVM or PVH guest, not PV.
pub const XEN_DOMCTL_CDF_HVM: u32 = 1 << 0;
/// Hardware-assisted paging.
pub const XEN_DOMCTL_CDF_HAP: u32 = 1 << 1;
pub const XEN_DOMCTL_CDF_S3_INTEGRITY: u32 = 1 << 2;
/// No out-of-sync shadow tables.
pub const XEN_DOMCTL_CDF_OOS_OFF: u32 = 1 << 3;
/// The xenstore domain.
pub const XEN_DOMCTL_CDF_XS_DOMAIN: u32 = 1 << 4;
/// May use the IOMMU.
pub const XEN_DOMCTL_CDF_IOMMU: u32 = 1 << 5;
pub const XEN_DOMCTL_CDF_NESTED_VIRT: u32 = 1 << 6;
pub const XEN_DOMCTL_CDF_VPMU: u32 = 1 << 7;
/// The highest flag of interface 0x15 and 0x17.
pub const XEN_DOMCTL_CDF_MAX: u32 = XEN_DOMCTL_CDF_VPMU;

/// DomctlCreatedomain::iommu_opts: keep the IOMMU's tables apart from the CPU's.
pub const XEN_DOMCTL_IOMMU_NO_SHAREPT: u32 = 1 << 0;
pub const XEN_DOMCTL_IOMMU_MAX: u32 = XEN_DOMCTL_IOMMU_NO_SHAREPT;

/// DomctlCreatedomain::grant_opts: highest grant table version the domain may use.
pub const XEN_DOMCTL_GRANT_VERSION_MASK: u32 = 0xf;

/// DomctlCreatedomainV17::altp2m_opts: the mode.
pub const XEN_DOMCTL_ALTP2M_MODE_MASK: u32 = 0x3;

// DomctlGetdomaininfo::flags.
pub const XEN_DOMINF_DYING: u32 = 1 << 0;
pub const XEN_DOMINF_HVM_GUEST: u32 = 1 << 1;
/// The guest has shut down; the reason stands in the shutdown field.
pub const XEN_DOMINF_SHUTDOWN: u32 = 1 << 2;
/// Paused by a tool.
pub const XEN_DOMINF_PAUSED: u32 = 1 << 3;
/// Every vCPU waits for an event.
pub const XEN_DOMINF_BLOCKED: u32 = 1 << 4;
/// A vCPU runs.
pub const XEN_DOMINF_RUNNING: u32 = 1 << 5;
pub const XEN_DOMINF_DEBUGGED: u32 = 1 << 6;
pub const XEN_DOMINF_XS_DOMAIN: u32 = 1 << 7;
pub const XEN_DOMINF_HAP: u32 = 1 << 8;
/// `SHUTDOWN_*`, after the shift.
pub const XEN_DOMINF_SHUTDOWNMASK: u32 = 255;
pub const XEN_DOMINF_SHUTDOWNSHIFT: u32 = 16;
/// DomctlGetdomaininfo::max_vcpu_id of a domain without vCPUs.
pub const XEN_INVALID_MAX_VCPU_ID: u32 = !0;

// getpageframeinfo3: in the high bits of each array element, out (elements are `xen_pfn_t`).
pub const XEN_DOMCTL_PFINFO_LTAB_SHIFT: u32 = 28;
pub const XEN_DOMCTL_PFINFO_NOTAB: u32 = 0;
pub const XEN_DOMCTL_PFINFO_L1TAB: u32 = 1 << 28;
pub const XEN_DOMCTL_PFINFO_L2TAB: u32 = 2 << 28;
pub const XEN_DOMCTL_PFINFO_L3TAB: u32 = 3 << 28;
pub const XEN_DOMCTL_PFINFO_L4TAB: u32 = 4 << 28;
pub const XEN_DOMCTL_PFINFO_LTABTYPE_MASK: u32 = 7 << 28;
/// The table is pinned.
pub const XEN_DOMCTL_PFINFO_LPINTAB: u32 = 1 << 31;
/// Invalid frame.
pub const XEN_DOMCTL_PFINFO_XTAB: u32 = 0xf << 28;
/// Allocate only, do not fill.
pub const XEN_DOMCTL_PFINFO_XALLOC: u32 = 0xe << 28;
/// Broken memory.
pub const XEN_DOMCTL_PFINFO_BROKEN: u32 = 0xd << 28;
pub const XEN_DOMCTL_PFINFO_LTAB_MASK: u32 = 0xf << 28;

// DomctlShadowOp::op.
pub const XEN_DOMCTL_SHADOW_OP_OFF: u32 = 0;
pub const XEN_DOMCTL_SHADOW_OP_ENABLE_TEST: u32 = 1;
pub const XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY: u32 = 2;
/// Returns the dirty bitmap and clears it.
pub const XEN_DOMCTL_SHADOW_OP_CLEAN: u32 = 11;
/// Returns the dirty bitmap.
pub const XEN_DOMCTL_SHADOW_OP_PEEK: u32 = 12;
pub const XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION: u32 = 30;
pub const XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION: u32 = 31;
pub const XEN_DOMCTL_SHADOW_OP_ENABLE: u32 = 32;
// DomctlShadowOp::mode of OP_ENABLE.
pub const XEN_DOMCTL_SHADOW_ENABLE_REFCOUNT: u32 = 1 << 1;
pub const XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY: u32 = 1 << 2;
pub const XEN_DOMCTL_SHADOW_ENABLE_TRANSLATE: u32 = 1 << 3;
pub const XEN_DOMCTL_SHADOW_ENABLE_EXTERNAL: u32 = 1 << 4;
/// DomctlShadowOp::mode of OP_CLEAN, OP_PEEK: the last round, the domain is paused.
pub const XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL: u32 = 1 << 0;

// DomctlVcpuaffinity::flags.
pub const XEN_VCPUAFFINITY_HARD: u32 = 1 << 0;
pub const XEN_VCPUAFFINITY_SOFT: u32 = 1 << 1;
/// Overrides a temporary pinning.
pub const XEN_VCPUAFFINITY_FORCE: u32 = 1 << 2;

// Schedulers (sched_id, scheduler_op).
pub const XEN_SCHEDULER_CREDIT: u32 = 5;
pub const XEN_SCHEDULER_CREDIT2: u32 = 6;
pub const XEN_SCHEDULER_ARINC653: u32 = 7;
pub const XEN_SCHEDULER_RTDS: u32 = 8;
pub const XEN_SCHEDULER_NULL: u32 = 9;
// DomctlSchedulerOp::cmd.
pub const XEN_DOMCTL_SCHEDOP_PUTINFO: u32 = 0;
pub const XEN_DOMCTL_SCHEDOP_GETINFO: u32 = 1;
pub const XEN_DOMCTL_SCHEDOP_PUTVCPUINFO: u32 = 2;
pub const XEN_DOMCTL_SCHEDOP_GETVCPUINFO: u32 = 3;
pub const XEN_DOMCTL_SCHEDRT_EXTRA: u32 = 1 << 0;

// DomctlSendtrigger::trigger.
pub const XEN_DOMCTL_SENDTRIGGER_NMI: u32 = 0;
pub const XEN_DOMCTL_SENDTRIGGER_RESET: u32 = 1;
pub const XEN_DOMCTL_SENDTRIGGER_INIT: u32 = 2;
pub const XEN_DOMCTL_SENDTRIGGER_POWER: u32 = 3;
pub const XEN_DOMCTL_SENDTRIGGER_SLEEP: u32 = 4;

// DomctlAssignDevice.
pub const XEN_DOMCTL_DEV_PCI: u32 = 0;
pub const XEN_DOMCTL_DEV_DT: u32 = 1;
pub const XEN_DOMCTL_DEV_RDM_RELAXED: u32 = 1;

// DomctlBindPtIrq::irq_type.
pub const PT_IRQ_TYPE_PCI: u32 = 0;
pub const PT_IRQ_TYPE_ISA: u32 = 1;
pub const PT_IRQ_TYPE_MSI: u32 = 2;
pub const PT_IRQ_TYPE_MSI_TRANSLATE: u32 = 3;
pub const PT_IRQ_TYPE_SPI: u32 = 4;

// add_mapping of memory_mapping and ioport_mapping.
pub const DPCI_REMOVE_MAPPING: u32 = 0;
pub const DPCI_ADD_MAPPING: u32 = 1;

// Cache attributes of dm_op pin_memory_cacheattr.
pub const XEN_DOMCTL_MEM_CACHEATTR_UC: u32 = 0;
pub const XEN_DOMCTL_MEM_CACHEATTR_WC: u32 = 1;
pub const XEN_DOMCTL_MEM_CACHEATTR_WT: u32 = 4;
pub const XEN_DOMCTL_MEM_CACHEATTR_WP: u32 = 5;
pub const XEN_DOMCTL_MEM_CACHEATTR_WB: u32 = 6;
pub const XEN_DOMCTL_MEM_CACHEATTR_UCM: u32 = 7;
pub const XEN_DOMCTL_DELETE_MEM_CACHEATTR: u32 = !0;

// DomctlTscInfo::tsc_mode, as `arch-x86/cpuid.h` numbers them.
/// Native where sound, else emulated.
pub const TSC_MODE_DEFAULT: u32 = 0;
pub const TSC_MODE_ALWAYS_EMULATE: u32 = 1;
pub const TSC_MODE_NEVER_EMULATE: u32 = 2;

pub const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF: u32 = 0;
pub const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON: u32 = 1;

// DomctlVmtraceOp::cmd.
pub const XEN_DOMCTL_VMTRACE_ENABLE: u32 = 1;
pub const XEN_DOMCTL_VMTRACE_DISABLE: u32 = 2;
pub const XEN_DOMCTL_VMTRACE_RESET_AND_ENABLE: u32 = 3;
pub const XEN_DOMCTL_VMTRACE_OUTPUT_POSITION: u32 = 4;
pub const XEN_DOMCTL_VMTRACE_GET_OPTION: u32 = 5;
pub const XEN_DOMCTL_VMTRACE_SET_OPTION: u32 = 6;

pub const XEN_VM_EVENT_ENABLE: u32 = 0;
pub const XEN_VM_EVENT_DISABLE: u32 = 1;
pub const XEN_VM_EVENT_RESUME: u32 = 2;
pub const XEN_VM_EVENT_GET_VERSION: u32 = 3;
pub const XEN_DOMCTL_VM_EVENT_OP_PAGING: u32 = 1;
pub const XEN_DOMCTL_VM_EVENT_OP_MONITOR: u32 = 2;
pub const XEN_DOMCTL_VM_EVENT_OP_SHARING: u32 = 3;
