//! CPUID leaves and feature bits, by the manuals' names (Intel SDM volume 2, CPUID; AMD APM volume 3,
//! appendix E). A module for each register of each leaf.

/// What CPUID answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpuid {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

// Basic leaves.
/// Highest basic leaf; vendor in ebx, edx, ecx.
pub const LEAF_VENDOR: u32 = 0;
/// Family, model, stepping; features.
pub const LEAF_FEATURES: u32 = 1;
/// Cache descriptors (Intel).
pub const LEAF_CACHE_DESCRIPTORS: u32 = 2;
/// Cache parameters by sub-leaf (Intel).
pub const LEAF_CACHE_PARAMETERS: u32 = 4;
pub const LEAF_MONITOR_MWAIT: u32 = 5;
pub const LEAF_THERMAL_POWER: u32 = 6;
/// Features by sub-leaf.
pub const LEAF_EXTENDED_FEATURES: u32 = 7;
pub const LEAF_PERFORMANCE_MONITORING: u32 = 0xa;
/// x2APIC topology by sub-leaf.
pub const LEAF_TOPOLOGY: u32 = 0xb;
/// XSAVE components by sub-leaf.
pub const LEAF_XSTATE: u32 = 0xd;
/// TSC to crystal ratio: ecx * ebx / eax Hz.
pub const LEAF_TSC: u32 = 0x15;
/// Frequencies in MHz: base eax, maximum ebx, bus ecx.
pub const LEAF_FREQUENCY: u32 = 0x16;

/// First leaf of a hypervisor; others follow in steps of 0x100.
pub const LEAF_HYPERVISOR: u32 = 0x4000_0000;

// Extended leaves.
/// Highest extended leaf.
pub const LEAF_EXT_MAX: u32 = 0x8000_0000;
pub const LEAF_EXT_FEATURES: u32 = 0x8000_0001;
/// Brand string, three leaves.
pub const LEAF_BRAND_FIRST: u32 = 0x8000_0002;
pub const LEAF_BRAND_LAST: u32 = 0x8000_0004;
pub const LEAF_L1_CACHE_TLB: u32 = 0x8000_0005;
pub const LEAF_L2_L3_CACHE: u32 = 0x8000_0006;
/// Advanced power management: invariant TSC.
pub const LEAF_APM: u32 = 0x8000_0007;
/// Address widths in eax: physical bits 0..8, linear bits 8..16.
pub const LEAF_ADDRESS_SIZES: u32 = 0x8000_0008;
/// SVM: revision in eax, ASIDs in ebx.
pub const LEAF_SVM: u32 = 0x8000_000a;
/// Cache parameters by sub-leaf (AMD).
pub const LEAF_AMD_CACHE_PARAMETERS: u32 = 0x8000_001d;
/// Topology (AMD).
pub const LEAF_AMD_TOPOLOGY: u32 = 0x8000_001e;
pub const LEAF_AMD_EXT_FEATURES_2: u32 = 0x8000_0021;

/// Family and model as the manuals combine the base and extended fields of leaf 1's eax.
pub const fn family_model_stepping(eax: u32) -> (u32, u32, u32) {
    let (base_family, base_model) = ((eax >> 8) & 0xf, (eax >> 4) & 0xf);
    let family = if base_family == 0xf { base_family + ((eax >> 20) & 0xff) } else { base_family };
    let extended = base_family == 0xf || base_family == 0x6;
    let model = if extended { base_model | (((eax >> 16) & 0xf) << 4) } else { base_model };
    (family, model, eax & 0xf)
}

/// Leaf 1, ecx.
pub mod l1_ecx {
    pub const SSE3: u32 = 1 << 0;
    pub const PCLMULQDQ: u32 = 1 << 1;
    pub const DTES64: u32 = 1 << 2;
    pub const MONITOR: u32 = 1 << 3;
    pub const DS_CPL: u32 = 1 << 4;
    pub const VMX: u32 = 1 << 5;
    pub const SMX: u32 = 1 << 6;
    pub const EIST: u32 = 1 << 7;
    pub const TM2: u32 = 1 << 8;
    pub const SSSE3: u32 = 1 << 9;
    pub const CNXT_ID: u32 = 1 << 10;
    pub const SDBG: u32 = 1 << 11;
    pub const FMA: u32 = 1 << 12;
    pub const CMPXCHG16B: u32 = 1 << 13;
    pub const XTPR: u32 = 1 << 14;
    pub const PDCM: u32 = 1 << 15;
    pub const PCID: u32 = 1 << 17;
    pub const DCA: u32 = 1 << 18;
    pub const SSE4_1: u32 = 1 << 19;
    pub const SSE4_2: u32 = 1 << 20;
    pub const X2APIC: u32 = 1 << 21;
    pub const MOVBE: u32 = 1 << 22;
    pub const POPCNT: u32 = 1 << 23;
    pub const TSC_DEADLINE: u32 = 1 << 24;
    pub const AESNI: u32 = 1 << 25;
    pub const XSAVE: u32 = 1 << 26;
    pub const OSXSAVE: u32 = 1 << 27;
    pub const AVX: u32 = 1 << 28;
    pub const F16C: u32 = 1 << 29;
    pub const RDRAND: u32 = 1 << 30;
    pub const HYPERVISOR: u32 = 1 << 31;
}

