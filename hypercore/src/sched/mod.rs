//! Scheduling: which vCPU runs on which CPU, and everything that makes one runnable or not.
//!
//! - [`runq`]: the decision itself, on plain numbers; [`cap`], [`parking`]: caps in it; [`pools`]: which CPUs are whose;
//!   [`runstate`]: time accounts.
//! - [`state`]: waking, pausing, polling: what changes whether a vCPU may run. Each change of
//!   [`Vcpu::pause_flags`], [`Vcpu::pause_count`] or a domain's pause count is followed by [`update`].
//! - [`shutdown`]: a domain ends (or crashes); [`op`]: the hypercall; [`watchdog`].
//!
//! The machine's part: when [`CpuSched::pending`] is set (or the slice ended), call [`schedule`]; if it names
//! another vCPU, save the registers of the old one, check them in, call [`context_saved`], check the new one
//! out and run it.

pub mod cap;
#[cfg(test)]
mod clockwork;
pub mod dump;
pub mod op;
pub mod parking;
pub mod pools;
pub mod runq;
pub mod runstate;
pub mod shutdown;
#[cfg(test)]
mod sim;
pub mod state;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;
pub mod watchdog;

pub use shutdown::{domain_crash, domain_shutdown};
pub use state::{
    bring_up, controller_pause, controller_unpause, pause_domain, pause_domain_sync, poll_wake, sleep,
    stop_for_debugger, unpause_domain, update, vcpu_kick, vcpu_pause, vcpu_pause_sync, vcpu_unpause, wake,
};

use crate::cpumask::CpuMask;
use crate::domain::Domain;
use crate::ids::CpuId;
use crate::machine::Machine;
use crate::sync::Mutex;
use crate::vcpu::Vcpu;
use crate::xen::Xen;
use abi::Errno;
use abi::vcpu::VcpuRunstateInfo;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use runq::{RunQueue, Slot};
use runstate::State;

/// The scheduler of all CPUs.
pub struct Scheduler {
    queue: Mutex<RunQueue<Arc<Vcpu>>>,
    cpus: Vec<CpuSched>,
}

/// What a CPU looks at on its way out of the hypervisor.
pub struct CpuSched {
    /// Call [`schedule`] before returning to a guest or halting.
    pub pending: AtomicBool,
    /// When its present slice ends.
    until_ns: AtomicU64,
}

impl Scheduler {
    /// For CPUs `0..nr_cpus`, all idle.
    pub fn new(nr_cpus: usize) -> Self {
        let idle = || CpuSched { pending: AtomicBool::new(false), until_ns: AtomicU64::new(u64::MAX) };
        let cpus = crate::fallible::filled(nr_cpus, idle).expect("memory at boot");
        Self { queue: Mutex::new(RunQueue::new(nr_cpus, 0)), cpus }
    }

    /// State of `cpu`, which is one of the `nr_cpus`.
    pub fn cpu(&self, cpu: CpuId) -> &CpuSched {
        &self.cpus[cpu.0 as usize]
    }

    /// When `cpu`'s present slice ends; `u64::MAX`: never.
    pub fn slice_end(&self, cpu: CpuId) -> u64 {
        self.cpu(cpu).until_ns.load(Relaxed)
    }

    /// Nanoseconds `cpu` has been idle since boot.
    pub fn idle_ns(&self, cpu: CpuId, now: u64) -> u64 {
        self.queue.lock().idle_ns(cpu, now)
    }

    /// Nanoseconds `cpu` has been idle since boot, and how often it became idle (it began so).
    pub fn idle(&self, cpu: CpuId, now: u64) -> (u64, u64) {
        let q = self.queue.lock();
        (q.idle_ns(cpu, now), q.idles(cpu))
    }

    /// The vCPU that runs on `cpu`.
    pub fn current(&self, cpu: CpuId) -> Option<Arc<Vcpu>> {
        let q = self.queue.lock();
        q.current(cpu).and_then(|s| q.get(s)).map(|e| e.payload.clone())
    }
}

/// Whether `cpu` must call [`schedule`] now.
pub fn need_resched<M: Machine>(xen: &Xen<M>, cpu: CpuId) -> bool {
    xen.sched.cpu(cpu).pending.load(Acquire)
}

