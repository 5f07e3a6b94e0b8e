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
