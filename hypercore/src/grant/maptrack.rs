//! The mappings a domain holds of others' frames. A handle is an index; slots come in chunks that are
//! allocated when needed, up to the domain's limit, and freed when an end of a domain leaves them empty.
//! The limit is large and most domains map nothing, so the places of chunks come in groups, once needed, as well.

use super::entry::Pinned;
use crate::domain::Domain;
use crate::fallible::boxed;
use crate::ids::GrantRef;
use crate::nospec;
use crate::sync::Mutex;
use abi::Errno;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use spin::Once;

/// Handles per "maptrack frame" of the domain's limit: what fits a page where an entry is 16 bytes.
const CHUNK: usize = 256;

/// Chunks in a group.
const GROUP: usize = 32;

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

/// Slots that were allocated together.
struct Chunk {
    slots: Box<[Slot]>,
    /// Bit n of word w: slot 64·w + n is not given.
    free: [u64; CHUNK / 64],
}

impl Chunk {
    fn new() -> Option<Self> {
        Some(Self { slots: boxed(CHUNK, Slot::default).ok()?, free: [u64::MAX; CHUNK / 64] })
    }

    /// Gives the lowest free slot, busy.
    fn take(&mut self) -> Option<usize> {
        let word = self.free.iter().position(|w| *w != 0)?;
        let bit = self.free[word].trailing_zeros() as usize;
        self.free[word] &= self.free[word] - 1;
        let slot = word * 64 + bit;
        self.slots[slot] = Slot::Busy;
        Some(slot)
    }

    fn is_empty(&self) -> bool {
        self.free == [u64::MAX; CHUNK / 64]
    }
}

/// Where a chunk is: it appears when it is needed, and goes in [`Maptrack::trim`].
type Home = Mutex<Option<Chunk>>;

pub struct Maptrack {
    groups: Box<[Once<Box<[Home]>>]>,
    /// Chunks there may be.
    limit: usize,
    /// No chunk below this one has a free slot, or few have.
    first: AtomicUsize,
    /// One past the highest chunk there ever was.
    end: AtomicUsize,
}

impl Maptrack {
    pub fn new(frames: u32) -> Result<Self, Errno> {
        // A handle must stay a non-negative int of the guest's.
        let n = (frames as usize).min(i32::MAX as usize / CHUNK);
        let groups = boxed(n.div_ceil(GROUP), Once::new)?;
        Ok(Self { groups, limit: n, first: AtomicUsize::new(0), end: AtomicUsize::new(0) })
    }

    /// Where chunk `i` is; `None` if there never was one in its group.
    #[inline]
    fn home(&self, i: usize) -> Option<&Home> {
        nospec::get(&self.groups, i / GROUP)?.get()?.get(i % GROUP)
    }

    /// The same, made if it is not there; `None` when memory is short.
    fn make_home(&self, i: usize) -> Option<&Home> {
        let group = self.groups.get(i / GROUP)?.try_call_once(|| boxed(GROUP, Mutex::default)).ok()?;
        group.get(i % GROUP)
    }

    /// Where all chunks are that there ever were.
    fn homes(&self) -> impl Iterator<Item = &Home> {
        (0..self.end.load(Acquire)).filter_map(|i| self.home(i))
    }

    /// Runs `f` on the slot of `handle`, locked; `None` if there is no such handle.
    #[inline]
    pub fn with<R>(&self, handle: u32, f: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let handle = handle as usize;
        let mut chunk = self.home(handle / CHUNK)?.lock();
        Some(f(&mut chunk.as_mut()?.slots[handle % CHUNK]))
    }

    /// What is mapped by `handle`, which stays busy until it is mapped again or given back. `None`: nothing is. What
    /// `fits` refuses stays as it is, for others to claim meanwhile.
    pub fn claim<E>(
        &self,
        handle: u32,
        fits: impl FnOnce(&Mapping) -> Result<(), E>,
    ) -> Option<Result<Mapping, E>> {
        self.with(handle, |slot| match core::mem::replace(slot, Slot::Busy) {
            Slot::Mapped(m) => Some(match fits(&m) {
                Ok(()) => Ok(m),
                Err(e) => {
                    *slot = Slot::Mapped(m);
                    Err(e)
                }
            }),
            other => {
                *slot = other;
                None
            }
        })?
    }

