//! getdomaininfo and getvcpuinfo.

use super::{Call, DONE, OpResult, Version, vcpu_of};
use crate::domain::{Domain, Dying};
use crate::frame::CanRead;
use crate::ids::DomId;
use crate::machine::Machine;
use crate::refusal::end_of_list;
use crate::sched;
use crate::vcpu::pause;
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::domctl::*;
use core::sync::atomic::Ordering::*;

/// What tools see of a domain (also `XEN_SYSCTL_getdomaininfolist`).
pub fn describe<M: Machine>(xen: &Xen<M>, dom: &Domain) -> DomctlGetdomaininfo {
    let (mut cpu_time, mut online, mut last) = (0, 0, XEN_INVALID_MAX_VCPU_ID);
    let (mut all_wait, mut runs) = (true, false);
    dom.for_each_vcpu(|v| {
        cpu_time += sched::cpu_time(xen, v);
        last = v.id.0;
        let flags = v.pause_flags.load(Relaxed);
        if flags & pause::DOWN == 0 {
            online += 1;
            all_wait &= flags & pause::BLOCKED != 0;
            runs |= v.running.load(Relaxed);
        }
    });
    let shut_down = dom.shut_down.load(Acquire);
    let flag = |on, bit| if on { bit } else { 0 };
    let flags = flag(online != 0 && all_wait, XEN_DOMINF_BLOCKED)
        | flag(runs, XEN_DOMINF_RUNNING)
        | flag(dom.dying() == Dying::Dead, XEN_DOMINF_DYING)
        | flag(shut_down, XEN_DOMINF_SHUTDOWN)
        | flag(dom.paused_by_controller(), XEN_DOMINF_PAUSED)
        | flag(dom.debugged.load(Relaxed), XEN_DOMINF_DEBUGGED)
        | flag(dom.create_flags & XEN_DOMCTL_CDF_XS_DOMAIN != 0, XEN_DOMINF_XS_DOMAIN)
        | dom.shutdown_code.load(Acquire) << XEN_DOMINF_SHUTDOWNSHIFT;
    DomctlGetdomaininfo {
        domain: dom.id.0,
        flags,
        tot_pages: xen.frames.owned(dom.id).into(),
        max_pages: dom.memory.max_pages().into(),
        outstanding_pages: dom.memory.outstanding(),
        shared_info_frame: dom.shared_info.mfn().0,
        cpu_time,
        nr_online_vcpus: online,
        max_vcpu_id: last,
        ssidref: dom.ssidref,
        handle: *dom.handle.lock(),
        cpupool: sched::pool(dom),
        gpaddr_bits: xen.host.policies.host.physical_bits(),
        arch_config: *dom.arch_config.lock(),
        ..Default::default()
    }
}

/// Interface 0x15 answers for the next domain with a number at or above the one asked for, later ones only for that
/// one. ESRCH: none.
pub(super) fn getdomaininfo<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let id = DomId(call.header.domain);
    let found = match call.version {
        Version::V15 => cx.xen.domains.at_or_above(id),
        Version::V17 => cx.xen.domains.get(id),
    };
    let dom = found.ok_or_else(|| end_of_list(cx.xen, Errno::ESRCH))?;
    call.put(&cx.xen.m, &describe(cx.xen, &dom))?;
    call.put_domain(cx.xen, dom.id)?;
    DONE
}

pub(super) fn getvcpuinfo<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut info: DomctlGetvcpuinfo = call.get();
    let v = vcpu_of(cx, dom, info.vcpu)?;
    let flags = v.pause_flags.load(Relaxed);
    info.online = (flags & pause::DOWN == 0).into();
    info.blocked = (flags & pause::BLOCKED != 0).into();
    info.running = v.running.load(Relaxed).into();
    info.cpu_time = sched::cpu_time(cx.xen, &v);
    info.cpu = v.processor().0;
    call.put(&cx.xen.m, &info)?;
    DONE
}
