//! Every structure of `abi`, beside the type that C knows it by.

use crate::c::Program;

/// Asks the C compiler for a structure's size, and for the offset and size of each of its fields.
/// A field has the same name in C, but for a trailing underscore, unless the table says otherwise.
macro_rules! structs {
    ($program:ident; $(
        $($module:ident)::+ = $c:literal $({ $( $rust:ident = $( $path:ident ).+ ),* })? ;
    )*) => { $(
        $program.size(stringify!($($module)::+), size_of::<abi::$($module)::+>(), $c);
        $program.fields(
            stringify!($($module)::+),
            abi::$($module)::+::FIELDS,
            $c,
            &[$( $( (stringify!($rust), stringify!($( $path ).+)), )* )?],
        );
    )* };
}

/// As `structs!`, for the head of a larger C structure: only the fields are compared.
macro_rules! heads {
    ($program:ident; $( $($module:ident)::+ = $c:literal; )*) => { $(
        $program.fields(stringify!($($module)::+), abi::$($module)::+::FIELDS, $c, &[]);
    )* };
}

/// Structures of a newer interface than the headers, or of ours: their size is asserted where they stand.
pub const ABSENT_FROM_HEADERS: &[&str] =
    &["domctl::DomctlCreatedomainV17", "xenolith::XenolithWhyLink", "xenolith::XenolithWhy"];

