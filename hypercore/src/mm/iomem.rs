//! Taking the right to device memory away: mappings of it hold no references, so they are looked for.

use super::lock::TableLock;
use super::update::store;
use super::{Pt, R, entry, tlb};
use crate::domain::Domain;
use crate::frame::record::{B, FrameType};
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::xen::Xen;
use core::sync::atomic::Ordering::*;
use x86::pte::{ENTRIES, Pte};

/// Frames of a region of [`crate::memory::DomainMemory::regions`].
const REGION: u64 = 512;

/// Empties every entry of `dom` that maps one of the device frames `first..=last`, which it may not map any more:
/// the caller has taken the permission away. `Again`: call again; calls for one domain come one at a time.
pub fn revoke<M: Machine>(xen: &Xen<M>, dom: &Domain, first: Mfn, last: Mfn) -> R<()> {
    let from = dom.mm.revoke.load(Acquire);
    for region in dom.memory.regions().map(|m| m.0).filter(|r| r + REGION > from) {
        for mfn in region.max(from)..region + REGION {
            table(xen, dom, Mfn(mfn), first, last)?;
            dom.mm.revoke.store(mfn + 1, Release);
            if xen.m.preempt_point() {
                return Err(super::Fail::Again);
            }
        }
    }
    dom.mm.revoke.store(0, Release);
    tlb::flush_domain(xen, dom);
    Ok(())
}

/// One frame, if it is a level-1 table.
fn table<M: Machine>(xen: &Xen<M>, dom: &Domain, mfn: Mfn, first: Mfn, last: Mfn) -> R<()> {
    let is_table = |b: B| b.kind() == FrameType::L1 && b.count() > 0;
    if !xen.frames.peek(mfn).is_some_and(|(a, b)| a.owner() == dom.id && is_table(b)) {
        return Ok(());
    }
    let Some(f) = xen.frames.get_held(mfn, dom.id) else { return Ok(()) };
    // `Again` while it is being validated: what that lets in must be seen.
    let Ok(lock) = TableLock::new(&Pt::own(xen, dom), f)? else { return Ok(()) };
    for i in 0..ENTRIES {
        let old = lock.load(i);
        let target = Mfn(old.mfn());
        if old.present() && (first..=last).contains(&target) && !entry::counted(xen, target) {
            // Only hardware's accessed and dirty bits change under the lock, and `store` allows for them.
            let _ = store(&lock, i, old, Pte(0), false);
        }
    }
    Ok(())
}
