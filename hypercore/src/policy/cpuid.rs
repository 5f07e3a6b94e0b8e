//! The CPUID instruction for a vCPU: its domain's policy, what depends on the moment, and Xen's own leaves.

use abi::arch_x86::{
    XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, XEN_CPUID_FIRST_LEAF, XEN_CPUID_MAX_NUM_LEAVES,
    XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX,
};

use super::cpu_policy::{A, B, C, CpuPolicy, D, Leaf, Vendor};
use super::features::Feature;

/// The version leaf 0x40000001 reports: 4.17.
pub const XEN_VERSION: u32 = 4 << 16 | 17;
/// MSRs of the hypervisor begin here (leaf 0x40000002).
pub const XEN_MSR_BASE: u32 = 0x4000_0000;

/// What of CPUID depends on the vCPU and the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuidContext {
    /// Local APIC id shown in leaf 1.
    pub apic_id: u8,
    /// OSXSAVE in this view: to the guest's kernel always, where there is XSAVE (Linux takes it for the
    /// hypervisor's word that it may set CR4.OSXSAVE, and does without XSAVE otherwise); to user mode as the
    /// guest's CR4 says.
    pub osxsave: bool,
    /// Shows the MTRRs, for which there is no use: dom0's kernel takes the bit for the hypervisor's word that
    /// `XENPF_*_memtype` may be tried.
    pub mtrr: bool,
    /// Its XCR0.
    pub xcr0: u64,
    /// Bits of the highest machine address there can be.
    pub machine_address_bits: u8,
    pub tsc: TscLeaves,
}

/// Leaf 0x40000003, as the public header `arch-x86/cpuid.h` describes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TscLeaves {
    /// RDTSC is emulated for this guest.
    pub emulated: bool,
    /// The machine's TSCs agree.
    pub host_reliable: bool,
    pub mode: u32,
    pub guest_khz: u32,
    pub incarnation: u32,
    /// Guest time = TSC + `offset` (in guest ticks).
    pub offset: u64,
    /// TSC to ns: multiplier and shift.
    pub mul: u32,
    pub shift: i8,
    pub host_khz: u32,
}

/// What CPUID with EAX = `leaf` and ECX = `subleaf` answers to a PV guest.
pub fn cpuid(policy: &CpuPolicy, leaf: u32, subleaf: u32, cx: &CpuidContext) -> Leaf {
    if leaf & 0xffff_ff00 == XEN_CPUID_FIRST_LEAF {
        return xen_leaf(policy, leaf - XEN_CPUID_FIRST_LEAF, subleaf, cx);
    }
    // What lies in the hypervisors' range and is not ours (the emulator's below us) is not there.
    if leaf >> 16 == XEN_CPUID_FIRST_LEAF >> 16 {
        return [0; 4];
    }
    let mut value = policy.stored(leaf, subleaf);
    if cx.mtrr && (leaf == 1 || leaf == 0x8000_0001 && policy.vendor() == Vendor::Amd) {
        value[D] |= 1 << (Feature::MTRR.0 % 32);
    }
    match (leaf, subleaf) {
        (1, _) => {
            value[B] = value[B] & 0x00ff_ffff | u32::from(cx.apic_id) << 24;
            let osxsave = 1 << (Feature::OSXSAVE.0 % 32);
            value[C] &= !osxsave;
            if cx.osxsave && policy.has(Feature::XSAVE) {
                value[C] |= osxsave;
            }
        }
        (0xd, 0) if value != [0; 4] => value[B] = policy.xsave_size(cx.xcr0),
        (0xd, 1) if policy.has(Feature::XSAVEC) => value[B] = compact_size(policy, cx.xcr0),
        _ => {}
    }
    value
}

/// Bytes of an XSAVE area in the compacted format.
fn compact_size(policy: &CpuPolicy, xcr0: u64) -> u32 {
    let mut size = 512 + 64;
    for i in (2..63).filter(|i| xcr0 >> i & 1 != 0) {
        let component = policy.stored(0xd, i);
        if component[C] & 2 != 0 {
            size = u32::next_multiple_of(size, 64);
        }
        size += component[A];
    }
    size
}

fn xen_leaf(policy: &CpuPolicy, leaf: u32, subleaf: u32, cx: &CpuidContext) -> Leaf {
    let last = policy.hv_leaves(XEN_CPUID_MAX_NUM_LEAVES);
    if leaf > last {
        return [0; 4];
    }
    let t = &cx.tsc;
    match (leaf, subleaf) {
        (0, _) => [
            XEN_CPUID_FIRST_LEAF + last,
            XEN_CPUID_SIGNATURE_EBX,
            XEN_CPUID_SIGNATURE_ECX,
            XEN_CPUID_SIGNATURE_EDX,
        ],
        (1, _) => [XEN_VERSION, 0, 0, 0],
        (2, _) => [1, XEN_MSR_BASE, XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0],
        (3, 0) => [
            u32::from(t.emulated)
                | u32::from(t.host_reliable) << 1
                | u32::from(policy.has(Feature::RDTSCP)) << 2,
            t.mode,
            t.guest_khz,
            t.incarnation,
        ],
        (3, 1) => [t.offset as u32, (t.offset >> 32) as u32, t.mul, i32::from(t.shift) as u32],
        (3, 2) => [t.host_khz, 0, 0, 0],
        (5, 0) => [0, u32::from(cx.machine_address_bits), 0, 0],
        _ => [0; 4],
    }
}
