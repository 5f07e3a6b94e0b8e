//! The change of one entry of a validated table.

use super::lock::TableLock;
use super::validate::hv_slot;
use super::{Fail, Pt, R, entry, types, why};
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::refuse;
use abi::Errno;
use x86::pte::Pte;

const AD: u64 = Pte::ACCESSED | Pte::DIRTY;
/// What may change without looking at the frame: nothing that widens access, moves the mapping or changes how it
/// is cached.
const HARMLESS: u64 = AD | Pte::AVAIL | 0x7ff << 52 | Pte::NX;

/// Whether going from `old` to `new` changes no reference but perhaps ends a writable one.
fn flags_only(old: Pte, new: Pte) -> bool {
    let dropped_rw = if old.has(Pte::RW) { Pte::RW } else { 0 };
    old.present() && new.present() && (old.0 ^ new.0) & !(HARMLESS | dropped_rw) == 0
}

/// Stores `new`; the references of the new entry are taken before, those of the old one ended after. With
/// `keep_ad`, the accessed and dirty bits of a present entry survive. Nothing has changed on `Err`.
pub fn set_entry<M: Machine>(
    pt: &Pt<'_, M>,
    lock: &TableLock<'_, M>,
    index: usize,
    new: Pte,
    keep_ad: bool,
) -> R<()> {
    let level = lock.level();
    if hv_slot(level, index) {
        let e = refuse!(pt.xen, Errno::EINVAL, "entry {} of a level-4 table is the hypervisor's", index);
        return Err(e.into());
    }
    let old = lock.load(index);
    let adjusted = if new.present() {
        entry::adjust(level, new).map_err(|e| why::bits(pt.xen, e, level, new))?
    } else {
        new
    };
    if flags_only(old, adjusted) {
        let was = store(lock, index, old, adjusted, keep_ad).map_err(|_| why::changed(pt.xen, index))?;
        if level == 1 && was.has(Pte::RW) && !adjusted.has(Pte::RW) && entry::counted(pt.xen, Mfn(was.mfn()))
        {
            types::put_writable(pt.xen, Mfn(was.mfn()));
        }
        return Ok(());
    }
    let stored = if adjusted.present() {
        let taken = entry::get_adjusted(pt, lock.mfn(), level, adjusted);
        taken.map_err(|e| why::entry(pt.xen, e, level, index))?
    } else {
        adjusted
    };
    match store(lock, index, old, stored, keep_ad) {
        Ok(was) => {
            release(pt, lock.mfn(), level, was);
            recheck(pt, lock, index, stored)
        }
        Err(_) => {
            release(pt, lock.mfn(), level, stored);
            Err(why::changed(pt.xen, index))
        }
    }
}

/// The right to device memory may have gone between the check and the store, and those who look for its mappings
/// may have passed this table: then the entry goes as well.
fn recheck<M: Machine>(pt: &Pt<'_, M>, lock: &TableLock<'_, M>, index: usize, stored: Pte) -> R<()> {
    let mfn = Mfn(stored.mfn());
    let device = lock.level() == 1 && stored.present() && !entry::counted(pt.xen, mfn);
    if device && !pt.io_of.io.iomem_allowed(mfn) {
        let _ = store(lock, index, lock.load(index), Pte(0), false);
        let e =
            refuse!(pt.xen, Errno::EPERM, "the right to device memory at frame {:x} was just revoked", mfn.0);
        return Err(e.into());
    }
    Ok(())
}

/// Ends the references of an entry of `table` that is not stored any more.
pub(super) fn release<M: Machine>(pt: &Pt<'_, M>, table: Mfn, level: u8, was: Pte) {
    if entry::put(pt.xen, table, level, was) == Err(Fail::Again) {
        pt.dom.mm.defer(Mfn(was.mfn()));
    }
}

/// Exchanges the entry; only hardware's accessed and dirty bits may change meanwhile. Answers what was there.
pub(super) fn store<M: Machine>(
    lock: &TableLock<'_, M>,
    index: usize,
    old: Pte,
    new: Pte,
    keep_ad: bool,
) -> Result<Pte, Pte> {
    let mut cur = old;
    loop {
        let keep = if keep_ad && cur.present() && new.present() { cur.0 & AD } else { 0 };
        match lock.exchange(index, cur, new.with(keep)) {
            Ok(()) => return Ok(cur),
            Err(now) if (now.0 ^ cur.0) & !AD == 0 => cur = now,
            Err(now) => return Err(now),
        }
    }
}
