//! `GNTTABOP_copy`: between grants and frames of the caller's own.

use super::Status;
use super::active::Part;
use super::entry::{Copied, Pinned};
use crate::frame::CanRead;
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::Machine;
use crate::refuse;
use crate::within;
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
            Name::Frame(mfn) => {
                let whose = |e| within!(cx.xen, e, "the caller's own frame {:x}", mfn.0);
                What::Frame(Pinned::take(cx.xen, cx.dom, mfn, write).map_err(whose)?)
            }
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
    fn covers<M: Machine>(&self, cx: &Cx<'_, M>, offset: usize, len: usize) -> Result<(), Status> {
        let part = match &self.what {
            What::Grant(grant) => grant.part,
            What::Frame(_) => Part::WHOLE,
        };
        if part.covers(offset, len) {
            return Ok(());
        }
        Err(refuse!(cx.xen, GNTST_GENERAL_ERROR, "{} bytes at {} are not all granted", len, offset))
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
        let source = name(cx, &op.source, op.flags & GNTCOPY_SOURCE_GREF != 0)?;
        let dest = name(cx, &op.dest, op.flags & GNTCOPY_DEST_GREF != 0)?;
        let (len, from, to) = (op.len as usize, op.source.offset as usize, op.dest.offset as usize);
        if from + len > PAGE || to + len > PAGE {
            let (e, furthest) = (GNTST_BAD_COPY_ARG, from.max(to));
            return Err(refuse!(
                cx.xen,
                e,
                "{} bytes from {} on are over the end of the page",
                len,
                furthest
            ));
        }
        let reading = |e| within!(cx.xen, e, "source");
        let writing = |e| within!(cx.xen, e, "destination");
        let source = open(cx, &mut self.source, source, false).map_err(reading)?;
        let dest = open(cx, &mut self.dest, dest, true).map_err(writing)?;
        source.covers(cx, from, len).map_err(reading)?;
        dest.covers(cx, to, len).map_err(writing)?;
        // Opened for writing.
        let (source, Pinned::Write(writable)) = (source.pinned(), dest.pinned()) else {
            return Err(refuse!(cx.xen, GNTST_GENERAL_ERROR, "the destination is not open for writing"));
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
fn name<M: Machine>(cx: &Cx<'_, M>, ptr: &GnttabCopyPtr, grant: bool) -> Result<Name, Status> {
    if grant {
        Ok(Name::Grant(DomId(ptr.domid), GrantRef(ptr.gref())))
    } else if ptr.domid == DomId::SELF.0 {
        Ok(Name::Frame(Mfn(ptr.gmfn())))
    } else {
        let (e, dom) = (GNTST_PERMISSION_DENIED, ptr.domid);
        Err(refuse!(
            cx.xen,
            e,
            "a frame by its number must be the caller's (DOMID_SELF), not domain {}'s",
            dom
        ))
    }
}
