//! Making ports pending and telling vCPUs.

use super::channel::{Channel, State};
use super::level2::{self, Effect};
use crate::domain::{Domain, Dying};
use crate::ids::{DomId, Port, VcpuId};
use crate::machine::Machine;
use crate::vcpu::Vcpu;
use crate::xen::Xen;
use abi::Errno;
use abi::arch_x86::ArchVcpuInfo;
use abi::event_channel::EVTCHN_2L_NR_CHANNELS;
use abi::xen::{NR_VIRQS, VcpuInfo};
use alloc::sync::Arc;
use core::mem::offset_of;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::*;

const CR2: usize = offset_of!(VcpuInfo, arch) + offset_of!(ArchVcpuInfo, cr2);

/// Makes a bound port pending. The caller holds what keeps it bound: the lock of this channel or of its
/// other end.
pub(super) fn set_pending<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, port: Port, ch: &Channel) {
    let Some(vcpu) = dom.vcpu(ch.notify()) else { return };
    let effect = match &*dom.events.fifo.read() {
        None => level2::set_pending(&xen.m, dom, &vcpu, port),
        Some(fifo) => fifo.set_pending(&xen.m, dom, &vcpu, port, ch),
    };
    act(xen, dom, &vcpu, port, effect);
}

/// Clears a port's mask, and delivers it if it is pending.
pub(super) fn unmask<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, port: Port, ch: &Channel) {
    let Some(vcpu) = dom.vcpu(ch.notify()) else { return };
    let effect = match &*dom.events.fifo.read() {
        None => level2::unmask(&xen.m, dom, &vcpu, port),
        Some(fifo) => fifo.unmask(&xen.m, dom, &vcpu, port, ch),
    };
    act(xen, dom, &vcpu, port, effect);
}

fn act<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, vcpu: &Arc<Vcpu>, port: Port, effect: Effect) {
    if effect.upcall {
        raise(xen, vcpu);
    }
    if effect.fresh {
        crate::sched::poll_wake(xen, dom, port);
    }
}

/// Sets `evtchn_upcall_pending` and, if it was clear, wakes or interrupts the vCPU.
fn raise<M: Machine>(xen: &'static Xen<M>, vcpu: &Arc<Vcpu>) {
    if vcpu.events.info.with(|info| info.raise_upcall(&xen.m)) == Some(true) {
        crate::sched::vcpu_kick(xen, vcpu);
    }
}

/// Forgets that a port that is being closed was pending.
pub(super) fn clear_pending<M: Machine>(xen: &'static Xen<M>, dom: &Domain, port: Port, ch: &Channel) {
    match &*dom.events.fifo.read() {
        None => level2::clear_pending(&xen.m, dom, port),
        Some(fifo) => fifo.clear_pending(&xen.m, port, ch),
    }
}

/// `EVTCHNOP_send`, and what the hypervisor's own parts call to signal through a domain's port.
pub fn send<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, port: Port) -> Result<(), Errno> {
    let ch = dom.events.ports.get(port).ok_or(Errno::EINVAL)?;
    let state = ch.state.lock();
    match &*state {
        State::Interdomain { remote, port } => {
            let far = remote.events.ports.get(*port).ok_or(Errno::EINVAL)?;
            set_pending(xen, remote, *port, far);
            Ok(())
        }
        State::Ipi => {
            set_pending(xen, dom, port, ch);
            Ok(())
        }
        // Nobody there yet; binding makes the port pending, so nothing is lost.
        State::Unbound { .. } => Ok(()),
        State::Free | State::Virq { .. } | State::Pirq(_) => Err(Errno::EINVAL),
    }
}

/// Makes `port` of `dom` itself pending, if it is bound to anything.
pub fn notify_port<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, port: Port) {
    let Some(ch) = dom.events.ports.get(port) else { return };
    let state = ch.state.lock();
    if !matches!(*state, State::Free) {
        set_pending(xen, dom, port, ch);
    }
}

/// A virtual interrupt of one vCPU; nothing if it did not bind it. No run-queue lock may be held.
pub fn send_virq<M: Machine>(xen: &'static Xen<M>, vcpu: &Arc<Vcpu>, virq: u32) {
    let Some(slot) = vcpu.events.virqs.get(virq as usize) else { return };
    let port = Port(slot.load(Acquire));
    if port.0 == 0 {
        return;
    }
    let Some(dom) = vcpu.domain() else { return };
    let Some(ch) = dom.events.ports.get(port) else { return };
    let state = ch.state.lock();
    if matches!(*state, State::Virq { virq: v, vcpu: owner } if v == virq && owner == vcpu.id) {
        set_pending(xen, &dom, port, ch);
    }
}

/// Which domain gets each global VIRQ.
#[derive(Debug)]
pub struct VirqHandlers([AtomicU16; NR_VIRQS as usize]);

impl VirqHandlers {
    /// dom0 gets all of them.
    pub fn new() -> Self {
        Self([const { AtomicU16::new(DomId::DOM0.0) }; NR_VIRQS as usize])
    }

    /// Whoever gets `virq`. `None`: there is no such VIRQ.
    pub fn of(&self, virq: u32) -> Option<DomId> {
        Some(DomId(self.0.get(virq as usize)?.load(SeqCst)))
    }
}

