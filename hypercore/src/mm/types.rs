//! Type references: what a frame is used as, counted.
//!
//! A type changes only while its count is 0, after the CPUs that may cache the last use have flushed. Counts
//! that would overflow refuse.

use super::lock::Exclusive;
use super::validate::{devalidate, finish, idle, suspend, validate};
use super::{Fail, Pt, R, desc, tlb, why};
use crate::frame::proof::drop_writable;
use crate::frame::record::{B, FrameState, FrameType};
use crate::frame::{FrameRef, WritableRef};
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Xen;
use abi::Errno;
use core::sync::atomic::Ordering::*;
use x86::pte::ENTRIES;

/// What [`claim`] did.
enum Claim {
    /// The count of a finished use went up.
    Counted,
    /// The caller is the first user: it holds count 1 and must make the frame valid. Progress so far, and the
    /// reference the partial mark held.
    First(usize, Option<FrameRef>),
}

/// Takes one type count of `want`.
fn claim<M: Machine>(xen: &Xen<M>, f: &FrameRef, want: FrameType) -> R<Claim> {
    let Some(r) = xen.frames.rec(f.mfn()) else { return Err(Errno::EINVAL.into()) };
    let mut cur = r.b.load(Acquire);
    loop {
        let b = B(cur);
        let first;
        let (next, done) = if b.kind() == want {
            if b.count() == B::COUNT_MAX {
                return Err(why::too_many(xen, f.mfn()));
            }
            if want == FrameType::Writable {
                (if b.count() == 0 { B(cur).with_union(0).0 } else { cur } + B::COUNT_ONE, Claim::Counted)
            } else if b.has(B::VALIDATED) {
                (cur + B::COUNT_ONE, Claim::Counted)
            } else if b.has(B::PARTIAL) {
                first = Claim::First(b.progress(), None);
                (B(cur & !B::PARTIAL).with_progress(0).0 + B::COUNT_ONE, first)
            } else if b.count() > 0 {
                return Err(Fail::Again);
            } else {
                (B(cur).with_union(0).0 + B::COUNT_ONE, Claim::First(0, None))
            }
        } else {
            if b.count() > 0 {
                return Err(why::in_use(xen, f.mfn(), b));
            }
            if b.has(B::PARTIAL) {
                finish(xen, f)?;
                cur = r.b.load(Acquire);
                continue;
            }
            if want != FrameType::Writable && f.state() != FrameState::Domain {
                let e = Errno::EINVAL;
                let mfn = f.mfn().0;
                return Err(refuse!(
                    xen,
                    e,
                    "frame {:x} is shared with the hypervisor: it can be no table",
                    mfn
                )
                .into());
            }
            if b.kind() != FrameType::None {
                tlb::settle(xen, f, b.union());
            }
            let done = if want == FrameType::Writable { Claim::Counted } else { Claim::First(0, None) };
            (B(B::COUNT_ONE).with_type(want).0, done)
        };
        match r.b.compare_exchange_weak(cur, next, AcqRel, Acquire) {
            Ok(_) if b.has(B::PARTIAL) => {
                return Ok(Claim::First(b.progress(), Some(xen.frames.adopt(f.mfn()))));
            }
            Ok(_) => return Ok(done),
            Err(now) => cur = now,
        }
    }
}

/// Marks a frame valid, after everything else about it.
fn set_validated<M: Machine>(xen: &Xen<M>, mfn: Mfn) {
    if let Some(r) = xen.frames.rec(mfn) {
        r.b.fetch_or(B::VALIDATED, Release);
    }
}

/// One more of a use that others make of the frame already, as [`claim`] does: what nearly all are.
#[inline(always)]
fn count_up<M: Machine>(xen: &Xen<M>, mfn: Mfn, want: FrameType) -> bool {
    let Some(r) = xen.frames.rec(mfn) else { return false };
    let cur = r.b.load(Relaxed);
    let b = B(cur);
    let valid = want == FrameType::Writable || b.has(B::VALIDATED);
    let more = b.kind() == want && valid && b.count() > 0 && b.count() < B::COUNT_MAX;
    more && r.b.compare_exchange(cur, cur + B::COUNT_ONE, AcqRel, Relaxed).is_ok()
}

/// A *writable* type reference.
#[inline(always)]
pub fn get_writable<M: Machine>(xen: &Xen<M>, f: FrameRef) -> R<WritableRef> {
    if !count_up(xen, f.mfn(), FrameType::Writable) {
        claim(xen, &f, FrameType::Writable)?;
    }
    Ok(WritableRef::new(f))
}

