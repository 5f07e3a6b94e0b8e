//! Contexts and affinities of vCPUs.

use super::{Call, DONE, OpResult, Outcome, bitmap, not_self, vcpu_of};
use crate::domain::Domain;
use crate::guest;
use crate::machine::Machine;
use crate::mm::Fail;
use crate::sched;
use crate::time;
use crate::traps::{Callback, context};
use crate::vcpu::{Vcpu, VcpuPrivate};
use crate::xen::{Cx, Stop};
use abi::Errno;
use abi::arch_x86::{FLAT_RING3_CS32, FLAT_RING3_CS64};
use abi::domctl::*;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

/// Runs `f` on the private state of a vCPU that is held off its CPU meanwhile.
pub(super) fn with_paused<M: Machine, R>(
    cx: &Cx<'_, M>,
    v: &Arc<Vcpu>,
    f: impl FnOnce(&mut VcpuPrivate) -> R,
) -> Result<R, Errno> {
    sched::vcpu_pause_sync(cx.xen, v);
    let r = v.with_private(f);
    sched::vcpu_unpause(cx.xen, v);
    r.ok_or(Errno::EBUSY)
}

/// EINVAL: neither kind asked for, or no online CPU would remain.
pub(super) fn set_affinity<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let a: DomctlVcpuaffinity = call.get();
    let v = vcpu_of(dom, a.vcpu)?;
    let (hard, soft) = (a.flags & XEN_VCPUAFFINITY_HARD != 0, a.flags & XEN_VCPUAFFINITY_SOFT != 0);
    if !hard && !soft {
        return Err(Errno::EINVAL);
    }
    let m = &cx.xen.m;
    let new_hard = if hard { Some(bitmap::read(m, &a.cpumap_hard)?) } else { None };
    let new_soft = if soft { Some(bitmap::read(m, &a.cpumap_soft)?) } else { None };
    sched::set_affinity(cx.xen, &v, new_hard, new_soft)?;
    // What is in force from now on.
    let (now_hard, now_soft) = sched::affinity(cx.xen, &v);
    let online = cx.xen.host.online;
    if hard {
        bitmap::write(m, &a.cpumap_hard, &now_hard.and(&online))?;
    }
    if soft {
        bitmap::write(m, &a.cpumap_soft, &now_soft.and(&now_hard).and(&online))?;
    }
    DONE
}

pub(super) fn get_affinity<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let a: DomctlVcpuaffinity = call.get();
    let v = vcpu_of(dom, a.vcpu)?;
    let (hard, soft) = (a.flags & XEN_VCPUAFFINITY_HARD != 0, a.flags & XEN_VCPUAFFINITY_SOFT != 0);
    if !hard && !soft {
        return Err(Errno::EINVAL);
    }
    let (now_hard, now_soft) = sched::affinity(cx.xen, &v);
    if hard {
        bitmap::write(&cx.xen.m, &a.cpumap_hard, &now_hard)?;
    }
    if soft {
        bitmap::write(&cx.xen.m, &a.cpumap_soft, &now_soft)?;
    }
    DONE
}

/// The whole state of a PV vCPU, which comes up or goes down with it. EOPNOTSUPP: a null context (a reset).
pub(super) fn set_context<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>, call: &Call) -> OpResult {
    let c: DomctlVcpucontext = call.get();
    not_self(cx, dom)?;
    let v = vcpu_of(dom, c.vcpu)?;
    if c.ctxt.is_null() {
        return Err(Errno::EOPNOTSUPP);
    }
    let ctx = match context::GuestContext::read(&cx.xen.m, c.ctxt.addr()) {
        Ok(ctx) => ctx,
        Err(Stop::Errno(e)) => return Err(e),
        Err(Stop::Continue) => return Ok(Outcome::Again),
    };
    if !dom.is_alive() {
        return Err(Errno::EINVAL);
    }
    sched::pause_domain_sync(cx.xen, dom);
    let set = context::set(cx.xen, dom, &v, &ctx);
    sched::unpause_domain(cx.xen, dom);
    match set {
        Ok(()) => {
            // The builder wrote over shared_info, its clock included.
            time::update_wallclock(cx.xen, dom);
            DONE
        }
        Err(Fail::Again) => Ok(Outcome::Again),
        Err(Fail::Errno(e)) => Err(e),
    }
}

/// ENODATA: the vCPU was never given one.
pub(super) fn get_context<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>, call: &Call) -> OpResult {
    let c: DomctlVcpucontext = call.get();
    not_self(cx, dom)?;
    let v = vcpu_of(dom, c.vcpu)?;
    if !v.initialised.load(Acquire) {
        return Err(Errno::ENODATA);
    }
    sched::vcpu_pause_sync(cx.xen, &v);
    let got = context::get(cx.xen, dom, &v);
    sched::vcpu_unpause(cx.xen, &v);
    got?.write(&cx.xen.m, c.ctxt.addr()).map_err(|_| Errno::EFAULT)?;
    DONE
}

fn callback(c: &Callback) -> (u64, u8) {
    (c.address, c.mask_events.into())
}

/// Compatibility-mode system call callbacks; machine-check banks read as 0.
pub(super) fn get_ext_context<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut e: DomctlExtVcpucontext = call.get();
    let v = vcpu_of(dom, e.vcpu)?;
    not_self(cx, dom)?;
    let (syscall32, sysenter) = with_paused(cx, &v, |p| (p.traps.syscall32, p.traps.sysenter))?;
    e = DomctlExtVcpucontext {
        vcpu: e.vcpu,
        size: size_of::<DomctlExtVcpucontext>() as u32,
        ..Default::default()
    };
    (e.syscall32_callback_eip, e.syscall32_disables_events) = callback(&syscall32);
    (e.sysenter_callback_eip, e.sysenter_disables_events) = callback(&sysenter);
    (e.syscall32_callback_cs, e.sysenter_callback_cs) = (FLAT_RING3_CS32, FLAT_RING3_CS64);
    call.put(&cx.xen.m, &e)?;
    DONE
}

/// EINVAL: too short, or an address that is not canonical.
pub(super) fn set_ext_context<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let e: DomctlExtVcpucontext = call.get();
    let v = vcpu_of(dom, e.vcpu)?;
    not_self(cx, dom)?;
    let callbacks_end = core::mem::offset_of!(DomctlExtVcpucontext, sysenter_disables_events) + 1;
    let canonical = |va: u64| guest::range_ok(va, 1);
    if (e.size as usize) < callbacks_end
        || !canonical(e.syscall32_callback_eip)
        || !canonical(e.sysenter_callback_eip)
    {
        return Err(Errno::EINVAL);
    }
    with_paused(cx, &v, |p| {
        let make = |address, mask: u8| Callback { address, mask_events: mask != 0 };
        p.traps.syscall32 = make(e.syscall32_callback_eip, e.syscall32_disables_events);
        p.traps.sysenter = make(e.sysenter_callback_eip, e.sysenter_disables_events);
    })?;
    DONE
}
