//! The processor: its instructions ([`instr`]), features ([`features`]), descriptor tables ([`gdt`], [`idt`]),
//! and what every CPU does when it waits or has nothing to do.

pub mod features;
pub mod gdt;
pub mod idt;
pub mod instr;

/// One turn of any wait: serves what other CPUs want from this one (flushes, calls), then pauses.
pub fn relax() {
    serve_others();
    core::hint::spin_loop();
}

/// What [`relax`] does but for the pause.
pub fn serve_others() {
    crate::hooks::serve_flush();
    crate::smp::serve_call();
}

/// Waits for an interrupt with interrupts on, and serves what comes. Returns with interrupts off.
///
/// The caller has looked for work with interrupts off: `sti` takes effect after `hlt` has begun, so an
/// interrupt that brings work in between ends the halt.
pub fn idle_once() {
    // SAFETY: interrupts are served on this stack, which has room; nothing is locked in idle.
    unsafe { core::arch::asm!("sti", "hlt", "cli") }
}

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: only an NMI can wake it, and the loop halts again.
        unsafe { core::arch::asm!("cli", "hlt") }
    }
}
