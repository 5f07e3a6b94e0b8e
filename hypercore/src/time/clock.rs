//! The clocks guests read: `vcpu_time_info` (nanoseconds from the TSC) and the wall clock of `shared_info`.

use crate::domain::Domain;
use crate::machine::Machine;
use crate::vcpu::Vcpu;
use crate::xen::Xen;
use abi::xen::{SharedInfo, VcpuInfo, VcpuTimeInfo, XEN_PVCLOCK_TSC_STABLE_BIT};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};
use zerocopy::IntoBytes;

/// How TSC ticks become nanoseconds: `((ticks << shift) * mul) >> 32` (a negative shift is to the right).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TscScale {
    pub mul: u32,
    pub shift: i8,
}

impl TscScale {
    /// For a TSC of `khz`, with the most precision 32 bits give. `khz` is not 0.
    pub const fn from_khz(khz: u32) -> Self {
        let mut shift = 0;
        // 32.32 fixed point nanoseconds per tick, brought into 2^31..2^32.
        let mut mul = (1_000_000u128 << 64) / khz as u128;
        while mul >> 32 >= 1 << 32 {
            mul >>= 1;
            shift += 1;
        }
        while mul >> 32 < 1 << 31 {
            mul <<= 1;
            shift -= 1;
        }
        Self { mul: (mul >> 32) as u32, shift }
    }

    /// Nanoseconds of `ticks`, as the guest computes them.
    pub const fn ns(self, ticks: u64) -> u64 {
        let t = if self.shift >= 0 { ticks << self.shift } else { ticks >> -self.shift };
        ((t as u128 * self.mul as u128) >> 32) as u64
    }
}

/// What the clock of a vCPU was last set for.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    /// System time, or 0 for never.
    at_ns: AtomicU64,
    cpu: AtomicU32,
    version: AtomicU32,
}

/// A clock is set anew at the latest after this long.
const REFRESH: u64 = 1_000_000_000;

/// The clock as of now on this CPU, in terms of the counter that the vCPU's domain reads.
fn sample<M: Machine>(xen: &Xen<M>, v: &Vcpu, version: u32) -> VcpuTimeInfo {
    let (mut tsc, now) = xen.m.tsc_and_now();
    let mut scale = TscScale::from_khz(xen.host.tsc_khz.max(1));
    if let Some(dom) = v.domain().filter(|dom| dom.time.tsc_emulated()) {
        let emulated = *dom.time.tsc.lock();
        (tsc, scale) = (emulated.ticks(now), emulated.scale());
    }
    VcpuTimeInfo {
        version,
        tsc_timestamp: tsc,
        system_time: now,
        tsc_to_system_mul: scale.mul,
        tsc_shift: scale.shift,
        flags: if xen.host.tsc_stable.load(Relaxed) { XEN_PVCLOCK_TSC_STABLE_BIT } else { 0 },
        ..Default::default()
    }
}

/// Brings the clock of `v`, which runs on the calling CPU, up to date if it is of another CPU, old or
/// missing. True if it has been written.
pub fn update_vcpu_time<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> bool {
    let s = &v.time.stamp;
    let (at, cpu) = (s.at_ns.load(Relaxed), xen.m.cpu());
    let moved = !xen.host.tsc_stable.load(Relaxed) && s.cpu.load(Relaxed) != cpu.0;
    if at != 0 && !moved && xen.m.now().saturating_sub(at) < REFRESH {
        return false;
    }
    force_vcpu_time(xen, v);
    true
}

/// The clock of `v` is out of date: its domain reads another counter.
pub fn outdate_vcpu_time(v: &Vcpu) {
    v.time.stamp.at_ns.store(0, Relaxed);
}

