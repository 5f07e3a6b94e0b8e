//! Giving a dying domain's memory back.

use super::{Fail, R, base, pin, validate};
use crate::domain::Domain;
use crate::frame::record::{B, FrameState};
use crate::ids::Mfn;
use crate::machine::{Flush, Machine};
use crate::xen::Xen;
use core::sync::atomic::Ordering::*;

/// Frames of a region of [`crate::memory::DomainMemory::regions`].
const REGION: u64 = 512;

/// Ends every reference that a dying domain's CR3s, descriptor tables, pins and allocation hold, and with them
/// those of its tables. `Again`: call it again, later. What others map stays until they let go.
///
/// Its vCPUs run no more and are descheduled; CPUs that idle on its tables leave them here.
pub fn relinquish<M: Machine>(xen: &Xen<M>, dom: &Domain) -> R<()> {
    let mm = &dom.mm;
    if mm.sweep.load(Acquire) == 0 {
        let t = xen.frames.tlb.shoot();
        let cpus = dom.dirty_cpus.load();
        xen.m.flush(&cpus, Flush::LeaveLazy);
        cpus.iter().for_each(|c| xen.frames.tlb.flushed(c, t));
        dom.for_each_vcpu(|v| base::drop_all(xen, dom, v));
        mm.sweep.store(1, Release);
    }
    mm.finish_deferred(xen, dom.id)?;
    let from = mm.sweep.load(Acquire) - 1;
    for region in dom.memory.regions().map(|m| m.0).filter(|r| r + REGION > from) {
        for mfn in region.max(from)..region + REGION {
            frame(xen, dom, Mfn(mfn))?;
            mm.sweep.store(mfn + 2, Release);
            if mfn % 64 == 0 && xen.m.preempt_point() {
                return Err(Fail::Again);
            }
        }
    }
    // Devalidation may have left tables behind the sweep partial.
    mm.finish_deferred(xen, dom.id)
}

/// Unpins one frame, finishes it if it is partial, and ends its allocation.
fn frame<M: Machine>(xen: &Xen<M>, dom: &Domain, mfn: Mfn) -> R<()> {
    let Some((a, b)) = xen.frames.peek(mfn) else { return Ok(()) };
    if a.owner() != dom.id || a.state() != FrameState::Domain {
        return Ok(());
    }
    if b.has(B::PINNED) || b.has(B::PARTIAL) {
        match pin::unpin(xen, dom.id, mfn) {
            Err(Fail::Again) => return Err(Fail::Again),
            // Nothing was pinned any more.
            Ok(()) | Err(Fail::Errno(_)) => {}
        }
        if let Some(f) = xen.frames.get_held(mfn, dom.id) {
            validate::finish(xen, &f)?;
        }
    }
    drop(xen.frames.unassign(mfn, dom.id));
    Ok(())
}
