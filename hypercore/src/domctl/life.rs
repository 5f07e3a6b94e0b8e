//! Pausing, resuming and naming a domain; its clocks, its share of CPU time, its nodes.

use super::{Call, DONE, OpResult, bitmap, not_self, vcpu_of};
use crate::cpumask::CpuMask;
use crate::domain::Domain;
use crate::ids::CpuId;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Cx;
use crate::{event, sched, time};
use abi::Errno;
use abi::domctl::*;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;
use zerocopy::{FromBytes, IntoBytes};

/// EOVERFLOW: paused too often.
pub(super) fn pause<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain) -> OpResult {
    not_self(cx, dom)?;
    let often = |e| refuse!(cx.xen, e, "domain {} is paused too often", dom.id.0);
    sched::controller_pause(cx.xen, dom).map_err(often)?;
    DONE
}

/// EINVAL: not paused by tools.
pub(super) fn unpause<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain) -> OpResult {
    not_self(cx, dom)?;
    let none = |e| refuse!(cx.xen, e, "no tool pauses domain {}", dom.id.0);
    sched::controller_unpause(cx.xen, dom).map_err(none)?;
    DONE
}

pub(super) fn resume<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain) -> OpResult {
    not_self(cx, dom)?;
    sched::shutdown::domain_resume(cx.xen, dom);
    DONE
}

pub(super) fn set_handle(dom: &Domain, call: &Call) -> OpResult {
    *dom.handle.lock() = call.get::<DomctlSetdomainhandle>().handle;
    DONE
}

pub(super) fn set_debugging<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    not_self(cx, dom)?;
    dom.debugged.store(call.get::<DomctlSetdebugging>().enable != 0, Relaxed);
    DONE
}

/// The domain's own event channel `port` is sent to whenever it suspends; 0 ends that.
pub(super) fn subscribe(dom: &Domain, call: &Call) -> OpResult {
    dom.suspend_port.store(call.get::<DomctlSubscribe>().port, Relaxed);
    DONE
}

/// The domain gets this global VIRQ from now on, in the first domain's stead, until it ends.
/// EINVAL: not a global one, or the domain is ending.
pub(super) fn set_virq_handler<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let virq = call.get::<DomctlSetVirqHandler>().virq;
    event::set_virq_handler(cx.xen, dom, virq)
        .map_err(|e| refuse!(cx.xen, e, "VIRQ {} is not a global one", virq))?;
    DONE
}

/// How far the domain's wall clock is ahead of the machine's.
pub(super) fn set_time_offset<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let t: DomctlSettimeoffset = call.get();
    dom.time.offset_seconds.store(t.time_offset_seconds, Relaxed);
    time::update_wallclock(cx.xen, dom);
    DONE
}

/// EINVAL: no such mode.
pub(super) fn set_tsc_info<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>, call: &Call) -> OpResult {
    let t: DomctlTscInfo = call.get();
    not_self(cx, dom)?;
    if t.tsc_mode > TSC_MODE_NEVER_EMULATE {
        return Err(refuse!(cx.xen, Errno::EINVAL, "there is no tsc_mode {}", t.tsc_mode));
    }
    // Whether RDTSC traps is decided where a vCPU is switched to.
    sched::pause_domain_sync(cx.xen, dom);
    let now = cx.xen.m.now();
    dom.time.set_tsc(&cx.xen.host, now, t.tsc_mode, t.elapsed_nsec, t.gtsc_khz, t.incarnation);
    dom.for_each_vcpu(|v| time::clock::outdate_vcpu_time(v));
    sched::unpause_domain(cx.xen, dom);
    DONE
}

pub(super) fn get_tsc_info<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    not_self(cx, dom)?;
    let (t, elapsed_nsec, gtsc_khz) = dom.time.tsc_info(&cx.xen.host, cx.xen.m.tsc_and_now());
    let info = DomctlTscInfo {
        tsc_mode: t.mode,
        gtsc_khz,
        incarnation: t.incarnation,
        elapsed_nsec,
        ..Default::default()
    };
    call.put(&cx.xen.m, &info)?;
    DONE
}

