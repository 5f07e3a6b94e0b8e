//! Which CPUs a flush must reach.

use crate::cpumask::CpuMask;
use crate::domain::Domain;
use crate::frame::FrameRef;
use crate::frame::record::{A, FrameState};
use crate::machine::{Flush, Machine};
use crate::xen::Xen;

/// CPUs that may ever have cached translations of the frame: its owner's, or all if others mapped it.
fn reach<M: Machine>(xen: &Xen<M>, f: &FrameRef) -> CpuMask {
    let Some((a, _)) = xen.frames.peek(f.mfn()) else { return xen.host.online };
    if a.has(A::FOREIGN) || a.state() != FrameState::Domain {
        return xen.host.online;
    }
    xen.domains.get(a.owner()).map_or(xen.host.online, |d| d.dirty_cpus.load())
}

/// Before a frame's type changes: flushes the CPUs that may cache its last use, which ended at `stamp`.
pub(super) fn settle<M: Machine>(xen: &Xen<M>, f: &FrameRef, stamp: u32) {
    if !xen.frames.tlb.stale(&xen.host.online, stamp).is_empty() {
        xen.frames.tlb.settle(&xen.m, &reach(xen, f), stamp);
    }
}

/// Before an L4 stops being one: CPUs that idle on it leave it.
pub(super) fn leave<M: Machine>(xen: &Xen<M>, f: &FrameRef) {
    let mut on_it = CpuMask::EMPTY;
    for c in xen.host.online.iter().filter(|c| xen.frames.tlb.may_run_on(*c, f.mfn())) {
        on_it.insert(c);
    }
    let on_it = on_it.and(&reach(xen, f));
    if !on_it.is_empty() {
        let t = xen.frames.tlb.shoot();
        xen.m.flush(&on_it, Flush::LeaveLazy);
        on_it.iter().for_each(|c| xen.frames.tlb.flushed(c, t));
    }
}

/// Flushes everything a domain's vCPUs may have cached.
pub fn flush_domain<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    flush(xen, &dom.dirty_cpus.load());
}

/// Flushes these CPUs, and remembers it.
pub fn flush<M: Machine>(xen: &Xen<M>, cpus: &CpuMask) {
    if !cpus.is_empty() {
        let t = xen.frames.tlb.shoot();
        xen.m.flush(cpus, Flush::Tlb);
        cpus.iter().for_each(|c| xen.frames.tlb.flushed(c, t));
    }
}

/// Flushes this CPU.
pub fn flush_local<M: Machine>(xen: &Xen<M>) {
    let cpu = xen.m.cpu();
    let t = xen.frames.tlb.natural();
    xen.m.flush_local(Flush::Tlb);
    xen.frames.tlb.flushed(cpu, t);
}
