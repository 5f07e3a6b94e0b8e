//! `xen/arch-x86/cpufeatureset.h`: the words of a featureset and the bit numbers in them
//! (sysctl get_cpu_featureset; also how `xl info` prints `hw_caps`).

// Indexes of words: the CPUID register (or MSR) each one copies.
/// Leaf 1, edx.
pub const FEATURESET_1D: usize = 0;
/// Leaf 1, ecx.
pub const FEATURESET_1C: usize = 1;
/// Leaf 0x80000001, edx.
pub const FEATURESET_E1D: usize = 2;
/// Leaf 0x80000001, ecx.
pub const FEATURESET_E1C: usize = 3;
/// Leaf 0xd, sub-leaf 1, eax.
pub const FEATURESET_DA1: usize = 4;
/// Leaf 7, sub-leaf 0, ebx.
pub const FEATURESET_7B0: usize = 5;
/// Leaf 7, sub-leaf 0, ecx.
pub const FEATURESET_7C0: usize = 6;
/// Leaf 0x80000007, edx.
pub const FEATURESET_E7D: usize = 7;
/// Leaf 0x80000008, ebx.
pub const FEATURESET_E8B: usize = 8;
/// Leaf 7, sub-leaf 0, edx.
pub const FEATURESET_7D0: usize = 9;
/// Leaf 7, sub-leaf 1, eax.
pub const FEATURESET_7A1: usize = 10;
/// Leaf 0x80000021, eax.
pub const FEATURESET_E21A: usize = 11;
/// Leaf 7, sub-leaf 1, ebx.
pub const FEATURESET_7B1: usize = 12;
/// Leaf 7, sub-leaf 2, edx.
pub const FEATURESET_7D2: usize = 13;
/// Leaf 7, sub-leaf 1, ecx.
pub const FEATURESET_7C1: usize = 14;
/// Leaf 7, sub-leaf 1, edx.
pub const FEATURESET_7D1: usize = 15;
/// MSR 0x10a, low half.
pub const FEATURESET_M10A_LO: usize = 16;
/// MSR 0x10a, high half.
pub const FEATURESET_M10A_HI: usize = 17;
/// Leaf 0x80000021, ecx.
pub const FEATURESET_E21C: usize = 18;
/// Words of a featureset.
pub const FEATURESET_NR_ENTRIES: usize = 19;

/// A feature's number: 32 for each word before its own.
const fn bit(word: u32, bit: u32) -> u32 {
    32 * word + bit
}

