//! Parameters of the credit2 scheduler: of a domain (`domctl`), of a pool (`sysctl`).

use abi::domctl::*;
use abi::sysctl::*;

use crate::DomId;
use crate::call::Xen;
use crate::error::Result;

/// What a domain gets of the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub weight: u16,
    /// Per cent of one CPU; 0 for no limit.
    pub cap: u16,
}

/// The structure in the first bytes of a union.
fn pack(low: u32) -> [u64; 2] {
    [low.into(), 0]
}

impl Xen {
    pub fn share(&self, domain: DomId) -> Result<Share> {
        let doing = || format!("asking for the share of domain {domain}");
        let mut op = DomctlSchedulerOp {
            sched_id: XEN_SCHEDULER_CREDIT2,
            cmd: XEN_DOMCTL_SCHEDOP_GETINFO,
            ..Default::default()
        };
        self.domctl(doing, XEN_DOMCTL_SCHEDULER_OP, domain, &mut op)?;
        Ok(Share { weight: op.u[0] as u16, cap: (op.u[0] >> 16) as u16 })
    }

    pub fn set_share(&self, domain: DomId, share: Share) -> Result<()> {
        let Share { weight, cap } = share;
        let doing = || format!("giving domain {domain} a weight of {weight} and a cap of {cap}");
        let mut op = DomctlSchedulerOp {
            sched_id: XEN_SCHEDULER_CREDIT2,
            cmd: XEN_DOMCTL_SCHEDOP_PUTINFO,
            u: pack(u32::from(weight) | u32::from(cap) << 16),
        };
        self.domctl(doing, XEN_DOMCTL_SCHEDULER_OP, domain, &mut op)
    }

    /// For how long, in microseconds, a vCPU of the pool is not preempted by another.
    pub fn rate_limit(&self, pool: u32) -> Result<u32> {
        let mut op = credit2(pool, XEN_SYSCTL_SCHEDOP_GETINFO, 0);
        self.sysctl(
            || format!("asking for the rate limit of pool {pool}"),
            XEN_SYSCTL_SCHEDULER_OP,
            &mut op,
        )?;
        Ok(op.u[0] as u32)
    }

    /// `XEN_SYSCTL_SCHED_RATELIMIT_MIN`..=`_MAX` microseconds.
    pub fn set_rate_limit(&self, pool: u32, microseconds: u32) -> Result<()> {
        let doing = || format!("giving pool {pool} a rate limit of {microseconds} us");
        let mut op = credit2(pool, XEN_SYSCTL_SCHEDOP_PUTINFO, microseconds);
        self.sysctl(doing, XEN_SYSCTL_SCHEDULER_OP, &mut op)
    }
}

fn credit2(cpupool_id: u32, cmd: u32, ratelimit_us: u32) -> SysctlSchedulerOp {
    SysctlSchedulerOp {
        cpupool_id,
        sched_id: XEN_SCHEDULER_CREDIT2,
        cmd,
        u: pack(ratelimit_us),
        ..Default::default()
    }
}
