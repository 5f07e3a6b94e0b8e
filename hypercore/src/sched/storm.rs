//! The simulation of [`super::sim`] with caps, affinities and changes from outside at any moment.

use super::pools::POOL0;
use super::runq::*;
use super::runstate::State;
use super::sim::{Load, MS, Sim, assert_near};
use crate::cpumask::CpuMask;
use crate::ids::CpuId;
use std::vec::Vec;

impl Sim {
    /// A domain of hogs, capped.
    fn capped(&mut self, weight: u32, vcpus: usize, percent: u32) -> (usize, Vec<Slot>) {
        let cap = self.q.add_cap().unwrap();
        let all: Vec<_> = (0..vcpus).map(|_| self.add(weight, Load::Hog)).collect();
        all.iter().for_each(|s| self.q.join_cap(*s, cap));
        self.set_cap(cap, percent);
        (cap, all)
    }

    fn set_cap(&mut self, cap: usize, percent: u32) {
        let kicks = self.q.set_cap(cap, percent, self.now);
        kicks.iter().for_each(|c| self.kick(Some(c)));
    }

    fn set_runnable(&mut self, s: Slot, runnable: bool) {
        let to = self.q.set_runnable(s, runnable, State::Blocked, self.now);
        self.kick(to);
        self.waits[s] = match self.q.get(s).unwrap().runstate.state() {
            State::Runnable => self.waits[s].or(Some(self.now)),
            _ => None,
        };
    }

    fn set_hard(&mut self, s: Slot, hard: CpuMask) {
        self.q.get_mut(s).unwrap().hard = hard;
        let to = self.q.moved(s, self.now);
        self.kick(to);
    }

    fn total(&self, of: &[Slot]) -> u64 {
        of.iter().map(|s| self.ran[*s]).sum()
    }
}

#[test]
fn a_cap_holds_whatever_the_number_of_vcpus_and_cpus() {
    for (cpus, vcpus, percent) in
        [(1, 1, 50), (1, 4, 50), (4, 1, 10), (4, 4, 150), (4, 8, 5), (8, 8, 400), (8, 16, 250), (2, 2, 1)]
    {
        let mut sim = Sim::new(cpus, 5);
        let (_, all) = sim.capped(256, vcpus, percent);
        sim.run(4_000 * MS);
        let want = 40 * MS * u64::from(percent);
        let got = sim.total(&all);
        assert!(got.abs_diff(want) <= want / 33 + 2 * MS, "{got} of {want}: {cpus} {vcpus} {percent}");
    }
}

#[test]
fn a_cap_beyond_what_it_can_use_changes_nothing() {
    let mut sim = Sim::new(2, 5);
    let (_, all) = sim.capped(256, 2, 65535);
    sim.run(500 * MS);
    assert!(sim.total(&all) >= 998 * MS);
}

#[test]
fn what_a_capped_domain_may_not_use_the_others_get_by_weight() {
    let mut sim = Sim::new(4, 9);
    // By weight alone the first would get nearly all.
    let (_, capped) = sim.capped(2048, 4, 100);
    let light: Vec<_> = (0..4).map(|_| sim.add(256, Load::Hog)).collect();
    let heavy: Vec<_> = (0..4).map(|_| sim.add(512, Load::Hog)).collect();
    sim.run(4_000 * MS);
    assert_near(sim.total(&capped) as f64 / (4_000 * MS) as f64, 1.0, 0.03);
    let (l, h) = (sim.total(&light) as f64, sim.total(&heavy) as f64);
    assert_near(h / (l + h), 2.0 / 3.0, 0.03);
    let all = sim.ran.iter().sum::<u64>();
    assert!(all >= 16_000 * MS * 98 / 100, "no CPU idles: {all}");
}

#[test]
fn a_cap_may_come_change_and_go() {
    let mut sim = Sim::new(4, 9);
    let (cap, all) = sim.capped(256, 4, 0);
    let mut before = 0;
    for (i, percent) in [0, 200, 50, 300, 10, 0, 100, 0].into_iter().enumerate() {
        sim.set_cap(cap, percent);
        sim.run((i as u64 + 1) * 1_000 * MS);
        let got = sim.total(&all) - before;
        before += got;
        let want = 10 * MS * u64::from(if percent == 0 { 400 } else { percent });
        assert!(got.abs_diff(want) <= want / 20 + 5 * MS, "{got} of {want} at {percent}");
    }
}