/// Leaf 1, edx.
pub mod l1_edx {
    pub const FPU: u32 = 1 << 0;
    pub const VME: u32 = 1 << 1;
    pub const DE: u32 = 1 << 2;
    pub const PSE: u32 = 1 << 3;
    pub const TSC: u32 = 1 << 4;
    pub const MSR: u32 = 1 << 5;
    pub const PAE: u32 = 1 << 6;
    pub const MCE: u32 = 1 << 7;
    pub const CX8: u32 = 1 << 8;
    pub const APIC: u32 = 1 << 9;
    pub const SEP: u32 = 1 << 11;
    pub const MTRR: u32 = 1 << 12;
    pub const PGE: u32 = 1 << 13;
    pub const MCA: u32 = 1 << 14;
    pub const CMOV: u32 = 1 << 15;
    pub const PAT: u32 = 1 << 16;
    pub const PSE36: u32 = 1 << 17;
    pub const PSN: u32 = 1 << 18;
    pub const CLFSH: u32 = 1 << 19;
    pub const DS: u32 = 1 << 21;
    pub const ACPI: u32 = 1 << 22;
    pub const MMX: u32 = 1 << 23;
    pub const FXSR: u32 = 1 << 24;
    pub const SSE: u32 = 1 << 25;
    pub const SSE2: u32 = 1 << 26;
    pub const SS: u32 = 1 << 27;
    pub const HTT: u32 = 1 << 28;
    pub const TM: u32 = 1 << 29;
    pub const PBE: u32 = 1 << 31;
}

/// Leaf 6, eax: thermal and power management.
pub mod l6_eax {
    pub const DTS: u32 = 1 << 0;
    pub const TURBO: u32 = 1 << 1;
    pub const ARAT: u32 = 1 << 2;
    pub const PLN: u32 = 1 << 4;
    pub const ECMD: u32 = 1 << 5;
    pub const PTM: u32 = 1 << 6;
    pub const HWP: u32 = 1 << 7;
}

/// Leaf 6, ecx.
pub mod l6_ecx {
    pub const EFFFREQ: u32 = 1 << 0;
}

/// Leaf 7, sub-leaf 0, ebx.
pub mod l7_0_ebx {
    pub const FSGSBASE: u32 = 1 << 0;
    pub const TSC_ADJUST: u32 = 1 << 1;
    pub const SGX: u32 = 1 << 2;
    pub const BMI1: u32 = 1 << 3;
    pub const HLE: u32 = 1 << 4;
    pub const AVX2: u32 = 1 << 5;
    pub const FDP_EXCPTN_ONLY: u32 = 1 << 6;
    pub const SMEP: u32 = 1 << 7;
    pub const BMI2: u32 = 1 << 8;
    pub const ERMS: u32 = 1 << 9;
    pub const INVPCID: u32 = 1 << 10;
    pub const RTM: u32 = 1 << 11;
    pub const PQM: u32 = 1 << 12;
    pub const NO_FPU_CSDS: u32 = 1 << 13;
    pub const MPX: u32 = 1 << 14;
    pub const PQE: u32 = 1 << 15;
    pub const AVX512F: u32 = 1 << 16;
    pub const AVX512DQ: u32 = 1 << 17;
    pub const RDSEED: u32 = 1 << 18;
    pub const ADX: u32 = 1 << 19;
    pub const SMAP: u32 = 1 << 20;
    pub const AVX512_IFMA: u32 = 1 << 21;
    pub const CLFLUSHOPT: u32 = 1 << 23;
    pub const CLWB: u32 = 1 << 24;
    pub const PT: u32 = 1 << 25;
    pub const AVX512PF: u32 = 1 << 26;
    pub const AVX512ER: u32 = 1 << 27;
    pub const AVX512CD: u32 = 1 << 28;
    pub const SHA: u32 = 1 << 29;
    pub const AVX512BW: u32 = 1 << 30;
    pub const AVX512VL: u32 = 1 << 31;
}

