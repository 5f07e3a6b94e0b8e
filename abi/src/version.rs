//! `xen/version.h`: xen_version.

// xen_version sub-operations.
/// Returns major << 16 | minor.
pub const XENVER_VERSION: u32 = 0;
pub const XENVER_EXTRAVERSION: u32 = 1;
pub const XENVER_COMPILE_INFO: u32 = 2;
pub const XENVER_CAPABILITIES: u32 = 3;
pub const XENVER_CHANGESET: u32 = 4;
pub const XENVER_PLATFORM_PARAMETERS: u32 = 5;
pub const XENVER_GET_FEATURES: u32 = 6;
/// Returns the page size.
pub const XENVER_PAGESIZE: u32 = 7;
/// Argument: the caller's domain UUID, out.
pub const XENVER_GUEST_HANDLE: u32 = 8;
pub const XENVER_COMMANDLINE: u32 = 9;
pub const XENVER_BUILD_ID: u32 = 10;

// Bytes of the strings the sub-operations fill (zero-terminated).
pub const XEN_EXTRAVERSION_LEN: usize = 16;
pub const XEN_CAPABILITIES_INFO_LEN: usize = 1024;
pub const XEN_CHANGESET_INFO_LEN: usize = 64;
pub const XEN_COMMANDLINE_LEN: usize = 1024;

abi_struct! {
    /// `struct xen_compile_info`: zero-terminated strings (hypervisor → guest).
    pub struct CompileInfo [144] {
        pub compiler: [u8; 64],
        pub compile_by: [u8; 16],
        pub compile_domain: [u8; 32],
        pub compile_date: [u8; 32],
    }

    /// `struct xen_platform_parameters` (hypervisor → guest).
    pub struct PlatformParameters [8] {
        /// First address of the hypervisor's area.
        pub virt_start: u64,
    }

    /// `struct xen_feature_info`: 32 `XENFEAT_*` bits.
    pub struct FeatureInfo [8] {
        /// In: which 32, 0..`XENFEAT_NR_SUBMAPS`.
        pub submap_idx: u32,
        /// Out.
        pub submap: u32,
    }

    /// `struct xen_build_id`: the head; the id's bytes follow.
    pub struct BuildId [4] {
        /// In: bytes of room.
        pub len: u32,
    }
}
