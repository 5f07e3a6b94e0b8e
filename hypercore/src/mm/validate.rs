//! Tables as a whole: validation and its inverse, in steps that can stop and go on.
//!
//! Progress goes through the entries upwards when validating and downwards when devalidating, so that a partial
//! table always holds exactly the references of the entries before its progress. The entry at the progress of
//! an interrupted devalidation may name a table that is partial itself; it holds its own reference.
//! Calls nest once a level, when devalidating perhaps twice (see [`super::linear`]): seven deep at most.

use super::base::{M2P_SLOT, m2p_strict};
use super::lock::Exclusive;
use super::{Fail, Pt, R, entry, why};
use crate::frame::FrameRef;
use crate::frame::record::{B, FrameType};
use crate::ids::Mfn;
use crate::machine::{LINE, Machine};
use crate::xen::Xen;
use core::sync::atomic::Ordering::*;
use x86::pte::{ENTRIES, HV_L4_END, HV_L4_FIRST, Pte};

/// When to look whether others want the CPU: after work worth `every`. A table that has to be gone through is worth all
/// of that, one of which only the counts change is worth 1.
struct Looks {
    every: u32,
    done: u32,
}

impl Looks {
    fn new<M: Machine>() -> Self {
        Self { every: M::LOOK_EVERY, done: 0 }
    }

    /// Before the references of an entry of `level` are taken or ended. `counted`: whether a table in this state only
    /// has its counts changed. A guess: the record may change before it is used.
    fn note<M: Machine>(&mut self, xen: &Xen<M>, level: u8, pte: Pte, counted: impl Fn(B) -> bool) {
        if level > 1 {
            let only_counts = xen.frames.peek(Mfn(pte.mfn())).is_some_and(|(_, b)| counted(b));
            self.add(only_counts);
        }
    }

    fn add(&mut self, only_counts: bool) {
        self.done += if only_counts { 1 } else { self.every };
    }

    fn due(&mut self) -> bool {
        let due = self.done >= self.every;
        if due {
            self.done = 0;
        }
        due
    }
}

/// Whether the entry of an L4 belongs to the hypervisor.
pub(super) fn hv_slot(level: u8, index: usize) -> bool {
    level == 4 && (HV_L4_FIRST..HV_L4_END).contains(&index)
}

/// Whether the line of entries from `first` has nothing present of a guest's: so it is with most lines of most tables.
#[inline(always)]
fn is_empty_line<M: Machine>(m: &M, f: &FrameRef, level: u8, first: usize) -> bool {
    !Pte(m.load_line(f, first)).present() && !hv_slot(level, first)
}

/// What the hypervisor's slot `index` of a new L4 is: a copy of its own table's. The machine-to-physical table is for
/// guest kernels; an L4 shows it once it is one's (see [`super::base`]), or from the start where the domain asked
/// for that order.
fn hv_entry<M: Machine>(pt: &Pt<'_, M>, index: usize) -> u64 {
    if index == M2P_SLOT && !m2p_strict(pt.dom) { 0 } else { pt.xen.host.hv_l4[index - HV_L4_FIRST] }
}

/// Takes the references of entries `start..`, adjusting them as they are stored. On failure says how many
/// entries hold theirs. The caller has count 1 of a table not yet validated: nobody else touches it.
pub(super) fn validate<M: Machine>(
    pt: &Pt<'_, M>,
    f: &FrameRef,
    level: u8,
    start: usize,
) -> Result<(), (Fail, usize)> {
    let m = &pt.xen.m;
    let mut looks = Looks::new::<M>();
    for line in (start / LINE * LINE..ENTRIES).step_by(LINE) {
        if is_empty_line(m, f, level, line) {
            continue;
        }
        for i in line.max(start)..line + LINE {
            if hv_slot(level, i) {
                m.store(&Exclusive(f), i * 8, hv_entry(pt, i));
                continue;
            }
            let old = Pte(m.load(f, i * 8));
            if !old.present() {
                continue;
            }
            looks.note(pt.xen, level, old, |b| b.has(B::VALIDATED));
            let new =
                entry::get(pt, f.mfn(), level, old).map_err(|e| (why::entry(pt.xen, e, level, i), i))?;
            if new != old {
                m.store(&Exclusive(f), i * 8, new.0);
            }
            if looks.due() && i + 1 < ENTRIES && m.preempt_point() {
                return Err((Fail::Again, i + 1));
            }
        }
    }
    Ok(())
}

