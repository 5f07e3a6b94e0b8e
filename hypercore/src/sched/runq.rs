//! The run queue: who runs where, decided on plain numbers. No vCPU, machine or lock in here, so that a
//! simulation can drive it ([`super::sim`]).
//!
//! Fairness is by weighted virtual time: an entity's `vtime` advances by `ns * 256 / weight` while it runs, and
//! the one furthest behind runs next. That is credit scheduling without the periodic walk that refills
//! credits: `credit = vtime of the least served + window - vtime`. Two clamps around the *floor* (the vtime of
//! the least served of those that wait) bound what history can do: a sleeper, or one that has a CPU for itself,
//! is at most [`WAKE_BONUS`] behind it and at most [`MAX_LEAD`] ahead.
//!
//! One queue serves all CPUs, ordered by `vtime`. Invariants, between calls:
//! - no CPU idles while an entity that is ready may run on it, unless one is on its way for that entity (kicked);
//! - a queued entity is runnable and nobody's current one; the current one of a CPU is not queued;
//! - one whose domain's [`Cap`] is spent is *parked*: runnable, not queued, until a refill, for which a CPU looks;
//! - an entity whose context is still being saved (`unsaved`) is never picked.

use super::cap::Cap;
use super::pools::{NO_POOL, Pools};
use super::runstate::{Runstate, State};
use crate::cpumask::CpuMask;
use crate::fallible::{TryVec, filled, reserve};
use crate::ids::CpuId;
use abi::Errno;
use alloc::vec::Vec;

/// Weight of a domain that nobody gave another.
pub const DEFAULT_WEIGHT: u32 = 256;
/// Largest weight (the ABI's field has 16 bits).
pub const MAX_WEIGHT: u32 = 65535;
/// Once dispatched, an entity runs this long before another one may take its CPU, unless somebody sets another
/// limit.
pub const RATE_LIMIT: u64 = 1_000_000;
/// Shortest and longest time until the scheduler looks again while others wait.
pub const MIN_SLICE: u64 = 500_000;
pub const MAX_SLICE: u64 = 10_000_000;
/// How far behind the runner must get before an equal takes over (vtime).
const GRANULARITY: u64 = 3_000_000;
/// Vtime a sleeper may lag behind the least served when it returns.
pub const WAKE_BONUS: u64 = 5_000_000;
/// Vtime a hog may lead the least served.
pub const MAX_LEAD: u64 = 20_000_000;

/// Index of an entity.
pub type Slot = usize;

/// What the scheduler knows of a vCPU.
#[derive(Debug)]
pub struct Entity<T> {
    pub payload: T,
    pub(super) weight: u32,
    pub(super) vtime: u64,
    pub(super) runnable: bool,
    pub(super) queued: bool,
    /// The CPU whose current entity it is.
    pub(super) on: Option<CpuId>,
    /// Left its CPU but its registers are not saved yet.
    unsaved: bool,
    yielded: bool,
    /// Its domain's cap, and whether it waits for that one's refill.
    pub(super) cap: Option<usize>,
    pub(super) parked: bool,
    /// Was parked until just now, and no CPU has been found for it yet.
    pub(super) released: bool,
    pub(super) last: CpuId,
    pub hard: CpuMask,
    pub soft: CpuMask,
    /// Its pool, and that one's CPUs: it runs nowhere else.
    pub(super) pool: u32,
    pub cpus: CpuMask,
    /// Overrides `hard` for a while (`SCHEDOP_pin_override`).
    pub pinned: Option<CpuId>,
    pub runstate: Runstate,
}

impl<T> Entity<T> {
    pub fn on_cpu(&self) -> Option<CpuId> {
        self.on
    }

    fn may_run_on(&self, cpu: CpuId) -> bool {
        self.pinned.map_or(self.hard.contains(cpu), |p| p == cpu) && self.cpus.contains(cpu)
    }

    /// On a CPU, or leaving one.
    pub fn is_running(&self) -> bool {
        self.on.is_some() || self.unsaved
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub(super) current: Option<Slot>,
    /// When `current` was dispatched, and up to when its vtime is charged.
    pub(super) since: u64,
    charged: u64,
    until: u64,
    /// Told to come here and has not yet; for whom, if an entity stands in the queue for it.
    kicked: bool,
    wanted_by: Option<Slot>,
    idle_ns: u64,
    /// See [`RATE_LIMIT`].
    pub(super) rate_limit: u64,
    /// Times it became idle.
    idles: u64,
}

/// What a CPU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub prev: Option<Slot>,
    pub next: Option<Slot>,
    /// Look again at this time; `u64::MAX`: only when kicked.
    pub until_ns: u64,
    /// Other CPUs that must come to [`RunQueue::schedule`] soon.
    pub also: CpuMask,
}

