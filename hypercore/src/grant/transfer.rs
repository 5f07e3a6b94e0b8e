//! `GNTTABOP_transfer`: a frame goes to another domain for good, contents and all.

use super::Status;
use super::op::{Done, STRIDE, each, explain, write_status};
use super::table::{Slot, Version};
use crate::domain::Domain;
use crate::event::words::update64;
use crate::guest;
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::{GuestFault, Machine};
use crate::memory::assign;
use crate::mm;
use crate::refuse;
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
        explain(cx, GNTTABOP_TRANSFER, at, status);
        write_status(cx, at + offset_of!(GnttabTransfer, status) as u64, status)
    })
}

fn transfer<M: Machine>(cx: &Cx<'_, M>, op: &GnttabTransfer) -> Result<(), Status> {
    let (xen, mfn) = (cx.xen, Mfn(op.mfn));
    // Nobody's from here on: no page table of the caller maps it, and none will.
    let in_use = || refuse!(xen, GNTST_BAD_PAGE, "frame {:x} is not the caller's, or still in use", mfn.0);
    let frame = xen.frames.withdraw(mfn, cx.dom.id).ok_or_else(in_use)?;
    let none = || refuse!(xen, GNTST_BAD_DOMAIN, "there is no domain {}", op.domid);
    let to = xen.domains.get(DomId(op.domid)).ok_or_else(none);
    let committed = to.and_then(|to| commit(cx, &to, GrantRef(op.ref_)).map(|pfn| (to, pfn)));
    let (to, pfn) = match committed {
        Ok(committed) => committed,
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
        give_up(cx, &to, GrantRef(op.ref_));
        return Err(refuse!(xen, GNTST_GENERAL_ERROR, "domain {} has no room for another frame", op.domid));
    }
    xen.m.set_m2p(mfn, pfn);
    complete(cx, &to, GrantRef(op.ref_), mfn);
    Ok(())
}

/// Marks the receiver's entry, which must wait for a frame of the caller's; the guest frame it is to become.
fn commit<M: Machine>(cx: &Cx<'_, M>, to: &Domain, r: GrantRef) -> Result<u64, Status> {
    let none = || refuse!(cx.xen, GNTST_BAD_GNTREF, "domain {} has no entry {}", to.id.0, r.0);
    let slot = to.grants.table.slot(r).ok_or_else(none)?;
    let word = slot.word(&cx.xen.m);
    let waits = word.flags() & (GTF_TYPE_MASK | GTF_TRANSFER_COMMITTED) == GTF_ACCEPT_TRANSFER;
    let not_asked = || {
        let e = GNTST_GENERAL_ERROR;
        refuse!(cx.xen, e, "entry {} of domain {} waits for no frame of the caller's", r.0, to.id.0)
    };
    if !waits || word.grantee() != cx.dom.id {
        return Err(not_asked());
    }
    let marked = word.0 | u64::from(GTF_TRANSFER_COMMITTED);
    match cx.xen.m.compare_exchange(slot.frame, slot.offset, word.0, marked) {
        Ok(_) => Ok(match slot.version() {
            Version::One => word.0 >> 32,
            Version::Two => cx.xen.m.load(slot.frame, slot.offset + 8),
        }),
        Err(_) => Err(not_asked()),
    }
}

/// Tells the receiver which frame it got. A table whose version changed since `commit` is empty: it asked for nothing.
fn complete<M: Machine>(cx: &Cx<'_, M>, to: &Domain, r: GrantRef, mfn: Mfn) {
    let Some(slot) = committed(cx, to, r) else { return };
    let m = &cx.xen.m;
    match slot.version() {
        Version::One => {
            let done = |w| w & u64::from(u32::MAX) | u64::from(GTF_TRANSFER_COMPLETED) | mfn.0 << 32;
            update64(m, slot.frame, slot.offset, done);
        }
        // The frame stands there before the flag says so.
        Version::Two => {
            m.store(slot.frame, slot.offset + 8, mfn.0);
            update64(m, slot.frame, slot.offset, |w| w | u64::from(GTF_TRANSFER_COMPLETED));
        }
    }
}

/// Takes the mark of [`commit`] away.
fn give_up<M: Machine>(cx: &Cx<'_, M>, to: &Domain, r: GrantRef) {
    if let Some(slot) = committed(cx, to, r) {
        let open = |w| w & !u64::from(GTF_TRANSFER_COMMITTED);
        update64(&cx.xen.m, slot.frame, slot.offset, open);
    }
}

fn committed<'a, M: Machine>(cx: &Cx<'_, M>, to: &'a Domain, r: GrantRef) -> Option<Slot<'a>> {
    let slot = to.grants.table.slot(r)?;
    let flags = slot.word(&cx.xen.m).flags();
    let wanted = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED;
    (flags & (GTF_TYPE_MASK | GTF_TRANSFER_COMMITTED) == wanted).then_some(slot)
}
