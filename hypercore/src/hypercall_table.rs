//! The table of hypercalls: what is served, and what an absent call answers. ARCHITECTURE.md's table is printed
//! from it ([`render`]); tests hold it against [`crate::hypercall::dispatch`] and against that file.

use abi::Errno;
use abi::callback::*;
use abi::domctl::*;
use abi::event_channel::*;
use abi::grant_table::*;
use abi::hypfs::*;
use abi::kexec::*;
use abi::memory::*;
use abi::nmi::*;
use abi::physdev::*;
use abi::platform::*;
use abi::sched::*;
use abi::sysctl::*;
use abi::vcpu::*;
use abi::version::*;
use abi::xen::*;
use abi::xen_mca::*;
use abi::xenolith::{HYPERVISOR_XENOLITH_OP, XENOLITH_WHY};
use core::fmt;

/// Whether a call does what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Served,
    /// It answers this.
    Absent(Errno),
}

/// A hypercall, or with `op` one of its operations.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub nr: u32,
    pub op: Option<u32>,
    /// The public header's name.
    pub name: &'static str,
    pub state: State,
    pub note: &'static str,
}

const SERVED: State = State::Served;

const fn absent(e: Errno) -> State {
    State::Absent(e)
}

const fn call(nr: u32, name: &'static str, state: State, note: &'static str) -> Row {
    Row { nr, op: None, name, state, note }
}

const fn op(nr: u32, op: u32, name: &'static str, state: State) -> Row {
    Row { nr, op: Some(op), name, state, note: "" }
}

/// Writes the table as Markdown: a line for each call, with the operations that are served and those that are not,
/// named as in the public header but without its prefix.
pub fn render(out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(out, "| call | | served operations | absent operations | |\n|---|---|---|---|---|")?;
    for call in HYPERCALLS.iter().filter(|r| r.op.is_none()) {
        write!(out, "| {} {} | ", call.nr, call.name)?;
        match call.state {
            State::Served => write!(out, "served | ")?,
            State::Absent(e) => write!(out, "{} | ", errno(e))?,
        }
        let operations = || HYPERCALLS.iter().filter(|r| r.nr == call.nr && r.op.is_some());
        let mut separator = "";
        for r in operations().filter(|r| r.state == State::Served) {
            write!(out, "{separator}{}", short(r.name))?;
            separator = ", ";
        }
        write!(out, " | ")?;
        separator = "";
        for r in operations() {
            if let State::Absent(e) = r.state {
                write!(out, "{separator}{} ({})", short(r.name), errno(e))?;
                separator = ", ";
            }
        }
        writeln!(out, " | {} |", call.note)?;
    }
    Ok(())
}

fn errno(e: Errno) -> &'static str {
    e.name().unwrap_or("?")
}