/// As [`update_vcpu_time`], without asking whether it is needed (its area moved).
pub fn force_vcpu_time<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    let s = &v.time.stamp;
    // Even numbers are valid; odd ones say "being written".
    let version = s.version.load(Relaxed).wrapping_add(2);
    s.version.store(version, Relaxed);
    let info = sample(xen, v, version);
    if v.events.info.with(|area| write_clock(&xen.m, &info, |m, at, w| area.store(m, at, w))).is_some() {
        s.at_ns.store(info.system_time.max(1), Relaxed);
        s.cpu.store(xen.m.cpu().0, Relaxed);
    }
    v.time.areas.mark_time();
}

/// Writes `info` by 8-byte words at offsets within vcpu_info, the version odd meanwhile.
fn write_clock<M: Machine>(m: &M, info: &VcpuTimeInfo, store: impl Fn(&M, usize, u64)) {
    const AT: usize = offset_of!(VcpuInfo, time);
    let mut words = [0u64; size_of::<VcpuTimeInfo>() / 8];
    words.as_mut_bytes().copy_from_slice(info.as_bytes());
    store(m, AT, u64::from(info.version.wrapping_sub(1)));
    fence(Release);
    for (i, w) in words.iter().enumerate().skip(1) {
        store(m, AT + 8 * i, *w);
    }
    fence(Release);
    store(m, AT, words[0]);
}

/// A fresh reading for the registered copy.
pub(crate) fn read_clock<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> VcpuTimeInfo {
    sample(xen, v, v.time.stamp.version.load(Relaxed))
}

/// Writes the wall clock of `dom` (`wc_*` of its shared_info).
pub fn update_wallclock<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    let boot = xen.host.boot_wallclock.lock();
    let sec = boot.0.wrapping_add_signed(dom.time.offset_seconds.load(Relaxed));
    const VERSION: usize = offset_of!(SharedInfo, wc_version);
    const NSEC: usize = offset_of!(SharedInfo, wc_nsec);
    const _: () = assert!(VERSION.is_multiple_of(8) && NSEC == VERSION + 8);
    const _: () = assert!(offset_of!(SharedInfo, wc_sec) == VERSION + 4);
    const _: () = assert!(offset_of!(SharedInfo, wc_sec_hi) == NSEC + 4);
    let f = &dom.shared_info;
    let old = xen.m.load(f, VERSION);
    let odd = (old as u32).wrapping_add(1) | 1;
    xen.m.store(f, VERSION, old & !0xffff_ffff | u64::from(odd));
    fence(Release);
    xen.m.store(f, NSEC, u64::from(boot.1) | sec >> 32 << 32);
    xen.m.store(f, VERSION, u64::from(odd) | sec << 32);
    fence(Release);
    xen.m.store(f, VERSION, u64::from(odd.wrapping_add(1)) | sec << 32);
}

/// `XENPF_settime`: at system time `system_ns` it was `sec` and `nsec` since 1970. All domains see it.
pub fn set_wallclock<M: Machine>(xen: &Xen<M>, sec: u64, nsec: u32, system_ns: u64) {
    let total = u128::from(sec) * 1_000_000_000 + u128::from(nsec);
    let boot = total.saturating_sub(u128::from(system_ns));
    *xen.host.boot_wallclock.lock() = ((boot / 1_000_000_000) as u64, (boot % 1_000_000_000) as u32);
    for dom in xen.domains.all() {
        update_wallclock(xen, &dom);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_turns_ticks_into_nanoseconds() {
        for khz in [1_000_000, 999_999, 2_712_345, 100_000, 5_800_000, 13] {
            let s = TscScale::from_khz(khz);
            assert!(s.mul >= 1 << 31);
            let ticks = u64::from(khz) * 1000 * 3600;
            let ns = s.ns(ticks);
            let hour = 3_600_000_000_000u64;
            // Within a microsecond an hour.
            assert!(hour.abs_diff(ns) < 2000, "{khz} kHz: {ns}");
        }
        let one = TscScale::from_khz(1_000_000);
        assert_eq!((one.mul, one.shift), (1 << 31, 1));
    }
}
