//! Where the platform calls upward: what runs on top of it fills these in.

use core::fmt::Arguments;

use hypercore::boot::multiboot::BootInfo;

use crate::console::keys::Key;
use crate::cpu;
use crate::trap::Frame;

/// The boot processor's work after the platform is up; all other CPUs idle.
pub fn main(_boot: &'static BootInfo) -> ! {
    ap_main()
}

/// An application processor's work after its start.
pub fn ap_main() -> ! {
    loop {
        cpu::idle_once();
    }
}

/// Serves flushes of translations that other CPUs asked this one for. Called from every wait.
#[inline]
pub fn serve_flush() {}

/// Device interrupt `irq` fired, on this CPU. A level-triggered one stays masked until [`crate::irq::eoi`].
pub fn device_irq(irq: u32) {
    crate::irq::mask(irq);
}

/// This CPU's timer reached its deadline.
pub fn timer() {}

/// An NMI that is not the platform's own.
pub fn nmi(_frame: &Frame) {}

/// Characters for dom0 were typed: [`crate::console::read_input`] has them.
pub fn console_input() {}

/// Something was written to the ring of messages. May be called with locks held.
pub fn console_ring_changed() {}

/// Says, line by line, what this CPU was doing for whom. Called while the hypervisor dies: locks nothing.
pub fn describe_current(line: &mut dyn FnMut(Arguments)) {
    line(format_args!("Current domain: none"));
}

/// Debug keys beside the platform's own.
pub const DEBUG_KEYS: &[Key] = &[];
