//! Level-1 entries that map granted frames: installed and removed for the grant table, whose own records
//! decide which frame is meant.
//!
//! An entry made here holds its references as any other does, so that an ordinary write over it ends them.

use super::entry::put_leaf;
use super::lock::TableLock;
use super::update::store;
use super::{Pt, R, entry, types, walk, why};
use crate::frame::FrameRef;
use crate::frame::record::A;
use crate::ids::{DomId, Mfn};
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Cx;
use crate::xen::Xen;
use abi::Errno;
use x86::pte::Pte;

/// The level-1 table of the last address, kept locked: the addresses of a batch are neighbours most often.
///
/// Whoever waits for other CPUs, or locks a table otherwise, lets it go before.
pub struct Near<'a, M: Machine>(Option<(u64, TableLock<'a, M>)>);

impl<M: Machine> Default for Near<'_, M> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'a, M: Machine> Near<'a, M> {
    /// Lets the table go.
    pub fn leave(&mut self) {
        self.0 = None;
    }

    /// The table that has the caller's entry for `va`, and the entry's index.
    fn at(&mut self, cx: &Cx<'_, M>, pt: &Pt<'a, M>, va: u64) -> R<(&TableLock<'a, M>, usize)> {
        let region = va >> 21;
        if self.0.as_ref().is_none_or(|(r, _)| *r != region) {
            // Never two at once.
            self.leave();
            self.0 = Some((region, by_va(cx, pt, va)?.0));
        }
        let (_, lock) = self.0.as_ref().ok_or(Errno::EINVAL)?;
        Ok((lock, x86::pte::index(va, 1)))
    }
}

/// Makes the caller's entry for `va` be `pte`, which maps a frame of `owner` that the grant holds.
pub fn map_va<'a, M: Machine>(
    cx: &Cx<'a, M>,
    near: &mut Near<'a, M>,
    va: u64,
    pte: Pte,
    owner: DomId,
) -> R<()> {
    let pt = Pt::own(cx.xen, cx.dom);
    let (lock, index) = near.at(cx, &pt, va)?;
    map(&pt, lock, index, pte, owner)
}

/// The same for the entry at machine address `at` (`GNTMAP_contains_pte`).
pub fn map_pte<M: Machine>(cx: &Cx<'_, M>, at: u64, pte: Pte, owner: DomId) -> R<()> {
    let pt = Pt::own(cx.xen, cx.dom);
    let (lock, index) = by_address(&pt, at)?;
    map(&pt, &lock, index, pte, owner)
}

/// Empties the caller's entry for `va` if it maps `mfn`, else EINVAL. The grant table flushes before it lets go
/// of the frame.
pub fn unmap_va<'a, M: Machine>(cx: &Cx<'a, M>, near: &mut Near<'a, M>, va: u64, mfn: Mfn) -> R<()> {
    let pt = Pt::own(cx.xen, cx.dom);
    let (lock, index) = near.at(cx, &pt, va)?;
    unmap(&pt, lock, index, mfn, Pte(0))
}

/// The same for the entry at machine address `at`.
pub fn unmap_pte<M: Machine>(cx: &Cx<'_, M>, at: u64, mfn: Mfn) -> R<()> {
    let pt = Pt::own(cx.xen, cx.dom);
    let (lock, index) = by_address(&pt, at)?;
    unmap(&pt, &lock, index, mfn, Pte(0))
}

/// Moves the caller's entry for `from` (empty: none) to `va`, whose entry must map `mfn`; the references move
/// along.
pub fn replace_va<M: Machine>(cx: &Cx<'_, M>, va: u64, mfn: Mfn, from: u64) -> R<()> {
    let pt = Pt::own(cx.xen, cx.dom);
    let taken = if from == 0 {
        Pte(0)
    } else {
        let (lock, index) = by_va(cx, &pt, from)?;
        store(&lock, index, lock.load(index), Pte(0), false).map_err(|_| why::changed(cx.xen, index))?
    };
    // One lock at a time: both entries may be in one table.
    let put_in = || -> R<()> {
        let (lock, index) = by_va(cx, &pt, va)?;
        unmap(&pt, &lock, index, mfn, taken)
    };
    put_in().inspect_err(|_| put_back(cx, &pt, from, taken))
}