/// Leaf 7, sub-leaf 0, ecx.
pub mod l7_0_ecx {
    pub const PREFETCHWT1: u32 = 1 << 0;
    pub const AVX512_VBMI: u32 = 1 << 1;
    pub const UMIP: u32 = 1 << 2;
    pub const PKU: u32 = 1 << 3;
    pub const OSPKE: u32 = 1 << 4;
    pub const WAITPKG: u32 = 1 << 5;
    pub const AVX512_VBMI2: u32 = 1 << 6;
    pub const CET_SS: u32 = 1 << 7;
    pub const GFNI: u32 = 1 << 8;
    pub const VAES: u32 = 1 << 9;
    pub const VPCLMULQDQ: u32 = 1 << 10;
    pub const AVX512_VNNI: u32 = 1 << 11;
    pub const AVX512_BITALG: u32 = 1 << 12;
    pub const TME: u32 = 1 << 13;
    pub const AVX512_VPOPCNTDQ: u32 = 1 << 14;
    pub const LA57: u32 = 1 << 16;
    pub const RDPID: u32 = 1 << 22;
    pub const KL: u32 = 1 << 23;
    pub const BUS_LOCK_DETECT: u32 = 1 << 24;
    pub const CLDEMOTE: u32 = 1 << 25;
    pub const MOVDIRI: u32 = 1 << 27;
    pub const MOVDIR64B: u32 = 1 << 28;
    pub const ENQCMD: u32 = 1 << 29;
    pub const SGX_LC: u32 = 1 << 30;
    pub const PKS: u32 = 1 << 31;
}

/// Leaf 7, sub-leaf 0, edx.
pub mod l7_0_edx {
    pub const SGX_KEYS: u32 = 1 << 1;
    pub const AVX512_4VNNIW: u32 = 1 << 2;
    pub const AVX512_4FMAPS: u32 = 1 << 3;
    pub const FSRM: u32 = 1 << 4;
    pub const UINTR: u32 = 1 << 5;
    pub const AVX512_VP2INTERSECT: u32 = 1 << 8;
    pub const SRBDS_CTRL: u32 = 1 << 9;
    pub const MD_CLEAR: u32 = 1 << 10;
    pub const RTM_ALWAYS_ABORT: u32 = 1 << 11;
    pub const RTM_FORCE_ABORT: u32 = 1 << 13;
    pub const SERIALIZE: u32 = 1 << 14;
    pub const HYBRID: u32 = 1 << 15;
    pub const TSXLDTRK: u32 = 1 << 16;
    pub const PCONFIG: u32 = 1 << 18;
    pub const ARCH_LBR: u32 = 1 << 19;
    pub const CET_IBT: u32 = 1 << 20;
    pub const AMX_BF16: u32 = 1 << 22;
    pub const AVX512_FP16: u32 = 1 << 23;
    pub const AMX_TILE: u32 = 1 << 24;
    pub const AMX_INT8: u32 = 1 << 25;
    pub const IBRS_IBPB: u32 = 1 << 26;
    pub const STIBP: u32 = 1 << 27;
    pub const L1D_FLUSH: u32 = 1 << 28;
    pub const ARCH_CAPABILITIES: u32 = 1 << 29;
    pub const CORE_CAPABILITIES: u32 = 1 << 30;
    pub const SSBD: u32 = 1 << 31;
}

/// Leaf 7, sub-leaf 1, eax.
pub mod l7_1_eax {
    pub const AVX_VNNI: u32 = 1 << 4;
    pub const AVX512_BF16: u32 = 1 << 5;
    pub const FZRM: u32 = 1 << 10;
    pub const FSRS: u32 = 1 << 11;
    pub const FSRCS: u32 = 1 << 12;
}

/// Leaf 7, sub-leaf 2, edx.
pub mod l7_2_edx {
    pub const PSFD: u32 = 1 << 0;
    pub const IPRED_CTRL: u32 = 1 << 1;
    pub const RRSBA_CTRL: u32 = 1 << 2;
    pub const DDPD_U: u32 = 1 << 3;
    pub const BHI_CTRL: u32 = 1 << 4;
    pub const MCDT_NO: u32 = 1 << 5;
}

