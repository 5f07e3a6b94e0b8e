//! Filled in by the next commits.

#[derive(Default)]
pub struct DomainMemory {}

impl DomainMemory {
    pub fn new() -> Self {
        Self::default()
    }
}
