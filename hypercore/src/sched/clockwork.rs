//! Timers of many vCPUs on several CPUs, in invented time: each fires once, in order, never early, and wakes its vCPU.

use super::tests::{domain, exit_path, op, vcpu};
use super::*;
use crate::hypercall::dispatch;
use crate::machine::Frames;
use crate::testing::{Guest, HostMachine, Scratch, World, machine::set_cpu};
use crate::time;
use crate::vcpu::pause;
use abi::event_channel::*;
use abi::sched::*;
use abi::xen::*;

const US: u64 = 1_000;
const CPUS: u32 = 3;
const VCPUS: u32 = 6;
/// Most that an interrupt comes late here.
const LATE: u64 = 40 * US;
const PERIOD: u64 = 2_500 * US;

/// What a simulated kernel does whenever it runs.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    SingleShot,
    Periodic,
    Poll,
}

struct Kernel {
    dom: usize,
    n: u32,
    kind: Kind,
    port: u32,
    /// When its timer is to fire; `None`: it has fired and the kernel has not run since.
    deadline: Option<u64>,
    fired: u32,
}

struct Sim {
    w: World,
    guests: Vec<Guest>,
    kernels: Vec<Kernel>,
    scratch: Scratch,
    rng: u64,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let w = World::new(2048, CPUS);
        let guests: Vec<_> = (1..4).map(|id| domain(&w, id, VCPUS)).collect();
        let mut scratch = Scratch::new(w.xen);
        (0..CPUS).for_each(|c| {
            set_cpu(c);
            scratch.load();
        });
        let mut kernels = vec![];
        for (dom, g) in guests.iter().enumerate() {
            for n in 0..VCPUS {
                let at = scratch.put(&EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: n, port: 0 });
                let args = [EVTCHNOP_BIND_VIRQ.into(), at, 0, 0, 0, 0];
                g.call(n, |cx| dispatch(cx, HYPERVISOR_EVENT_CHANNEL_OP, &args)).unwrap();
                let port = scratch.get::<EvtchnBindVirq>(at).port;
                // The one that every vCPU starts with.
                time::set_periodic(w.xen, &vcpu(g, n), 0).unwrap();
                let kind = [Kind::SingleShot, Kind::Periodic, Kind::Poll][n as usize % 3];
                kernels.push(Kernel { dom, n, kind, port, deadline: None, fired: 0 });
            }
        }
        Sim { w, guests, kernels, scratch, rng: seed | 1 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % below
    }

    fn now(&self) -> u64 {
        self.w.xen.m.clock_ns.load(SeqCst)
    }

    fn xen(&self) -> &'static Xen<HostMachine> {
        self.w.xen
    }

    /// Whether the kernel's timer has fired since the last time; takes the event away, as its handler would.
    fn take(&self, k: &Kernel) -> bool {
        let (m, info) = (&self.xen().m, &self.guests[k.dom].dom.shared_info);
        if k.kind == Kind::Poll {
            let flags = vcpu(&self.guests[k.dom], k.n).pause_flags.load(SeqCst);
            return k.deadline.is_some() && flags & pause::POLL == 0;
        }
        let word = core::mem::offset_of!(SharedInfo, evtchn_pending) + 8 * (k.port as usize / 64);
        let bits = m.load(info, word);
        m.store(info, word, bits & !(1 << (k.port % 64)));
        let upcall = size_of::<VcpuInfo>() * k.n as usize;
        m.store(info, upcall, 0);
        m.store(info, upcall + 8, 0);
        bits >> (k.port % 64) & 1 != 0
    }

    /// `cpu` leaves the hypervisor; whose timer fired meanwhile is noted, and the kernel that it runs arms anew.
    fn look(&mut self, cpu: u32) {
        let v = exit_path(self.xen(), cpu);
        let now = self.now();
        for i in 0..self.kernels.len() {
            if !self.take(&self.kernels[i]) {
                continue;
            }
            let k = &mut self.kernels[i];
            let deadline = k.deadline.take().expect("nothing fires that is not armed, nor twice");
            assert!(deadline <= now && now <= deadline + LATE, "{deadline} fires at {now}");
            k.fired += 1;
            if k.kind == Kind::Periodic {
                k.deadline = Some(deadline + PERIOD);
            }
        }
        if let Some(v) = v {
            self.kernel_runs(&v, cpu);
        }
    }

    fn kernel_runs(&mut self, v: &Arc<Vcpu>, cpu: u32) {
        let id = usize::from(v.domain().unwrap().id.0) - 1;
        let i = id * VCPUS as usize + v.id.0 as usize;
        let (now, xen) = (self.now(), self.xen());
        let at = now + 1 + self.random(3_000) * US;
        let k = &self.kernels[i];
        let (n, kind, armed) = (k.n, k.kind, k.deadline);
        set_cpu(cpu);
        match kind {
            Kind::SingleShot => {
                // It thinks again: only the last one counts.
                time::set_singleshot(xen, v, Some(at + 7 * US)).unwrap();
                time::set_singleshot(xen, v, Some(at)).unwrap();
                self.kernels[i].deadline = Some(at);
                op(&self.guests[id], n, SCHEDOP_BLOCK, 0).unwrap();
            }
            Kind::Periodic => {
                if armed.is_none() {
                    time::set_periodic(xen, v, PERIOD).unwrap();
                    self.kernels[i].deadline = Some(now + PERIOD);
                }
                op(&self.guests[id], n, SCHEDOP_BLOCK, 0).unwrap();
            }
            Kind::Poll => {
                let p = self.scratch.put(&SchedPoll { timeout: at, ..Default::default() });
                op(&self.guests[id], n, SCHEDOP_POLL, p).unwrap();
                self.kernels[i].deadline = Some(at);
            }
        }
    }

    /// Lets a CPU look that has to, else time pass until one has to.
    fn step(&mut self) {
        let now = self.now();
        let due = |c: u32| {
            let timer = self.xen().m.cpus[c as usize].lock().unwrap().timer;
            if need_resched(self.xen(), CpuId(c)) { now } else { timer }
        };
        let first = (0..CPUS).map(due).min().unwrap();
        let cpus: Vec<u32> = (0..CPUS).filter(|c| due(*c) <= now).collect();
        if cpus.is_empty() {
            assert_ne!(first, u64::MAX, "everybody waits and no timer is set");
            let late = if self.random(2) == 0 { 0 } else { self.random(LATE) };
            self.xen().m.clock_ns.store(first + late, SeqCst);
        } else {
            let c = cpus[self.random(cpus.len() as u64) as usize];
            self.look(c);
        }
    }
}