/// Leaf 0xd, sub-leaf 1, eax.
pub mod ld_1_eax {
    pub const XSAVEOPT: u32 = 1 << 0;
    pub const XSAVEC: u32 = 1 << 1;
    pub const XGETBV_ECX1: u32 = 1 << 2;
    pub const XSAVES: u32 = 1 << 3;
    pub const XFD: u32 = 1 << 4;
}

/// Leaf 0x8000_0001, ecx.
pub mod e1_ecx {
    pub const LAHF_SAHF: u32 = 1 << 0;
    pub const CMP_LEGACY: u32 = 1 << 1;
    pub const SVM: u32 = 1 << 2;
    pub const EXT_APIC_SPACE: u32 = 1 << 3;
    pub const ALT_MOV_CR8: u32 = 1 << 4;
    pub const ABM: u32 = 1 << 5;
    pub const SSE4A: u32 = 1 << 6;
    pub const MISALIGN_SSE: u32 = 1 << 7;
    pub const PREFETCHW_3DNOW: u32 = 1 << 8;
    pub const OSVW: u32 = 1 << 9;
    pub const IBS: u32 = 1 << 10;
    pub const XOP: u32 = 1 << 11;
    pub const SKINIT: u32 = 1 << 12;
    pub const WDT: u32 = 1 << 13;
    pub const LWP: u32 = 1 << 15;
    pub const FMA4: u32 = 1 << 16;
    pub const TCE: u32 = 1 << 17;
    pub const NODEID: u32 = 1 << 19;
    pub const TBM: u32 = 1 << 21;
    pub const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
    pub const PERF_CTR_EXT_CORE: u32 = 1 << 23;
    pub const PERF_CTR_EXT_NB: u32 = 1 << 24;
    pub const DATA_BREAKPOINT_EXTENSION: u32 = 1 << 26;
    pub const PERF_TSC: u32 = 1 << 27;
    pub const PERF_CTR_EXT_LLC: u32 = 1 << 28;
    pub const MONITORX: u32 = 1 << 29;
}

/// Leaf 0x8000_0001, edx. Bits that AMD repeats from leaf 1 have their names there.
pub mod e1_edx {
    pub const SYSCALL: u32 = 1 << 11;
    pub const NX: u32 = 1 << 20;
    pub const MMX_EXT: u32 = 1 << 22;
    pub const FFXSR: u32 = 1 << 25;
    pub const PAGE_1GB: u32 = 1 << 26;
    pub const RDTSCP: u32 = 1 << 27;
    pub const LM: u32 = 1 << 29;
    pub const EXT_3DNOW: u32 = 1 << 30;
    pub const NOW_3D: u32 = 1 << 31;
}

/// Leaf 0x8000_0007, edx.
pub mod e7_edx {
    pub const HW_PSTATE: u32 = 1 << 7;
    pub const TSC_INVARIANT: u32 = 1 << 8;
    pub const CPB: u32 = 1 << 9;
    pub const EFF_FREQ_RO: u32 = 1 << 10;
}

/// Leaf 0x8000_0008, ebx.
pub mod e8_ebx {
    pub const CLZERO: u32 = 1 << 0;
    pub const INST_RET_CNT_MSR: u32 = 1 << 1;
    pub const RSTR_FP_ERR_PTRS: u32 = 1 << 2;
    pub const INVLPGB: u32 = 1 << 3;
    pub const RDPRU: u32 = 1 << 4;
    pub const WBNOINVD: u32 = 1 << 9;
    pub const IBPB: u32 = 1 << 12;
    pub const INT_WBINVD: u32 = 1 << 13;
    pub const IBRS: u32 = 1 << 14;
    pub const STIBP: u32 = 1 << 15;
    pub const IBRS_ALWAYS_ON: u32 = 1 << 16;
    pub const STIBP_ALWAYS_ON: u32 = 1 << 17;
    pub const IBRS_PREFERRED: u32 = 1 << 18;
    pub const IBRS_SAME_MODE: u32 = 1 << 19;
    pub const EFER_LMSLE_UNSUPPORTED: u32 = 1 << 20;
    pub const INVLPGB_NESTED: u32 = 1 << 21;
    pub const PPIN: u32 = 1 << 23;
    pub const SSBD: u32 = 1 << 24;
    pub const SSBD_VIRT_SPEC_CTRL: u32 = 1 << 25;
    pub const SSBD_NOT_REQUIRED: u32 = 1 << 26;
    pub const PSFD: u32 = 1 << 28;
    pub const BTC_NO: u32 = 1 << 29;
    pub const IBPB_RET: u32 = 1 << 30;
}

