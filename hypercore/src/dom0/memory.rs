//! How much memory dom0 gets, and which frames.

use alloc::vec::Vec;

use crate::boot::cmdline::{Amount, Dom0Mem};
use crate::frame::FrameTable;
use crate::frame::alloc::MAX_ORDER;
use crate::frame::proof::FreshFrame;
use crate::ids::{Mfn, Pfn};
use crate::machine::Machine;
use x86::pte::PAGE_SIZE;

/// Left to the hypervisor and to guests where the command line does not say how much dom0 gets:
/// a sixteenth of the memory, at most this.
const RESERVE_MAX: u64 = 128 << 20 >> 12;

/// Dom0's frames at the start, and the most it may ever have, of `free` frames there are now.
pub fn size(wanted: &Dom0Mem, free: u64) -> (u64, u64) {
    let pages = |amount: Option<Amount>, default| match amount {
        Some(Amount::Bytes(bytes)) => bytes >> 12,
        Some(Amount::AllBut(bytes)) => free.saturating_sub(bytes >> 12),
        None => default,
    };
    let most = pages(wanted.max, u64::MAX);
    let least = pages(wanted.min, 0);
    let size = pages(wanted.size, free - (free / 16).min(RESERVE_MAX));
    let size = size.max(least).min(most).min(free);
    (size, most.max(size))
}

/// Consecutive frames that are consecutive in the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub pfn: Pfn,
    pub mfn: Mfn,
    pub pages: u64,
}

/// Frames taken from the allocator that nobody owns yet, numbered from pfn 0.
#[derive(Debug, Default)]
pub struct Memory {
    extents: Vec<Extent>,
    pages: u64,
}

impl Memory {
    /// Takes `pages` frames in as large pieces as there are; `None`, with nothing taken, if there are
    /// not so many or there is no heap for the list.
    pub fn take<M: Machine>(m: &M, frames: &'static FrameTable, pages: u64) -> Option<Memory> {
        let mut memory = Memory::default();
        let mut order = MAX_ORDER;
        while memory.pages < pages {
            let left = pages - memory.pages;
            order = order.min(left.ilog2());
            match frames.alloc.alloc(order, u64::MAX) {
                Some((mfn, _)) => {
                    let extent = Extent { pfn: Pfn(0), mfn, pages: 1 << order };
                    if memory.extents.try_reserve(1).is_err() {
                        frames.alloc.free_range(mfn, extent.pages, true);
                        memory.give_back(frames);
                        return None;
                    }
                    memory.extents.push(extent);
                    memory.pages += extent.pages;
                }
                None if order > 0 => order -= 1,
                None => {
                    memory.give_back(frames);
                    return None;
                }
            }
        }
        memory.number();
        for extent in &memory.extents {
            frames.settle_free(m, extent.mfn, extent.pages);
        }
        Some(memory)
    }

    /// Orders the pieces by machine frame, joins neighbours and numbers the frames.
    fn number(&mut self) {
        self.extents.sort_unstable_by_key(|extent| extent.mfn);
        self.extents.dedup_by(|next, this| {
            let joined = this.mfn.0 + this.pages == next.mfn.0;
            if joined {
                this.pages += next.pages;
            }
            joined
        });
        let mut pfn = 0;
        for extent in &mut self.extents {
            extent.pfn = Pfn(pfn);
            pfn += extent.pages;
        }
    }

    /// Returns all frames to the allocator.
    pub fn give_back(self, frames: &FrameTable) {
        for extent in self.extents {
            frames.alloc.free_range(extent.mfn, extent.pages, true);
        }
    }

    pub fn pages(&self) -> u64 {
        self.pages
    }

    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The machine frame of `pfn`, which must be one of them.
    pub fn mfn(&self, pfn: Pfn) -> Mfn {
        let i = self.extents.partition_point(|extent| extent.pfn <= pfn) - 1;
        let extent = &self.extents[i];
        debug_assert!(pfn.0 - extent.pfn.0 < extent.pages);
        Mfn(extent.mfn.0 + (pfn.0 - extent.pfn.0))
    }

    /// The right to fill the frame.
    pub fn frame(&self, pfn: Pfn) -> FreshFrame {
        FreshFrame(self.mfn(pfn))
    }

    /// Zeroes `pages` frames.
    pub fn zero<M: Machine>(&self, m: &M, first: Pfn, pages: u64) {
        for pfn in first.0..first.0 + pages {
            m.zero(&self.frame(Pfn(pfn)));
        }
    }

    /// Copies `data` to byte `at` of the domain's memory.
    pub fn write<M: Machine>(&self, m: &M, mut at: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let offset = (at % PAGE_SIZE as u64) as usize;
            let (this, rest) = data.split_at(data.len().min(PAGE_SIZE - offset));
            m.write(&self.frame(Pfn(at / PAGE_SIZE as u64)), offset, this);
            at += this.len() as u64;
            data = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    const MIB: u64 = 256;

    #[test]
    fn sizes() {
        let bytes = |pages: u64| Some(Amount::Bytes(pages << 12));
        let but = |pages: u64| Some(Amount::AllBut(pages << 12));
        let of = |size, min, max| super::size(&Dom0Mem { size, min, max }, 2048 * MIB);
        assert_eq!(of(None, None, None), (1920 * MIB, u64::MAX));
        assert_eq!(super::size(&Dom0Mem::default(), 512 * MIB).0, 480 * MIB);
        assert_eq!(of(bytes(512 * MIB), None, None), (512 * MIB, u64::MAX));
        assert_eq!(of(but(512 * MIB), None, None), (1536 * MIB, u64::MAX));
        assert_eq!(of(bytes(512 * MIB), bytes(600 * MIB), None).0, 600 * MIB);
        assert_eq!(of(bytes(900 * MIB), None, bytes(800 * MIB)), (800 * MIB, 800 * MIB));
        assert_eq!(of(bytes(4096 * MIB), None, None).0, 2048 * MIB, "there is no more");
    }

    #[test]
    fn pieces_become_one_numbering() {
        let w = World::new(1000, 1);
        let t = w.xen.frames;
        // Holes, so that there is no single piece.
        let held: std::vec::Vec<_> = (0..20).map(|_| t.alloc.alloc(3, u64::MAX).unwrap().0).collect();
        for mfn in held.iter().step_by(2) {
            t.alloc.free_range(*mfn, 8, false);
        }
        let free = t.alloc.free_pages();
        let memory = Memory::take(&w.xen.m, t, free - 5).unwrap();
        assert_eq!(memory.pages(), free - 5);
        assert_eq!(t.alloc.free_pages(), 5);
        let mut seen = std::collections::BTreeSet::new();
        let mut last = Mfn(0);
        for pfn in 0..memory.pages() {
            let mfn = memory.mfn(Pfn(pfn));
            assert!(mfn > last && seen.insert(mfn), "ascending, each once");
            last = mfn;
        }
        assert!(memory.extents().windows(2).all(|w| w[0].mfn.0 + w[0].pages < w[1].mfn.0), "joined");
        memory.write(&w.xen.m, 4090, b"across pages");
        assert_eq!(w.xen.m.debug_load(memory.mfn(Pfn(1)), 0), u64::from_le_bytes(*b" pages\0\0"));
        memory.give_back(t);
        assert_eq!(t.alloc.free_pages(), free);
        assert!(Memory::take(&w.xen.m, t, free + 1).is_none());
        assert_eq!(t.alloc.free_pages(), free, "a refusal takes nothing");
    }
}
