//! The time-stamp counter a domain reads: the processor's, or one that is emulated (`settscinfo`; the modes are in
//! Xen's manual page `xen-tscmode(7)`).
//!
//! An emulated counter is the time since the domain's beginning, on whichever machine that was, at the frequency of
//! that machine. PV guests have no offset by which the processor could do this, so that RDTSC traps (CR4.TSD).

use super::DomainTime;
use super::clock::TscScale;
use crate::host::HostInfo;
use abi::domctl::{TSC_MODE_ALWAYS_EMULATE, TSC_MODE_DEFAULT, TSC_MODE_NEVER_EMULATE};
use core::sync::atomic::Ordering::*;

/// One measurement of a counter's frequency differs from the next by less than this part of it.
const CALIBRATION: u32 = 10_000;

/// What `settscinfo` asked for, as it is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TscInfo {
    /// `TSC_MODE_*`.
    pub mode: u32,
    /// RDTSC traps and answers [`Self::ticks`].
    pub emulated: bool,
    /// System time at which the emulated counter was 0; it wraps below 0 for a domain older than this machine.
    pub start_ns: u64,
    /// Frequency, of the emulated counter or the processor's; 0: nobody said, so the processor's.
    pub khz: u32,
    /// How often the domain has been restored or has moved.
    pub incarnation: u32,
}

impl Default for TscInfo {
    fn default() -> Self {
        Self { mode: TSC_MODE_DEFAULT, emulated: false, start_ns: 0, khz: 0, incarnation: 0 }
    }
}

impl TscInfo {
    /// Ticks of the emulated counter at system time `now_ns`.
    pub fn ticks(&self, now_ns: u64) -> u64 {
        let ns = now_ns.wrapping_sub(self.start_ns);
        (u128::from(ns) * u128::from(self.khz) / 1_000_000) as u64
    }

    /// How it is turned into nanoseconds.
    pub fn scale(&self) -> TscScale {
        TscScale::from_khz(self.khz.max(1))
    }
}

/// Whether RDTSC is emulated for a domain that was promised `khz`, on a machine whose counters run at `sound_khz`
/// (`None`: they are not sound).
fn is_emulated(mode: u32, khz: u32, sound_khz: Option<u32>) -> bool {
    match mode {
        TSC_MODE_ALWAYS_EMULATE => true,
        TSC_MODE_NEVER_EMULATE => false,
        _ => sound_khz.is_none_or(|host| khz.abs_diff(host) > host / CALIBRATION),
    }
}

impl DomainTime {
    /// `settscinfo`: the counter has run for `elapsed_ns` by now, at `khz` (0: the processor's frequency). By default it
    /// is emulated where the machine's counters are not sound, or the domain knows another frequency.
    pub fn set_tsc(
        &self,
        host: &HostInfo,
        now_ns: u64,
        mode: u32,
        elapsed_ns: u64,
        khz: u32,
        incarnation: u32,
    ) {
        let khz = if khz == 0 { host.tsc_khz } else { khz };
        let emulated = is_emulated(mode, khz, host.tsc_sound.load(Relaxed).then_some(host.tsc_khz));
        let start_ns = now_ns.wrapping_sub(elapsed_ns);
        *self.tsc.lock() = TscInfo { mode, emulated, start_ns, khz, incarnation };
        self.tsc_last.store(0, Release);
        self.tsc_emulated.store(emulated, Release);
    }

    /// The machine's counters are not to be trusted any more, and this domain reads them because that is the default:
    /// it goes on with an emulated one, from where the calling CPU's is at `now_ns`. True if that is so.
    pub fn distrust_tsc(&self, host: &HostInfo, (tsc, now_ns): (u64, u64)) -> bool {
        let mut t = self.tsc.lock();
        if t.emulated || t.mode != TSC_MODE_DEFAULT {
            return false;
        }
        if t.khz == 0 {
            t.khz = host.tsc_khz;
        }
        t.start_ns = now_ns.wrapping_sub(t.scale().ns(tsc));
        t.emulated = true;
        self.tsc_last.store(0, Release);
        self.tsc_emulated.store(true, Release);
        true
    }