#[derive(Debug)]
pub struct RunQueue<T> {
    pub(super) slots: Vec<Option<Entity<T>>>,
    /// Ready entities by ascending vtime. Its capacity is at least the number of slots.
    pub(super) queue: Vec<Slot>,
    pub(super) cpus: Vec<Cpu>,
    pub(super) caps: Vec<Option<Cap>>,
    /// Never decreases.
    floor: u64,
    pub pools: Pools,
}

fn vtime_of(ns: u64, weight: u32) -> u64 {
    ns.saturating_mul(u64::from(DEFAULT_WEIGHT)) / u64::from(weight)
}

fn ns_of(vtime: u64, weight: u32) -> u64 {
    vtime.saturating_mul(u64::from(weight)) / u64::from(DEFAULT_WEIGHT)
}

impl<T> RunQueue<T> {
    /// For CPUs `0..nr_cpus`, all idle since `now`.
    pub fn new(nr_cpus: usize, now: u64) -> Self {
        let idle = Cpu {
            current: None,
            since: now,
            charged: now,
            until: u64::MAX,
            kicked: false,
            wanted_by: None,
            idle_ns: 0,
            rate_limit: RATE_LIMIT,
            idles: 1,
        };
        let cpus = filled(nr_cpus, || idle).expect("memory at boot");
        let (slots, queue, caps) = (Vec::new(), Vec::new(), Vec::new());
        Self { slots, queue, cpus, caps, floor: 0, pools: Pools::new(nr_cpus) }
    }

