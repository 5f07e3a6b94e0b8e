//! A simulation of many CPUs and entities in invented time, deterministic: fairness, no starvation, bounds on
//! wake-up latency, and the run queue's invariants after every step.

use super::runq::*;
use super::runstate::State;
use crate::cpumask::CpuMask;
use crate::ids::CpuId;
use std::collections::BTreeMap;
use std::vec::Vec;

pub(super) const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// CPU looks at the queue.
    Look(u32),
    /// CPU's timer, unless it was set anew.
    Timer(u32),
    /// The context of this entity is saved.
    Saved(Slot),
    Wake(Slot),
    Sleep(Slot),
}

/// How an entity behaves.
#[derive(Clone, Copy)]
pub(super) enum Load {
    Hog,
    /// Runs so long, then sleeps so long.
    Interactive {
        run: u64,
        sleep: u64,
    },
}

pub(super) struct Sim {
    pub(super) q: RunQueue<()>,
    pub(super) now: u64,
    events: BTreeMap<(u64, u64), Event>,
    seq: u64,
    load: Vec<Load>,
    /// Time left to run before sleeping, when last dispatched, when it began to wait.
    left: Vec<u64>,
    began: Vec<Option<u64>>,
    pub(super) waits: Vec<Option<u64>>,
    pub(super) worst: Vec<u64>,
    pub(super) ran: Vec<u64>,
    rng: u64,
    switch_cost: u64,
    timers: Vec<u64>,
    added: Vec<u64>,
}

impl Sim {
    pub(super) fn new(cpus: usize, seed: u64) -> Self {
        let mut s = Sim {
            q: RunQueue::new(cpus, 0),
            now: 0,
            events: BTreeMap::new(),
            seq: 0,
            load: vec![],
            left: vec![],
            began: vec![],
            waits: vec![],
            worst: vec![],
            ran: vec![],
            rng: seed | 1,
            switch_cost: 2_000,
            timers: vec![u64::MAX; cpus],
            added: vec![],
        };
        (0..cpus as u32).for_each(|c| s.at(0, Event::Look(c)));
        s
    }

    fn at(&mut self, when: u64, e: Event) {
        self.seq += 1;
        self.events.insert((when, self.seq), e);
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % below
    }

    pub(super) fn add(&mut self, weight: u32, load: Load) -> Slot {
        let s = self.q.add((), weight, State::Offline, self.now).unwrap();
        assert_eq!(s, self.load.len());
        self.load.push(load);
        self.added.push(self.now);
        self.left.push(0);
        self.began.push(None);
        self.waits.push(None);
        self.worst.push(0);
        self.ran.push(0);
        self.at(self.now, Event::Wake(s));
        s
    }

    pub(super) fn kick(&mut self, cpu: Option<CpuId>) {
        if let Some(c) = cpu {
            self.at(self.now + 1_000, Event::Look(c.0));
        }
    }

    fn stop(&mut self, s: Slot) {
        if let Some(b) = self.began[s].take() {
            let ran = self.now - b;
            self.ran[s] += ran;
            self.left[s] = self.left[s].saturating_sub(ran);
        }
    }

    pub(super) fn run(&mut self, until: u64) {
        while let Some((&(t, n), &e)) = self.events.first_key_value() {
            if t > until {
                break;
            }
            self.events.remove(&(t, n));
            self.now = t;
            match e {
                Event::Look(c) => self.look(c),
                Event::Timer(c) if self.timers[c as usize] == t => self.look(c),
                Event::Timer(_) => {}
                Event::Saved(s) => {
                    let to = self.q.context_saved(s, t);
                    self.kick(to);
                }
                Event::Wake(s) => {
                    if let Load::Interactive { run, .. } = self.load[s] {
                        self.left[s] = run;
                    }
                    self.waits[s].get_or_insert(t);
                    let to = self.q.set_runnable(s, true, State::Blocked, t);
                    self.kick(to);
                }
                Event::Sleep(s) => {
                    // Only if it really ran out of work: it may have been preempted meanwhile.
                    let Some(b) = self.began[s] else { continue };
                    let Load::Interactive { sleep, .. } = self.load[s] else { continue };
                    if t - b < self.left[s] {
                        continue;
                    }
                    let to = self.q.set_runnable(s, false, State::Blocked, t);
                    self.kick(to);
                    self.at(t + sleep + 1, Event::Wake(s));
                }
            }
            self.check();
        }
        self.now = until;
        for s in 0..self.load.len() {
            if let Some(b) = self.began[s] {
                self.ran[s] += until - b;
                self.left[s] = self.left[s].saturating_sub(until - b);
                self.began[s] = Some(until);
            }
            if let Some(w) = self.waits[s] {
                self.worst[s] = self.worst[s].max(until - w);
            }
        }
    }