/// Leaf 0x8000_000a, edx: SVM.
pub mod ea_edx {
    pub const NESTED_PAGING: u32 = 1 << 0;
    pub const LBR_VIRT: u32 = 1 << 1;
    pub const SVM_LOCK: u32 = 1 << 2;
    pub const NRIP_SAVE: u32 = 1 << 3;
    pub const TSC_RATE_MSR: u32 = 1 << 4;
    pub const VMCB_CLEAN: u32 = 1 << 5;
    pub const FLUSH_BY_ASID: u32 = 1 << 6;
    pub const DECODE_ASSISTS: u32 = 1 << 7;
    pub const PAUSE_FILTER: u32 = 1 << 10;
    pub const PAUSE_FILTER_THRESHOLD: u32 = 1 << 12;
    pub const AVIC: u32 = 1 << 13;
    pub const VMSAVE_VIRT: u32 = 1 << 15;
    pub const VGIF: u32 = 1 << 16;
    pub const GMET: u32 = 1 << 17;
    pub const X2AVIC: u32 = 1 << 18;
    pub const SSS_CHECK: u32 = 1 << 19;
    pub const SPEC_CTRL: u32 = 1 << 20;
    pub const HOST_MCE_OVERRIDE: u32 = 1 << 23;
    pub const TLBI_CTL: u32 = 1 << 24;
    pub const VNMI: u32 = 1 << 25;
    pub const IBS_VIRT: u32 = 1 << 26;
}

/// Leaf 0x8000_0021, eax.
pub mod e21_eax {
    pub const NO_NESTED_DATA_BP: u32 = 1 << 0;
    pub const LFENCE_ALWAYS_SERIALIZING: u32 = 1 << 2;
    pub const SMM_PGCFG_LOCK: u32 = 1 << 3;
    pub const VERW_CLEAR: u32 = 1 << 5;
    pub const NULL_SELECT_CLEARS_BASE: u32 = 1 << 6;
    pub const UPPER_ADDRESS_IGNORE: u32 = 1 << 7;
    pub const AUTOMATIC_IBRS: u32 = 1 << 8;
    pub const NO_SMM_CTL_MSR: u32 = 1 << 9;
    pub const FSRS: u32 = 1 << 10;
    pub const FSRC: u32 = 1 << 11;
    pub const PREFETCH_CTL_MSR: u32 = 1 << 13;
    pub const CPUID_USER_DIS: u32 = 1 << 17;
    pub const EPSF: u32 = 1 << 18;
    pub const SBPB: u32 = 1 << 27;
    pub const IBPB_BRTYPE: u32 = 1 << 28;
    pub const SRSO_NO: u32 = 1 << 29;
    pub const SRSO_USER_KERNEL_NO: u32 = 1 << 30;
    pub const SRSO_MSR_FIX: u32 = 1 << 31;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_models_of_known_processors() {
        // Skylake client, Zen 2, Zen 4, Pentium 4.
        assert_eq!(family_model_stepping(0x0005_06e3), (6, 0x5e, 3));
        assert_eq!(family_model_stepping(0x0087_0f10), (0x17, 0x71, 0));
        assert_eq!(family_model_stepping(0x00a1_0f11), (0x19, 0x11, 1));
        assert_eq!(family_model_stepping(0x0000_0f29), (0xf, 2, 9));
    }

    #[test]
    fn bits_stand_where_the_manuals_put_them() {
        assert_eq!(l1_ecx::HYPERVISOR, 1 << 31);
        assert_eq!(l1_edx::PBE, 1 << 31);
        assert_eq!(l7_0_ebx::AVX512VL, 1 << 31);
        assert_eq!(l7_0_ecx::PKS, 1 << 31);
        assert_eq!(l7_0_ecx::LA57, 1 << 16);
        assert_eq!(l7_0_edx::SSBD, 1 << 31);
        assert_eq!(e1_ecx::TOPOLOGY_EXTENSIONS, 1 << 22);
        assert_eq!(e1_ecx::MONITORX, 1 << 29);
        assert_eq!(e1_edx::LM, 1 << 29);
        assert_eq!(e8_ebx::IBPB_RET, 1 << 30);
        assert_eq!(ea_edx::VNMI, 1 << 25);
        assert_eq!(e21_eax::SRSO_MSR_FIX, 1 << 31);
    }
}
