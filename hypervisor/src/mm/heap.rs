//! The heap. Which memory an allocation comes from, [`hypercore::heap`] says: whole pages, or a place among small
//! objects, in a reserve taken at boot or in chunks of pages that go back when they are empty.
//!
//! Running out is ordinary: fallible containers see it as an error.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypercore::heap::{CHUNK, CHUNK_PAGES, Chunks, MAX_CHUNKS, whole_pages};
use talc::{ErrOnOom, Span, Talc};

use crate::layout::PAGE;
use crate::mm::{give_pages, phys_to_virt, take_dirty_pages, virt_to_phys};
use crate::sync::Mutex;

/// Pages of the reserve: small objects take about 20 KiB for dom0 and 13 KiB for each guest, so a dozen guests fit
/// twice, and what stays with dom0 is in no chunk.
const RESERVE_PAGES: u64 = 80;

struct Heap {
    small: Mutex<Small>,
    /// Whole pages in use.
    pages: AtomicU64,
}

/// Objects of less than a page.
struct Small {
    reserve: Talc<ErrOnOom>,
    /// Where the reserve is; empty before the first allocation.
    span: Span,
    /// Its own bookkeeping is in the reserve, so that every chunk can go back.
    grown: Talc<ErrOnOom>,
    chunks: Chunks<MAX_CHUNKS>,
}

// SAFETY: a span is two addresses; the memory they bound is reached through the lock alone.
unsafe impl Send for Small {}

#[global_allocator]
static HEAP: Heap = Heap {
    small: Mutex::new(Small {
        reserve: Talc::new(ErrOnOom),
        span: Span::empty(),
        grown: Talc::new(ErrOnOom),
        chunks: Chunks::new(),
    }),
    pages: AtomicU64::new(0),
};

// SAFETY: pages come from `take_dirty_pages` and are nobody else's until `give_pages`; Talc allocates within the
// spans claimed below. A null pointer reports failure.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some((count, align)) = whole_pages(layout.size(), layout.align()) {
            let Some(phys) = take_dirty_pages(count, align) else { return null_mut() };
            self.pages.fetch_add(count, Relaxed);
            return phys_to_virt(phys) as *mut u8;
        }
        // SAFETY: by `GlobalAlloc`'s contract the layout's size is not zero.
        if let Some(at) = unsafe { self.small.lock().alloc(layout) } {
            return at;
        }
        self.grow(layout)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some((count, _)) = whole_pages(layout.size(), layout.align()) {
            self.pages.fetch_sub(count, Relaxed);
            return give_pages(virt_to_phys(at as u64), count);
        }
        // SAFETY: by `GlobalAlloc`'s contract it came from `alloc` with this layout.
        let empty = unsafe { self.small.lock().free(at, layout) };
        // After the lock: what takes the pages back may wait.
        if let Some(empty) = empty {
            give_pages(empty, CHUNK_PAGES);
        }
    }
}

impl Heap {
    /// Takes a chunk, or at first the reserve, and allocates. The lock is not held while pages are taken: their
    /// source may wait.
    fn grow(&self, layout: Layout) -> *mut u8 {
        let first = self.small.lock().span.is_empty();
        let count = if first { RESERVE_PAGES } else { CHUNK_PAGES };
        let Some(phys) = take_dirty_pages(count, CHUNK_PAGES) else { return null_mut() };
        let mut small = self.small.lock();
        // Another CPU may have freed or taken memory meanwhile: an empty chunk must not stay.
        // SAFETY: by `GlobalAlloc`'s contract the layout's size is not zero.
        let mut at = unsafe { small.alloc(layout) };
        // SAFETY: the pages are this function's.
        if at.is_none() && unsafe { small.claim(phys, first) } {
            // SAFETY: as above.
            at = unsafe { small.alloc(layout) };
        } else {
            drop(small);
            give_pages(phys, count);
        }
        at.unwrap_or(null_mut())
    }
}

impl Small {
    /// # Safety
    /// `layout` is of a small object, and its size is not zero.
    unsafe fn alloc(&mut self, layout: Layout) -> Option<*mut u8> {
        // SAFETY: by this function's contract.
        if let Ok(at) = unsafe { self.reserve.malloc(layout) } {
            return Some(at.as_ptr());
        }
        // SAFETY: as above.
        let at = unsafe { self.grown.malloc(layout) }.ok()?.as_ptr();
        self.chunks.took(virt_to_phys(at as u64));
        Some(at)
    }

    /// The physical address of the chunk that is empty now and no longer the heap's.
    ///
    /// # Safety
    /// `at` came from [`Self::alloc`] with this layout.
    unsafe fn free(&mut self, at: *mut u8, layout: Layout) -> Option<u64> {
        let object = NonNull::new(at)?;
        if self.span.contains(at) {
            // SAFETY: by this function's contract, and it is the reserve's.
            unsafe { self.reserve.free(object, layout) };
            return None;
        }
        // SAFETY: as above, and it is not the reserve's.
        unsafe { self.grown.free(object, layout) };
        let empty = self.chunks.freed(virt_to_phys(at as u64))?;
        // SAFETY: this span was claimed as a whole, and nothing in it is in use.
        unsafe { self.grown.truncate(chunk(empty), Span::empty()) };
        Some(empty)
    }

    /// Makes pages at `phys` the reserve, or else a chunk. False: there are as many chunks as there can be.
    ///
    /// # Safety
    /// [`RESERVE_PAGES`] or [`CHUNK_PAGES`] pages that nobody else uses.
    unsafe fn claim(&mut self, phys: u64, reserve: bool) -> bool {
        if !reserve {
            // SAFETY: by this function's contract.
            return self.chunks.add(phys) && unsafe { self.grown.claim(chunk(phys)) }.is_ok();
        }
        // The first page holds the bookkeeping of `grown`, and small objects beside it that are in no chunk.
        let start = phys_to_virt(phys) as *mut u8;
        let (first, rest) = (PAGE as usize, ((RESERVE_PAGES - 1) * PAGE) as usize);
        self.span = Span::from_base_size(start.wrapping_add(first), rest);
        // SAFETY: by this function's contract.
        unsafe {
            self.grown.claim(Span::from_base_size(start, first)).is_ok()
                && self.reserve.claim(self.span).is_ok()
        }
    }
}

/// The span of the chunk at `phys`.
fn chunk(phys: u64) -> Span {
    Span::from_base_size(phys_to_virt(phys) as *mut u8, CHUNK as usize)
}

/// What the heap has, in bytes.
pub struct Usage {
    /// Objects of whole pages.
    pub pages: u64,
    /// Small objects, those in chunks among them, and what is free in the reserve and the chunks.
    pub small: u64,
    pub free: u64,
    /// Chunks beyond the reserve.
    pub chunks: u64,
}

/// What the heap has now.
pub fn usage() -> Usage {
    let small = HEAP.small.lock();
    let (reserve, grown) = (small.reserve.get_counters(), small.grown.get_counters());
    Usage {
        pages: HEAP.pages.load(Relaxed) * PAGE,
        small: (reserve.allocated_bytes + grown.allocated_bytes) as u64,
        free: (reserve.available_bytes + grown.available_bytes) as u64,
        chunks: small.chunks.len() as u64 * CHUNK,
    }
}
