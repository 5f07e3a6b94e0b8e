//! `event_channel_op`: decodes each command, does it, answers.

use super::channel::State;
use super::deliver::unmask;
use super::{bind, life, send};
use crate::domain::Domain;
use crate::guest;
use crate::ids::{DomId, Port, VcpuId};
use crate::machine::Machine;
use crate::xen::{Cx, HcResult, Stop, Xen};
use abi::Errno;
use abi::event_channel::*;
use abi::xen::HYPERVISOR_EVENT_CHANNEL_OP;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

/// Hypercall 32. `arg`: address of the command's structure.
pub fn event_channel_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u64, arg: u64) -> HcResult {
    let m = &cx.xen.m;
    match cmd as u32 {
        EVTCHNOP_SEND => {
            let a: EvtchnSend = guest::read(m, arg)?;
            send(cx.xen, cx.dom, Port(a.port))?;
        }
        EVTCHNOP_UNMASK => {
            let a: EvtchnUnmask = guest::read(m, arg)?;
            unmask_port(cx.xen, cx.dom, Port(a.port))?;
        }
        EVTCHNOP_ALLOC_UNBOUND => {
            let mut a: EvtchnAllocUnbound = guest::read(m, arg)?;
            let dom = cx.domain_for_control(a.dom)?;
            a.port = bind::alloc_unbound(cx.xen, &dom, self_or(cx.dom, a.remote_dom))?.0;
            guest::write(m, arg, &a)?;
        }
        EVTCHNOP_BIND_INTERDOMAIN => {
            let mut a: EvtchnBindInterdomain = guest::read(m, arg)?;
            let far = cx.domain(a.remote_dom)?;
            a.local_port = bind::bind_interdomain(cx.xen, cx.dom, &far, Port(a.remote_port))?.0;
            guest::write(m, arg, &a)?;
        }
        EVTCHNOP_BIND_VIRQ => {
            let mut a: EvtchnBindVirq = guest::read(m, arg)?;
            a.port = bind::bind_virq(cx.xen, cx.dom, a.virq, VcpuId(a.vcpu))?.0;
            guest::write(m, arg, &a)?;
        }
        EVTCHNOP_BIND_IPI => {
            let mut a: EvtchnBindIpi = guest::read(m, arg)?;
            a.port = bind::bind_ipi(cx.xen, cx.dom, VcpuId(a.vcpu))?.0;
            guest::write(m, arg, &a)?;
        }
        EVTCHNOP_BIND_PIRQ => {
            let mut a: EvtchnBindPirq = guest::read(m, arg)?;
            let share = a.flags & BIND_PIRQ_WILL_SHARE != 0;
            a.port = bind::bind_pirq(cx.xen, cx.dom, a.pirq, share)?.0;
            guest::write(m, arg, &a)?;
        }
        EVTCHNOP_CLOSE => {
            let a: EvtchnClose = guest::read(m, arg)?;
            bind::close(cx.xen, cx.dom, Port(a.port))?;
        }
        EVTCHNOP_STATUS => {
            let mut a: EvtchnStatus = guest::read(m, arg)?;
            let dom = cx.domain_for_control(a.dom)?;
            status(&dom, &mut a)?;
            guest::write(m, arg, &a)?;
        }
        EVTCHNOP_BIND_VCPU => {
            let a: EvtchnBindVcpu = guest::read(m, arg)?;
            bind::bind_vcpu(cx.xen, cx.dom, Port(a.port), VcpuId(a.vcpu))?;
        }
        cmd @ (EVTCHNOP_RESET | EVTCHNOP_RESET_CONT) => {
            let a: EvtchnReset = guest::read(m, arg)?;
            return reset(cx, cmd, a.dom, arg);
        }
        EVTCHNOP_INIT_CONTROL => {
            let mut a: EvtchnInitControl = guest::read(m, arg)?;
            life::init_control(cx.xen, cx.dom, VcpuId(a.vcpu), a.control_gfn, a.offset)?;
            a.link_bits = EVTCHN_FIFO_LINK_BITS as u8;
            guest::write(m, arg, &a)?;
        }
        EVTCHNOP_EXPAND_ARRAY => {
            let a: EvtchnExpandArray = guest::read(m, arg)?;
            life::expand_array(cx.xen, cx.dom, a.array_gfn)?;
        }
        EVTCHNOP_SET_PRIORITY => {
            let a: EvtchnSetPriority = guest::read(m, arg)?;
            set_priority(cx.dom, Port(a.port), a.priority)?;
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

/// Hypercall 16: command and structure in one `struct evtchn_op`. Serves what there was when it was
/// superseded.
pub fn event_channel_op_compat<M: Machine>(cx: &mut Cx<'_, M>, op: u64) -> HcResult {
    let cmd: u32 = guest::read(&cx.xen.m, op)?;
    if cmd > EVTCHNOP_UNMASK {
        return Err(Errno::ENOSYS.into());
    }
    event_channel_op(cx, u64::from(cmd), op + core::mem::offset_of!(EvtchnOp, u) as u64)
}

fn self_or(caller: &Domain, id: u16) -> DomId {
    if id == DomId::SELF.0 { caller.id } else { DomId(id) }
}

/// Clears a port's mask, and delivers it if it is pending. EINVAL: no such port.
pub fn unmask_port<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, port: Port) -> Result<(), Errno> {
    let ch = dom.events.ports.get(port).ok_or(Errno::EINVAL)?;
    let _bound = ch.state.lock();
    unmask(xen, dom, port, ch);
    Ok(())
}

fn status(dom: &Arc<Domain>, a: &mut EvtchnStatus) -> Result<(), Errno> {
    let ch = dom.events.ports.get(Port(a.port)).ok_or(Errno::EINVAL)?;
    match &*ch.state.lock() {
        State::Free => a.status = EVTCHNSTAT_CLOSED,
        State::Unbound { remote } => a.set_unbound(remote.0),
        State::Interdomain { remote, port } => a.set_interdomain(remote.id.0, port.0),
        State::Pirq(pirq) => a.set_pirq(*pirq),
        State::Virq { virq, .. } => a.set_virq(*virq),
        State::Ipi => a.status = EVTCHNSTAT_IPI,
    }
    a.vcpu = ch.notify().0;
    Ok(())
}

/// EBUSY: another domain, not paused by its controller.
fn reset<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, id: u16, arg: u64) -> HcResult {
    let dom = cx.domain_for_control(id)?;
    if dom.id != cx.dom.id && !dom.paused_by_controller() {
        return Err(Stop::Errno(Errno::EBUSY));
    }
    if cmd == EVTCHNOP_RESET {
        dom.events.progress.store(0, Relaxed);
    }
    if life::reset(cx.xen, &dom) {
        return Ok(0);
    }
    cx.restart(HYPERVISOR_EVENT_CHANNEL_OP, [u64::from(EVTCHNOP_RESET_CONT), arg])
}

/// ENOSYS: the 2-level layout has none.
fn set_priority(dom: &Domain, port: Port, priority: u32) -> Result<(), Errno> {
    if priority > EVTCHN_FIFO_PRIORITY_MIN {
        return Err(Errno::EINVAL);
    }
    let ch = dom.events.ports.get(port).ok_or(Errno::EINVAL)?;
    let _bound = ch.state.lock();
    if !dom.events.uses_fifo() {
        return Err(Errno::ENOSYS);
    }
    ch.set_priority(priority);
    Ok(())
}
