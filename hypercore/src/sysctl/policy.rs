//! CPU policies and featuresets of the machine.

use super::{Call, OpResult};
use crate::domctl::policy::copy_out;
use crate::guest;
use crate::machine::Machine;
use crate::policy::cpu_policy::PLATFORM_INFO_CPUID_FAULTING;
use crate::policy::{CpuPolicy, featureset};
use crate::refuse;
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::sysctl::*;
use zerocopy::IntoBytes;

/// EOPNOTSUPP: one of translated guests. EINVAL: no such policy.
fn policy<M: Machine>(xen: &Xen<M>, index: u32) -> Result<&CpuPolicy, Errno> {
    let all = &xen.host.policies;
    match index {
        XEN_SYSCTL_CPU_POLICY_RAW => Ok(&all.raw),
        XEN_SYSCTL_CPU_POLICY_HOST => Ok(&all.host),
        XEN_SYSCTL_CPU_POLICY_PV_MAX => Ok(&all.pv_max),
        XEN_SYSCTL_CPU_POLICY_PV_DEFAULT => Ok(&all.pv_default),
        XEN_SYSCTL_CPU_POLICY_HVM_MAX | XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT => {
            Err(refuse!(xen, Errno::EOPNOTSUPP, "HVM domains are not served"))
        }
        n => Err(refuse!(xen, Errno::EINVAL, "there is no CPU policy {}", n)),
    }
}

pub(super) fn get_policy<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut p: SysctlCpuPolicy = call.get();
    if p._rsvd != 0 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "_rsvd is {}, not 0", p._rsvd));
    }
    let from = policy(cx.xen, p.index)?;
    let (leaves, msrs) = (p.leaves, p.msrs);
    copy_out(cx.xen, from, (leaves, &mut p.nr_leaves), (msrs, &mut p.nr_msrs))?;
    call.put(&cx.xen.m, &p)
}

/// A null list asks for the number of words. ENOBUFS: there are more than were asked for.
pub(super) fn get_featureset<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut f: SysctlCpuFeatureset = call.get();
    let words = featureset::WORDS as u32;
    if f.features.is_null() {
        f.nr_features = words;
        return call.put(&cx.xen.m, &f);
    }
    let all = &cx.xen.host.policies;
    let set = match f.index {
        XEN_SYSCTL_CPU_FEATURESET_RAW => &all.raw,
        XEN_SYSCTL_CPU_FEATURESET_HOST => &all.host,
        XEN_SYSCTL_CPU_FEATURESET_PV => &all.pv_default,
        XEN_SYSCTL_CPU_FEATURESET_PV_MAX => &all.pv_max,
        n => return Err(refuse!(cx.xen, Errno::EINVAL, "there is no featureset {}", n)),
    };
    f.nr_features = f.nr_features.min(words);
    let set = set.features().0;
    let shown = &set[..f.nr_features as usize];
    guest::write_bytes(&cx.xen.m, f.features.addr(), shown.as_bytes()).map_err(|_| Errno::EFAULT)?;
    call.put(&cx.xen.m, &f)?;
    if f.nr_features < words {
        return Err(refuse!(cx.xen, Errno::ENOBUFS, "room for {} words, there are {}", f.nr_features, words));
    }
    Ok(())
}

/// How CPUID can be changed for a guest's user mode: by faulting, where the processor can.
pub(super) fn levelling_caps<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let faults = cx.xen.host.policies.pv_max.platform_info & PLATFORM_INFO_CPUID_FAULTING != 0;
    let caps = if faults { XEN_SYSCTL_CPU_LEVELCAP_FAULTING } else { 0 };
    call.put(&cx.xen.m, &SysctlCpuLevellingCaps { caps })
}
