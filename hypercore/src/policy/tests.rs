//! Policies of two made-up processors.

use super::cpu_policy::{A, B, C, D, Leaf, MAX_LEAVES};
use super::cpuid::{CpuidContext, TscLeaves, cpuid};
use super::system::Refused;
use super::*;
use abi::cpu_policy::{CpuidLeaf, XEN_CPUID_NO_SUBLEAF};

const ALL: Capabilities = Capabilities {
    xcr0: 7,
    fsgsbase: true,
    tsc_aux: true,
    spec_ctrl: false,
    cpuid_faulting: false,
    arch_caps: 0,
};

fn processor(vendor: [u32; 3]) -> impl Fn(u32, u32) -> Leaf {
    move |leaf, subleaf| match (leaf, subleaf) {
        (0, _) => [0xd, vendor[0], vendor[2], vendor[1]],
        (1, _) => [0x0083_0f10, 0x0302_0800, 0xfffa_3203 | 1 << 3 | 1 << 26, 0x178b_fbff],
        (4, 0) => [0x121, 0, 0, 0],
        (4, 1) => [0x122, 0, 0, 0],
        (4, _) => [0; 4],
        (5, _) => [64, 64, 3, 0x11],
        (7, 0) => [1, !0, !0, !0],
        (7, 1) => [!0, 0, 0, 0],
        (0xa, _) => [2, 3, 4, 5],
        (0xb, n) => [n, 1, 2, 3],
        (0xd, 0) => [0x207, 0x240, 0x988, 0],
        (0xd, 1) => [0xf, 0x240, 0, 0],
        (0xd, 2) => [0x100, 0x240, 0, 0],
        (0xd, 9) => [8, 0x980, 0, 0],
        (0x4000_0000, _) => [0x4000_0001, 0x5443_4754, 0, 0],
        (0x8000_0000, _) => [0x8000_001f, vendor[0], vendor[2], vendor[1]],
        (0x8000_0001, _) => [0, 0, !0, !0],
        (0x8000_0007, _) => [1, 2, 3, 0x100],
        (0x8000_0008, _) => [0x3930, !0, 7, 9],
        (0x8000_000a, _) => [1, 2, 3, 4],
        (0x8000_001f, _) => [!0; 4],
        _ => [0; 4],
    }
}

/// An AMD processor with everything.
pub fn amd() -> SystemPolicies {
    SystemPolicies::new(processor([0x6874_7541, 0x6974_6e65, 0x444d_4163]), &ALL)
}

/// An Intel processor with everything.
pub fn intel() -> SystemPolicies {
    SystemPolicies::new(processor([0x756e_6547, 0x4965_6e69, 0x6c65_746e]), &ALL)
}

const CX: CpuidContext = CpuidContext {
    apic_id: 4,
    osxsave: false,
    mtrr: false,
    xcr0: 3,
    machine_address_bits: 36,
    tsc: TscLeaves {
        emulated: true,
        host_reliable: false,
        mode: 0,
        guest_khz: 1_000_000,
        incarnation: 2,
        offset: 0x1_0000_0002,
        mul: 0x8000_0000,
        shift: -1,
        host_khz: 3_000_000,
    },
};

#[test]
fn a_pv_guest_does_not_see_what_it_cannot_have() {
    let policy = amd().dom0();
    for hidden in [
        Feature::VMX,
        Feature::SVM,
        Feature::PCID,
        Feature::INVPCID,
        Feature::PKU,
        Feature::MONITOR,
        Feature::X2APIC,
        Feature::TSC_DEADLINE,
        Feature::MTRR,
        Feature::PSE,
        Feature::SMEP,
        Feature::SMAP,
        Feature::UMIP,
        Feature::PAGE1GB,
        Feature::XSAVES,
        Feature::CET_SS,
        Feature::IBRSB,
        Feature::AVX512F,
    ] {
        assert!(!policy.has(hidden), "{hidden:?}");
    }
    for shown in
        [Feature::SYSCALL, Feature::NX, Feature::XSAVE, Feature::AVX2, Feature::FSGSBASE, Feature::ITSC]
    {
        assert!(policy.has(shown), "{shown:?}");
    }
    assert!(!amd().pv_default.has(Feature::ITSC));
    assert_eq!(cpuid(&policy, 7, 0, &CX)[C] & 1 << 16, 0, "LA57");
    for leaf in [5, 6, 0xa, 0xb, 0x8000_000a, 0x8000_001e, 0x8000_001f, 0x8000_0022, 0xe, 0xffff_ffff] {
        assert_eq!(cpuid(&policy, leaf, 0, &CX), [0; 4], "leaf {leaf:#x}");
    }
    assert_eq!(cpuid(&policy, 0x8000_0008, 0, &CX)[A], 0x3030, "48-bit linear addresses");
}

