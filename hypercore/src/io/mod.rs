//! Hardware a domain may touch: ports, device memory, interrupts, PCI.
//!
//! - [`DomainIo`]: its rights; [`ranges`]: sets of numbers.
//! - [`ports`]: IN and OUT as a PV guest sees them (configuration space and CMOS indexes are latched per domain).
//! - [`irq`]: physical interrupts and the guest ports (PIRQs) bound to them.
//! - [`read_only`]: registers that nobody but the hypervisor writes.
//! - [`pci`], [`msi`]: configuration space and message-signalled interrupts.
//! - [`physdev`]: the hypercall.

pub mod irq;
pub mod msi;
pub mod pci;
pub mod physdev;
pub mod ports;
pub mod ranges;
pub mod read_only;

pub use irq::{Irqs, irq_fired, pirq_bind, pirq_set_vcpu, pirq_unbind};

use crate::ids::Mfn;
use crate::sync::{Mutex, RwLock};
use core::sync::atomic::{AtomicU8, AtomicU32};
use ranges::RangeSet;

/// What of the hardware a domain may use.
pub struct DomainIo {
    /// Ports it may access.
    pub ports: RwLock<RangeSet>,
    /// Machine frames outside its own memory that it may map.
    pub iomem: RwLock<RangeSet>,
    /// Interrupts it may bind.
    pub irqs: RwLock<RangeSet>,
    /// Last value written to port 0xCF8.
    pub cf8: AtomicU32,
    /// Last index written to port 0x70.
    pub cmos_index: AtomicU8,
    pub pirqs: Mutex<irq::DomainPirqs>,
}

impl Default for DomainIo {
    fn default() -> Self {
        Self::new()
    }
}

impl DomainIo {
    /// No rights at all.
    pub fn new() -> Self {
        Self {
            ports: RwLock::new(RangeSet::new()),
            iomem: RwLock::new(RangeSet::new()),
            irqs: RwLock::new(RangeSet::new()),
            cf8: AtomicU32::new(0),
            cmos_index: AtomicU8::new(0),
            pirqs: Mutex::new(irq::DomainPirqs::new()),
        }
    }

    /// Whether frame `mfn`, which is not RAM of any domain, may be mapped.
    pub fn iomem_allowed(&self, mfn: Mfn) -> bool {
        self.iomem.read().contains(mfn.0)
    }

    /// Whether ports `port..port + bytes` may all be accessed.
    pub fn ports_allowed(&self, port: u16, bytes: u8) -> bool {
        self.ports.read().contains_range(u64::from(port), u64::from(port) + u64::from(bytes) - 1)
    }

    pub fn irq_allowed(&self, irq: u32) -> bool {
        self.irqs.read().contains(u64::from(irq))
    }
}
