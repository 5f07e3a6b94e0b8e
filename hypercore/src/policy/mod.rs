//! CPUID and MSR policy: what a guest sees of the processor.
//!
//! - [`features`], [`featureset`]: the bits, and which guests may have them.
//! - [`cpu_policy`]: the leaves of a processor, real or virtual, and how tools exchange them.
//! - [`system`]: the policies of this machine, and what a tool may make of them.
//! - [`cpuid`], [`msr`]: the instructions.

pub mod cpu_policy;
pub mod cpuid;
pub mod features;
pub mod featureset;
pub mod msr;
pub mod system;

use crate::sync::RwLock;
pub use cpu_policy::CpuPolicy;
pub use features::Feature;
pub use system::{Capabilities, SystemPolicies};

/// What a domain sees of the CPU.
pub struct DomainPolicy {
    policy: RwLock<CpuPolicy>,
}

impl Default for DomainPolicy {
    /// Nothing at all; a domain is created with one of [`SystemPolicies`].
    fn default() -> DomainPolicy {
        DomainPolicy::new(CpuPolicy::EMPTY)
    }
}

impl DomainPolicy {
    pub fn new(policy: CpuPolicy) -> DomainPolicy {
        DomainPolicy { policy: RwLock::new(policy) }
    }

    /// Looks at the policy.
    pub fn with<R>(&self, f: impl FnOnce(&CpuPolicy) -> R) -> R {
        f(&self.policy.read())
    }

    /// Replaces the policy (`XEN_DOMCTL_set_cpu_policy`, before the domain first runs).
    pub fn replace(&self, policy: CpuPolicy) {
        *self.policy.write() = policy;
    }
}

#[cfg(test)]
mod tests;
