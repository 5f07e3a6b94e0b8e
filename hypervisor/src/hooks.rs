//! Where the platform calls upward: what runs on top of it fills these in.

use core::fmt::Arguments;

use hypercore::boot::info::BootInfo;

use hypercore::ids::Irq;

use crate::console::keys::Key;
use crate::guest;
use crate::trap::Frame;

/// The boot processor's work after the platform is up; all other CPUs idle.
pub fn main(boot: &'static BootInfo) -> ! {
    crate::start::main(boot)
}

/// An application processor's work after its start.
pub fn ap_main() -> ! {
    crate::start::ap_main()
}

/// A trap or interrupt from a guest: served, and everything done that is due before the return.
pub fn from_guest(frame: &mut Frame) {
    guest::traps::from_guest(frame);
    guest::exit::to_guest(frame);
}

/// A guest's registers that the processor refuses to load.
pub fn bad_return(frame: &mut Frame) {
    guest::traps::bad_return(frame);
    guest::exit::to_guest(frame);
}

/// Serves flushes of translations that other CPUs asked this one for. Called from every wait.
#[inline]
pub fn serve_flush() {
    guest::flush::serve();
}

/// Device interrupt `irq` fired, on this CPU. A level-triggered one stays masked until [`crate::irq::eoi`].
pub fn device_irq(irq: u32) {
    hypercore::io::irq_fired(guest::xen(), Irq(irq));
}

/// This CPU's timer reached its deadline.
pub fn timer() {
    guest::exit::later(guest::exit::TIMER);
}

/// An NMI that does not stop this CPU: a debug key's, the watchdog's, or the chipset's.
pub fn nmi(frame: &Frame) {
    crate::percpu::this().shared().nmis.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    if crate::snapshot::take(frame) {
        return;
    }
    let ticks = crate::watchdog::tick(frame);
    guest::nmi::arrived(frame, ticks);
}

/// Characters for dom0 were typed: [`crate::console::read_input`] has them.
pub fn console_input() {
    if let Some(xen) = guest::XEN.get() {
        hypercore::event::send_global_virq(xen, abi::xen::VIRQ_CONSOLE);
    }
}

/// Something was written to the ring of messages. May be called with locks held.
pub fn console_ring_changed() {
    guest::exit::later(guest::exit::RING);
}

/// Says, line by line, what this CPU was doing for whom. Called while the hypervisor dies: locks nothing.
pub fn describe_current(line: &mut dyn FnMut(Arguments)) {
    match guest::name_current() {
        Some((dom, vcpu)) => line(format_args!("Current domain: d{dom}v{vcpu}")),
        None => line(format_args!("Current domain: none (idle)")),
    }
}

/// Domain and PIRQ that interrupt `irq` goes to.
pub fn irq_owner(irq: u32) -> Option<(u16, u32)> {
    guest::XEN.get()?.irqs.owner(Irq(irq)).map(|(dom, pirq)| (dom.0, pirq))
}

/// Debug keys beside the platform's own.
pub const DEBUG_KEYS: &[Key] = guest::keys::KEYS;
