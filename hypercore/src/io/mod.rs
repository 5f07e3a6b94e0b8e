//! Filled in by the next commits.

#[derive(Default)]
pub struct DomainIo {}

impl DomainIo {
    pub fn new() -> Self {
        Self::default()
    }
}

/// Physical interrupts and who is bound to them.
#[derive(Default)]
pub struct Irqs {}

use crate::{domain::Domain, ids::*, machine::Machine, xen::Xen};
use alloc::sync::Arc;

/// Gives a physical interrupt to `dom`, to be sent with `event::send_pirq`.
pub fn pirq_bind<M: Machine>(
    _xen: &'static Xen<M>,
    _dom: &Arc<Domain>,
    _pirq: u32,
    _port: Port,
    _share: bool,
) -> Result<(), abi::Errno> {
    Err(abi::Errno::EINVAL)
}

/// Takes it back.
pub fn pirq_unbind<M: Machine>(_xen: &'static Xen<M>, _dom: &Arc<Domain>, _pirq: u32) {}

/// Its events go to `vcpu` from now on.
pub fn pirq_set_vcpu<M: Machine>(_xen: &'static Xen<M>, _dom: &Arc<Domain>, _pirq: u32, _vcpu: VcpuId) {}
