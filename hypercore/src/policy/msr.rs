//! RDMSR and WRMSR for PV guests: an explicit table. What is not in it faults.
//!
//! A policy decides; the caller carries out what touches the vCPU or the machine.

use super::cpu_policy::{CpuPolicy, MSR_ARCH_CAPS, MSR_PLATFORM_INFO, PLATFORM_INFO_CPUID_FAULTING, Vendor};
use super::cpuid::XEN_MSR_BASE;
use super::features::Feature;
use x86::pte::canonical;

pub const MSR_TSC: u32 = 0x10;
pub const MSR_PLATFORM_ID: u32 = 0x17;
pub const MSR_APIC_BASE: u32 = 0x1b;
pub const MSR_FEATURE_CONTROL: u32 = 0x3a;
pub const MSR_SPEC_CTRL: u32 = 0x48;
pub const MSR_PRED_CMD: u32 = 0x49;
pub const MSR_UCODE_REV: u32 = 0x8b;
pub const MSR_MISC_FEATURES_ENABLES: u32 = 0x140;
pub const MSR_MCG_CAP: u32 = 0x179;
pub const MSR_MCG_STATUS: u32 = 0x17a;
pub const MSR_MCG_CTL: u32 = 0x17b;
pub const MSR_MISC_ENABLE: u32 = 0x1a0;
pub const MSR_PAT: u32 = 0x277;
pub const MSR_PERF_CAPABILITIES: u32 = 0x345;
pub const MSR_MC0_CTL: u32 = 0x400;
pub const MSR_MC31_MISC: u32 = 0x47f;
pub const MSR_EFER: u32 = 0xc000_0080;
pub const MSR_FS_BASE: u32 = 0xc000_0100;
pub const MSR_GS_BASE: u32 = 0xc000_0101;
pub const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;
pub const MSR_TSC_AUX: u32 = 0xc000_0103;
pub const MSR_K7_EVNTSEL0: u32 = 0xc001_0000;
pub const MSR_K7_PERFCTR3: u32 = 0xc001_0007;
pub const MSR_AMD_SYSCFG: u32 = 0xc001_0010;
pub const MSR_AMD_HWCR: u32 = 0xc001_0015;
pub const MSR_AMD_NB_CFG: u32 = 0xc001_001f;
pub const MSR_AMD_DE_CFG: u32 = 0xc001_1029;

/// The page attributes every PV guest finds: WB, WT, UC-, UC, WC, WP, UC, UC.
pub const XEN_PAT: u64 = 0x0501_0007_0406;

const EFER_SCE: u64 = 1 << 0;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EFER_NX: u64 = 1 << 11;
const APIC_BASE_ADDRESS: u64 = 0xfee0_0000;
const APIC_BASE_ENABLE: u64 = 1 << 11;
const APIC_BASE_BSP: u64 = 1 << 8;
/// MISC_ENABLE: performance monitoring (given off), BTS and PEBS unavailable (given on).
const MISC_ENABLE_PERF: u64 = 1 << 7;
const MISC_ENABLE_NO_BTS_PEBS: u64 = 3 << 11;
/// NB_CFG: extended configuration space through port CF8 is on.
const NB_CFG_CF8_EXT: u64 = 1 << 46;
/// HWCR: the TSC runs at the P0 frequency.
const HWCR_TSC_FREQ_SEL: u64 = 1 << 24;
/// DE_CFG: LFENCE serialises.
const DE_CFG_LFENCE: u64 = 1 << 1;

/// Who reads or writes.
#[derive(Clone, Copy, Debug)]
pub struct MsrContext {
    /// The domain owns the hardware (dom0).
    pub hardware_domain: bool,
    /// vCPU 0.
    pub boot_vcpu: bool,
    /// CPUID faulting is on for this vCPU.
    pub cpuid_faulting: bool,
}

/// What RDMSR is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMsr {
    Value(u64),
    /// The value RDTSC would give.
    Tsc,
    FsBase,
    GsBase,
    /// The base that is not active: the one SWAPGS would bring.
    KernelGsBase,
    TscAux,
    SpecCtrl,
    /// The machine's own, with bits forced; #GP if the machine has none.
    Host {
        msr: u32,
        clear: u64,
        set: u64,
    },
    /// #GP(0).
    Fault,
}

/// What WRMSR is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMsr {
    Ignore,
    FsBase(u64),
    GsBase(u64),
    KernelGsBase(u64),
    TscAux(u32),
    SpecCtrl(u64),
    /// Written to the machine as it is; has no lasting effect there.
    Host {
        msr: u32,
        value: u64,
    },
    CpuidFaulting(bool),
    /// Fill this frame of the guest with hypercall stubs.
    HypercallPage {
        gfn: u64,
    },
    /// #GP(0).
    Fault,
}