    /// A free handle, its slot busy; `None` at the limit or when memory is short.
    pub fn take(&self) -> Option<u32> {
        let first = self.first.load(Relaxed).min(self.limit);
        // From the hint on, and once more from the start: others may have given handles back meanwhile.
        (first..self.limit).chain(0..first).find_map(|i| {
            let mut chunk = self.make_home(i)?.lock();
            if chunk.is_none() {
                *chunk = Some(Chunk::new()?);
                self.end.fetch_max(i + 1, Release);
            }
            let slot = chunk.as_mut()?.take()?;
            self.first.store(i, Relaxed);
            Some((i * CHUNK + slot) as u32)
        })
    }

    /// Makes a busy handle one of a mapping.
    pub fn set(&self, handle: u32, mapping: Mapping) {
        self.with(handle, |slot| {
            debug_assert!(matches!(slot, Slot::Busy));
            *slot = Slot::Mapped(mapping);
        });
    }

    /// Gives a busy handle back.
    pub fn give(&self, handle: u32) {
        let (i, slot) = (handle as usize / CHUNK, handle as usize % CHUNK);
        let Some(mut chunk) = self.home(i).map(|c| c.lock()) else { return };
        let Some(chunk) = chunk.as_mut() else { return };
        debug_assert!(matches!(chunk.slots[slot], Slot::Busy));
        chunk.slots[slot] = Slot::Free;
        chunk.free[slot / 64] |= 1 << (slot % 64);
        self.first.fetch_min(i, Relaxed);
    }

    /// Frees the memory of chunks that nothing is in, but for the first: it is what an idle driver needs again.
    pub fn trim(&self) {
        for chunk in self.homes().skip(1) {
            let gone = chunk.lock().take_if(|c| c.is_empty());
            drop(gone);
        }
    }

    /// Mappings there may be.
    pub fn limit(&self) -> usize {
        self.limit * CHUNK
    }

    /// Handles that were ever given: 0..this.
    pub fn used(&self) -> u32 {
        (self.end.load(Acquire) * CHUNK) as u32
    }

    /// Whether any mapping is so.
    pub fn any(&self, f: impl Fn(&Mapping) -> bool) -> bool {
        self.homes().any(|chunk| {
            let chunk = chunk.lock();
            let mut slots = chunk.iter().flat_map(|c| &c.slots);
            slots.any(|slot| matches!(slot, Slot::Mapped(m) if f(m)))
        })
    }

    /// Calls `f` for each mapping.
    pub fn for_each(&self, mut f: impl FnMut(u32, &Mapping)) {
        for handle in 0..self.used() {
            self.with(handle, |slot| {
                if let Slot::Mapped(m) = slot {
                    f(handle, m);
                }
            });
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
        assert!(t.with(512, |_| ()).is_none());
    }

    #[test]
    fn who_maps_nothing_keeps_little() {
        let t = Maptrack::new(1024).unwrap();
        assert_eq!(t.limit(), 1024 * CHUNK);
        assert!(size_of_val(&*t.groups) <= 1024, "{}", size_of_val(&*t.groups));
        assert!(t.groups.iter().all(|g| !g.is_completed()));
        assert_eq!((t.take(), t.used()), (Some(0), CHUNK as u32));
        assert_eq!(t.groups.iter().filter(|g| g.is_completed()).count(), 1);
        assert!(t.home(GROUP).is_none() && t.with(u32::MAX, |_| ()).is_none());
    }

    #[test]
    fn empty_chunks_go_and_come_again() {
        let t = Maptrack::new(4).unwrap();
        let chunks = |t: &Maptrack| t.homes().filter(|c| c.lock().is_some()).count();
        for h in 0..600 {
            assert_eq!(t.take(), Some(h));
        }
        (0..600).filter(|&h| h != 300).for_each(|h| t.give(h));
        assert_eq!(chunks(&t), 3);
        t.trim();
        assert_eq!(chunks(&t), 2, "one has a handle in use, the first stays");
        assert!(t.claim(550, |_| Err(())).is_none() && t.claim(300, |_| Err(())).is_none());
        t.give(550);
        t.give(300);
        t.trim();
        assert_eq!(chunks(&t), 1);
        for h in 0..600 {
            assert_eq!(t.take(), Some(h), "the lowest first");
        }
    }
}
