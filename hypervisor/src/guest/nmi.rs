//! NMIs that are not the platform's own: from the chipset, or unknown. As `nmi=` says they are dom0's, nobody's, or
//! the end.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::nmi::XEN_NMIREASON_UNKNOWN;
use hypercore::boot::cmdline::NmiPolicy;
use hypercore::traps::nmi::{CONTROL_PORT, quieten, reasons, to_dom0};

use super::exit;
use crate::boot::options;
use crate::cpu::instr::{inb, outb};
use crate::trap::Frame;
use crate::{apic, panic, percpu};

/// Why, for dom0: it is told on the way to a guest, for an NMI comes while locks are held.
static REASONS: AtomicU64 = AtomicU64::new(0);

/// In the NMI's handler: takes no lock. The chipset's come to the boot processor alone. `expected`: an NMI without a
/// cause is somebody else's.
pub fn arrived(frame: &Frame, expected: bool) {
    if percpu::this().id != 0 {
        return;
    }
    // SAFETY: the port is the hypervisor's; reading changes nothing, and what is written keeps the timer's bits.
    let why = unsafe {
        let port = inb(CONTROL_PORT);
        quieten(port).into_iter().for_each(|value| outb(CONTROL_PORT, value));
        reasons(port)
    };
    if expected && why == XEN_NMIREASON_UNKNOWN {
        return;
    }
    match options::get().map_or(NmiPolicy::Dom0, |o| o.nmi) {
        NmiPolicy::Ignore => {}
        NmiPolicy::Fatal => panic::on_exception(frame, crate::cpu::instr::read_cr2()),
        NmiPolicy::Dom0 => {
            REASONS.fetch_or(why, Relaxed);
            exit::later(exit::NMI);
            apic::interrupt_self(crate::trap::vector::WAKE);
        }
    }
}

/// Tells dom0 what [`arrived`] noted.
pub fn report() {
    to_dom0(super::xen(), REASONS.swap(0, Relaxed));
}