#[test]
fn what_depends_on_the_vcpu() {
    let policy = intel().dom0();
    let one = cpuid(&policy, 1, 0, &CX);
    assert_eq!((one[B] >> 24, one[C] >> 27 & 1, one[C] >> 31), (4, 0, 1));
    let on = CpuidContext { osxsave: true, xcr0: 7, ..CX };
    assert_eq!(cpuid(&policy, 1, 0, &on)[C] >> 27 & 1, 1);
    // AVX's state is switched, protection keys' is not.
    assert_eq!(cpuid(&policy, 0xd, 0, &CX), [7, 0x240, 0x340, 0]);
    assert_eq!(cpuid(&policy, 0xd, 0, &on), [7, 0x340, 0x340, 0]);
    assert_eq!(cpuid(&policy, 0xd, 1, &on), [7, 0x340, 0, 0]);
    assert_eq!(cpuid(&policy, 0xd, 9, &on), [0; 4]);
}

#[test]
fn what_differs_by_vendor_and_for_dom0() {
    let bits = |policy: &CpuPolicy, leaf, mtrr| {
        let d = cpuid(policy, leaf, 0, &CpuidContext { mtrr, ..CX })[D];
        (d >> 11 & 1, d >> 12 & 1)
    };
    let (amd, intel) = (amd().dom0(), intel().dom0());
    // SYSENTER and MTRR in leaf 1; SYSCALL and AMD's copy of MTRR in the other.
    assert_eq!((bits(&amd, 1, false), bits(&amd, 1, true)), ((0, 0), (0, 1)));
    assert_eq!((bits(&intel, 1, false), bits(&intel, 1, true)), ((1, 0), (1, 1)));
    assert_eq!((bits(&amd, 0x8000_0001, true), bits(&intel, 0x8000_0001, true)), ((1, 1), (1, 0)));
}

/// A processor that says it has AVX2 but not AVX (QEMU's `-avx`), or a hypervisor that does not switch its state.
#[test]
fn without_avx_there_is_nothing_of_it() {
    let vendor = [0x756e_6547, 0x4965_6e69, 0x6c65_746e];
    let whole = processor(vendor);
    let lame = |leaf, subleaf| {
        let mut r = whole(leaf, subleaf);
        r[C] &= if leaf == 1 { !(1 << 28) } else { !0 };
        r
    };
    let off = Capabilities { xcr0: 3, ..ALL };
    for policies in [SystemPolicies::new(lame, &ALL), SystemPolicies::new(&whole, &off)] {
        for gone in [
            Feature::AVX,
            Feature::AVX2,
            Feature::FMA,
            Feature::F16C,
            Feature::VAES,
            Feature::VPCLMULQDQ,
            Feature::AVX_VNNI,
            Feature::AVX512F,
            Feature::AVX512VL,
            Feature::AVX512_BF16,
            Feature::AVX512_VP2INTERSECT,
        ] {
            assert!(!policies.pv_max.has(gone) && !policies.dom0().has(gone), "{gone:?}");
        }
        assert!(policies.dom0().has(Feature::SSE4_2));
    }
}

