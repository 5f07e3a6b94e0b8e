//! One entry: what it may be, and the references it holds.
//!
//! The guest's kernel runs in ring 3 beside its user mode, so present entries get USER, and level-1 entries that
//! had it not a mark (bit 52, as guests find it on other hypervisors of this interface); GLOBAL goes, so that a CR3
//! load flushes everything a guest mapped. Entries of level 4 are marked accessed from the start.

use super::types::{get_table, get_writable, put_table, put_writable};
use super::{Fail, Pt, R, linear, why};
use crate::domain::Domain;
use crate::frame::record::A;
use crate::ids::{DomId, Mfn};
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Xen;
use abi::Errno;
use x86::pte::Pte;

/// Attributes that make a mapping other than write-back, in a level-1 entry.
pub(super) const CACHE_ATTRS: u64 = Pte::PAT | Pte::PCD | Pte::PWT;
/// What a present entry above level 1 may not have: PV guests map no large pages.
pub(super) const UPPER_BAD: u64 = Pte::PSE | Pte::GLOBAL | Pte::PCD | Pte::PWT;

/// Marks a level-1 entry that the guest meant for its kernel only.
const GUEST_KERNEL: u64 = 1 << 52;
/// Types of the firmware's memory map that are memory with contents: RAM, ACPI tables, ACPI NVS.
const E820_MEMORY: [u32; 3] = [1, 3, 4];

/// The form in which a present entry is stored, before its frame is looked at. EINVAL for bits it may not have.
pub(super) fn adjust(level: u8, pte: Pte) -> Result<Pte, Errno> {
    if level > 1 && pte.0 & UPPER_BAD != 0 {
        return Err(Errno::EINVAL);
    }
    let more = match level {
        1 if !pte.has(Pte::USER) => GUEST_KERNEL,
        4 => Pte::ACCESSED,
        _ => 0,
    };
    Ok(pte.with(Pte::USER | more).without(Pte::GLOBAL))
}

/// Takes the references of an entry about to be stored; answers the entry to store.
/// `table`: whose entry it is to be.
pub(super) fn get<M: Machine>(pt: &Pt<'_, M>, table: Mfn, level: u8, pte: Pte) -> R<Pte> {
    if !pte.present() {
        return Ok(pte);
    }
    let pte = adjust(level, pte).map_err(|e| why::bits(pt.xen, e, level, pte))?;
    get_adjusted(pt, table, level, pte)
}

/// As [`get`], of a present entry in the form in which it is stored.
#[inline]
pub(super) fn get_adjusted<M: Machine>(pt: &Pt<'_, M>, table: Mfn, level: u8, pte: Pte) -> R<Pte> {
    if level == 1 {
        return get_leaf(pt, pte);
    }
    let none = || why::not_owned(pt.xen, Errno::EINVAL, Mfn(pte.mfn()), pt.dom.id);
    let f = pt.xen.frames.get(Mfn(pte.mfn()), pt.dom.id).ok_or_else(none)?;
    match get_table(pt, &f, level - 1) {
        Ok(()) => {
            f.into_raw();
        }
        Err(Fail::Errno(Errno::EINVAL)) => linear::get(pt.xen, table, level, pte, f)?,
        Err(e) => return Err(e),
    }
    Ok(pte)
}

fn get_leaf<M: Machine>(pt: &Pt<'_, M>, pte: Pte) -> R<Pte> {
    let (xen, mfn) = (pt.xen, Mfn(pte.mfn()));
    if xen.frames.is_reserved(mfn) {
        return get_device(pt, pte);
    }
    // Own frames may be named as anybody's device memory; nothing else is the reserved owners', but for what is shown.
    let owner = if pt.page_owner.is_real() { pt.page_owner } else { pt.dom.id };
    let Some(f) = xen.frames.get(mfn, owner) else { return get_shown(pt, pte, owner) };
    let pte = if pte.0 & CACHE_ATTRS != 0 {
        cache_attributes(pt.dom, pte, || xen.frames.mark(&f, A::UNCACHED))
    } else {
        pte
    };
    if owner != pt.dom.id {
        xen.frames.mark(&f, A::FOREIGN);
    }
    if pte.has(Pte::RW) {
        // In use as something else.
        let busy = |e| if e == Fail::Errno(Errno::EINVAL) { Fail::Errno(Errno::EBUSY) } else { e };
        get_writable(xen, f).map_err(busy)?.into_raw();
    } else {
        f.into_raw();
    }
    Ok(pte)
}