/// Of a PV vCPU's lines only the NMI is there: buttons are of translated guests (EINVAL), resets absent (ENOSYS).
pub(super) fn send_trigger<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let t: DomctlSendtrigger = call.get();
    let v = vcpu_of(cx, dom, t.vcpu)?;
    match t.trigger {
        XEN_DOMCTL_SENDTRIGGER_NMI => {
            crate::calls::vcpu::send_nmi(cx.xen, &v);
            DONE
        }
        XEN_DOMCTL_SENDTRIGGER_POWER | XEN_DOMCTL_SENDTRIGGER_SLEEP => {
            Err(refuse!(cx.xen, Errno::EINVAL, "PV domains have no power or sleep button"))
        }
        n => Err(refuse!(cx.xen, Errno::ENOSYS, "trigger {} is not served", n)),
    }
}

/// Weight and cap (percent of one CPU; 0: none), in the form of the credit2 scheduler's tools. EINVAL: another
/// scheduler, or per vCPU, which credit2 does not know.
pub(super) fn scheduler_op<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut op: DomctlSchedulerOp = call.get();
    if op.sched_id != XEN_SCHEDULER_CREDIT2 {
        let (given, is) = (op.sched_id, XEN_SCHEDULER_CREDIT2);
        return Err(refuse!(cx.xen, Errno::EINVAL, "scheduler {}, but the one in use is {}", given, is));
    }
    match op.cmd {
        XEN_DOMCTL_SCHEDOP_PUTINFO => {
            let (p, _) = DomctlSchedCredit2::read_from_prefix(op.u.as_bytes()).map_err(|_| Errno::EINVAL)?;
            // Weight 0 leaves it as it is.
            let weight = if p.weight == 0 { sched::weight(dom) } else { u32::from(p.weight) };
            sched::set_params(cx.xen, dom, weight, p.cap.into())
                .map_err(|e| refuse!(cx.xen, e, "weight {}, cap {}", weight, p.cap))?;
        }
        XEN_DOMCTL_SCHEDOP_GETINFO => {
            let weight = u16::try_from(sched::weight(dom)).unwrap_or(u16::MAX);
            let cap = u16::try_from(sched::cap(dom)).unwrap_or(u16::MAX);
            let p = DomctlSchedCredit2 { weight, cap };
            op.u.as_mut_bytes()[..size_of_val(&p)].copy_from_slice(p.as_bytes());
        }
        cmd => return Err(refuse!(cx.xen, Errno::EINVAL, "credit2 has no operation {} of this kind", cmd)),
    }
    call.put(&cx.xen.m, &op)?;
    DONE
}

/// The nodes a domain's memory should come from, as its toolstack sees it: kept for who asks. Memory comes from all of
/// them. EINVAL: a set without any that there is.
pub(super) fn set_node_affinity<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let n: DomctlNodeaffinity = call.get();
    let wanted = bitmap::read(cx.xen, &n.nodemap)?;
    let there = (0..cx.xen.host.nodes.count()).filter(|node| wanted.contains(CpuId(*node)));
    let set = there.fold(0u32, |set, node| set | 1 << node);
    if set == 0 {
        let count = cx.xen.host.nodes.count();
        return Err(refuse!(cx.xen, Errno::EINVAL, "the set has none of the {} nodes there are", count));
    }
    dom.node_affinity.store(set, Relaxed);
    DONE
}

/// Nobody said so far: all nodes.
pub(super) fn get_node_affinity<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let n: DomctlNodeaffinity = call.get();
    let all = CpuMask::first(cx.xen.host.nodes.count() as usize);
    let set = match dom.node_affinity.load(Relaxed) {
        0 => all,
        set => CpuMask::from_bytes(&set.to_le_bytes()),
    };
    bitmap::write(cx.xen, &n.nodemap, &set)?;
    DONE
}
