//! The processor: its instructions ([`instr`]), features ([`features`]), descriptor tables ([`gdt`], [`idt`]),
//! and what every CPU does when it waits.

pub mod features;
pub mod gdt;
pub mod idt;
pub mod instr;

/// One turn of any wait: serves what other CPUs want from this one (flushes), then pauses.
pub fn relax() {
    serve_others();
    core::hint::spin_loop();
}

/// What [`relax`] does but for the pause.
pub fn serve_others() {
    crate::hooks::serve_flush();
}

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: only an NMI can wake it, and the loop halts again.
        unsafe { core::arch::asm!("cli", "hlt") }
    }
}