/// Of a domain.
#[derive(Debug)]
pub struct DomainSched {
    /// Share of CPU time, 1..=65535.
    weight: AtomicU32,
    /// Percent of one CPU that its vCPUs together get at most; 0: no cap.
    cap: AtomicU32,
    /// Its cap in the run queue; changes under that one's lock.
    cap_slot: AtomicU32,
    /// The pool it is counted in; changes under the run queue's lock.
    pool: AtomicU32,
    /// vCPUs in `SCHEDOP_poll`: lets an event sender skip the search.
    pub(crate) pollers: AtomicU32,
    pub(crate) watchdogs: Mutex<watchdog::Watchdogs>,
}

impl DomainSched {
    pub fn new() -> Self {
        Self {
            weight: AtomicU32::new(runq::DEFAULT_WEIGHT),
            cap: AtomicU32::new(0),
            cap_slot: AtomicU32::new(NO_SLOT),
            pool: AtomicU32::new(pools::NO_POOL),
            pollers: AtomicU32::new(0),
            watchdogs: Mutex::new(watchdog::Watchdogs::default()),
        }
    }
}

impl DomainSched {
    fn cap_slot(&self) -> Option<usize> {
        match self.cap_slot.load(Relaxed) {
            NO_SLOT => None,
            c => Some(c as usize),
        }
    }
}

impl Default for DomainSched {
    fn default() -> Self {
        Self::new()
    }
}

const NO_SLOT: u32 = u32::MAX;
/// [`VcpuSched::polling`]: not polling; [`ANY_PORT`]: several ports.
pub(crate) const NO_PORT: u32 = u32::MAX;
pub(crate) const ANY_PORT: u32 = u32::MAX - 1;

/// Of a vCPU.
#[derive(Debug)]
pub struct VcpuSched {
    /// Its place in the scheduler; changes under the run queue's lock.
    slot: AtomicU32,
    /// The port `SCHEDOP_poll` waits for.
    pub(crate) polling: AtomicU32,
    /// Guest address of the registered `vcpu_runstate_info`; 0: none.
    pub runstate_area: AtomicU64,
    /// An NMI waits to be delivered ([`crate::traps::inject::pending_nmi`]).
    pub nmi_pending: AtomicBool,
}

impl VcpuSched {
    pub fn new() -> Self {
        Self {
            slot: AtomicU32::new(NO_SLOT),
            polling: AtomicU32::new(NO_PORT),
            runstate_area: AtomicU64::new(0),
            nmi_pending: AtomicBool::new(false),
        }
    }

    fn slot(&self) -> Option<Slot> {
        match self.slot.load(Relaxed) {
            NO_SLOT => None,
            s => Some(s as Slot),
        }
    }
}

impl Default for VcpuSched {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes room for a new vCPU. Whoever creates one calls this before it can become runnable; a second call
/// does nothing.
pub fn add_vcpu<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>) -> Result<(), Errno> {
    let now = xen.m.now();
    let weight = v.domain().map_or(runq::DEFAULT_WEIGHT, |d| d.sched.weight.load(Relaxed));
    let mut q = xen.sched.queue.lock();
    if v.sched.slot().is_none() {
        let slot = q.add(v.clone(), weight, State::Offline, now)?;
        if let Some(cap) = v.domain().and_then(|d| d.sched.cap_slot()) {
            q.join_cap(slot, cap);
        }
        q.place(slot, v.domain().map_or(pools::NO_POOL, |d| d.sched.pool.load(Relaxed)), now);
        v.sched.slot.store(slot as u32, Relaxed);
    }
    Ok(())
}

/// At the end of a domain's destruction: the scheduler forgets its vCPUs, which are paused and off-CPU.
pub fn remove_domain<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    dom.for_each_vcpu(|v| {
        let mut q = xen.sched.queue.lock();
        let gone = v.sched.slot().and_then(|s| q.remove(s));
        if gone.is_some() {
            v.sched.slot.store(NO_SLOT, Relaxed);
        }
        drop(q);
        // May be the last reference to the vCPU: not under the lock.
        drop(gone);
    });
    let mut q = xen.sched.queue.lock();
    q.pools.leave(dom.sched.pool.swap(pools::NO_POOL, Relaxed));
    if let Some(cap) = dom.sched.cap_slot() {
        dom.sched.cap_slot.store(NO_SLOT, Relaxed);
        q.remove_cap(cap);
    }
}

/// Number of the domain's pool.
pub fn pool(dom: &Domain) -> u32 {
    dom.sched.pool.load(Relaxed)
}

