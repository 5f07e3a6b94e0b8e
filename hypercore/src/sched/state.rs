//! What makes a vCPU runnable or not.

use super::runstate::State;
use super::{ANY_PORT, NO_PORT, tickle};
use crate::domain::Domain;
use crate::event;
use crate::ids::Port;
use crate::machine::Machine;
use crate::sync::relax;
use crate::traps::inject::vector::BP;
use crate::vcpu::{Vcpu, pause};
use crate::xen::{Cx, Xen};
use abi::xen::VIRQ_DEBUGGER;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

/// Whether `v` may run, and how it rests if not.
fn wants(v: &Vcpu) -> (bool, State) {
    let flags = v.pause_flags.load(SeqCst);
    let paused = v.pause_count.load(SeqCst) != 0
        || v.domain().is_none_or(|d| d.pause_count.load(SeqCst) != 0)
        || flags & pause::DOWN != 0;
    let waits = flags & (pause::BLOCKED | pause::POLL) != 0;
    (!paused && !waits, if waits { State::Blocked } else { State::Offline })
}

/// Tells the scheduler what `v`'s flags say now. Whoever changes them calls this afterwards.
pub fn update<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    let now = xen.m.now();
    let mut q = xen.sched.queue.lock();
    // Read under the lock: the last one to get it sees the last change.
    let (runnable, resting) = wants(v);
    let to = v.sched.slot().and_then(|s| q.set_runnable(s, runnable, resting, now));
    drop(q);
    if let Some(cpu) = to {
        tickle(xen, cpu);
    }
}

/// `v` may have become runnable.
pub fn wake<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    update(xen, v);
}

/// `v` may have ceased to be runnable.
pub fn sleep<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    update(xen, v);
}

/// Ends a poll, if `v` is in one.
fn end_poll(v: &Vcpu) -> bool {
    let polling = v.sched.polling.swap(NO_PORT, AcqRel) != NO_PORT;
    if polling && let Some(d) = v.domain() {
        d.sched.pollers.fetch_sub(1, AcqRel);
    }
    polling
}

/// Ends `SCHEDOP_block` and `SCHEDOP_poll`.
pub fn unblock<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    const WAITS: u32 = pause::BLOCKED | pause::POLL;
    if v.pause_flags.load(SeqCst) & WAITS != 0 {
        end_poll(v);
        v.pause_flags.fetch_and(!WAITS, SeqCst);
        update(xen, v);
    }
}

/// An upcall is pending for `v`: it is unblocked, or its CPU passes its exit path.
pub fn vcpu_kick<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    // Pairs with the fence of a vCPU that blocks: either it sees the event or we see it blocked.
    core::sync::atomic::fence(SeqCst);
    unblock(xen, v);
    if v.running.load(Acquire) && v.processor() != xen.m.cpu() {
        xen.m.kick(v.processor());
    }
}

/// `v` begins to poll for `port` ([`ANY_PORT`]: for several). [`unblock`] or [`poll_wake`] ends it.
pub(super) fn begin_poll(dom: &Domain, v: &Vcpu, port: u32) {
    dom.sched.pollers.fetch_add(1, AcqRel);
    v.sched.polling.store(port, Release);
    v.pause_flags.fetch_or(pause::POLL, SeqCst);
}

/// `port` became pending: wakes those who poll for it.
pub fn poll_wake<M: Machine>(xen: &Xen<M>, dom: &Domain, port: Port) {
    core::sync::atomic::fence(SeqCst);
    if dom.sched.pollers.load(Acquire) == 0 {
        return;
    }
    dom.for_each_vcpu(|v| {
        let p = v.sched.polling.load(Acquire);
        if p == port.0 || p == ANY_PORT {
            unblock(xen, v);
        }
    });
}

/// Pauses every vCPU of `dom` (counted); they may still be on their CPUs for a moment.
pub fn pause_domain<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    dom.pause_count.fetch_add(1, SeqCst);
    dom.for_each_vcpu(|v| update(xen, v));
}

