//! A domain's memory: how much it has and may have, and `memory_op`.
//!
//! - [`assign`]: giving frames to a domain (flushed, scrubbed, counted), claims, idle scrubbing.
//! - [`reservation`]: increase, decrease, populate; [`exchange`]: frames for others, as devices need them.
//! - [`maps`]: memory maps, the machine-to-physical table, physmap calls of translated guests.
//! - [`resource`]: frames of another domain's grant table.

pub mod assign;
pub mod exchange;
pub mod maps;
pub mod reservation;
pub mod resource;
#[cfg(test)]
mod tests;

pub use assign::{UNSCRUBBED, assign_pages, scrub_some};

use crate::fallible::TryVec;
use crate::guest;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::refuse;
use crate::sync::Mutex;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::memory::*;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// Frames of a region, as an order: 2 MiB.
pub const REGION_ORDER: u32 = 9;

/// Where a `memory_op` command keeps the first extent still to do.
const EXTENT_SHIFT: u32 = 6;
const CMD_MASK: u64 = (1 << EXTENT_SHIFT) - 1;
/// Most extents of a call: the number must fit above the command.
const MAX_EXTENTS: u64 = (u32::MAX >> EXTENT_SHIFT) as u64;

/// Largest extents: of ordinary domains 2 MiB, of privileged ones 1 GiB.
const MAX_ORDER: u32 = 9;
const MAX_ORDER_PRIVILEGED: u32 = crate::frame::alloc::MAX_ORDER;

/// A domain's memory account. The frames themselves are counted by
/// [`FrameTable::owned`](crate::frame::FrameTable::owned).
pub struct DomainMemory {
    /// Frames it may have; 0 until a tool or the builder says.
    max_pages: AtomicU32,
    /// Frames promised to it and not given yet; changes under `holdings`.
    claim: AtomicU64,
    holdings: Mutex<Holdings>,
    /// What `XENMEM_memory_map` answers, once set.
    map: Mutex<Option<Vec<E820Entry>>>,
}

#[derive(Default)]
struct Holdings {
    /// Bit n: the domain once got a frame of the region that begins at n << [`REGION_ORDER`].
    regions: Vec<u64>,
    /// Frames taken from the allocator for it and not assigned yet.
    pending: u64,
}

impl Default for DomainMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl DomainMemory {
    pub fn new() -> Self {
        Self {
            max_pages: AtomicU32::new(0),
            claim: AtomicU64::new(0),
            holdings: Mutex::new(Holdings::default()),
            map: Mutex::new(None),
        }
    }

    /// Frames the domain may have.
    pub fn max_pages(&self) -> u32 {
        self.max_pages.load(Relaxed)
    }

    /// Changes what it may have; what it already has stays.
    pub fn set_max_pages(&self, pages: u32) {
        self.max_pages.store(pages, Relaxed);
    }

    /// Frames promised to it and not given yet.
    pub fn outstanding(&self) -> u64 {
        self.claim.load(Relaxed)
    }

    /// First frame of each 2 MiB region in which the domain ever got frames, in ascending order.
    pub fn regions(&self) -> impl Iterator<Item = Mfn> + '_ {
        let mut next = 0;
        core::iter::from_fn(move || {
            let region = self.holdings.lock().next_region(next)?;
            next = region + 1;
            Some(Mfn(region << REGION_ORDER))
        })
    }

    /// After the domain was marked dying: whoever was giving it a frame is through, and nobody will again.
    pub(crate) fn settle(&self) {
        drop(self.holdings.lock());
    }

    /// Remembers that a frame of this region came to the domain by another way than [`assign_pages`]: a test's
    /// domain has frames no account knows. ENOMEM when there is no memory to remember it.
    pub fn note_region(&self, mfn: Mfn) -> Result<(), Errno> {
        self.holdings.lock().note(mfn.0 >> REGION_ORDER)
    }
}

impl Holdings {
    fn next_region(&self, from: u64) -> Option<u64> {
        let first = (from / 64) as usize;
        self.regions.iter().enumerate().skip(first).find_map(|(i, &word)| {
            let word = if i == first { word & (u64::MAX << (from % 64)) } else { word };
            (word != 0).then(|| i as u64 * 64 + u64::from(word.trailing_zeros()))
        })
    }