fn efer(policy: &CpuPolicy) -> u64 {
    EFER_SCE | EFER_LME | EFER_LMA | if policy.has(Feature::NX) { EFER_NX } else { 0 }
}

/// What RDMSR with ECX = `msr` does in a PV guest.
pub fn read(msr: u32, policy: &CpuPolicy, cx: &MsrContext) -> ReadMsr {
    use ReadMsr::*;
    let vendor = policy.vendor();
    let amd = vendor == Vendor::Amd;
    let host = |msr| Host { msr, clear: 0, set: 0 };
    match msr {
        MSR_TSC => Tsc,
        MSR_FS_BASE => FsBase,
        MSR_GS_BASE => GsBase,
        MSR_KERNEL_GS_BASE => KernelGsBase,
        MSR_EFER => Value(efer(policy)),
        MSR_PAT => Value(XEN_PAT),
        MSR_TSC_AUX if policy.has(Feature::RDTSCP) || policy.has(Feature::RDPID) => TscAux,
        // There is no local APIC to be found there, but Linux looks whether it is on.
        MSR_APIC_BASE => {
            Value(APIC_BASE_ADDRESS | APIC_BASE_ENABLE | if cx.boot_vcpu { APIC_BASE_BSP } else { 0 })
        }
        MSR_PLATFORM_INFO => Value(policy.platform_info),
        MSR_MISC_FEATURES_ENABLES => Value(u64::from(cx.cpuid_faulting)),
        MSR_ARCH_CAPS if policy.has(Feature::ARCH_CAPS) => Value(policy.arch_caps),
        MSR_SPEC_CTRL if policy.has(Feature::IBRSB) => SpecCtrl,
        MSR_PLATFORM_ID if vendor == Vendor::Intel && cx.hardware_domain => host(msr),
        // Locked, with VMX and SGX off.
        MSR_FEATURE_CONTROL if vendor == Vendor::Intel => Value(1),
        MSR_MISC_ENABLE if vendor == Vendor::Intel => {
            Host { msr, clear: MISC_ENABLE_PERF, set: MISC_ENABLE_NO_BTS_PEBS }
        }
        MSR_UCODE_REV if cx.hardware_domain => host(msr),
        MSR_UCODE_REV => Value(0),
        // Machine checks: no banks. Dom0 learns of them by the `mca` hypercall.
        MSR_MCG_CAP | MSR_MCG_STATUS | MSR_MCG_CTL | MSR_MC0_CTL..=MSR_MC31_MISC => Value(0),
        // No performance counters.
        MSR_PERF_CAPABILITIES => Value(0),
        MSR_K7_EVNTSEL0..=MSR_K7_PERFCTR3 if amd => Value(0),
        // Linux reads these without asking whether they are there.
        MSR_AMD_SYSCFG if amd => Value(0),
        MSR_AMD_HWCR if amd => Value(if policy.has(Feature::ITSC) { HWCR_TSC_FREQ_SEL } else { 0 }),
        MSR_AMD_DE_CFG if amd => Value(DE_CFG_LFENCE),
        // Configuration space through CF8 is the hypervisor's to decide; dom0 need not turn it on.
        MSR_AMD_NB_CFG if amd && cx.hardware_domain => Value(NB_CFG_CF8_EXT),
        XEN_MSR_BASE => Value(0),
        _ => Fault,
    }
}