#[test]
fn sleepers_of_a_capped_domain_are_held_too_and_wait_no_longer_than_for_the_budget() {
    let mut sim = Sim::new(2, 3);
    let (cap, _) = sim.capped(256, 0, 20);
    // Each wants a quarter of a CPU.
    let all: Vec<_> = (0..4).map(|_| sim.add(256, Load::Interactive { run: MS, sleep: 3 * MS })).collect();
    all.iter().for_each(|s| sim.q.join_cap(*s, cap));
    sim.run(4_000 * MS);
    let got = sim.total(&all);
    assert!(got.abs_diff(800 * MS) <= 25 * MS, "{got}");
    for s in &all {
        assert!(sim.worst[*s] <= 60 * MS, "{}", sim.worst[*s]);
    }
}

#[test]
fn weights_hold_among_many_on_many_cpus() {
    let mut sim = Sim::new(16, 11);
    let weights = [128, 256, 384, 512];
    let domains: Vec<Vec<_>> =
        weights.iter().map(|w| (0..16).map(|_| sim.add(*w, Load::Hog)).collect()).collect();
    sim.run(3_000 * MS);
    let all = sim.total(&(0..64).collect::<Vec<_>>()) as f64;
    for (w, d) in weights.iter().zip(&domains) {
        let want = f64::from(*w) / 1280.0;
        assert_near(sim.total(d) as f64 / all, want, want * 0.03);
    }
    assert!(all >= (16 * 3_000 * MS) as f64 * 0.99);
}

#[test]
fn weights_count_on_each_of_two_sets_of_cpus() {
    let mut sim = Sim::new(4, 11);
    let place = |sim: &mut Sim, weight, cpus: [u32; 2]| {
        let s = sim.add(weight, Load::Hog);
        let mut hard = CpuMask::EMPTY;
        cpus.iter().for_each(|c| hard.insert(CpuId(*c)));
        sim.set_hard(s, hard);
        s
    };
    // Crowded on one side, little company on the other.
    let crowd: Vec<_> = (0..10).map(|i| place(&mut sim, 256 << (i % 2), [0, 1])).collect();
    let few: Vec<_> = (0..4).map(|i| place(&mut sim, 256 << (i % 2), [2, 3])).collect();
    sim.run(4_000 * MS);
    for (group, n) in [(&crowd, 5.0), (&few, 2.0)] {
        for s in group {
            let want = (1 + s % 2) as f64 / (3.0 * n);
            assert_near(sim.share(*s, group), want, want * 0.1);
        }
    }
}

#[test]
fn a_pools_entities_keep_to_its_cpus() {
    let mut sim = Sim::new(4, 23);
    let all: Vec<_> = (0..6).map(|_| sim.add(256, Load::Hog)).collect();
    for s in &all {
        let look = sim.q.place(*s, POOL0, sim.now);
        sim.kick(look);
    }
    sim.run(100 * MS);
    let change = |sim: &mut Sim, pool, cpu, add| {
        let cpu = Some(CpuId(cpu));
        let look = if add { sim.q.add_cpu(pool, cpu, sim.now) } else { sim.q.remove_cpu(pool, cpu, sim.now) };
        look.unwrap().iter().for_each(|c| sim.kick(Some(c)));
        sim.run(sim.now + 20 * MS);
    };
    // A free CPU idles, with work waiting elsewhere.
    change(&mut sim, POOL0, 3, false);
    assert_eq!(sim.q.current(CpuId(3)), None);
    let pool = sim.q.pools.create(None).unwrap();
    change(&mut sim, pool, 3, true);
    change(&mut sim, POOL0, 2, false);
    change(&mut sim, pool, 2, true);
    // One is pinned to what its new pool lacks: it may run anywhere there.
    sim.set_hard(all[0], CpuMask::single(CpuId(0)));
    for s in &all[..4] {
        let look = sim.q.place(*s, pool, sim.now);
        sim.kick(look);
    }
    sim.run(sim.now + 20 * MS);
    let before = sim.ran.clone();
    sim.run(sim.now + 2_000 * MS);
    for (s, (now, before)) in sim.ran.iter().zip(&before).enumerate() {
        let share = (now - before) as f64 / (2_000 * MS) as f64;
        assert_near(share, if s < 4 { 0.5 } else { 1.0 }, 0.03);
    }
    // The first pool's rate limit is its own.
    sim.q.set_rate_limit(POOL0, 7 * MS);
    let limits: Vec<_> = sim.q.cpus.iter().map(|c| c.rate_limit).collect();
    assert_eq!(limits, [7 * MS, 7 * MS, RATE_LIMIT, RATE_LIMIT]);
    sim.q.set_every_rate_limit(7 * MS);
    let later = sim.q.pools.create(None).unwrap();
    assert_eq!([pool, later].map(|p| sim.q.pools.get(p).unwrap().rate_limit), [7 * MS; 2]);
    sim.q.pools.destroy(later).unwrap();
    // A CPU that comes back serves at once.
    change(&mut sim, pool, 2, false);
    change(&mut sim, POOL0, 2, true);
    for s in &all[2..4] {
        let look = sim.q.place(*s, POOL0, sim.now);
        sim.kick(look);
    }
    sim.run(sim.now + 20 * MS);
    assert!((0..4).all(|c| sim.q.current(CpuId(c)).is_some()));
    assert_eq!(sim.q.cpus[2].rate_limit, 7 * MS);
}

