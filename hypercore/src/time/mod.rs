//! Time: what fires when, and the clocks guests read.
//!
//! - [`queue`]: timer queues, one per CPU. A vCPU's timers stand on the queue of the CPU that armed them.
//! - [`clock`]: the paravirtual clock in `vcpu_time_info` and the wall clock in `shared_info`.
//! - [`runstate`]: copies of runstate and clock at guest addresses.
//! - [`tsc`]: the counter a domain reads, which may be emulated; [`platform`]: the timer that the TSC is watched by.
//!
//! The machine's part: on its timer interrupt it calls [`expired`], which leaves the hardware timer set for
//! [`next_deadline`]; after [`crate::sched::schedule`] it calls [`rearm`].

pub mod clock;
pub mod platform;
pub mod queue;
pub mod runstate;
pub mod tsc;

pub use clock::{TscScale, set_wallclock, update_vcpu_time, update_wallclock};
pub use queue::Timers;
pub use tsc::TscInfo;

use crate::ids::CpuId;
use crate::machine::Machine;
use crate::sync::Mutex;
use crate::vcpu::Vcpu;
use crate::xen::Xen;
use abi::Errno;
use abi::xen::VIRQ_TIMER;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::*};
use queue::{Timer, TimerKey};

/// Shortest period of a periodic timer.
pub const MIN_PERIOD: u64 = 1_000_000;
/// Period of the timer every vCPU starts with.
const DEFAULT_PERIOD: u64 = 10_000_000;
/// Longest time a guest may sensibly ask for.
const FAR: u64 = 1 << 50;

/// A vCPU's timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    SingleShot = 0,
    Periodic = 1,
    Poll = 2,
}

/// Of a domain.
#[derive(Debug, Default)]
pub struct DomainTime {
    /// Seconds its wall clock is ahead of the machine's (`settimeoffset`).
    pub offset_seconds: AtomicI64,
    /// What `settscinfo` asked for.
    pub tsc: Mutex<TscInfo>,
    /// [`TscInfo::emulated`], for who asks often.
    tsc_emulated: AtomicBool,
    /// The last that an emulated RDTSC answered.
    tsc_last: AtomicU64,
}

impl DomainTime {
    pub fn new() -> Self {
        Self::default()
    }
}

/// Of a vCPU.
#[derive(Debug)]
pub struct VcpuTime {
    /// On which CPU's queue each of its timers stands. Held while one is armed or stopped.
    armed: Mutex<[Option<CpuId>; 3]>,
    /// Of the periodic timer; 0: off.
    period_ns: AtomicU64,
    was_up: AtomicBool,
    /// Guest address of the registered copy of `vcpu_time_info`; 0: none.
    pub time_area: AtomicU64,
    pub(crate) stamp: clock::Stamp,
    pub(crate) areas: runstate::Stale,
}

impl VcpuTime {
    pub fn new() -> Self {
        Self {
            armed: Mutex::new([None; 3]),
            period_ns: AtomicU64::new(0),
            was_up: AtomicBool::new(false),
            time_area: AtomicU64::new(0),
            stamp: clock::Stamp::default(),
            areas: runstate::Stale::default(),
        }
    }

    /// Period of the periodic timer in ns; 0: off.
    pub fn period_ns(&self) -> u64 {
        self.period_ns.load(Relaxed)
    }
}

impl Default for VcpuTime {
    fn default() -> Self {
        Self::new()
    }
}

/// Sets or stops (`None`) one of `v`'s timers.
fn arm<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>, kind: Kind, deadline: Option<u64>) -> Result<(), Errno> {
    let Some(dom) = v.domain() else { return Err(Errno::ESRCH) };
    let key = TimerKey::vcpu(dom.id, v.id, kind);
    let mut armed = v.time.armed.lock();
    if let Some(cpu) = armed[kind as usize].take() {
        xen.timers.remove(cpu, key);
    }
    let Some(deadline) = deadline else { return Ok(()) };
    let v = Arc::downgrade(v);
    let timer = match kind {
        Kind::SingleShot => Timer::SingleShot(v),
        Kind::Periodic => Timer::Periodic(v),
        Kind::Poll => Timer::Poll(v),
    };
    let cpu = xen.m.cpu();
    xen.timers.insert(cpu, deadline, key, timer)?;
    armed[kind as usize] = Some(cpu);
    drop(armed);
    rearm(xen);
    Ok(())
}

/// `VCPUOP_set_singleshot_timer` with a deadline, or stops it.
pub fn set_singleshot<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>, deadline: Option<u64>) -> Result<(), Errno> {
    arm(xen, v, Kind::SingleShot, deadline)
}

