//! `xen/pmu.h`: xenpmu_op, virtual performance counters.

pub const XENPMU_VER_MAJ: u32 = 0;
pub const XENPMU_VER_MIN: u32 = 1;

// xenpmu_op commands.
pub const XENPMU_MODE_GET: u32 = 0;
pub const XENPMU_MODE_SET: u32 = 1;
pub const XENPMU_FEATURE_GET: u32 = 2;
pub const XENPMU_FEATURE_SET: u32 = 3;
pub const XENPMU_INIT: u32 = 4;
pub const XENPMU_FINISH: u32 = 5;
pub const XENPMU_LVTPC_SET: u32 = 6;
pub const XENPMU_FLUSH: u32 = 7;

// PmuParams::val of the mode commands.
pub const XENPMU_MODE_OFF: u64 = 0;
pub const XENPMU_MODE_SELF: u64 = 1 << 0;
pub const XENPMU_MODE_HV: u64 = 1 << 1;
pub const XENPMU_MODE_ALL: u64 = 1 << 2;

// PmuParams::val of the feature commands.
pub const XENPMU_FEATURE_INTEL_BTS: u64 = 1 << 0;
pub const XENPMU_FEATURE_IPC_ONLY: u64 = 1 << 1;
pub const XENPMU_FEATURE_ARCH_ONLY: u64 = 1 << 2;

abi_struct! {
    /// `struct xen_pmu_params`.
    pub struct PmuParams [24] {
        /// `version.maj`.
        pub version_maj: u32,
        /// `version.min`.
        pub version_min: u32,
        pub val: u64,
        pub vcpu: u32,
        pub pad: u32,
    }
}
