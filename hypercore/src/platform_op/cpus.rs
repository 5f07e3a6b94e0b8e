//! Processors: what there is, and bringing them up or down.

use super::{Call, OpResult};
use crate::ids::CpuId;
use crate::machine::Machine;
use crate::xen::Cx;
use abi::Errno;
use abi::platform::*;

/// Numbers of processors that firmware gives are below this, as are those of proximity domains.
const ID_LIMIT: u32 = 256;

pub(super) fn info<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let mut info: XenpfPcpuinfo = call.get();
    let host = &cx.xen.host;
    info.max_present = host.nr_cpus.saturating_sub(1);
    match host.topology.get(info.xen_cpuid as usize) {
        None => (info.flags, info.apic_id, info.acpi_id) = (XEN_PCPU_FLAGS_INVALID, 0, 0),
        Some(&(apic_id, ..)) => {
            let cpu = CpuId(info.xen_cpuid);
            info.flags = if host.online.contains(cpu) { XEN_PCPU_FLAGS_ONLINE } else { 0 };
            info.apic_id = apic_id;
            info.acpi_id = cx.xen.m.acpi_id(cpu).unwrap_or(u32::MAX);
        }
    }
    call.put(&cx.xen.m, &info)
}

/// Vendor, family, model and stepping; the same for every CPU there is.
pub(super) fn version<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let mut v: XenpfPcpuVersion = call.get();
    let host = &cx.xen.host;
    v.max_present = host.nr_cpus.saturating_sub(1);
    v.vendor_id = [0; 12];
    (v.family, v.model, v.stepping) = (0, 0, 0);
    if host.online.contains(CpuId(v.xen_cpuid)) {
        v.vendor_id = host.policies.raw.vendor_name();
        (v.family, v.model, v.stepping) = host.policies.raw.signature();
    }
    call.put(&cx.xen.m, &v)
}

/// Brings a CPU up (`up`) or down. Nothing to do where it is so already; EINVAL: no such CPU. EOPNOTSUPP: CPUs come up
/// at the start, and stay.
pub(super) fn switch<M: Machine>(cx: &Cx<'_, M>, call: &Call, up: bool) -> OpResult {
    let op: XenpfCpuOl = call.get();
    let host = &cx.xen.host;
    if op.cpuid >= host.nr_cpus {
        return Err(Errno::EINVAL);
    }
    if host.online.contains(CpuId(op.cpuid)) == up { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

/// A processor was plugged in. EINVAL: numbers that no processor has; EEXIST: it is there; EOPNOTSUPP: it cannot be used.
pub(super) fn hotadd<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let op: XenpfCpuHotadd = call.get();
    if op.apic_id >= ID_LIMIT || op.acpi_id >= ID_LIMIT || op.pxm >= ID_LIMIT {
        return Err(Errno::EINVAL);
    }
    if cx.xen.host.topology.iter().any(|t| t.0 == op.apic_id) {
        return Err(Errno::EEXIST);
    }
    Err(Errno::EOPNOTSUPP)
}
