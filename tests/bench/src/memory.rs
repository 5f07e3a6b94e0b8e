//! Page faults and protections: what paravirtual paging pays for.

use std::ffi::{c_int, c_void};

use crate::sys::{self, PAGE, Pages, on_signal};

/// Makes the page that faulted writable.
extern "C" fn allow(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel hands the handler a valid siginfo, of a SIGSEGV with an address.
    let address = unsafe { (*info).si_addr() } as usize & !(PAGE - 1);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the only page that faults is the benchmark's; mprotect is safe in a signal handler.
    if unsafe { libc::mprotect(address as *mut c_void, PAGE, access) } != 0 {
        std::process::abort();
    }
}

/// A write to a read-only page: fault, signal, the handler makes it writable, return; then read-only again.
pub fn protection_fault() -> Option<Box<dyn FnMut(u64)>> {
    on_signal(libc::SIGSEGV, allow);
    let pages = Pages::new(1);
    pages.touch(0);
    Some(Box::new(move |times| {
        for _ in 0..times {
            pages.protect(0, libc::PROT_READ);
            pages.touch(0);
        }
    }))
}

const BATCH: usize = 250;

/// The first touch of anonymous memory. Giving the frames back is part of it, once per batch.
pub fn fresh_page() -> Option<Box<dyn FnMut(u64)>> {
    let pages = Pages::new(BATCH);
    Some(Box::new(move |times| {
        let mut left = times as usize;
        while left > 0 {
            let now = left.min(BATCH);
            (0..now).for_each(|i| pages.touch(i));
            pages.drop_frames();
            left -= now;
        }
    }))
}

/// Writes to pages shared with the parent after a fork; the fork itself is part of it, once per batch.
pub fn copy_on_write() -> Option<Box<dyn FnMut(u64)>> {
    let pages = Pages::new(BATCH);
    (0..BATCH).for_each(|i| pages.touch(i));
    Some(Box::new(move |times| {
        let mut left = times as usize;
        while left > 0 {
            let now = left.min(BATCH);
            sys::fork_and_wait(|| (0..now).for_each(|i| pages.touch(i)));
            left -= now;
        }
    }))
}

/// A present page read-only and writable again: two calls an iteration.
pub fn mprotect() -> Option<Box<dyn FnMut(u64)>> {
    let pages = Pages::new(1);
    pages.touch(0);
    Some(Box::new(move |times| {
        for _ in 0..times {
            pages.protect(0, libc::PROT_READ);
            pages.protect(0, libc::PROT_READ | libc::PROT_WRITE);
        }
    }))
}
