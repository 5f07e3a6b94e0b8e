//! CPU pools, and the scheduler's parameters.

use super::{Call, OpResult};
use crate::cpumask::CpuMask;
use crate::domctl::bitmap;
use crate::ids::{CpuId, DomId};
use crate::machine::Machine;
use crate::refusal::end_of_list;
use crate::refuse;
use crate::sched;
use crate::xen::Cx;
use abi::Errno;
use abi::domctl::XEN_SCHEDULER_CREDIT2;
use abi::sysctl::*;
use zerocopy::{FromBytes, IntoBytes};

/// Tools know the scheduler by the interface of its parameters: weights and caps, as credit2's.
pub(super) fn sched_id<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    call.put(&cx.xen.m, &SysctlSchedId { sched_id: XEN_SCHEDULER_CREDIT2 })
}

/// Pools: [`sched::pools`]. ENOENT: there is no such pool.
pub(super) fn cpupool_op<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut op: SysctlCpupoolOp = call.get();
    let xen = cx.xen;
    let id = op.cpupool_id;
    let any = |n: u32| Some(n).filter(|n| *n != XEN_SYSCTL_CPUPOOL_PAR_ANY);
    match op.op {
        XEN_SYSCTL_CPUPOOL_OP_CREATE => {
            if op.sched_id != XEN_SCHEDULER_CREDIT2 {
                return Err(refuse!(xen, Errno::ENOENT, "there is no scheduler {}", op.sched_id));
            }
            op.cpupool_id = sched::with_pools(xen, |p| p.create(any(id)))
                .map_err(|e| refuse!(xen, e, "there is a pool {}", id))?;
            call.put(&xen.m, &op)
        }
        XEN_SYSCTL_CPUPOOL_OP_DESTROY => sched::with_pools(xen, |p| p.destroy(id))
            .map_err(|e| refuse!(xen, e, "pool {} is pool 0, has CPUs or domains, or is not there", id)),
        // The next pool at or above the number.
        XEN_SYSCTL_CPUPOOL_OP_INFO => {
            let found = sched::with_pools(xen, |p| p.at_or_above(id).map(|p| (p.id, p.domains, p.cpus)));
            let (id, domains, cpus) = found.ok_or_else(|| end_of_list(xen, Errno::ENOENT))?;
            (op.cpupool_id, op.sched_id, op.n_dom) = (id, XEN_SCHEDULER_CREDIT2, domains);
            bitmap::write(xen, &op.cpumap, &cpus)?;
            call.put(&xen.m, &op)
        }
        XEN_SYSCTL_CPUPOOL_OP_ADDCPU => sched::change_pool(xen, id, any(op.cpu).map(CpuId), true)
            .map_err(|e| refuse!(xen, e, "pool {}: CPU {:x} is not free", id, op.cpu)),
        XEN_SYSCTL_CPUPOOL_OP_RMCPU => {
            sched::change_pool(xen, id, any(op.cpu).map(CpuId), false).map_err(|e| {
                refuse!(xen, e, "pool {}: CPU {:x} is not its, or the last for its domains", id, op.cpu)
            })
        }
        XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN => {
            let dom = u16::try_from(op.domid).ok().and_then(|id| xen.domains.get(DomId(id)));
            let dom = dom.ok_or_else(|| refuse!(xen, Errno::ESRCH, "there is no domain {}", op.domid))?;
            if dom.id == cx.dom.id {
                return Err(refuse!(xen, Errno::EPERM, "domain {} may not move itself", op.domid));
            }
            sched::join_pool(xen, &dom, id)
                .map_err(|e| refuse!(xen, e, "pool {} is not there or has no CPU", id))
        }
        // CPUs in no pool.
        XEN_SYSCTL_CPUPOOL_OP_FREEINFO => {
            let free: CpuMask = sched::with_pools(xen, |p| p.free());
            bitmap::write(xen, &op.cpumap, &free)?;
            call.put(&xen.m, &op)
        }
        n => Err(refuse!(xen, Errno::ENOSYS, "operation {} on pools is not known", n)),
    }
}

/// The rate limit, in µs; 0: none. ESRCH: no such pool. EINVAL: another scheduler, no such command, out of range.
pub(super) fn scheduler_op<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut op: SysctlSchedulerOp = call.get();
    let known = [XEN_SYSCTL_SCHEDOP_PUTINFO, XEN_SYSCTL_SCHEDOP_GETINFO].contains(&op.cmd);
    let pool = op.cpupool_id;
    let none = || refuse!(cx.xen, Errno::ESRCH, "there is no pool {}", pool);
    let mut limit = sched::rate_limit(cx.xen, pool);
    if known && limit.is_none() {
        return Err(none());
    }
    if !known || op.sched_id != XEN_SCHEDULER_CREDIT2 {
        let words = (op.cmd, op.sched_id);
        return Err(refuse!(cx.xen, Errno::EINVAL, "command {} of scheduler {}", words.0, words.1));
    }
    if op.cmd == XEN_SYSCTL_SCHEDOP_PUTINFO {
        let (p, _) = SysctlCredit2Schedule::read_from_prefix(op.u.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let range = XEN_SYSCTL_SCHED_RATELIMIT_MIN..=XEN_SYSCTL_SCHED_RATELIMIT_MAX;
        if p.ratelimit_us != 0 && !range.contains(&p.ratelimit_us) {
            let (given, most) = (p.ratelimit_us, XEN_SYSCTL_SCHED_RATELIMIT_MAX);
            return Err(refuse!(
                cx.xen,
                Errno::EINVAL,
                "ratelimit_us {} is not within 100 to {}",
                given,
                most
            ));
        }
        sched::set_rate_limit(cx.xen, pool, u64::from(p.ratelimit_us) * 1000);
        limit = sched::rate_limit(cx.xen, pool);
    }
    // At most half a second: it fits.
    let now = SysctlCredit2Schedule { ratelimit_us: (limit.ok_or_else(none)? / 1000) as u32 };
    op.u.as_mut_bytes()[..size_of_val(&now)].copy_from_slice(now.as_bytes());
    call.put(&cx.xen.m, &op)
}
