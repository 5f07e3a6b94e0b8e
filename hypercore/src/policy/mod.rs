//! CPUID and MSR policy.

/// What a domain sees of the CPU.
#[derive(Default)]
pub struct DomainPolicy {}