/// Ends the references of entries `..end`. Interrupted: how many still hold theirs.
pub(super) fn devalidate<M: Machine>(xen: &Xen<M>, f: &FrameRef, level: u8, end: usize) -> Result<(), usize> {
    let mut looks = Looks::new::<M>();
    let mut line = end.next_multiple_of(LINE);
    while line > 0 {
        line -= LINE;
        if is_empty_line(&xen.m, f, level, line) {
            continue;
        }
        for i in (line..end.min(line + LINE)).rev() {
            let old = Pte(xen.m.load(f, i * 8));
            if hv_slot(level, i) || !old.present() {
                continue;
            }
            looks.note(xen, level, old, |b| b.count() > 1);
            match level {
                1 => entry::put_leaf(xen, old),
                _ => entry::put(xen, f.mfn(), level, old).map_err(|_| i)?,
            }
            if looks.due() && i > 0 && xen.m.preempt_point() {
                return Err(i);
            }
        }
    }
    Ok(())
}

/// Leaves a table partial with the references of `..progress`. Its mark takes `held`, or a reference of its own.
pub(super) fn suspend<M: Machine>(xen: &Xen<M>, f: &FrameRef, held: Option<FrameRef>, progress: usize) {
    let Some(r) = xen.frames.rec(f.mfn()) else { return };
    // A count that cannot go up any more would need 2^43 references.
    if let Some(own) = held.or_else(|| f.try_clone()) {
        own.into_raw();
    }
    let _ = r.b.fetch_update(AcqRel, Relaxed, |cur| {
        Some(B((cur - B::COUNT_ONE) | B::PARTIAL).with_progress(progress).0)
    });
}

/// Ends the last type count of a frame whose entries hold nothing any more.
pub(super) fn idle<M: Machine>(xen: &Xen<M>, mfn: Mfn) {
    let Some(r) = xen.frames.rec(mfn) else { return };
    let _ = r.b.fetch_update(AcqRel, Relaxed, |cur| {
        Some(B(cur - B::COUNT_ONE).with_union(xen.frames.tlb.stamp()).0)
    });
}

/// Devalidates what a partial table still holds; nothing if it is not partial.
pub(super) fn finish<M: Machine>(xen: &Xen<M>, f: &FrameRef) -> R<()> {
    let Some(r) = xen.frames.rec(f.mfn()) else { return Ok(()) };
    let mut cur = r.b.load(Acquire);
    let (level, progress) = loop {
        let b = B(cur);
        let (true, Some(level)) = (b.has(B::PARTIAL), b.kind().level()) else { return Ok(()) };
        let next = B(cur & !B::PARTIAL).with_progress(0).0 + B::COUNT_ONE;
        match r.b.compare_exchange_weak(cur, next, AcqRel, Acquire) {
            Ok(_) => break (level, b.progress()),
            Err(now) => cur = now,
        }
    };
    let held = xen.frames.adopt(f.mfn());
    if let Err(e) = finish_child(xen, f, level, progress) {
        suspend(xen, f, Some(held), progress);
        return Err(e);
    }
    match devalidate(xen, f, level, progress) {
        Ok(()) => {
            idle(xen, f.mfn());
            Ok(())
        }
        Err(left) => {
            suspend(xen, f, Some(held), left);
            Err(Fail::Again)
        }
    }
}

/// Goes on with the table whose devalidation interrupted its parent's.
fn finish_child<M: Machine>(xen: &Xen<M>, f: &FrameRef, level: u8, progress: usize) -> R<()> {
    if level == 1 || progress >= ENTRIES || hv_slot(level, progress) {
        return Ok(());
    }
    let pte = Pte(xen.m.load(f, progress * 8));
    let Some(child) = xen.frames.get_held(Mfn(pte.mfn()), f.owner()).filter(|_| pte.present()) else {
        return Ok(());
    };
    let is_partial = xen
        .frames
        .peek(child.mfn())
        .is_some_and(|(_, b)| b.has(B::PARTIAL) && b.kind() == FrameType::table(level - 1));
    if is_partial { finish(xen, &child) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::Looks;

    #[test]
    fn whole_tables_are_looked_after_one_by_one_and_counts_in_batches() {
        let mut looks = Looks { every: 32, done: 0 };
        let due = |only_counts: bool, looks: &mut Looks| {
            looks.add(only_counts);
            looks.due()
        };
        assert!((0..512).filter(|_| due(true, &mut looks)).count() == 16);
        assert!((0..512).all(|_| due(false, &mut looks)));
        assert!(!looks.due());
    }
}
