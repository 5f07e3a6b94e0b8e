//! createdomain, max_vcpus, destroydomain.

use super::{Call, DONE, OpResult, Outcome, Version, not_self};
use crate::domain::{Domain, NewDomain};
use crate::ids::DomId;
use crate::lifecycle;
use crate::machine::Machine;
use crate::xen::Cx;
use abi::Errno;
use abi::arch_x86::XEN_X86_MISC_FLAGS_MAX;
use abi::domctl::*;
use alloc::sync::Arc;

/// Most vCPUs of a PV domain.
const MAX_PV_VCPUS: u32 = 8192;
/// Bounds, and defaults, of a domain's grant table and of the table of what it maps, in frames.
pub const MAX_GRANT_FRAMES: u32 = 64;
pub const MAX_MAPTRACK_FRAMES: u32 = 1024;
/// Highest grant table version served.
pub const MAX_GRANT_VERSION: u32 = 1;

/// The command's structure, whichever version wrote it.
fn decode(call: &Call) -> Result<DomctlCreatedomain, Errno> {
    match call.version {
        Version::V15 => Ok(call.get()),
        Version::V17 => {
            let new: DomctlCreatedomainV17 = call.get();
            // Alternate p2m views are of translated guests.
            if new.altp2m_opts != 0 {
                return Err(Errno::EINVAL);
            }
            Ok(new.into())
        }
    }
}

/// EINVAL for what a PV domain on this machine cannot have.
fn check(c: &DomctlCreatedomain) -> Result<(), Errno> {
    let flags_ok = c.flags & !XEN_DOMCTL_CDF_XS_DOMAIN == 0;
    let arch_ok = c.arch.emulation_flags == 0 && c.arch.misc_flags & !XEN_X86_MISC_FLAGS_MAX == 0;
    let version = c.grant_opts & XEN_DOMCTL_GRANT_VERSION_MASK;
    let ok = flags_ok
        && arch_ok
        && c.iommu_opts == 0
        && (1..=MAX_PV_VCPUS).contains(&c.max_vcpus)
        && c.vmtrace_size == 0
        && c.cpupool_id == 0
        && c.grant_opts & !XEN_DOMCTL_GRANT_VERSION_MASK == 0
        && (1..=MAX_GRANT_VERSION).contains(&version);
    if ok { Ok(()) } else { Err(Errno::EINVAL) }
}

/// A size a tool gave: negative is the default. EINVAL outside `least..=most`.
fn size(given: i32, least: u32, most: u32) -> Result<u32, Errno> {
    match u32::try_from(given) {
        Err(_) => Ok(most),
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        Ok(_) => Err(Errno::EINVAL),
    }
}

pub(super) fn create<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let c = decode(call)?;
    check(&c)?;
    let max_grant_frames = size(c.max_grant_frames, 1, MAX_GRANT_FRAMES)?;
    let max_maptrack_frames = size(c.max_maptrack_frames, 0, MAX_MAPTRACK_FRAMES)?;
    let wanted = DomId(call.header.domain);
    let id = match wanted {
        // Any number.
        DomId::DOM0 => cx.xen.domains.free_id().ok_or(Errno::ENOMEM)?,
        id if !id.is_real() => cx.xen.domains.free_id().ok_or(Errno::ENOMEM)?,
        id if cx.xen.domains.get(id).is_some() => return Err(Errno::EINVAL),
        id => id,
    };
    let n = NewDomain {
        id,
        handle: c.handle,
        privileged: false,
        create_flags: c.flags,
        ssidref: c.ssidref,
        max_vcpus: c.max_vcpus,
        max_evtchn_port: c.max_evtchn_port,
        max_grant_frames,
        max_maptrack_frames,
        grant_version_max: c.grant_opts & XEN_DOMCTL_GRANT_VERSION_MASK,
    };
    let dom = lifecycle::create_domain(cx.xen, &n, cx.xen.host.policies.pv_default.clone())?;
    *dom.arch_config.lock() = c.arch;
    call.put_domain(&cx.xen.m, id)?;
    DONE
}

pub(super) fn max_vcpus<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>, call: &Call) -> OpResult {
    let m: DomctlMaxVcpus = call.get();
    not_self(cx, dom)?;
    if m.max != dom.max_vcpus || !dom.is_alive() {
        return Err(Errno::EINVAL);
    }
    lifecycle::create_vcpus(cx.xen, dom)?;
    DONE
}

pub(super) fn destroy<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>) -> OpResult {
    not_self(cx, dom)?;
    if lifecycle::kill(cx.xen, dom) { DONE } else { Ok(Outcome::Again) }
}