/// `XEN_DOMCTL_createdomain` and `XENMEM_exchange` without what all names of their header begin with.
fn short(name: &'static str) -> &'static str {
    let rest = name.strip_prefix("XEN_").unwrap_or(name);
    rest.split_once('_').map_or(rest, |(_, short)| short)
}

/// Every hypercall by number, each followed by its operations. What is not here answers ENOSYS.
#[rustfmt::skip]
pub const HYPERCALLS: &[Row] = &[
    call(HYPERVISOR_SET_TRAP_TABLE, "set_trap_table", SERVED, ""),
    call(HYPERVISOR_MMU_UPDATE, "mmu_update", SERVED, ""),
    call(HYPERVISOR_SET_GDT, "set_gdt", SERVED, ""),
    call(HYPERVISOR_STACK_SWITCH, "stack_switch", SERVED, ""),
    call(HYPERVISOR_SET_CALLBACKS, "set_callbacks", SERVED, ""),
    call(HYPERVISOR_FPU_TASKSWITCH, "fpu_taskswitch", SERVED, ""),
    call(HYPERVISOR_SCHED_OP_COMPAT, "sched_op_compat", SERVED, "yield, block and shutdown only"),
    call(HYPERVISOR_PLATFORM_OP, "platform_op", SERVED, ""),
    op(HYPERVISOR_PLATFORM_OP, XENPF_SETTIME32, "XENPF_settime32", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_ADD_MEMTYPE, "XENPF_add_memtype", absent(Errno::ENXIO)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_DEL_MEMTYPE, "XENPF_del_memtype", absent(Errno::EINVAL)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_READ_MEMTYPE, "XENPF_read_memtype", absent(Errno::EINVAL)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_MICROCODE_UPDATE, "XENPF_microcode_update", absent(Errno::ENOENT)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_PLATFORM_QUIRK, "XENPF_platform_quirk", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_GET_CPU_VERSION, "XENPF_get_cpu_version", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_EFI_RUNTIME_CALL, "XENPF_efi_runtime_call", absent(Errno::ENOSYS)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_FIRMWARE_INFO, "XENPF_firmware_info", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_ENTER_ACPI_SLEEP, "XENPF_enter_acpi_sleep", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_CHANGE_FREQ, "XENPF_change_freq", absent(Errno::ENOSYS)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_GETIDLETIME, "XENPF_getidletime", absent(Errno::ENOSYS)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_SET_PROCESSOR_PMINFO, "XENPF_set_processor_pminfo", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_GET_CPUINFO, "XENPF_get_cpuinfo", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_CPU_ONLINE, "XENPF_cpu_online", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_CPU_OFFLINE, "XENPF_cpu_offline", absent(Errno::EOPNOTSUPP)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_CPU_HOTADD, "XENPF_cpu_hotadd", absent(Errno::EEXIST)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_MEM_HOTADD, "XENPF_mem_hotadd", absent(Errno::EINVAL)),
    op(HYPERVISOR_PLATFORM_OP, XENPF_CORE_PARKING, "XENPF_core_parking", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_RESOURCE_OP, "XENPF_resource_op", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_SETTIME64, "XENPF_settime64", SERVED),
    op(HYPERVISOR_PLATFORM_OP, XENPF_GET_SYMBOL, "XENPF_get_symbol", SERVED),
    call(HYPERVISOR_SET_DEBUGREG, "set_debugreg", SERVED, ""),
    call(HYPERVISOR_GET_DEBUGREG, "get_debugreg", SERVED, ""),
    call(HYPERVISOR_UPDATE_DESCRIPTOR, "update_descriptor", SERVED, ""),
    call(HYPERVISOR_MEMORY_OP, "memory_op", SERVED, ""),
    op(HYPERVISOR_MEMORY_OP, XENMEM_INCREASE_RESERVATION, "XENMEM_increase_reservation", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_DECREASE_RESERVATION, "XENMEM_decrease_reservation", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MAXIMUM_RAM_PAGE, "XENMEM_maximum_ram_page", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_CURRENT_RESERVATION, "XENMEM_current_reservation", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MAXIMUM_RESERVATION, "XENMEM_maximum_reservation", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_MFN_LIST, "XENMEM_machphys_mfn_list", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_POPULATE_PHYSMAP, "XENMEM_populate_physmap", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, "XENMEM_add_to_physmap", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MEMORY_MAP, "XENMEM_memory_map", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MACHINE_MEMORY_MAP, "XENMEM_machine_memory_map", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_EXCHANGE, "XENMEM_exchange", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_MAPPING, "XENMEM_machphys_mapping", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_SET_MEMORY_MAP, "XENMEM_set_memory_map", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MAXIMUM_GPFN, "XENMEM_maximum_gpfn", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, "XENMEM_remove_from_physmap", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_SET_POD_TARGET, "XENMEM_set_pod_target", absent(Errno::ENOSYS)),
    op(HYPERVISOR_MEMORY_OP, XENMEM_GET_POD_TARGET, "XENMEM_get_pod_target", absent(Errno::ENOSYS)),
    op(HYPERVISOR_MEMORY_OP, XENMEM_GET_SHARING_FREED_PAGES, "XENMEM_get_sharing_freed_pages", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_GET_SHARING_SHARED_PAGES, "XENMEM_get_sharing_shared_pages", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_PAGING_OP, "XENMEM_paging_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_MEMORY_OP, XENMEM_ACCESS_OP, "XENMEM_access_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_MEMORY_OP, XENMEM_SHARING_OP, "XENMEM_sharing_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, "XENMEM_add_to_physmap_batch", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_CLAIM_PAGES, "XENMEM_claim_pages", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_COMPAT_MFN_LIST, "XENMEM_machphys_compat_mfn_list", absent(Errno::ENOSYS)),
    op(HYPERVISOR_MEMORY_OP, XENMEM_GET_VNUMAINFO, "XENMEM_get_vnumainfo", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_RESERVED_DEVICE_MEMORY_MAP, "XENMEM_reserved_device_memory_map", SERVED),
    op(HYPERVISOR_MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, "XENMEM_acquire_resource", SERVED),
    call(HYPERVISOR_MULTICALL, "multicall", SERVED, ""),
    call(HYPERVISOR_UPDATE_VA_MAPPING, "update_va_mapping", SERVED, ""),
    call(HYPERVISOR_SET_TIMER_OP, "set_timer_op", SERVED, ""),
    call(HYPERVISOR_EVENT_CHANNEL_OP_COMPAT, "event_channel_op_compat", SERVED, ""),
    call(HYPERVISOR_XEN_VERSION, "xen_version", SERVED, ""),
    op(HYPERVISOR_XEN_VERSION, XENVER_VERSION, "XENVER_version", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_EXTRAVERSION, "XENVER_extraversion", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_COMPILE_INFO, "XENVER_compile_info", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_CAPABILITIES, "XENVER_capabilities", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_CHANGESET, "XENVER_changeset", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_PLATFORM_PARAMETERS, "XENVER_platform_parameters", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_GET_FEATURES, "XENVER_get_features", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_PAGESIZE, "XENVER_pagesize", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_GUEST_HANDLE, "XENVER_guest_handle", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_COMMANDLINE, "XENVER_commandline", SERVED),
    op(HYPERVISOR_XEN_VERSION, XENVER_BUILD_ID, "XENVER_build_id", SERVED),
    call(HYPERVISOR_CONSOLE_IO, "console_io", SERVED, ""),
    op(HYPERVISOR_CONSOLE_IO, CONSOLEIO_WRITE, "CONSOLEIO_write", SERVED),
    op(HYPERVISOR_CONSOLE_IO, CONSOLEIO_READ, "CONSOLEIO_read", SERVED),
    call(HYPERVISOR_PHYSDEV_OP_COMPAT, "physdev_op_compat", SERVED, ""),
    call(HYPERVISOR_GRANT_TABLE_OP, "grant_table_op", SERVED, ""),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF, "GNTTABOP_map_grant_ref", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_UNMAP_GRANT_REF, "GNTTABOP_unmap_grant_ref", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_SETUP_TABLE, "GNTTABOP_setup_table", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_DUMP_TABLE, "GNTTABOP_dump_table", absent(Errno::ENOSYS)),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_TRANSFER, "GNTTABOP_transfer", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_COPY, "GNTTABOP_copy", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_QUERY_SIZE, "GNTTABOP_query_size", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_UNMAP_AND_REPLACE, "GNTTABOP_unmap_and_replace", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_SET_VERSION, "GNTTABOP_set_version", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_GET_STATUS_FRAMES, "GNTTABOP_get_status_frames", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_GET_VERSION, "GNTTABOP_get_version", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_SWAP_GRANT_REF, "GNTTABOP_swap_grant_ref", SERVED),
    op(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_CACHE_FLUSH, "GNTTABOP_cache_flush", SERVED),
    call(HYPERVISOR_VM_ASSIST, "vm_assist", SERVED, ""),
    call(HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN, "update_va_mapping_otherdomain", SERVED, ""),
    call(HYPERVISOR_IRET, "iret", SERVED, "replaces the registers: not through dispatch"),
    call(HYPERVISOR_VCPU_OP, "vcpu_op", SERVED, ""),
    op(HYPERVISOR_VCPU_OP, VCPUOP_INITIALISE, "VCPUOP_initialise", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_UP, "VCPUOP_up", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_DOWN, "VCPUOP_down", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_IS_UP, "VCPUOP_is_up", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_GET_RUNSTATE_INFO, "VCPUOP_get_runstate_info", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, "VCPUOP_register_runstate_memory_area", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_SET_PERIODIC_TIMER, "VCPUOP_set_periodic_timer", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_STOP_PERIODIC_TIMER, "VCPUOP_stop_periodic_timer", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_SET_SINGLESHOT_TIMER, "VCPUOP_set_singleshot_timer", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_STOP_SINGLESHOT_TIMER, "VCPUOP_stop_singleshot_timer", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_REGISTER_VCPU_INFO, "VCPUOP_register_vcpu_info", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_SEND_NMI, "VCPUOP_send_nmi", SERVED),
    op(HYPERVISOR_VCPU_OP, VCPUOP_GET_PHYSID, "VCPUOP_get_physid", absent(Errno::EINVAL)),
    op(HYPERVISOR_VCPU_OP, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, "VCPUOP_register_vcpu_time_memory_area", SERVED),
    call(HYPERVISOR_SET_SEGMENT_BASE, "set_segment_base", SERVED, ""),
    call(HYPERVISOR_MMUEXT_OP, "mmuext_op", SERVED, ""),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_PIN_L1_TABLE, "MMUEXT_PIN_L1_TABLE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_PIN_L2_TABLE, "MMUEXT_PIN_L2_TABLE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_PIN_L3_TABLE, "MMUEXT_PIN_L3_TABLE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_PIN_L4_TABLE, "MMUEXT_PIN_L4_TABLE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_UNPIN_TABLE, "MMUEXT_UNPIN_TABLE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_NEW_BASEPTR, "MMUEXT_NEW_BASEPTR", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_TLB_FLUSH_LOCAL, "MMUEXT_TLB_FLUSH_LOCAL", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_INVLPG_LOCAL, "MMUEXT_INVLPG_LOCAL", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_TLB_FLUSH_MULTI, "MMUEXT_TLB_FLUSH_MULTI", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_INVLPG_MULTI, "MMUEXT_INVLPG_MULTI", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_TLB_FLUSH_ALL, "MMUEXT_TLB_FLUSH_ALL", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_INVLPG_ALL, "MMUEXT_INVLPG_ALL", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_FLUSH_CACHE, "MMUEXT_FLUSH_CACHE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_SET_LDT, "MMUEXT_SET_LDT", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_NEW_USER_BASEPTR, "MMUEXT_NEW_USER_BASEPTR", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_CLEAR_PAGE, "MMUEXT_CLEAR_PAGE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_COPY_PAGE, "MMUEXT_COPY_PAGE", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_FLUSH_CACHE_GLOBAL, "MMUEXT_FLUSH_CACHE_GLOBAL", SERVED),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_MARK_SUPER, "MMUEXT_MARK_SUPER", absent(Errno::EOPNOTSUPP)),
    op(HYPERVISOR_MMUEXT_OP, MMUEXT_UNMARK_SUPER, "MMUEXT_UNMARK_SUPER", absent(Errno::EOPNOTSUPP)),
    call(HYPERVISOR_XSM_OP, "xsm_op", absent(Errno::ENOSYS), "no security module"),
    call(HYPERVISOR_NMI_OP, "nmi_op", SERVED, ""),
    op(HYPERVISOR_NMI_OP, XENNMI_REGISTER_CALLBACK, "XENNMI_register_callback", SERVED),
    op(HYPERVISOR_NMI_OP, XENNMI_UNREGISTER_CALLBACK, "XENNMI_unregister_callback", SERVED),
    call(HYPERVISOR_SCHED_OP, "sched_op", SERVED, ""),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_YIELD, "SCHEDOP_yield", SERVED),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_BLOCK, "SCHEDOP_block", SERVED),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, "SCHEDOP_shutdown", SERVED),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, "SCHEDOP_poll", SERVED),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_REMOTE_SHUTDOWN, "SCHEDOP_remote_shutdown", SERVED),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN_CODE, "SCHEDOP_shutdown_code", SERVED),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_WATCHDOG, "SCHEDOP_watchdog", SERVED),
    op(HYPERVISOR_SCHED_OP, SCHEDOP_PIN_OVERRIDE, "SCHEDOP_pin_override", SERVED),
    call(HYPERVISOR_CALLBACK_OP, "callback_op", SERVED, ""),
    op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, "CALLBACKOP_register", SERVED),
    op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_UNREGISTER, "CALLBACKOP_unregister", SERVED),
    call(HYPERVISOR_XENOPROF_OP, "xenoprof_op", absent(Errno::ENODEV), "no counters to profile with"),
    call(HYPERVISOR_EVENT_CHANNEL_OP, "event_channel_op", SERVED, ""),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, "EVTCHNOP_bind_interdomain", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, "EVTCHNOP_bind_virq", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_PIRQ, "EVTCHNOP_bind_pirq", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, "EVTCHNOP_close", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, "EVTCHNOP_send", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, "EVTCHNOP_status", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, "EVTCHNOP_alloc_unbound", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, "EVTCHNOP_bind_ipi", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VCPU, "EVTCHNOP_bind_vcpu", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, "EVTCHNOP_unmask", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_RESET, "EVTCHNOP_reset", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_INIT_CONTROL, "EVTCHNOP_init_control", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_EXPAND_ARRAY, "EVTCHNOP_expand_array", SERVED),
    op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SET_PRIORITY, "EVTCHNOP_set_priority", SERVED),
    call(HYPERVISOR_PHYSDEV_OP, "physdev_op", SERVED, ""),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_IRQ_UNMASK_NOTIFY, "PHYSDEVOP_IRQ_UNMASK_NOTIFY", absent(Errno::ENOSYS)),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_IRQ_STATUS_QUERY, "PHYSDEVOP_irq_status_query", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, "PHYSDEVOP_set_iopl", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, "PHYSDEVOP_set_iobitmap", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_APIC_READ, "PHYSDEVOP_apic_read", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_APIC_WRITE, "PHYSDEVOP_apic_write", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_ALLOC_IRQ_VECTOR, "PHYSDEVOP_alloc_irq_vector", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_FREE_IRQ_VECTOR, "PHYSDEVOP_free_irq_vector", absent(Errno::ENOSYS)),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_EOI, "PHYSDEVOP_eoi", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_MAP_PIRQ, "PHYSDEVOP_map_pirq", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_UNMAP_PIRQ, "PHYSDEVOP_unmap_pirq", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_MANAGE_PCI_ADD, "PHYSDEVOP_manage_pci_add", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_MANAGE_PCI_REMOVE, "PHYSDEVOP_manage_pci_remove", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_PIRQ_EOI_GMFN_V1, "PHYSDEVOP_pirq_eoi_gmfn_v1", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_RESTORE_MSI, "PHYSDEVOP_restore_msi", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_MANAGE_PCI_ADD_EXT, "PHYSDEVOP_manage_pci_add_ext", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SETUP_GSI, "PHYSDEVOP_setup_gsi", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_GET_FREE_PIRQ, "PHYSDEVOP_get_free_pirq", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_PCI_MMCFG_RESERVED, "PHYSDEVOP_pci_mmcfg_reserved", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_PCI_DEVICE_ADD, "PHYSDEVOP_pci_device_add", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_PCI_DEVICE_REMOVE, "PHYSDEVOP_pci_device_remove", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_RESTORE_MSI_EXT, "PHYSDEVOP_restore_msi_ext", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_PIRQ_EOI_GMFN_V2, "PHYSDEVOP_pirq_eoi_gmfn_v2", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_DBGP_OP, "PHYSDEVOP_dbgp_op", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_PREPARE_MSIX, "PHYSDEVOP_prepare_msix", SERVED),
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_RELEASE_MSIX, "PHYSDEVOP_release_msix", SERVED),
    call(HYPERVISOR_HVM_OP, "hvm_op", absent(Errno::ENOSYS), "PV only: get_param and set_param answer EINVAL, as to any PV guest"),
    call(HYPERVISOR_SYSCTL, "sysctl", SERVED, "the caller's interface version is checked first"),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_READCONSOLE, "XEN_SYSCTL_readconsole", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_TBUF_OP, "XEN_SYSCTL_tbuf_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_PHYSINFO, "XEN_SYSCTL_physinfo", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_SCHED_ID, "XEN_SYSCTL_sched_id", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_PERFC_OP, "XEN_SYSCTL_perfc_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_GETDOMAININFOLIST, "XEN_SYSCTL_getdomaininfolist", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_DEBUG_KEYS, "XEN_SYSCTL_debug_keys", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_GETCPUINFO, "XEN_SYSCTL_getcpuinfo", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_AVAILHEAP, "XEN_SYSCTL_availheap", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_GET_PMSTAT, "XEN_SYSCTL_get_pmstat", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_CPU_HOTPLUG, "XEN_SYSCTL_cpu_hotplug", absent(Errno::EOPNOTSUPP)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_PM_OP, "XEN_SYSCTL_pm_op", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_PAGE_OFFLINE_OP, "XEN_SYSCTL_page_offline_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_LOCKPROF_OP, "XEN_SYSCTL_lockprof_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_CPUTOPOINFO, "XEN_SYSCTL_cputopoinfo", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_NUMAINFO, "XEN_SYSCTL_numainfo", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_CPUPOOL_OP, "XEN_SYSCTL_cpupool_op", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_SCHEDULER_OP, "XEN_SYSCTL_scheduler_op", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_COVERAGE_OP, "XEN_SYSCTL_coverage_op", absent(Errno::EOPNOTSUPP)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_PSR_CMT_OP, "XEN_SYSCTL_psr_cmt_op", absent(Errno::ENODEV)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_PCITOPOINFO, "XEN_SYSCTL_pcitopoinfo", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_PSR_ALLOC, "XEN_SYSCTL_psr_alloc", absent(Errno::ENODEV)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_GET_CPU_LEVELLING_CAPS, "XEN_SYSCTL_get_cpu_levelling_caps", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_GET_CPU_FEATURESET, "XEN_SYSCTL_get_cpu_featureset", SERVED),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_LIVEPATCH_OP, "XEN_SYSCTL_LIVEPATCH_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_SYSCTL, XEN_SYSCTL_GET_CPU_POLICY, "XEN_SYSCTL_get_cpu_policy", SERVED),
    call(HYPERVISOR_DOMCTL, "domctl", SERVED, "the caller's interface version is checked first"),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_CREATEDOMAIN, "XEN_DOMCTL_createdomain", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_DESTROYDOMAIN, "XEN_DOMCTL_destroydomain", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_PAUSEDOMAIN, "XEN_DOMCTL_pausedomain", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_UNPAUSEDOMAIN, "XEN_DOMCTL_unpausedomain", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETDOMAININFO, "XEN_DOMCTL_getdomaininfo", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETVCPUAFFINITY, "XEN_DOMCTL_setvcpuaffinity", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SHADOW_OP, "XEN_DOMCTL_shadow_op", absent(Errno::EOPNOTSUPP)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_MAX_MEM, "XEN_DOMCTL_max_mem", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETVCPUCONTEXT, "XEN_DOMCTL_setvcpucontext", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETVCPUCONTEXT, "XEN_DOMCTL_getvcpucontext", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETVCPUINFO, "XEN_DOMCTL_getvcpuinfo", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_MAX_VCPUS, "XEN_DOMCTL_max_vcpus", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SCHEDULER_OP, "XEN_DOMCTL_scheduler_op", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETDOMAINHANDLE, "XEN_DOMCTL_setdomainhandle", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETDEBUGGING, "XEN_DOMCTL_setdebugging", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_IRQ_PERMISSION, "XEN_DOMCTL_irq_permission", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_IOMEM_PERMISSION, "XEN_DOMCTL_iomem_permission", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_IOPORT_PERMISSION, "XEN_DOMCTL_ioport_permission", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_HYPERCALL_INIT, "XEN_DOMCTL_hypercall_init", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETTIMEOFFSET, "XEN_DOMCTL_settimeoffset", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETVCPUAFFINITY, "XEN_DOMCTL_getvcpuaffinity", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_RESUMEDOMAIN, "XEN_DOMCTL_resumedomain", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SENDTRIGGER, "XEN_DOMCTL_sendtrigger", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SUBSCRIBE, "XEN_DOMCTL_subscribe", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETHVMCONTEXT, "XEN_DOMCTL_gethvmcontext", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETHVMCONTEXT, "XEN_DOMCTL_sethvmcontext", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_ADDRESS_SIZE, "XEN_DOMCTL_set_address_size", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GET_ADDRESS_SIZE, "XEN_DOMCTL_get_address_size", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_ASSIGN_DEVICE, "XEN_DOMCTL_assign_device", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_BIND_PT_IRQ, "XEN_DOMCTL_bind_pt_irq", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_MEMORY_MAPPING, "XEN_DOMCTL_memory_mapping", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_IOPORT_MAPPING, "XEN_DOMCTL_ioport_mapping", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_EXT_VCPUCONTEXT, "XEN_DOMCTL_set_ext_vcpucontext", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GET_EXT_VCPUCONTEXT, "XEN_DOMCTL_get_ext_vcpucontext", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_TEST_ASSIGN_DEVICE, "XEN_DOMCTL_test_assign_device", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_TARGET, "XEN_DOMCTL_set_target", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_DEASSIGN_DEVICE, "XEN_DOMCTL_deassign_device", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_UNBIND_PT_IRQ, "XEN_DOMCTL_unbind_pt_irq", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GET_DEVICE_GROUP, "XEN_DOMCTL_get_device_group", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_DEBUG_OP, "XEN_DOMCTL_debug_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETHVMCONTEXT_PARTIAL, "XEN_DOMCTL_gethvmcontext_partial", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_VM_EVENT_OP, "XEN_DOMCTL_vm_event_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_MEM_SHARING_OP, "XEN_DOMCTL_mem_sharing_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETTSCINFO, "XEN_DOMCTL_gettscinfo", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETTSCINFO, "XEN_DOMCTL_settscinfo", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETPAGEFRAMEINFO3, "XEN_DOMCTL_getpageframeinfo3", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETVCPUEXTSTATE, "XEN_DOMCTL_setvcpuextstate", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETVCPUEXTSTATE, "XEN_DOMCTL_getvcpuextstate", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_ACCESS_REQUIRED, "XEN_DOMCTL_set_access_required", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_AUDIT_P2M, "XEN_DOMCTL_audit_p2m", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_VIRQ_HANDLER, "XEN_DOMCTL_set_virq_handler", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_BROKEN_PAGE_P2M, "XEN_DOMCTL_set_broken_page_p2m", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETNODEAFFINITY, "XEN_DOMCTL_setnodeaffinity", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GETNODEAFFINITY, "XEN_DOMCTL_getnodeaffinity", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_CACHEFLUSH, "XEN_DOMCTL_cacheflush", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GET_VCPU_MSRS, "XEN_DOMCTL_get_vcpu_msrs", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_VCPU_MSRS, "XEN_DOMCTL_set_vcpu_msrs", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SETVNUMAINFO, "XEN_DOMCTL_setvnumainfo", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_PSR_CMT_OP, "XEN_DOMCTL_psr_cmt_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_MONITOR_OP, "XEN_DOMCTL_monitor_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_PSR_ALLOC, "XEN_DOMCTL_psr_alloc", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SOFT_RESET, "XEN_DOMCTL_soft_reset", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_VUART_OP, "XEN_DOMCTL_vuart_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GET_CPU_POLICY, "XEN_DOMCTL_get_cpu_policy", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_CPU_POLICY, "XEN_DOMCTL_set_cpu_policy", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_VMTRACE_OP, "XEN_DOMCTL_vmtrace_op", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE, "XEN_DOMCTL_get_paging_mempool_size", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, "XEN_DOMCTL_set_paging_mempool_size", absent(Errno::ENOSYS)),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GDBSX_GUESTMEMIO, "XEN_DOMCTL_gdbsx_guestmemio", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GDBSX_PAUSEVCPU, "XEN_DOMCTL_gdbsx_pausevcpu", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GDBSX_UNPAUSEVCPU, "XEN_DOMCTL_gdbsx_unpausevcpu", SERVED),
    op(HYPERVISOR_DOMCTL, XEN_DOMCTL_GDBSX_DOMSTATUS, "XEN_DOMCTL_gdbsx_domstatus", SERVED),
    call(HYPERVISOR_KEXEC_OP, "kexec_op", SERVED, "no memory is set aside for a crash kernel: no image is loaded"),
    op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC, "KEXEC_CMD_kexec", absent(Errno::ENOENT)),
    op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_LOAD_V1, "KEXEC_CMD_kexec_load_v1", absent(Errno::EINVAL)),
    op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_UNLOAD_V1, "KEXEC_CMD_kexec_unload_v1", SERVED),
    op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_GET_RANGE, "KEXEC_CMD_kexec_get_range", SERVED),
    op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_LOAD, "KEXEC_CMD_kexec_load", absent(Errno::ENOSYS)),
    op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_UNLOAD, "KEXEC_CMD_kexec_unload", SERVED),
    op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_STATUS, "KEXEC_CMD_kexec_status", SERVED),
    call(HYPERVISOR_TMEM_OP, "tmem_op", absent(Errno::ENOSYS), "as every hypervisor since 4.13"),
    call(HYPERVISOR_ARGO_OP, "argo_op", absent(Errno::ENOSYS), "built without"),
    call(HYPERVISOR_XENPMU_OP, "xenpmu_op", absent(Errno::EOPNOTSUPP), "counters are not virtualised"),
    call(HYPERVISOR_DM_OP, "dm_op", absent(Errno::ENOSYS), "PV only"),
    call(HYPERVISOR_HYPFS_OP, "hypfs_op", SERVED, "nothing in it is for writing"),
    op(HYPERVISOR_HYPFS_OP, XEN_HYPFS_OP_GET_VERSION, "XEN_HYPFS_OP_get_version", SERVED),
    op(HYPERVISOR_HYPFS_OP, XEN_HYPFS_OP_READ, "XEN_HYPFS_OP_read", SERVED),
    op(HYPERVISOR_HYPFS_OP, XEN_HYPFS_OP_WRITE_CONTENTS, "XEN_HYPFS_OP_write_contents", absent(Errno::EACCES)),
    call(HYPERVISOR_MCA, "mca", SERVED, "errors come from hardware alone: no register is injected"),
    op(HYPERVISOR_MCA, XEN_MC_FETCH, "XEN_MC_fetch", SERVED),
    op(HYPERVISOR_MCA, XEN_MC_NOTIFYDOMAIN, "XEN_MC_notifydomain", absent(Errno::EINVAL)),
    op(HYPERVISOR_MCA, XEN_MC_PHYSCPUINFO, "XEN_MC_physcpuinfo", SERVED),
    op(HYPERVISOR_MCA, XEN_MC_MSRINJECT, "XEN_MC_msrinject", SERVED),
    op(HYPERVISOR_MCA, XEN_MC_MCEINJECT, "XEN_MC_mceinject", absent(Errno::EOPNOTSUPP)),
    op(HYPERVISOR_MCA, XEN_MC_INJECT_V2, "XEN_MC_inject_v2", absent(Errno::EINVAL)),
    call(HYPERVISOR_XENOLITH_OP, "xenolith_op", SERVED, "not of Xen's interface: see `abi/src/xenolith.rs`"),
    op(HYPERVISOR_XENOLITH_OP, XENOLITH_WHY, "XENOLITH_why", SERVED),
];
