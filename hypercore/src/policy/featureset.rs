//! A set of CPU features, laid out as `XEN_SYSCTL_get_cpu_featureset` transports it.

use super::features::Feature;

/// Words of a featureset in this interface version.
pub const WORDS: usize = 19;

/// One bit per feature; which CPUID register a word comes from is in [`super::cpu_policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSet(pub [u32; WORDS]);

impl FeatureSet {
    pub const EMPTY: FeatureSet = FeatureSet([0; WORDS]);

    pub const fn has(&self, feature: Feature) -> bool {
        self.0[feature.0 as usize / 32] >> (feature.0 % 32) & 1 != 0
    }

    /// This set and `feature`.
    #[must_use]
    pub const fn with(mut self, feature: Feature) -> FeatureSet {
        self.0[feature.0 as usize / 32] |= 1 << (feature.0 % 32);
        self
    }

    /// This set without `feature`.
    #[must_use]
    pub const fn without(mut self, feature: Feature) -> FeatureSet {
        self.0[feature.0 as usize / 32] &= !(1 << (feature.0 % 32));
        self
    }

    /// Adds or removes one feature.
    pub fn set(&mut self, feature: Feature, on: bool) {
        *self = if on { self.with(feature) } else { self.without(feature) };
    }

    /// What is in both.
    #[must_use]
    pub fn and(mut self, other: &FeatureSet) -> FeatureSet {
        for (word, mask) in self.0.iter_mut().zip(other.0) {
            *word &= mask;
        }
        self
    }

    /// Removes what cannot be had without something that is not there.
    #[must_use]
    pub fn without_orphans(mut self) -> FeatureSet {
        // Repeated until nothing changes: the chains are a few links long.
        loop {
            let before = self;
            for (base, dependents) in DEPENDENTS {
                if !self.has(*base) {
                    for dependent in *dependents {
                        self = self.without(*dependent);
                    }
                }
            }
            if self == before {
                return self;
            }
        }
    }
}

type F = Feature;

/// What makes no sense without the feature on the left (Intel SDM vol. 1 chapters 10 to 15).
const DEPENDENTS: &[(Feature, &[Feature])] = &[
    (F::FPU, &[F::MMX, F::FXSR, F::XSAVE]),
    (F::MMX, &[F::AMD3DNOW, F::MMXEXT]),
    (F::AMD3DNOW, &[F::AMD3DNOWEXT]),
    (F::FXSR, &[F::FFXSR, F::SSE]),
    (F::SSE, &[F::SSE2, F::MISALIGNSSE]),
    (F::SSE2, &[F::SSE3, F::LM, F::AESNI, F::PCLMULQDQ, F::SHA, F::GFNI]),
    (F::SSE3, &[F::SSSE3, F::SSE4A]),
    (F::SSSE3, &[F::SSE4_1]),
    (F::SSE4_1, &[F::SSE4_2]),
    (F::SSE4_2, &[F::AVX]),
    (F::XSAVE, &[F::XSAVEOPT, F::XSAVEC, F::XGETBV1, F::XSAVES, F::AVX, F::MPX, F::PKU, F::LWP]),
    (F::AVX, &[F::FMA, F::FMA4, F::F16C, F::AVX2, F::XOP]),
    (F::AVX2, &[F::AVX512F, F::VAES, F::VPCLMULQDQ, F::AVX_VNNI]),
    (
        F::AVX512F,
        &[
            F::AVX512DQ,
            F::AVX512_IFMA,
            F::AVX512PF,
            F::AVX512ER,
            F::AVX512CD,
            F::AVX512BW,
            F::AVX512VL,
            F::AVX512_VNNI,
            F::AVX512_VPOPCNTDQ,
            F::AVX512_4VNNIW,
            F::AVX512_4FMAPS,
            F::AVX512_VP2INTERSECT,
        ],
    ),
    (F::AVX512BW, &[F::AVX512_VBMI, F::AVX512_VBMI2, F::AVX512_BITALG, F::AVX512_BF16, F::AVX512_FP16]),
    (F::LM, &[F::CX16, F::PCID, F::LAHF_LM, F::PAGE1GB, F::FSGSBASE]),
    (F::PSE, &[F::PSE36]),
    (F::IBRSB, &[F::STIBP, F::SSBD, F::INTEL_PSFD, F::EIBRS]),
    (F::ARCH_CAPS, &[F::RDCL_NO, F::EIBRS, F::RSBA, F::INTEL_SSB_NO, F::MDS_NO, F::TAA_NO, F::RRSBA]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependents_go_with_what_they_need() {
        let mut all = FeatureSet([!0; WORDS]);
        all.set(Feature::XSAVE, false);
        let left = all.without_orphans();
        for gone in [Feature::AVX, Feature::AVX2, Feature::AVX512_BF16, Feature::XGETBV1, Feature::FMA] {
            assert!(!left.has(gone), "{gone:?}");
        }
        assert!(left.has(Feature::SSE4_2) && left.has(Feature::LM));
        assert_eq!(left.without_orphans(), left);
    }
}
