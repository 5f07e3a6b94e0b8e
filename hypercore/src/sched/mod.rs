//! Filled in by the next commits.

#[derive(Default)]
pub struct DomainSched {}

impl DomainSched {
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Default)]
pub struct VcpuSched {}

impl VcpuSched {
    pub fn new() -> Self {
        Self::default()
    }
}

/// Run queues.
#[derive(Default)]
pub struct Scheduler {}

use crate::{domain::Domain, ids::*, machine::Machine, vcpu::Vcpu, xen::Xen};
use alloc::sync::Arc;

/// Wakes a blocked vCPU; has the CPU that runs it look for events.
pub fn vcpu_kick<M: Machine>(_xen: &'static Xen<M>, _vcpu: &Arc<Vcpu>) {}

/// Wakes the vCPUs that poll `port`.
pub fn poll_wake<M: Machine>(_xen: &'static Xen<M>, _dom: &Arc<Domain>, _port: Port) {}
