//! Giving frames to domains: taken from the allocator, flushed, scrubbed, counted, assigned.
//!
//! The order is the invariant: a frame is scrubbed after the last flush of its former owner's translations and
//! before its new owner is written into its record.

use crate::domain::Domain;
use crate::frame::alloc::{Claimed, ToScrub};
use crate::frame::proof::FreshFrame;
use crate::frame::record::FrameState;
use crate::frame::{FrameRef, FrameTable};
use crate::guest;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::memory::MemoryReservation;
use core::sync::atomic::Ordering::*;

use super::REGION_ORDER;

/// Flag of [`assign_pages`]: the caller overwrites the frames or trusts the domain with what is in them.
pub const UNSCRUBBED: u32 = 1 << 0;

/// Frames scrubbed between two looks at whether others want the CPU.
const PIECE: u32 = 512;

/// Gives `dom` 2^`order` frames, naturally aligned and below `limit` (a frame number).
/// E2BIG: more than it may have. ENOMEM: no such block. EINVAL: it is dying.
/// Their machine-to-physical entries are the caller's to set.
pub fn assign_pages<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Domain,
    order: u32,
    limit: u64,
    flags: u32,
) -> Result<Mfn, Errno> {
    loop {
        if let Some(mfn) = try_assign_pages(xen, dom, order, limit, flags)? {
            return Ok(mfn);
        }
    }
}

/// As [`assign_pages`]; `None` if others want the CPU while there is still much to scrub. The frames then are back
/// with the allocator, and the same again has less to do.
pub(super) fn try_assign_pages<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Domain,
    order: u32,
    limit: u64,
    flags: u32,
) -> Result<Option<Mfn>, Errno> {
    let pages = 1u64 << order;
    let got = take(xen, dom, order, limit)?;
    let clean = if flags & UNSCRUBBED == 0 {
        make_clean(xen, got.mfn, pages, &mut 0)
    } else {
        xen.frames.settle_free(&xen.m, got.mfn, pages);
        forget_dirty(xen, got.mfn, pages);
        true
    };
    let mut holdings = dom.memory.holdings.lock();
    holdings.pending -= pages;
    if !dom.is_alive() {
        drop(holdings);
        xen.frames.alloc.free_range(got.mfn, pages, flags & UNSCRUBBED != 0);
        return Err(refuse!(xen, Errno::EINVAL, "the domain is being destroyed"));
    }
    if !clean {
        // A claim that ended meanwhile comes back with what was taken of it, until the domain ends.
        xen.frames.alloc.give_back(got, order);
        dom.memory.claim.fetch_add(got.claim_used, Relaxed);
        return Ok(None);
    }
    assign_block(xen.frames, dom, got.mfn, pages);
    Ok(Some(got.mfn))
}

/// Writes the owner into the records of frames that are clean. Under the domain's holdings lock, after a look at
/// whether it is alive: teardown takes the lock once and then knows all frames there will ever be.
pub(super) fn assign_block(frames: &'static FrameTable, dom: &Domain, mfn: Mfn, pages: u64) {
    for i in 0..pages {
        frames.assign(Mfn(mfn.0 + i), dom.id, FrameState::Domain);
    }
}

/// Gives `dom` a frame that was withdrawn from another domain and that no CPU caches any more, contents and all.
/// On refusal the frame comes back with the reason: EINVAL, it is dying; E2BIG, more than it may have; ENOMEM.
pub(crate) fn adopt(
    frames: &'static FrameTable,
    dom: &Domain,
    frame: FrameRef,
) -> Result<(), (Errno, FrameRef)> {
    let mut holdings = dom.memory.holdings.lock();
    let has = u64::from(frames.owned(dom.id)) + holdings.pending;
    let refused = if !dom.is_alive() {
        Err(Errno::EINVAL)
    } else if has >= u64::from(dom.memory.max_pages()) {
        Err(Errno::E2BIG)
    } else {
        holdings.note(frame.mfn().0 >> REGION_ORDER)
    };
    match refused {
        Ok(()) => {
            frames.put_back(frame, dom.id);
            Ok(())
        }
        Err(e) => Err((e, frame)),
    }
}

/// Takes a block for `dom` from the allocator, within what it may have and off its claim. The frames are
/// counted as pending.
fn take<M: Machine>(xen: &Xen<M>, dom: &Domain, order: u32, limit: u64) -> Result<Claimed, Errno> {
    let frames = xen.frames;
    let pages = 1u64 << order;
    let mut holdings = dom.memory.holdings.lock();
    let has = u64::from(frames.owned(dom.id)) + holdings.pending;
    let most = dom.memory.max_pages();
    if has + pages > most.into() {
        return Err(refuse!(xen, Errno::E2BIG, "the domain has {} pages and may have {}", has, most));
    }
    let claim = dom.memory.claim.load(Relaxed);
    let none = || refuse!(xen, Errno::ENOMEM, "no block of order {} is free below frame {:x}", order, limit);
    let got = frames.alloc.alloc_claimed(order, limit, claim).ok_or_else(none)?;
    let first = got.mfn.0 >> REGION_ORDER;
    let last = (got.mfn.0 + pages - 1) >> REGION_ORDER;
    for region in first..=last {
        if let Err(e) = holdings.note(region) {
            frames.alloc.give_back(got, order);
            return Err(refuse!(xen, e, "no memory is left to note where the domain's frames are"));
        }
    }
    dom.memory.claim.store(claim - got.claim_used, Relaxed);
    holdings.pending += pages;
    Ok(got)
}

