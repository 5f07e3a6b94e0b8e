//! Filled in by the next commits.

#[derive(Default)]
pub struct VcpuEvents {}

impl VcpuEvents {
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Default)]
pub struct DomainEvents {}

impl DomainEvents {
    pub fn new(_n: &crate::domain::NewDomain) -> Result<Self, abi::Errno> {
        Ok(Self::default())
    }
}

/// Sets `evtchn_upcall_mask`; answers the old one.
pub fn set_upcall_mask<M: crate::machine::Machine>(
    _xen: &crate::xen::Xen<M>,
    _v: &crate::vcpu::Vcpu,
    _mask: bool,
) -> bool {
    false
}

/// `evtchn_upcall_mask`.
pub fn upcall_masked<M: crate::machine::Machine>(_xen: &crate::xen::Xen<M>, _v: &crate::vcpu::Vcpu) -> bool {
    false
}

/// Stores `vcpu_info.arch.cr2`.
pub fn set_cr2<M: crate::machine::Machine>(_xen: &crate::xen::Xen<M>, _v: &crate::vcpu::Vcpu, _cr2: u64) {}
