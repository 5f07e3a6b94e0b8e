//! Level-1 entries that map granted frames: installed and removed for the grant table, whose own records
//! decide which frame is meant.
//!
//! An entry made here holds its references as any other does, so that an ordinary write over it ends them.

use super::lock::TableLock;
use super::update::{release, store};
use super::{Pt, R, entry, types, walk};
use crate::domain::Domain;
use crate::frame::FrameRef;
use crate::frame::record::A;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::vcpu::Vcpu;
use crate::xen::Xen;
use abi::Errno;
use x86::pte::Pte;

/// A place in a level-1 table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L1Slot {
    pub table: Mfn,
    pub index: usize,
}

impl L1Slot {
    /// From the machine address of an entry (`GNTMAP_contains_pte`).
    pub fn at(ma: u64) -> Option<Self> {
        (ma & 7 == 0).then_some(Self { table: Mfn(ma >> 12), index: (ma & 0xfff) as usize / 8 })
    }
}

/// The entry that maps `va` in the vCPU's kernel tables.
pub fn slot_of_va<M: Machine>(xen: &Xen<M>, dom: &Domain, v: &Vcpu, va: u64) -> Option<L1Slot> {
    let (f, index) = walk::find_l1(xen, dom, v.mm.kernel_cr3()?, va)?;
    Some(L1Slot { table: f.mfn(), index })
}

fn lock<'a, M: Machine>(pt: &Pt<'a, M>, slot: L1Slot) -> R<TableLock<'a, M>> {
    let f = pt.xen.frames.get(slot.table, pt.dom.id).ok_or(Errno::EINVAL)?;
    match TableLock::new(pt, f)? {
        Ok(lock) if lock.level() == 1 => Ok(lock),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Makes the entry map `frame` (another domain's, or the mapper's own) with `flags`, over whatever is there. The
/// entry gets references of its own; the caller keeps the one it shows.
pub fn install<M: Machine>(xen: &Xen<M>, dom: &Domain, slot: L1Slot, frame: &FrameRef, flags: u64) -> R<()> {
    let pt = Pt::own(xen, dom);
    if !dom.is_alive() {
        return Err(Errno::EINVAL.into());
    }
    let lock = lock(&pt, slot)?;
    let new = entry::adjust(1, Pte::new(frame.mfn().0, flags | Pte::PRESENT).without(entry::CACHE_ATTRS))?;
    let held = frame.try_clone().ok_or(Errno::EBUSY)?;
    if held.owner() != dom.id {
        xen.frames.mark(&held, A::FOREIGN);
    }
    if new.has(Pte::RW) {
        types::get_writable(xen, held)?.into_raw();
    } else {
        held.into_raw();
    }
    match store(&lock, slot.index, lock.load(slot.index), new, false) {
        Ok(was) => {
            release(&pt, 1, was);
            Ok(())
        }
        Err(_) => {
            release(&pt, 1, new);
            Err(Errno::EBUSY.into())
        }
    }
}

/// Replaces the entry by `new` (an entry of the mapper's own, or none) if it maps `mfn` and is no more than
/// read-only where `readonly`. The caller flushes before it gives up the grant. EINVAL if it maps something else.
pub fn remove<M: Machine>(
    xen: &Xen<M>,
    dom: &Domain,
    slot: L1Slot,
    mfn: Mfn,
    readonly: bool,
    new: Pte,
) -> R<()> {
    let pt = Pt::own(xen, dom);
    let lock = lock(&pt, slot)?;
    let old = lock.load(slot.index);
    if !old.present() || old.mfn() != mfn.0 || (readonly && old.has(Pte::RW)) {
        return Err(Errno::EINVAL.into());
    }
    let new = entry::get(&pt, 1, new)?;
    match store(&lock, slot.index, old, new, false) {
        Ok(was) => {
            release(&pt, 1, was);
            Ok(())
        }
        Err(_) => {
            release(&pt, 1, new);
            Err(Errno::EBUSY.into())
        }
    }
}

/// The entry there now (`GNTTABOP_unmap_and_replace` takes one over).
pub fn peek<M: Machine>(xen: &Xen<M>, dom: &Domain, slot: L1Slot) -> R<Pte> {
    let pt = Pt::own(xen, dom);
    Ok(lock(&pt, slot)?.load(slot.index))
}

/// Moves the entry at `from` to `to`, which must map `mfn`; `from` becomes empty. The references move along.
pub fn replace<M: Machine>(xen: &Xen<M>, dom: &Domain, to: L1Slot, from: L1Slot, mfn: Mfn) -> R<()> {
    let pt = Pt::own(xen, dom);
    let taken = {
        let lock = lock(&pt, from)?;
        store(&lock, from.index, lock.load(from.index), Pte(0), false).map_err(|_| Errno::EBUSY)?
    };
    let put_in = || -> R<Pte> {
        let lock = lock(&pt, to)?;
        let old = lock.load(to.index);
        if !old.present() || old.mfn() != mfn.0 {
            return Err(Errno::EINVAL.into());
        }
        store(&lock, to.index, old, taken, false).map_err(|_| Errno::EBUSY.into())
    };
    match put_in() {
        Ok(was) => {
            release(&pt, 1, was);
            Ok(())
        }
        Err(e) => {
            // Back where it was, unless somebody has filled the place since.
            let back = lock(&pt, from).ok().filter(|l| l.load(from.index) == Pte(0));
            if back.is_none_or(|l| store(&l, from.index, Pte(0), taken, false).is_err()) {
                release(&pt, 1, taken);
            }
            Err(e)
        }
    }
}