/// An entry for a frame that the hypervisor shows to tools: read-only, write-back. EBUSY for all others, and to write;
/// `owner`: whose the frame is not.
#[cold]
fn get_shown<M: Machine>(pt: &Pt<'_, M>, pte: Pte, owner: DomId) -> R<Pte> {
    let mfn = Mfn(pte.mfn());
    if pt.page_owner != DomId::XEN {
        return Err(why::not_owned(pt.xen, Errno::EBUSY, mfn, owner).into());
    }
    if pte.has(Pte::RW) {
        let e = refuse!(
            pt.xen,
            Errno::EBUSY,
            "frame {:x} is the hypervisor's, and shown for reading only",
            mfn.0
        );
        return Err(e.into());
    }
    let none = || why::not_owned(pt.xen, Errno::EBUSY, mfn, DomId::XEN);
    pt.xen.frames.get(mfn, DomId::XEN).ok_or_else(none)?.into_raw();
    Ok(pte.without(CACHE_ATTRS))
}

/// An entry for what is no domain's memory. EPERM without the right to it, EBUSY for the hypervisor's own memory.
fn get_device<M: Machine>(pt: &Pt<'_, M>, pte: Pte) -> R<Pte> {
    let at = pte.mfn() << 12;
    if at >> pt.xen.host.policies.host.physical_bits() != 0 {
        let e = refuse!(pt.xen, Errno::EPERM, "address {:x} is more than the processor has", at);
        return Err(e.into());
    }
    let kind = pt.xen.host.e820.iter().find(|r| r.0 <= at && at - r.0 < r.1).map(|r| r.2);
    if !pt.io_of.io.iomem_allowed(Mfn(pte.mfn())) {
        let (mfn, of) = (pte.mfn(), pt.io_of.id.0);
        return Err(if kind == Some(1) {
            refuse!(pt.xen, Errno::EBUSY, "frame {:x} is no domain's memory", mfn)
        } else {
            refuse!(pt.xen, Errno::EPERM, "frame {:x} is not among the device memory of domain {}", mfn, of)
        }
        .into());
    }
    let cached = pte.0 & CACHE_ATTRS == 0;
    let memory = kind.is_some_and(|k| E820_MEMORY.contains(&k));
    let pte = if pt.xen.read_only.contains(Mfn(pte.mfn())) { pte.without(Pte::RW) } else { pte };
    // Device registers are never write-back.
    Ok(if cached && !memory { pte.with(Pte::PCD | Pte::PWT) } else { pte })
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

/// Ends the references of an entry of `table` that is no longer stored (or that is no longer a table). `Again`: they
/// are gone, but the table below is partial now.
pub(super) fn put<M: Machine>(xen: &Xen<M>, table: Mfn, level: u8, pte: Pte) -> R<()> {
    let mfn = Mfn(pte.mfn());
    if !pte.present() || xen.frames.is_reserved(mfn) {
        return Ok(());
    }
    if linear::is(xen, level, pte) {
        linear::put(xen, table, level, mfn);
        return Ok(());
    }
    if level > 1 {
        return put_table(xen, xen.frames.adopt(mfn));
    }
    put_leaf(xen, pte);
    Ok(())
}

/// As [`put`], for an entry of level 1.
#[inline(always)]
pub(super) fn put_leaf<M: Machine>(xen: &Xen<M>, pte: Pte) {
    let mfn = Mfn(pte.mfn());
    if !pte.present() || xen.frames.is_reserved(mfn) {
        return;
    }
    if pte.has(Pte::RW) {
        put_writable(xen, mfn);
    }
    drop(xen.frames.adopt(mfn));
}

/// Whether a level-1 entry that maps `mfn` holds references.
pub(super) fn counted<M: Machine>(xen: &Xen<M>, mfn: Mfn) -> bool {
    !xen.frames.is_reserved(mfn)
}
