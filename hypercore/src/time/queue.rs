//! The timers of each CPU: entries by deadline, none of them trusted to be still wanted when it fires.

use crate::domain::Domain;
use crate::fallible::{TryVec, filled};
use crate::ids::{CpuId, DomId, VcpuId};
use crate::sync::Mutex;
use crate::vcpu::Vcpu;
use abi::Errno;
use alloc::sync::Weak;
use alloc::vec::Vec;
use core::fmt;

/// What fires.
#[derive(Clone, Debug)]
pub enum Timer {
    SingleShot(Weak<Vcpu>),
    Periodic(Weak<Vcpu>),
    Poll(Weak<Vcpu>),
    Watchdog(Weak<Domain>),
    /// The CPU's machine-check banks are to be looked at.
    MachineCheck,
    /// The TSC is to be compared with the platform timer.
    Clocks,
}

/// Names a timer; at most one entry of a key stands in all queues together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerKey(u64);

impl TimerKey {
    pub fn vcpu(dom: DomId, v: VcpuId, kind: super::Kind) -> Self {
        Self(u64::from(dom.0) << 48 | u64::from(v.0) << 8 | kind as u64)
    }

    pub fn machine_check(cpu: CpuId) -> Self {
        Self(u64::from(DomId::XEN.0) << 48 | u64::from(cpu.0))
    }

    pub fn clocks() -> Self {
        Self(u64::from(DomId::XEN.0) << 48 | 1 << 40)
    }

    pub fn watchdog(dom: DomId, index: usize) -> Self {
        Self(u64::from(dom.0) << 48 | 1 << 40 | index as u64)
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, vcpu) = match self {
            Timer::SingleShot(v) => ("single-shot timer", v),
            Timer::Periodic(v) => ("periodic timer", v),
            Timer::Poll(v) => ("end of a poll", v),
            Timer::Clocks => return f.write_str("compare the clocks"),
            Timer::MachineCheck => return f.write_str("look at machine-check banks"),
            Timer::Watchdog(d) => {
                return match d.upgrade() {
                    Some(d) => write!(f, "watchdog of {}", d.id),
                    None => f.write_str("watchdog of a domain that is gone"),
                };
            }
        };
        match vcpu.upgrade() {
            Some(v) => write!(f, "{what} of {v:?}"),
            None => write!(f, "{what} of a vCPU that is gone"),
        }
    }
}

#[derive(Debug)]
struct Entry {
    deadline: u64,
    key: TimerKey,
    timer: Timer,
}

/// A queue per CPU.
#[derive(Debug)]
pub struct Timers {
    queues: Vec<Mutex<Vec<Entry>>>,
}

impl Timers {
    pub fn new(nr_cpus: usize) -> Self {
        Self { queues: filled(nr_cpus, || Mutex::new(Vec::new())).expect("memory at boot") }
    }

    /// Adds an entry to `cpu`'s queue. The caller has removed the key's former one.
    pub fn insert(&self, cpu: CpuId, deadline: u64, key: TimerKey, timer: Timer) -> Result<(), Errno> {
        let mut q = self.queues[cpu.0 as usize].lock();
        // The earliest stands last.
        let at = q.partition_point(|e| e.deadline > deadline);
        q.try_insert(at, Entry { deadline, key, timer })
    }

    /// Removes the entry, if it stands in `cpu`'s queue.
    pub fn remove(&self, cpu: CpuId, key: TimerKey) {
        let mut q = self.queues[cpu.0 as usize].lock();
        if let Some(at) = q.iter().rposition(|e| e.key == key) {
            q.remove(at);
        }
    }

    /// Takes the first entry that is due, with its deadline.
    pub fn pop_due(&self, cpu: CpuId, now: u64) -> Option<(u64, Timer)> {
        let mut q = self.queues[cpu.0 as usize].lock();
        q.pop_if(|e| e.deadline <= now).map(|e| (e.deadline, e.timer))
    }

    /// Lines for the debug key `a`: the timers of each CPU, the next one first.
    pub fn dump(&self, now: u64, mut line: impl FnMut(fmt::Arguments<'_>)) {
        for (cpu, queue) in self.queues.iter().enumerate() {
            line(format_args!("CPU{cpu:02}:"));
            for e in queue.lock().iter().rev() {
                let us = (i128::from(e.deadline) - i128::from(now)) / 1000;
                line(format_args!("  in {us:12} us: {}", e.timer));
            }
        }
    }

    /// The earliest deadline of `cpu`; `u64::MAX` if it has no timer.
    pub fn first(&self, cpu: CpuId) -> u64 {
        self.queues[cpu.0 as usize].lock().last().map_or(u64::MAX, |e| e.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_only_when_due() {
        let t = Timers::new(1);
        let c = CpuId(0);
        let key = |i| TimerKey::watchdog(DomId(1), i);
        for (i, d) in [30, 10, 20].into_iter().enumerate() {
            t.insert(c, d, key(i), Timer::Watchdog(Weak::new())).unwrap();
        }
        assert_eq!(t.first(c), 10);
        let mut lines = Vec::new();
        t.dump(20_000, |l| lines.push(std::string::ToString::to_string(&l)));
        assert_eq!(lines[0], "CPU00:");
        assert_eq!(lines[1].trim(), "in          -19 us: watchdog of a domain that is gone");
        assert_eq!(lines.len(), 4);
        t.remove(c, key(2));
        assert!(t.pop_due(c, 9).is_none());
        assert_eq!(t.pop_due(c, 100).map(|e| e.0), Some(10));
        assert_eq!(t.pop_due(c, 100).map(|e| e.0), Some(30));
        assert!(t.pop_due(c, 100).is_none());
        assert_eq!(t.first(c), u64::MAX);
    }
}
