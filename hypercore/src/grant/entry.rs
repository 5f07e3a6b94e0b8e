//! Pinning a grant entry for a use, and letting go of it.
//!
//! `GTF_reading` and `GTF_writing` tell the granter that its frame is in use ([`super::marks`]); they go after the
//! last use of their kind, when nothing maps the frame any more.

use super::Status;
use super::active::{Part, Target};
use super::table::Slot;
use crate::domain::Domain;
use crate::frame::{CanRead, FrameRef, WritableRef};
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::Machine;
use crate::refuse;
use crate::within;
use crate::xen::Xen;
use abi::grant_table::*;
use alloc::sync::Arc;

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
        // Without its number: it may be another domain's.
        let none = || refuse!(xen, GNTST_BAD_PAGE, "the frame is not memory of domain {}", owner.id.0);
        let frame = xen.frames.get(mfn, owner.id).ok_or_else(none)?;
        if !write {
            return Ok(Self::Read(frame));
        }
        let busy = |_| {
            let e = GNTST_GENERAL_ERROR;
            refuse!(xen, e, "the frame of domain {} is in use as a page table or for descriptors", owner.id.0)
        };
        crate::mm::types::get_writable(xen, frame).map(Self::Write).map_err(busy)
    }
}

/// What a grant is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Whole pages only.
    Map,
    Copy,
    /// A copy by a grant of this grant, which must be of a page or a part of one.
    CopyThrough,
}

impl Want {
    fn allows(self, target: Target) -> bool {
        match target {
            Target::Page(_) => true,
            Target::Part(..) => self != Want::Map,
            Target::Grant(..) => self == Want::Copy,
        }
    }
}

/// Counts a use of `granter`'s entry `r` by `grantee`; what it is of. Nothing is held of the target yet.
fn begin<M: Machine>(
    xen: &'static Xen<M>,
    granter: &Domain,
    slot: &mut Slot<'_>,
    grantee: DomId,
    want: Want,
    write: bool,
) -> Result<Target, Status> {
    let in_use = slot.active.in_use();
    if !granter.is_alive() || in_use && (slot.active.grantee != grantee || !want.allows(slot.active.target()))
    {
        return Err(why_not(xen, granter, slot, grantee));
    }
    let count = if write { slot.active.writers } else { slot.active.readers };
    let full = || refuse!(xen, GNTST_GENERAL_ERROR, "the entry has as many uses as can be counted");
    let more = count.checked_add(1).ok_or_else(full)?;
    if !in_use {
        let unfit = |e| unfit(xen, slot, grantee, write, e);
        let target = slot.mark(&xen.m, grantee, want, write).map_err(unfit)?;
        slot.active.begin(grantee, target);
    } else if write && slot.active.writers == 0 {
        slot.mark_writing(&xen.m).map_err(|e| refuse!(xen, e, "the entry is for reading only"))?;
    }
    *(if write { &mut slot.active.writers } else { &mut slot.active.readers }) = more;
    Ok(slot.active.target())
}

/// Why an entry cannot be used, whatever stands in it now.
#[cold]
fn why_not<M: Machine>(xen: &Xen<M>, granter: &Domain, slot: &Slot<'_>, grantee: DomId) -> Status {
    let e = GNTST_GENERAL_ERROR;
    if !granter.is_alive() {
        return refuse!(xen, e, "domain {} is being destroyed", granter.id.0);
    }
    if slot.active.grantee != grantee {
        return refuse!(xen, e, "another domain uses the entry, not domain {}", grantee.0);
    }
    refuse!(xen, e, "the entry grants a part of a page, or a grant: not to be had like this")
}

/// Why an entry that nobody uses cannot be used: by what stands in it now, which the granter may have changed.
#[cold]
fn unfit<M: Machine>(xen: &Xen<M>, slot: &Slot<'_>, grantee: DomId, write: bool, error: Status) -> Status {
    let word = slot.word(&xen.m);
    let flags = word.flags();
    match word.kind() {
        GTF_PERMIT_ACCESS | GTF_TRANSITIVE => {}
        _ => return refuse!(xen, error, "the entry grants no access (flags {:x})", flags),
    }
    if word.grantee() != grantee {
        return refuse!(xen, error, "the entry is not for domain {} (flags {:x})", grantee.0, flags);
    }
    if write && flags & GTF_READONLY != 0 {
        return refuse!(xen, error, "the entry is for reading only (flags {:x})", flags);
    }
    refuse!(
        xen,
        error,
        "the entry grants a part of a page, or a grant: not to be had like this (flags {:x})",
        flags
    )
}

/// The domain has no such entry.
#[cold]
fn no_entry<M: Machine>(xen: &Xen<M>, granter: &Domain, r: GrantRef) -> Status {
    let of = granter.id.0;
    refuse!(xen, GNTST_BAD_GNTREF, "the table of domain {} has no entry {}", of, r.0)
}

fn end<M: Machine>(xen: &Xen<M>, slot: &mut Slot<'_>, write: bool) {
    let count = if write { &mut slot.active.writers } else { &mut slot.active.readers };
    debug_assert!(*count > 0);
    *count = count.saturating_sub(1);
    slot.unmark(&xen.m, write);
}