#[test]
fn xen_leaves() {
    let policy = amd().dom0();
    let leaf = |n: u32, sub: u32| cpuid(&policy, 0x4000_0000 + n, sub, &CX);
    let zero = leaf(0, 0);
    let text: std::vec::Vec<u8> = zero[1..].iter().flat_map(|r| r.to_le_bytes()).collect();
    assert_eq!((zero[A], &text[..]), (0x4000_0005, &b"XenVMMXenVMM"[..]));
    assert_eq!(leaf(1, 0), [0x0004_0011, 0, 0, 0]);
    assert_eq!(leaf(2, 0), [1, 0x4000_0000, 1, 0]);
    assert_eq!(leaf(3, 0), [0b101, 0, 1_000_000, 2]);
    assert_eq!(leaf(3, 1), [2, 1, 0x8000_0000, !0]);
    assert_eq!(leaf(3, 2), [3_000_000, 0, 0, 0]);
    assert_eq!(leaf(4, 0), [0; 4]);
    assert_eq!(leaf(5, 0), [0, 36, 0, 0]);
    assert_eq!(leaf(6, 0), [0; 4]);
    assert_eq!(leaf(0x100, 0), [0; 4], "the emulator's own are hidden");
}

#[test]
fn a_policy_survives_its_transport() {
    let policies = amd();
    let leaves = policies.host.leaves().unwrap();
    assert!(leaves.len() as u32 <= MAX_LEAVES);
    let mut copy = CpuPolicy::EMPTY;
    for leaf in &leaves {
        copy.put_leaf(leaf).unwrap();
    }
    for msr in &policies.host.msrs() {
        copy.put_msr(msr).unwrap();
    }
    assert_eq!(copy, policies.host);
}

#[test]
fn a_tool_takes_features_away_but_cannot_add() {
    let policies = intel();
    let mut wanted = policies.pv_default.clone();
    let features = wanted.features();
    wanted.set_features(&features.without(Feature::AVX).with(Feature::VMX).with(Feature::ITSC));
    let new = policies.update(&policies.pv_default, &wanted.leaves().unwrap(), &wanted.msrs()).unwrap();
    assert!(!new.has(Feature::AVX) && !new.has(Feature::AVX2) && !new.has(Feature::VMX));
    assert!(new.has(Feature::ITSC), "available on request");
    let without = CpuidContext { xcr0: 3, ..CX };
    assert_eq!(cpuid(&new, 0xd, 0, &without), [3, 0x240, 0x240, 0], "nor its state");
    assert_eq!(cpuid(&new, 0xd, 2, &without), [0; 4]);
    assert_eq!(cpuid(&new, 1, 0, &CX)[D], cpuid(&policies.pv_default, 1, 0, &CX)[D]);
}

/// Where a component stands in an image is the processor's affair.
#[test]
fn a_tool_moves_no_component() {
    let policies = intel();
    let component = CpuidLeaf { leaf: 0xd, subleaf: 2, a: 0x1000, b: 0x2000, c: 0, d: 0 };
    let new = policies.update(&policies.pv_default, &[component], &[]).unwrap();
    assert_eq!(new, policies.pv_default);
}

#[test]
fn impossible_entries_are_named() {
    let policies = intel();
    let update = |leaf, subleaf, a| {
        let entry = CpuidLeaf { leaf, subleaf, a, b: 0, c: 0, d: 0 };
        match policies.update(&policies.pv_default, &[entry], &[]) {
            Err(Refused::Leaf(bad)) => (bad.leaf, bad.subleaf),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(update(0, XEN_CPUID_NO_SUBLEAF, 0x20), (0, XEN_CPUID_NO_SUBLEAF));
    assert_eq!(update(7, 0, 9), (7, 0));
    assert_eq!(update(0x20, XEN_CPUID_NO_SUBLEAF, 0), (0x20, XEN_CPUID_NO_SUBLEAF));
    assert_eq!(update(1, 0, 0), (1, 0));
    let msr = abi::cpu_policy::MsrEntry { idx: 0x1b, flags: 0, val: 0 };
    assert!(matches!(policies.update(&policies.pv_default, &[], &[msr]), Err(Refused::Msr(_))));
}