pub fn all(program: &mut Program) {
    heads! { program;
        domctl::DomctlHeader = "struct xen_domctl";
        io::ring::SringHead = "struct probe_sring";
        platform::PlatformOpHeader = "struct xen_platform_op";
        sysctl::SysctlHeader = "struct xen_sysctl";
        xen_mca::McHeader = "struct xen_mc";
    }
    structs! { program;
        arch_x86::IretContext = "struct iret_context";
        arch_x86::CpuUserRegs = "struct cpu_user_regs";
        arch_x86::TrapInfo = "struct trap_info";
        arch_x86::VcpuGuestContext = "struct vcpu_guest_context";
        arch_x86::ArchVcpuInfo = "struct arch_vcpu_info";
        arch_x86::ArchSharedInfo = "struct arch_shared_info";
        arch_x86::ArchDomainconfig = "struct xen_arch_domainconfig";
        callback::CallbackRegister = "struct callback_register";
        callback::CallbackUnregister = "struct callback_unregister";
        cpu_policy::CpuidLeaf = "struct xen_cpuid_leaf";
        cpu_policy::MsrEntry = "struct xen_msr_entry";
        domctl::DomctlCreatedomain = "struct xen_domctl_createdomain";
        domctl::DomctlGetdomaininfo = "struct xen_domctl_getdomaininfo";
        domctl::DomctlGetpageframeinfo3 = "struct xen_domctl_getpageframeinfo3";
        domctl::DomctlNodeaffinity = "struct xen_domctl_nodeaffinity";
        domctl::DomctlVcpuaffinity = "struct xen_domctl_vcpuaffinity";
        domctl::DomctlShadowOpStats = "struct xen_domctl_shadow_op_stats";
        domctl::DomctlShadowOp = "struct xen_domctl_shadow_op";
        domctl::DomctlMaxMem = "struct xen_domctl_max_mem";
        domctl::DomctlVcpucontext = "struct xen_domctl_vcpucontext";
        domctl::DomctlGetvcpuinfo = "struct xen_domctl_getvcpuinfo";
        domctl::DomctlMaxVcpus = "struct xen_domctl_max_vcpus";
        domctl::DomctlSchedCredit = "struct xen_domctl_sched_credit";
        domctl::DomctlSchedCredit2 = "struct xen_domctl_sched_credit2";
        domctl::DomctlSchedRtds = "struct xen_domctl_sched_rtds";
        domctl::DomctlSchedparamVcpu = "struct xen_domctl_schedparam_vcpu";
        domctl::DomctlSchedulerOp = "struct xen_domctl_scheduler_op";
        domctl::DomctlSetdomainhandle = "struct xen_domctl_setdomainhandle";
        domctl::DomctlSetdebugging = "struct xen_domctl_setdebugging";
        domctl::DomctlIrqPermission = "struct xen_domctl_irq_permission";
        domctl::DomctlIomemPermission = "struct xen_domctl_iomem_permission";
        domctl::DomctlIoportPermission = "struct xen_domctl_ioport_permission";
        domctl::DomctlHypercallInit = "struct xen_domctl_hypercall_init";
        domctl::DomctlSettimeoffset = "struct xen_domctl_settimeoffset";
        domctl::DomctlTscInfo = "struct xen_domctl_tsc_info";
        domctl::DomctlHvmcontext = "struct xen_domctl_hvmcontext";
        domctl::DomctlHvmcontextPartial = "struct xen_domctl_hvmcontext_partial";
        domctl::DomctlAddressSize = "struct xen_domctl_address_size";
        domctl::DomctlSendtrigger = "struct xen_domctl_sendtrigger";
        domctl::DomctlAssignDevice = "struct xen_domctl_assign_device" { machine_sbdf = u.pci.machine_sbdf, dt_path = u.dt.path };
        domctl::DomctlGetDeviceGroup = "struct xen_domctl_get_device_group";
        domctl::DomctlBindPtIrq = "struct xen_domctl_bind_pt_irq" { u = u.msi, msi_gtable = u.msi.gtable };
        domctl::DomctlMemoryMapping = "struct xen_domctl_memory_mapping";
        domctl::DomctlIoportMapping = "struct xen_domctl_ioport_mapping";
        domctl::DomctlExtVcpucontext = "struct xen_domctl_ext_vcpucontext" { vmce_caps = vmce.caps, vmce_mci_ctl2_bank0 = vmce.mci_ctl2_bank0, vmce_mci_ctl2_bank1 = vmce.mci_ctl2_bank1, vmce_mcg_ext_ctl = vmce.mcg_ext_ctl };
        domctl::DomctlSetTarget = "struct xen_domctl_set_target";
        domctl::DomctlSubscribe = "struct xen_domctl_subscribe";
        domctl::DomctlDebugOp = "struct xen_domctl_debug_op";
        domctl::DomctlVmEventOp = "struct xen_domctl_vm_event_op";
        domctl::DomctlMemSharingOp = "struct xen_domctl_mem_sharing_op" { enable = u.enable };
        domctl::DomctlCpuPolicy = "struct xen_domctl_cpu_policy";
        domctl::DomctlVcpuextstate = "struct xen_domctl_vcpuextstate";
        domctl::DomctlVcpuMsr = "struct xen_domctl_vcpu_msr";
        domctl::DomctlVcpuMsrs = "struct xen_domctl_vcpu_msrs";
        domctl::DomctlSetAccessRequired = "struct xen_domctl_set_access_required";
        domctl::DomctlAuditP2m = "struct xen_domctl_audit_p2m";
        domctl::DomctlSetVirqHandler = "struct xen_domctl_set_virq_handler";
        domctl::DomctlSetBrokenPageP2m = "struct xen_domctl_set_broken_page_p2m";
        domctl::DomctlCacheflush = "struct xen_domctl_cacheflush";
        domctl::DomctlPagingMempool = "struct xen_domctl_paging_mempool";
        domctl::DomctlVnuma = "struct xen_domctl_vnuma";
        domctl::DomctlPsrCmtOp = "struct xen_domctl_psr_cmt_op";
        domctl::DomctlPsrAlloc = "struct xen_domctl_psr_alloc";
        domctl::DomctlMonitorOp = "struct xen_domctl_monitor_op";
        domctl::DomctlVuartOp = "struct xen_domctl_vuart_op";
        domctl::DomctlVmtraceOp = "struct xen_domctl_vmtrace_op";
        domctl::DomctlGdbsxMemio = "struct xen_domctl_gdbsx_memio";
        domctl::DomctlGdbsxPauseunpVcpu = "struct xen_domctl_gdbsx_pauseunp_vcpu";
        domctl::DomctlGdbsxDomstatus = "struct xen_domctl_gdbsx_domstatus";
        event_channel::EvtchnAllocUnbound = "struct evtchn_alloc_unbound";
        event_channel::EvtchnBindInterdomain = "struct evtchn_bind_interdomain";
        event_channel::EvtchnBindVirq = "struct evtchn_bind_virq";
        event_channel::EvtchnBindPirq = "struct evtchn_bind_pirq";
        event_channel::EvtchnBindIpi = "struct evtchn_bind_ipi";
        event_channel::EvtchnClose = "struct evtchn_close";
        event_channel::EvtchnSend = "struct evtchn_send";
        event_channel::EvtchnStatus = "struct evtchn_status";
        event_channel::EvtchnBindVcpu = "struct evtchn_bind_vcpu";
        event_channel::EvtchnUnmask = "struct evtchn_unmask";
        event_channel::EvtchnReset = "struct evtchn_reset";
        event_channel::EvtchnInitControl = "struct evtchn_init_control";
        event_channel::EvtchnExpandArray = "struct evtchn_expand_array";
        event_channel::EvtchnSetPriority = "struct evtchn_set_priority";
        event_channel::EvtchnOp = "struct evtchn_op";
        event_channel::EvtchnFifoControlBlock = "struct evtchn_fifo_control_block";
        grant_table::GrantEntryV1 = "struct grant_entry_v1";
        grant_table::GrantEntryHeader = "struct grant_entry_header";
        grant_table::GrantEntryV2 = "union grant_entry_v2" { arm = sub_page.page_off, length = sub_page.length, frame = full_page.frame };
        grant_table::GnttabMapGrantRef = "struct gnttab_map_grant_ref";
        grant_table::GnttabUnmapGrantRef = "struct gnttab_unmap_grant_ref";
        grant_table::GnttabSetupTable = "struct gnttab_setup_table";
        grant_table::GnttabDumpTable = "struct gnttab_dump_table";
        grant_table::GnttabTransfer = "struct gnttab_transfer";
        grant_table::GnttabCopyPtr = "struct gnttab_copy_ptr";
        grant_table::GnttabCopy = "struct gnttab_copy";
        grant_table::GnttabQuerySize = "struct gnttab_query_size";
        grant_table::GnttabUnmapAndReplace = "struct gnttab_unmap_and_replace";
        grant_table::GnttabSetVersion = "struct gnttab_set_version";
        grant_table::GnttabGetStatusFrames = "struct gnttab_get_status_frames";
        grant_table::GnttabGetVersion = "struct gnttab_get_version";
        grant_table::GnttabSwapGrantRef = "struct gnttab_swap_grant_ref";
        grant_table::GnttabCacheFlush = "struct gnttab_cache_flush";
        hvm_op::HvmParam = "struct xen_hvm_param";
        hvm_op::HvmPagetableDying = "struct xen_hvm_pagetable_dying";
        hvm_op::HvmGetTime = "struct xen_hvm_get_time";
        hvm_op::HvmGetMemType = "struct xen_hvm_get_mem_type";
        hvm_op::HvmEvtchnUpcallVector = "struct xen_hvm_evtchn_upcall_vector";
        hvm_start_info::HvmStartInfo = "struct hvm_start_info";
        hvm_start_info::HvmModlistEntry = "struct hvm_modlist_entry";
        hvm_start_info::HvmMemmapTableEntry = "struct hvm_memmap_table_entry";
        hvm_vcpu::VcpuHvmX8632 = "struct vcpu_hvm_x86_32";
        hvm_vcpu::VcpuHvmX8664 = "struct vcpu_hvm_x86_64";
        hvm_vcpu::VcpuHvmContext = "struct vcpu_hvm_context";
        hypfs::HypfsDirentry = "struct xen_hypfs_direntry";
        io::console::XenconsInterface = "struct xencons_interface";
        io::xs_wire::XsdSockmsg = "struct xsd_sockmsg";
        io::xs_wire::XenstoreDomainInterface = "struct xenstore_domain_interface";
        kexec::KexecExec = "struct xen_kexec_exec";
        kexec::KexecRange = "struct xen_kexec_range";
        kexec::KexecSegment = "struct xen_kexec_segment";
        kexec::KexecLoad = "struct xen_kexec_load";
        kexec::KexecUnload = "struct xen_kexec_unload";
        kexec::KexecStatus = "struct xen_kexec_status";
        memory::MemoryReservation = "struct xen_memory_reservation";
        memory::MemoryExchange = "struct xen_memory_exchange";
        memory::MemoryDomain = "struct xen_memory_domain";
        memory::MachphysMfnList = "struct xen_machphys_mfn_list";
        memory::MachphysMapping = "struct xen_machphys_mapping";
        memory::AddToPhysmap = "struct xen_add_to_physmap";
        memory::AddToPhysmapBatch = "struct xen_add_to_physmap_batch" { foreign_domid = u.foreign_domid };
        memory::RemoveFromPhysmap = "struct xen_remove_from_physmap";
        memory::MemoryMap = "struct xen_memory_map";
        memory::ForeignMemoryMap = "struct xen_foreign_memory_map";
        memory::PodTarget = "struct xen_pod_target";
        memory::MemPagingOp = "struct xen_mem_paging_op";
        memory::MemAccessOp = "struct xen_mem_access_op";
        memory::MemSharingOp = "struct xen_mem_sharing_op";
        memory::ReservedDeviceMemory = "struct xen_reserved_device_memory";
        memory::ReservedDeviceMemoryMap = "struct xen_reserved_device_memory_map" { pci = dev.pci };
        memory::MemAcquireResource = "struct xen_mem_acquire_resource";
        memory::Vmemrange = "struct xen_vmemrange";
        memory::VnumaTopologyInfo = "struct xen_vnuma_topology_info";
        nmi::XennmiCallback = "struct xennmi_callback";
        physdev::PhysdevEoi = "struct physdev_eoi";
        physdev::PhysdevPirqEoiGmfn = "struct physdev_pirq_eoi_gmfn";
        physdev::PhysdevIrqStatusQuery = "struct physdev_irq_status_query";
        physdev::PhysdevSetIopl = "struct physdev_set_iopl";
        physdev::PhysdevSetIobitmap = "struct physdev_set_iobitmap";
        physdev::PhysdevApic = "struct physdev_apic";
        physdev::PhysdevIrq = "struct physdev_irq";
        physdev::PhysdevMapPirq = "struct physdev_map_pirq";
        physdev::PhysdevUnmapPirq = "struct physdev_unmap_pirq";
        physdev::PhysdevManagePci = "struct physdev_manage_pci";
        physdev::PhysdevRestoreMsi = "struct physdev_restore_msi";
        physdev::PhysdevManagePciExt = "struct physdev_manage_pci_ext" { physfn_bus = physfn.bus, physfn_devfn = physfn.devfn };
        physdev::PhysdevOp = "struct physdev_op";
        physdev::PhysdevSetupGsi = "struct physdev_setup_gsi";
        physdev::PhysdevGetFreePirq = "struct physdev_get_free_pirq";
        physdev::PhysdevPciMmcfgReserved = "struct physdev_pci_mmcfg_reserved";
        physdev::PhysdevPciDeviceAdd = "struct physdev_pci_device_add" { physfn_bus = physfn.bus, physfn_devfn = physfn.devfn };
        physdev::PhysdevPciDevice = "struct physdev_pci_device";
        physdev::PhysdevDbgpOp = "struct physdev_dbgp_op" { pci = u.pci };
        platform::XenpfSettime32 = "struct xenpf_settime32";
        platform::XenpfSettime64 = "struct xenpf_settime64";
        platform::XenpfAddMemtype = "struct xenpf_add_memtype";
        platform::XenpfDelMemtype = "struct xenpf_del_memtype";
        platform::XenpfReadMemtype = "struct xenpf_read_memtype";
        platform::XenpfMicrocodeUpdate = "struct xenpf_microcode_update";
        platform::XenpfPlatformQuirk = "struct xenpf_platform_quirk";
        platform::XenpfEfiRuntimeCall = "struct xenpf_efi_runtime_call";
        platform::XenpfFirmwareInfo = "struct xenpf_firmware_info";
        platform::FwDiskInfo = "__typeof__(((struct xenpf_firmware_info *)0)->u.disk_info)";
        platform::FwDiskMbrSignature = "__typeof__(((struct xenpf_firmware_info *)0)->u.disk_mbr_signature)";
        platform::FwVbeddcInfo = "__typeof__(((struct xenpf_firmware_info *)0)->u.vbeddc_info)";
        platform::XenpfEnterAcpiSleep = "struct xenpf_enter_acpi_sleep";
        platform::XenpfChangeFreq = "struct xenpf_change_freq";
        platform::XenpfGetidletime = "struct xenpf_getidletime";
        platform::PowerRegister = "struct xen_power_register";
        platform::ProcessorCsd = "struct xen_processor_csd";
        platform::ProcessorCx = "struct xen_processor_cx";
        platform::ProcessorPower = "struct xen_processor_power";
        platform::PctRegister = "struct xen_pct_register";
        platform::ProcessorPx = "struct xen_processor_px";
        platform::PsdPackage = "struct xen_psd_package";
        platform::ProcessorPerformance = "struct xen_processor_performance";
        platform::XenpfSetProcessorPminfo = "struct xenpf_set_processor_pminfo";
        platform::XenpfPcpuinfo = "struct xenpf_pcpuinfo";
        platform::XenpfPcpuVersion = "struct xenpf_pcpu_version";
        platform::XenpfCpuOl = "struct xenpf_cpu_ol";
        platform::XenpfCpuHotadd = "struct xenpf_cpu_hotadd";
        platform::XenpfMemHotadd = "struct xenpf_mem_hotadd";
        platform::XenpfCoreParking = "struct xenpf_core_parking";
        platform::XenpfResourceEntry = "struct xenpf_resource_entry";
        platform::XenpfResourceOp = "struct xenpf_resource_op";
        platform::XenpfSymdata = "struct xenpf_symdata";
        pmu::PmuParams = "struct xen_pmu_params" { version_maj = version.maj, version_min = version.min };
        sched::SchedShutdown = "struct sched_shutdown";
        sched::SchedPoll = "struct sched_poll";
        sched::SchedRemoteShutdown = "struct sched_remote_shutdown";
        sched::SchedWatchdog = "struct sched_watchdog";
        sched::SchedPinOverride = "struct sched_pin_override";
        sysctl::SysctlReadconsole = "struct xen_sysctl_readconsole";
        sysctl::SysctlTbufOp = "struct xen_sysctl_tbuf_op";
        sysctl::SysctlPhysinfo = "struct xen_sysctl_physinfo";
        sysctl::SysctlSchedId = "struct xen_sysctl_sched_id";
        sysctl::SysctlPerfcDesc = "struct xen_sysctl_perfc_desc";
        sysctl::SysctlPerfcOp = "struct xen_sysctl_perfc_op";
        sysctl::SysctlGetdomaininfolist = "struct xen_sysctl_getdomaininfolist";
        sysctl::SysctlDebugKeys = "struct xen_sysctl_debug_keys";
        sysctl::SysctlCpuinfo = "struct xen_sysctl_cpuinfo";
        sysctl::SysctlGetcpuinfo = "struct xen_sysctl_getcpuinfo";
        sysctl::SysctlAvailheap = "struct xen_sysctl_availheap";
        sysctl::PmPxStat = "struct pm_px_stat";
        sysctl::PmPxVal = "struct pm_px_val";
        sysctl::PmCxStat = "struct pm_cx_stat";
        sysctl::SysctlGetPmstat = "struct xen_sysctl_get_pmstat";
        sysctl::SysctlCpuHotplug = "struct xen_sysctl_cpu_hotplug";
        sysctl::SysctlPmOp = "struct xen_sysctl_pm_op";
        sysctl::SysctlPageOfflineOp = "struct xen_sysctl_page_offline_op";
        sysctl::SysctlLockprofOp = "struct xen_sysctl_lockprof_op";
        sysctl::SysctlCputopo = "struct xen_sysctl_cputopo";
        sysctl::SysctlCputopoinfo = "struct xen_sysctl_cputopoinfo";
        sysctl::SysctlPcitopoinfo = "struct xen_sysctl_pcitopoinfo";
        sysctl::SysctlMeminfo = "struct xen_sysctl_meminfo";
        sysctl::SysctlNumainfo = "struct xen_sysctl_numainfo";
        sysctl::SysctlCpupoolOp = "struct xen_sysctl_cpupool_op";
        sysctl::SysctlCreditSchedule = "struct xen_sysctl_credit_schedule";
        sysctl::SysctlCredit2Schedule = "struct xen_sysctl_credit2_schedule";
        sysctl::SysctlSchedulerOp = "struct xen_sysctl_scheduler_op";
        sysctl::SysctlCoverageOp = "struct xen_sysctl_coverage_op";
        sysctl::SysctlPsrCmtOp = "struct xen_sysctl_psr_cmt_op";
        sysctl::SysctlPsrAlloc = "struct xen_sysctl_psr_alloc";
        sysctl::SysctlCpuLevellingCaps = "struct xen_sysctl_cpu_levelling_caps";
        sysctl::SysctlCpuFeatureset = "struct xen_sysctl_cpu_featureset";
        sysctl::SysctlCpuPolicy = "struct xen_sysctl_cpu_policy";
        sysctl::LivepatchName = "struct xen_livepatch_name";
        sysctl::SysctlLivepatchOp = "struct xen_sysctl_livepatch_op";
        vcpu::VcpuRunstateInfo = "struct vcpu_runstate_info";
        vcpu::VcpuRegisterRunstateMemoryArea = "struct vcpu_register_runstate_memory_area";
        vcpu::VcpuSetPeriodicTimer = "struct vcpu_set_periodic_timer";
        vcpu::VcpuSetSingleshotTimer = "struct vcpu_set_singleshot_timer";
        vcpu::VcpuRegisterVcpuInfo = "struct vcpu_register_vcpu_info";
        vcpu::VcpuGetPhysid = "struct vcpu_get_physid";
        vcpu::VcpuRegisterTimeMemoryArea = "struct vcpu_register_time_memory_area";
        version::CompileInfo = "struct xen_compile_info";
        version::PlatformParameters = "struct xen_platform_parameters";
        version::FeatureInfo = "struct xen_feature_info";
        version::BuildId = "struct xen_build_id";
        xen::MmuextOp = "struct mmuext_op";
        xen::MmuUpdate = "struct mmu_update";
        xen::MulticallEntry = "struct multicall_entry";
        xen::VcpuTimeInfo = "struct vcpu_time_info";
        xen::VcpuInfo = "struct vcpu_info";
        xen::SharedInfo = "struct shared_info";
        xen::StartInfo = "struct start_info" { console_mfn = console.domU.mfn, console_evtchn = console.domU.evtchn };
        xen::MultibootModList = "struct xen_multiboot_mod_list";
        xen::Dom0VgaConsoleInfo = "struct dom0_vga_console_info";
        xen::VgaTextMode3 = "__typeof__(((struct dom0_vga_console_info *)0)->u.text_mode_3)";
        xen::VgaVesaLfb = "__typeof__(((struct dom0_vga_console_info *)0)->u.vesa_lfb)";
        xen::XenctlBitmap = "struct xenctl_bitmap";
        xen_mca::McFetch = "struct xen_mc_fetch";
        xen_mca::McNotifydomain = "struct xen_mc_notifydomain";
        xen_mca::McPhyscpuinfo = "struct xen_mc_physcpuinfo";
        xen_mca::McMceinject = "struct xen_mc_mceinject";
        xen_mca::McInjectV2 = "struct xen_mc_inject_v2";
        xen_mca::McinfoMsr = "struct mcinfo_msr";
        xen_mca::McMsrinject = "struct xen_mc_msrinject";
        xen_mca::McinfoCommon = "struct mcinfo_common";
        xen_mca::McinfoGlobal = "struct mcinfo_global";
        xen_mca::McinfoBank = "struct mcinfo_bank";
        xen_mca::McInfo = "struct mc_info";
        xen_mca::McinfoLogicalCpu = "struct mcinfo_logical_cpu";
    }

    // A call's whole argument, and where its union begins.
    program.payload("domctl", "xen_domctl", abi::domctl::DOMCTL_SIZE, abi::domctl::DOMCTL_PAYLOAD_OFFSET);
    program.payload("sysctl", "xen_sysctl", abi::sysctl::SYSCTL_SIZE, abi::sysctl::SYSCTL_PAYLOAD_OFFSET);
    program.payload(
        "platform",
        "xen_platform_op",
        abi::platform::PLATFORM_OP_SIZE,
        abi::platform::PLATFORM_OP_PAYLOAD_OFFSET,
    );
    program.payload("xen_mca", "xen_mc", abi::xen_mca::MC_SIZE, abi::xen_mca::MC_PAYLOAD_OFFSET);
}
