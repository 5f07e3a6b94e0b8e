//! Where text goes: dom0's to the hypervisor's console, another domain's into the ring of its PV console
//! (`xen/io/console.h`).

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::io::console::{XENCONS_OUT_SIZE, XenconsInterface};
use abi::xen::{CONSOLEIO_WRITE, HYPERVISOR_CONSOLE_IO, SIF_INITDOMAIN};

use crate::boot::start_info;
use crate::groups::events;
use crate::hypercall::call;
use crate::mm::{mfn_to_va, write8};
use crate::smp::pause;

pub fn write(bytes: &[u8]) {
    if start_info().flags & SIF_INITDOMAIN != 0 {
        call(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_WRITE.into(), bytes.len() as u64, bytes.as_ptr() as u64, 0]);
        return;
    }
    for &byte in bytes {
        while used() >= XENCONS_OUT_SIZE as u32 {
            notify();
        }
        let at = index(offset_of!(XenconsInterface, out_prod));
        let next = at.load(Ordering::Relaxed);
        write8(ring() + (offset_of!(XenconsInterface, out) + next as usize % XENCONS_OUT_SIZE) as u64, byte);
        at.store(next.wrapping_add(1), Ordering::Release);
    }
    notify();
}

/// Waits until all of it has been read.
pub fn drain() {
    while start_info().flags & SIF_INITDOMAIN == 0 && used() != 0 {
        notify();
    }
}

fn notify() {
    events::send(start_info().console_evtchn);
    pause();
}

fn ring() -> u64 {
    mfn_to_va(start_info().console_mfn)
}

fn index(offset: usize) -> &'static AtomicU32 {
    // SAFETY: the ring is mapped for as long as the domain lives, and both sides access its indexes atomically.
    unsafe { AtomicU32::from_ptr((ring() + offset as u64) as *mut u32) }
}

fn used() -> u32 {
    let consumed = index(offset_of!(XenconsInterface, out_cons)).load(Ordering::Acquire);
    index(offset_of!(XenconsInterface, out_prod)).load(Ordering::Relaxed).wrapping_sub(consumed)
}
