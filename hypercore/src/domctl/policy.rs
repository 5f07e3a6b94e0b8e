//! get_cpu_policy and set_cpu_policy.

use super::{Call, DONE, OpResult, not_self};
use crate::domain::Domain;
use crate::guest;
use crate::machine::Machine;
use crate::policy::cpu_policy::{MAX_LEAVES, MAX_MSRS};
use crate::policy::{CpuPolicy, system::Refused};
use crate::xen::Cx;
use abi::cpu_policy::{CpuidLeaf, MsrEntry};
use abi::domctl::DomctlCpuPolicy;
use abi::{Errno, GuestHandle};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::*;
use zerocopy::{FromBytes, IntoBytes};

/// Writes a policy into a tool's two buffers, whose sizes become what was used; a null buffer only asks for the
/// most there can be. ENOBUFS: too short.
pub fn copy_out<M: Machine>(
    m: &M,
    policy: &CpuPolicy,
    (leaves, nr_leaves): (GuestHandle, &mut u32),
    (msrs, nr_msrs): (GuestHandle, &mut u32),
) -> Result<(), Errno> {
    let fault = |_| Errno::EFAULT;
    if leaves.is_null() {
        *nr_leaves = MAX_LEAVES;
    } else {
        let all = policy.leaves()?;
        let room = core::mem::replace(nr_leaves, all.len() as u32);
        if room < *nr_leaves {
            return Err(Errno::ENOBUFS);
        }
        guest::write_bytes(m, leaves.addr(), all.as_bytes()).map_err(fault)?;
    }
    if msrs.is_null() {
        *nr_msrs = MAX_MSRS;
    } else {
        let all = policy.msrs();
        let room = core::mem::replace(nr_msrs, MAX_MSRS);
        if room < MAX_MSRS {
            return Err(Errno::ENOBUFS);
        }
        guest::write_bytes(m, msrs.addr(), all.as_bytes()).map_err(fault)?;
    }
    Ok(())
}

pub(super) fn get<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut p: DomctlCpuPolicy = call.get();
    // A copy: nothing is held while guest memory is touched.
    let policy = dom.policy.with(CpuPolicy::clone);
    let (leaves, msrs) = (p.leaves, p.msrs);
    copy_out(&cx.xen.m, &policy, (leaves, &mut p.nr_leaves), (msrs, &mut p.nr_msrs))?;
    call.put(&cx.xen.m, &p)?;
    DONE
}

/// A tool's buffer of `n` elements. E2BIG beyond `most`.
fn copy_in<M: Machine, T: FromBytes + IntoBytes + Clone>(
    m: &M,
    from: GuestHandle,
    n: u32,
    most: u32,
) -> Result<Vec<T>, Errno> {
    if n > most {
        return Err(Errno::E2BIG);
    }
    let mut all = crate::fallible::filled(n as usize, T::new_zeroed)?;
    guest::read_bytes(m, from.addr(), all.as_mut_slice().as_mut_bytes()).map_err(|_| Errno::EFAULT)?;
    Ok(all)
}

/// EEXIST: the domain has run. EINVAL: an entry that cannot be; which one is written back.
pub(super) fn set<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut p: DomctlCpuPolicy = call.get();
    not_self(cx, dom)?;
    if dom.has_run.load(Acquire) {
        return Err(Errno::EEXIST);
    }
    (p.err_leaf, p.err_subleaf, p.err_msr) = (u32::MAX, u32::MAX, u32::MAX);
    let leaves: Vec<CpuidLeaf> = copy_in(&cx.xen.m, p.leaves, p.nr_leaves, MAX_LEAVES)?;
    let msrs: Vec<MsrEntry> = copy_in(&cx.xen.m, p.msrs, p.nr_msrs, MAX_MSRS)?;
    let policies = &cx.xen.host.policies;
    match dom.policy.with(|now| policies.update(now, &leaves, &msrs)) {
        Ok(new) => {
            dom.policy.replace(new);
            DONE
        }
        Err(refused) => {
            match refused {
                Refused::Leaf(l) => (p.err_leaf, p.err_subleaf) = (l.leaf, l.subleaf),
                Refused::Msr(msr) => p.err_msr = msr.0,
            }
            call.put(&cx.xen.m, &p)?;
            Err(Errno::EINVAL)
        }
    }
}
