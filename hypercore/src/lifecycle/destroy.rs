//! Destruction, in stages that each go on where they were interrupted, and the end of zombies.
//!
//! alive → dying (paused for good; gains no reference, mapping, port or pin) → ports, grant mappings, page tables
//! and frames → dead. A dead domain stays in the list, as a zombie, until no frame is its any more: others may
//! still map some. Then [`reap`] takes it out.

use crate::domain::{Domain, Dying};
use crate::frame::CanRead;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::memory;
use crate::sched::pools::POOL0;
use crate::xen::Xen;
use crate::{event, grant, io, mm, sched, time};
use abi::arch_x86::LEGACY_MAX_VCPUS;
use abi::xen::VIRQ_DOM_EXC;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

/// Ends a domain; false: call again, others want the CPU first. Callers are serialised by the domain's `domctl`
/// lock, and are not of the domain itself.
pub fn kill<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) -> bool {
    match dom.dying() {
        Dying::Dead => return true,
        Dying::Dying => {}
        Dying::Alive => begin(xen, dom),
    }
    let done = event::teardown(xen, dom) && grant::teardown(xen, dom) && release_memory(xen, dom);
    if !done {
        return false;
    }
    dom.set_dying(Dying::Dead);
    xen.domains.zombies.fetch_add(1, SeqCst);
    event::send_global_virq(xen, VIRQ_DOM_EXC);
    bury(xen);
    true
}

/// The point of no return: after it, no vCPU runs and nothing new comes to the domain.
fn begin<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) {
    sched::pause_domain_sync(xen, dom);
    dom.set_dying(Dying::Dying);
    event::forget_virq_handler(xen, dom);
    dom.memory.settle();
    // Cannot fail: it takes back.
    let _ = memory::assign::set_claim(xen, dom, 0);
    dom.for_each_vcpu(|v| time::stop_all(xen, v));
    // Its pool need not wait for those who hold its memory. Pool 0 has CPUs for ever.
    let _ = sched::join_pool(xen, dom, POOL0);
    io::irq::teardown(xen, dom);
}

/// Gives up page tables and frames; those that others hold are free when they let go.
fn release_memory<M: Machine>(xen: &'static Xen<M>, dom: &Domain) -> bool {
    match mm::teardown::relinquish(xen, dom) {
        Ok(()) => true,
        Err(mm::Fail::Again) => false,
        Err(mm::Fail::Errno(e)) => {
            // What is left keeps the domain a zombie; trying again would not end.
            crate::log!(xen.m, Error, "{}: page tables not given up: {e:?}", dom.id);
            true
        }
    }
}

/// Takes zombies whose last frame was released out of the list. Cheap when there is nothing to do; for idle CPUs
/// and after releases.
pub fn reap<M: Machine>(xen: &'static Xen<M>) {
    if xen.domains.zombies.load(Relaxed) == 0 {
        return;
    }
    let freed = xen.frames.freed.load(SeqCst);
    if xen.domains.reaped_at.swap(freed, SeqCst) != freed {
        bury(xen);
    }
}

fn bury<M: Machine>(xen: &'static Xen<M>) {
    for dom in xen.domains.all() {
        if dom.dying() != Dying::Dead || !unreferenced(xen, &dom) || xen.domains.remove(dom.id).is_none() {
            continue;
        }
        xen.domains.zombies.fetch_sub(1, SeqCst);
        sched::remove_domain(xen, &dom);
        dom.drop_vcpus();
        drop(dom);
        // Those that mapped its frames need no room for that any more.
        xen.domains.all().for_each(|d| d.grants.trim());
        event::send_global_virq(xen, VIRQ_DOM_EXC);
    }
}

/// Whether no frame is the domain's any more, and nobody holds one the hypervisor shared with it: only then may its
/// number belong to another.
fn unreferenced<M: Machine>(xen: &'static Xen<M>, dom: &Domain) -> bool {
    let held = |mfn: Mfn| xen.frames.peek(mfn).map_or(0, |(a, _)| a.count());
    // Each vCPU that has its first vcpu_info in shared_info holds that frame as well.
    let mut vcpus = 0;
    dom.for_each_vcpu(|v| vcpus += u64::from((v.id.0 as usize) < LEGACY_MAX_VCPUS));
    xen.frames.owned(dom.id) == 0
        && held(dom.shared_info.mfn()) <= 1 + vcpus
        && dom.grants.shared_frames().all(|f| held(f.mfn()) <= 1)
}
