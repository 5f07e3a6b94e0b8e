//! The policies there are on this machine, and how a domain's is made and changed.

use abi::cpu_policy::{CpuidLeaf, MsrEntry, XEN_CPUID_NO_SUBLEAF};

use super::cpu_policy::{BadLeaf, BadMsr, CpuPolicy, Leaf, PLATFORM_INFO_CPUID_FAULTING, Vendor};
use super::features::{Feature, PV_DEFAULT, PV_MAX};
use super::featureset::FeatureSet;

/// What the hypervisor does for guests beside executing them: no feature is shown without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// XCR0 bits whose state is switched between vCPUs; 0: no XSAVE.
    pub xcr0: u64,
    /// CR4.FSGSBASE is on and the bases a guest sets with it survive a switch.
    pub fsgsbase: bool,
    /// TSC_AUX is switched between vCPUs.
    pub tsc_aux: bool,
    /// SPEC_CTRL is switched between vCPUs.
    pub spec_ctrl: bool,
    /// CPUID in user mode can be made to fault.
    pub cpuid_faulting: bool,
    /// `MSR_ARCH_CAPABILITIES` of the processor, where it has one.
    pub arch_caps: u64,
}

/// Every policy of the machine.
#[derive(Clone, Debug)]
pub struct SystemPolicies {
    /// What the processor says.
    pub raw: CpuPolicy,
    /// What of it the hypervisor knows.
    pub host: CpuPolicy,
    /// The most a PV guest can have.
    pub pv_max: CpuPolicy,
    /// What it has unless somebody asks for something else.
    pub pv_default: CpuPolicy,
}

/// Specially treated features a guest sees as the processor has them, whatever a tool wants.
const AS_HOST: [Feature; 5] =
    [Feature::FDP_EXCP_ONLY, Feature::NO_FPU_SEL, Feature::RTM_ALWAYS_ABORT, Feature::RSBA, Feature::RRSBA];

impl SystemPolicies {
    /// `cpuid` executes the instruction with (EAX, ECX).
    pub fn new(cpuid: impl Fn(u32, u32) -> Leaf, can: &Capabilities) -> SystemPolicies {
        let mut raw = CpuPolicy::raw(cpuid);
        raw.arch_caps = can.arch_caps;
        let mut host = raw.clone();
        host.keep_known();
        let pv_max = pv_policy(&host, can, &PV_MAX);
        let pv_default = pv_policy(&host, can, &PV_DEFAULT);
        SystemPolicies { raw, host, pv_max, pv_default }
    }

    /// Dom0's: the default, and the TSC as it is.
    pub fn dom0(&self) -> CpuPolicy {
        let mut policy = self.pv_default.clone();
        let mut features = policy.features();
        features.set(Feature::ITSC, self.host.has(Feature::ITSC));
        policy.set_features(&features);
        policy
    }

    /// What becomes of `current` when a tool gives these entries: features are cut to what is possible;
    /// limits beyond the machine's and unknown leaves are refused.
    pub fn update(
        &self,
        current: &CpuPolicy,
        leaves: &[CpuidLeaf],
        msrs: &[MsrEntry],
    ) -> Result<CpuPolicy, Refused> {
        let mut new = current.clone();
        for leaf in leaves {
            new.put_leaf(leaf).map_err(Refused::Leaf)?;
        }
        for msr in msrs {
            new.put_msr(msr).map_err(Refused::Msr)?;
        }
        let (wanted, most) = (new.limits(), self.pv_max.limits());
        for (leaf, subleaf, wanted, most) in [
            (0, XEN_CPUID_NO_SUBLEAF, wanted.0, most.0),
            (7, 0, wanted.1, most.1),
            (0x8000_0000, XEN_CPUID_NO_SUBLEAF, wanted.2, most.2),
        ] {
            if wanted > most {
                return Err(Refused::Leaf(BadLeaf { leaf, subleaf }));
            }
        }
        if new.platform_info & !self.pv_max.platform_info != 0 {
            return Err(Refused::Msr(BadMsr(super::cpu_policy::MSR_PLATFORM_INFO)));
        }
        if new.vendor() != self.host.vendor() {
            return Err(Refused::Leaf(BadLeaf { leaf: 0, subleaf: XEN_CPUID_NO_SUBLEAF }));
        }
        let mut features = new.features().and(&self.pv_max.features());
        for feature in AS_HOST {
            features.set(feature, self.pv_max.has(feature));
        }
        features.set(Feature::HYPERVISOR, true);
        new.set_features(&features.without_orphans());
        new.drop_private_leaves();
        new.limit_xstates(&self.pv_max, self.pv_max.xstates());
        Ok(new)
    }
}

/// Which entry of a new policy was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Leaf(BadLeaf),
    Msr(BadMsr),
}

/// `host` cut down to `mask` and to what can be done for a guest.
fn pv_policy(host: &CpuPolicy, can: &Capabilities, mask: &FeatureSet) -> CpuPolicy {
    let mut policy = host.clone();
    let (basic, feat, extd) = policy.limits();
    policy.set_limits((basic.min(0xd), feat.min(2), extd.min(0x8000_0021)));
    let mut features = host.features().and(mask);
    for feature in AS_HOST {
        features.set(feature, host.has(feature));
    }
    features.set(Feature::HYPERVISOR, true);
    features.set(Feature::OSXSAVE, false);
    for (feature, possible) in [
        // AMD's processors have no SYSENTER in long mode, whatever the bit says.
        (Feature::SEP, host.vendor() != Vendor::Amd),
        (Feature::XSAVE, can.xcr0 & 3 == 3),
        (Feature::AVX, can.xcr0 & 7 == 7),
        (Feature::AVX512F, can.xcr0 & 0xe7 == 0xe7),
        (Feature::FSGSBASE, can.fsgsbase),
        (Feature::RDTSCP, can.tsc_aux),
        (Feature::RDPID, can.tsc_aux),
        (Feature::IBRSB, can.spec_ctrl),
        (Feature::INTEL_PSFD, can.spec_ctrl),
        (Feature::STIBP, can.spec_ctrl),
        (Feature::SSBD, can.spec_ctrl),
    ] {
        if !possible {
            features.set(feature, false);
        }
    }
    policy.set_features(&features.without_orphans());
    policy.drop_private_leaves();
    policy.limit_xstates(host, can.xcr0);
    policy.platform_info = if can.cpuid_faulting { PLATFORM_INFO_CPUID_FAULTING } else { 0 };
    policy
}