/// Takes a block from the allocator for an exchange, outside any account.
pub(super) fn take_uncounted(frames: &'static FrameTable, order: u32, limit: u64) -> Option<Mfn> {
    frames.alloc.alloc_claimed(order, limit, 0).map(|got| got.mfn)
}

/// The caller of an allocation takes its frames as they are.
fn forget_dirty<M: Machine>(xen: &Xen<M>, mfn: Mfn, pages: u64) {
    for first in (0..pages).step_by(64) {
        xen.frames.alloc.take_dirty(Mfn(mfn.0 + first), pages - first);
    }
}

/// Flushes what may still reach the frames of a block just allocated, and zeroes the dirty ones. False: others want the
/// CPU; frames that are not zeroed yet are still marked dirty. `scrubbed`: frames since the last look at that.
pub(super) fn make_clean<M: Machine>(xen: &'static Xen<M>, mfn: Mfn, pages: u64, scrubbed: &mut u32) -> bool {
    xen.frames.settle_free(&xen.m, mfn, pages);
    for first in (0..pages).step_by(64) {
        if *scrubbed >= PIECE {
            *scrubbed = 0;
            if xen.m.preempt_point() {
                return false;
            }
        }
        let mut dirty = xen.frames.alloc.take_dirty(Mfn(mfn.0 + first), pages - first);
        *scrubbed += dirty.count_ones();
        while dirty != 0 {
            let i = u64::from(dirty.trailing_zeros());
            dirty &= dirty - 1;
            xen.m.zero(&FreshFrame(Mfn(mfn.0 + first + i)));
        }
    }
    true
}

/// Scrubs a few free frames; false when there was nothing to do. For idle CPUs.
pub fn scrub_some<M: Machine>(xen: &'static Xen<M>) -> bool {
    let block = match xen.frames.alloc.take_to_scrub() {
        ToScrub::Block(block) => block,
        ToScrub::Later => return true,
        ToScrub::Nothing => return false,
    };
    xen.frames.settle_free(&xen.m, block.first, block.frames());
    for i in (0..block.frames()).filter(|i| block.dirty >> i & 1 != 0) {
        xen.m.zero(&FreshFrame(Mfn(block.first.0 + i)));
    }
    xen.frames.alloc.scrubbed(block);
    true
}

/// `XENMEM_claim_pages`: promises a domain that it can grow to so many frames; 0 ends the promise.
pub(super) fn claim_pages<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let r: MemoryReservation = guest::read(&cx.xen.m, arg)?;
    if !r.extent_start.is_null() || r.extent_order != 0 || r.mem_flags != 0 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "a claim has neither extents nor flags").into());
    }
    let dom = cx.domain(r.domid)?;
    cx.must_be_privileged()?;
    set_claim(cx.xen, &dom, r.nr_extents)?;
    Ok(0)
}

/// Sets the claim so that the domain can grow to `pages`. EINVAL: not more than it has, more than it may have,
/// or it has a claim. ENOMEM: so much is not there.
pub fn set_claim<M: Machine>(xen: &Xen<M>, dom: &Domain, pages: u64) -> Result<(), Errno> {
    let frames = xen.frames;
    let holdings = dom.memory.holdings.lock();
    let claim = dom.memory.claim.load(Relaxed);
    if pages == 0 {
        frames.alloc.unclaim(claim);
        dom.memory.claim.store(0, Relaxed);
        return Ok(());
    }
    let has = u64::from(frames.owned(dom.id)) + holdings.pending;
    let most = dom.memory.max_pages();
    if claim != 0 {
        return Err(refuse!(xen, Errno::EINVAL, "there is a claim of {} pages already", claim));
    }
    if !dom.is_alive() {
        return Err(refuse!(xen, Errno::EINVAL, "the domain is being destroyed"));
    }
    if pages <= has {
        return Err(refuse!(xen, Errno::EINVAL, "{} pages claimed, it has {}", pages, has));
    }
    if pages > most.into() {
        return Err(refuse!(xen, Errno::EINVAL, "{} pages claimed, it may have {}", pages, most));
    }
    if !frames.alloc.claim(pages - has) {
        let free = frames.alloc.free_pages().saturating_sub(frames.alloc.outstanding());
        return Err(refuse!(xen, Errno::ENOMEM, "{} more pages claimed, {} are free", pages - has, free));
    }
    dom.memory.claim.store(pages - has, Relaxed);
    Ok(())
}
