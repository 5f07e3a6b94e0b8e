//! Binding and closing ports.
//!
//! A port goes from free to bound under its channel's lock, after a look at whether its domain still
//! lives. Teardown marks the domain first and then takes every taken channel's lock, so it either sees the
//! binding or prevents it.

use super::channel::{Channel, State};
use super::deliver::{clear_pending, set_pending, take_port};
use super::virq_is_global;
use crate::domain::Domain;
use crate::ids::{DomId, Port, VcpuId};
use crate::io;
use crate::machine::Machine;
use crate::sync::MutexGuard;
use crate::xen::Xen;
use abi::Errno;
use abi::xen::NR_VIRQS;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

/// Takes a port and binds it to what `bind` answers.
fn bind_new<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    notify: VcpuId,
    bind: impl FnOnce(Port) -> Result<State, Errno>,
) -> Result<Port, Errno> {
    let port = take_port(xen, dom)?;
    let bound = dom.events.ports.get(port).ok_or(Errno::ENOSPC).and_then(|ch| {
        let mut state = ch.state.lock();
        if !dom.is_alive() {
            return Err(Errno::ENOSPC);
        }
        ch.set_notify(notify);
        *state = bind(port)?;
        Ok(port)
    });
    if bound.is_err() {
        dom.events.ports.release(port);
    }
    bound
}

/// A port of `dom` that `remote` may bind to.
pub fn alloc_unbound<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    remote: DomId,
) -> Result<Port, Errno> {
    bind_new(xen, dom, VcpuId(0), |_| Ok(State::Unbound { remote }))
}

/// Connects a new port of `dom` with `far_port` of `far`, which must wait for `dom`.
pub fn bind_interdomain<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    far: &Arc<Domain>,
    far_port: Port,
) -> Result<Port, Errno> {
    let far_ch = far.events.ports.get(far_port).ok_or(Errno::EINVAL)?;
    let port = take_port(xen, dom)?;
    let done = dom.events.ports.get(port).ok_or(Errno::ENOSPC).and_then(|ch| {
        // A guest may guess the number it is about to get.
        if Arc::ptr_eq(dom, far) && port == far_port {
            return Err(Errno::EINVAL);
        }
        let (mut near_state, mut far_state) = lock_two((dom, port, ch), (far, far_port, far_ch));
        if !matches!(*far_state, State::Unbound { remote } if remote == dom.id) {
            return Err(Errno::EINVAL);
        }
        if !dom.is_alive() || !far.is_alive() {
            return Err(Errno::EINVAL);
        }
        *near_state = State::Interdomain { remote: far.clone(), port: far_port };
        *far_state = State::Interdomain { remote: dom.clone(), port };
        drop(far_state);
        // What was sent while nobody was there would be lost otherwise.
        set_pending(xen, dom, port, ch);
        Ok(())
    });
    match done {
        Ok(()) => Ok(port),
        Err(e) => {
            dom.events.ports.release(port);
            Err(e)
        }
    }
}

/// EINVAL: no such VIRQ, or a global one not for vCPU 0. ENOENT: no such vCPU. EEXIST: bound already.
pub fn bind_virq<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    virq: u32,
    vcpu: VcpuId,
) -> Result<Port, Errno> {
    if virq >= NR_VIRQS || (virq_is_global(virq) && vcpu.0 != 0) {
        return Err(Errno::EINVAL);
    }
    let v = dom.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let slot = &v.events.virqs[virq as usize];
    if slot.load(Acquire) != 0 {
        return Err(Errno::EEXIST);
    }
    bind_new(xen, dom, vcpu, |port| {
        slot.compare_exchange(0, port.0, AcqRel, Acquire).map_err(|_| Errno::EEXIST)?;
        Ok(State::Virq { virq, vcpu })
    })
}

/// ENOENT: no such vCPU.
pub fn bind_ipi<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, vcpu: VcpuId) -> Result<Port, Errno> {
    dom.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    bind_new(xen, dom, vcpu, |_| Ok(State::Ipi))
}

/// EEXIST: bound already; else what [`io::pirq_bind`] says.
pub fn bind_pirq<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    pirq: u32,
    share: bool,
) -> Result<Port, Errno> {
    bind_new(xen, dom, VcpuId(0), |port| {
        dom.events.claim_pirq(pirq, port)?;
        io::pirq_bind(xen, dom, pirq, port, share).inspect_err(|_| dom.events.drop_pirq(pirq))?;
        Ok(State::Pirq(pirq))
    })
}

type End<'a> = (&'a Arc<Domain>, Port, &'a Channel);

/// Both channels' locks, taken in the order of (domain, port).
fn lock_two<'a>(a: End<'a>, b: End<'a>) -> (MutexGuard<'a, State>, MutexGuard<'a, State>) {
    if (a.0.id, a.1) < (b.0.id, b.1) {
        let first = a.2.state.lock();
        (first, b.2.state.lock())
    } else {
        let second = b.2.state.lock();
        (a.2.state.lock(), second)
    }
}

/// Closes a port; the other end of an interdomain one waits for this domain again. EINVAL: not bound.
pub fn close<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, port: Port) -> Result<(), Errno> {
    let ch = dom.events.ports.get(port).ok_or(Errno::EINVAL)?;
    let old = loop {
        let mut state = ch.state.lock();
        let State::Interdomain { remote, port: far_port } = &*state else {
            match *state {
                State::Free => return Err(Errno::EINVAL),
                State::Pirq(pirq) => {
                    io::pirq_unbind(xen, dom, pirq);
                    dom.events.drop_pirq(pirq);
                }
                State::Virq { virq, vcpu } => {
                    if let Some(v) = dom.vcpu(vcpu) {
                        v.events.virqs[virq as usize].store(0, Release);
                    }
                }
                _ => {}
            }
            clear_pending(xen, dom, port, ch);
            break core::mem::take(&mut *state);
        };
        let (far, far_port) = (remote.clone(), *far_port);
        let Some(far_ch) = far.events.ports.get(far_port) else { return Err(Errno::EINVAL) };
        drop(state);
        let (mut state, mut far_state) = lock_two((dom, port, ch), (&far, far_port, far_ch));
        // Both were free for a moment: is it still the same pair?
        let still = matches!(&*state, State::Interdomain { remote, port }
            if Arc::ptr_eq(remote, &far) && *port == far_port);
        if still {
            let freed = core::mem::replace(&mut *far_state, State::Unbound { remote: dom.id });
            clear_pending(xen, dom, port, ch);
            let old = core::mem::take(&mut *state);
            drop((state, far_state));
            drop(freed);
            break old;
        }
    };
    // May drop the last reference to the other domain: with no lock held.
    drop(old);
    dom.events.ports.release(port);
    Ok(())
}

/// Which vCPU a port tells. ENOENT: no such vCPU. EINVAL: its kind does not move.
pub fn bind_vcpu<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    port: Port,
    vcpu: VcpuId,
) -> Result<(), Errno> {
    dom.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let ch = dom.events.ports.get(port).ok_or(Errno::EINVAL)?;
    let state = ch.state.lock();
    match &*state {
        State::Virq { virq, .. } if virq_is_global(*virq) => {}
        State::Unbound { .. } | State::Interdomain { .. } => {}
        State::Pirq(pirq) => io::pirq_set_vcpu(xen, dom, *pirq, vcpu),
        _ => return Err(Errno::EINVAL),
    }
    ch.set_notify(vcpu);
    Ok(())
}