/// Returns an entry to where it was, unless the place was filled meanwhile.
fn put_back<M: Machine>(cx: &Cx<'_, M>, pt: &Pt<'_, M>, va: u64, taken: Pte) {
    let back = by_va(cx, pt, va).ok().filter(|(lock, index)| lock.load(*index) == Pte(0));
    if back.is_none_or(|(lock, index)| store(&lock, index, Pte(0), taken, false).is_err()) {
        put_leaf(pt.xen, taken);
    }
}

fn by_va<'a, M: Machine>(cx: &Cx<'_, M>, pt: &Pt<'a, M>, va: u64) -> R<(TableLock<'a, M>, usize)> {
    let none = || refuse!(pt.xen, Errno::EINVAL, "no level-1 table of the caller's maps address {:x}", va);
    let root = cx.vcpu.mm.kernel_cr3().ok_or_else(none)?;
    let (f, index) = walk::find_l1(pt.xen, pt.dom, root, va).ok_or_else(none)?;
    Ok((lock(pt, f)?, index))
}

fn by_address<'a, M: Machine>(pt: &Pt<'a, M>, at: u64) -> R<(TableLock<'a, M>, usize)> {
    if at & 7 != 0 {
        return Err(refuse!(pt.xen, Errno::EINVAL, "no entry is at machine address {:x}", at).into());
    }
    let none = || why::not_owned(pt.xen, Errno::EINVAL, Mfn(at >> 12), pt.dom.id);
    let f = pt.xen.frames.get(Mfn(at >> 12), pt.dom.id).ok_or_else(none)?;
    Ok((lock(pt, f)?, (at & 0xfff) as usize / 8))
}

fn lock<'a, M: Machine>(pt: &Pt<'a, M>, f: FrameRef) -> R<TableLock<'a, M>> {
    let mfn = f.mfn();
    match TableLock::new(pt, f)? {
        Ok(lock) if lock.level() == 1 => Ok(lock),
        _ => Err(refuse!(pt.xen, Errno::EINVAL, "frame {:x} is no level-1 table", mfn.0).into()),
    }
}

fn map<M: Machine>(pt: &Pt<'_, M>, lock: &TableLock<'_, M>, index: usize, pte: Pte, owner: DomId) -> R<()> {
    if !pt.dom.is_alive() {
        return Err(why::dying(pt.xen, Errno::EINVAL, pt.dom.id).into());
    }
    let new = entry::adjust(1, pte.with(Pte::PRESENT).without(entry::CACHE_ATTRS))?;
    let f = pt.xen.frames.get_held(Mfn(new.mfn()), owner).ok_or_else(|| granted(pt.xen))?;
    if owner != pt.dom.id {
        pt.xen.frames.mark(&f, A::FOREIGN);
    }
    if new.has(Pte::RW) {
        // Not the number of another domain's frame.
        types::get_writable(pt.xen, f).map_err(|_| granted(pt.xen))?.into_raw();
    } else {
        f.into_raw();
    }
    match store(lock, index, lock.load(index), new, false) {
        Ok(was) => {
            put_leaf(pt.xen, was);
            Ok(())
        }
        Err(_) => {
            put_leaf(pt.xen, new);
            Err(why::changed(pt.xen, index))
        }
    }
}

/// The frame of a grant cannot be had.
#[cold]
fn granted<M: Machine>(xen: &Xen<M>) -> Errno {
    refuse!(xen, Errno::EINVAL, "the granted frame has no room for another reference")
}

/// Stores `new`, which has its references already, over an entry that maps `mfn`.
fn unmap<M: Machine>(pt: &Pt<'_, M>, lock: &TableLock<'_, M>, index: usize, mfn: Mfn, new: Pte) -> R<()> {
    let old = lock.load(index);
    if !old.present() || old.mfn() != mfn.0 {
        let e = Errno::EINVAL;
        return Err(refuse!(pt.xen, e, "entry {} of the level-1 table maps something else now", index).into());
    }
    let was = store(lock, index, old, new, false).map_err(|_| why::changed(pt.xen, index))?;
    put_leaf(pt.xen, was);
    Ok(())
}
