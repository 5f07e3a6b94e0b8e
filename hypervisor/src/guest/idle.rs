//! A CPU without a guest to run: halted with interrupts on, on the hypervisor's own tables.

use core::arch::asm;
use core::sync::atomic::Ordering::SeqCst;

use crate::percpu;

/// Sleeps until an interrupt, unless work is already there (`has_work` looks with interrupts off).
pub fn sleep(has_work: impl Fn() -> bool) {
    let shared = percpu::this().shared();
    // Said before looking for work: whoever brings work after the look sees it and sends an interrupt.
    shared.idle.store(true, SeqCst);
    if !has_work() {
        // SAFETY: the handlers of interrupts that come here expect hypervisor mode; STI holds them off until
        // HLT, so none is lost.
        unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
    }
    shared.idle.store(false, SeqCst);
}

/// Lets pending interrupts in for a moment.
pub fn breathe() {
    // SAFETY: as above; the interrupt shadow of STI covers the NOP's predecessor only, so they are taken here.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}
