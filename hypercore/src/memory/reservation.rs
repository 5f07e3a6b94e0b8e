//! `XENMEM_increase_reservation`, `decrease_reservation`, `populate_physmap`: one extent after the other; the
//! answer is how many were done, so a refusal in the middle leaves the ones before it done.

use super::assign::try_assign_pages;
use super::{CMD_MASK, EXTENT_SHIFT, MAX_EXTENTS, frame_limit, max_order};
use crate::domain::Domain;
use crate::guest;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::refusal;
use crate::refuse;
use crate::within;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::memory::*;
use abi::xen::HYPERVISOR_MEMORY_OP;
use alloc::sync::Arc;

/// Machine-to-physical entry of a frame without a guest frame number.
pub(super) const INVALID_M2P: u64 = u64::MAX;

/// The three calls. `start`: the first extent to do. A call that cannot begin answers `start`, as the header says:
/// so many extents are done.
pub(super) fn change<M: Machine>(cx: &mut Cx<'_, M>, op: u32, start: u64, arg: u64) -> HcResult {
    let xen = cx.xen;
    let Ok(r) = guest::read::<_, MemoryReservation>(&xen.m, arg) else {
        return stop(cx, start, refuse!(xen, Errno::EFAULT, "the argument at {:x} cannot be read", arg));
    };
    if start == r.nr_extents {
        return Ok(start);
    }
    if r.nr_extents > MAX_EXTENTS || start > r.nr_extents {
        let n = r.nr_extents;
        return stop(cx, start, refuse!(xen, Errno::EINVAL, "{} extents, at most {} can be", n, MAX_EXTENTS));
    }
    let dom = match cx.domain(r.domid) {
        Ok(dom) => dom,
        Err(e) => return stop(cx, start, e),
    };
    if dom.id != cx.dom.id {
        cx.must_be_privileged()?;
    }
    let most = max_order(cx);
    if r.extent_order > most {
        let order = r.extent_order;
        return stop(
            cx,
            start,
            refuse!(xen, Errno::EPERM, "order {}, the caller may ask for {}", order, most),
        );
    }
    let limit = match frame_limit(xen, r.mem_flags) {
        Ok(limit) => limit,
        Err(e) => return stop(cx, start, e),
    };
    if op == XENMEM_POPULATE_PHYSMAP && r.mem_flags & XENMEMF_POPULATE_ON_DEMAND != 0 {
        let e = refuse!(xen, Errno::EINVAL, "only a translated domain can be populated on demand");
        return stop(cx, start, e);
    }
    let mut done = start;
    while done < r.nr_extents {
        if done != start && cx.xen.m.preempt_point() {
            let cmd = u64::from(op) & CMD_MASK | done << EXTENT_SHIFT;
            return cx.restart(HYPERVISOR_MEMORY_OP, [cmd, arg]);
        }
        let one = match op {
            XENMEM_INCREASE_RESERVATION => increase(cx.xen, &dom, &r, done, limit),
            XENMEM_DECREASE_RESERVATION => decrease(cx.xen, &dom, &r, done).map(|()| true),
            _ => populate(cx.xen, &dom, &r, done, limit),
        };
        match one {
            Ok(true) => done += 1,
            Ok(false) => {
                let cmd = u64::from(op) & CMD_MASK | done << EXTENT_SHIFT;
                return cx.restart(HYPERVISOR_MEMORY_OP, [cmd, arg]);
            }
            Err(e) => {
                let e = within!(xen, e, "extent {} of {}", done, r.nr_extents);
                return stop(cx, done, e);
            }
        }
    }
    Ok(done)
}

/// Answers how many extents are done, and keeps why the next is not.
fn stop<M: Machine>(cx: &Cx<'_, M>, done: u64, e: Errno) -> HcResult {
    refusal::keep(cx, HYPERVISOR_MEMORY_OP, e);
    Ok(done)
}

/// The list of extents cannot be read or written.
fn fault<M: Machine>(xen: &Xen<M>, r: &MemoryReservation) -> Errno {
    refuse!(xen, Errno::EFAULT, "the list of extents at {:x} cannot be accessed", r.extent_start.addr())
}

/// One extent; false: others want the CPU, the extent is still to do. The same of [`populate`].
fn increase<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Domain,
    r: &MemoryReservation,
    i: u64,
    limit: u64,
) -> Result<bool, Errno> {
    let Some(mfn) = try_assign_pages(xen, dom, r.extent_order, limit, 0)? else { return Ok(false) };
    for j in 0..1 << r.extent_order {
        xen.m.set_m2p(Mfn(mfn.0 + j), INVALID_M2P);
    }
    if !r.extent_start.is_null() {
        guest::write_at(&xen.m, r.extent_start.addr(), i, &mfn.0).map_err(|_| fault(xen, r))?;
    }
    Ok(true)
}

fn populate<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Domain,
    r: &MemoryReservation,
    i: u64,
    limit: u64,
) -> Result<bool, Errno> {
    let list = r.extent_start.addr();
    let gpfn: u64 = guest::read_at(&xen.m, list, i).map_err(|_| fault(xen, r))?;
    let Some(mfn) = try_assign_pages(xen, dom, r.extent_order, limit, 0)? else { return Ok(false) };
    for j in 0..1 << r.extent_order {
        xen.m.set_m2p(Mfn(mfn.0 + j), gpfn.wrapping_add(j));
    }
    guest::write_at(&xen.m, list, i, &mfn.0).map_err(|_| fault(xen, r))?;
    Ok(true)
}

fn decrease<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    r: &MemoryReservation,
    i: u64,
) -> Result<(), Errno> {
    let first: u64 = guest::read_at(&xen.m, r.extent_start.addr(), i).map_err(|_| fault(xen, r))?;
    for j in 0..1 << r.extent_order {
        release_page(xen, dom, Mfn(first.wrapping_add(j)))?;
    }
    Ok(())
}

/// Takes one frame back from its domain; it is free once nobody maps or pins it any more. EINVAL: not its own, or
/// given back before.
pub(crate) fn release_page<M: Machine>(xen: &'static Xen<M>, dom: &Domain, mfn: Mfn) -> Result<(), Errno> {
    let none =
        || refuse!(xen, Errno::EINVAL, "frame {:x} is not the domain's, or was given back before", mfn.0);
    let held = xen.frames.unassign(mfn, dom.id).ok_or_else(none)?;
    xen.m.set_m2p(mfn, INVALID_M2P);
    drop(held);
    Ok(())
}