    /// Adds an entity, not runnable.
    pub fn add(&mut self, payload: T, weight: u32, state: State, now: u64) -> Result<Slot, Errno> {
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(s) => s,
            None => {
                let n = self.slots.len() + 1;
                let more = n - self.queue.len();
                reserve(&mut self.queue, more)?;
                self.slots.try_push(None)?;
                n - 1
            }
        };
        self.slots[slot] = Some(Entity {
            payload,
            weight,
            vtime: self.floor,
            runnable: false,
            queued: false,
            on: None,
            unsaved: false,
            yielded: false,
            cap: None,
            parked: false,
            released: false,
            last: CpuId(0),
            hard: CpuMask::ALL,
            soft: CpuMask::ALL,
            pool: NO_POOL,
            cpus: CpuMask::ALL,
            pinned: None,
            runstate: Runstate::new(state, now),
        });
        Ok(slot)
    }

    /// Forgets an entity that is not runnable nor on a CPU, and gives its payload back.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.slots.get_mut(slot)?.take_if(|e| !e.is_running() && !e.queued && !e.parked).map(|e| e.payload)
    }

    pub fn get(&self, slot: Slot) -> Option<&Entity<T>> {
        self.slots.get(slot)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Entity<T>> {
        self.slots.get_mut(slot)?.as_mut()
    }

    pub fn current(&self, cpu: CpuId) -> Option<Slot> {
        self.cpus.get(cpu.0 as usize)?.current
    }

    pub fn set_weight(&mut self, slot: Slot, weight: u32) {
        if let Some(e) = self.get_mut(slot) {
            e.weight = weight;
        }
    }

    /// How often `cpu` became idle; it began so.
    pub fn idles(&self, cpu: CpuId) -> u64 {
        self.cpus.get(cpu.0 as usize).map_or(0, |c| c.idles)
    }

    /// Time `cpu` has been idle.
    pub fn idle_ns(&self, cpu: CpuId, now: u64) -> u64 {
        self.cpus
            .get(cpu.0 as usize)
            .map_or(0, |c| c.idle_ns + if c.current.is_none() { now.saturating_sub(c.since) } else { 0 })
    }

    /// Tells that an entity became runnable, or ceased to be (then `state` says how it rests).
    /// The answer is a CPU that must come to [`Self::schedule`] soon.
    pub fn set_runnable(&mut self, slot: Slot, runnable: bool, state: State, now: u64) -> Option<CpuId> {
        let e = self.get_mut(slot)?;
        if !runnable {
            e.runstate.resting = state;
        }
        let was = core::mem::replace(&mut e.runnable, runnable);
        let on = e.on;
        if on.is_none() {
            e.runstate.change(if runnable { State::Runnable } else { state }, now);
        }
        match (was, runnable) {
            (false, true) if on.is_none() => {
                if self.must_park(slot, now) {
                    return self.park(slot);
                }
                self.return_to_queue(slot);
                self.find_cpu(slot, now)
            }
            (true, false) if e.parked => {
                self.unpark(slot);
                None
            }
            (true, false) if e.queued => {
                self.dequeue(slot);
                None
            }
            (true, false) => on.and_then(|cpu| self.kick(cpu)),
            _ => None,
        }
    }

    /// Lets another ready entity go first, once.
    pub fn yield_(&mut self, slot: Slot) -> Option<CpuId> {
        let e = self.get_mut(slot)?;
        e.yielded = true;
        let cpu = e.on?;
        self.kick(cpu)
    }

    /// Where an entity may run, or would rather, has changed.
    pub fn moved(&mut self, slot: Slot, now: u64) -> Option<CpuId> {
        let e = self.get(slot)?;
        match e.on {
            Some(cpu) if !e.may_run_on(cpu) => self.kick(cpu),
            None if e.queued => self.find_cpu(slot, now),
            _ => None,
        }
    }

    /// The entity's registers are in memory: others may pick it.
    pub fn context_saved(&mut self, slot: Slot, now: u64) -> Option<CpuId> {
        let e = self.get_mut(slot)?;
        e.unsaved = false;
        if e.queued { self.find_cpu(slot, now) } else { None }
    }

    /// Decides what `cpu` runs. If `next` differs from `prev`, `prev` is unsaved until
    /// [`Self::context_saved`].
    pub fn schedule(&mut self, cpu: CpuId, now: u64) -> Decision {
        let i = cpu.0 as usize;
        let prev = self.cpus[i].current;
        (0..self.cpus.len()).for_each(|c| self.charge(c, now));
        let mut also = self.settle_caps(now);
        self.cpus[i].kicked = false;
        let wanted_by = self.cpus[i].wanted_by.take();
        let waiting = self.first_ready(cpu);
        let mut until_ns = u64::MAX;
        let may_stay =
            |p: &Slot| self.get(*p).is_some_and(|e| e.runnable && e.may_run_on(cpu)) && !self.is_spent(*p);
        let next = match prev.filter(may_stay) {
            None => waiting,
            Some(p) => match waiting {
                None => Some(p),
                Some(w) => {
                    let yielded = self.get_mut(p).is_some_and(|e| core::mem::take(&mut e.yielded));
                    let limit = self.cpus[i].since.saturating_add(self.cpus[i].rate_limit);
                    let behind = self.vtime(w) <= self.vtime(p);
                    if yielded || (behind && now >= limit) {
                        Some(w)
                    } else {
                        let end = if behind { limit } else { now + self.slice(p, self.vtime(p), w) };
                        until_ns = end.max(now + MIN_SLICE / 4);
                        Some(p)
                    }
                }
            },
        };
        if next != prev {
            self.switch(cpu, prev, next, now);
            // `prev` counts as well: its context will have been saved by then.
            if let (Some(n), Some(w)) = (next, self.first_queued(cpu, true)) {
                until_ns = now + self.slice(n, self.vtime(n), w);
            }
        }
        until_ns = until_ns.min(self.cap_deadline(cpu, next, now));
        self.cpus[i].until = until_ns;
        self.raise_floor();
        also = also.or(&self.find_cpus_for_released(now));
        // It came for one, and another one was first.
        if let Some(w) = wanted_by
            && self.get(w).is_some_and(|e| e.queued)
            && let Some(c) = self.find_cpu(w, now)
        {
            also.insert(c);
        }
        if let Some(c) = self.first_ready(cpu).and_then(|w| self.endless_for(w)) {
            also.insert(c);
        }
        if !self.cpus[i].kicked {
            also.remove(cpu);
        }
        Decision { prev, next, until_ns, also }
    }

    fn switch(&mut self, cpu: CpuId, prev: Option<Slot>, next: Option<Slot>, now: u64) {
        let i = cpu.0 as usize;
        match prev {
            None => self.cpus[i].idle_ns += now.saturating_sub(self.cpus[i].since),
            Some(p) => {
                if let Some(e) = self.get_mut(p) {
                    e.on = None;
                    e.unsaved = true;
                    let runnable = e.runnable;
                    e.runstate.change(if runnable { State::Runnable } else { e.runstate.resting }, now);
                    if runnable && self.is_spent(p) {
                        self.set_parked(p, true);
                    } else if runnable {
                        self.enqueue(p);
                    }
                }
            }
        }
        if let Some(n) = next {
            self.dequeue(n);
            if let Some(e) = self.get_mut(n) {
                e.on = Some(cpu);
                e.last = cpu;
                e.yielded = false;
                e.runstate.change(State::Running, now);
            }
        }
        self.cpus[i].current = next;
        if prev.is_some() && next.is_none() {
            self.cpus[i].idles += 1;
        }
        self.cpus[i].since = now;
        self.cpus[i].charged = now;
    }

    /// Time until `p`, now at `vtime`, is overtaken by `w`.
    fn slice(&self, p: Slot, vtime: u64, w: Slot) -> u64 {
        let gap = (self.vtime(w) + GRANULARITY).saturating_sub(vtime);
        ns_of(gap, self.weight(p)).clamp(MIN_SLICE, MAX_SLICE)
    }

    fn vtime(&self, slot: Slot) -> u64 {
        self.get(slot).map_or(0, |e| e.vtime)
    }

    fn weight(&self, slot: Slot) -> u32 {
        self.get(slot).map_or(DEFAULT_WEIGHT, |e| e.weight)
    }

    pub(super) fn charge(&mut self, cpu: usize, now: u64) {
        let floor = self.floor;
        let c = &mut self.cpus[cpu];
        let ns = now.saturating_sub(core::mem::replace(&mut c.charged, now));
        if let Some(e) = c.current.and_then(|s| self.slots.get_mut(s)?.as_mut()) {
            let lead = MAX_LEAD.max(2 * vtime_of(MIN_SLICE, e.weight));
            let v = e.vtime.saturating_add(vtime_of(ns, e.weight)).max(floor.saturating_sub(WAKE_BONUS));
            // A changed weight may leave it further ahead: never back.
            e.vtime = v.min(floor + lead).max(e.vtime);
            if let Some(cap) = e.cap.and_then(|c| self.caps.get_mut(c)?.as_mut()) {
                cap.spend(ns);
            }
        }
    }

    /// Where `cpu`'s current entity will be at `now`.
    fn projected(&self, cpu: usize, now: u64) -> Option<(Slot, u64)> {
        let c = &self.cpus[cpu];
        let s = c.current?;
        Some((s, self.vtime(s) + vtime_of(now.saturating_sub(c.charged), self.weight(s))))
    }

    fn raise_floor(&mut self) {
        let running = || self.cpus.iter().filter_map(|c| c.current).map(|s| self.vtime(s)).min();
        if let Some(v) = self.queue.first().map(|s| self.vtime(*s)).or_else(running) {
            self.floor = self.floor.max(v);
        }
    }

    fn first_ready(&self, cpu: CpuId) -> Option<Slot> {
        self.first_queued(cpu, false)
    }

    fn first_queued(&self, cpu: CpuId, unsaved_too: bool) -> Option<Slot> {
        let fits =
            |s: &&Slot| self.get(**s).is_some_and(|e| (unsaved_too || !e.unsaved) && e.may_run_on(cpu));
        self.queue.iter().find(fits).copied()
    }

    #[expect(clippy::disallowed_methods, reason = "`add` made room for every slot")]
    fn enqueue(&mut self, slot: Slot) {
        let v = self.vtime(slot);
        let at = self.queue.partition_point(|s| self.vtime(*s) <= v);
        self.queue.insert(at, slot);
        if let Some(e) = self.get_mut(slot) {
            e.queued = true;
        }
    }

    pub(super) fn dequeue(&mut self, slot: Slot) {
        if let Some(at) = self.queue.iter().position(|s| *s == slot) {
            self.queue.remove(at);
        }
        if let Some(e) = self.get_mut(slot) {
            e.queued = false;
        }
    }

    pub(super) fn kick(&mut self, cpu: CpuId) -> Option<CpuId> {
        self.cpus[cpu.0 as usize].kicked = true;
        Some(cpu)
    }

    fn kick_for(&mut self, cpu: CpuId, slot: Slot) -> Option<CpuId> {
        self.cpus[cpu.0 as usize].wanted_by = Some(slot);
        self.kick(cpu)
    }

    /// Enqueues one that comes back: what it missed counts up to [`WAKE_BONUS`].
    pub(super) fn return_to_queue(&mut self, slot: Slot) {
        let floor = self.floor.saturating_sub(WAKE_BONUS);
        if let Some(e) = self.get_mut(slot) {
            e.vtime = e.vtime.max(floor);
        }
        self.enqueue(slot);
    }

    /// A CPU that should look at the queue because `slot` stands in it: an idle one (where it prefers to run,
    /// where it ran last), else the one whose runner is furthest ahead, if it is to be preempted or its
    /// slice is too long now.
    pub(super) fn find_cpu(&mut self, slot: Slot, now: u64) -> Option<CpuId> {
        let e = self.get(slot)?;
        if e.unsaved {
            return None;
        }
        let (soft, last, vtime) = (e.soft, e.last, e.vtime);
        let idle = |c: CpuId| {
            let k = self.cpus.get(c.0 as usize);
            k.is_some_and(|k| k.current.is_none() && !k.kicked) && e.may_run_on(c)
        };
        let ids = || (0..self.cpus.len() as u32).map(CpuId);
        let chosen = Some(last)
            .filter(|c| idle(*c) && soft.contains(*c))
            .or_else(|| ids().find(|c| idle(*c) && soft.contains(*c)))
            .or_else(|| Some(last).filter(|c| idle(*c)))
            .or_else(|| ids().find(|c| idle(*c)));
        if let Some(c) = chosen {
            return self.kick_for(c, slot);
        }
        let (cpu, runner, theirs) = ids()
            .filter(|c| e.may_run_on(*c) && !self.cpus[c.0 as usize].kicked)
            .filter_map(|c| self.projected(c.0 as usize, now).map(|(s, v)| (c, s, v)))
            .max_by_key(|(c, _, v)| (*v, soft.contains(*c), *c == last))?;
        let there = &self.cpus[cpu.0 as usize];
        let limit = there.since.saturating_add(there.rate_limit);
        let first = vtime < theirs;
        // It is not preempted before its limit, to which `schedule` adds a little at most: told before, it would only
        // come to wait, and to be told again.
        let slice = if first { MIN_SLICE / 4 } else { self.slice(runner, theirs, slot) + MIN_SLICE };
        let look = (now + slice).max(limit);
        if first && now >= limit || there.until > look {
            return self.kick_for(cpu, slot);
        }
        self.endless_for(slot)
    }

    /// A CPU without an end of its slice on which `slot` may run: it must learn that somebody waits.
    fn endless_for(&mut self, slot: Slot) -> Option<CpuId> {
        let e = self.get(slot)?;
        let endless = |c: &Cpu| c.current.is_some() && !c.kicked && c.until == u64::MAX;
        let mut cpus = self.cpus.iter().zip(0..);
        let cpu = cpus.find(|(c, i)| endless(c) && e.may_run_on(CpuId(*i))).map(|(_, i)| CpuId(i))?;
        self.kick(cpu)
    }
}

