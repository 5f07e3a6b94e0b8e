//! The mappings a domain holds of others' frames. A handle is an index; slots come in chunks that are
//! allocated when needed, up to the domain's limit.

use super::entry::Pinned;
use crate::domain::Domain;
use crate::ids::GrantRef;
use crate::sync::Mutex;
use abi::Errno;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Once;

/// Handles per "maptrack frame" of the domain's limit: what fits a page where an entry is 16 bytes.
const CHUNK: usize = 256;

/// Where a frame is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At this linear address.
    Va(u64),
    /// By the page-table entry at this machine address.
    Pte(u64),
}

/// A mapping. Unmapping goes by this record alone.
#[derive(Debug)]
pub struct Mapping {
    pub granter: Arc<Domain>,
    pub gref: GrantRef,
    /// `None` once the guest unmapped it there, or if it asked for none.
    pub host: Option<Place>,
    /// Usable by devices.
    pub device: bool,
    pub pin: Pinned,
}

#[derive(Default)]
pub enum Slot {
    #[default]
    Free,
    /// Being filled or emptied by a CPU that holds what belongs in it.
    Busy,
    Mapped(Mapping),
}

struct Free {
    /// Handles given back.
    list: Vec<u32>,
    /// Handles that were ever given.
    used: u32,
}

/// Slots that were allocated together.
type Chunk = Box<[Mutex<Slot>]>;

pub struct Maptrack {
    chunks: Box<[Once<Chunk>]>,
    free: Mutex<Free>,
}

impl Maptrack {
    pub fn new(frames: u32) -> Result<Self, Errno> {
        // A handle must stay a non-negative int of the guest's.
        let n = (frames as usize).min(i32::MAX as usize / CHUNK);
        let mut chunks = Vec::new();
        chunks.try_reserve_exact(n).map_err(|_| Errno::ENOMEM)?;
        chunks.resize_with(n, Once::new);
        Ok(Self { chunks: chunks.into(), free: Mutex::new(Free { list: Vec::new(), used: 0 }) })
    }

    #[inline]
    pub fn slot(&self, handle: u32) -> Option<&Mutex<Slot>> {
        let handle = handle as usize;
        self.chunks.get(handle / CHUNK)?.get()?.get(handle % CHUNK)
    }

    /// A free handle, its slot busy; `None` at the limit or when memory is short.
    pub fn take(&self) -> Option<u32> {
        let mut free = self.free.lock();
        let handle = match free.list.pop() {
            Some(h) => h,
            None => {
                let h = free.used;
                let chunk = self.chunks.get(h as usize / CHUNK)?;
                if chunk.get().is_none() {
                    // Giving a handle back must not need memory.
                    let all = (h as usize / CHUNK + 1) * CHUNK;
                    let more = all - free.list.len();
                    free.list.try_reserve_exact(more).ok()?;
                    let mut slots = Vec::new();
                    slots.try_reserve_exact(CHUNK).ok()?;
                    slots.resize_with(CHUNK, Mutex::default);
                    chunk.call_once(|| slots.into());
                }
                free.used += 1;
                h
            }
        };
        *self.slot(handle)?.lock() = Slot::Busy;
        Some(handle)
    }

    /// Gives a busy handle back.
    pub fn give(&self, handle: u32) {
        let Some(slot) = self.slot(handle) else { return };
        let old = core::mem::take(&mut *slot.lock());
        debug_assert!(matches!(old, Slot::Busy));
        self.free.lock().list.push(handle);
    }

    /// Handles that were ever given: 0..this.
    pub fn used(&self) -> u32 {
        self.free.lock().used
    }

    /// Whether any mapping is so.
    pub fn any(&self, f: impl Fn(&Mapping) -> bool) -> bool {
        (0..self.used())
            .filter_map(|h| self.slot(h))
            .any(|slot| matches!(&*slot.lock(), Slot::Mapped(m) if f(m)))
    }

    /// Calls `f` for each mapping.
    pub fn for_each(&self, mut f: impl FnMut(u32, &Mapping)) {
        for handle in 0..self.used() {
            if let Some(slot) = self.slot(handle)
                && let Slot::Mapped(m) = &*slot.lock()
            {
                f(handle, m);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_run_out_at_the_limit_and_come_back() {
        let t = Maptrack::new(2).unwrap();
        let all: Vec<u32> = core::iter::from_fn(|| t.take()).collect();
        assert_eq!(all, (0..512).collect::<Vec<_>>());
        t.give(77);
        assert_eq!(t.take(), Some(77));
        assert_eq!(t.take(), None);
        assert!(t.slot(512).is_none());
    }
}
