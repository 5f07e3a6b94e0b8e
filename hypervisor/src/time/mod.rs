//! Time: system time by the TSC ([`now_ns`]), the timer of each CPU ([`set_timer`]), the calendar ([`rtc`]).
//!
//! System time counts nanoseconds from boot. It is the TSC scaled as the ABI's `vcpu_time_info` scales it
//! (public/xen.h), so guests that compute it themselves get the very same number.

mod calibrate;
pub mod rtc;

pub use calibrate::clocks;

use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::cpu::instr::rdtsc;
use crate::cpu::relax;
use crate::sync::Once;
use crate::{apic, console, hooks, percpu};

/// How the TSC turns into nanoseconds: `((tsc - base) << shift) * mul >> 32` (a negative shift goes right).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// TSC at system time 0.
    pub base: u64,
    pub mul: u32,
    pub shift: i8,
    pub tsc_khz: u64,
    /// What the local APIC's timer counts.
    pub apic_khz: u64,
}

static SCALE: Once<Scale> = Once::new();
/// Wall clock time, in nanoseconds since 1970, when system time was 0.
static WALL_AT_BOOT_NS: AtomicI64 = AtomicI64::new(0);
/// The greatest step backwards seen between two CPUs' TSCs, in ticks.
static MAX_WARP: AtomicU64 = AtomicU64::new(0);
/// `tsc=` says that the TSCs are not to be trusted.
static TSC_DISTRUSTED: AtomicBool = AtomicBool::new(false);

/// Measures the clocks and reads the calendar, on the boot processor.
pub fn init(pm_timer: Option<(u16, bool)>, hpet: Option<u64>, tsc_distrusted: bool) {
    let (tsc_khz, apic_khz, (rate, by)) = calibrate::measure(pm_timer, hpet);
    let (mul, shift) = scale_of(tsc_khz);
    SCALE.call_once(|| Scale { base: rdtsc(), mul, shift, tsc_khz, apic_khz });
    TSC_DISTRUSTED.store(tsc_distrusted, Ordering::Relaxed);
    let wall = rtc::read();
    WALL_AT_BOOT_NS.store(wall * 1_000_000_000 - now_ns() as i64, Ordering::Relaxed);
    apic::local::timer_enable();
    crate::info!("Platform timer is {rate} {by}");
    crate::info!("Detected {}.{:03} MHz processor.", tsc_khz / 1000, tsc_khz % 1000);
}

/// Multiplier and shift for a TSC of `khz`: the multiplier uses all its bits.
fn scale_of(khz: u64) -> (u32, i8) {
    let (mut hz, mut shift) = (khz * 1000, 0i8);
    // Nanoseconds per tick times 2^32 must fit 32 bits, with the top one set.
    while hz > 2_000_000_000 {
        hz >>= 1;
        shift -= 1;
    }
    while hz <= 1_000_000_000 {
        hz <<= 1;
        shift += 1;
    }
    (((1_000_000_000u128 << 32) / u128::from(hz)) as u32, shift)
}

/// The scale, once [`init`] has run.
pub fn scale() -> &'static Scale {
    SCALE.get().expect("clocks are measured at boot")
}

/// System time at TSC value `tsc`.
#[inline]
pub fn tsc_to_ns(tsc: u64) -> u64 {
    let s = scale();
    let ticks = tsc.wrapping_sub(s.base);
    let shifted = if s.shift < 0 { ticks >> -s.shift } else { ticks << s.shift };
    ((u128::from(shifted) * u128::from(s.mul)) >> 32) as u64
}

/// System time: nanoseconds since boot. 0 before the clocks are measured.
#[inline]
pub fn now_ns() -> u64 {
    if SCALE.is_completed() { tsc_to_ns(rdtsc()) } else { 0 }
}

/// Wall clock time when system time was 0, in nanoseconds since 1970.
pub fn wall_at_boot_ns() -> i64 {
    WALL_AT_BOOT_NS.load(Ordering::Relaxed)
}

/// Makes this CPU's timer fire at `deadline_ns` (at once if that has passed); `None`: not at all.
pub fn set_timer(deadline_ns: Option<u64>) {
    let deadline = deadline_ns.unwrap_or(u64::MAX);
    // Writing the timer's register is dear; most switches leave the deadline as it is.
    if percpu::this().timer_deadline_ns.replace(deadline) != deadline {
        start_timer();
    }
}

/// Has the console polled by this CPU at `at_ns`.
pub fn poll_console(at_ns: u64) {
    percpu::this().poll_at_ns.set(at_ns);
    start_timer();
}

/// Sets the local APIC's timer for what is due first on this CPU.
fn start_timer() {
    let cpu = percpu::this();
    let deadline = cpu.timer_deadline_ns.get().min(cpu.poll_at_ns.get());
    if deadline == u64::MAX {
        apic::local::timer_start(0);
        return;
    }
    let ns = deadline.saturating_sub(now_ns());
    let count = u128::from(ns) * u128::from(scale().apic_khz) / 1_000_000;
    // A count too large is cut; the interrupt then sets the rest.
    apic::local::timer_start(count.clamp(1, u128::from(u32::MAX)) as u32);
}

/// The timer's interrupt: early ones (a cut or rounded count) are set anew, others are work.
pub fn timer_fired() {
    let cpu = percpu::this();
    let now = now_ns();
    if cpu.poll_at_ns.get() <= now {
        cpu.poll_at_ns.set(console::poll(now));
    }
    let due = cpu.timer_deadline_ns.get() <= now;
    if due {
        cpu.timer_deadline_ns.set(u64::MAX);
    }
    // Nothing may be left: the timer was stopped when the interrupt was already under way.
    if cpu.timer_deadline_ns.get().min(cpu.poll_at_ns.get()) != u64::MAX {
        start_timer();
    }
    if due {
        hooks::timer();
    }
}

/// Waits `ns`, serving other CPUs.
pub fn spin_ns(ns: u64) {
    if !SCALE.is_completed() {
        return;
    }
    let until = now_ns() + ns;
    while now_ns() < until {
        relax();
    }
}

/// Waits `ns` for nobody, on a machine that is about to end.
pub fn delay_ns(ns: u64) {
    let until = now_ns() + ns;
    while SCALE.is_completed() && now_ns() < until {
        core::hint::spin_loop();
    }
}

/// Reports a backward step of `ticks` between two CPUs' TSCs.
pub fn note_warp(ticks: u64) {
    MAX_WARP.fetch_max(ticks, Ordering::Relaxed);
}

/// The greatest backward step seen at the CPUs' start, in ticks.
pub fn max_warp() -> u64 {
    MAX_WARP.load(Ordering::Relaxed)
}

/// Whether all CPUs' TSCs agree, as far as the test at their start shows (and `tsc=` does not forbid it).
pub fn tsc_is_sound() -> bool {
    max_warp() == 0 && !TSC_DISTRUSTED.load(Ordering::Relaxed)
}
