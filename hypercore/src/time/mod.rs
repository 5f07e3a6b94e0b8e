//! Filled in by the next commits.

#[derive(Default)]
pub struct DomainTime {}

impl DomainTime {
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Default)]
pub struct VcpuTime {}

impl VcpuTime {
    pub fn new() -> Self {
        Self::default()
    }
}

/// Timer queues, one per CPU.
#[derive(Default)]
pub struct Timers {}
