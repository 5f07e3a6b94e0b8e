//! The platform timer: a counter of known rate that is not the processors'. The TSC is measured by it at boot, and
//! watched by it ever after.
//!
//! [`Counter`] is what a counter is like, [`Running`] one that is read now and then and goes on past its wrap,
//! [`Watch`] compares the time that the TSC tells with the time that it tells. System time stays the TSC's: once the
//! two part, guests are no longer told that the TSC is to be trusted, and read an emulated one.

use super::queue::{Timer, TimerKey};
use crate::machine::Machine;
use crate::sync::Mutex;
use crate::xen::Xen;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

const FS_PER_S: u64 = 1_000_000_000_000_000;
/// Of HPETs: the longest period of a tick (IA-PC HPET Specification 1.0a, 2.3.4).
const HPET_MAX_PERIOD_FS: u64 = 100_000_000;
/// In the HPET's capabilities: its main counter has 64 bits.
const HPET_WIDE: u64 = 1 << 13;

/// A free-running counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter {
    /// 1 to 64.
    bits: u32,
    /// Femtoseconds per tick.
    period_fs: u64,
}

impl Counter {
    /// Channel 2 of the PIT, counted upwards.
    pub const PIT: Self = Self { bits: 16, period_fs: FS_PER_S / 1_193_182 };

    /// The power-management timer (ACPI Specification 6.5, 4.8.3.3).
    pub const fn pm_timer(wide: bool) -> Self {
        Self { bits: if wide { 32 } else { 24 }, period_fs: FS_PER_S / 3_579_545 }
    }

    /// The HPET with these capabilities (the register at its beginning); `None`: they make no sense.
    pub fn hpet(capabilities: u64) -> Option<Self> {
        let period_fs = capabilities >> 32;
        let bits = if capabilities & HPET_WIDE != 0 { 64 } else { 32 };
        (1..=HPET_MAX_PERIOD_FS).contains(&period_fs).then_some(Self { bits, period_fs })
    }

    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Ticks from one reading to a later one, which is less than a wrap away.
    pub fn ticks(&self, from: u64, to: u64) -> u64 {
        to.wrapping_sub(from) & (u64::MAX >> (64 - self.bits))
    }

    /// Nanoseconds of so many ticks.
    pub fn ns(&self, ticks: u64) -> u64 {
        (u128::from(ticks) * u128::from(self.period_fs) / 1_000_000) as u64
    }
}

/// Its rate.
impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let khz = (FS_PER_S / 1000 + self.period_fs / 2) / self.period_fs;
        write!(f, "{}.{:03}MHz", khz / 1000, khz % 1000)
    }
}

/// A counter that is read at least once a wrap.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    counter: Counter,
    begin_ns: u64,
    last: u64,
    ticks: u64,
}

impl Running {
    /// It is `begin_ns` when the counter shows `count`.
    pub fn new(counter: Counter, count: u64, begin_ns: u64) -> Self {
        Self { counter, begin_ns, last: count, ticks: 0 }
    }

    /// What time it is when the counter shows `count`.
    pub fn read(&mut self, count: u64) -> u64 {
        self.ticks += self.counter.ticks(self.last, count);
        self.last = count;
        self.begin_ns + self.counter.ns(self.ticks)
    }
}

/// Time between two looks: less than half the wrap of the shortest counter that is watched by (24 bits, 4.7 seconds).
pub const PERIOD_NS: u64 = 2_000_000_000;
/// The clocks differ if it is by more than one part in so many.
const TOLERANCE: u64 = 64;
/// They part if they differ in one direction at so many looks in a row: one look may be held up between two readings.
const LOOKS: u32 = 3;

/// Whether the clock of the TSC and that of the platform timer go alike.
#[derive(Clone, Copy, Default, Debug)]
pub struct Watch {
    /// System time and the platform timer's at the last look.
    last: Option<(u64, u64)>,
    /// Looks in a row at which system time was the faster one, or (below 0) the slower one.
    row: i32,
    over: bool,
}

impl Watch {
    /// A look at both. The clocks have parted, which is told once: how far system time went while the other went a
    /// million.
    pub fn look(&mut self, system_ns: u64, platform_ns: u64) -> Option<u64> {
        let (system, platform) = self.last.replace((system_ns, platform_ns))?;
        let (system, platform) =
            (system_ns.saturating_sub(system), platform_ns.saturating_sub(platform).max(1));
        let alike = system.abs_diff(platform) <= platform / TOLERANCE;
        self.row = match system > platform {
            _ if alike => 0,
            true => self.row.max(0) + 1,
            false => self.row.min(0) - 1,
        };
        if self.over || self.row.unsigned_abs() < LOOKS {
            return None;
        }
        self.over = true;
        Some((u128::from(system) * 1_000_000 / u128::from(platform)) as u64)
    }
}

