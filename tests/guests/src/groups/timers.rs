//! `timers`: one-shot and periodic timers, the clock, run states. Times are printed as relations.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use abi::GuestHandle;
use abi::sched::{SCHEDOP_BLOCK, SCHEDOP_POLL, SchedPoll};
use abi::vcpu::*;
use abi::xen::*;

use super::events;
use crate::hypercall::{addr, call, op};
use crate::mm::{Page, read};
use crate::print::ok;
use crate::trap::UPCALLS;
use crate::{say, vcpu};

pub const MS: u64 = 1_000_000;

pub fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

/// System time from the vCPU's clock.
pub fn now() -> u64 {
    now_at(vcpu!(time))
}

/// System time from the clock at `time`, a vCPU's own.
pub fn now_at(time: u64) -> u64 {
    let word = |offset: usize| read(time + offset as u64);
    loop {
        let version = word(offset_of!(VcpuTimeInfo, version)) as u32;
        let stamp = word(offset_of!(VcpuTimeInfo, tsc_timestamp));
        let base = word(offset_of!(VcpuTimeInfo, system_time));
        let scale = word(offset_of!(VcpuTimeInfo, tsc_to_system_mul));
        let (mul, shift) = (scale as u32, (scale >> 32) as i8);
        let delta = tsc().wrapping_sub(stamp);
        if version & 1 == 0 && version == word(offset_of!(VcpuTimeInfo, version)) as u32 {
            let delta = if shift >= 0 { delta << shift } else { delta >> -shift };
            return base.wrapping_add(((u128::from(delta) * u128::from(mul)) >> 32) as u64);
        }
    }
}

fn upcalls() -> u64 {
    UPCALLS.load(Ordering::Relaxed)
}

fn block() -> i64 {
    call(HYPERVISOR_SCHED_OP, [SCHEDOP_BLOCK.into(), 0, 0, 0])
}

fn set_timer(deadline: u64) -> i64 {
    call(HYPERVISOR_SET_TIMER_OP, [deadline, 0, 0, 0])
}

fn vcpu_op<T>(cmd: u32, vcpu: u64, arg: &mut T) -> i64 {
    call(HYPERVISOR_VCPU_OP, [cmd.into(), vcpu, addr(arg), 0])
}

fn single_shot(timeout_abs_ns: u64, flags: u32) -> i64 {
    vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, 0, &mut VcpuSetSingleshotTimer { timeout_abs_ns, flags, _pad0: 0 })
}

fn periodic(period_ns: u64) -> i64 {
    vcpu_op(VCPUOP_SET_PERIODIC_TIMER, 0, &mut VcpuSetPeriodicTimer { period_ns })
}

/// Spins without blocking; events stay pending.
pub fn spin(ns: u64) {
    let end = now() + ns;
    while now() < end {
        core::hint::spin_loop();
    }
}

/// Did the event arrive while upcalls were off? Takes it.
fn pending() -> bool {
    let found = crate::mm::read8(vcpu!(evtchn_upcall_pending)) != 0;
    events::upcall();
    found
}

/// Waits for the event, as long as a loaded machine may need. Takes it.
fn fired() -> bool {
    let end = now() + 5_000 * MS;
    while crate::mm::read8(vcpu!(evtchn_upcall_pending)) == 0 && now() < end {
        core::hint::spin_loop();
    }
    pending()
}

pub fn run() {
    events::disable();
    let (answer, port) = events::bind_virq(VIRQ_TIMER, 0);
    say!("timers.bind", "{answer}");
    pending();
    say!("timers.periodic-at-start", "{}", fired());
    say!("timers.stop-periodic", "{}", vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, 0, &mut 0u64));
    pending();
    spin(50 * MS);
    say!("timers.periodic-stopped", "{}", pending());
    clock();
    one_shot();
    single_shots();
    periods();
    halting();
    polling(port);
    run_states();
    events::disable();
    events::close(port);
}

fn clock() {
    let mut last = now();
    let monotonic = (0..20_000).all(|_| {
        let this = now();
        let fine = this >= last;
        last = this;
        fine
    });
    say!("timers.clock-monotonic", "{}", ok(monotonic));
    let stamp = read(vcpu!(time.system_time));
    spin(20 * MS);
    call(HYPERVISOR_XEN_VERSION, [0; 4]);
    say!("timers.clock-advances", "{}", ok(now() >= stamp + 20 * MS));
}

fn one_shot() {
    let start = now();
    say!("timers.set", "{}", set_timer(start + 20 * MS));
    say!("timers.early", "{}", pending());
    say!("timers.fired", "{}", fired());
    spin(30 * MS);
    say!("timers.fired-once", "{}", pending());
    say!("timers.past", "{}", set_timer(now() - MS));
    say!("timers.past-fired", "{}", fired());
    set_timer(now() + 20 * MS);
    say!("timers.cancel", "{}", set_timer(0));
    spin(50 * MS);
    say!("timers.cancelled", "{}", pending());
    set_timer(now() + 20 * MS);
    set_timer(now() + 10_000 * MS);
    spin(50 * MS);
    say!("timers.moved", "{}", pending());
    set_timer(0);
    say!("timers.negative", "{}", set_timer(!0 << 40));
    say!("timers.negative-fired", "{}", fired());
    set_timer(0);
    pending();
    // Blocked until the event arrives.
    let (before, start) = (upcalls(), now());
    set_timer(start + 20 * MS);
    let answer = block();
    let waited = now() - start;
    say!(
        "timers.block",
        "{answer} upcalls={} waited={}",
        upcalls() - before,
        ok((20 * MS..5_000 * MS).contains(&waited))
    );
    events::disable();
}

