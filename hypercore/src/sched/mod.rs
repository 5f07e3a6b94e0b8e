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