/// Runs `f` on the pools.
pub fn with_pools<M: Machine, R>(xen: &Xen<M>, f: impl FnOnce(&mut pools::Pools) -> R) -> R {
    f(&mut xen.sched.queue.lock().pools)
}

/// Moves a domain (a new one: puts it) into a pool. ENOENT: there is none. ENODEV: it has no CPU.
pub fn join_pool<M: Machine>(xen: &Xen<M>, dom: &Domain, id: u32) -> Result<(), Errno> {
    let mut q = xen.sched.queue.lock();
    q.pools.join(id)?;
    let old = dom.sched.pool.swap(id, Relaxed);
    q.pools.leave(old);
    drop(q);
    dom.for_each_vcpu(|v| {
        let now = xen.m.now();
        let mut q = xen.sched.queue.lock();
        // Where the domain is by now, should another move have come between.
        let to = v.sched.slot().and_then(|s| q.place(s, dom.sched.pool.load(Relaxed), now));
        drop(q);
        to.into_iter().for_each(|c| tickle(xen, c));
    });
    Ok(())
}

/// Puts a free CPU into a pool, or takes one out of it: [`runq::RunQueue::add_cpu`], [`runq::RunQueue::remove_cpu`].
pub fn change_pool<M: Machine>(xen: &Xen<M>, id: u32, cpu: Option<CpuId>, add: bool) -> Result<(), Errno> {
    let now = xen.m.now();
    let mut q = xen.sched.queue.lock();
    let look = if add { q.add_cpu(id, cpu, now) } else { q.remove_cpu(id, cpu, now) }?;
    drop(q);
    look.iter().for_each(|c| tickle(xen, c));
    Ok(())
}

/// Makes `cpu` call [`schedule`] soon.
pub(crate) fn tickle<M: Machine>(xen: &Xen<M>, cpu: CpuId) {
    xen.sched.cpu(cpu).pending.store(true, Release);
    if cpu != xen.m.cpu() {
        xen.m.kick(cpu);
    }
}

/// What a CPU does next.
#[derive(Debug)]
pub struct Next {
    /// What it did so far. If it differs from `vcpu`, its registers are to be saved and
    /// [`context_saved`] called.
    pub prev: Option<Arc<Vcpu>>,
    /// `None`: idle.
    pub vcpu: Option<Arc<Vcpu>>,
    /// When to look again at the latest; the timer is already part of [`crate::time::next_deadline`].
    pub until_ns: u64,
}

/// Decides what `cpu` (the calling one) runs from now on.
pub fn schedule<M: Machine>(xen: &Xen<M>, cpu: CpuId, now: u64) -> Next {
    let this = xen.sched.cpu(cpu);
    this.pending.store(false, SeqCst);
    let mut q = xen.sched.queue.lock();
    let d = q.schedule(cpu, now);
    let vcpu_of = |s: Option<Slot>| s.and_then(|s| q.get(s)).map(|e| e.payload.clone());
    let (prev, vcpu) = (vcpu_of(d.prev), vcpu_of(d.next));
    this.until_ns.store(d.until_ns, Relaxed);
    if let Some(v) = &vcpu
        && d.next != d.prev
    {
        v.set_processor(cpu);
        v.running.store(true, Release);
    }
    drop(q);
    d.also.iter().for_each(|other| tickle(xen, other));
    Next { prev, vcpu, until_ns: d.until_ns }
}

/// The registers of `v`, which left its CPU, are checked in: another CPU may take it.
pub fn context_saved<M: Machine>(xen: &Xen<M>, v: &Arc<Vcpu>) {
    let now = xen.m.now();
    let mut q = xen.sched.queue.lock();
    v.running.store(false, Release);
    let to = v.sched.slot().and_then(|s| q.context_saved(s, now));
    drop(q);
    if let Some(cpu) = to {
        tickle(xen, cpu);
    }
}

/// Share of CPU time of the domain's vCPUs.
pub fn weight(dom: &Domain) -> u32 {
    dom.sched.weight.load(Relaxed)
}

/// How long a vCPU in this pool runs at least before another one that is ready takes its CPU, in ns; `None`: there is
/// no such pool.
pub fn rate_limit<M: Machine>(xen: &Xen<M>, pool: u32) -> Option<u64> {
    xen.sched.queue.lock().pools.get(pool).map(|p| p.rate_limit)
}

/// Sets [`rate_limit`]; slices that have begun are not made shorter.
pub fn set_rate_limit<M: Machine>(xen: &Xen<M>, pool: u32, ns: u64) {
    xen.sched.queue.lock().set_rate_limit(pool, ns);
}