    /// `gettscinfo`: (what is in force, nanoseconds the counter has run for, kHz). `tsc` is the processor's at `now_ns`.
    pub fn tsc_info(&self, host: &HostInfo, (tsc, now_ns): (u64, u64)) -> (TscInfo, u64, u32) {
        let t = *self.tsc.lock();
        let (elapsed, khz) = match t.mode {
            TSC_MODE_NEVER_EMULATE => (0, 0),
            _ if t.emulated => (now_ns.wrapping_sub(t.start_ns), t.khz),
            // Where it is emulated next, it goes on from what the domain has read here.
            _ => (TscScale::from_khz(host.tsc_khz.max(1)).ns(tsc), host.tsc_khz),
        };
        (t, elapsed, khz)
    }

    /// Whether RDTSC traps.
    #[inline]
    pub fn tsc_emulated(&self) -> bool {
        self.tsc_emulated.load(Relaxed)
    }

    /// What an emulated RDTSC answers: never less than any vCPU has seen.
    pub fn emulated_tsc(&self, now_ns: u64) -> u64 {
        let ticks = self.tsc.lock().ticks(now_ns);
        self.tsc_last.fetch_max(ticks, AcqRel).max(ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn modes_decide_who_counts() {
        const HERE: Option<u32> = Some(1_000_000);
        for (host, mode, khz, emulated) in [
            (HERE, TSC_MODE_DEFAULT, 1_000_000, false),
            (HERE, TSC_MODE_DEFAULT, 1_000_050, false),
            (HERE, TSC_MODE_DEFAULT, 1_000_500, true),
            (HERE, TSC_MODE_DEFAULT, 2_000_000, true),
            (HERE, TSC_MODE_ALWAYS_EMULATE, 1_000_000, true),
            (HERE, TSC_MODE_NEVER_EMULATE, 2_000_000, false),
            (None, TSC_MODE_DEFAULT, 1_000_000, true),
            (None, TSC_MODE_NEVER_EMULATE, 1_000_000, false),
        ] {
            assert_eq!(is_emulated(mode, khz, host), emulated, "mode {mode}, {khz} kHz of {host:?}");
        }
        // Nothing said is this machine's frequency.
        let t = DomainTime::new();
        t.set_tsc(&World::new(64, 1).xen.host, SECOND, TSC_MODE_DEFAULT, 0, 0, 0);
        assert!(!t.tsc_emulated());
    }

    #[test]
    fn what_is_kept_of_a_native_counter() {
        let host = &World::new(64, 1).xen.host;
        let t = DomainTime::new();
        // The processor's counter runs since long before the hypervisor.
        let read = (5 * SECOND, SECOND);
        t.set_tsc(host, SECOND, TSC_MODE_DEFAULT, 0, 0, 0);
        assert_eq!(t.tsc_info(host, read).1.abs_diff(5 * SECOND) / 1000, 0);
        t.set_tsc(host, SECOND, TSC_MODE_NEVER_EMULATE, 0, 0, 0);
        assert_eq!(t.tsc_info(host, read).1, 0, "never emulated: nothing to go on with");
    }

    #[test]
    fn an_emulated_counter_goes_on_where_it_was() {
        let host = &World::new(64, 1).xen.host;
        let t = DomainTime::new();
        // An hour old, at half this machine's frequency, one second after this machine started.
        t.set_tsc(host, SECOND, TSC_MODE_DEFAULT, 3600 * SECOND, 500_000, 2);
        assert_eq!(t.emulated_tsc(2 * SECOND), 3601 * 500_000_000);
        let (info, elapsed, khz) = t.tsc_info(host, (9 * SECOND, 2 * SECOND));
        assert_eq!((info.incarnation, elapsed, khz), (2, 3601 * SECOND, 500_000));
        assert_eq!(info.scale().ns(info.ticks(2 * SECOND)).abs_diff(3601 * SECOND) / 1000, 0);
        // A clock that is behind on another CPU turns nothing back.
        assert_eq!(t.emulated_tsc(SECOND), 3601 * 500_000_000);
    }
}
