//! [`Faults`]: one hypercall, or one request to the store, that is refused.

use std::sync::{Arc, Mutex};

use abi::Errno;
use xenctl::{DomId, Error, Gate, Memory, Result};

/// Counts down to the one that fails.
#[derive(Default)]
pub struct Faults(Mutex<Option<u32>>);

impl Faults {
    /// The call or request after `count` others fails, and no other.
    pub fn after(&self, count: u32) {
        *self.0.lock().unwrap() = Some(count);
    }

    /// Nothing fails; whether that which was to fail has.
    pub fn end(&self) -> bool {
        self.0.lock().unwrap().take().is_none()
    }

    pub(super) fn strikes(&self) -> bool {
        let mut left = self.0.lock().unwrap();
        match *left {
            Some(0) => {
                *left = None;
                return true;
            }
            Some(count) => *left = Some(count - 1),
            None => {}
        }
        false
    }
}

/// A gate with faults.
pub struct Counted<G> {
    gate: G,
    faults: Arc<Faults>,
}

impl<G: Gate> Counted<G> {
    pub fn new(gate: G, faults: Arc<Faults>) -> Self {
        Self { gate, faults }
    }

    fn refused(&self, doing: &str) -> Result<()> {
        if self.faults.strikes() { Err(Error::new(doing, Errno::ENOSPC)) } else { Ok(()) }
    }
}

impl<G: Gate> Gate for Counted<G> {
    fn hypercall(&self, op: u32, args: [u64; 5]) -> std::result::Result<u64, Errno> {
        if self.faults.strikes() {
            return Err(Errno::ENOSPC);
        }
        self.gate.hypercall(op, args)
    }

    fn memory(&self, bytes: usize) -> std::result::Result<Box<dyn Memory>, Errno> {
        self.gate.memory(bytes)
    }

    fn frames(&self, domain: DomId, frames: &[u64], writable: bool) -> Result<Box<dyn Memory>> {
        self.refused("mapping frames")?;
        self.gate.frames(domain, frames, writable)
    }

    fn grant_table(&self, domain: DomId, page: u32) -> Result<Box<dyn Memory>> {
        self.refused("mapping a grant table")?;
        self.gate.grant_table(domain, page)
    }
}
