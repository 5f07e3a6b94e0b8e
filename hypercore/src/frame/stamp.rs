//! Which CPUs may still cache translations of a frame that lost its last user.
//!
//! A clock ticks when translations are shot down. A frame that loses its last user is stamped with the clock;
//! a CPU is clean for it once its own last full flush is of a later tick. A stamp keeps 32 bits: it is read
//! as the latest tick it can mean, so an old one costs a needless flush, never a missing one.

use crate::cpumask::{CpuMask, MAX_CPUS};
use crate::ids::{CpuId, Mfn};
use crate::machine::{Cpus, Flush};
use core::sync::atomic::{AtomicU64, Ordering::*};

/// `root` of a CPU that never said which tables it runs on.
const UNKNOWN: u64 = u64::MAX;
/// `root` of a CPU on the hypervisor's own tables: it caches nothing that any guest's tables said.
const NOWHERE: u64 = u64::MAX - 1;

/// The clock, each CPU's last full flush, and the tables each CPU runs on.
pub struct TlbStamps {
    clock: AtomicU64,
    flushed: [AtomicU64; MAX_CPUS],
    root: [AtomicU64; MAX_CPUS],
}

/// A moment of the clock: what a flush about to start will count as, or when a use ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Default for TlbStamps {
    fn default() -> Self {
        Self::new()
    }
}

impl TlbStamps {
    pub const fn new() -> Self {
        Self {
            clock: AtomicU64::new(1),
            flushed: [const { AtomicU64::new(0) }; MAX_CPUS],
            root: [const { AtomicU64::new(UNKNOWN) }; MAX_CPUS],
        }
    }

    /// What to stamp a frame with whose last translation was removed from the tables just now.
    #[inline]
    pub fn stamp(&self) -> u32 {
        self.clock.load(SeqCst) as u32
    }

    /// Before a CPU flushes all its translations for its own reasons (a CR3 load).
    #[inline]
    pub fn natural(&self) -> Tick {
        Tick(self.clock.load(SeqCst))
    }

    /// Before a shoot-down: a tick later than every stamp so far.
    pub fn shoot(&self) -> Tick {
        Tick(self.clock.fetch_add(1, SeqCst) + 1)
    }

    /// After `cpu` flushed all its translations; `t` was taken before.
    #[inline]
    pub fn flushed(&self, cpu: CpuId, t: Tick) {
        let last = &self.flushed[cpu.0 as usize];
        // Most flushes are of a tick that had one already.
        if last.load(SeqCst) < t.0 {
            last.fetch_max(t.0, SeqCst);
        }
    }

    /// `cpu` loads the tables rooted at `l4` (before the load, as long as no other tables can be meant).
    #[inline]
    pub fn runs_on(&self, cpu: CpuId, l4: Mfn) {
        self.root[cpu.0 as usize].store(l4.0, SeqCst);
    }

    /// `cpu` has left all guests' tables, and flushed what they said. Until it says [`Self::runs_on`] again, which
    /// comes before a load and so a flush, no shoot-down needs it.
    #[inline]
    pub fn runs_nowhere(&self, cpu: CpuId) {
        self.root[cpu.0 as usize].store(NOWHERE, SeqCst);
    }

    /// Whether `cpu` may have `l4` loaded.
    pub fn may_run_on(&self, cpu: CpuId, l4: Mfn) -> bool {
        let r = self.root[cpu.0 as usize].load(SeqCst);
        r == l4.0 || r == UNKNOWN
    }

    /// Flushes those of `cpus` that may still cache translations of a frame stamped `stamp`.
    pub fn settle(&self, m: &impl Cpus, cpus: &CpuMask, stamp: u32) {
        self.settle_since(m, cpus, self.meant(stamp));
    }

    /// As [`Self::settle`] for frames of which the latest use ended at `since`.
    pub fn settle_since(&self, m: &impl Cpus, cpus: &CpuMask, since: Tick) {
        let stale = self.stale_since(cpus, since);
        if !stale.is_empty() {
            let t = self.shoot();
            m.flush(&stale, Flush::Tlb);
            stale.iter().for_each(|c| self.flushed(c, t));
        }
    }

    /// The latest tick that `stamp` can mean.
    #[inline]
    pub fn meant(&self, stamp: u32) -> Tick {
        let now = self.clock.load(SeqCst);
        let tick = now & !0xffff_ffff | u64::from(stamp);
        Tick(if tick > now { tick.wrapping_sub(1 << 32) } else { tick })
    }

    /// Which of `cpus` may still cache translations of a frame stamped `stamp`.
    pub fn stale(&self, cpus: &CpuMask, stamp: u32) -> CpuMask {
        self.stale_since(cpus, self.meant(stamp))
    }

    fn stale_since(&self, cpus: &CpuMask, since: Tick) -> CpuMask {
        let mut m = CpuMask::EMPTY;
        let old = |c: &CpuId| self.flushed[c.0 as usize].load(SeqCst) <= since.0;
        let on_guest = |c: &CpuId| self.root[c.0 as usize].load(SeqCst) != NOWHERE;
        for c in cpus.iter().filter(|c| old(c) && on_guest(c)) {
            m.insert(c);
        }
        m
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_clean_only_after_a_later_flush() {
        let t = TlbStamps::new();
        let cpus = CpuMask::first(2);
        let s = t.stamp();
        assert_eq!(t.stale(&cpus, s), cpus);
        // A natural flush in the same tick may have been before the stamp.
        t.flushed(CpuId(0), t.natural());
        assert!(t.stale(&cpus, s).contains(CpuId(0)));
        t.flushed(CpuId(0), t.shoot());
        assert_eq!(t.stale(&cpus, s), CpuMask::single(CpuId(1)));
        t.flushed(CpuId(1), t.natural());
        assert!(t.stale(&cpus, s).is_empty());
        assert_eq!(t.stale(&cpus, t.stamp()), cpus);
    }

    #[test]
    fn a_cpu_on_no_guests_tables_needs_no_flush() {
        let t = TlbStamps::new();
        let cpus = CpuMask::first(2);
        let s = t.stamp();
        t.runs_nowhere(CpuId(1));
        assert_eq!(t.stale(&cpus, s), CpuMask::single(CpuId(0)));
        assert!(!t.may_run_on(CpuId(1), Mfn(5)));
        t.runs_on(CpuId(1), Mfn(5));
        assert_eq!(t.stale(&cpus, s), cpus);
    }

    #[test]
    fn an_old_stamp_never_hides_a_stale_cpu() {
        let t = TlbStamps::new();
        t.clock.store((7 << 32) + 5, SeqCst);
        t.flushed(CpuId(0), t.natural());
        let cpus = CpuMask::single(CpuId(0));
        // A stamp of the present tick, one that can only be of the last turn, one just past.
        assert!(!t.stale(&cpus, 5).is_empty());
        assert!(t.stale(&cpus, 6).is_empty());
        assert!(t.stale(&cpus, 4).is_empty());
    }
}
