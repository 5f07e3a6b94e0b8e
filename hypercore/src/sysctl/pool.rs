//! CPU pools: there is one, number 0, with every CPU and every domain. And its scheduler.

use super::{Call, OpResult};
use crate::cpumask::CpuMask;
use crate::domctl::bitmap;
use crate::ids::DomId;
use crate::machine::Machine;
use crate::refusal::end_of_list;
use crate::refuse;
use crate::sched;
use crate::xen::Cx;
use abi::Errno;
use abi::domctl::XEN_SCHEDULER_CREDIT2;
use abi::sysctl::*;
use zerocopy::{FromBytes, IntoBytes};

const POOL: u32 = 0;

/// Tools know the scheduler by the interface of its parameters: weights and caps, as credit2's.
pub(super) fn sched_id<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    call.put(&cx.xen.m, &SysctlSchedId { sched_id: XEN_SCHEDULER_CREDIT2 })
}

/// ENOENT: no such pool. EBUSY: the pool is in use. EOPNOTSUPP: more pools.
pub(super) fn cpupool_op<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut op: SysctlCpupoolOp = call.get();
    let xen = cx.xen;
    let exists = || match op.cpupool_id {
        POOL => Ok(()),
        id => Err(refuse!(xen, Errno::ENOENT, "there is no pool {}", id)),
    };
    match op.op {
        // The next pool at or above the number.
        XEN_SYSCTL_CPUPOOL_OP_INFO => {
            exists().map_err(|e| end_of_list(xen, e))?;
            (op.cpupool_id, op.sched_id) = (POOL, XEN_SCHEDULER_CREDIT2);
            op.n_dom = xen.domains.all().count() as u32;
            bitmap::write(xen, &op.cpumap, &xen.host.online)?;
            call.put(&xen.m, &op)
        }
        XEN_SYSCTL_CPUPOOL_OP_FREEINFO => {
            bitmap::write(xen, &op.cpumap, &CpuMask::EMPTY)?;
            call.put(&xen.m, &op)
        }
        XEN_SYSCTL_CPUPOOL_OP_CREATE => {
            Err(refuse!(xen, Errno::EOPNOTSUPP, "there is one pool, with every CPU"))
        }
        XEN_SYSCTL_CPUPOOL_OP_DESTROY | XEN_SYSCTL_CPUPOOL_OP_RMCPU => {
            exists()?;
            Err(refuse!(xen, Errno::EBUSY, "pool {} has domains", POOL))
        }
        // No CPU is free.
        XEN_SYSCTL_CPUPOOL_OP_ADDCPU => {
            exists()?;
            Err(refuse!(xen, Errno::ENODEV, "no CPU is free: pool {} has all", POOL))
        }
        XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN => {
            exists()?;
            let dom = u16::try_from(op.domid).ok().and_then(|id| xen.domains.get(DomId(id)));
            let none = || refuse!(xen, Errno::ESRCH, "there is no domain {}", op.domid);
            dom.map(|_| ()).ok_or_else(none)
        }
        n => Err(refuse!(xen, Errno::ENOSYS, "operation {} on pools is not known", n)),
    }
}

/// The rate limit, in µs; 0: none. ESRCH: no such pool. EINVAL: another scheduler, no such command, out of range.
pub(super) fn scheduler_op<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut op: SysctlSchedulerOp = call.get();
    let known = [XEN_SYSCTL_SCHEDOP_PUTINFO, XEN_SYSCTL_SCHEDOP_GETINFO].contains(&op.cmd);
    if known && op.cpupool_id != POOL {
        return Err(refuse!(cx.xen, Errno::ESRCH, "there is no pool {}", op.cpupool_id));
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
        sched::set_rate_limit(cx.xen, u64::from(p.ratelimit_us) * 1000);
    }
    // At most half a second: it fits.
    let now = SysctlCredit2Schedule { ratelimit_us: (sched::rate_limit(cx.xen) / 1000) as u32 };
    op.u.as_mut_bytes()[..size_of_val(&now)].copy_from_slice(now.as_bytes());
    call.put(&cx.xen.m, &op)
}
