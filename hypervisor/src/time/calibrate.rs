//! Measures the TSC and the local APIC's timer against a clock of known rate (the HPET, the ACPI power-management timer,
//! or the PIT), and reads that clock ever after ([`clocks`]).

use hypercore::time::platform::{Counter, Running};

use crate::apic::local;
use crate::cpu::instr::{inb, inl, outb, rdtsc};
use crate::mm::mmio;
use crate::sync::Mutex;

/// How long to measure.
const WINDOW_NS: u64 = 10_000_000;

/// Where the counter is read.
#[derive(Clone, Copy)]
enum Source {
    /// Address of the registers.
    Hpet(u64),
    /// Port.
    PmTimer(u16),
    Pit,
}

#[derive(Clone, Copy)]
struct Reference {
    source: Source,
    counter: Counter,
}

/// The clock, once the boot processor has measured by it, if it is one that keeps running; and its time, once that was
/// asked for.
static RUNNING: Mutex<Option<(Reference, Option<Running>)>> = Mutex::new(None);

impl Reference {
    fn name(&self) -> &'static str {
        match self.source {
            Source::Hpet(_) => "HPET",
            Source::PmTimer(_) => "ACPI PM Timer",
            Source::Pit => "PIT",
        }
    }

    fn count(&self) -> u64 {
        match self.source {
            Source::Hpet(at) => hpet_count(at, self.counter.bits() > 32),
            // SAFETY: the firmware names the port; reading it changes nothing.
            Source::PmTimer(port) => unsafe { inl(port).into() },
            // SAFETY: channel 2 of the PIT is set up below and nobody else's yet.
            Source::Pit => unsafe {
                outb(0x43, 0x80);
                let low = inb(0x42);
                0xffff - u64::from(u16::from_le_bytes([low, inb(0x42)]))
            },
        }
    }

    fn elapsed_ns(&self, from: u64, to: u64) -> u64 {
        self.counter.ns(self.counter.ticks(from, to))
    }

    /// A reading, the TSC and the APIC timer at (nearly) one moment: the tightest of several tries.
    fn moment(&self) -> (u64, u64, u32) {
        let mut best = (u64::MAX, 0, 0, 0);
        for _ in 0..8 {
            let before = rdtsc();
            let count = self.count();
            let after = rdtsc();
            if after - before < best.0 {
                best = (after - before, count, before + (after - before) / 2, local::timer_left());
            }
        }
        (best.1, best.2, best.3)
    }
}

/// The main counter of the HPET. One of 64 bits is read in halves, for not every bridge takes it whole: the upper half is
/// that of the lower one if it did not change meanwhile.
fn hpet_count(at: u64, wide: bool) -> u64 {
    // SAFETY: the HPET's main counter; reading changes nothing.
    let half = |n: u64| unsafe { ((at + 0xf0 + 4 * n) as *const u32).read_volatile() };
    let mut high = if wide { half(1) } else { 0 };
    loop {
        let low = half(0);
        let again = if wide { half(1) } else { 0 };
        if again == high {
            return u64::from(high) << 32 | u64::from(low);
        }
        high = again;
    }
}

fn choose(pm_timer: Option<(u16, bool)>, hpet: Option<u64>) -> Reference {
    if let Some(at) = hpet.and_then(|phys| mmio::map(phys, 0x400)) {
        // SAFETY: the HPET's registers: what it is like, and the bit that lets it count.
        let capabilities = unsafe {
            let config = (at + 0x10) as *mut u32;
            config.write_volatile(config.read_volatile() | 1);
            let half = |n: u64| u64::from(((at + 4 * n) as *const u32).read_volatile());
            half(0) | half(1) << 32
        };
        if let Some(counter) = Counter::hpet(capabilities) {
            return Reference { source: Source::Hpet(at), counter };
        }
    }
    if let Some((port, wide)) = pm_timer {
        return Reference { source: Source::PmTimer(port), counter: Counter::pm_timer(wide) };
    }
    // SAFETY: the PIT's channel 2, gate on and speaker off, counts down from 65535 once.
    unsafe {
        outb(0x61, inb(0x61) & !2 | 1);
        outb(0x43, 0xb0);
        outb(0x42, 0xff);
        outb(0x42, 0xff);
    }
    Reference { source: Source::Pit, counter: Counter::PIT }
}

/// TSC and APIC timer rates in kHz, and the clock they were measured by: its rate and name.
pub fn measure(pm_timer: Option<(u16, bool)>, hpet: Option<u64>) -> (u64, u64, (Counter, &'static str)) {
    let reference = choose(pm_timer, hpet);
    local::timer_enable();
    local::timer_start(u32::MAX);
    let (count0, tsc0, apic0) = reference.moment();
    while reference.elapsed_ns(count0, reference.count()) < WINDOW_NS {
        core::hint::spin_loop();
    }
    let (count1, tsc1, apic1) = reference.moment();
    local::timer_start(0);
    let ns = reference.elapsed_ns(count0, count1).max(1);
    // The PIT's channel wraps too soon, and counts once only.
    if !matches!(reference.source, Source::Pit) {
        *RUNNING.lock() = Some((reference, None));
    }
    let khz =
        |ticks: u64| ((u128::from(ticks) * 1_000_000 + u128::from(ns) / 2) / u128::from(ns)).max(1) as u64;
    (khz(tsc1 - tsc0), khz(u64::from(apic0.saturating_sub(apic1))), (reference.counter, reference.name()))
}

/// System time, and what it would be by the clock since this was asked first, at one moment. `None`: the clock does not
/// keep running. To be called more often than it wraps.
pub fn clocks() -> Option<(u64, u64)> {
    let mut clock = RUNNING.lock();
    let (reference, running) = clock.as_mut()?;
    let (count, tsc, _) = reference.moment();
    let now = super::tsc_to_ns(tsc);
    Some((now, running.get_or_insert_with(|| Running::new(reference.counter, count, now)).read(count)))
}
