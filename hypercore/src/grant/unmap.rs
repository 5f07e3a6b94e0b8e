//! `GNTTABOP_unmap_grant_ref` and `GNTTABOP_unmap_and_replace`.
//!
//! Three steps over a batch: page-table entries go, one flush, and only then references and marks.

use super::Status;
use super::entry::unpin;
use super::host;
use super::maptrack::{Mapping, Place};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::mm;
use crate::mm::grants::Near;
use crate::refuse;
use crate::xen::{Cx, Xen};
use abi::grant_table::*;
use arrayvec::ArrayVec;

/// Elements that share a flush.
pub const BATCH: usize = 32;

/// Mappings whose page-table entries are gone, waiting for the flush. They end when this is finished; it must be.
#[must_use = "call finish"]
pub struct Ending<'a, M: Machine> {
    near: Near<'a, M>,
    flush: bool,
    done: ArrayVec<(u32, Mapping), BATCH>,
}

impl<M: Machine> Default for Ending<'_, M> {
    fn default() -> Self {
        Self { near: Near::default(), flush: false, done: ArrayVec::new() }
    }
}

/// What the guest asks of a handle.
pub struct Request {
    pub handle: u32,
    /// As mapped; 0 keeps the host mapping.
    pub host_addr: u64,
    /// As mapped; 0 keeps the device mapping.
    pub dev_bus_addr: u64,
    /// Linear address whose entry takes the place of the mapping's.
    pub replace: Option<u64>,
}

impl Request {
    /// Whether the mapping is where the guest says it is.
    fn fits(&self, mapping: &Mapping) -> Result<(), Status> {
        let at = mapping.host.map(|(Place::Va(at) | Place::Pte(at))| at);
        let host = self.host_addr == 0 || at.is_none_or(|at| at == self.host_addr);
        let device =
            self.dev_bus_addr == 0 || !mapping.device || self.dev_bus_addr == mapping.pin.mfn().0 << 12;
        if host && device { Ok(()) } else { Err(GNTST_GENERAL_ERROR) }
    }
}

impl<'a, M: Machine> Ending<'a, M> {
    pub fn is_full(&self) -> bool {
        self.done.is_full()
    }

    /// Removes the page-table entry of one mapping.
    pub fn unmap(&mut self, cx: &mut Cx<'a, M>, req: &Request) -> Status {
        // The handle is busy while its page-table entry goes: no lock is held, and no other CPU gets it.
        let mut mapping = match cx.dom.grants.maptrack.claim(req.handle, |m| req.fits(m)) {
            None => {
                let h = req.handle;
                return refuse!(cx.xen, GNTST_BAD_HANDLE, "there is no mapping with handle {}", h);
            }
            Some(Err(status)) => {
                let (h, at) = (req.handle, req.host_addr);
                return refuse!(
                    cx.xen,
                    status,
                    "mapping {} is elsewhere than at {:x}, or for a device",
                    h,
                    at
                );
            }
            Some(Ok(mapping)) => mapping,
        };
        let status = self.detach(cx, req, &mut mapping);
        if mapping.host.is_none() && !mapping.device {
            // Another CPU may have removed the page-table entry and not have flushed yet.
            self.flush = true;
            self.done.push((req.handle, mapping));
        } else {
            cx.dom.grants.maptrack.set(req.handle, mapping);
        }
        status
    }

    fn detach(&mut self, cx: &mut Cx<'a, M>, req: &Request, mapping: &mut Mapping) -> Status {
        if req.host_addr != 0
            && let Some(place) = mapping.host
        {
            let removed = match req.replace {
                None => host::remove(cx, &mut self.near, place, &mapping.pin),
                Some(with) => {
                    self.near.leave();
                    host::replace(cx, place, &mapping.pin, with)
                }
            };
            if let Err(status) = removed {
                return status;
            }
            mapping.host = None;
            self.flush = true;
        }
        if req.dev_bus_addr != 0 {
            mapping.device = false;
        }
        GNTST_OKAY
    }

    /// Flushes, then lets the references and the marks of the ended mappings go. The flush is of everything: the
    /// tables that held an entry may have shown it at more addresses than the one it was mapped at.
    pub fn finish(&mut self, xen: &'static Xen<M>, dom: &Domain) {
        self.near.leave();
        if core::mem::take(&mut self.flush) {
            mm::tlb::flush_domain(xen, dom);
        }
        for (handle, mapping) in self.done.drain(..) {
            // First, so that with a domain's last frame nothing is left here to be trimmed.
            dom.grants.maptrack.give(handle);
            end(xen, mapping);
        }
    }
}

/// Ends a mapping that no page table and no translation reaches any more.
pub fn end<M: Machine>(xen: &'static Xen<M>, mapping: Mapping) {
    let Mapping { granter, gref, pin, .. } = mapping;
    let write = pin.writable();
    drop(pin);
    unpin(xen, &granter, gref, write);
}
