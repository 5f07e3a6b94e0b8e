//! Filled in by the next commits.

#[derive(Default)]
pub struct DomainMm {}

impl DomainMm {
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Default)]
pub struct VcpuMm {}

impl VcpuMm {
    pub fn new() -> Self {
        Self::default()
    }
}
