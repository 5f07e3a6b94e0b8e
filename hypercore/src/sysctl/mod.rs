//! `sysctl`: what a toolstack asks of the whole machine.
//!
//! This file has one call in memory and the dispatch; physinfo, topology, memory and CPU times are in [`machine`],
//! the message ring and debug keys in [`console`], CPU pools and their scheduler in [`pool`], CPU policies and
//! featuresets in [`policy`], and getdomaininfolist in [`domains`]. Power states are in [`crate::power`].

pub mod console;
pub mod domains;
pub mod machine;
pub mod policy;
pub mod pool;
#[cfg(test)]
mod tests;

use crate::guest;
use crate::lifecycle;
use crate::machine::Machine;
use crate::power;
use crate::refuse;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::sysctl::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One `struct xen_sysctl`, copied in once.
pub struct Call {
    at: u64,
    pub cmd: u32,
    payload: [u8; SYSCTL_PAYLOAD_SIZE],
}

impl Call {
    fn read<M: Machine>(xen: &Xen<M>, at: u64) -> Result<Self, Errno> {
        let mut bytes = [0; SYSCTL_SIZE];
        let fault = |_| refuse!(xen, Errno::EFAULT, "the argument at {:x} cannot be read", at);
        guest::read_bytes(&xen.m, at, &mut bytes).map_err(fault)?;
        let (header, _) = SysctlHeader::read_from_prefix(&bytes).map_err(|_| Errno::EFAULT)?;
        xen.refusals.begin(xen.m.cpu(), header.cmd);
        let (given, served) = (header.interface_version, XEN_SYSCTL_INTERFACE_VERSION);
        if given != served {
            let e = Errno::EACCES;
            return Err(refuse!(xen, e, "interface version {:x} is not served, {:x} is", given, served));
        }
        let mut payload = [0; SYSCTL_PAYLOAD_SIZE];
        payload.copy_from_slice(&bytes[SYSCTL_PAYLOAD_OFFSET..]);
        Ok(Self { at, cmd: header.cmd, payload })
    }

    /// The command's structure.
    pub fn get<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= SYSCTL_PAYLOAD_SIZE) };
        let mut t = T::new_zeroed();
        t.as_mut_bytes().copy_from_slice(&self.payload[..size_of::<T>()]);
        t
    }

    /// Writes the command's structure back.
    pub fn put<M: Machine, T: IntoBytes + Immutable>(&self, m: &M, t: &T) -> Result<(), Errno> {
        guest::write(m, self.at + SYSCTL_PAYLOAD_OFFSET as u64, t).map_err(|_| Errno::EFAULT)
    }
}

pub type OpResult = Result<(), Errno>;

/// `sysctl` (public/sysctl.h); EPERM for all but the privileged, EACCES for another interface version.
pub fn sysctl<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    cx.xen.refusals.begin(cx.xen.m.cpu(), 0);
    cx.must_be_privileged()?;
    lifecycle::reap(cx.xen);
    let call = Call::read(cx.xen, arg)?;
    run(cx, &call)?;
    Ok(0)
}

fn run<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    match call.cmd {
        XEN_SYSCTL_READCONSOLE => console::read(cx, call),
        XEN_SYSCTL_DEBUG_KEYS => console::debug_keys(cx, call),
        XEN_SYSCTL_PHYSINFO => machine::physinfo(cx, call),
        XEN_SYSCTL_CPUTOPOINFO => machine::cputopoinfo(cx, call),
        XEN_SYSCTL_NUMAINFO => machine::numainfo(cx, call),
        XEN_SYSCTL_PCITOPOINFO => machine::pcitopoinfo(cx, call),
        XEN_SYSCTL_GETCPUINFO => machine::getcpuinfo(cx, call),
        XEN_SYSCTL_AVAILHEAP => machine::availheap(cx, call),
        XEN_SYSCTL_GETDOMAININFOLIST => domains::list(cx, call),
        XEN_SYSCTL_SCHED_ID => pool::sched_id(cx, call),
        XEN_SYSCTL_CPUPOOL_OP => pool::cpupool_op(cx, call),
        XEN_SYSCTL_SCHEDULER_OP => pool::scheduler_op(cx, call),
        XEN_SYSCTL_GET_CPU_POLICY => policy::get_policy(cx, call),
        XEN_SYSCTL_GET_CPU_FEATURESET => policy::get_featureset(cx, call),
        XEN_SYSCTL_GET_CPU_LEVELLING_CAPS => policy::levelling_caps(cx, call),
        XEN_SYSCTL_GET_PMSTAT => power::get_pmstat(cx, call),
        XEN_SYSCTL_PM_OP => power::pm_op(cx, call),
        XEN_SYSCTL_PSR_CMT_OP | XEN_SYSCTL_PSR_ALLOC => {
            Err(refuse!(cx.xen, Errno::ENODEV, "caches are neither partitioned nor watched"))
        }
        XEN_SYSCTL_CPU_HOTPLUG | XEN_SYSCTL_COVERAGE_OP => {
            Err(refuse!(cx.xen, Errno::EOPNOTSUPP, "not built in"))
        }
        // tbuf_op, perfc_op, page_offline_op, lockprof_op, livepatch_op: built without.
        cmd => Err(refuse!(cx.xen, Errno::ENOSYS, "command {} is not served", cmd)),
    }
}