impl Default for VirqHandlers {
    fn default() -> Self {
        Self::new()
    }
}

/// `dom` gets this global VIRQ from now on. EINVAL: not a global one, or the domain is ending.
pub fn set_virq_handler<M: Machine>(xen: &Xen<M>, dom: &Domain, virq: u32) -> Result<(), Errno> {
    let slot = xen.virq_handlers.0.get(virq as usize).filter(|_| super::virq_is_global(virq));
    slot.ok_or(Errno::EINVAL)?.store(dom.id.0, SeqCst);
    if dom.dying() != Dying::Alive {
        forget_virq_handler(xen, dom);
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// dom0 gets again what the domain, which is ending, was to get.
pub fn forget_virq_handler<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    for slot in &xen.virq_handlers.0 {
        let _ = slot.compare_exchange(dom.id.0, DomId::DOM0.0, SeqCst, Relaxed);
    }
}

/// A global virtual interrupt, to the domain that handles it.
pub fn send_global_virq<M: Machine>(xen: &'static Xen<M>, virq: u32) {
    debug_assert!(virq < NR_VIRQS && super::virq_is_global(virq));
    let Some(dom) = xen.virq_handlers.of(virq).and_then(|id| xen.domains.get(id)) else { return };
    if let Some(vcpu) = dom.vcpu(VcpuId(0)) {
        send_virq(xen, &vcpu, virq);
    }
}

/// A physical interrupt arrived for `dom`; nothing if no port is bound to it.
pub fn send_pirq<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, pirq: u32) {
    let Some(port) = dom.events.pirq_port(pirq) else { return };
    let Some(ch) = dom.events.ports.get(port) else { return };
    let state = ch.state.lock();
    if matches!(*state, State::Pirq(p) if p == pirq) {
        set_pending(xen, dom, port, ch);
    }
}

/// vCPU that is told of the interrupt: where its physical one is best taken.
pub fn pirq_vcpu(dom: &Domain, pirq: u32) -> Option<VcpuId> {
    Some(dom.events.ports.get(dom.events.pirq_port(pirq)?)?.notify())
}

/// Whether an upcall is due and wanted. For the CPU that runs `vcpu`, on its way out: no lock, one load.
#[inline]
pub fn upcall_pending<M: Machine>(xen: &Xen<M>, vcpu: &Vcpu) -> bool {
    vcpu.events.info.own().is_some_and(|info| info.upcall_due(&xen.m))
}

/// As [`upcall_pending`], for any CPU.
pub fn deliverable<M: Machine>(xen: &Xen<M>, vcpu: &Vcpu) -> bool {
    vcpu.events.info.with(|info| info.upcall_due(&xen.m)).unwrap_or(false)
}

/// Sets `evtchn_upcall_mask` of the vCPU that runs here; what it was.
#[inline]
pub fn set_upcall_mask<M: Machine>(xen: &Xen<M>, vcpu: &Vcpu, masked: bool) -> bool {
    vcpu.events.info.own().is_some_and(|info| info.set_mask(&xen.m, masked))
}

/// `evtchn_upcall_mask` of the vCPU that runs here.
#[inline]
pub fn upcall_masked<M: Machine>(xen: &Xen<M>, vcpu: &Vcpu) -> bool {
    vcpu.events.info.own().is_some_and(|info| info.masked(&xen.m))
}

/// Stores `vcpu_info.arch.cr2` of the vCPU that runs here.
pub fn set_cr2<M: Machine>(xen: &Xen<M>, vcpu: &Vcpu, cr2: u64) {
    if let Some(info) = vcpu.events.info.own() {
        info.store(&xen.m, CR2, cr2);
    }
}

/// `vcpu_info.arch.cr2`, as the guest last left it.
pub fn cr2<M: Machine>(xen: &Xen<M>, vcpu: &Vcpu) -> u64 {
    vcpu.events.info.own().map_or(0, |info| info.load(&xen.m, CR2))
}

/// `SCHEDOP_poll`: whether a port is pending. EINVAL: no such port.
pub fn poll_check<M: Machine>(xen: &Xen<M>, dom: &Domain, port: Port) -> Result<bool, Errno> {
    dom.events.ports.get(port).ok_or(Errno::EINVAL)?;
    Ok(match &*dom.events.fifo.read() {
        None => level2::is_pending(&xen.m, dom, port),
        Some(fifo) => fifo.is_pending(&xen.m, port),
    })
}

/// Whether the guest masked the port (for dumps).
pub(super) fn is_masked<M: Machine>(xen: &Xen<M>, dom: &Domain, port: Port) -> bool {
    match &*dom.events.fifo.read() {
        None => level2::is_masked(&xen.m, dom, port),
        Some(fifo) => fifo.is_masked(&xen.m, port),
    }
}

/// Takes a free port of `dom`: within its limit and its layout's.
pub(super) fn take_port<M: Machine>(xen: &Xen<M>, dom: &Domain) -> Result<Port, Errno> {
    match &*dom.events.fifo.read() {
        None => dom.events.ports.take(EVTCHN_2L_NR_CHANNELS, |_| false),
        Some(fifo) => dom.events.ports.take(u32::MAX, |p| fifo.is_busy(&xen.m, p)),
    }
}
