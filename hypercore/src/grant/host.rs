//! Grant mappings in page tables.

use super::Status;
use super::entry::Pinned;
use super::maptrack::Place;
use crate::machine::Machine;
use crate::mm;
use crate::mm::grants::Near;
use crate::refuse;
use crate::xen::Cx;
use abi::grant_table::*;
use x86::pte::Pte;

/// The entry a mapping asks for. Another domain's frame is data: nothing in it is executed.
fn pte(pin: &Pinned, flags: u32) -> Pte {
    let mut bits = Pte::PRESENT | Pte::ACCESSED | Pte::DIRTY | Pte::NX;
    if flags & GNTMAP_APPLICATION_MAP != 0 {
        bits |= Pte::USER;
    }
    if pin.writable() {
        bits |= Pte::RW;
    }
    let available = u64::from((flags & GNTMAP_GUEST_AVAIL_MASK) >> GNTMAP_GUEST_AVAIL0);
    bits |= available << Pte::AVAIL.trailing_zeros() & Pte::AVAIL;
    Pte::new(pin.mfn().0, bits)
}

/// Writes the entry; what stood there is released as by any update.
pub fn install<'a, M: Machine>(
    cx: &mut Cx<'a, M>,
    near: &mut Near<'a, M>,
    place: Place,
    pin: &Pinned,
    flags: u32,
) -> Result<(), Status> {
    let owner = pin.frame().owner();
    match place {
        Place::Va(va) => mm::grants::map_va(cx, near, va, pte(pin, flags), owner),
        Place::Pte(at) => {
            near.leave();
            mm::grants::map_pte(cx, at, pte(pin, flags), owner)
        }
    }
    .map_err(|_| GNTST_GENERAL_ERROR)
}

/// Clears the entry, if it still maps the frame.
pub fn remove<'a, M: Machine>(
    cx: &mut Cx<'a, M>,
    near: &mut Near<'a, M>,
    place: Place,
    pin: &Pinned,
) -> Result<(), Status> {
    match place {
        Place::Va(va) => mm::grants::unmap_va(cx, near, va, pin.mfn()),
        Place::Pte(at) => {
            near.leave();
            mm::grants::unmap_pte(cx, at, pin.mfn())
        }
    }
    .map_err(|_| GNTST_GENERAL_ERROR)
}

/// Puts the entry of `with` in its place and clears that one; only for mappings by address.
pub fn replace<M: Machine>(cx: &mut Cx<'_, M>, place: Place, pin: &Pinned, with: u64) -> Result<(), Status> {
    match place {
        Place::Va(va) => mm::grants::replace_va(cx, va, pin.mfn(), with).map_err(|_| GNTST_GENERAL_ERROR),
        Place::Pte(at) => {
            let e = GNTST_GENERAL_ERROR;
            Err(refuse!(cx.xen, e, "the mapping is by the entry at machine address {:x}, not by address", at))
        }
    }
}
