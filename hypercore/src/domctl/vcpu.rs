//! Contexts and affinities of vCPUs.

use super::{Call, DONE, OpResult, Outcome, bitmap, not_self, vcpu_of};
use crate::domain::Domain;
use crate::guest;
use crate::machine::Machine;
use crate::mm::Fail;
use crate::refuse;
use crate::sched;
use crate::time;
use crate::traps::{Callback, context};
use crate::vcpu::{Vcpu, VcpuPrivate};
use crate::within;
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

/// EINVAL: neither kind asked for, or no CPU of the domain's pool would remain.
pub(super) fn set_affinity<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let a: DomctlVcpuaffinity = call.get();
    let v = vcpu_of(cx, dom, a.vcpu)?;
    let (hard, soft) = (a.flags & XEN_VCPUAFFINITY_HARD != 0, a.flags & XEN_VCPUAFFINITY_SOFT != 0);
    if !hard && !soft {
        return Err(refuse!(cx.xen, Errno::EINVAL, "flags {:x} ask for neither affinity", a.flags));
    }
    let new_hard = if hard { Some(bitmap::read(cx.xen, &a.cpumap_hard)?) } else { None };
    let new_soft = if soft { Some(bitmap::read(cx.xen, &a.cpumap_soft)?) } else { None };
    sched::set_affinity(cx.xen, &v, new_hard, new_soft)
        .map_err(|e| refuse!(cx.xen, e, "vCPU {} would be left without a CPU of its pool", a.vcpu))?;
    // What is in force from now on.
    let (now_hard, now_soft) = sched::affinity(cx.xen, &v);
    let pool = sched::pool_cpus(cx.xen, &v);
    if hard {
        bitmap::write(cx.xen, &a.cpumap_hard, &now_hard.and(&pool))?;
    }
    if soft {
        bitmap::write(cx.xen, &a.cpumap_soft, &now_soft.and(&now_hard).and(&pool))?;
    }
    DONE
}

pub(super) fn get_affinity<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let a: DomctlVcpuaffinity = call.get();
    let v = vcpu_of(cx, dom, a.vcpu)?;
    let (hard, soft) = (a.flags & XEN_VCPUAFFINITY_HARD != 0, a.flags & XEN_VCPUAFFINITY_SOFT != 0);
    if !hard && !soft {
        return Err(refuse!(cx.xen, Errno::EINVAL, "flags {:x} ask for neither affinity", a.flags));
    }
    let (now_hard, now_soft) = sched::affinity(cx.xen, &v);
    if hard {
        bitmap::write(cx.xen, &a.cpumap_hard, &now_hard)?;
    }
    if soft {
        bitmap::write(cx.xen, &a.cpumap_soft, &now_soft)?;
    }
    DONE
}

/// The whole state of a PV vCPU, which comes up or goes down with it. EOPNOTSUPP: a null context (a reset).
pub(super) fn set_context<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>, call: &Call) -> OpResult {
    let c: DomctlVcpucontext = call.get();
    not_self(cx, dom)?;
    let v = vcpu_of(cx, dom, c.vcpu)?;
    if c.ctxt.is_null() {
        return Err(refuse!(cx.xen, Errno::EOPNOTSUPP, "a null context: resets are not served"));
    }
    let ctx = match context::GuestContext::read(&cx.xen.m, c.ctxt.addr()) {
        Ok(ctx) => ctx,
        Err(Stop::Errno(e)) => {
            return Err(refuse!(cx.xen, e, "the context at {:x} cannot be read", c.ctxt.addr()));
        }
        Err(Stop::Continue) => return Ok(Outcome::Again),
    };
    if !dom.is_alive() {
        return Err(refuse!(cx.xen, Errno::EINVAL, "the domain is being destroyed"));
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
        Err(Fail::Errno(e)) => Err(within!(cx.xen, e, "the context of vCPU {}", c.vcpu)),
    }
}

/// ENODATA: the vCPU was never given one.
pub(super) fn get_context<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>, call: &Call) -> OpResult {
    let c: DomctlVcpucontext = call.get();
    not_self(cx, dom)?;
    let v = vcpu_of(cx, dom, c.vcpu)?;
    if !v.initialised.load(Acquire) {
        return Err(refuse!(cx.xen, Errno::ENODATA, "vCPU {} was never given a context", c.vcpu));
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
    let v = vcpu_of(cx, dom, e.vcpu)?;
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
    let v = vcpu_of(cx, dom, e.vcpu)?;
    not_self(cx, dom)?;
    let callbacks_end = core::mem::offset_of!(DomctlExtVcpucontext, sysenter_disables_events) + 1;
    let canonical = |va: u64| guest::range_ok(va, 1);
    if (e.size as usize) < callbacks_end {
        return Err(refuse!(
            cx.xen,
            Errno::EINVAL,
            "{} bytes, at least {} are needed",
            e.size,
            callbacks_end
        ));
    }
    if !canonical(e.syscall32_callback_eip) || !canonical(e.sysenter_callback_eip) {
        let (a, b) = (e.syscall32_callback_eip, e.sysenter_callback_eip);
        return Err(refuse!(cx.xen, Errno::EINVAL, "callbacks {:x}, {:x}: not the guest's addresses", a, b));
    }
    with_paused(cx, &v, |p| {
        let make = |address, mask: u8| Callback { address, mask_events: mask != 0 };
        p.traps.syscall32 = make(e.syscall32_callback_eip, e.syscall32_disables_events);
        p.traps.sysenter = make(e.sysenter_callback_eip, e.sysenter_disables_events);
    })?;
    DONE
}
