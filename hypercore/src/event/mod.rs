//! Event channels: ports, what they are bound to, and how a pending one reaches a vCPU.
//!
//! - [`channel`]: a domain's ports and their states; [`bind`]: binding and closing.
//! - [`deliver`]: making ports pending; everything the rest of the hypervisor sends goes through it.
//! - [`level2`], [`fifo`]: the two layouts of the state shared with the guest.
//! - [`info`]: where a vCPU's vcpu_info lives.
//! - [`op`]: the hypercall; [`life`]: reset, teardown, dumps.
//!
//! Locks, from the top: [`DomainEvents::fifo`] for writing (layout changes) stands above all; then channel
//! locks in the order of (domain, port); then the layout for reading; then a vCPU's queues; then its
//! vcpu_info; then the scheduler's.

pub mod bind;
pub mod channel;
pub mod deliver;
pub mod fifo;
pub mod info;
pub mod level2;
pub mod life;
pub mod op;
#[cfg(test)]
mod tests;
pub mod words;

pub use deliver::{
    VirqHandlers, cr2, deliverable, forget_virq_handler, notify_port, poll_check, send, send_global_virq,
    send_pirq, send_virq, set_cr2, set_upcall_mask, set_virq_handler, upcall_masked, upcall_pending,
};
pub use info::register_vcpu_info;
pub use life::{audit, dump, teardown};
pub use op::{event_channel_op, event_channel_op_compat, unmask_port};

use crate::domain::{Domain, NewDomain};
use crate::fallible::TryVec;
use crate::frame::WritableRef;
use crate::ids::{Mfn, Port, VcpuId};
use crate::machine::Machine;
use crate::sync::{Mutex, RwLock};
use crate::xen::Xen;
use abi::Errno;
use abi::event_channel::EVTCHN_FIFO_NR_CHANNELS;
use abi::xen::*;
use alloc::vec::Vec;
use channel::Ports;
use core::sync::atomic::AtomicU32;
use fifo::{Fifo, Queues};
use info::InfoPlace;

/// More physical interrupts than any machine's.
const MAX_PIRQS: usize = 65536;

/// A vCPU's part.
pub struct VcpuEvents {
    pub info: InfoPlace,
    /// Port bound to each VIRQ, 0 for none. A global one's stands at vCPU 0.
    virqs: [AtomicU32; NR_VIRQS as usize],
    queues: Mutex<Queues>,
}

impl VcpuEvents {
    pub fn new(domain: &Domain, id: VcpuId) -> Self {
        Self {
            info: InfoPlace::new(domain, id),
            virqs: Default::default(),
            queues: Mutex::new(Queues::default()),
        }
    }
}

/// A domain's part.
pub struct DomainEvents {
    pub(crate) ports: Ports,
    /// `None`: the 2-level layout.
    fifo: RwLock<Option<Fifo>>,
    /// Port of each bound physical interrupt, 0 for none.
    pirqs: RwLock<Vec<u32>>,
    /// Where a closing of all ports goes on.
    progress: AtomicU32,
}

impl DomainEvents {
    pub fn new(n: &NewDomain) -> Result<Self, Errno> {
        Ok(Self {
            ports: Ports::new(n.max_evtchn_port.min(EVTCHN_FIFO_NR_CHANNELS - 1))?,
            fifo: RwLock::new(None),
            pirqs: RwLock::new(Vec::new()),
            progress: AtomicU32::new(0),
        })
    }

    /// Whether the guest chose the FIFO layout.
    pub fn uses_fifo(&self) -> bool {
        self.fifo.read().is_some()
    }

    fn pirq_port(&self, pirq: u32) -> Option<Port> {
        self.pirqs.read().get(pirq as usize).copied().filter(|&p| p != 0).map(Port)
    }

    fn claim_pirq(&self, pirq: u32, port: Port) -> Result<(), Errno> {
        let at = pirq as usize;
        if at >= MAX_PIRQS {
            return Err(Errno::EINVAL);
        }
        let mut map = self.pirqs.write();
        map.try_lengthen(at + 1, 0)?;
        if map[at] != 0 {
            return Err(Errno::EEXIST);
        }
        map[at] = port.0;
        Ok(())
    }

    fn drop_pirq(&self, pirq: u32) {
        if let Some(slot) = self.pirqs.write().get_mut(pirq as usize) {
            *slot = 0;
        }
    }
}

/// Whether a VIRQ is bound once a domain (as opposed to once a vCPU).
pub fn virq_is_global(virq: u32) -> bool {
    !matches!(virq, VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU)
}

/// Pins a frame of `dom` that the guest gives for shared event state.
pub(crate) fn writable_frame<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Domain,
    gfn: u64,
) -> Option<WritableRef> {
    let frame = xen.frames.get(Mfn(gfn), dom.id)?;
    crate::mm::types::get_writable(xen, frame).ok()
}