/// Wakes `v` from `SCHEDOP_poll` at `deadline`.
pub(crate) fn set_poll_timer<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>, deadline: u64) -> Result<(), Errno> {
    arm(xen, v, Kind::Poll, Some(deadline))
}

/// A vCPU that comes up for the first time ticks by [`DEFAULT_PERIOD`] until its kernel says otherwise.
pub(crate) fn first_up<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>) -> Result<(), Errno> {
    if v.time.was_up.swap(true, Relaxed) { Ok(()) } else { set_periodic(xen, v, DEFAULT_PERIOD) }
}

/// Starts the periodic timer, or stops it for 0. EINVAL for a period below 1 ms or beyond reason.
pub fn set_periodic<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>, period_ns: u64) -> Result<(), Errno> {
    if period_ns != 0 && !(MIN_PERIOD..FAR).contains(&period_ns) {
        return Err(Errno::EINVAL);
    }
    v.time.period_ns.store(period_ns, Relaxed);
    arm(xen, v, Kind::Periodic, (period_ns != 0).then(|| xen.m.now() + period_ns))
}

/// `set_timer_op`: the singleshot timer in its old form; 0 stops it. Deadlines beyond reason (Linux wraps,
/// old guests mean "none") fire in 100 ms.
pub fn set_timer_op<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>, deadline: u64) -> Result<(), Errno> {
    let now = xen.m.now();
    let deadline = match deadline {
        0 => None,
        d if d as i64 <= 0 || d.saturating_sub(now) >= FAR => Some(now + 100_000_000),
        d => Some(d),
    };
    set_singleshot(xen, v, deadline)
}

/// Stops all timers of `v` (it goes down, or its domain is destroyed).
pub fn stop_all<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>) {
    v.time.period_ns.store(0, Relaxed);
    for kind in [Kind::SingleShot, Kind::Periodic, Kind::Poll] {
        // Stopping allocates nothing and so cannot fail while the domain is there.
        let _ = arm(xen, v, kind, None);
    }
}

/// Runs the timers of `cpu` (the calling one) that are due, asks for a reschedule if its slice is over, and
/// sets the hardware for the next deadline.
pub fn expired<M: Machine>(xen: &'static Xen<M>, cpu: CpuId, now: u64) {
    while let Some((deadline, timer)) = xen.timers.pop_due(cpu, now) {
        match timer {
            Timer::SingleShot(v) => {
                if let Some(v) = v.upgrade() {
                    crate::event::send_virq(xen, &v, VIRQ_TIMER);
                }
            }
            Timer::Periodic(v) => {
                if let Some(v) = v.upgrade() {
                    crate::event::send_virq(xen, &v, VIRQ_TIMER);
                    again(xen, &v, deadline, now);
                }
            }
            Timer::Poll(v) => {
                if let Some(v) = v.upgrade() {
                    crate::sched::state::unblock(xen, &v);
                }
            }
            Timer::MachineCheck => crate::mca::poll(xen, cpu),
            Timer::Clocks => platform::look(xen),
            Timer::Watchdog(d) => {
                if let Some(d) = d.upgrade() {
                    crate::log!(xen.m, Warning, "Watchdog timer fired for domain {}", d.id.0);
                    crate::sched::domain_shutdown(xen, &d, abi::sched::SHUTDOWN_WATCHDOG);
                }
            }
        }
    }
    if xen.sched.slice_end(cpu) <= now {
        xen.sched.cpu(cpu).pending.store(true, Release);
    }
    rearm(xen);
}

/// The periodic timer fired: next time at the next multiple of its period.
fn again<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>, deadline: u64, now: u64) {
    let period = v.time.period_ns();
    if let Some(missed) = now.saturating_sub(deadline).checked_div(period) {
        // Should memory be short, the guest loses its ticks and nothing else.
        let _ = arm(xen, v, Kind::Periodic, Some(deadline + (missed + 1) * period));
    }
}

/// When `cpu` must look again: its first timer or the end of its slice; `u64::MAX`: not by itself.
pub fn next_deadline<M: Machine>(xen: &Xen<M>, cpu: CpuId) -> u64 {
    // A slice that is over already waits for the exit path, not for the timer.
    let slice = if crate::sched::need_resched(xen, cpu) { u64::MAX } else { xen.sched.slice_end(cpu) };
    xen.timers.first(cpu).min(slice)
}

/// Sets the calling CPU's hardware timer for its next deadline.
pub fn rearm<M: Machine>(xen: &Xen<M>) {
    xen.m.set_timer(next_deadline(xen, xen.m.cpu()));
}
