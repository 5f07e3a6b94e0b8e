//! The commands beside mapping and copying: versions, swapping entries, cache maintenance.

use super::Status;
use super::op::{Done, STRIDE, each, write_status};
use crate::guest;
use crate::ids::{GrantRef, Mfn};
use crate::machine::{Flush, Machine};
use crate::xen::{Cx, HcResult, Stop};
use abi::Errno;
use abi::grant_table::*;
use core::mem::offset_of;

/// The only version there is.
const VERSION: u32 = 1;

/// EINVAL: no such version. ENOSYS: 2, as before there was one.
pub fn set_version<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> HcResult {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let op: GnttabSetVersion = guest::read(&cx.xen.m, uop)?;
    guest::write(&cx.xen.m, uop, &GnttabSetVersion { version: VERSION })?;
    match op.version {
        VERSION => Ok(0),
        2 => Err(Errno::ENOSYS.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub fn get_version<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> HcResult {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut op: GnttabGetVersion = guest::read(&cx.xen.m, uop)?;
    cx.domain_for_control(op.dom)?;
    op.version = VERSION;
    guest::write(&cx.xen.m, uop, &op)?;
    Ok(0)
}

/// Version 1 has no status frames.
pub fn get_status_frames<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> HcResult {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut op: GnttabGetStatusFrames = guest::read(&cx.xen.m, uop)?;
    op.status = match super::op::subject(cx, op.dom) {
        Ok(_) => GNTST_GENERAL_ERROR,
        Err(status) => status,
    };
    guest::write(&cx.xen.m, uop, &op)?;
    Ok(0)
}

/// Exchanges two entries of the caller's table that nobody uses.
pub fn swap<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> Result<Done, Stop> {
    let done = each::<GnttabSwapGrantRef, M>(cx, uop, count, STRIDE, |cx, at| {
        let op: GnttabSwapGrantRef = guest::read(&cx.xen.m, at)?;
        let status = match swap_one(cx, GrantRef(op.ref_a), GrantRef(op.ref_b)) {
            Ok(()) => GNTST_OKAY,
            Err(status) => status,
        };
        write_status(cx, at + offset_of!(GnttabSwapGrantRef, status) as u64, status)
    })?;
    Ok(done)
}

fn swap_one<M: Machine>(cx: &Cx<'_, M>, a: GrantRef, b: GrantRef) -> Result<(), Status> {
    let table = &cx.dom.grants.table;
    // Two entries are locked in the order of their numbers.
    let (a, b) = (a.min(b), a.max(b));
    let first = table.slot(a).ok_or(GNTST_BAD_GNTREF)?;
    let second = table.slot(b).ok_or(GNTST_BAD_GNTREF)?;
    if a == b {
        return Ok(());
    }
    let (active_a, active_b) = (first.active.lock(), second.active.lock());
    if active_a.in_use() || active_b.in_use() {
        return Err(GNTST_EAGAIN);
    }
    let m = &cx.xen.m;
    let (one, two) = (m.load(first.frame, first.offset), m.load(second.frame, second.offset));
    m.store(first.frame, first.offset, two);
    m.store(second.frame, second.offset, one);
    Ok(())
}

/// Writes back, and if asked invalidates, caches of a frame the caller owns or has mapped by grant.
pub fn cache_flush<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> Result<Done, Stop> {
    let mut refused = None;
    let done = each::<GnttabCacheFlush, M>(cx, uop, count, 1, |cx, at| {
        if refused.is_none() {
            let op = guest::read(&cx.xen.m, at)?;
            refused = flush_one(cx, &op).err();
        }
        Ok(())
    })?;
    match refused {
        Some(errno) => Err(errno.into()),
        None => Ok(done),
    }
}

/// EINVAL: range or frame. EOPNOTSUPP: by grant reference, and invalidation alone, which x86 has not.
fn flush_one<M: Machine>(cx: &Cx<'_, M>, op: &GnttabCacheFlush) -> Result<(), Errno> {
    if usize::from(op.offset) >= 4096
        || usize::from(op.offset) + usize::from(op.length) > 4096
        || op.op & !(GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_SOURCE_GREF) != 0
    {
        return Err(Errno::EINVAL);
    }
    if op.length == 0 || op.op == 0 {
        return Ok(());
    }
    if op.op & GNTTAB_CACHE_SOURCE_GREF != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mfn = Mfn(op.a >> 12);
    let frame = cx.xen.frames.get_any(mfn).ok_or(Errno::EINVAL)?;
    if frame.owner() != cx.dom.id && !cx.dom.grants.maptrack.any(|m| m.pin.mfn() == frame.mfn()) {
        return Err(Errno::EINVAL);
    }
    if op.op == GNTTAB_CACHE_INVAL {
        return Err(Errno::EOPNOTSUPP);
    }
    cx.xen.m.flush(&cx.xen.host.online, Flush::Cache);
    Ok(())
}
