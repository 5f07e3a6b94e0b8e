//! Pools of CPUs: `sysctl`'s cpupool_op.

use abi::Errno;
use abi::GuestHandle;
use abi::sysctl::*;
use abi::xen::XenctlBitmap;

use crate::DomId;
use crate::call::Xen;
use crate::cpus::Cpus;
use crate::error::Result;

/// Bits asked for: CPUs a machine may have.
const CPUS: usize = 4096;

/// A pool of CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub id: u32,
    /// `XEN_SCHEDULER_*`.
    pub scheduler: u32,
    pub domains: u32,
    pub cpus: Cpus,
}

impl Xen {
    fn pool_op(&self, doing: impl FnOnce() -> String, mut op: SysctlCpupoolOp) -> Result<SysctlCpupoolOp> {
        self.sysctl(doing, XEN_SYSCTL_CPUPOOL_OP, &mut op)?;
        Ok(op)
    }

    /// An operation that answers a set of CPUs.
    fn pool_cpus(
        &self,
        doing: impl FnOnce() -> String,
        op: u32,
        cpupool_id: u32,
    ) -> Result<(SysctlCpupoolOp, Cpus)> {
        let mut map = self.buffer(CPUS / 8)?;
        map.clear(CPUS / 8);
        let cpumap = XenctlBitmap { bitmap: GuestHandle::new(map.address()), nr_bits: CPUS as u32, _pad0: 0 };
        let answer = self.pool_op(doing, SysctlCpupoolOp { op, cpupool_id, cpumap, ..Default::default() })?;
        let mut bytes = vec![0; CPUS / 8];
        map.read(0, &mut bytes);
        Ok((answer, Cpus::from_bytes(bytes)))
    }

    /// The pool with this number, or the next higher one; `None` past the last.
    pub fn pool_from(&self, id: u32) -> Result<Option<Pool>> {
        let doing = || format!("looking for pool {id}");
        match self.pool_cpus(doing, XEN_SYSCTL_CPUPOOL_OP_INFO, id) {
            Ok((info, cpus)) => {
                Ok(Some(Pool { id: info.cpupool_id, scheduler: info.sched_id, domains: info.n_dom, cpus }))
            }
            Err(e) if e.errno == Errno::ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn pools(&self) -> Result<Vec<Pool>> {
        let (mut all, mut next) = (Vec::new(), 0);
        while let Some(pool) = self.pool_from(next)? {
            next = pool.id + 1;
            all.push(pool);
        }
        Ok(all)
    }

    /// CPUs of no pool.
    pub fn free_cpus(&self) -> Result<Cpus> {
        let doing = || "asking for CPUs of no pool".into();
        Ok(self.pool_cpus(doing, XEN_SYSCTL_CPUPOOL_OP_FREEINFO, 0)?.1)
    }

    /// A pool without CPUs; its number.
    pub fn create_pool(&self, scheduler: u32) -> Result<u32> {
        let op = SysctlCpupoolOp {
            op: XEN_SYSCTL_CPUPOOL_OP_CREATE,
            cpupool_id: XEN_SYSCTL_CPUPOOL_PAR_ANY,
            sched_id: scheduler,
            ..Default::default()
        };
        let made = self.pool_op(|| format!("creating a pool with scheduler {scheduler}"), op)?;
        Ok(made.cpupool_id)
    }

    pub fn destroy_pool(&self, id: u32) -> Result<()> {
        let op = SysctlCpupoolOp { op: XEN_SYSCTL_CPUPOOL_OP_DESTROY, cpupool_id: id, ..Default::default() };
        self.pool_op(|| format!("destroying pool {id}"), op).map(drop)
    }

    pub fn add_cpu_to_pool(&self, id: u32, cpu: u32) -> Result<()> {
        let op =
            SysctlCpupoolOp { op: XEN_SYSCTL_CPUPOOL_OP_ADDCPU, cpupool_id: id, cpu, ..Default::default() };
        self.pool_op(|| format!("adding CPU {cpu} to pool {id}"), op).map(drop)
    }

    pub fn remove_cpu_from_pool(&self, id: u32, cpu: u32) -> Result<()> {
        let op =
            SysctlCpupoolOp { op: XEN_SYSCTL_CPUPOOL_OP_RMCPU, cpupool_id: id, cpu, ..Default::default() };
        self.pool_op(|| format!("taking CPU {cpu} out of pool {id}"), op).map(drop)
    }

    pub fn move_to_pool(&self, id: u32, domain: DomId) -> Result<()> {
        let op = SysctlCpupoolOp {
            op: XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN,
            cpupool_id: id,
            domid: domain.0.into(),
            ..Default::default()
        };
        self.pool_op(|| format!("moving domain {domain} to pool {id}"), op).map(drop)
    }
}
