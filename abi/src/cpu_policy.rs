//! CPU policies as `xen/arch-x86/xen.h` serialises them (get/set_cpu_policy, both ways).

/// CpuidLeaf::subleaf of a leaf without sub-leaves.
pub const XEN_CPUID_NO_SUBLEAF: u32 = 0xffff_ffff;

abi_struct! {
    /// `struct xen_cpuid_leaf`.
    pub struct CpuidLeaf [24] {
        /// eax.
        pub leaf: u32,
        /// ecx, or `XEN_CPUID_NO_SUBLEAF`.
        pub subleaf: u32,
        pub a: u32,
        pub b: u32,
        pub c: u32,
        pub d: u32,
    }

    /// `struct xen_msr_entry`.
    pub struct MsrEntry [16] {
        /// MSR number.
        pub idx: u32,
        /// Reserved, 0.
        pub flags: u32,
        pub val: u64,
    }
}
