//! Creation: everything is allocated before anything can be seen, so a refusal leaves nothing behind.

use crate::domain::{Domain, NewDomain};
use crate::frame::HvFrame;
use crate::ids::{CpuId, VcpuId};
use crate::machine::Machine;
use crate::policy::{CpuPolicy, DomainPolicy};
use crate::refuse;
use crate::sched;
use crate::vcpu::Vcpu;
use crate::xen::Xen;
use abi::Errno;
use abi::domctl::TSC_MODE_DEFAULT;
use alloc::sync::Arc;

/// A domain without vCPUs or memory, paused by the controller, in the list of domains.
/// EEXIST: the number is taken. EINVAL: there is no such pool of CPUs, or it has none. ENOMEM.
pub fn create_domain<M: Machine>(
    xen: &'static Xen<M>,
    n: &NewDomain,
    policy: CpuPolicy,
) -> Result<Arc<Domain>, Errno> {
    let shared_info = HvFrame::alloc(&xen.m, xen.frames, n.id)
        .ok_or_else(|| refuse!(xen, Errno::ENOMEM, "no frame is free for shared_info"))?;
    let dom = Domain::new(n, shared_info, DomainPolicy::new(policy))?;
    if !n.privileged {
        dom.time.set_tsc(&xen.host, xen.m.now(), TSC_MODE_DEFAULT, 0, 0, 0);
    }
    sched::join_pool(xen, &dom, n.cpupool)
        .map_err(|_| refuse!(xen, Errno::EINVAL, "cpupool {} is not there or has no CPU", n.cpupool))?;
    let inserted = xen.domains.insert(dom.clone());
    inserted.inspect_err(|_| sched::remove_domain(xen, &dom))?;
    Ok(dom)
}

/// The vCPU `id`, down; EEXIST if there is one, EINVAL above the domain's number.
pub fn create_vcpu<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    id: VcpuId,
) -> Result<Arc<Vcpu>, Errno> {
    if id.0 >= dom.max_vcpus {
        return Err(Errno::EINVAL);
    }
    if dom.vcpu(id).is_some() {
        return Err(Errno::EEXIST);
    }
    let v = Vcpu::new(dom, id)?;
    // Where it starts; the scheduler moves it.
    v.set_processor(CpuId(id.0 % xen.host.nr_cpus.max(1)));
    sched::add_vcpu(xen, &v)?;
    dom.install_vcpu(v.clone());
    Ok(v)
}

/// All vCPUs that are not there yet. Those made before a refusal stay; a second call goes on from there.
pub fn create_vcpus<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) -> Result<(), Errno> {
    for id in (0..dom.max_vcpus).map(VcpuId) {
        if dom.vcpu(id).is_none() {
            create_vcpu(xen, dom, id)?;
        }
    }
    Ok(())
}