/// Starts a use of a whole page. [`unpin`] ends it, after the references are dropped.
pub fn pin<M: Machine>(
    xen: &'static Xen<M>,
    granter: &Domain,
    r: GrantRef,
    grantee: &Domain,
    write: bool,
) -> Result<Pinned, Status> {
    let mut slot = granter.grants.table.slot(r).ok_or_else(|| no_entry(xen, granter, r))?;
    let whose = |e| within!(xen, e, "entry {} of domain {}", r.0, granter.id.0);
    let target = begin(xen, granter, &mut slot, grantee.id, Want::Map, write).map_err(whose)?;
    let taken = match target {
        Target::Page(mfn) => Pinned::take(xen, granter, mfn, write).map_err(whose),
        // Not let through by `begin`.
        Target::Part(..) | Target::Grant(..) => Err(why_not(xen, granter, &slot, grantee.id)),
    };
    taken.inspect_err(|_| end(xen, &mut slot, write))
}

/// A use for copying: of these bytes of a frame, by one entry or by one that grants another.
pub struct Copied {
    pub pinned: Pinned,
    pub part: Part,
    by: (Arc<Domain>, GrantRef),
    through: Option<(Arc<Domain>, GrantRef)>,
}

impl Copied {
    /// Starts a use of `granter`'s entry `r`; [`Self::end`] ends it.
    pub fn begin<M: Machine>(
        xen: &'static Xen<M>,
        granter: Arc<Domain>,
        r: GrantRef,
        grantee: DomId,
        write: bool,
    ) -> Result<Self, Status> {
        let opened = match open(xen, &granter, r, grantee, Want::Copy, write)? {
            Opened::Frame(pinned, part) => Ok((pinned, part, None)),
            // Not under the lock of the first entry: two that grant each other would wait for ever.
            Opened::Grant(dom, gref) => through(xen, &granter, dom, gref, write),
        };
        match opened {
            Ok((pinned, part, through)) => Ok(Self { pinned, part, by: (granter, r), through }),
            Err(status) => {
                unpin(xen, &granter, r, write);
                Err(status)
            }
        }
    }

    pub fn end<M: Machine>(self, xen: &Xen<M>) {
        let write = self.pinned.writable();
        drop(self.pinned);
        for (granter, r) in self.through.into_iter().chain([self.by]) {
            unpin(xen, &granter, r, write);
        }
    }
}

/// An entry whose use was counted.
enum Opened {
    Frame(Pinned, Part),
    Grant(DomId, GrantRef),
}

fn open<M: Machine>(
    xen: &'static Xen<M>,
    granter: &Domain,
    r: GrantRef,
    grantee: DomId,
    want: Want,
    write: bool,
) -> Result<Opened, Status> {
    let mut slot = granter.grants.table.slot(r).ok_or_else(|| no_entry(xen, granter, r))?;
    let whose = |e| within!(xen, e, "entry {} of domain {}", r.0, granter.id.0);
    let (mfn, part) = match begin(xen, granter, &mut slot, grantee, want, write).map_err(whose)? {
        Target::Page(mfn) => (mfn, Part::WHOLE),
        Target::Part(mfn, part) => (mfn, part),
        Target::Grant(dom, gref) => return Ok(Opened::Grant(dom, gref)),
    };
    match Pinned::take(xen, granter, mfn, write) {
        Ok(pinned) => Ok(Opened::Frame(pinned, part)),
        Err(status) => {
            end(xen, &mut slot, write);
            Err(whose(status))
        }
    }
}

/// What `dom` granted to `granter` by its entry `r`, which `granter` grants on.
#[expect(clippy::type_complexity, reason = "read in one place")]
fn through<M: Machine>(
    xen: &'static Xen<M>,
    granter: &Domain,
    dom: DomId,
    r: GrantRef,
    write: bool,
) -> Result<(Pinned, Part, Option<(Arc<Domain>, GrantRef)>), Status> {
    // A grant of one's own is no grant of a grant.
    if !xen.host.grants.transitive || dom == granter.id {
        let e = GNTST_GENERAL_ERROR;
        return Err(refuse!(
            xen,
            e,
            "grants of grants are not served (gnttab=), or it grants one of its own"
        ));
    }
    let gone = || refuse!(xen, GNTST_GENERAL_ERROR, "the domain whose grant entry {} grants is gone", r.0);
    let first = xen.domains.get(dom).ok_or_else(gone)?;
    match open(xen, &first, r, granter.id, Want::CopyThrough, write)? {
        Opened::Frame(pinned, part) => Ok((pinned, part, Some((first, r)))),
        // Not let through by `begin`.
        Opened::Grant(..) => Err(refuse!(xen, GNTST_GENERAL_ERROR, "a grant of a grant of a grant")),
    }
}

/// Ends a use. Its mappings are gone and flushed, its references dropped.
pub fn unpin<M: Machine>(xen: &Xen<M>, granter: &Domain, r: GrantRef, write: bool) {
    let Some(mut slot) = granter.grants.table.slot(r) else { return };
    end(xen, &mut slot, write);
}