#[test]
fn no_wake_up_is_lost_in_a_storm_of_changes() {
    for seed in 1..5 {
        let cpus = [1, 2, 3, 4, 6, 8][seed % 6];
        let mut sim = Sim::new(cpus, seed as u64 * 77);
        let mut caps = vec![];
        for vcpus in [1, 3, cpus, 2] {
            caps.push(sim.capped(256, vcpus, 0).0);
        }
        let n = 1 + 3 + cpus + 2;
        let free: Vec<_> = (0..cpus).map(|_| sim.add(256, Load::Hog)).collect();
        let n = n + free.len();
        for _ in 0..2_500 {
            let s = sim.random(n as u64) as usize;
            match sim.random(12) {
                0..3 => sim.set_runnable(s, true),
                3..6 => sim.set_runnable(s, false),
                6 => {
                    let bits = 1 + sim.random((1 << cpus) - 1);
                    sim.set_hard(s, CpuMask::from_bytes(&bits.to_le_bytes()));
                }
                7 => {
                    let bits = sim.random(1 << cpus);
                    sim.q.get_mut(s).unwrap().soft = CpuMask::from_bytes(&bits.to_le_bytes());
                    let to = sim.q.moved(s, sim.now);
                    sim.kick(to);
                }
                8 => {
                    let w = 16 << sim.random(9);
                    sim.q.set_weight(s, w);
                }
                9 => {
                    let c = caps[sim.random(caps.len() as u64) as usize];
                    let percent = [0, 1, 20, 90, 150, 400][sim.random(6) as usize];
                    sim.set_cap(c, percent);
                }
                10 => {
                    let to = sim.q.yield_(s);
                    sim.kick(to);
                }
                _ => {
                    let limit = [0, 100_000, MS, 20 * MS][sim.random(4) as usize];
                    sim.q.set_rate_limit(POOL0, limit);
                }
            }
            // Often while kicks and contexts are still on their way, sometimes past refills.
            let far = sim.random(10) == 0;
            let pause = sim.random(if far { 12 * MS } else { 3_000 });
            sim.run(sim.now + pause);
        }
        // Now nothing stands in anyone's way: all must run.
        sim.q.set_rate_limit(POOL0, RATE_LIMIT);
        caps.iter().for_each(|c| sim.set_cap(*c, 0));
        for s in 0..n {
            sim.q.set_weight(s, 256);
            sim.set_hard(s, CpuMask::ALL);
            sim.set_runnable(s, true);
        }
        // Small weights have left some far ahead.
        sim.run(sim.now + 2_000 * MS);
        let before = sim.ran.clone();
        sim.run(sim.now + 1_000 * MS);
        let fair = 1_000 * MS * cpus as u64 / n as u64;
        for (s, (now, before)) in sim.ran.iter().zip(&before).enumerate() {
            assert!(now - before >= fair * 8 / 10, "{s} of {n} starves, seed {seed}");
        }
    }
}
