//! What the scheduler is doing, in lines for the debug key `r`.

use super::Scheduler;
use super::runq::Entity;
use crate::ids::CpuId;
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use core::fmt;

/// Writes who runs where, who waits in which order, and who waits for a refill, at time `now`.
pub fn dump(sched: &Scheduler, now: u64, mut line: impl FnMut(fmt::Arguments<'_>)) {
    let q = sched.queue.lock();
    line(format_args!("sched: credit2, one queue for all CPUs; now {now} ns"));
    for p in &q.pools.list {
        let (cpus, limit) = (p.cpus.count(), p.rate_limit / 1000);
        line(format_args!("Cpupool {}: {cpus} CPUs, {} domains, ratelimit {limit} us", p.id, p.domains));
    }
    for (n, cpu) in q.cpus.iter().enumerate() {
        let id = CpuId(n as u32);
        match cpu.current.and_then(|slot| q.get(slot)) {
            None => line(format_args!("CPU[{n:02}] idle, {} ms in all", q.idle_ns(id, now) / 1_000_000)),
            Some(e) => {
                let ran = now.saturating_sub(cpu.since) / 1000;
                match sched.slice_end(id) {
                    u64::MAX => line(format_args!("CPU[{n:02}] runs {} for {ran} us, alone", Who(e))),
                    end => {
                        let left = end.saturating_sub(now) / 1000;
                        line(format_args!("CPU[{n:02}] runs {} for {ran} us, {left} us left", Who(e)));
                    }
                }
            }
        }
    }
    line(format_args!("Runqueue:"));
    for (place, e) in q.queue.iter().filter_map(|slot| q.get(*slot)).enumerate() {
        line(format_args!("{place:5}: {} last on CPU{}", Who(e), e.last.0));
    }
    for e in q.slots.iter().flatten().filter(|e| e.parked) {
        line(format_args!("  cap: {} waits for a refill", Who(e)));
    }
}

/// A vCPU, its weight, and its place in the order of service.
struct Who<'a>(&'a Entity<Arc<Vcpu>>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entity { payload, weight, vtime, .. } = self.0;
        write!(f, "{payload:?} (weight {weight}, virtual time {vtime})")
    }
}

#[cfg(test)]
mod tests {
    use super::dump;
    use crate::testing::World;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn every_vcpu_that_wants_to_run_is_in_it() {
        let w = World::new(256, 1);
        let g = w.domain(3, 2);
        crate::testing::machine::set_cpu(0);
        crate::sched::controller_unpause(w.xen, &g.dom).unwrap();
        for v in 0..2 {
            let vcpu = g.dom.vcpu(crate::ids::VcpuId(v)).unwrap();
            vcpu.running.store(false, core::sync::atomic::Ordering::SeqCst);
            crate::sched::bring_up(w.xen, &vcpu).unwrap();
        }
        let mut lines = Vec::new();
        dump(&w.xen.sched, 5_000_000_000, |l| lines.push(l.to_string()));
        let text = lines.join("\n");
        assert!(text.contains("CPU[00] idle"), "{text}");
        assert!(text.contains("0: d3v0") && text.contains("1: d3v1"), "{text}");
    }
}
