//! Pinning a grant entry for a use, and letting go of it.
//!
//! An entry is one 8-byte word: flags, grantee and frame change together or not at all, so a granter that
//! rewrites it while we look gains nothing. `GTF_reading` and `GTF_writing` tell it that its frame is in use; they
//! go after the last use of their kind, when nothing maps the frame any more.

use super::Status;
use super::table::{Active, Slot};
use crate::domain::Domain;
use crate::frame::{CanRead, FrameRef, HvFrame, WritableRef};
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::{Frames, Machine};
use crate::xen::Xen;
use abi::grant_table::*;

/// How often an entry may change under us before we call it unstable.
const ATTEMPTS: usize = 16;

/// The frame of a use: what keeps it there, and writable if it may be written.
#[derive(Debug)]
pub enum Pinned {
    Read(FrameRef),
    Write(WritableRef),
}

impl Pinned {
    pub fn mfn(&self) -> Mfn {
        match self {
            Self::Read(f) => f.mfn(),
            Self::Write(w) => w.mfn(),
        }
    }

    pub fn writable(&self) -> bool {
        matches!(self, Self::Write(_))
    }

    pub fn frame(&self) -> &FrameRef {
        match self {
            Self::Read(f) => f,
            Self::Write(w) => w.frame(),
        }
    }

    /// References to a frame of `owner`.
    pub fn take<M: Machine>(
        xen: &'static Xen<M>,
        owner: &Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<Self, Status> {
        let frame = xen.frames.get(mfn, owner.id).ok_or(GNTST_BAD_PAGE)?;
        if !write {
            return Ok(Self::Read(frame));
        }
        crate::mm::types::get_writable(xen, frame).map(Self::Write).map_err(|_| GNTST_GENERAL_ERROR)
    }
}

/// One decoded entry.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn flags(self) -> u16 {
        self.0 as u16
    }
    fn grantee(self) -> DomId {
        DomId((self.0 >> 16) as u16)
    }
    fn frame(self) -> Mfn {
        Mfn(self.0 >> 32)
    }
}

/// Marks an entry as used by `grantee`; its frame.
fn mark<M: Frames>(
    m: &M,
    shared: &HvFrame,
    offset: usize,
    grantee: DomId,
    write: bool,
) -> Result<Mfn, Status> {
    let mut word = m.load(shared, offset);
    for _ in 0..ATTEMPTS {
        let e = Entry(word);
        if e.flags() & GTF_TYPE_MASK != GTF_PERMIT_ACCESS || e.grantee() != grantee {
            return Err(GNTST_GENERAL_ERROR);
        }
        if write && e.flags() & GTF_READONLY != 0 {
            return Err(GNTST_GENERAL_ERROR);
        }
        let set = GTF_READING | if write { GTF_WRITING } else { 0 };
        match m.compare_exchange(shared, offset, word, word | u64::from(set)) {
            Ok(_) => return Ok(e.frame()),
            Err(now) => word = now,
        }
    }
    Err(GNTST_GENERAL_ERROR)
}

/// Clears the marks of uses that ended.
fn unmark<M: Frames>(m: &M, slot: &Slot<'_>, active: &Active) {
    let mut clear = 0;
    if active.writers == 0 {
        clear |= GTF_WRITING;
    }
    if !active.in_use() {
        clear |= GTF_READING;
    }
    if clear != 0 {
        crate::event::words::update64(m, slot.frame, slot.offset, |w| w & !u64::from(clear));
    }
}

/// Starts a use of `granter`'s entry `r` by `grantee`. [`unpin`] ends it, after the references are dropped.
pub fn pin<M: Machine>(
    xen: &'static Xen<M>,
    granter: &Domain,
    r: GrantRef,
    grantee: &Domain,
    write: bool,
) -> Result<Pinned, Status> {
    let slot = granter.grants.table.slot(r).ok_or(GNTST_BAD_GNTREF)?;
    let mut active = slot.active.lock();
    if !granter.is_alive() {
        return Err(GNTST_GENERAL_ERROR);
    }
    if active.in_use() && active.grantee != grantee.id {
        return Err(GNTST_GENERAL_ERROR);
    }
    let (readers, writers) = (active.readers, active.writers);
    let more = if write { writers.checked_add(1) } else { readers.checked_add(1) };
    let more = more.ok_or(GNTST_GENERAL_ERROR)?;
    if !active.in_use() || (write && writers == 0) {
        let mfn = mark(&xen.m, slot.frame, slot.offset, grantee.id, write)?;
        if !active.in_use() {
            (active.grantee, active.mfn) = (grantee.id, mfn);
        }
    }
    match Pinned::take(xen, granter, active.mfn, write) {
        Ok(pinned) => {
            *(if write { &mut active.writers } else { &mut active.readers }) = more;
            Ok(pinned)
        }
        Err(status) => {
            unmark(&xen.m, &slot, &active);
            Err(status)
        }
    }
}

/// Ends a use. Its mappings are gone and flushed, its references dropped.
pub fn unpin<M: Machine>(xen: &Xen<M>, granter: &Domain, r: GrantRef, write: bool) {
    let Some(slot) = granter.grants.table.slot(r) else { return };
    let mut active = slot.active.lock();
    let count = if write { &mut active.writers } else { &mut active.readers };
    debug_assert!(*count > 0);
    *count = count.saturating_sub(1);
    unmark(&xen.m, &slot, &active);
}
