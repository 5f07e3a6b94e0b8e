//! The NMI watchdog (`watchdog`, `watchdog_timeout=`): finds a CPU that is stuck in the hypervisor, where
//! interrupts are off, and panics with what that CPU was doing.
//!
//! The ticks are the PIT's, sent by the IOAPIC as NMIs: nothing a CPU does can hold them back. xAPICs take an address
//! that means all CPUs; x2APICs have none of 8 bits, so that the one CPU that gets the tick passes it on (which is one
//! write there, and disturbs no other message that the CPU was about to send).

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::apic::{self, ioapic, local};
use crate::cpu::instr::outb;
use crate::trap::Frame;
use crate::{panic, percpu, time};

/// The PIT at its slowest: 1193182 Hz / 65536, in ticks per 10 seconds.
const TICKS_PER_10_S: u32 = 182;
const INTERRUPT_FLAG: u64 = 1 << 9;

/// The address of all xAPICs.
const EVERYBODY: u32 = 0xff;
const NOBODY: u32 = u32::MAX;

/// The CPU that passes ticks on to the others, if one does.
static PASSED_ON_BY: AtomicU32 = AtomicU32::new(NOBODY);
static RUNS: AtomicBool = AtomicBool::new(false);
/// CPUs in [`without`].
static PAUSES: AtomicU32 = AtomicU32::new(0);
static LIMIT: AtomicU32 = AtomicU32::new(u32::MAX);
static TICKS: AtomicU32 = AtomicU32::new(0);

/// Starts the ticks; a CPU may be in the hypervisor for `timeout_s` seconds at a time.
pub fn start(timeout_s: u32) {
    // SAFETY: channel 0 of the PIT is the hypervisor's, and nothing else uses it: rate generator, full period.
    unsafe {
        outb(0x43, 0x34);
        outb(0x40, 0);
        outb(0x40, 0);
    }
    LIMIT.store((timeout_s.saturating_mul(TICKS_PER_10_S) / 10).max(1), Ordering::Relaxed);
    RUNS.store(true, Ordering::Release);
    let to = if local::is_x2apic() { local::id() } else { EVERYBODY };
    PASSED_ON_BY.store(if local::is_x2apic() { percpu::this().id } else { NOBODY }, Ordering::Relaxed);
    if ioapic::route_nmi(ioapic::isa_gsi(0), to) {
        time::spin_ns(250_000_000);
    }
    if TICKS.load(Ordering::Relaxed) == 0 {
        RUNS.store(false, Ordering::Release);
        ioapic::mask(ioapic::isa_gsi(0));
        crate::warning!("no NMI arrives from the timer: the watchdog is off");
        return;
    }
    crate::info!("Watchdog: a CPU stuck for {timeout_s} s stops the machine");
}

/// An NMI came while `frame` ran. Whether the timer sends such, so that one without another cause is its.
pub fn tick(frame: &Frame) -> bool {
    if !RUNS.load(Ordering::Acquire) || PAUSES.load(Ordering::Acquire) != 0 {
        return TICKS.load(Ordering::Relaxed) != 0;
    }
    TICKS.fetch_add(1, Ordering::Relaxed);
    if PASSED_ON_BY.load(Ordering::Relaxed) == percpu::this().id {
        apic::send_nmi_to_others();
    }
    let well = frame.cs & 3 == 3 || frame.rflags & INTERRUPT_FLAG != 0;
    if percpu::this().shared().watch.tick(well, LIMIT.load(Ordering::Relaxed)) {
        panic::on_stuck(frame);
    }
    true
}

/// Does something that is known to take long.
pub fn without<R>(work: impl FnOnce() -> R) -> R {
    PAUSES.fetch_add(1, Ordering::AcqRel);
    let result = work();
    percpu::this().shared().watch.pass();
    PAUSES.fetch_sub(1, Ordering::AcqRel);
    result
}