// Word 0: leaf 1, edx.
pub const XEN_X86_FEATURE_FPU: u32 = bit(0, 0);
pub const XEN_X86_FEATURE_VME: u32 = bit(0, 1);
pub const XEN_X86_FEATURE_DE: u32 = bit(0, 2);
pub const XEN_X86_FEATURE_PSE: u32 = bit(0, 3);
pub const XEN_X86_FEATURE_TSC: u32 = bit(0, 4);
pub const XEN_X86_FEATURE_MSR: u32 = bit(0, 5);
pub const XEN_X86_FEATURE_PAE: u32 = bit(0, 6);
pub const XEN_X86_FEATURE_MCE: u32 = bit(0, 7);
pub const XEN_X86_FEATURE_CX8: u32 = bit(0, 8);
pub const XEN_X86_FEATURE_APIC: u32 = bit(0, 9);
pub const XEN_X86_FEATURE_SEP: u32 = bit(0, 11);
pub const XEN_X86_FEATURE_MTRR: u32 = bit(0, 12);
pub const XEN_X86_FEATURE_PGE: u32 = bit(0, 13);
pub const XEN_X86_FEATURE_MCA: u32 = bit(0, 14);
pub const XEN_X86_FEATURE_CMOV: u32 = bit(0, 15);
pub const XEN_X86_FEATURE_PAT: u32 = bit(0, 16);
pub const XEN_X86_FEATURE_PSE36: u32 = bit(0, 17);
pub const XEN_X86_FEATURE_CLFLUSH: u32 = bit(0, 19);
pub const XEN_X86_FEATURE_DS: u32 = bit(0, 21);
pub const XEN_X86_FEATURE_ACPI: u32 = bit(0, 22);
pub const XEN_X86_FEATURE_MMX: u32 = bit(0, 23);
pub const XEN_X86_FEATURE_FXSR: u32 = bit(0, 24);
pub const XEN_X86_FEATURE_SSE: u32 = bit(0, 25);
pub const XEN_X86_FEATURE_SSE2: u32 = bit(0, 26);
pub const XEN_X86_FEATURE_SS: u32 = bit(0, 27);
pub const XEN_X86_FEATURE_HTT: u32 = bit(0, 28);
pub const XEN_X86_FEATURE_TM1: u32 = bit(0, 29);
pub const XEN_X86_FEATURE_PBE: u32 = bit(0, 31);
// Word 1: leaf 1, ecx.
pub const XEN_X86_FEATURE_SSE3: u32 = bit(1, 0);
pub const XEN_X86_FEATURE_PCLMULQDQ: u32 = bit(1, 1);
pub const XEN_X86_FEATURE_DTES64: u32 = bit(1, 2);
pub const XEN_X86_FEATURE_MONITOR: u32 = bit(1, 3);
pub const XEN_X86_FEATURE_DSCPL: u32 = bit(1, 4);
pub const XEN_X86_FEATURE_VMX: u32 = bit(1, 5);
pub const XEN_X86_FEATURE_SMX: u32 = bit(1, 6);
pub const XEN_X86_FEATURE_EIST: u32 = bit(1, 7);
pub const XEN_X86_FEATURE_TM2: u32 = bit(1, 8);
pub const XEN_X86_FEATURE_SSSE3: u32 = bit(1, 9);
pub const XEN_X86_FEATURE_FMA: u32 = bit(1, 12);
pub const XEN_X86_FEATURE_CX16: u32 = bit(1, 13);
pub const XEN_X86_FEATURE_XTPR: u32 = bit(1, 14);
pub const XEN_X86_FEATURE_PDCM: u32 = bit(1, 15);
pub const XEN_X86_FEATURE_PCID: u32 = bit(1, 17);
pub const XEN_X86_FEATURE_DCA: u32 = bit(1, 18);
pub const XEN_X86_FEATURE_SSE4_1: u32 = bit(1, 19);
pub const XEN_X86_FEATURE_SSE4_2: u32 = bit(1, 20);
pub const XEN_X86_FEATURE_X2APIC: u32 = bit(1, 21);
pub const XEN_X86_FEATURE_MOVBE: u32 = bit(1, 22);
pub const XEN_X86_FEATURE_POPCNT: u32 = bit(1, 23);
pub const XEN_X86_FEATURE_TSC_DEADLINE: u32 = bit(1, 24);
pub const XEN_X86_FEATURE_AESNI: u32 = bit(1, 25);
pub const XEN_X86_FEATURE_XSAVE: u32 = bit(1, 26);
pub const XEN_X86_FEATURE_OSXSAVE: u32 = bit(1, 27);
pub const XEN_X86_FEATURE_AVX: u32 = bit(1, 28);
pub const XEN_X86_FEATURE_F16C: u32 = bit(1, 29);
pub const XEN_X86_FEATURE_RDRAND: u32 = bit(1, 30);
pub const XEN_X86_FEATURE_HYPERVISOR: u32 = bit(1, 31);
// Word 2: leaf 0x80000001, edx.
pub const XEN_X86_FEATURE_SYSCALL: u32 = bit(2, 11);
pub const XEN_X86_FEATURE_NX: u32 = bit(2, 20);
pub const XEN_X86_FEATURE_MMXEXT: u32 = bit(2, 22);
pub const XEN_X86_FEATURE_FFXSR: u32 = bit(2, 25);
pub const XEN_X86_FEATURE_PAGE1GB: u32 = bit(2, 26);
pub const XEN_X86_FEATURE_RDTSCP: u32 = bit(2, 27);
pub const XEN_X86_FEATURE_LM: u32 = bit(2, 29);
pub const XEN_X86_FEATURE_3DNOWEXT: u32 = bit(2, 30);
pub const XEN_X86_FEATURE_3DNOW: u32 = bit(2, 31);
// Word 3: leaf 0x80000001, ecx.
pub const XEN_X86_FEATURE_LAHF_LM: u32 = bit(3, 0);
pub const XEN_X86_FEATURE_CMP_LEGACY: u32 = bit(3, 1);
pub const XEN_X86_FEATURE_SVM: u32 = bit(3, 2);
pub const XEN_X86_FEATURE_EXTAPIC: u32 = bit(3, 3);
pub const XEN_X86_FEATURE_CR8_LEGACY: u32 = bit(3, 4);
pub const XEN_X86_FEATURE_ABM: u32 = bit(3, 5);
pub const XEN_X86_FEATURE_SSE4A: u32 = bit(3, 6);
pub const XEN_X86_FEATURE_MISALIGNSSE: u32 = bit(3, 7);
pub const XEN_X86_FEATURE_3DNOWPREFETCH: u32 = bit(3, 8);
pub const XEN_X86_FEATURE_OSVW: u32 = bit(3, 9);
pub const XEN_X86_FEATURE_IBS: u32 = bit(3, 10);
pub const XEN_X86_FEATURE_XOP: u32 = bit(3, 11);
pub const XEN_X86_FEATURE_SKINIT: u32 = bit(3, 12);
pub const XEN_X86_FEATURE_WDT: u32 = bit(3, 13);
pub const XEN_X86_FEATURE_LWP: u32 = bit(3, 15);
pub const XEN_X86_FEATURE_FMA4: u32 = bit(3, 16);
pub const XEN_X86_FEATURE_NODEID_MSR: u32 = bit(3, 19);
pub const XEN_X86_FEATURE_TBM: u32 = bit(3, 21);
pub const XEN_X86_FEATURE_TOPOEXT: u32 = bit(3, 22);
pub const XEN_X86_FEATURE_DBEXT: u32 = bit(3, 26);
pub const XEN_X86_FEATURE_MONITORX: u32 = bit(3, 29);
// Word 4: leaf 0xd, sub-leaf 1, eax.
pub const XEN_X86_FEATURE_XSAVEOPT: u32 = bit(4, 0);
pub const XEN_X86_FEATURE_XSAVEC: u32 = bit(4, 1);
pub const XEN_X86_FEATURE_XGETBV1: u32 = bit(4, 2);
pub const XEN_X86_FEATURE_XSAVES: u32 = bit(4, 3);
// Word 5: leaf 7, sub-leaf 0, ebx.
pub const XEN_X86_FEATURE_FSGSBASE: u32 = bit(5, 0);
pub const XEN_X86_FEATURE_TSC_ADJUST: u32 = bit(5, 1);
pub const XEN_X86_FEATURE_SGX: u32 = bit(5, 2);
pub const XEN_X86_FEATURE_BMI1: u32 = bit(5, 3);
pub const XEN_X86_FEATURE_HLE: u32 = bit(5, 4);
pub const XEN_X86_FEATURE_AVX2: u32 = bit(5, 5);
pub const XEN_X86_FEATURE_FDP_EXCP_ONLY: u32 = bit(5, 6);
pub const XEN_X86_FEATURE_SMEP: u32 = bit(5, 7);
pub const XEN_X86_FEATURE_BMI2: u32 = bit(5, 8);
pub const XEN_X86_FEATURE_ERMS: u32 = bit(5, 9);
pub const XEN_X86_FEATURE_INVPCID: u32 = bit(5, 10);
pub const XEN_X86_FEATURE_RTM: u32 = bit(5, 11);
pub const XEN_X86_FEATURE_PQM: u32 = bit(5, 12);
pub const XEN_X86_FEATURE_NO_FPU_SEL: u32 = bit(5, 13);
pub const XEN_X86_FEATURE_MPX: u32 = bit(5, 14);
pub const XEN_X86_FEATURE_PQE: u32 = bit(5, 15);
pub const XEN_X86_FEATURE_AVX512F: u32 = bit(5, 16);
pub const XEN_X86_FEATURE_AVX512DQ: u32 = bit(5, 17);
pub const XEN_X86_FEATURE_RDSEED: u32 = bit(5, 18);
pub const XEN_X86_FEATURE_ADX: u32 = bit(5, 19);
pub const XEN_X86_FEATURE_SMAP: u32 = bit(5, 20);
pub const XEN_X86_FEATURE_AVX512_IFMA: u32 = bit(5, 21);
pub const XEN_X86_FEATURE_CLFLUSHOPT: u32 = bit(5, 23);
pub const XEN_X86_FEATURE_CLWB: u32 = bit(5, 24);
pub const XEN_X86_FEATURE_PROC_TRACE: u32 = bit(5, 25);
pub const XEN_X86_FEATURE_AVX512PF: u32 = bit(5, 26);
pub const XEN_X86_FEATURE_AVX512ER: u32 = bit(5, 27);
pub const XEN_X86_FEATURE_AVX512CD: u32 = bit(5, 28);
pub const XEN_X86_FEATURE_SHA: u32 = bit(5, 29);
pub const XEN_X86_FEATURE_AVX512BW: u32 = bit(5, 30);
pub const XEN_X86_FEATURE_AVX512VL: u32 = bit(5, 31);
// Word 6: leaf 7, sub-leaf 0, ecx.
pub const XEN_X86_FEATURE_PREFETCHWT1: u32 = bit(6, 0);
pub const XEN_X86_FEATURE_AVX512_VBMI: u32 = bit(6, 1);
pub const XEN_X86_FEATURE_UMIP: u32 = bit(6, 2);
pub const XEN_X86_FEATURE_PKU: u32 = bit(6, 3);
pub const XEN_X86_FEATURE_OSPKE: u32 = bit(6, 4);
pub const XEN_X86_FEATURE_AVX512_VBMI2: u32 = bit(6, 6);
pub const XEN_X86_FEATURE_CET_SS: u32 = bit(6, 7);
pub const XEN_X86_FEATURE_GFNI: u32 = bit(6, 8);
pub const XEN_X86_FEATURE_VAES: u32 = bit(6, 9);
pub const XEN_X86_FEATURE_VPCLMULQDQ: u32 = bit(6, 10);
pub const XEN_X86_FEATURE_AVX512_VNNI: u32 = bit(6, 11);
pub const XEN_X86_FEATURE_AVX512_BITALG: u32 = bit(6, 12);
pub const XEN_X86_FEATURE_AVX512_VPOPCNTDQ: u32 = bit(6, 14);
pub const XEN_X86_FEATURE_RDPID: u32 = bit(6, 22);
pub const XEN_X86_FEATURE_CLDEMOTE: u32 = bit(6, 25);
pub const XEN_X86_FEATURE_MOVDIRI: u32 = bit(6, 27);
pub const XEN_X86_FEATURE_MOVDIR64B: u32 = bit(6, 28);
pub const XEN_X86_FEATURE_ENQCMD: u32 = bit(6, 29);
// Word 7: leaf 0x80000007, edx.
pub const XEN_X86_FEATURE_HW_PSTATE: u32 = bit(7, 7);
pub const XEN_X86_FEATURE_ITSC: u32 = bit(7, 8);
pub const XEN_X86_FEATURE_CPB: u32 = bit(7, 9);
pub const XEN_X86_FEATURE_EFRO: u32 = bit(7, 10);
// Word 8: leaf 0x80000008, ebx.
pub const XEN_X86_FEATURE_CLZERO: u32 = bit(8, 0);
pub const XEN_X86_FEATURE_RSTR_FP_ERR_PTRS: u32 = bit(8, 2);
pub const XEN_X86_FEATURE_WBNOINVD: u32 = bit(8, 9);
pub const XEN_X86_FEATURE_IBPB: u32 = bit(8, 12);
pub const XEN_X86_FEATURE_IBRS: u32 = bit(8, 14);
pub const XEN_X86_FEATURE_AMD_STIBP: u32 = bit(8, 15);
pub const XEN_X86_FEATURE_IBRS_ALWAYS: u32 = bit(8, 16);
pub const XEN_X86_FEATURE_STIBP_ALWAYS: u32 = bit(8, 17);
pub const XEN_X86_FEATURE_IBRS_FAST: u32 = bit(8, 18);
pub const XEN_X86_FEATURE_IBRS_SAME_MODE: u32 = bit(8, 19);
pub const XEN_X86_FEATURE_NO_LMSL: u32 = bit(8, 20);
pub const XEN_X86_FEATURE_AMD_PPIN: u32 = bit(8, 23);
pub const XEN_X86_FEATURE_AMD_SSBD: u32 = bit(8, 24);
pub const XEN_X86_FEATURE_VIRT_SSBD: u32 = bit(8, 25);
pub const XEN_X86_FEATURE_SSB_NO: u32 = bit(8, 26);
pub const XEN_X86_FEATURE_PSFD: u32 = bit(8, 28);
pub const XEN_X86_FEATURE_BTC_NO: u32 = bit(8, 29);
pub const XEN_X86_FEATURE_IBPB_RET: u32 = bit(8, 30);
// Word 9: leaf 7, sub-leaf 0, edx.
pub const XEN_X86_FEATURE_AVX512_4VNNIW: u32 = bit(9, 2);
pub const XEN_X86_FEATURE_AVX512_4FMAPS: u32 = bit(9, 3);
pub const XEN_X86_FEATURE_FSRM: u32 = bit(9, 4);
pub const XEN_X86_FEATURE_AVX512_VP2INTERSECT: u32 = bit(9, 8);
pub const XEN_X86_FEATURE_SRBDS_CTRL: u32 = bit(9, 9);
pub const XEN_X86_FEATURE_MD_CLEAR: u32 = bit(9, 10);
pub const XEN_X86_FEATURE_RTM_ALWAYS_ABORT: u32 = bit(9, 11);
pub const XEN_X86_FEATURE_TSX_FORCE_ABORT: u32 = bit(9, 13);
pub const XEN_X86_FEATURE_SERIALIZE: u32 = bit(9, 14);
pub const XEN_X86_FEATURE_HYBRID: u32 = bit(9, 15);
pub const XEN_X86_FEATURE_TSXLDTRK: u32 = bit(9, 16);
pub const XEN_X86_FEATURE_CET_IBT: u32 = bit(9, 20);
pub const XEN_X86_FEATURE_AVX512_FP16: u32 = bit(9, 23);
pub const XEN_X86_FEATURE_IBRSB: u32 = bit(9, 26);
pub const XEN_X86_FEATURE_STIBP: u32 = bit(9, 27);
pub const XEN_X86_FEATURE_L1D_FLUSH: u32 = bit(9, 28);
pub const XEN_X86_FEATURE_ARCH_CAPS: u32 = bit(9, 29);
pub const XEN_X86_FEATURE_CORE_CAPS: u32 = bit(9, 30);
pub const XEN_X86_FEATURE_SSBD: u32 = bit(9, 31);
// Word 10: leaf 7, sub-leaf 1, eax.
pub const XEN_X86_FEATURE_AVX_VNNI: u32 = bit(10, 4);
pub const XEN_X86_FEATURE_AVX512_BF16: u32 = bit(10, 5);
pub const XEN_X86_FEATURE_FZRM: u32 = bit(10, 10);
pub const XEN_X86_FEATURE_FSRS: u32 = bit(10, 11);
pub const XEN_X86_FEATURE_FSRCS: u32 = bit(10, 12);
// Word 11: leaf 0x80000021, eax.
pub const XEN_X86_FEATURE_LFENCE_DISPATCH: u32 = bit(11, 2);
pub const XEN_X86_FEATURE_VERW_CLEAR: u32 = bit(11, 5);
pub const XEN_X86_FEATURE_NSCB: u32 = bit(11, 6);
pub const XEN_X86_FEATURE_AUTO_IBRS: u32 = bit(11, 8);
pub const XEN_X86_FEATURE_SBPB: u32 = bit(11, 27);
pub const XEN_X86_FEATURE_IBPB_BRTYPE: u32 = bit(11, 28);
pub const XEN_X86_FEATURE_SRSO_NO: u32 = bit(11, 29);
pub const XEN_X86_FEATURE_SRSO_US_NO: u32 = bit(11, 30);
pub const XEN_X86_FEATURE_SRSO_MSR_FIX: u32 = bit(11, 31);
// Word 12: leaf 7, sub-leaf 1, ebx.
pub const XEN_X86_FEATURE_INTEL_PPIN: u32 = bit(12, 0);
// Word 13: leaf 7, sub-leaf 2, edx.
pub const XEN_X86_FEATURE_INTEL_PSFD: u32 = bit(13, 0);
pub const XEN_X86_FEATURE_IPRED_CTRL: u32 = bit(13, 1);
pub const XEN_X86_FEATURE_RRSBA_CTRL: u32 = bit(13, 2);
pub const XEN_X86_FEATURE_BHI_CTRL: u32 = bit(13, 4);
pub const XEN_X86_FEATURE_MCDT_NO: u32 = bit(13, 5);
// Word 15: leaf 7, sub-leaf 1, edx.
pub const XEN_X86_FEATURE_CET_SSS: u32 = bit(15, 18);
// Word 16: MSR 0x10a, low half.
pub const XEN_X86_FEATURE_RDCL_NO: u32 = bit(16, 0);
pub const XEN_X86_FEATURE_EIBRS: u32 = bit(16, 1);
pub const XEN_X86_FEATURE_RSBA: u32 = bit(16, 2);
pub const XEN_X86_FEATURE_SKIP_L1DFL: u32 = bit(16, 3);
pub const XEN_X86_FEATURE_INTEL_SSB_NO: u32 = bit(16, 4);
pub const XEN_X86_FEATURE_MDS_NO: u32 = bit(16, 5);
pub const XEN_X86_FEATURE_IF_PSCHANGE_MC_NO: u32 = bit(16, 6);
pub const XEN_X86_FEATURE_TSX_CTRL: u32 = bit(16, 7);
pub const XEN_X86_FEATURE_TAA_NO: u32 = bit(16, 8);
pub const XEN_X86_FEATURE_MCU_CTRL: u32 = bit(16, 9);
pub const XEN_X86_FEATURE_MISC_PKG_CTRL: u32 = bit(16, 10);
pub const XEN_X86_FEATURE_ENERGY_FILTERING: u32 = bit(16, 11);
pub const XEN_X86_FEATURE_DOITM: u32 = bit(16, 12);
pub const XEN_X86_FEATURE_SBDR_SSDP_NO: u32 = bit(16, 13);
pub const XEN_X86_FEATURE_FBSDP_NO: u32 = bit(16, 14);
pub const XEN_X86_FEATURE_PSDP_NO: u32 = bit(16, 15);
pub const XEN_X86_FEATURE_FB_CLEAR: u32 = bit(16, 17);
pub const XEN_X86_FEATURE_FB_CLEAR_CTRL: u32 = bit(16, 18);
pub const XEN_X86_FEATURE_RRSBA: u32 = bit(16, 19);
pub const XEN_X86_FEATURE_BHI_NO: u32 = bit(16, 20);
pub const XEN_X86_FEATURE_XAPIC_STATUS: u32 = bit(16, 21);
pub const XEN_X86_FEATURE_OVRCLK_STATUS: u32 = bit(16, 23);
pub const XEN_X86_FEATURE_PBRSB_NO: u32 = bit(16, 24);
pub const XEN_X86_FEATURE_GDS_CTRL: u32 = bit(16, 25);
pub const XEN_X86_FEATURE_GDS_NO: u32 = bit(16, 26);
pub const XEN_X86_FEATURE_RFDS_NO: u32 = bit(16, 27);
pub const XEN_X86_FEATURE_RFDS_CLEAR: u32 = bit(16, 28);
// Word 17: MSR 0x10a, high half.
pub const XEN_X86_FEATURE_ITS_NO: u32 = bit(16, 62);
// Word 18: leaf 0x80000021, ecx.
pub const XEN_X86_FEATURE_TSA_SQ_NO: u32 = bit(18, 1);
pub const XEN_X86_FEATURE_TSA_L1_NO: u32 = bit(18, 2);