/// Undoes one [`pause_domain`].
pub fn unpause_domain<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    let undone = dom.pause_count.fetch_update(SeqCst, SeqCst, |c| c.checked_sub(1));
    debug_assert!(undone.is_ok(), "{dom:?} unpaused more often than paused");
    dom.for_each_vcpu(|v| update(xen, v));
}

/// The toolstack pauses `dom`, once more; returns once none of its vCPUs is on a CPU. EOVERFLOW: too often.
pub fn controller_pause<M: Machine>(xen: &Xen<M>, dom: &Domain) -> Result<(), abi::Errno> {
    count_pause(dom)?;
    pause_domain_sync(xen, dom);
    Ok(())
}

/// The running vCPU took the exception `vector`, #BP or #DB. In its kernel, with a debugger attached
/// (`XEN_DOMCTL_setdebugging`), that is the debugger's: the domain stops, paused once more by the tools, and the guest
/// sees nothing of it. Otherwise (false) it is the guest's.
///
/// A breakpoint is noted for `XEN_DOMCTL_gdbsx_domstatus`. Whoever set the trap flag or a watchpoint knows of which
/// vCPU, so #DB is not; `VIRQ_DEBUGGER` tells those who do not poll.
pub fn stop_for_debugger<M: Machine>(cx: &Cx<'_, M>, vector: u8) -> bool {
    if !cx.vp.kernel_mode || !cx.dom.debugged.load(Relaxed) {
        return false;
    }
    if vector == BP {
        cx.vcpu.stopped_by.store(vector.into(), Release);
    }
    if count_pause(cx.dom).is_ok() {
        pause_domain(cx.xen, cx.dom);
    }
    if cx.vcpu.stopped_by.load(Acquire) == 0 {
        event::send_global_virq(cx.xen, VIRQ_DEBUGGER);
    }
    true
}

fn count_pause(dom: &Domain) -> Result<(), abi::Errno> {
    let more = |n: u32| n.checked_add(1).filter(|&n| n <= i32::MAX as u32);
    dom.controller_pauses.fetch_update(SeqCst, SeqCst, more).map(drop).map_err(|_| abi::Errno::EOVERFLOW)
}

/// The toolstack (or the builder of the first domain) takes one of its pauses back. EINVAL: there is none.
pub fn controller_unpause<M: Machine>(xen: &Xen<M>, dom: &Domain) -> Result<(), abi::Errno> {
    let less = |n: u32| n.checked_sub(1);
    dom.controller_pauses.fetch_update(SeqCst, SeqCst, less).map_err(|_| abi::Errno::EINVAL)?;
    dom.has_run.store(true, SeqCst);
    unpause_domain(xen, dom);
    Ok(())
}

/// As [`pause_domain`], and returns once none of its vCPUs is on a CPU. Not for the caller's own domain.
pub fn pause_domain_sync<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    pause_domain(xen, dom);
    dom.for_each_vcpu(|v| wait_off_cpu(v));
}

/// Pauses one vCPU (counted).
pub fn vcpu_pause<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    v.pause_count.fetch_add(1, SeqCst);
    update(xen, v);
}

/// As [`vcpu_pause`], and returns once it is off its CPU. Not for the caller itself.
pub fn vcpu_pause_sync<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    vcpu_pause(xen, v);
    wait_off_cpu(v);
}

/// Undoes one [`vcpu_pause`].
pub fn vcpu_unpause<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    let undone = v.pause_count.fetch_update(SeqCst, SeqCst, |c| c.checked_sub(1));
    debug_assert!(undone.is_ok(), "{v:?} unpaused more often than paused");
    update(xen, v);
}

fn wait_off_cpu(v: &Vcpu) {
    while v.running.load(Acquire) {
        relax();
    }
}

/// Clears `DOWN`: the vCPU, which has been initialised, runs from now on.
pub fn bring_up<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>) -> Result<(), abi::Errno> {
    super::add_vcpu(xen, v)?;
    crate::time::first_up(xen, v)?;
    v.pause_flags.fetch_and(!pause::DOWN, SeqCst);
    update(xen, v);
    Ok(())
}
