//! Layout changes, reset, teardown, and what the debug key and the audit ask.

use super::bind::close;
use super::channel::State;
use super::deliver::{is_masked, set_pending};
use super::fifo::Fifo;
use super::{level2, poll_check, writable_frame};
use crate::domain::Domain;
use crate::ids::{Mfn, VcpuId};
use crate::machine::Machine;
use crate::xen::Xen;
use abi::Errno;
use abi::event_channel::EvtchnFifoControlBlock;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::Ordering::*;

/// Ports closed between two looks at whether others want the CPU.
const BATCH: u32 = 64;

/// `EVTCHNOP_init_control`: vCPU's FIFO control block. The first one switches the domain over, and what is
/// pending in the 2-level layout waits for its event word.
pub(super) fn init_control<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    vcpu: VcpuId,
    gfn: u64,
    offset: u32,
) -> Result<(), Errno> {
    let offset = offset as usize;
    let vcpu = dom.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    if offset > 4096 - size_of::<EvtchnFifoControlBlock>() || !offset.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let frame = writable_frame(xen, dom, gfn).ok_or(Errno::EINVAL)?;
    let mut fifo = dom.events.fifo.write();
    vcpu.events.queues.lock().set_block(frame, offset)?;
    if fifo.is_some() {
        return Ok(());
    }
    let mut next = 0;
    while let Some(port) = dom.events.ports.next_taken(next) {
        next = port.0 + 1;
        if let Some(ch) = dom.events.ports.get(port)
            && level2::is_pending(&xen.m, dom, port)
        {
            ch.parked.store(true, Release);
        }
    }
    *fifo = Some(Fifo::default());
    Ok(())
}

/// `EVTCHNOP_expand_array`: one more page of event words; delivers what waited for them.
/// EOPNOTSUPP: 2-level layout. ENOSPC: no more ports to have.
pub(super) fn expand_array<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    gfn: u64,
) -> Result<(), Errno> {
    let ports = {
        let mut fifo = dom.events.fifo.write();
        let fifo = fifo.as_mut().ok_or(Errno::EOPNOTSUPP)?;
        if fifo.full() {
            return Err(Errno::ENOSPC);
        }
        fifo.add_page(writable_frame(xen, dom, gfn).ok_or(Errno::EINVAL)?)?
    };
    let mut next = ports.start;
    while let Some(port) = dom.events.ports.next_taken(next).filter(|p| p.0 < ports.end) {
        next = port.0 + 1;
        let Some(ch) = dom.events.ports.get(port) else { continue };
        let state = ch.state.lock();
        if ch.parked.swap(false, AcqRel) && !matches!(*state, State::Free) {
            set_pending(xen, dom, port, ch);
        }
    }
    Ok(())
}

/// Closes ports from where the last call stopped; false if others want the CPU first.
fn close_all<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) -> bool {
    let mut done = 0;
    while let Some(port) = dom.events.ports.next_taken(dom.events.progress.load(Relaxed)) {
        // EINVAL: another closes it, or its binding just failed.
        let _ = close(xen, dom, port);
        dom.events.progress.store(port.0 + 1, Relaxed);
        done += 1;
        if done % BATCH == 0 && xen.m.preempt_point() {
            return false;
        }
    }
    dom.events.progress.store(0, Relaxed);
    true
}

/// Gives up the pages of the FIFO layout.
fn leave_fifo(dom: &Domain) {
    let mut fifo = dom.events.fifo.write();
    dom.for_each_vcpu(|v| v.events.queues.lock().reset());
    *fifo = None;
}

/// `EVTCHNOP_reset`: closes every port and goes back to the 2-level layout. False: call again.
pub fn reset<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) -> bool {
    if !close_all(xen, dom) {
        return false;
    }
    leave_fifo(dom);
    true
}

/// End of a domain that is marked dying and whose vCPUs are off their CPUs: closes all ports, unpins every frame
/// the guest gave for events. False: call again.
pub fn teardown<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) -> bool {
    debug_assert!(!dom.is_alive());
    if !reset(xen, dom) {
        return false;
    }
    dom.for_each_vcpu(|v| v.events.info.release());
    true
}

/// Reports every frame pinned as writable on behalf of events: one call a pin.
pub fn audit(dom: &Domain, mut pin: impl FnMut(Mfn)) {
    if let Some(fifo) = &*dom.events.fifo.read() {
        fifo.frames().for_each(&mut pin);
    }
    dom.for_each_vcpu(|v| {
        if let Some(mfn) = v.events.queues.lock().frame() {
            pin(mfn);
        }
        if let Some(mfn) = v.events.info.registered_frame() {
            pin(mfn);
        }
    });
}

/// Lines for the debug key: each bound port with its pending and mask bits, vCPU and binding.
pub fn dump<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, mut line: impl FnMut(fmt::Arguments<'_>)) {
    let layout = if dom.events.uses_fifo() { "FIFO" } else { "2-level" };
    line(format_args!("Event channel information for domain {} ({layout}):", dom.id.0));
    let mut next = 0;
    while let Some(port) = dom.events.ports.next_taken(next) {
        next = port.0 + 1;
        let Some(ch) = dom.events.ports.get(port) else { continue };
        let bits = (
            u8::from(poll_check(xen, dom, port).unwrap_or(false)),
            u8::from(is_masked(xen, dom, port)),
            ch.notify().0,
        );
        let (p, m, v) = bits;
        match &*ch.state.lock() {
            State::Free => {}
            State::Unbound { remote } => {
                line(format_args!("  {:4} [{p}/{m}]: v={v} unbound for {remote}", port.0));
            }
            State::Interdomain { remote, port: far } => {
                line(format_args!("  {:4} [{p}/{m}]: v={v} to {} port {}", port.0, remote.id, far.0));
            }
            State::Pirq(pirq) => line(format_args!("  {:4} [{p}/{m}]: v={v} pirq {pirq}", port.0)),
            State::Virq { virq, .. } => line(format_args!("  {:4} [{p}/{m}]: v={v} virq {virq}", port.0)),
            State::Ipi => line(format_args!("  {:4} [{p}/{m}]: v={v} ipi", port.0)),
        }
    }
}
