//! The bits of a CPU featureset and which guests may have them.
//!
//! Names, numbers and letters are those of the public header `xen/arch-x86/cpufeatureset.h`:
//! `A` all guests, `S` HVM guests, `H` HVM guests with hardware paging; in lower case only on request;
//! `!` treated specially, see [`super::cpu_policy`].

use super::featureset::FeatureSet;

/// A bit of a featureset: word * 32 + bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature(pub u16);

macro_rules! features {
    ($($name:ident $word:literal $bit:literal $letters:literal;)*) => {
        impl Feature {
            $(pub const $name: Feature = Feature($word * 32 + $bit);)*
        }
        /// Every feature that has a name, with its letters.
        const FEATURES: &[(Feature, &str)] = &[$((Feature::$name, $letters),)*];
    };
}

/// Features whose letters contain one of `wanted`.
const fn select(wanted: &[u8]) -> FeatureSet {
    let mut set = FeatureSet::EMPTY;
    let mut i = 0;
    while i < FEATURES.len() {
        let letters = FEATURES[i].1.as_bytes();
        let mut k = 0;
        while k < letters.len() {
            let mut w = 0;
            while w < wanted.len() {
                if letters[k] == wanted[w] {
                    set = set.with(FEATURES[i].0);
                }
                w += 1;
            }
            k += 1;
        }
        i += 1;
    }
    set
}

/// What a PV guest gets by default.
pub const PV_DEFAULT: FeatureSet = select(b"A");
/// What a PV guest can get.
pub const PV_MAX: FeatureSet = select(b"Aa");
/// Everything that has a name.
pub const KNOWN: FeatureSet = select(b"AaSsHh!-");

