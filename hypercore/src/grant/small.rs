//! The commands beside mapping and copying: swapping entries, cache maintenance.

use super::Status;
use super::op::{Done, STRIDE, each, explain, write_status};
use crate::guest;
use crate::ids::{GrantRef, Mfn};
use crate::machine::{Flush, Machine};
use crate::refuse;
use crate::xen::{Cx, Stop};
use abi::Errno;
use abi::grant_table::*;
use core::mem::offset_of;

/// Exchanges two entries of the caller's table that nobody uses.
pub fn swap<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> Result<Done, Stop> {
    let done = each::<GnttabSwapGrantRef, M>(cx, uop, count, STRIDE, |cx, at| {
        let op: GnttabSwapGrantRef = guest::read(&cx.xen.m, at)?;
        let status = match swap_one(cx, GrantRef(op.ref_a), GrantRef(op.ref_b)) {
            Ok(()) => GNTST_OKAY,
            Err(status) => status,
        };
        explain(cx, GNTTABOP_SWAP_GRANT_REF, at, status);
        write_status(cx, at + offset_of!(GnttabSwapGrantRef, status) as u64, status)
    })?;
    Ok(done)
}

fn swap_one<M: Machine>(cx: &Cx<'_, M>, a: GrantRef, b: GrantRef) -> Result<(), Status> {
    let table = &cx.dom.grants.table;
    // Two entries are locked in the order of their numbers.
    let (a, b) = (a.min(b), a.max(b));
    let none = |r: GrantRef| refuse!(cx.xen, GNTST_BAD_GNTREF, "the table has no entry {}", r.0);
    let first = table.slot(a).ok_or_else(|| none(a))?;
    if a == b {
        return Ok(());
    }
    let second = table.slot(b).ok_or_else(|| none(b))?;
    if first.active.in_use() || second.active.in_use() {
        return Err(refuse!(cx.xen, GNTST_EAGAIN, "entry {} or {} is in use", a.0, b.0));
    }
    first.swap(&second, &cx.xen.m);
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

/// EINVAL: range or frame, or by grant reference. EOPNOTSUPP: invalidation alone, which x86 has not.
fn flush_one<M: Machine>(cx: &Cx<'_, M>, op: &GnttabCacheFlush) -> Result<(), Errno> {
    if usize::from(op.offset) >= 4096
        || usize::from(op.offset) + usize::from(op.length) > 4096
        || op.op & !(GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN) != 0
    {
        let (start, len) = (op.offset, op.length);
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} bytes at {}, or what to do with them", len, start));
    }
    if op.length == 0 || op.op == 0 {
        return Ok(());
    }
    let mfn = Mfn(op.a >> 12);
    let none =
        || refuse!(cx.xen, Errno::EINVAL, "frame {:x} is neither the caller's nor mapped by it", mfn.0);
    let frame = cx.xen.frames.get_any(mfn).ok_or_else(none)?;
    if frame.owner() != cx.dom.id && !cx.dom.grants.maptrack.any(|m| m.pin.mfn() == frame.mfn()) {
        return Err(none());
    }
    if op.op == GNTTAB_CACHE_INVAL {
        return Err(refuse!(cx.xen, Errno::EOPNOTSUPP, "caches are not invalidated without writing back"));
    }
    cx.xen.m.flush(&cx.xen.host.online, Flush::Cache);
    Ok(())
}
