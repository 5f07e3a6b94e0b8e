//! Filled in by the next commits.

#[derive(Default)]
pub struct VcpuTraps {}

impl VcpuTraps {
    pub fn new() -> Self {
        Self::default()
    }
}
