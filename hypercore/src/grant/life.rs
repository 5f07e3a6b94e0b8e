//! Teardown, what the debug key prints and what the audit asks.

use super::maptrack::{Mapping, Place};
use super::unmap::end;
use crate::domain::Domain;
use crate::ids::{GrantRef, Mfn};
use crate::machine::Machine;
use crate::xen::Xen;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::fmt;
use core::sync::atomic::Ordering::*;

/// Mappings ended between two looks at whether others want the CPU.
const BATCH: u32 = 32;

/// End of a domain that is marked dying and whose vCPUs are off their CPUs for good: gives up the
/// mappings it holds of others. Its page tables may still hold entries, with their own references, until
/// [`crate::mm`] takes them apart; nothing uses them. What others map of its frames stays until they unmap it.
/// False: call again.
pub fn teardown<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) -> bool {
    debug_assert!(!dom.is_alive());
    let track = &dom.grants.maptrack;
    let mut handle = dom.grants.progress.load(Relaxed);
    while handle < track.used() {
        if let Some(Ok(mapping)) = track.claim(handle, |_| Ok::<_, Infallible>(())) {
            end(xen, mapping);
            track.give(handle);
        }
        handle += 1;
        dom.grants.progress.store(handle, Relaxed);
        if handle.is_multiple_of(BATCH) && xen.m.preempt_point() {
            return false;
        }
    }
    true
}

/// Reports every reference grants hold for `dom`'s mappings: the frame, and whether a writable type
/// reference goes with it.
pub fn audit(dom: &Domain, mut held: impl FnMut(Mfn, bool)) {
    dom.grants.maptrack.for_each(|_, m| held(m.pin.mfn(), m.pin.writable()));
}

/// Lines for the debug key: entries of `dom` in use, and the mappings it holds.
pub fn dump(dom: &Domain, mut line: impl FnMut(fmt::Arguments<'_>)) {
    let (frames, max) = dom.grants.sizes();
    let version = dom.grants.table.version() as u32;
    line(format_args!("grant-table for domain {}: v{version}, {frames} frames ({max} max)", dom.id.0));
    for r in 0..frames * super::table::PER_FRAME {
        let Some(slot) = dom.grants.table.slot(GrantRef(r)) else { break };
        let active = &slot.active;
        if active.in_use() {
            line(format_args!(
                "  [{r:5}] {} {:?} readers {} writers {}",
                active.grantee,
                active.target(),
                active.readers,
                active.writers
            ));
        }
    }
    dom.grants.maptrack.for_each(|handle, m: &Mapping| {
        let (how, at) = match m.host {
            Some(Place::Va(va)) => ("va", va),
            Some(Place::Pte(pte)) => ("pte", pte),
            None => ("device", 0),
        };
        let rw = if m.pin.writable() { "rw" } else { "ro" };
        line(format_args!(
            "  <{handle:5}> {} ref {} mfn {} {rw} {how} {at:#x}",
            m.granter.id,
            m.gref.0,
            m.pin.mfn()
        ));
    });
}
