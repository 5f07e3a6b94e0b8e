//! From a virtual address to the level-1 entry that maps it.

use super::validate::hv_slot;
use crate::domain::Domain;
use crate::frame::proof::sealed::Sealed;
use crate::frame::{CanRead, FrameRef, FrameTable};
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::xen::Xen;
use x86::pte::{Pte, canonical, index};

/// May read a frame of RAM for a hint, without a reference: another CPU may be taking the tables apart, and the
/// word read may be anybody's. It only ever says which frame to try to lock next, and the lock checks owner, type
/// and validation; it is never shown.
struct Hint(Mfn);

impl Hint {
    fn new(frames: &FrameTable, mfn: Mfn) -> Option<Self> {
        (!frames.is_reserved(mfn)).then_some(Self(mfn))
    }
}

impl Sealed for Hint {}
impl CanRead for Hint {
    #[inline]
    fn mfn(&self) -> Mfn {
        self.0
    }
}

/// The level-1 table and the index in it for `va` under `l4`; `None` where a level is missing. By the time the
/// caller locks the table it may be another's; the lock looks.
pub fn find_l1<M: Machine>(xen: &Xen<M>, dom: &Domain, l4: Mfn, va: u64) -> Option<(FrameRef, usize)> {
    if !canonical(va) {
        return None;
    }
    let mut table = l4;
    for level in (2..=4u8).rev() {
        let i = index(va, level);
        if hv_slot(level, i) {
            return None;
        }
        let pte = Pte(xen.m.load(&Hint::new(xen.frames, table)?, i * 8));
        if !pte.present() || pte.has(Pte::PSE) {
            return None;
        }
        table = Mfn(pte.mfn());
    }
    Some((xen.frames.get_held(table, dom.id)?, index(va, 1)))
}

/// The present level-1 entry that maps `va`, if there is one.
pub fn translate<M: Machine>(xen: &Xen<M>, dom: &Domain, l4: Mfn, va: u64) -> Option<Pte> {
    let (f, i) = find_l1(xen, dom, l4, va)?;
    Some(Pte(xen.m.load(&f, i * 8))).filter(|p| p.present())
}
