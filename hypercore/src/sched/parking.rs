//! Caps in the run queue: who is parked, and which CPU looks when the budget is filled up.

use super::cap::Cap;
use super::runq::{RunQueue, Slot};
use crate::cpumask::CpuMask;
use crate::fallible::TryVec;
use crate::ids::CpuId;
use abi::Errno;

impl<T> RunQueue<T> {
    /// A cap that caps nothing yet. ENOMEM.
    pub fn add_cap(&mut self) -> Result<usize, Errno> {
        let free = self.caps.iter().position(Option::is_none);
        if let Some(c) = free {
            self.caps[c] = Some(Cap::default());
            return Ok(c);
        }
        self.caps.try_push(Some(Cap::default()))?;
        Ok(self.caps.len() - 1)
    }

    /// Forgets a cap that has no members any more.
    pub fn remove_cap(&mut self, cap: usize) {
        if let Some(c) = self.caps.get_mut(cap) {
            *c = None;
        }
    }

    /// Makes the entity a member of the cap, which caps nothing yet, or the entity is not runnable.
    pub fn join_cap(&mut self, slot: Slot, cap: usize) {
        if let Some(e) = self.get_mut(slot) {
            e.cap = Some(cap);
        }
    }

    /// Caps the members together at `percent` of one CPU; 0: no cap. The answer: CPUs that must come to
    /// [`RunQueue::schedule`] soon.
    pub fn set_cap(&mut self, cap: usize, percent: u32, now: u64) -> CpuMask {
        (0..self.cpus.len()).for_each(|c| self.charge(c, now));
        let Some(c) = self.caps.get_mut(cap).and_then(Option::as_mut) else { return CpuMask::EMPTY };
        c.refill(now);
        c.set(percent, now);
        let mut kicks = self.settle_caps(now).or(&self.find_cpus_for_released(now));
        // Slices change with the budget, and so may the time of the refill.
        for i in 0..self.cpus.len() as u32 {
            let member = self.cpus[i as usize].current.and_then(|s| self.get(s)).and_then(|e| e.cap);
            let keeper = self.caps[cap].as_ref().and_then(|c| c.keeper);
            if member == Some(cap) || keeper == Some(CpuId(i)) {
                kicks.insert(CpuId(i));
                self.kick(CpuId(i));
            }
        }
        kicks
    }

    fn cap_of(&self, slot: Slot) -> Option<&Cap> {
        self.caps.get(self.get(slot)?.cap?)?.as_ref()
    }

    pub(super) fn is_spent(&self, slot: Slot) -> bool {
        self.cap_of(slot).is_some_and(Cap::is_spent)
    }

    /// Whether an entity that has just become runnable must wait for a refill.
    pub(super) fn must_park(&mut self, slot: Slot, now: u64) -> bool {
        let cap = self.get(slot).and_then(|e| e.cap);
        let Some(cap) = cap.and_then(|c| self.caps.get_mut(c)?.as_mut()) else { return false };
        if cap.parked == 0 {
            // Nobody waited, so nobody looked.
            cap.refill(now);
            cap.turn();
        }
        cap.is_spent()
    }

    /// Parks it. The answer: a CPU that must come to [`RunQueue::schedule`], to look at the refill.
    pub(super) fn park(&mut self, slot: Slot) -> Option<CpuId> {
        self.set_parked(slot, true);
        let e = self.get(slot)?;
        let (cap, last) = (e.cap?, e.last);
        let cap = self.caps.get_mut(cap)?.as_mut()?;
        if cap.keeper.is_some() {
            return None;
        }
        cap.keeper = Some(last);
        self.kick(last)
    }

    pub(super) fn unpark(&mut self, slot: Slot) {
        self.set_parked(slot, false);
    }

    pub(super) fn set_parked(&mut self, slot: Slot, parked: bool) {
        let Some(e) = self.get_mut(slot) else { return };
        if core::mem::replace(&mut e.parked, parked) == parked {
            return;
        }
        let cap = e.cap;
        if let Some(cap) = cap.and_then(|c| self.caps.get_mut(c)?.as_mut()) {
            cap.parked = if parked { cap.parked + 1 } else { cap.parked - 1 };
            if cap.parked == 0 {
                cap.keeper = None;
            }
        }
    }

    /// Fills budgets up, and parks or releases members. What ran until now has been charged. The answer: CPUs that
    /// run members of a cap that is spent.
    pub(super) fn settle_caps(&mut self, now: u64) -> CpuMask {
        let mut stop = CpuMask::EMPTY;
        for c in 0..self.caps.len() {
            let Some(cap) = self.caps[c].as_mut() else { continue };
            cap.refill(now);
            let Some(spent) = cap.turn() else { continue };
            for slot in 0..self.slots.len() {
                let Some(e) = self.get_mut(slot).filter(|e| e.cap == Some(c)) else { continue };
                match (spent, e.on) {
                    (true, Some(cpu)) => {
                        stop.insert(cpu);
                        self.kick(cpu);
                    }
                    (true, None) if e.queued => {
                        self.dequeue(slot);
                        self.set_parked(slot, true);
                    }
                    (false, _) if e.parked => {
                        e.released = true;
                        self.unpark(slot);
                        self.return_to_queue(slot);
                    }
                    _ => {}
                }
            }
        }
        stop
    }

    /// After [`Self::settle_caps`]: CPUs for those that it released and that still wait.
    pub(super) fn find_cpus_for_released(&mut self, now: u64) -> CpuMask {
        let mut kicks = CpuMask::EMPTY;
        if self.caps.is_empty() {
            return kicks;
        }
        for slot in 0..self.slots.len() {
            let Some(e) = self.get_mut(slot) else { continue };
            if core::mem::take(&mut e.released)
                && e.queued
                && let Some(c) = self.find_cpu(slot, now)
            {
                kicks.insert(c);
            }
        }
        kicks
    }

    /// When `cpu`, which is to run `next`, must look because of a cap: `next`'s share of the budget is used up, or
    /// members wait for a refill and nobody else looks for it.
    pub(super) fn cap_deadline(&mut self, cpu: CpuId, next: Option<Slot>, now: u64) -> u64 {
        let mut until = u64::MAX;
        for cap in self.caps.iter_mut().flatten().filter(|c| c.parked != 0) {
            if *cap.keeper.get_or_insert(cpu) == cpu {
                until = until.min(cap.refill_at());
            }
        }
        if let Some(cap) = next.and_then(|n| self.cap_of(n)) {
            let of = next.and_then(|n| self.get(n)).and_then(|e| e.cap);
            let ready = self.slots.iter().flatten().filter(|e| e.runnable && e.cap == of).count();
            until = until.min(now.saturating_add(cap.chunk(ready.min(self.cpus.len()))));
        }
        until
    }
}
