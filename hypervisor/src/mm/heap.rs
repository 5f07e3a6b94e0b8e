//! The heap: an allocator behind a lock, which takes more pages when it runs short.
//!
//! Running out is ordinary: fallible containers see it as an error.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use talc::{ErrOnOom, Span, Talc};

use crate::layout::PAGE;
use crate::mm::{phys_to_virt, take_pages};
use crate::sync::Mutex;

/// Pages taken at a time, unless one allocation needs more.
const STEP_PAGES: u64 = 64;

struct Heap(Mutex<Talc<ErrOnOom>>);

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Talc::new(ErrOnOom)));

// SAFETY: Talc allocates within the spans claimed below; a null pointer reports failure.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        loop {
            // SAFETY: by `GlobalAlloc`'s contract the layout's size is not zero.
            if let Ok(at) = unsafe { self.0.lock().malloc(layout) } {
                return at.as_ptr();
            }
            if !grow(layout.size() + layout.align()) {
                return core::ptr::null_mut();
            }
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(at) = NonNull::new(at) {
            // SAFETY: by `GlobalAlloc`'s contract it came from `alloc` with this layout.
            unsafe { self.0.lock().free(at, layout) }
        }
    }
}

/// Adds pages for `bytes` more. The heap's lock is not held here: the source of pages may wait.
fn grow(bytes: usize) -> bool {
    let pages = (bytes as u64 + PAGE).div_ceil(PAGE).max(STEP_PAGES);
    let Some((phys, pages)) = take_pages(pages, 1).map(|phys| (phys, pages)).or_else(|| {
        let least = (bytes as u64 + PAGE).div_ceil(PAGE);
        take_pages(least, 1).map(|phys| (phys, least))
    }) else {
        return false;
    };
    let start = phys_to_virt(phys) as *mut u8;
    // SAFETY: the pages are the hypervisor's for ever and used for nothing else.
    unsafe { HEAP.0.lock().claim(Span::from_base_size(start, (pages * PAGE) as usize)) }.is_ok()
}

/// Bytes that are free in the pages the heap has; more may be had by growing.
pub fn available() -> usize {
    HEAP.0.lock().get_counters().available_bytes
}

/// Bytes in use.
pub fn used() -> usize {
    HEAP.0.lock().get_counters().allocated_bytes
}