/// The watch as it stands.
pub type ClockWatch = Mutex<Watch>;

/// Has the calling CPU compare the clocks from now on, where there is a platform timer that keeps running.
pub fn start<M: Machine>(xen: &Xen<M>) {
    if xen.m.clocks().is_some() {
        look(xen);
    }
}

/// Compares the clocks, and again later.
pub(super) fn look<M: Machine>(xen: &Xen<M>) {
    let Some((system_ns, platform_ns)) = xen.m.clocks() else { return };
    if let Some(rate) = xen.clock_watch.lock().look(system_ns, platform_ns) {
        xen.host.tsc_sound.store(false, Relaxed);
        xen.host.tsc_stable.store(false, Relaxed);
        crate::log!(
            xen.m,
            Warning,
            "TSC unstable: it went {} ms while the platform timer went 1000; RDTSC of guests is emulated from now on",
            rate / 1000
        );
        distrust_tsc(xen);
    }
    let due = xen.m.now() + PERIOD_NS;
    // Should memory be short, nobody watches any more.
    if xen.timers.insert(xen.m.cpu(), due, TimerKey::clocks(), Timer::Clocks).is_err() {
        crate::log!(xen.m, Warning, "no memory to watch the clocks");
    }
}

/// Domains that read the processors' counters by default go on with emulated ones: each vCPU from its next way into
/// its kernel. A domain has the same counter by either way at this moment, so it does not matter when that is.
fn distrust_tsc<M: Machine>(xen: &Xen<M>) {
    for dom in xen.domains.all() {
        let emulated = dom.time.distrust_tsc(&xen.host, xen.m.tsc_and_now());
        dom.for_each_vcpu(|v| {
            super::clock::outdate_vcpu_time(v);
            if emulated {
                v.time.areas.mark_counter();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VcpuId;
    use crate::machine::Cpus;
    use crate::testing::World;
    use crate::time::runstate::{is_stale, refresh_stale};
    use abi::domctl::{TSC_MODE_DEFAULT, TSC_MODE_NEVER_EMULATE};
    use abi::xen::XEN_PVCLOCK_TSC_STABLE_BIT;
    use core::sync::atomic::Ordering::SeqCst;
    extern crate std;
    use std::string::ToString;

    /// QEMU's: 100 MHz, 64 bits.
    const HPET: u64 = 10_000_000 << 32 | HPET_WIDE | 0x8086_0201;
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn counters_are_as_wide_as_they_say() {
        let (wide, narrow) = (Counter::hpet(HPET).unwrap(), Counter::hpet(HPET & !HPET_WIDE).unwrap());
        assert_eq!((wide.bits(), narrow.bits(), wide.to_string()), (64, 32, "100.000MHz".to_string()));
        assert_eq!(wide.ticks(0xffff_fff0, 0x1_0000_0010), 0x20);
        assert_eq!(narrow.ticks(0xffff_fff0, 0x10), 0x20);
        assert_eq!(wide.ticks(u64::MAX, 1), 2);
        // A counter of 32 bits may leave anything in the others.
        assert_eq!(narrow.ticks(0xdead_ffff_fff0, 0xbeef_0000_0010), 0x20);
        assert_eq!((narrow.ns(100), wide.ns(u64::MAX >> 4)), (1000, (u64::MAX >> 4) * 10));
        assert_eq!(Counter::hpet(HPET & 0xffff_ffff), None, "a tick takes time");
        assert_eq!(Counter::hpet(100_000_001 << 32), None);
        let pm = [Counter::pm_timer(false), Counter::pm_timer(true)];
        assert_eq!(pm.map(|c| c.ticks(0xff_ffff, 0x100_0000)), [1, 1]);
        assert_eq!(pm.map(|c| c.ticks(0xff_ffff, 0)), [1, 0xff00_0001]);
        assert_eq!((pm[0].to_string(), Counter::PIT.to_string()), ("3.580MHz".into(), "1.193MHz".into()));
        assert_eq!(pm[0].ns(3_579_545).abs_diff(SECOND) / 1000, 0);
        assert_eq!(Counter::PIT.ticks(0xfff0, 0), 0x10);
    }

    #[test]
    fn a_running_counter_goes_on_past_its_wrap() {
        let counter = Counter::hpet(HPET & !HPET_WIDE).unwrap();
        // 32 bits at 100 MHz are 43 seconds; ten minutes, read every two seconds, from just before the wrap.
        let begin = 0xffff_ff00_u64;
        let mut running = Running::new(counter, begin, 7);
        for n in 1..=300 {
            let count = begin + n * 2 * 100_000_000;
            assert_eq!(running.read(count & 0xffff_ffff), n * 2 * SECOND + 7);
        }
        let mut wide = Running::new(Counter::hpet(HPET).unwrap(), u64::MAX - 5, 0);
        assert_eq!((wide.read(u64::MAX), wide.read(4)), (50, 100));
    }

    #[test]
    fn clocks_part_when_they_differ_for_long() {
        let looks = |rates: &[u64]| {
            let (mut w, mut at) = (Watch::default(), (0, 0));
            let mut heard = std::vec::Vec::new();
            w.look(0, 0);
            for (n, rate) in rates.iter().enumerate() {
                at = (at.0 + PERIOD_NS / 1000 * rate, at.1 + PERIOD_NS);
                heard.extend(w.look(at.0, at.1).map(|rate| (n, rate / 1000)));
            }
            heard
        };
        assert_eq!(looks(&[1000, 1010, 990, 1015, 1015, 1015, 1015]), []);
        assert_eq!(looks(&[1500, 1500, 1000, 1500, 500, 1500]), [], "held up once or twice");
        assert_eq!(looks(&[1000, 1500, 1500, 1400, 1500, 1500]), [(3, 1400)], "told once");
        assert_eq!(looks(&[500, 600, 700]), [(2, 700)]);
        assert_eq!(looks(&[0, 0, 0]), [(2, 0)]);
    }

    #[test]
    fn guests_no_longer_trust_a_tsc_that_runs_away() {
        let w = World::new(512, 1);
        let g = w.domain(0, 1);
        let v = g.dom.vcpu(VcpuId(0)).unwrap();
        let cpu = w.xen.m.cpu();
        start(w.xen);
        let second = |by: u64, platform: u64| {
            let now = w.xen.m.clock_ns.fetch_add(by, SeqCst) + by;
            w.xen.m.platform_ns.fetch_add(platform, SeqCst);
            crate::time::expired(w.xen, cpu, now);
        };
        let trusted = || {
            let t = crate::time::DomainTime::new();
            t.set_tsc(&w.xen.host, SECOND, TSC_MODE_DEFAULT, 0, 0, 0);
            let flags = crate::time::clock::read_clock(w.xen, &v).flags;
            (!t.tsc_emulated(), flags & XEN_PVCLOCK_TSC_STABLE_BIT != 0)
        };
        let never = w.domain(1, 1);
        never.dom.time.set_tsc(&w.xen.host, SECOND, TSC_MODE_NEVER_EMULATE, 0, 0, 0);
        let emulated = || [&g, &never].map(|d| d.dom.time.tsc_emulated());
        for _ in 0..60 {
            second(SECOND, SECOND);
        }
        assert_eq!((trusted(), emulated()), ((true, true), [false, false]));
        for _ in 0..8 {
            second(SECOND, SECOND / 2);
        }
        assert_eq!((trusted(), emulated()), ((false, false), [true, false]));
        // Who runs goes on where it was, and its RDTSC traps from its next way into its kernel.
        let (tsc, now) = w.xen.m.tsc_and_now();
        assert!(g.dom.time.emulated_tsc(now).abs_diff(tsc) < 16);
        let clock = crate::time::clock::read_clock(w.xen, &v);
        assert!(clock.tsc_timestamp.abs_diff(tsc) < 16);
        assert!(is_stale(&v) && !is_stale(&never.dom.vcpu(VcpuId(0)).unwrap()));
        refresh_stale(w.xen, &g.dom, &v);
        assert_eq!((w.xen.m.rdtsc_traps.load(SeqCst), is_stale(&v)), (1, false));
    }

    #[test]
    fn without_such_a_timer_nobody_looks() {
        let w = World::new(512, 1);
        w.xen.m.platform_ns.store(u64::MAX, SeqCst);
        start(w.xen);
        assert_eq!(w.xen.timers.first(w.xen.m.cpu()), u64::MAX);
    }
}