fn single_shots() {
    say!("timers.single", "{}", single_shot(now() + 20 * MS, 0));
    say!("timers.single-fired", "{}", fired());
    say!("timers.single-past", "{}", single_shot(1, 0));
    say!("timers.single-past-fired", "{}", fired());
    say!("timers.single-past-future", "{}", single_shot(1, VCPU_SSHOTTMR_FUTURE));
    spin(10 * MS);
    say!("timers.single-past-future-fired", "{}", pending());
    single_shot(now() + 20 * MS, VCPU_SSHOTTMR_FUTURE);
    say!("timers.single-stop", "{}", vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, 0, &mut 0u64));
    spin(50 * MS);
    say!("timers.single-stopped", "{}", pending());
    let mut other = VcpuSetSingleshotTimer::default();
    say!("timers.single-absent-vcpu", "{}", vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, 5000, &mut other));
    say!("timers.single-other-vcpu", "{}", vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, 1, &mut other));
    say!("timers.single-stop-other-vcpu", "{}", vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, 1, &mut other));
    say!(
        "timers.single-nowhere",
        "{}",
        call(HYPERVISOR_VCPU_OP, [VCPUOP_SET_SINGLESHOT_TIMER.into(), 0, 0x1000_0000_0000, 0])
    );
}

fn periods() {
    say!("timers.period-short", "{}", periodic(999_999));
    say!("timers.period-huge", "{}", periodic(!0));
    say!("timers.period", "{}", periodic(10 * MS));
    let before = upcalls();
    let start = now();
    // A blocked vCPU gets no periodic event.
    events::enable();
    while upcalls() < before + 5 && now() < start + 5_000 * MS {
        core::hint::spin_loop();
    }
    let waited = now() - start;
    say!("timers.period-fired", "{} in={}", ok(upcalls() >= before + 5), ok(waited >= 35 * MS));
    events::disable();
    vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, 0, &mut 0u64);
    pending();
    spin(40 * MS);
    say!("timers.period-stopped", "{}", pending());
}

/// HLT is not for a PV kernel: SCHEDOP_block is.
fn halting() {
    // SAFETY: traps, or waits for the timer.
    let halt = || unsafe { crate::probe!(["hlt", "nop"]) };
    for level in [0, 1] {
        events::disable();
        set_timer(now() + 20 * MS);
        crate::groups::allow_io(level);
        say!(format_args!("timers.halt-iopl{level}"), "{}", halt());
    }
    crate::groups::allow_io(0);
    set_timer(0);
    events::disable();
    pending();
}

fn polling(port: u32) {
    let poll = |timeout: u64| {
        let mut ports = [port];
        let mut arg = SchedPoll { ports: GuestHandle::new(addr(&mut ports)), nr_ports: 1, _pad0: 0, timeout };
        op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut arg)
    };
    let start = now();
    let answer = poll(start + 20 * MS);
    let waited = now() - start;
    say!("timers.poll-timeout", "{answer} waited={} pending={}", ok(waited >= 20 * MS), pending());
    let start = now();
    set_timer(start + 10 * MS);
    let answer = poll(start + 10_000 * MS);
    let waited = now() - start;
    say!(
        "timers.poll-event",
        "{answer} waited={} pending={}",
        ok((10 * MS..9_000 * MS).contains(&waited)),
        pending()
    );
}

fn run_states() {
    let page = Page::new();
    let mut area = VcpuRegisterRunstateMemoryArea { addr: GuestHandle::new(page.va()) };
    say!("timers.runstate-register", "{}", vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, &mut area));
    say!("timers.runstate", "state={} entry={}", page.get(0) as u32, ok(page.get(1) <= now()));
    let blocked = page.get(2 + RUNSTATE_BLOCKED as usize);
    let longer = || page.get(2 + RUNSTATE_BLOCKED as usize) - blocked;
    // On a loaded machine the event may come before the vCPU blocks: again, then.
    for _ in 0..50 {
        if longer() < 20 * MS {
            set_timer(now() + 30 * MS);
            block();
            events::disable();
        }
    }
    say!("timers.runstate-blocked", "{} state={}", ok(longer() >= 20 * MS), page.get(0) as u32);
    let mut info = VcpuRunstateInfo::default();
    let answer = vcpu_op(VCPUOP_GET_RUNSTATE_INFO, 0, &mut info);
    let sum: u64 = info.time.iter().sum();
    say!(
        "timers.runstate-info",
        "{answer} state={} sum={} offline={}",
        info.state,
        ok(sum <= now()),
        ok(info.time[3] < now())
    );
    let mut other = VcpuRunstateInfo::default();
    let answer = vcpu_op(VCPUOP_GET_RUNSTATE_INFO, 1, &mut other);
    say!("timers.runstate-other", "{answer} state={}", other.state);
    say!("timers.runstate-absent", "{}", vcpu_op(VCPUOP_GET_RUNSTATE_INFO, 5000, &mut other));
    let clock = Page::new();
    let mut area = VcpuRegisterTimeMemoryArea { addr: GuestHandle::new(clock.va()) };
    say!("timers.time-register", "{}", vcpu_op(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, &mut area));
    say!("timers.time-area", "{}", ok(clock.get(2) != 0 && clock.get(0) & 1 == 0));
    let mut none = VcpuRegisterTimeMemoryArea { addr: GuestHandle::NULL };
    say!("timers.time-unregister", "{}", vcpu_op(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, &mut none));
    let mut none = VcpuRegisterRunstateMemoryArea { addr: GuestHandle::NULL };
    say!("timers.runstate-unregister", "{}", vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, &mut none));
}
