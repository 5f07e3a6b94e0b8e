//! `XENPF_resource_op`: MSRs of a CPU, by name of the public header. Of those that it may name only the TSC is offered,
//! which stands for system time; the registers of cache monitoring are not there, as sysctl's `psr_cmt_op` says.

use super::Call;
use crate::guest;
use crate::ids::CpuId;
use crate::machine::Machine;
use crate::xen::Cx;
use abi::Errno;
use abi::platform::*;

/// Entries of one call.
const MOST: u32 = 3;
const MSR_TSC: u64 = 0x10;

/// How many entries were served; the first that was not has its error in it. E2BIG: too many; ENODEV: no such CPU.
pub(super) fn op<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> Result<u64, Errno> {
    let op: XenpfResourceOp = call.get();
    let m = &cx.xen.m;
    if op.nr_entries > MOST {
        return Err(Errno::E2BIG);
    }
    let mut entries = [XenpfResourceEntry::default(); MOST as usize];
    let entries = &mut entries[..op.nr_entries as usize];
    for (i, e) in (0..).zip(entries.iter_mut()) {
        *e = guest::read_at(m, op.entries.addr(), i).map_err(|_| Errno::EFAULT)?;
    }
    if op.nr_entries > 0 && !cx.xen.host.online.contains(CpuId(op.cpu)) {
        return Err(Errno::ENODEV);
    }
    for (i, e) in (0..).zip(entries) {
        let done = serve(m, e);
        if let Err(error) = done {
            e.u = (error.to_ret() as i64) as u32;
        }
        guest::write_at(m, op.entries.addr(), i, e).map_err(|_| Errno::EFAULT)?;
        if done.is_err() {
            return Ok(i);
        }
    }
    Ok(op.nr_entries.into())
}

fn serve<M: Machine>(m: &M, e: &mut XenpfResourceEntry) -> Result<(), Errno> {
    if e.rsvd != 0 {
        return Err(Errno::EINVAL);
    }
    match (e.u, e.idx) {
        (XEN_RESOURCE_OP_MSR_READ, MSR_TSC) => e.val = m.now(),
        (XEN_RESOURCE_OP_MSR_WRITE, MSR_TSC) => return Err(Errno::EPERM),
        (XEN_RESOURCE_OP_MSR_READ | XEN_RESOURCE_OP_MSR_WRITE, _) => return Err(Errno::EACCES),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}
