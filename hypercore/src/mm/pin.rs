//! Pins: a table stays one, whoever else uses it.

use super::types::{get_table, put_table};
use super::{Pt, R, validate, why};
use crate::frame::record::B;
use crate::ids::{DomId, Mfn};
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Xen;
use abi::Errno;
use core::sync::atomic::Ordering::*;

/// Pins a frame of the domain as a table of `level`, validating it and all below. EINVAL if it is pinned.
pub fn pin<M: Machine>(pt: &Pt<'_, M>, mfn: Mfn, level: u8) -> R<()> {
    if !pt.dom.is_alive() {
        return Err(why::dying(pt.xen, Errno::EINVAL, pt.dom.id).into());
    }
    let none = || why::not_owned(pt.xen, Errno::EINVAL, mfn, pt.dom.id);
    let f = pt.xen.frames.get(mfn, pt.dom.id).ok_or_else(none)?;
    get_table(pt, &f, level)?;
    let Some(r) = pt.xen.frames.rec(mfn) else { return Err(Errno::EINVAL.into()) };
    if r.b.fetch_or(B::PINNED, AcqRel) & B::PINNED != 0 {
        // The pin that is there holds a count, so this one cannot be the last.
        put_table(pt.xen, f)?;
        return Err(refuse!(pt.xen, Errno::EINVAL, "frame {:x} is pinned already", mfn.0).into());
    }
    f.into_raw();
    if !pt.dom.is_alive() {
        // Teardown may have passed the frame already.
        unpin(pt.xen, pt.dom.id, mfn)?;
        return Err(why::dying(pt.xen, Errno::EINVAL, pt.dom.id).into());
    }
    Ok(())
}

/// Ends a pin. EINVAL if there is none; what an interrupted call left half undone is finished.
pub fn unpin<M: Machine>(xen: &Xen<M>, dom: DomId, mfn: Mfn) -> R<()> {
    let f = xen.frames.get_held(mfn, dom).ok_or_else(|| why::not_owned(xen, Errno::EINVAL, mfn, dom))?;
    let Some(r) = xen.frames.rec(mfn) else { return Err(Errno::EINVAL.into()) };
    let b = B(r.b.fetch_and(!B::PINNED, AcqRel));
    if b.has(B::PINNED) {
        put_table(xen, xen.frames.adopt(mfn))
    } else if b.has(B::PARTIAL) {
        validate::finish(xen, &f)
    } else {
        Err(refuse!(xen, Errno::EINVAL, "frame {:x} is not pinned", mfn.0).into())
    }
}