    fn look(&mut self, c: u32) {
        let d = self.q.schedule(CpuId(c), self.now);
        d.also.iter().for_each(|c| self.kick(Some(c)));
        self.timers[c as usize] = d.until_ns;
        if d.until_ns != u64::MAX {
            assert!(
                d.until_ns > self.now
                    && d.until_ns <= self.now + MAX_SLICE.max(self.q.cpus[c as usize].rate_limit)
            );
            self.at(d.until_ns, Event::Timer(c));
        }
        if d.prev == d.next {
            return;
        }
        if let Some(p) = d.prev {
            self.stop(p);
            if self.q.get(p).unwrap().runstate.state() == State::Runnable {
                self.waits[p] = Some(self.now);
            }
            self.at(self.now + self.switch_cost, Event::Saved(p));
        }
        if let Some(n) = d.next {
            if let Some(w) = self.waits[n].take() {
                self.worst[n] = self.worst[n].max(self.now - w);
            }
            self.began[n] = Some(self.now);
            if matches!(self.load[n], Load::Interactive { .. }) {
                self.at(self.now + self.left[n], Event::Sleep(n));
            }
        }
    }

    /// Every account adds up to the time that passed; nobody runs twice or where it must not.
    fn check(&self) {
        for s in 0..self.load.len() {
            let e = self.q.get(s).unwrap();
            assert_eq!(e.runstate.times(self.now).iter().sum::<u64>(), self.now - self.added[s]);
            if let Some(c) = e.on_cpu() {
                assert_eq!(self.q.current(c), Some(s));
            }
        }
        self.q.check();
    }

    pub(super) fn share(&self, s: Slot, of: &[Slot]) -> f64 {
        self.ran[s] as f64 / of.iter().map(|o| self.ran[*o] as f64).sum::<f64>()
    }
}

pub(super) fn assert_near(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "got {got}, want {want}");
}

#[test]
fn equal_hogs_share_equally_on_any_number_of_cpus() {
    for (cpus, hogs) in [(1, 2), (1, 7), (2, 3), (4, 9), (16, 40)] {
        let mut sim = Sim::new(cpus, 7);
        let all: Vec<_> = (0..hogs).map(|_| sim.add(256, Load::Hog)).collect();
        sim.run(2_000 * MS);
        for s in &all {
            assert_near(sim.share(*s, &all), 1.0 / hogs as f64, 0.03 / hogs as f64 + 0.005);
        }
        // And no CPU was wasted.
        let total: u64 = sim.ran.iter().sum();
        assert!(total >= 2_000 * MS * cpus as u64 * 99 / 100, "{total}");
    }
}

#[test]
fn weights_are_shares() {
    let mut sim = Sim::new(1, 1);
    let (a, b, c) = (sim.add(256, Load::Hog), sim.add(512, Load::Hog), sim.add(1024, Load::Hog));
    sim.run(5_000 * MS);
    let all = [a, b, c];
    assert_near(sim.share(a, &all), 1.0 / 7.0, 0.01);
    assert_near(sim.share(b, &all), 2.0 / 7.0, 0.01);
    assert_near(sim.share(c, &all), 4.0 / 7.0, 0.01);
}

