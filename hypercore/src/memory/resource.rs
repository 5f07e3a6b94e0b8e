//! `XENMEM_acquire_resource`: a tool asks for the frames of another domain's grant table, of its entries or
//! (version 2) of their status words, to map and seed them before the domain runs. The caller maps the frames as that domain's, with the checks of every mapping.

use super::{EXTENT_SHIFT, MAX_EXTENTS};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::{Cx, HcResult};
use crate::{grant, guest};
use abi::Errno;
use abi::memory::*;
use abi::xen::HYPERVISOR_MEMORY_OP;

/// Frames the resource can have; 0: there is no such resource.
fn max_frames(dom: &Domain, r: &MemAcquireResource) -> u32 {
    match (r.type_, r.id) {
        (XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED) => dom.grants.sizes().1,
        (XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS) => {
            dom.grants.max_status_frames()
        }
        _ => 0,
    }
}

/// `start`: frames done in earlier rounds. EPERM: not privileged, or its own. EINVAL: beyond the resource, or status
/// words of a table of version 1.
pub(super) fn acquire<M: Machine>(cx: &mut Cx<'_, M>, start: u64, arg: u64) -> HcResult {
    let mut r: MemAcquireResource = guest::read(&cx.xen.m, arg)?;
    let xen = cx.xen;
    let beyond = |most: u32| {
        refuse!(
            xen,
            Errno::EINVAL,
            "frames from {} on are beyond the {} the resource can have",
            r.frame,
            most
        )
    };
    let end = r.frame.checked_add(r.nr_frames.into()).ok_or_else(|| beyond(u32::MAX))?;
    if r.pad != 0 {
        return Err(refuse!(xen, Errno::EINVAL, "the padding is {:x}, not 0", r.pad).into());
    }
    let dom = cx.domain(r.domid)?;
    if dom.id == cx.dom.id {
        return Err(refuse!(xen, Errno::EPERM, "the resources of the caller itself").into());
    }
    cx.must_be_privileged()?;
    let most = max_frames(&dom, &r);
    if most == 0 {
        let e = Errno::EINVAL;
        return Err(refuse!(xen, e, "there is no resource of type {} with id {}", r.type_, r.id).into());
    }
    if r.frame_list.is_null() {
        if r.nr_frames != 0 {
            return Err(refuse!(xen, Errno::EINVAL, "{} frames, but no list for them", r.nr_frames).into());
        }
        r.nr_frames = most;
        guest::write(&cx.xen.m, arg, &r)?;
        return Ok(0);
    }
    if end > most.into() || u64::from(r.nr_frames) > MAX_EXTENTS || start > r.nr_frames.into() {
        return Err(beyond(most).into());
    }
    for i in start..r.nr_frames.into() {
        if i != start && cx.xen.m.preempt_point() {
            let cmd = u64::from(XENMEM_ACQUIRE_RESOURCE) | i << EXTENT_SHIFT;
            return cx.restart(HYPERVISOR_MEMORY_OP, [cmd, arg]);
        }
        // Below `most`, so it fits.
        let frame = (r.frame + i) as u32;
        let mfn = match r.id {
            XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS => grant::resource_status_frame(cx.xen, &dom, frame)?,
            _ => grant::resource_frame(cx.xen, &dom, frame)?,
        };
        guest::write_at(&cx.xen.m, r.frame_list.addr(), i, &mfn.0)?;
    }
    Ok(0)
}
