//! `tsc`: the time-stamp counter and the clock on two vCPUs; what a domain's mode (`tsc_mode=` of `xl`) makes of them. Not a part of `all`.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::arch_x86::XEN_CPUID_FIRST_LEAF;

use super::timers::{MS, now, now_at, spin, tsc};
use super::traps::{forced_cpuid, rdmsr};
use crate::print::ok;
use crate::smp::{both, meet, of_second};
use crate::{say, vcpu};

const ROUNDS: u64 = 2_000;
const MSR_TSC: u32 = 0x10;

pub fn run() {
    let [flags, mode, khz, incarnation] = forced_cpuid(XEN_CPUID_FIRST_LEAF + 3, 0);
    say!("tsc.mode", "emulated={} mode={mode} incarnation={incarnation}", flags & 1);
    say!("tsc.both", "{:?}", both(first, second));
    let found = |worst: &AtomicU64, allowed| ok(worst.load(Ordering::Relaxed) <= allowed);
    say!("tsc.monotonic", "{}", found(&WORST_TSC, 0));
    say!("tsc.clock-monotonic", "{}", found(&WORST_CLOCK, MS));
    let before = tsc();
    let (outcome, read) = rdmsr(MSR_TSC);
    say!("tsc.msr", "{outcome} {}", ok((before..=tsc()).contains(&read)));
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("rdtscp", out("eax") low, out("edx") high, out("ecx") _) };
    let read = u64::from(high) << 32 | u64::from(low);
    say!("tsc.rdtscp", "{}", ok((before..=tsc()).contains(&read)));
    if flags & 1 != 0 {
        // Emulated: from the domain's beginning, at the frequency that is told. The machine is older: it had to start
        // who made this domain.
        let ns = |ticks: u64| (u128::from(ticks) * 1_000_000 / u128::from(khz)) as u64;
        say!("tsc.begins-with-domain", "{}", ok(ns(tsc()) + 5_000 * MS < now()));
        let (ticks, time) = (tsc(), now());
        spin(200 * MS);
        let (ticks, time) = (ns(tsc() - ticks), now() - time);
        say!("tsc.rate", "{}", ok(ticks.abs_diff(time) < time / 100));
    }
}

static LOCK: AtomicBool = AtomicBool::new(false);
static LAST: AtomicU64 = AtomicU64::new(0);
static MET: AtomicU64 = AtomicU64::new(0);
/// The longest step back.
static WORST_TSC: AtomicU64 = AtomicU64::new(0);
static WORST_CLOCK: AtomicU64 = AtomicU64::new(0);

/// Reads after whoever read last, on either vCPU.
fn in_turn(read: impl Fn() -> u64, worst: &AtomicU64) {
    for _ in 0..ROUNDS {
        while LOCK.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        let this = read();
        let last = LAST.swap(this, Ordering::Relaxed);
        worst.fetch_max(last.saturating_sub(this), Ordering::Relaxed);
        LOCK.store(false, Ordering::Release);
    }
}

fn compare(time: u64) {
    meet(&MET, 0);
    in_turn(tsc, &WORST_TSC);
    meet(&MET, 1);
    LAST.store(0, Ordering::Relaxed);
    meet(&MET, 2);
    in_turn(|| now_at(time), &WORST_CLOCK);
}

fn first() {
    compare(vcpu!(time));
}

fn second() {
    compare(of_second(vcpu!(time)));
}