#[test]
fn one_that_deserves_more_than_a_cpu_gets_one_and_the_rest_is_shared_by_weight() {
    let mut sim = Sim::new(2, 1);
    let (big, b, c) = (sim.add(4000, Load::Hog), sim.add(256, Load::Hog), sim.add(512, Load::Hog));
    sim.run(5_000 * MS);
    assert!(sim.ran[big] >= 4_800 * MS, "{}", sim.ran[big]);
    assert_near(sim.share(b, &[b, c]), 1.0 / 3.0, 0.03);
}

#[test]
fn extreme_weights_starve_nobody() {
    let mut sim = Sim::new(1, 1);
    let (low, high) = (sim.add(1, Load::Hog), sim.add(65535, Load::Hog));
    sim.run(20_000 * MS);
    assert!(sim.ran[low] > 0 && sim.ran[high] > 19_000 * MS);
    assert!(sim.worst[low] < 15_000 * MS, "{}", sim.worst[low]);
}

#[test]
fn a_sleeper_wakes_promptly_among_hogs() {
    for cpus in [1, 2, 8] {
        let mut sim = Sim::new(cpus, 3);
        for _ in 0..3 * cpus {
            sim.add(256, Load::Hog);
        }
        let light = sim.add(256, Load::Interactive { run: MS / 5, sleep: 7 * MS });
        // At first all are equal and it is its turn after the others.
        sim.run(100 * MS);
        sim.worst[light] = 0;
        sim.run(3_000 * MS);
        // The rate limit, a kick and a switch.
        assert!(sim.worst[light] <= RATE_LIMIT + MS / 2, "{} on {cpus}", sim.worst[light]);
        assert!(sim.ran[light] > 50 * MS);
    }
}

#[test]
fn a_long_sleeper_does_not_take_over() {
    let mut sim = Sim::new(1, 3);
    let hog = sim.add(256, Load::Hog);
    sim.run(10_000 * MS);
    let late = sim.add(256, Load::Hog);
    let before = sim.ran[hog];
    sim.run(10_200 * MS);
    // Within 200 ms the newcomer gets its half and at most the bonus and the lead on top.
    let got = sim.ran[late];
    assert!(got <= 100 * MS + MAX_LEAD + WAKE_BONUS, "{got}");
    assert!(sim.ran[hog] - before >= 70 * MS);
}

#[test]
fn pinned_entities_share_their_cpu_and_idle_cpus_do_not_take_them() {
    let mut sim = Sim::new(2, 5);
    let pinned: Vec<_> = (0..3).map(|_| sim.add(256, Load::Hog)).collect();
    for s in &pinned {
        sim.q.get_mut(*s).unwrap().hard = CpuMask::single(CpuId(1));
    }
    let free = sim.add(256, Load::Hog);
    sim.run(3_000 * MS);
    assert!(sim.ran[free] >= 2_900 * MS, "{}", sim.ran[free]);
    for s in &pinned {
        assert_near(sim.share(*s, &pinned), 1.0 / 3.0, 0.02);
        assert!(sim.worst[*s] <= 3 * MAX_SLICE);
    }
}

#[test]
fn moving_a_running_one_takes_effect() {
    let mut sim = Sim::new(2, 5);
    let a = sim.add(256, Load::Hog);
    sim.run(10 * MS);
    let from = sim.q.get(a).unwrap().on_cpu().unwrap();
    let to = CpuId(1 - from.0);
    sim.q.get_mut(a).unwrap().hard = CpuMask::single(to);
    let k = sim.q.moved(a, sim.now);
    sim.kick(k);
    sim.run(12 * MS);
    assert_eq!(sim.q.get(a).unwrap().on_cpu(), Some(to));
}

