//! `GNTTABOP_transfer`: a frame goes to another domain for good, contents and all.

use super::Status;
use super::op::{Done, STRIDE, each, write_status};
use crate::domain::Domain;
use crate::guest;
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::{GuestFault, Machine};
use crate::memory::assign;
use crate::mm;
use crate::xen::Cx;
use abi::grant_table::*;
use core::mem::offset_of;

/// No machine-to-physical entry.
const NO_PFN: u64 = u64::MAX;

pub fn batch<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> Result<Done, GuestFault> {
    each::<GnttabTransfer, M>(cx, uop, count, STRIDE, |cx, at| {
        let op: GnttabTransfer = guest::read(&cx.xen.m, at)?;
        let status = match transfer(cx, &op) {
            Ok(()) => GNTST_OKAY,
            Err(status) => status,
        };
        write_status(cx, at + offset_of!(GnttabTransfer, status) as u64, status)
    })
}

fn transfer<M: Machine>(cx: &Cx<'_, M>, op: &GnttabTransfer) -> Result<(), Status> {
    let (xen, mfn) = (cx.xen, Mfn(op.mfn));
    let to = xen.domains.get(DomId(op.domid)).ok_or(GNTST_BAD_DOMAIN)?;
    // Nobody's from here on: no page table of the caller maps it, and none will.
    let frame = xen.frames.withdraw(mfn, cx.dom.id).ok_or(GNTST_BAD_PAGE)?;
    let pfn = match commit(cx, &to, GrantRef(op.ref_)) {
        Ok(pfn) => pfn,
        Err(status) => {
            xen.frames.put_back(frame, cx.dom.id);
            return Err(status);
        }
    };
    // ... and no CPU reaches it by what it cached.
    mm::tlb::flush(xen, &xen.host.online);
    let old_pfn = xen.m.get_m2p(mfn);
    xen.m.set_m2p(mfn, NO_PFN);
    if let Err((_, frame)) = assign::adopt(xen.frames, &to, frame) {
        xen.m.set_m2p(mfn, old_pfn);
        xen.frames.put_back(frame, cx.dom.id);
        change(cx, &to, GrantRef(op.ref_), |w| w & !u64::from(GTF_TRANSFER_COMMITTED));
        return Err(GNTST_GENERAL_ERROR);
    }
    xen.m.set_m2p(mfn, pfn);
    change(cx, &to, GrantRef(op.ref_), |w| {
        w & u64::from(u32::MAX) | u64::from(GTF_TRANSFER_COMPLETED) | mfn.0 << 32
    });
    Ok(())
}

/// Marks the receiver's entry, which must wait for a frame of the caller's; the guest frame it is to become.
fn commit<M: Machine>(cx: &Cx<'_, M>, to: &Domain, r: GrantRef) -> Result<u64, Status> {
    let slot = to.grants.table.slot(r).ok_or(GNTST_BAD_GNTREF)?;
    let _entry = slot.active.lock();
    let word = cx.xen.m.load(slot.frame, slot.offset);
    let waits = word as u16 & (GTF_TYPE_MASK | GTF_TRANSFER_COMMITTED) == GTF_ACCEPT_TRANSFER;
    if !waits || DomId((word >> 16) as u16) != cx.dom.id {
        return Err(GNTST_GENERAL_ERROR);
    }
    let marked = word | u64::from(GTF_TRANSFER_COMMITTED);
    match cx.xen.m.compare_exchange(slot.frame, slot.offset, word, marked) {
        Ok(_) => Ok(word >> 32),
        Err(_) => Err(GNTST_GENERAL_ERROR),
    }
}

fn change<M: Machine>(cx: &Cx<'_, M>, dom: &Domain, r: GrantRef, f: impl Fn(u64) -> u64) {
    if let Some(slot) = dom.grants.table.slot(r) {
        crate::event::words::update64(&cx.xen.m, slot.frame, slot.offset, f);
    }
}
