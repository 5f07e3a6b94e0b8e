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