/// One type count as a table of `level`, validating the table if this is the first. The count, and an existence
/// reference beside it, belong to whoever records them (an entry, a CR3, a pin); [`put_table`] ends both.
#[inline(always)]
pub fn get_table<M: Machine>(pt: &Pt<'_, M>, f: &FrameRef, level: u8) -> R<()> {
    if count_up(pt.xen, f.mfn(), FrameType::table(level)) { Ok(()) } else { claim_table(pt, f, level) }
}

/// As [`get_table`], of a frame that may not be one yet.
#[inline(never)]
fn claim_table<M: Machine>(pt: &Pt<'_, M>, f: &FrameRef, level: u8) -> R<()> {
    let (start, held) = match claim(pt.xen, f, FrameType::table(level))? {
        Claim::Counted => return Ok(()),
        Claim::First(start, held) => (start, held),
    };
    let (fail, done) = match validate(pt, f, level, start) {
        Ok(()) => {
            set_validated(pt.xen, f.mfn());
            return Ok(());
        }
        Err(e) => e,
    };
    match fail {
        Fail::Again => suspend(pt.xen, f, held, done),
        Fail::Errno(_) => match devalidate(pt.xen, f, level, done) {
            Ok(()) => idle(pt.xen, f.mfn()),
            Err(left) => {
                suspend(pt.xen, f, held, left);
                pt.dom.mm.defer(f.mfn());
            }
        },
    }
    Err(fail)
}

/// Ends one type count of a table and the existence reference beside it. The last count devalidates the table;
/// `Again` if that was interrupted: both references are gone, the table is partial, [`finish`] goes on.
pub fn put_table<M: Machine>(xen: &Xen<M>, f: FrameRef) -> R<()> {
    let Some(r) = xen.frames.rec(f.mfn()) else { return Ok(()) };
    let mut cur = r.b.load(Relaxed);
    let level = loop {
        let b = B(cur);
        let last = b.count() == 1;
        let next = if last { cur & !B::VALIDATED } else { cur - B::COUNT_ONE };
        match r.b.compare_exchange_weak(cur, next, AcqRel, Relaxed) {
            Ok(_) if last => break b.kind().level(),
            Ok(_) => return Ok(()),
            Err(now) => cur = now,
        }
    };
    let Some(level) = level else { return Ok(()) };
    if level == 4 {
        tlb::leave(xen, &f);
    }
    match devalidate(xen, &f, level, ENTRIES) {
        Ok(()) => {
            idle(xen, f.mfn());
            Ok(())
        }
        Err(left) => {
            suspend(xen, &f, None, left);
            Err(Fail::Again)
        }
    }
}

/// One type count as a page of segment descriptors, checked if this is the first.
pub fn get_descriptors<M: Machine>(xen: &Xen<M>, f: &FrameRef) -> R<()> {
    match claim(xen, f, FrameType::SegDesc)? {
        Claim::Counted => Ok(()),
        Claim::First(..) => match desc::check_page(&xen.m, &Exclusive(f)) {
            Ok(()) => {
                set_validated(xen, f.mfn());
                Ok(())
            }
            Err(i) => {
                idle(xen, f.mfn());
                let e = Errno::EINVAL;
                Err(refuse!(
                    xen,
                    e,
                    "descriptor {} of frame {:x} is of no kind guests may have",
                    i,
                    f.mfn().0
                )
                .into())
            }
        },
    }
}

/// Ends what [`get_descriptors`] took, and the existence reference beside it. No CPU may have the page loaded
/// any more for the caller's sake.
pub fn put_descriptors<M: Machine>(xen: &Xen<M>, f: FrameRef) {
    let Some(r) = xen.frames.rec(f.mfn()) else { return };
    let _ = r.b.fetch_update(AcqRel, Relaxed, |cur| {
        let b = B(cur - B::COUNT_ONE);
        Some(if b.count() > 0 { b.0 } else { B(b.0 & !B::VALIDATED).with_union(xen.frames.tlb.stamp()).0 })
    });
}

/// Ends what a level-1 entry with RW held, or only its type count.
pub(super) fn put_writable<M: Machine>(xen: &Xen<M>, mfn: Mfn) {
    drop_writable(xen.frames, mfn);
}