#[cfg(test)]
impl<T> RunQueue<T> {
    /// Asserts the invariants of the module's head.
    pub fn check(&self) {
        for (i, c) in self.cpus.iter().enumerate() {
            let id = CpuId(i as u32);
            match c.current {
                Some(s) => {
                    let e = self.get(s).expect("a current entity exists");
                    assert_eq!((e.on, e.queued), (Some(id), false));
                }
                None => {
                    let taken = |s: Slot| {
                        let e = self.get(s).expect("a queued entity exists");
                        let mut cpus = self.cpus.iter().zip(0..);
                        cpus.any(|(c, i)| c.kicked && e.may_run_on(CpuId(i)))
                    };
                    assert!(self.first_ready(id).is_none_or(taken), "{id} idles while one waits");
                }
            }
        }
        for s in &self.queue {
            let e = self.get(*s).expect("a queued entity exists");
            assert!(e.queued && e.runnable && e.on.is_none() && !e.parked);
        }
        for (c, cap) in self.caps.iter().enumerate().filter_map(|(c, cap)| Some((c, cap.as_ref()?))) {
            let parked = self.slots.iter().flatten().filter(|e| e.parked && e.cap == Some(c));
            assert!(parked.clone().all(|e| e.runnable && e.on.is_none()));
            assert_eq!(parked.count(), cap.parked);
            let looks = |k: CpuId| {
                let k = &self.cpus[k.0 as usize];
                k.kicked || k.until <= cap.refill_at()
            };
            assert!(cap.parked == 0 || cap.is_spent() && cap.keeper.is_some_and(looks), "nobody refills");
        }
        assert!(self.queue.is_sorted_by_key(|s| self.vtime(*s)));
        assert!(self.queue.capacity() >= self.queue.len());
    }
}
