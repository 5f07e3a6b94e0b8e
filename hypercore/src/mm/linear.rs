//! Linear mappings: entries of levels 2 to 4 that refer to a table of their own level, so that a guest sees its
//! tables as pages.
//!
//! An entry that refers to its own table holds nothing: it goes when the table does. Any other holds both counts of
//! the table it refers to, like an entry that refers downwards, and is counted on both ends. A table either refers
//! to others so or is referred to, never both: there is no chain, hence no cycle, and no recursion longer than that.
//! Such an entry never has RW, or the guest could write the tables below it.

use super::validate::{devalidate, idle, suspend};
use super::{R, tlb, why};
use crate::frame::FrameRef;
use crate::frame::record::{B, FrameType, Linear};
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Xen;
use abi::Errno;
use core::sync::atomic::Ordering::*;
use x86::pte::{ENTRIES, Pte};

/// Whether a present entry of a table of `level`, which holds its references, refers to its own level.
pub(super) fn is<M: Machine>(xen: &Xen<M>, level: u8, pte: Pte) -> bool {
    level > 1 && xen.frames.peek(Mfn(pte.mfn())).is_some_and(|(_, b)| b.kind() == FrameType::table(level))
}

/// Changes the number of entries by which `table` refers to others. EINVAL if others refer to it, EBUSY at the limit.
fn count_out<M: Machine>(xen: &Xen<M>, table: Mfn, up: bool) -> R<()> {
    let r = xen.frames.rec(table).ok_or(Errno::EINVAL)?;
    let mut cur = r.b.load(Relaxed);
    loop {
        let next = match (B(cur).linear(), up) {
            (Linear::Referred(n), _) => {
                let e = Errno::EINVAL;
                return Err(
                    refuse!(xen, e, "the table is itself referred to by {} entries of its level", n).into()
                );
            }
            (Linear::Refers(Linear::MAX), true) => {
                let e = Errno::EBUSY;
                return Err(refuse!(xen, e, "{} entries of the table refer to its level", Linear::MAX).into());
            }
            (Linear::Refers(n), true) => n + 1,
            (Linear::Refers(n), false) => n.saturating_sub(1),
        };
        match r.b.compare_exchange_weak(cur, B(cur).with_linear(Linear::Refers(next)).0, AcqRel, Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => cur = now,
        }
    }
}

/// The references of an entry of `table` that refers to `f` on the same level. EINVAL with RW, if `f` is no such
/// table (why it is not a table of the level below is noted), or where a chain would come about.
pub(super) fn get<M: Machine>(xen: &Xen<M>, table: Mfn, level: u8, pte: Pte, f: FrameRef) -> R<()> {
    if pte.has(Pte::RW) {
        if is(xen, level, pte) {
            let e = Errno::EINVAL;
            return Err(
                refuse!(xen, e, "an entry that refers to its level ({}) may not be writable", level).into()
            );
        }
        return Err(Errno::EINVAL.into());
    }
    if f.mfn() == table {
        return Ok(());
    }
    count_out(xen, table, true)?;
    refer(xen, level, &f).inspect_err(|_| {
        // What was counted just now can be taken back.
        let _ = count_out(xen, table, false);
    })?;
    f.into_raw();
    Ok(())
}

/// One type count of the table `f`, and one linear entry that refers to it, at once.
fn refer<M: Machine>(xen: &Xen<M>, level: u8, f: &FrameRef) -> R<()> {
    let r = xen.frames.rec(f.mfn()).ok_or(Errno::EINVAL)?;
    let mut cur = r.b.load(Relaxed);
    loop {
        let b = B(cur);
        if b.kind() != FrameType::table(level) || !b.has(B::VALIDATED) {
            return Err(Errno::EINVAL.into());
        }
        let n = match b.linear() {
            Linear::Refers(0) => 0,
            Linear::Refers(n) => {
                let e = Errno::EINVAL;
                return Err(
                    refuse!(xen, e, "{} entries of frame {:x} refer to its level", n, f.mfn().0).into()
                );
            }
            Linear::Referred(n) => n,
        };
        if n == Linear::MAX || b.count() == B::COUNT_MAX {
            return Err(why::too_many(xen, f.mfn()));
        }
        let next = B(cur + B::COUNT_ONE).with_linear(Linear::Referred(n + 1)).0;
        match r.b.compare_exchange_weak(cur, next, AcqRel, Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => cur = now,
        }
    }
}

/// Ends the references of an entry of `table` that referred to `target` on the same level. A target that this leaves
/// half devalidated is its owner's next call's to finish: nobody but its own mark then knows of it.
pub(super) fn put<M: Machine>(xen: &Xen<M>, table: Mfn, level: u8, target: Mfn) {
    if target == table {
        return;
    }
    let f = xen.frames.adopt(target);
    // The table is no referred one while it has an entry that refers.
    let _ = count_out(xen, table, false);
    let Some(r) = xen.frames.rec(target) else { return };
    let mut cur = r.b.load(Relaxed);
    loop {
        let b = B(cur);
        let left = match b.linear() {
            Linear::Referred(n) => n.saturating_sub(1),
            Linear::Refers(_) => 0,
        };
        let referred = if left > 0 { Linear::Referred(left) } else { Linear::Refers(0) };
        // The last count takes the validation along, so that the table gains no entry that refers any more.
        let next = if b.count() > 1 { cur - B::COUNT_ONE } else { cur & !B::VALIDATED };
        match r.b.compare_exchange_weak(cur, B(next).with_linear(referred).0, AcqRel, Relaxed) {
            Ok(_) if b.count() > 1 => return,
            Ok(_) => break,
            Err(now) => cur = now,
        }
    }
    if level == 4 {
        tlb::leave(xen, &f);
    }
    match devalidate(xen, &f, level, ENTRIES) {
        Ok(()) => idle(xen, target),
        Err(left) => {
            suspend(xen, &f, None, left);
            if let Some(owner) = xen.domains.get(f.owner()) {
                owner.mm.defer(target);
            }
        }
    }
}