/// Sets [`rate_limit`] of every pool, those to come too.
pub fn set_every_rate_limit<M: Machine>(xen: &Xen<M>, ns: u64) {
    xen.sched.queue.lock().set_every_rate_limit(ns);
}

/// Percent of one CPU that the domain's vCPUs together get at most; 0: no cap.
pub fn cap(dom: &Domain) -> u32 {
    dom.sched.cap.load(Relaxed)
}

/// Sets the domain's weight and cap (percent of one CPU; 0: none). EINVAL: weight outside 1..=65535. ENOMEM.
pub fn set_params<M: Machine>(xen: &Xen<M>, dom: &Domain, weight: u32, cap: u32) -> Result<(), Errno> {
    if !(1..=runq::MAX_WEIGHT).contains(&weight) {
        return Err(Errno::EINVAL);
    }
    set_cap(xen, dom, cap)?;
    dom.sched.weight.store(weight, Relaxed);
    dom.for_each_vcpu(|v| {
        let mut q = xen.sched.queue.lock();
        if let Some(s) = v.sched.slot() {
            q.set_weight(s, weight);
        }
    });
    Ok(())
}

fn set_cap<M: Machine>(xen: &Xen<M>, dom: &Domain, percent: u32) -> Result<(), Errno> {
    if percent != 0 && dom.sched.cap_slot().is_none() {
        let mut q = xen.sched.queue.lock();
        let cap = q.add_cap()?;
        dom.sched.cap_slot.store(cap as u32, Relaxed);
        drop(q);
        dom.for_each_vcpu(|v| {
            let mut q = xen.sched.queue.lock();
            if let Some(s) = v.sched.slot() {
                q.join_cap(s, cap);
            }
        });
    }
    dom.sched.cap.store(percent, Relaxed);
    let now = xen.m.now();
    let mut q = xen.sched.queue.lock();
    let kicks = dom.sched.cap_slot().map(|c| q.set_cap(c, percent, now));
    drop(q);
    kicks.iter().flat_map(CpuMask::iter).for_each(|c| tickle(xen, c));
    Ok(())
}

/// Hard and soft affinity; all CPUs until set.
pub fn affinity<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> (CpuMask, CpuMask) {
    let q = xen.sched.queue.lock();
    v.sched.slot().and_then(|s| q.get(s)).map_or((CpuMask::ALL, CpuMask::ALL), |e| (e.hard, e.soft))
}

/// The CPUs of the vCPU's pool.
pub fn pool_cpus<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> CpuMask {
    let q = xen.sched.queue.lock();
    let cpus = v.sched.slot().and_then(|s| q.get(s)).map_or(CpuMask::ALL, |e| e.cpus);
    cpus.and(&xen.host.online)
}

/// Sets the affinities given. EINVAL if no CPU of its pool would remain in the hard one.
pub fn set_affinity<M: Machine>(
    xen: &Xen<M>,
    v: &Arc<Vcpu>,
    hard: Option<CpuMask>,
    soft: Option<CpuMask>,
) -> Result<(), Errno> {
    add_vcpu(xen, v)?;
    if hard.is_some_and(|h| h.and(&pool_cpus(xen, v)).is_empty()) {
        return Err(Errno::EINVAL);
    }
    let now = xen.m.now();
    let mut q = xen.sched.queue.lock();
    let to = v.sched.slot().and_then(|s| {
        let e = q.get_mut(s)?;
        (e.hard, e.soft) = (hard.unwrap_or(e.hard), soft.unwrap_or(e.soft));
        q.moved(s, now)
    });
    drop(q);
    if let Some(cpu) = to {
        tickle(xen, cpu);
    }
    Ok(())
}

/// The account of `v`, brought up to now.
pub fn runstate<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> VcpuRunstateInfo {
    let now = xen.m.now();
    let q = xen.sched.queue.lock();
    v.sched.slot().and_then(|s| q.get(s)).map_or_else(Default::default, |e| e.runstate.info_now(now))
}

/// The account of `v` as its registered area shows it.
pub(crate) fn runstate_at_entry<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> Option<VcpuRunstateInfo> {
    let q = xen.sched.queue.lock();
    v.sched.slot().and_then(|s| q.get(s)).map(|e| e.runstate.info())
}

/// Nanoseconds `v` has run.
pub fn cpu_time<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> u64 {
    runstate(xen, v).time[State::Running as usize]
}
