//! Measures the TSC and the local APIC's timer against a clock of known rate: the HPET, the ACPI power-management
//! timer, or the PIT.

use crate::apic::local;
use crate::cpu::instr::{inb, inl, outb, rdtsc};
use crate::mm::mmio;

/// How long to measure.
const WINDOW_NS: u64 = 10_000_000;
const PM_TIMER_HZ: u64 = 3_579_545;
const PIT_HZ: u64 = 1_193_182;

/// A free-running counter.
enum Reference {
    /// Registers' address, and femtoseconds per tick.
    Hpet(u64, u64),
    /// Port, and mask of the counter's width.
    PmTimer(u16, u32),
    Pit,
}

impl Reference {
    fn name(&self) -> &'static str {
        match self {
            Reference::Hpet(..) => "HPET",
            Reference::PmTimer(..) => "3.580MHz ACPI PM Timer",
            Reference::Pit => "1.193MHz PIT",
        }
    }

    fn count(&self) -> u64 {
        match *self {
            // SAFETY: the HPET's main counter; reading changes nothing.
            Reference::Hpet(at, _) => unsafe { ((at + 0xf0) as *const u32).read_volatile().into() },
            // SAFETY: the firmware names the port; reading it changes nothing.
            Reference::PmTimer(port, mask) => unsafe { (inl(port) & mask).into() },
            // SAFETY: channel 2 of the PIT is set up below and nobody else's yet.
            Reference::Pit => unsafe {
                outb(0x43, 0x80);
                let low = inb(0x42);
                0xffff - u64::from(u16::from_le_bytes([low, inb(0x42)]))
            },
        }
    }

    fn elapsed_ns(&self, from: u64, to: u64) -> u64 {
        match *self {
            Reference::Hpet(_, femtoseconds) => {
                (u128::from((to as u32).wrapping_sub(from as u32)) * u128::from(femtoseconds) / 1_000_000)
                    as u64
            }
            Reference::PmTimer(_, mask) => {
                u64::from((to as u32).wrapping_sub(from as u32) & mask) * 1_000_000_000 / PM_TIMER_HZ
            }
            Reference::Pit => (to.wrapping_sub(from) & 0xffff) * 1_000_000_000 / PIT_HZ,
        }
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

fn choose(pm_timer: Option<(u16, bool)>, hpet: Option<u64>) -> Reference {
    if let Some(at) = hpet.and_then(|phys| mmio::map(phys, 0x400)) {
        // SAFETY: the HPET's registers: its period, and the bit that lets it count.
        let period = unsafe {
            let config = (at + 0x10) as *mut u32;
            config.write_volatile(config.read_volatile() | 1);
            ((at + 4) as *const u32).read_volatile()
        };
        if (1..=100_000_000).contains(&period) {
            return Reference::Hpet(at, period.into());
        }
    }
    if let Some((port, wide)) = pm_timer {
        return Reference::PmTimer(port, if wide { u32::MAX } else { 0xff_ffff });
    }
    // SAFETY: the PIT's channel 2, gate on and speaker off, counts down from 65535 once.
    unsafe {
        outb(0x61, inb(0x61) & !2 | 1);
        outb(0x43, 0xb0);
        outb(0x42, 0xff);
        outb(0x42, 0xff);
    }
    Reference::Pit
}

/// TSC and APIC timer rates in kHz, and what they were measured by.
pub fn measure(pm_timer: Option<(u16, bool)>, hpet: Option<u64>) -> (u64, u64, &'static str) {
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
    let khz =
        |ticks: u64| ((u128::from(ticks) * 1_000_000 + u128::from(ns) / 2) / u128::from(ns)).max(1) as u64;
    (khz(tsc1 - tsc0), khz(u64::from(apic0.saturating_sub(apic1))), reference.name())
}