#[test]
fn timers_of_many_vcpus_fire_once_and_never_early() {
    for seed in [3, 77] {
        let mut sim = Sim::new(seed);
        let begin = sim.now();
        (0..CPUS).for_each(|c| sim.look(c));
        while sim.now() < begin + 200_000 * US {
            sim.step();
        }
        for k in &sim.kernels {
            let least = if k.kind == Kind::Periodic { 78 } else { 80 };
            assert!(k.fired >= least, "vCPU {} fired {} times", k.n, k.fired);
            assert!(k.kind != Kind::Periodic || k.fired <= 80);
            let late = k.deadline.is_none_or(|d| d + LATE >= sim.now());
            assert!(late, "one is missing");
        }
    }
}

#[test]
fn on_one_cpu_they_fire_in_the_order_of_their_deadlines() {
    let w = World::new(1024, 1);
    let g = domain(&w, 1, 16);
    let now = w.xen.m.clock_ns.load(SeqCst);
    set_cpu(0);
    for n in 0..16 {
        time::set_singleshot(w.xen, &vcpu(&g, n), Some(now + 100 + u64::from(n * 7 % 16))).unwrap();
    }
    let mut last = now;
    for _ in 0..16 {
        let (deadline, _) = w.xen.timers.pop_due(CpuId(0), now + 200).unwrap();
        assert!(deadline > last);
        last = deadline;
    }
    assert!(w.xen.timers.pop_due(CpuId(0), u64::MAX).is_none());
}
