//! `sched_op` (public header sched.h) and its old form.

use super::state::{begin_poll, unblock};
use super::{ANY_PORT, NO_PORT, shutdown, watchdog};
use crate::guest;
use crate::ids::{CpuId, Port};
use crate::machine::Machine;
use crate::vcpu::pause;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::sched::*;
use core::sync::atomic::{Ordering::*, fence};

/// Most ports one poll may name.
const MAX_POLL_PORTS: u32 = 128;

/// `sched_op(cmd, arg)`.
pub fn sched_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    let m = &cx.xen.m;
    match cmd {
        SCHEDOP_YIELD => yield_(cx),
        SCHEDOP_BLOCK => block(cx),
        SCHEDOP_SHUTDOWN => {
            let s: SchedShutdown = guest::read(m, arg)?;
            shutdown::domain_shutdown(cx.xen, cx.dom, s.reason & 0xff);
            Ok(0)
        }
        SCHEDOP_SHUTDOWN_CODE => {
            let s: SchedShutdown = guest::read(m, arg)?;
            shutdown::record_code(cx.dom, s.reason & 0xff);
            Ok(0)
        }
        SCHEDOP_POLL => poll(cx, &guest::read(m, arg)?),
        SCHEDOP_REMOTE_SHUTDOWN => {
            let r: SchedRemoteShutdown = guest::read(m, arg)?;
            let dom = cx.xen.domains.get(crate::ids::DomId(r.domain_id)).ok_or(Errno::ESRCH)?;
            cx.must_be_privileged()?;
            shutdown::domain_shutdown(cx.xen, &dom, r.reason & 0xff);
            Ok(0)
        }
        SCHEDOP_WATCHDOG => {
            let w: SchedWatchdog = guest::read(m, arg)?;
            Ok(watchdog::set(cx.xen, cx.dom, w.id, w.timeout)?)
        }
        SCHEDOP_PIN_OVERRIDE => {
            cx.must_be_privileged()?;
            let p: SchedPinOverride = guest::read(m, arg)?;
            pin_override(cx, p.pcpu)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `sched_op_compat(cmd, arg)`: before arguments were structures.
pub fn sched_op_compat<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    match cmd {
        SCHEDOP_YIELD => yield_(cx),
        SCHEDOP_BLOCK => block(cx),
        SCHEDOP_SHUTDOWN => {
            shutdown::domain_shutdown(cx.xen, cx.dom, arg as u32 & 0xff);
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn yield_<M: Machine>(cx: &mut Cx<'_, M>) -> HcResult {
    let mut q = cx.xen.sched.queue.lock();
    let to = cx.vcpu.sched.slot().and_then(|s| q.yield_(s));
    drop(q);
    if let Some(cpu) = to {
        super::tickle(cx.xen, cpu);
    }
    Ok(0)
}

/// Enables upcalls and waits for an event. Also what HLT of a guest kernel means.
pub fn block<M: Machine>(cx: &mut Cx<'_, M>) -> HcResult {
    crate::event::set_upcall_mask(cx.xen, cx.vcpu, false);
    cx.vcpu.pause_flags.fetch_or(pause::BLOCKED, SeqCst);
    // An event before this point is seen here; one after it sees the flag.
    fence(SeqCst);
    if crate::event::upcall_pending(cx.xen, cx.vcpu) {
        cx.vcpu.pause_flags.fetch_and(!pause::BLOCKED, SeqCst);
    } else {
        super::update(cx.xen, cx.vcpu);
    }
    Ok(0)
}

fn poll<M: Machine>(cx: &mut Cx<'_, M>, p: &SchedPoll) -> HcResult {
    if p.nr_ports > MAX_POLL_PORTS {
        return Err(Errno::EINVAL.into());
    }
    let mut ports = [0u8; 4 * MAX_POLL_PORTS as usize];
    let ports = &mut ports[..4 * p.nr_ports as usize];
    guest::read_bytes(&cx.xen.m, p.ports.addr(), ports)?;
    let ports = || ports.chunks_exact(4).map(|b| Port(u32::from_le_bytes(b.try_into().unwrap_or_default())));

    let wanted = match p.nr_ports {
        0 => NO_PORT - 2,
        1 => ports().next().map_or(ANY_PORT, |p| p.0),
        _ => ANY_PORT,
    };
    for port in ports() {
        // Also finds out whether the port exists (EINVAL) before anything waits.
        crate::event::poll_check(cx.xen, cx.dom, port)?;
    }
    begin_poll(cx.dom, cx.vcpu, wanted);
    fence(SeqCst);
    let mut due = crate::event::upcall_pending(cx.xen, cx.vcpu);
    for port in ports() {
        due |= crate::event::poll_check(cx.xen, cx.dom, port)?;
    }
    if due {
        unblock(cx.xen, cx.vcpu);
        return Ok(0);
    }
    if p.timeout != 0
        && let Err(e) = crate::time::set_poll_timer(cx.xen, cx.vcpu, p.timeout)
    {
        unblock(cx.xen, cx.vcpu);
        return Err(e.into());
    }
    super::update(cx.xen, cx.vcpu);
    Ok(0)
}

fn pin_override<M: Machine>(cx: &mut Cx<'_, M>, pcpu: i32) -> HcResult {
    let pin = match u32::try_from(pcpu) {
        Err(_) => None,
        Ok(c) if super::pool_cpus(cx.xen, cx.vcpu).contains(CpuId(c)) => Some(CpuId(c)),
        Ok(_) => return Err(Errno::EINVAL.into()),
    };
    let mut q = cx.xen.sched.queue.lock();
    let Some(slot) = cx.vcpu.sched.slot() else { return Err(Errno::EINVAL.into()) };
    let Some(e) = q.get_mut(slot) else { return Err(Errno::EINVAL.into()) };
    if e.pinned.is_some() == pin.is_some() {
        return Err(if pin.is_some() { Errno::EBUSY } else { Errno::EINVAL }.into());
    }
    e.pinned = pin;
    let to = q.moved(slot, cx.xen.m.now());
    drop(q);
    if let Some(cpu) = to {
        super::tickle(cx.xen, cpu);
    }
    Ok(0)
}
