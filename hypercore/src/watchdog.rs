//! When a CPU is stuck in the hypervisor: what the NMI watchdog decides at each of its ticks.
//!
//! A CPU that runs a guest, or waits with interrupts on, is well. One that is found in the hypervisor must have
//! gone through the exit to guests or a preemption point (which count its passes) since the last tick; else the tick
//! counts.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// One CPU's record. Passes are counted by the CPU itself; ticks come to it as NMIs.
#[derive(Debug, Default)]
pub struct Watch {
    passes: AtomicU64,
    seen: AtomicU64,
    stuck_for: AtomicU32,
}

impl Watch {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Watch { passes: AtomicU64::new(0), seen: AtomicU64::new(0), stuck_for: AtomicU32::new(0) }
    }

    /// The CPU gets on.
    #[inline]
    pub fn pass(&self) {
        // Only this CPU writes: no locked addition is needed.
        self.passes.store(self.passes.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// A tick found the CPU in the hypervisor with interrupts off, or (`well`) elsewhere. Whether it has been stuck
    /// for more than `limit` ticks.
    pub fn tick(&self, well: bool, limit: u32) -> bool {
        let passes = self.passes.load(Relaxed);
        if well || self.seen.swap(passes, Relaxed) != passes {
            self.stuck_for.store(0, Relaxed);
            return false;
        }
        let ticks = self.stuck_for.load(Relaxed).saturating_add(1);
        self.stuck_for.store(ticks, Relaxed);
        ticks > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ticks_in_a_row_without_a_pass_count() {
        let w = Watch::new();
        for round in 0..10 {
            assert!(!w.tick(false, 3), "{round}");
            w.pass();
        }
        w.tick(false, 3);
        assert!((0..3).all(|_| !w.tick(false, 3)));
        assert!(w.tick(false, 3));
        assert!(!w.tick(true, 3), "a guest runs again");
        assert!((0..3).all(|_| !w.tick(false, 3)));
        assert!(w.tick(false, 3));
    }
}