features! {
    FPU 0 0 "A";
    VME 0 1 "S";
    DE 0 2 "A";
    PSE 0 3 "S";
    TSC 0 4 "A";
    MSR 0 5 "A";
    PAE 0 6 "A";
    MCE 0 7 "A";
    CX8 0 8 "A";
    APIC 0 9 "!A";
    SEP 0 11 "A";
    MTRR 0 12 "S";
    PGE 0 13 "S";
    MCA 0 14 "A";
    CMOV 0 15 "A";
    PAT 0 16 "A";
    PSE36 0 17 "S";
    CLFLUSH 0 19 "A";
    DS 0 21 "-";
    ACPI 0 22 "A";
    MMX 0 23 "A";
    FXSR 0 24 "A";
    SSE 0 25 "A";
    SSE2 0 26 "A";
    SS 0 27 "A";
    HTT 0 28 "!A";
    TM1 0 29 "-";
    PBE 0 31 "-";
    SSE3 1 0 "A";
    PCLMULQDQ 1 1 "A";
    DTES64 1 2 "-";
    MONITOR 1 3 "-";
    DSCPL 1 4 "-";
    VMX 1 5 "h";
    SMX 1 6 "-";
    EIST 1 7 "-";
    TM2 1 8 "-";
    SSSE3 1 9 "A";
    FMA 1 12 "A";
    CX16 1 13 "A";
    XTPR 1 14 "-";
    PDCM 1 15 "-";
    PCID 1 17 "H";
    DCA 1 18 "-";
    SSE4_1 1 19 "A";
    SSE4_2 1 20 "A";
    X2APIC 1 21 "!S";
    MOVBE 1 22 "A";
    POPCNT 1 23 "A";
    TSC_DEADLINE 1 24 "S";
    AESNI 1 25 "A";
    XSAVE 1 26 "A";
    OSXSAVE 1 27 "!";
    AVX 1 28 "A";
    F16C 1 29 "A";
    RDRAND 1 30 "!A";
    HYPERVISOR 1 31 "!A";
    SYSCALL 2 11 "A";
    NX 2 20 "A";
    MMXEXT 2 22 "A";
    FFXSR 2 25 "A";
    PAGE1GB 2 26 "H";
    RDTSCP 2 27 "A";
    LM 2 29 "A";
    AMD3DNOWEXT 2 30 "A";
    AMD3DNOW 2 31 "A";
    LAHF_LM 3 0 "A";
    CMP_LEGACY 3 1 "!A";
    SVM 3 2 "h";
    EXTAPIC 3 3 "-";
    CR8_LEGACY 3 4 "S";
    ABM 3 5 "A";
    SSE4A 3 6 "A";
    MISALIGNSSE 3 7 "A";
    AMD3DNOWPREFETCH 3 8 "A";
    OSVW 3 9 "-";
    IBS 3 10 "-";
    XOP 3 11 "A";
    SKINIT 3 12 "-";
    WDT 3 13 "-";
    LWP 3 15 "-";
    FMA4 3 16 "A";
    NODEID_MSR 3 19 "-";
    TBM 3 21 "A";
    TOPOEXT 3 22 "-";
    DBEXT 3 26 "A";
    MONITORX 3 29 "-";
    XSAVEOPT 4 0 "A";
    XSAVEC 4 1 "A";
    XGETBV1 4 2 "A";
    XSAVES 4 3 "S";
    FSGSBASE 5 0 "A";
    TSC_ADJUST 5 1 "S";
    SGX 5 2 "-";
    BMI1 5 3 "A";
    HLE 5 4 "!a";
    AVX2 5 5 "A";
    FDP_EXCP_ONLY 5 6 "!";
    SMEP 5 7 "S";
    BMI2 5 8 "A";
    ERMS 5 9 "A";
    INVPCID 5 10 "H";
    RTM 5 11 "!A";
    PQM 5 12 "-";
    NO_FPU_SEL 5 13 "!";
    MPX 5 14 "s";
    PQE 5 15 "-";
    AVX512F 5 16 "A";
    AVX512DQ 5 17 "A";
    RDSEED 5 18 "A";
    ADX 5 19 "A";
    SMAP 5 20 "S";
    AVX512_IFMA 5 21 "A";
    CLFLUSHOPT 5 23 "A";
    CLWB 5 24 "!A";
    PROC_TRACE 5 25 "-";
    AVX512PF 5 26 "A";
    AVX512ER 5 27 "A";
    AVX512CD 5 28 "A";
    SHA 5 29 "A";
    AVX512BW 5 30 "A";
    AVX512VL 5 31 "A";
    PREFETCHWT1 6 0 "A";
    AVX512_VBMI 6 1 "A";
    UMIP 6 2 "S";
    PKU 6 3 "H";
    OSPKE 6 4 "!";
    AVX512_VBMI2 6 6 "A";
    CET_SS 6 7 "-";
    GFNI 6 8 "A";
    VAES 6 9 "A";
    VPCLMULQDQ 6 10 "A";
    AVX512_VNNI 6 11 "A";
    AVX512_BITALG 6 12 "A";
    AVX512_VPOPCNTDQ 6 14 "A";
    RDPID 6 22 "A";
    CLDEMOTE 6 25 "A";
    MOVDIRI 6 27 "a";
    MOVDIR64B 6 28 "a";
    ENQCMD 6 29 "-";
    HW_PSTATE 7 7 "-";
    ITSC 7 8 "a";
    CPB 7 9 "-";
    EFRO 7 10 "-";
    CLZERO 8 0 "A";
    RSTR_FP_ERR_PTRS 8 2 "A";
    WBNOINVD 8 9 "-";
    IBPB 8 12 "A";
    IBRS 8 14 "S";
    AMD_STIBP 8 15 "S";
    IBRS_ALWAYS 8 16 "S";
    STIBP_ALWAYS 8 17 "S";
    IBRS_FAST 8 18 "S";
    IBRS_SAME_MODE 8 19 "S";
    NO_LMSL 8 20 "S";
    AMD_PPIN 8 23 "-";
    AMD_SSBD 8 24 "S";
    VIRT_SSBD 8 25 "!";
    SSB_NO 8 26 "A";
    PSFD 8 28 "S";
    BTC_NO 8 29 "A";
    IBPB_RET 8 30 "A";
    AVX512_4VNNIW 9 2 "A";
    AVX512_4FMAPS 9 3 "A";
    FSRM 9 4 "A";
    AVX512_VP2INTERSECT 9 8 "a";
    SRBDS_CTRL 9 9 "-";
    MD_CLEAR 9 10 "!A";
    RTM_ALWAYS_ABORT 9 11 "!";
    TSX_FORCE_ABORT 9 13 "-";
    SERIALIZE 9 14 "A";
    HYBRID 9 15 "-";
    TSXLDTRK 9 16 "a";
    CET_IBT 9 20 "-";
    AVX512_FP16 9 23 "-";
    IBRSB 9 26 "A";
    STIBP 9 27 "A";
    L1D_FLUSH 9 28 "S";
    ARCH_CAPS 9 29 "!A";
    CORE_CAPS 9 30 "-";
    SSBD 9 31 "A";
    AVX_VNNI 10 4 "A";
    AVX512_BF16 10 5 "A";
    FZRM 10 10 "A";
    FSRS 10 11 "A";
    FSRCS 10 12 "A";
    LFENCE_DISPATCH 11 2 "A";
    VERW_CLEAR 11 5 "!A";
    NSCB 11 6 "A";
    AUTO_IBRS 11 8 "-";
    SBPB 11 27 "A";
    IBPB_BRTYPE 11 28 "A";
    SRSO_NO 11 29 "A";
    SRSO_US_NO 11 30 "!A";
    SRSO_MSR_FIX 11 31 "-";
    INTEL_PPIN 12 0 "-";
    INTEL_PSFD 13 0 "A";
    IPRED_CTRL 13 1 "S";
    RRSBA_CTRL 13 2 "S";
    BHI_CTRL 13 4 "S";
    MCDT_NO 13 5 "A";
    CET_SSS 15 18 "-";
    RDCL_NO 16 0 "A";
    EIBRS 16 1 "A";
    RSBA 16 2 "!";
    SKIP_L1DFL 16 3 "-";
    INTEL_SSB_NO 16 4 "A";
    MDS_NO 16 5 "A";
    IF_PSCHANGE_MC_NO 16 6 "A";
    TSX_CTRL 16 7 "-";
    TAA_NO 16 8 "A";
    MCU_CTRL 16 9 "-";
    MISC_PKG_CTRL 16 10 "-";
    ENERGY_FILTERING 16 11 "-";
    DOITM 16 12 "-";
    SBDR_SSDP_NO 16 13 "A";
    FBSDP_NO 16 14 "A";
    PSDP_NO 16 15 "A";
    FB_CLEAR 16 17 "!A";
    FB_CLEAR_CTRL 16 18 "-";
    RRSBA 16 19 "!";
    BHI_NO 16 20 "A";
    XAPIC_STATUS 16 21 "-";
    OVRCLK_STATUS 16 23 "-";
    PBRSB_NO 16 24 "A";
    GDS_CTRL 16 25 "-";
    GDS_NO 16 26 "A";
    RFDS_NO 16 27 "A";
    RFDS_CLEAR 16 28 "!A";
    ITS_NO 17 30 "!A";
    TSA_SQ_NO 18 1 "A";
    TSA_L1_NO 18 2 "A";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_select() {
        assert!(PV_DEFAULT.has(Feature::SYSCALL) && PV_MAX.has(Feature::SYSCALL));
        assert!(!PV_DEFAULT.has(Feature::ITSC) && PV_MAX.has(Feature::ITSC));
        for hidden in [Feature::VMX, Feature::SVM, Feature::PCID, Feature::PSE, Feature::MTRR, Feature::PKU] {
            assert!(!PV_MAX.has(hidden) && KNOWN.has(hidden), "{hidden:?}");
        }
        assert!(KNOWN.has(Feature::CET_SS) && !KNOWN.has(Feature(6 * 32 + 16)), "LA57 has no name");
    }
}
