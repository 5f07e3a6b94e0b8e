//! `XENMEM_exchange`: gives up frames and gets as many others, aligned or low enough for a device.
//!
//! One chunk (the larger of the two extents) at a time is exchanged wholly or not at all.

use super::assign::{assign_block, make_clean, take_uncounted};
use super::reservation::INVALID_M2P;
use super::{MAX_EXTENTS, REGION_ORDER, frame_limit, max_order};
use crate::domain::Domain;
use crate::fallible::room;
use crate::frame::FrameRef;
use crate::guest;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::refuse;
use crate::within;
use crate::xen::{Cx, HcResult, Stop, Xen};
use abi::Errno;
use abi::memory::{MemoryExchange, MemoryReservation};
use abi::xen::HYPERVISOR_MEMORY_OP;
use alloc::vec::Vec;

/// `nr_exchanged` in the argument says how far the call is, in input extents, on every way out.
pub(super) fn exchange<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let mut ex: MemoryExchange = guest::read(&cx.xen.m, arg)?;
    let (i, o) = (ex.in_, ex.out);
    let xen = cx.xen;
    if ex.nr_exchanged > i.nr_extents || i.nr_extents > MAX_EXTENTS || o.nr_extents > MAX_EXTENTS {
        let (n, m) = (i.nr_extents, o.nr_extents);
        return Err(
            refuse!(xen, Errno::EINVAL, "{} extents for {}: too many, or more done than that", n, m).into()
        );
    }
    let (order, most) = (i.extent_order.max(o.extent_order), max_order(cx));
    if order > most {
        return Err(refuse!(
            xen,
            Errno::EPERM,
            "extents of order {}, the caller may ask for {}",
            order,
            most
        )
        .into());
    }
    if i.nr_extents << i.extent_order != o.nr_extents << o.extent_order || i.domid != o.domid {
        return Err(
            refuse!(xen, Errno::EINVAL, "what goes is not as much as what comes, or another's").into()
        );
    }
    let limit = frame_limit(xen, o.mem_flags)?;
    let dom = cx.domain_for_control(i.domid)?;
    let chunk_order = i.extent_order.max(o.extent_order);
    let step = 1u64 << (chunk_order - i.extent_order);
    // Chunks are whole: a continuation starts at one, and so must a first call.
    if !ex.nr_exchanged.is_multiple_of(step) {
        let done = ex.nr_exchanged;
        return Err(refuse!(xen, Errno::EINVAL, "nr_exchanged {} is within a chunk of {}", done, step).into());
    }
    let mut result = Ok(0);
    let begun = ex.nr_exchanged;
    while ex.nr_exchanged < i.nr_extents {
        if ex.nr_exchanged != begun && cx.xen.m.preempt_point() {
            return again(cx, arg, &ex);
        }
        match chunk(cx.xen, &dom, &i, &o, ex.nr_exchanged, chunk_order, limit) {
            Ok(true) => ex.nr_exchanged += step,
            Ok(false) => return again(cx, arg, &ex),
            Err(e) => {
                let e = within!(xen, e, "extent {} of {}", ex.nr_exchanged, i.nr_extents);
                result = Err(Stop::Errno(e));
                break;
            }
        }
    }
    guest::write(&cx.xen.m, arg, &ex)?;
    result
}

/// Goes on later from where `ex` says.
fn again<M: Machine>(cx: &mut Cx<'_, M>, arg: u64, ex: &MemoryExchange) -> HcResult {
    guest::write(&cx.xen.m, arg, ex)?;
    cx.restart(HYPERVISOR_MEMORY_OP, [abi::memory::XENMEM_EXCHANGE.into(), arg])
}

/// Frames taken from the allocator: they go back unless [`Self::keep`] says they have an owner.
struct Fresh<M: Machine> {
    xen: &'static Xen<M>,
    blocks: Vec<Mfn>,
    order: u32,
}

impl<M: Machine> Fresh<M> {
    fn keep(mut self) {
        self.blocks.clear();
    }
}

impl<M: Machine> Drop for Fresh<M> {
    fn drop(&mut self) {
        for &mfn in self.blocks.iter() {
            self.xen.frames.alloc.free_range(mfn, 1 << self.order, false);
        }
    }
}

/// Exchanges the chunk whose first input extent is `first`; false: others want the CPU, nothing is exchanged.
#[expect(clippy::disallowed_methods, reason = "reserved while decoding")]
fn chunk<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Domain,
    i: &MemoryReservation,
    o: &MemoryReservation,
    first: u64,
    chunk_order: u32,
    limit: u64,
) -> Result<bool, Errno> {
    let pages = 1usize << chunk_order;
    let fault = |_| Errno::EFAULT;
    // Decode: which frames go, and which guest frame numbers the new ones get.
    let outs = 1u64 << (chunk_order - o.extent_order);
    let first_out = (first << i.extent_order) >> o.extent_order;
    let (mut given, mut gpfns, blocks) = (room(pages)?, room(outs as usize)?, room(outs as usize)?);
    for k in 0..1u64 << (chunk_order - i.extent_order) {
        let mfn: u64 = guest::read_at(&xen.m, i.extent_start.addr(), first + k).map_err(fault)?;
        given.extend((0..1u64 << i.extent_order).map(|j| Mfn(mfn.wrapping_add(j))));
    }
    for k in 0..outs {
        gpfns.push(guest::read_at::<_, u64>(&xen.m, o.extent_start.addr(), first_out + k).map_err(fault)?);
    }
    let mut fresh = Fresh { xen, blocks, order: o.extent_order };
    let mut scrubbed = 0;
    for _ in 0..outs {
        let order = o.extent_order;
        let none =
            || refuse!(xen, Errno::ENOMEM, "no block of order {} is free below frame {:x}", order, limit);
        let mfn = take_uncounted(xen.frames, order, limit).ok_or_else(none)?;
        fresh.blocks.push(mfn);
        if !make_clean(xen, mfn, 1 << o.extent_order, &mut scrubbed) {
            return Ok(false);
        }
    }
    let mut old: Vec<FrameRef> = room(pages)?;

    // Commit, under the lock that keeps the domain's account and its life still.
    let mut holdings = dom.memory.holdings.lock();
    for mfn in fresh.blocks.iter() {
        let last = (mfn.0 + (1 << o.extent_order) - 1) >> REGION_ORDER;
        (mfn.0 >> REGION_ORDER..=last).try_for_each(|region| holdings.note(region))?;
    }
    for &mfn in &given {
        match dom.is_alive().then(|| xen.frames.withdraw(mfn, dom.id)).flatten() {
            Some(f) => old.push(f),
            None => {
                old.into_iter().for_each(|f| xen.frames.put_back(f, dom.id));
                let e = Errno::EINVAL;
                return Err(refuse!(xen, e, "frame {:x} is not the domain's, or is still in use", mfn.0));
            }
        }
    }
    for &mfn in fresh.blocks.iter() {
        assign_block(xen.frames, dom, mfn, 1 << o.extent_order);
    }
    drop(holdings);
    for f in &old {
        xen.m.set_m2p(f.mfn(), INVALID_M2P);
    }
    drop(old);
    let mut written = Ok(());
    for (k, (&mfn, gpfn)) in (0..).zip(fresh.blocks.iter().zip(gpfns)) {
        for j in 0..1 << o.extent_order {
            xen.m.set_m2p(Mfn(mfn.0 + j), gpfn.wrapping_add(j));
        }
        written = written.and(guest::write_at(&xen.m, o.extent_start.addr(), first_out + k, &mfn.0));
    }
    fresh.keep();
    written.map(|()| true).map_err(fault)
}
