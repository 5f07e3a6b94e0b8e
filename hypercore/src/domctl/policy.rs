//! get_cpu_policy and set_cpu_policy.

use super::{Call, DONE, OpResult, not_self};
use crate::domain::Domain;
use crate::guest;
use crate::machine::Machine;
use crate::policy::cpu_policy::{MAX_LEAVES, MAX_MSRS};
use crate::policy::{CpuPolicy, system::Refused};
use crate::refuse;
use crate::xen::{Cx, Xen};
use abi::cpu_policy::{CpuidLeaf, MsrEntry};
use abi::domctl::DomctlCpuPolicy;
use abi::{Errno, GuestHandle};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::*;
use zerocopy::{FromBytes, IntoBytes};

/// Writes a policy into a tool's two buffers, whose sizes become what was used; a null buffer only asks for the
/// most there can be. ENOBUFS: too short.
pub fn copy_out<M: Machine>(
    xen: &Xen<M>,
    policy: &CpuPolicy,
    (leaves, nr_leaves): (GuestHandle, &mut u32),
    (msrs, nr_msrs): (GuestHandle, &mut u32),
) -> Result<(), Errno> {
    let m = &xen.m;
    let fault = |_| refuse!(xen, Errno::EFAULT, "the buffers cannot be written");
    if leaves.is_null() {
        *nr_leaves = MAX_LEAVES;
    } else {
        let all = policy.leaves()?;
        let room = core::mem::replace(nr_leaves, all.len() as u32);
        if room < *nr_leaves {
            return Err(refuse!(
                xen,
                Errno::ENOBUFS,
                "room for {} CPUID leaves, there are {}",
                room,
                *nr_leaves
            ));
        }
        guest::write_bytes(m, leaves.addr(), all.as_bytes()).map_err(fault)?;
    }
    if msrs.is_null() {
        *nr_msrs = MAX_MSRS;
    } else {
        let all = policy.msrs();
        let room = core::mem::replace(nr_msrs, MAX_MSRS);
        if room < MAX_MSRS {
            return Err(refuse!(xen, Errno::ENOBUFS, "room for {} MSRs, there are {}", room, MAX_MSRS));
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
    copy_out(cx.xen, &policy, (leaves, &mut p.nr_leaves), (msrs, &mut p.nr_msrs))?;
    call.put(&cx.xen.m, &p)?;
    DONE
}

/// A tool's buffer of `n` elements. E2BIG beyond `most`.
fn copy_in<M: Machine, T: FromBytes + IntoBytes + Clone>(
    xen: &Xen<M>,
    from: GuestHandle,
    n: u32,
    most: u32,
) -> Result<Vec<T>, Errno> {
    if n > most {
        return Err(refuse!(xen, Errno::E2BIG, "{} entries, there can be {}", n, most));
    }
    let mut all = crate::fallible::filled(n as usize, T::new_zeroed)?;
    let fault = |_| refuse!(xen, Errno::EFAULT, "the buffer at {:x} cannot be read", from.addr());
    guest::read_bytes(&xen.m, from.addr(), all.as_mut_slice().as_mut_bytes()).map_err(fault)?;
    Ok(all)
}

/// EEXIST: the domain has run. EINVAL: an entry that cannot be; which one is written back.
pub(super) fn set<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut p: DomctlCpuPolicy = call.get();
    not_self(cx, dom)?;
    if dom.has_run.load(Acquire) {
        return Err(refuse!(cx.xen, Errno::EEXIST, "the domain has run already"));
    }
    (p.err_leaf, p.err_subleaf, p.err_msr) = (u32::MAX, u32::MAX, u32::MAX);
    let leaves: Vec<CpuidLeaf> = copy_in(cx.xen, p.leaves, p.nr_leaves, MAX_LEAVES)?;
    let msrs: Vec<MsrEntry> = copy_in(cx.xen, p.msrs, p.nr_msrs, MAX_MSRS)?;
    let policies = &cx.xen.host.policies;
    match dom.policy.with(|now| policies.update(now, &leaves, &msrs)) {
        Ok(new) => {
            dom.policy.replace(new);
            DONE
        }
        Err(refused) => {
            let (e, xen) = (Errno::EINVAL, cx.xen);
            let e = match refused {
                Refused::Leaf(l) => {
                    (p.err_leaf, p.err_subleaf) = (l.leaf, l.subleaf);
                    refuse!(
                        xen,
                        e,
                        "CPUID leaf {:x}, subleaf {:x}: no PV domain can have that",
                        l.leaf,
                        l.subleaf
                    )
                }
                Refused::Msr(msr) => {
                    p.err_msr = msr.0;
                    refuse!(xen, e, "MSR {:x}: no PV domain can have that", msr.0)
                }
            };
            call.put(&cx.xen.m, &p)?;
            Err(e)
        }
    }
}
