//! Words for why page tables are refused. Out of line: whoever is not refused does not come here.

use super::Fail;
use super::entry::UPPER_BAD;
use crate::frame::record::{A, B, FrameState, FrameType};
use crate::ids::{DomId, Mfn};
use crate::machine::{GuestFault, Machine};
use crate::refusal;
use crate::refuse;
use crate::within;
use crate::xen::Xen;
use abi::Errno;
use x86::pte::Pte;

/// No reference to a frame that was to be `owner`'s.
#[cold]
#[inline(never)]
pub(super) fn not_owned<M: Machine>(xen: &Xen<M>, error: Errno, mfn: Mfn, owner: DomId) -> Errno {
    let Some((a, _)) = xen.frames.peek(mfn) else {
        return refuse!(xen, error, "there is no frame {:x}", mfn.0);
    };
    // What other domains have is not told.
    if !matches!(a.state(), FrameState::Domain | FrameState::Shared) || a.owner() != owner {
        return refuse!(xen, error, "frame {:x} is not memory of domain {}", mfn.0, owner.0);
    }
    if !a.allocated() {
        return refuse!(xen, error, "frame {:x}: domain {} gave it back", mfn.0, owner.0);
    }
    if a.count() == A::COUNT {
        return refuse!(xen, error, "frame {:x} has as many references as can be counted", mfn.0);
    }
    refuse!(xen, error, "frame {:x} of domain {} changed meanwhile", mfn.0, owner.0)
}

/// The frame is of another type.
#[cold]
#[inline(never)]
pub(super) fn in_use<M: Machine>(xen: &Xen<M>, mfn: Mfn, b: B) -> Fail {
    let (f, n) = (mfn.0, b.count());
    let e = Fail::Errno(Errno::EINVAL);
    match b.kind() {
        FrameType::L1 => refuse!(xen, e, "frame {:x} is in use as a level-1 table ({} uses)", f, n),
        FrameType::L2 => refuse!(xen, e, "frame {:x} is in use as a level-2 table ({} uses)", f, n),
        FrameType::L3 => refuse!(xen, e, "frame {:x} is in use as a level-3 table ({} uses)", f, n),
        FrameType::L4 => refuse!(xen, e, "frame {:x} is in use as a level-4 table ({} uses)", f, n),
        FrameType::SegDesc => refuse!(xen, e, "frame {:x} is in use for segment descriptors ({} uses)", f, n),
        FrameType::Writable => refuse!(xen, e, "frame {:x} is in use as a writable page ({} uses)", f, n),
        FrameType::None => refuse!(xen, e, "frame {:x} is in use ({} uses)", f, n),
    }
}

/// A type count at its end.
#[cold]
#[inline(never)]
pub(super) fn too_many<M: Machine>(xen: &Xen<M>, mfn: Mfn) -> Fail {
    refuse!(xen, Fail::Errno(Errno::EBUSY), "frame {:x} has as many uses as can be counted", mfn.0)
}

/// Bits that an entry may not have.
#[cold]
#[inline(never)]
pub(super) fn bits<M: Machine>(xen: &Xen<M>, error: Errno, level: u8, pte: Pte) -> Errno {
    let bad = pte.0 & UPPER_BAD;
    within!(
        xen,
        refuse!(
            xen,
            error,
            "bits {:x} (PSE, GLOBAL, PCD or PWT) are not for entries of level {}",
            bad,
            level
        ),
        "{:x}",
        pte.0
    )
}

/// Where in a table an entry was refused. What is only interrupted is not.
#[cold]
#[inline(never)]
pub(super) fn entry<M: Machine>(xen: &Xen<M>, fail: Fail, level: u8, index: usize) -> Fail {
    match fail {
        Fail::Again => Fail::Again,
        e => within!(xen, e, "entry {} of a level-{} table", index, level),
    }
}

/// An entry is not any more what it was when it was looked at.
#[cold]
#[inline(never)]
pub(super) fn changed<M: Machine>(xen: &Xen<M>, index: usize) -> Fail {
    refuse!(xen, Fail::Errno(Errno::EBUSY), "another CPU changed entry {} meanwhile", index)
}

/// The domain takes no more references.
#[cold]
#[inline(never)]
pub(super) fn dying<M: Machine>(xen: &Xen<M>, error: Errno, dom: DomId) -> Errno {
    refuse!(xen, error, "domain {} is being destroyed", dom.0)
}

/// Ends a batch.
#[cold]
#[inline(never)]
pub(super) fn fault<M: Machine>(xen: &Xen<M>, at: GuestFault) -> Fail {
    Fail::Errno(refusal::fault(xen, at))
}