/// What WRMSR of `value` with ECX = `msr` does in a PV guest.
pub fn write(msr: u32, value: u64, policy: &CpuPolicy, cx: &MsrContext) -> WriteMsr {
    use WriteMsr::*;
    let when = |ok: bool, then: WriteMsr| if ok { then } else { Fault };
    let amd = policy.vendor() == Vendor::Amd;
    match msr {
        MSR_FS_BASE => when(canonical(value), FsBase(value)),
        MSR_GS_BASE => when(canonical(value), GsBase(value)),
        MSR_KERNEL_GS_BASE => when(canonical(value), KernelGsBase(value)),
        // What a guest cannot change it may write as it is.
        MSR_EFER => when(value | EFER_LMA == efer(policy), Ignore),
        MSR_PAT => when(value == XEN_PAT, Ignore),
        MSR_TSC_AUX if policy.has(Feature::RDTSCP) || policy.has(Feature::RDPID) => {
            when(value >> 32 == 0, TscAux(value as u32))
        }
        MSR_MISC_FEATURES_ENABLES => {
            let possible = policy.platform_info & PLATFORM_INFO_CPUID_FAULTING != 0;
            when(value == 0 || value == 1 && possible, CpuidFaulting(value == 1))
        }
        MSR_SPEC_CTRL if policy.has(Feature::IBRSB) => {
            let mut allowed = 1;
            for (feature, bit) in [(Feature::STIBP, 2), (Feature::SSBD, 4), (Feature::INTEL_PSFD, 0x80)] {
                if policy.has(feature) {
                    allowed |= bit;
                }
            }
            when(value & !allowed == 0, SpecCtrl(value))
        }
        MSR_PRED_CMD if policy.has(Feature::IBRSB) || policy.has(Feature::IBPB) => {
            when(value & !1 == 0, if value == 0 { Ignore } else { Host { msr, value } })
        }
        // Intel's way of asking for the microcode revision begins with writing 0.
        MSR_UCODE_REV if policy.vendor() == Vendor::Intel => when(value == 0, Ignore),
        MSR_MCG_STATUS => when(value == 0, Ignore),
        // OpenBSD and Linux make LFENCE serialising here: it is.
        MSR_AMD_DE_CFG if amd => Ignore,
        MSR_AMD_NB_CFG if amd && cx.hardware_domain => when(value == NB_CFG_CF8_EXT, Ignore),
        XEN_MSR_BASE => when(value & 0xfff == 0, HypercallPage { gfn: value >> 12 }),
        _ => Fault,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{amd, intel};
    use super::*;

    const DOM0: MsrContext = MsrContext { hardware_domain: true, boot_vcpu: true, cpuid_faulting: false };
    const DOMU: MsrContext = MsrContext { hardware_domain: false, boot_vcpu: false, cpuid_faulting: false };

    #[test]
    fn reads() {
        let (amd, intel) = (amd().dom0(), intel().dom0());
        assert_eq!(read(MSR_EFER, &amd, &DOMU), ReadMsr::Value(0xd01));
        assert_eq!(read(MSR_PAT, &amd, &DOMU), ReadMsr::Value(0x50100070406));
        assert_eq!(read(MSR_APIC_BASE, &amd, &DOM0), ReadMsr::Value(0xfee0_0900));
        assert_eq!(read(MSR_APIC_BASE, &amd, &DOMU), ReadMsr::Value(0xfee0_0800));
        assert_eq!(read(MSR_AMD_SYSCFG, &amd, &DOM0), ReadMsr::Value(0));
        assert_eq!(read(MSR_AMD_SYSCFG, &intel, &DOM0), ReadMsr::Fault);
        assert_eq!(read(MSR_MISC_ENABLE, &amd, &DOM0), ReadMsr::Fault);
        assert!(matches!(
            read(MSR_MISC_ENABLE, &intel, &DOM0),
            ReadMsr::Host { clear: 0x80, set: 0x1800, .. }
        ));
        assert_eq!(read(MSR_UCODE_REV, &intel, &DOMU), ReadMsr::Value(0));
        assert_eq!(read(0xfe, &intel, &DOM0), ReadMsr::Fault, "MTRRs are hidden");
        assert_eq!(read(0x1234_5678, &intel, &DOM0), ReadMsr::Fault);
    }

    #[test]
    fn writes() {
        let (amd, intel) = (amd().dom0(), intel().dom0());
        assert_eq!(write(MSR_FS_BASE, 0x7fff_0000_1000, &amd, &DOMU), WriteMsr::FsBase(0x7fff_0000_1000));
        assert_eq!(write(MSR_GS_BASE, 1 << 47, &amd, &DOMU), WriteMsr::Fault, "not canonical");
        assert_eq!(write(MSR_EFER, 0xd01, &amd, &DOMU), WriteMsr::Ignore);
        assert_eq!(write(MSR_EFER, 0x1d01, &amd, &DOMU), WriteMsr::Fault, "SVME");
        assert_eq!(write(MSR_PAT, 0x0007_0406_0007_0406, &amd, &DOM0), WriteMsr::Fault);
        assert_eq!(write(MSR_PAT, XEN_PAT, &amd, &DOM0), WriteMsr::Ignore);
        assert_eq!(write(MSR_UCODE_REV, 0, &intel, &DOMU), WriteMsr::Ignore);
        assert_eq!(write(MSR_UCODE_REV, 0, &amd, &DOMU), WriteMsr::Fault);
        assert_eq!(write(MSR_TSC_AUX, 7, &amd, &DOMU), WriteMsr::TscAux(7));
        assert_eq!(write(MSR_TSC_AUX, 1 << 32, &amd, &DOMU), WriteMsr::Fault);
        assert_eq!(write(MSR_MISC_FEATURES_ENABLES, 1, &amd, &DOMU), WriteMsr::Fault);
        assert_eq!(write(MSR_APIC_BASE, 0, &amd, &DOM0), WriteMsr::Fault);
        assert_eq!(write(XEN_MSR_BASE, 0x5000, &amd, &DOMU), WriteMsr::HypercallPage { gfn: 5 });
    }

    #[test]
    fn what_is_not_switched_is_not_there() {
        let policy = amd().dom0();
        assert_eq!(read(MSR_SPEC_CTRL, &policy, &DOM0), ReadMsr::Fault);
        assert_eq!(write(MSR_SPEC_CTRL, 0, &policy, &DOM0), WriteMsr::Fault);
    }
}
