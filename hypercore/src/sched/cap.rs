//! A domain's cap: the CPU time that its vCPUs together get in each period.
//!
//! A budget is spent while they run and filled up at the end of each period; unused time is not saved up. Whoever
//! looks late overdraws it: the debt is paid from the next periods, so the cap holds over time. The run
//! queue ([`super::runq`]) parks the members of a cap whose budget is spent.

use crate::ids::CpuId;

/// Time between two refills.
pub const PERIOD: u64 = 10_000_000;
/// Shortest time that a member runs at a stretch.
pub const MIN_CHUNK: u64 = 125_000;

/// Caps nothing until [`Cap::set`].
#[derive(Debug, Default)]
pub struct Cap {
    /// Of one CPU; 0: no cap.
    percent: u32,
    budget_ns: i64,
    refill_at: u64,
    spent: bool,
    /// Members that wait for the refill.
    pub parked: usize,
    /// The CPU that looks again at [`Self::refill_at`] because members wait for it.
    pub keeper: Option<CpuId>,
}

impl Cap {
    fn quota(&self) -> i64 {
        (PERIOD / 100 * u64::from(self.percent)) as i64
    }

    /// Changes the cap. A new one begins with a full budget; else what is left, or owed, stays within a period's.
    pub fn set(&mut self, percent: u32, now: u64) {
        let fresh = self.percent == 0;
        self.percent = percent;
        let quota = self.quota();
        if fresh {
            (self.budget_ns, self.refill_at) = (quota, now + PERIOD);
        }
        self.budget_ns = self.budget_ns.clamp(-quota, quota);
    }

    pub fn spend(&mut self, ns: u64) {
        if self.percent != 0 {
            self.budget_ns = self.budget_ns.saturating_sub_unsigned(ns);
        }
    }

    /// Adds the budgets of the periods that have begun.
    pub fn refill(&mut self, now: u64) {
        if self.percent != 0 && now >= self.refill_at {
            let periods = (now - self.refill_at) / PERIOD + 1;
            self.refill_at += periods * PERIOD;
            let more = self.quota().saturating_mul(periods.min(u64::from(u32::MAX)) as i64);
            self.budget_ns = self.budget_ns.saturating_add(more).min(self.quota());
        }
    }

    pub fn refill_at(&self) -> u64 {
        self.refill_at
    }

    /// Whether its members must wait.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Brings [`Self::is_spent`] up to date; the answer is the new value if it has changed.
    pub fn turn(&mut self) -> Option<bool> {
        let spent = self.percent != 0 && self.budget_ns <= 0;
        if !spent {
            self.keeper = None;
        }
        (core::mem::replace(&mut self.spent, spent) != spent).then_some(spent)
    }

    /// How long one of `members` that are ready may run until somebody must look; `u64::MAX`: no cap.
    pub fn chunk(&self, members: usize) -> u64 {
        if self.percent == 0 {
            return u64::MAX;
        }
        (self.budget_ns.max(0) as u64 / members.max(1) as u64).clamp(MIN_CHUNK, PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_filled_up_but_not_saved_up_and_debts_are_paid() {
        let mut c = Cap::default();
        c.spend(5);
        assert_eq!((c.turn(), c.chunk(1)), (None, u64::MAX), "no cap");
        c.set(50, 0);
        assert_eq!((c.chunk(1), c.chunk(2), c.chunk(1000)), (PERIOD / 2, PERIOD / 4, MIN_CHUNK));
        c.spend(PERIOD / 2);
        assert_eq!((c.turn(), c.turn(), c.is_spent()), (Some(true), None, true));
        c.refill(PERIOD - 1);
        assert_eq!(c.turn(), None);
        c.refill(PERIOD);
        assert_eq!((c.turn(), c.chunk(1), c.refill_at()), (Some(false), PERIOD / 2, 2 * PERIOD));
        c.refill(50 * PERIOD + 7);
        assert_eq!((c.chunk(1), c.refill_at()), (PERIOD / 2, 51 * PERIOD));
        c.spend(2 * PERIOD);
        c.refill(51 * PERIOD);
        c.refill(53 * PERIOD - 1);
        assert_eq!(c.turn(), Some(true), "half a period is still owed");
        c.refill(54 * PERIOD);
        assert_eq!((c.turn(), c.chunk(1)), (Some(false), PERIOD / 2));
    }

    #[test]
    fn a_change_keeps_neither_much_budget_nor_much_debt() {
        let mut c = Cap::default();
        c.set(400, 0);
        c.set(10, 5);
        assert_eq!((c.chunk(1), c.refill_at()), (PERIOD / 10, PERIOD));
        c.set(400, 6);
        c.spend(20 * PERIOD);
        c.set(10, 7);
        assert_eq!(c.turn(), Some(true));
        c.refill(PERIOD);
        assert_eq!(c.turn(), None, "what was owed is paid");
        c.refill(2 * PERIOD);
        assert_eq!((c.turn(), c.chunk(1)), (Some(false), PERIOD / 10));
        c.spend(PERIOD);
        assert_eq!(c.turn(), Some(true));
        c.set(0, 3 * PERIOD);
        assert_eq!(c.turn(), Some(false), "no cap, no debt");
    }
}