    fn note(&mut self, region: u64) -> Result<(), Errno> {
        let word = (region / 64) as usize;
        self.regions.try_lengthen(word + 1, 0)?;
        self.regions[word] |= 1 << (region % 64);
        Ok(())
    }
}

/// Order of the largest extent the caller may ask for.
fn max_order<M: Machine>(cx: &Cx<'_, M>) -> u32 {
    if cx.dom.privileged { MAX_ORDER_PRIVILEGED } else { MAX_ORDER }
}

/// Frame bound that `XENMEMF_address_bits` of `mem_flags` asks for. EINVAL: less than a frame.
fn frame_limit<M: Machine>(xen: &Xen<M>, mem_flags: u32) -> Result<u64, Errno> {
    match xenmemf_get_address_bits(mem_flags) {
        0 => Ok(u64::MAX),
        bits if bits <= 12 => Err(refuse!(xen, Errno::EINVAL, "no frame has an address of {} bits", bits)),
        bits => Ok(1u64.checked_shl(bits - 12).unwrap_or(u64::MAX)),
    }
}

/// `memory_op` (public/memory.h). `cmd`: the command, and above it the first extent to do.
pub fn memory_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u64, arg: u64) -> HcResult {
    let start = cmd >> EXTENT_SHIFT;
    let op = (cmd & CMD_MASK) as u32;
    cx.xen.refusals.begin(cx.xen.m.cpu(), op);
    match op {
        XENMEM_INCREASE_RESERVATION | XENMEM_DECREASE_RESERVATION | XENMEM_POPULATE_PHYSMAP => {
            return reservation::change(cx, op, start, arg);
        }
        XENMEM_ACQUIRE_RESOURCE => return resource::acquire(cx, start, arg),
        // These do not continue, so there is nothing to start from.
        _ if start != 0 => {
            let e = Errno::EINVAL;
            return Err(refuse!(cx.xen, e, "this has no extents, so none to start from ({})", start).into());
        }
        _ => {}
    }
    match op {
        XENMEM_EXCHANGE => exchange::exchange(cx, arg),
        XENMEM_MAXIMUM_RAM_PAGE => Ok(cx.xen.frames.max_mfn().0),
        XENMEM_CURRENT_RESERVATION | XENMEM_MAXIMUM_RESERVATION | XENMEM_MAXIMUM_GPFN => {
            let d: MemoryDomain = guest::read(&cx.xen.m, arg)?;
            let d = cx.domain_for_control(d.domid)?;
            Ok(match op {
                XENMEM_CURRENT_RESERVATION => u64::from(cx.xen.frames.owned(d.id)),
                XENMEM_MAXIMUM_RESERVATION => u64::from(d.memory.max_pages()),
                _ => maps::maximum_gpfn(cx.xen, &d),
            })
        }
        XENMEM_CLAIM_PAGES => assign::claim_pages(cx, arg),
        XENMEM_MEMORY_MAP => maps::memory_map(cx, arg),
        XENMEM_MACHINE_MEMORY_MAP => maps::machine_memory_map(cx, arg),
        XENMEM_SET_MEMORY_MAP => maps::set_memory_map(cx, arg),
        XENMEM_MACHPHYS_MFN_LIST => maps::machphys_mfn_list(cx, arg),
        XENMEM_MACHPHYS_MAPPING => maps::machphys_mapping(cx, arg),
        XENMEM_ADD_TO_PHYSMAP | XENMEM_ADD_TO_PHYSMAP_BATCH | XENMEM_REMOVE_FROM_PHYSMAP => {
            maps::physmap(cx, arg)
        }
        XENMEM_RESERVED_DEVICE_MEMORY_MAP => maps::reserved_device_memory(cx, arg),
        XENMEM_GET_VNUMAINFO => {
            let info: VnumaTopologyInfo = guest::read(&cx.xen.m, arg)?;
            cx.domain_for_control(info.domid)?;
            Err(refuse!(cx.xen, Errno::EOPNOTSUPP, "virtual NUMA is not served").into())
        }
        // No frame is ever shared by deduplication.
        XENMEM_GET_SHARING_FREED_PAGES | XENMEM_GET_SHARING_SHARED_PAGES => Ok(0),
        op => Err(refuse!(cx.xen, Errno::ENOSYS, "operation {} is not served", op).into()),
    }
}
