//! One entry: what it may be, and the references it holds.
//!
//! The guest's kernel runs in ring 3 beside its user mode, so present entries get USER; GLOBAL goes, so that a
//! CR3 load flushes everything a guest mapped.

use super::types::{get_table, get_writable, put_table, put_writable};
use super::{Pt, R};
use crate::domain::Domain;
use crate::frame::record::A;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::xen::Xen;
use abi::Errno;
use x86::pte::Pte;

/// Attributes that make a mapping other than write-back, in a level-1 entry.
pub(super) const CACHE_ATTRS: u64 = Pte::PAT | Pte::PCD | Pte::PWT;
/// What a present entry above level 1 may not have: PV guests map no large pages.
const UPPER_BAD: u64 = Pte::PSE | Pte::GLOBAL | Pte::PCD | Pte::PWT;

/// The form in which a present entry is stored, before its frame is looked at. EINVAL for bits it may not have.
pub(super) fn adjust(level: u8, pte: Pte) -> Result<Pte, Errno> {
    if level > 1 && pte.0 & UPPER_BAD != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(pte.with(Pte::USER).without(Pte::GLOBAL))
}

/// Takes the references of an entry about to be stored; answers the entry to store.
pub(super) fn get<M: Machine>(pt: &Pt<'_, M>, level: u8, pte: Pte) -> R<Pte> {
    if !pte.present() {
        return Ok(pte);
    }
    let pte = adjust(level, pte)?;
    if level == 1 {
        return get_leaf(pt, pte);
    }
    let f = pt.xen.frames.get(Mfn(pte.mfn()), pt.dom.id).ok_or(Errno::EINVAL)?;
    get_table(pt, &f, level - 1)?;
    f.into_raw();
    Ok(pte)
}

fn get_leaf<M: Machine>(pt: &Pt<'_, M>, pte: Pte) -> R<Pte> {
    let (xen, mfn) = (pt.xen, Mfn(pte.mfn()));
    let Some(f) = xen.frames.get(mfn, pt.page_owner) else {
        if !xen.frames.is_reserved(mfn) {
            return Err(Errno::EINVAL.into());
        }
        return if pt.io_of.io.iomem_allowed(mfn) { Ok(pte) } else { Err(Errno::EPERM.into()) };
    };
    let pte = if pte.0 & CACHE_ATTRS != 0 {
        cache_attributes(pt.dom, pte, || xen.frames.mark(&f, A::UNCACHED))
    } else {
        pte
    };
    if pt.page_owner != pt.dom.id {
        xen.frames.mark(&f, A::FOREIGN);
    }
    if pte.has(Pte::RW) {
        get_writable(xen, f)?.into_raw();
    } else {
        f.into_raw();
    }
    Ok(pte)
}

/// RAM is write-back for domains that do no I/O of their own; for others it is remembered, and flushed before reuse.
fn cache_attributes(dom: &Domain, pte: Pte, remember: impl FnOnce()) -> Pte {
    if dom.privileged {
        remember();
        pte
    } else {
        pte.without(CACHE_ATTRS)
    }
}

/// Ends the references of an entry that is no longer stored (or whose table is no longer one). `Again`: they are
/// gone, but the table below is partial now.
pub(super) fn put<M: Machine>(xen: &Xen<M>, level: u8, pte: Pte) -> R<()> {
    let mfn = Mfn(pte.mfn());
    if !pte.present() || xen.frames.is_reserved(mfn) {
        return Ok(());
    }
    if level > 1 {
        return put_table(xen, xen.frames.adopt(mfn));
    }
    if pte.has(Pte::RW) {
        put_writable(xen, mfn);
    }
    drop(xen.frames.adopt(mfn));
    Ok(())
}

/// Whether a level-1 entry that maps `mfn` holds references.
pub(super) fn counted<M: Machine>(xen: &Xen<M>, mfn: Mfn) -> bool {
    !xen.frames.is_reserved(mfn)
}
