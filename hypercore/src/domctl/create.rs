//! createdomain, max_vcpus, destroydomain.

use super::{Call, DONE, OpResult, Outcome, Version, not_self};
use crate::domain::{Domain, NewDomain};
use crate::ids::DomId;
use crate::lifecycle;
use crate::machine::Machine;
use crate::refuse;
use crate::within;
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::arch_x86::XEN_X86_MISC_FLAGS_MAX;
use abi::domctl::*;
use alloc::sync::Arc;

/// Most vCPUs of a PV domain.
const MAX_PV_VCPUS: u32 = 8192;

/// The command's structure, whichever version wrote it.
fn decode<M: Machine>(xen: &Xen<M>, call: &Call) -> Result<DomctlCreatedomain, Errno> {
    match call.version {
        Version::V15 => Ok(call.get()),
        Version::V17 => {
            let new: DomctlCreatedomainV17 = call.get();
            // Alternate p2m views are of translated guests.
            if new.altp2m_opts != 0 {
                let words = new.altp2m_opts;
                return Err(refuse!(
                    xen,
                    Errno::EINVAL,
                    "altp2m_opts {:x}: PV domains have no altp2m",
                    words
                ));
            }
            Ok(new.into())
        }
    }
}

/// EINVAL for what a PV domain on this machine cannot have.
fn check<M: Machine>(xen: &Xen<M>, c: &DomctlCreatedomain) -> Result<(), Errno> {
    let no = Errno::EINVAL;
    if c.flags & XEN_DOMCTL_CDF_HVM != 0 {
        return Err(refuse!(xen, no, "flags {:x}: HVM and PVH domains are not served", c.flags));
    }
    if c.flags & !XEN_DOMCTL_CDF_XS_DOMAIN != 0 {
        return Err(refuse!(
            xen,
            no,
            "flags {:x}: a PV domain may have {:x}",
            c.flags,
            XEN_DOMCTL_CDF_XS_DOMAIN
        ));
    }
    if c.arch.emulation_flags != 0 {
        return Err(refuse!(xen, no, "emulation_flags {:x}: a PV domain has none", c.arch.emulation_flags));
    }
    if c.arch.misc_flags & !XEN_X86_MISC_FLAGS_MAX != 0 {
        return Err(refuse!(
            xen,
            no,
            "misc_flags {:x}: {:x} are known",
            c.arch.misc_flags,
            XEN_X86_MISC_FLAGS_MAX
        ));
    }
    if c.iommu_opts != 0 {
        return Err(refuse!(xen, no, "iommu_opts {:x} without an IOMMU", c.iommu_opts));
    }
    if !(1..=MAX_PV_VCPUS).contains(&c.max_vcpus) {
        return Err(refuse!(xen, no, "max_vcpus {} is not within 1 to {}", c.max_vcpus, MAX_PV_VCPUS));
    }
    if c.vmtrace_size != 0 {
        return Err(refuse!(xen, no, "vmtrace_size {}: traces are not served", c.vmtrace_size));
    }
    let version = c.grant_opts & XEN_DOMCTL_GRANT_VERSION_MASK;
    let most = xen.host.grants.version;
    if c.grant_opts & !XEN_DOMCTL_GRANT_VERSION_MASK != 0 || !(1..=most).contains(&version) {
        return Err(refuse!(xen, no, "grant_opts {:x}: versions up to {}", c.grant_opts, most));
    }
    Ok(())
}

/// A size in frames that a tool gave: negative is the default. EINVAL outside `least..=most`.
fn size<M: Machine>(xen: &Xen<M>, given: i32, least: u32, most: u32) -> Result<u32, Errno> {
    match u32::try_from(given) {
        Err(_) => Ok(most),
        Ok(n) if n < least => Err(refuse!(xen, Errno::EINVAL, "{} frames, at least {} are needed", n, least)),
        Ok(n) if n > most => Err(refuse!(xen, Errno::EINVAL, "{} frames, at most {} can be", n, most)),
        Ok(n) => Ok(n),
    }
}

pub(super) fn create<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let xen = cx.xen;
    let c = decode(xen, call)?;
    check(xen, &c)?;
    let limits = &xen.host.grants;
    let max_grant_frames =
        size(xen, c.max_grant_frames, 1, limits.frames).map_err(|e| within!(xen, e, "max_grant_frames"))?;
    let max_maptrack_frames = size(xen, c.max_maptrack_frames, 0, limits.maptrack_frames)
        .map_err(|e| within!(xen, e, "max_maptrack_frames"))?;
    let id = match DomId(call.header.domain) {
        id if id.is_real() && id != DomId::DOM0 => {
            if xen.domains.get(id).is_some() {
                return Err(refuse!(xen, Errno::EINVAL, "domain {} is there already", id.0));
            }
            id
        }
        // Any number.
        _ => {
            let none = || refuse!(xen, Errno::ENOMEM, "every number of a domain is in use");
            xen.domains.free_id().ok_or_else(none)?
        }
    };
    let n = NewDomain {
        id,
        handle: c.handle,
        privileged: false,
        create_flags: c.flags,
        ssidref: c.ssidref,
        cpupool: c.cpupool_id,
        max_vcpus: c.max_vcpus,
        max_evtchn_port: c.max_evtchn_port,
        max_grant_frames,
        max_maptrack_frames,
        grant_version_max: c.grant_opts & XEN_DOMCTL_GRANT_VERSION_MASK,
    };
    // First the tool is told the number: a domain that nobody knows of would stay.
    call.put_domain(xen, id)?;
    let dom = lifecycle::create_domain(xen, &n, xen.host.policies.pv_default.clone())
        .inspect_err(|_| call.put_back(xen))?;
    *dom.arch_config.lock() = c.arch;
    DONE
}

pub(super) fn max_vcpus<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>, call: &Call) -> OpResult {
    let m: DomctlMaxVcpus = call.get();
    not_self(cx, dom)?;
    if m.max != dom.max_vcpus {
        let said = dom.max_vcpus;
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} vCPUs, but createdomain said {}", m.max, said));
    }
    if !dom.is_alive() {
        return Err(refuse!(cx.xen, Errno::EINVAL, "the domain is being destroyed"));
    }
    lifecycle::create_vcpus(cx.xen, dom)?;
    DONE
}

pub(super) fn destroy<M: Machine>(cx: &mut Cx<'_, M>, dom: &Arc<Domain>) -> OpResult {
    not_self(cx, dom)?;
    if lifecycle::kill(cx.xen, dom) { DONE } else { Ok(Outcome::Again) }
}
