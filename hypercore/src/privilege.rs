//! Who may make which hypercall.
//!
//! Two functions decide, [`Cx::must_be_privileged`](crate::xen::Cx::must_be_privileged) and
//! [`Cx::domain_for_control`](crate::xen::Cx::domain_for_control); grants and event channels ask what their owner
//! offered. [`who`] says for each operation what must come of that, and the tests hold every served operation against
//! it, by every kind of caller.

use abi::event_channel::*;
use abi::grant_table::*;
use abi::memory::*;
use abi::physdev::*;
use abi::sched::*;
use abi::xen::*;

/// Whom an operation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Any domain: it is about the caller itself, or about what another domain offered it.
    Anyone,
    /// Any domain about itself; about another one only the privileged.
    Target,
    /// Only the privileged.
    Privileged,
}

/// Whom operation `op` of hypercall `nr` (a call without operations: `None`) is for.
pub fn who(nr: u32, op: Option<u32>) -> Who {
    match (nr, op) {
        (
            HYPERVISOR_DOMCTL
            | HYPERVISOR_SYSCTL
            | HYPERVISOR_PLATFORM_OP
            | HYPERVISOR_HYPFS_OP
            | HYPERVISOR_KEXEC_OP
            | HYPERVISOR_MCA,
            _,
        ) => Who::Privileged,
        (HYPERVISOR_CONSOLE_IO, Some(CONSOLEIO_READ)) => Who::Privileged,
        (HYPERVISOR_MMU_UPDATE | HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN, _) => Who::Target,
        (HYPERVISOR_MMUEXT_OP, Some(op)) => match op {
            MMUEXT_FLUSH_CACHE | MMUEXT_FLUSH_CACHE_GLOBAL => Who::Privileged,
            MMUEXT_PIN_L1_TABLE..=MMUEXT_UNPIN_TABLE => Who::Target,
            _ => Who::Anyone,
        },
        (HYPERVISOR_MEMORY_OP, Some(op)) => match op {
            XENMEM_MACHINE_MEMORY_MAP | XENMEM_MACHPHYS_MFN_LIST => Who::Privileged,
            XENMEM_CLAIM_PAGES | XENMEM_ACQUIRE_RESOURCE => Who::Privileged,
            XENMEM_INCREASE_RESERVATION | XENMEM_DECREASE_RESERVATION | XENMEM_POPULATE_PHYSMAP => {
                Who::Target
            }
            XENMEM_EXCHANGE | XENMEM_SET_MEMORY_MAP | XENMEM_GET_VNUMAINFO => Who::Target,
            XENMEM_CURRENT_RESERVATION | XENMEM_MAXIMUM_RESERVATION | XENMEM_MAXIMUM_GPFN => Who::Target,
            XENMEM_ADD_TO_PHYSMAP | XENMEM_ADD_TO_PHYSMAP_BATCH | XENMEM_REMOVE_FROM_PHYSMAP => Who::Target,
            _ => Who::Anyone,
        },
        (HYPERVISOR_GRANT_TABLE_OP, Some(op)) => match op {
            GNTTABOP_SETUP_TABLE | GNTTABOP_QUERY_SIZE => Who::Target,
            GNTTABOP_GET_VERSION | GNTTABOP_GET_STATUS_FRAMES => Who::Target,
            _ => Who::Anyone,
        },
        (HYPERVISOR_EVENT_CHANNEL_OP, Some(EVTCHNOP_ALLOC_UNBOUND | EVTCHNOP_STATUS | EVTCHNOP_RESET)) => {
            Who::Target
        }
        (HYPERVISOR_SCHED_OP, Some(SCHEDOP_REMOTE_SHUTDOWN | SCHEDOP_PIN_OVERRIDE)) => Who::Privileged,
        (HYPERVISOR_PHYSDEV_OP, Some(op)) => match op {
            // About the caller's own interrupts and ports.
            PHYSDEVOP_IRQ_STATUS_QUERY | PHYSDEVOP_EOI | PHYSDEVOP_GET_FREE_PIRQ => Who::Anyone,
            PHYSDEVOP_SET_IOPL | PHYSDEVOP_SET_IOBITMAP => Who::Anyone,
            PHYSDEVOP_PIRQ_EOI_GMFN_V1 | PHYSDEVOP_PIRQ_EOI_GMFN_V2 => Who::Anyone,
            PHYSDEVOP_UNMAP_PIRQ => Who::Target,
            _ => Who::Privileged,
        },
        _ => Who::Anyone,
    }
}

#[cfg(test)]
#[path = "privilege_tests.rs"]
mod tests;
