//! `xen/vcpu.h`: vcpu_op(command, vCPU, argument).

use crate::GuestHandle;

// vcpu_op commands.
/// Argument: [`crate::arch_x86::VcpuGuestContext`].
pub const VCPUOP_INITIALISE: u32 = 0;
pub const VCPUOP_UP: u32 = 1;
pub const VCPUOP_DOWN: u32 = 2;
pub const VCPUOP_IS_UP: u32 = 3;
pub const VCPUOP_GET_RUNSTATE_INFO: u32 = 4;
pub const VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA: u32 = 5;
pub const VCPUOP_SET_PERIODIC_TIMER: u32 = 6;
pub const VCPUOP_STOP_PERIODIC_TIMER: u32 = 7;
pub const VCPUOP_SET_SINGLESHOT_TIMER: u32 = 8;
pub const VCPUOP_STOP_SINGLESHOT_TIMER: u32 = 9;
pub const VCPUOP_REGISTER_VCPU_INFO: u32 = 10;
pub const VCPUOP_SEND_NMI: u32 = 11;
pub const VCPUOP_GET_PHYSID: u32 = 12;
pub const VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA: u32 = 13;

// VcpuRunstateInfo::state, and the index into `time`.
pub const RUNSTATE_RUNNING: i32 = 0;
pub const RUNSTATE_RUNNABLE: i32 = 1;
pub const RUNSTATE_BLOCKED: i32 = 2;
pub const RUNSTATE_OFFLINE: i32 = 3;
/// In `state_entry_time` while the hypervisor writes, if the guest asked for it by
/// `VMASST_TYPE_RUNSTATE_UPDATE_FLAG`.
pub const XEN_RUNSTATE_UPDATE: u64 = 1 << 63;

/// VcpuSetSingleshotTimer::flags: a time in the past answers ETIME.
pub const VCPU_SSHOTTMR_FUTURE: u32 = 1 << 0;

abi_struct! {
    /// `struct vcpu_runstate_info` (hypervisor → guest; also shared memory).
    pub struct VcpuRunstateInfo [48] {
        /// `RUNSTATE_*`.
        pub state: i32,
        pub _pad0: u32,
        /// System time in ns when the state began.
        pub state_entry_time: u64,
        /// Nanoseconds spent in each state.
        pub time: [u64; 4],
    }

    /// `struct vcpu_register_runstate_memory_area`.
    pub struct VcpuRegisterRunstateMemoryArea [8] {
        /// Linear address of a [`VcpuRunstateInfo`].
        pub addr: GuestHandle,
    }

    /// `struct vcpu_set_periodic_timer`.
    pub struct VcpuSetPeriodicTimer [8] {
        /// Nanoseconds, at least a millisecond.
        pub period_ns: u64,
    }

    /// `struct vcpu_set_singleshot_timer`.
    pub struct VcpuSetSingleshotTimer [16] {
        /// System time in nanoseconds.
        pub timeout_abs_ns: u64,
        /// `VCPU_SSHOTTMR_FUTURE`.
        pub flags: u32,
        pub _pad0: u32,
    }

    /// `struct vcpu_register_vcpu_info`.
    pub struct VcpuRegisterVcpuInfo [16] {
        /// Machine frame (guest frame in a translated guest).
        pub mfn: u64,
        /// Bytes into it.
        pub offset: u32,
        pub rsvd: u32,
    }

    /// `struct vcpu_get_physid`.
    pub struct VcpuGetPhysid [8] {
        /// APIC id in the low half, ACPI id in the high one.
        pub phys_id: u64,
    }

    /// `struct vcpu_register_time_memory_area`.
    pub struct VcpuRegisterTimeMemoryArea [8] {
        /// Linear address of a [`crate::xen::VcpuTimeInfo`].
        pub addr: GuestHandle,
    }
}
