//! Every number of the headers that `abi` names, beside the name C knows it by.

use crate::c::Program;

/// Asks the C compiler for each constant and compares.
macro_rules! constants {
    ($program:ident; $( $( $rust:ident )::+ = $c:ident, )*) => { $(
        $program.constant(stringify!($( $rust )::+), abi::$( $rust )::+ as i128, stringify!($c));
    )* };
}

mod guest;
mod management;
mod processor;

/// Numbers that no header gives a value for tools: what they are stands at their definitions.
pub const ABSENT_FROM_HEADERS: &[&str] = &[
    "arch_x86::TI_DPL_MASK",
    "arch_x86::TI_IF",
    "cpufeatureset::FEATURESET_1D",
    "cpufeatureset::FEATURESET_1C",
    "cpufeatureset::FEATURESET_E1D",
    "cpufeatureset::FEATURESET_E1C",
    "cpufeatureset::FEATURESET_DA1",
    "cpufeatureset::FEATURESET_7B0",
    "cpufeatureset::FEATURESET_7C0",
    "cpufeatureset::FEATURESET_E7D",
    "cpufeatureset::FEATURESET_E8B",
    "cpufeatureset::FEATURESET_7D0",
    "cpufeatureset::FEATURESET_7A1",
    "cpufeatureset::FEATURESET_E21A",
    "cpufeatureset::FEATURESET_7B1",
    "cpufeatureset::FEATURESET_7D2",
    "cpufeatureset::FEATURESET_7C1",
    "cpufeatureset::FEATURESET_7D1",
    "cpufeatureset::FEATURESET_M10A_LO",
    "cpufeatureset::FEATURESET_M10A_HI",
    "cpufeatureset::FEATURESET_E21C",
    "cpufeatureset::FEATURESET_NR_ENTRIES",
    "domctl::XEN_DOMCTL_INTERFACE_VERSION_V17",
    "domctl::DOMCTL_SIZE",
    "domctl::DOMCTL_PAYLOAD_OFFSET",
    "domctl::DOMCTL_PAYLOAD_SIZE",
    "domctl::XEN_DOMCTL_SOFT_RESET_CONT",
    "domctl::XEN_DOMCTL_ALTP2M_MODE_MASK",
    "domctl::TSC_MODE_DEFAULT",
    "domctl::TSC_MODE_ALWAYS_EMULATE",
    "domctl::TSC_MODE_NEVER_EMULATE",
    "event_channel::EVTCHNOP_RESET_CONT",
    "io::console::XENCONS_IN_SIZE",
    "io::console::XENCONS_OUT_SIZE",
    "memory::XENMEMF_ADDRESS_BITS_MASK",
    "memory::XENMEMF_NODE_SHIFT",
    "memory::XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ_BASE",
    "memory::E820_RAM",
    "memory::E820_RESERVED",
    "memory::E820_ACPI",
    "memory::E820_NVS",
    "memory::E820_UNUSABLE",
    "platform::PLATFORM_OP_SIZE",
    "platform::PLATFORM_OP_PAYLOAD_OFFSET",
    "platform::PLATFORM_OP_PAYLOAD_SIZE",
    "sysctl::SYSCTL_SIZE",
    "sysctl::SYSCTL_PAYLOAD_OFFSET",
    "sysctl::SYSCTL_PAYLOAD_SIZE",
    "version::XEN_COMMANDLINE_LEN",
    "xen::MMU_UPDATE_PREEMPTED",
    "xen_mca::MC_SIZE",
    "xen_mca::MC_PAYLOAD_OFFSET",
    "xenolith::HYPERVISOR_XENOLITH_OP",
    "xenolith::XENOLITH_WHY",
    "xenolith::XENOLITH_WHY_NO_OPERATION",
    "xenolith::XENOLITH_WHY_THIS_VCPU",
    "xenolith::XENOLITH_WHY_LINKS",
    "xenolith::XENOLITH_WHY_TEXT",
];

pub fn all(program: &mut Program) {
    guest::all(program);
    management::all(program);
    processor::all(program);
}