#[test]
fn many_mixed_entities_for_long() {
    for seed in 1..6 {
        let mut sim = Sim::new(6, seed);
        let hogs: Vec<_> = (0..12).map(|_| sim.add(256, Load::Hog)).collect();
        let mut light = vec![];
        for _ in 0..30 {
            let run = 10_000 + sim.random(MS);
            let sleep = 1 + sim.random(20 * MS);
            light.push(sim.add(256, Load::Interactive { run, sleep }));
        }
        for i in 0..4 {
            // Pauses and pins from outside, at odd moments.
            sim.run((i * 500 + 250) * MS);
            let s = hogs[i as usize];
            let k = sim.q.set_runnable(s, false, State::Offline, sim.now);
            sim.kick(k);
            sim.run((i * 500 + 300) * MS);
            let k = sim.q.set_runnable(s, true, State::Offline, sim.now);
            sim.waits[s].get_or_insert(sim.now);
            sim.kick(k);
        }
        sim.run(4_000 * MS);
        for s in &hogs {
            assert!(sim.worst[*s] < 100 * MS, "hog waited {}", sim.worst[*s]);
        }
        for s in &light {
            assert!(sim.worst[*s] < 20 * MS, "sleeper waited {}", sim.worst[*s]);
        }
        let total: u64 = sim.ran.iter().sum();
        assert!(total > 4_000 * MS * 6 * 95 / 100, "{total}");
    }
}

#[test]
fn yield_lets_another_go_first() {
    let mut q = RunQueue::new(1, 0);
    let a = q.add('a', 256, State::Offline, 0).unwrap();
    let b = q.add('b', 256, State::Offline, 0).unwrap();
    assert_eq!(q.set_runnable(a, true, State::Offline, 0), Some(CpuId(0)));
    assert_eq!(q.schedule(CpuId(0), 0).next, Some(a));
    q.set_runnable(b, true, State::Offline, 10);
    assert_eq!(q.schedule(CpuId(0), 20).next, Some(a), "the rate limit protects it");
    assert_eq!(q.yield_(a), Some(CpuId(0)));
    assert_eq!(q.schedule(CpuId(0), 30).next, Some(b));
}

/// A back-end that runs tells a guest that its request is done: it goes on with what it does, at once.
#[test]
fn who_may_not_be_preempted_yet_is_asked_once() {
    let mut q = RunQueue::new(1, 0);
    let guest = q.add('g', 256, State::Offline, 0).unwrap();
    let back_end = q.add('b', 256, State::Offline, 0).unwrap();
    q.set_runnable(back_end, true, State::Offline, 0);
    assert_eq!(q.schedule(CpuId(0), 0).next, Some(back_end));
    let (woken, limit) = (40_000, RATE_LIMIT);
    let mut at = woken;
    while at < limit {
        q.set_runnable(guest, true, State::Blocked, at);
        let d = q.schedule(CpuId(0), at + 100);
        assert_eq!(d.next, Some(back_end), "the rate limit protects it");
        assert!(
            d.until_ns <= limit.max(at + 100 + MIN_SLICE / 4),
            "the guest is looked at when that is over"
        );
        assert!(d.also.is_empty(), "until then nothing changes: {:?} at {at}", d.also);
        at += 90_000;
        q.set_runnable(guest, false, State::Blocked, at - 1_000);
    }
    assert_eq!(q.set_runnable(guest, true, State::Blocked, limit), Some(CpuId(0)));
    assert_eq!(q.schedule(CpuId(0), limit).next, Some(guest), "then it goes first");
}

#[test]
fn an_unsaved_context_is_not_picked() {
    let mut q = RunQueue::new(2, 0);
    let a = q.add('a', 256, State::Offline, 0).unwrap();
    q.set_runnable(a, true, State::Offline, 0);
    assert_eq!(q.schedule(CpuId(0), 0).next, Some(a));
    q.set_runnable(a, false, State::Blocked, 10);
    assert_eq!(q.schedule(CpuId(0), 10).next, None);
    assert_eq!(q.set_runnable(a, true, State::Blocked, 11), None, "nobody can take it yet");
    assert_eq!(q.schedule(CpuId(1), 12).next, None);
    assert!(q.remove(a).is_none());
    assert_eq!(q.context_saved(a, 13), Some(CpuId(0)));
    assert_eq!(q.schedule(CpuId(1), 14).next, Some(a));
}
