//! `GNTTABOP_copy`: between grants and frames of the caller's own.

use super::Status;
use super::active::Part;
use super::entry::{Copied, Pinned};
use crate::frame::CanRead;
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::Machine;
use crate::xen::{Cx, Xen};
use abi::grant_table::*;

const PAGE: usize = 4096;

/// An end of a copy that is pinned. Kept from one element to the next, which often names the same.
struct End {
    name: Name,
    what: What,
}

enum What {
    Grant(Copied),
    Frame(Pinned),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Grant(DomId, GrantRef),
    Frame(Mfn),
}

impl End {
    fn open<M: Machine>(cx: &Cx<'_, M>, name: Name, write: bool) -> Result<Self, Status> {
        let what = match name {
            Name::Frame(mfn) => What::Frame(Pinned::take(cx.xen, cx.dom, mfn, write)?),
            Name::Grant(id, gref) => {
                let granter = cx.domain(id.0).map_err(|_| GNTST_BAD_DOMAIN)?;
                What::Grant(Copied::begin(cx.xen, granter, gref, cx.dom.id, write)?)
            }
        };
        Ok(Self { name, what })
    }

    fn pinned(&self) -> &Pinned {
        match &self.what {
            What::Grant(grant) => &grant.pinned,
            What::Frame(pinned) => pinned,
        }
    }

    /// Refuses bytes that are not granted.
    fn covers(&self, offset: usize, len: usize) -> Result<(), Status> {
        let part = match &self.what {
            What::Grant(grant) => grant.part,
            What::Frame(_) => Part::WHOLE,
        };
        if part.covers(offset, len) { Ok(()) } else { Err(GNTST_GENERAL_ERROR) }
    }

    fn close<M: Machine>(self, xen: &Xen<M>) {
        if let What::Grant(grant) = self.what {
            grant.end(xen);
        }
    }
}

/// The two ends in use. [`Self::close`] ends it.
#[derive(Default)]
pub struct Copier {
    source: Option<End>,
    dest: Option<End>,
}

impl Copier {
    pub fn copy<M: Machine>(&mut self, cx: &Cx<'_, M>, op: &GnttabCopy) -> Status {
        match self.try_copy(cx, op) {
            Ok(()) => GNTST_OKAY,
            Err(status) => status,
        }
    }

    fn try_copy<M: Machine>(&mut self, cx: &Cx<'_, M>, op: &GnttabCopy) -> Result<(), Status> {
        let source = name(&op.source, op.flags & GNTCOPY_SOURCE_GREF != 0)?;
        let dest = name(&op.dest, op.flags & GNTCOPY_DEST_GREF != 0)?;
        let (len, from, to) = (op.len as usize, op.source.offset as usize, op.dest.offset as usize);
        if from + len > PAGE || to + len > PAGE {
            return Err(GNTST_BAD_COPY_ARG);
        }
        let source = open(cx, &mut self.source, source, false)?;
        let dest = open(cx, &mut self.dest, dest, true)?;
        source.covers(from, len)?;
        dest.covers(to, len)?;
        let (source, Pinned::Write(writable)) = (source.pinned(), dest.pinned()) else {
            return Err(GNTST_GENERAL_ERROR);
        };
        let mut chunk = [0; 512];
        // Within one frame the ranges may overlap: copy from the end that is not overwritten.
        let backwards = source.mfn() == writable.mfn() && from < to;
        let mut done = 0;
        while done < len {
            let n = (len - done).min(chunk.len());
            let at = if backwards { len - done - n } else { done };
            cx.xen.m.read(source.frame(), from + at, &mut chunk[..n]);
            cx.xen.m.write(writable, to + at, &chunk[..n]);
            done += n;
        }
        Ok(())
    }

    /// Lets go of both ends.
    pub fn close<M: Machine>(&mut self, xen: &Xen<M>) {
        for end in [self.source.take(), self.dest.take()].into_iter().flatten() {
            end.close(xen);
        }
    }
}

/// The end that is open, if it is the one that is named; else the named one, in its stead.
fn open<'a, M: Machine>(
    cx: &Cx<'_, M>,
    end: &'a mut Option<End>,
    name: Name,
    write: bool,
) -> Result<&'a End, Status> {
    if end.as_ref().is_none_or(|e| e.name != name)
        && let Some(old) = end.take()
    {
        old.close(cx.xen);
    }
    match end {
        Some(open) => Ok(open),
        None => Ok(end.insert(End::open(cx, name, write)?)),
    }
}

/// Frames by number are the caller's own.
fn name(ptr: &GnttabCopyPtr, grant: bool) -> Result<Name, Status> {
    if grant {
        Ok(Name::Grant(DomId(ptr.domid), GrantRef(ptr.gref())))
    } else if ptr.domid == DomId::SELF.0 {
        Ok(Name::Frame(Mfn(ptr.gmfn())))
    } else {
        Err(GNTST_PERMISSION_DENIED)
    }
}
