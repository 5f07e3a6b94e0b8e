//! CPU pools: which CPUs the vCPUs of which domains may use. Each CPU is in one pool or free; free ones idle.
//!
//! Pools are part of the run queue's state and change under its lock. An entity carries its pool's CPUs, so picking one
//! to run looks at no pool.

use super::runq::{RATE_LIMIT, RunQueue, Slot};
use crate::cpumask::CpuMask;
use crate::fallible::TryVec;
use crate::ids::CpuId;
use abi::Errno;
use alloc::vec::Vec;

/// The pool that exists from boot and for ever, with dom0.
pub const POOL0: u32 = 0;
/// Of an entity that is in none.
pub const NO_POOL: u32 = u32::MAX;

/// One pool.
#[derive(Debug)]
pub struct Pool {
    pub id: u32,
    pub cpus: CpuMask,
    /// Domains in it.
    pub domains: u32,
    /// See [`RATE_LIMIT`], for its CPUs.
    pub rate_limit: u64,
}

/// All of them, by ascending number; the free CPUs.
#[derive(Debug)]
pub struct Pools {
    pub(super) list: Vec<Pool>,
    free: CpuMask,
    /// Rate limit of pools to come.
    initial_rate_limit: u64,
}

impl Pools {
    /// Pool 0 with CPUs `0..nr_cpus`.
    pub(super) fn new(nr_cpus: usize) -> Self {
        let mut list = Vec::new();
        let first = Pool { id: POOL0, cpus: CpuMask::first(nr_cpus), domains: 0, rate_limit: RATE_LIMIT };
        list.try_push(first).expect("memory at boot");
        Self { list, free: CpuMask::EMPTY, initial_rate_limit: RATE_LIMIT }
    }

    /// CPUs in no pool.
    pub fn free(&self) -> CpuMask {
        self.free
    }

    pub fn get(&self, id: u32) -> Option<&Pool> {
        self.list.iter().find(|p| p.id == id)
    }

    /// The pool with the lowest number that is at least `id`.
    pub fn at_or_above(&self, id: u32) -> Option<&Pool> {
        self.list.iter().find(|p| p.id >= id)
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Pool> {
        self.list.iter_mut().find(|p| p.id == id)
    }

    /// Adds a pool without CPUs: with the number wanted, or the lowest that is free. EEXIST, ENOMEM.
    pub fn create(&mut self, wanted: Option<u32>) -> Result<u32, Errno> {
        let lowest = || (0..NO_POOL).zip(&self.list).find(|(n, p)| *n != p.id).map(|(n, _)| n);
        let id = wanted.or_else(lowest).unwrap_or(self.list.len() as u32);
        let at = self.list.partition_point(|p| p.id < id);
        if self.list.get(at).is_some_and(|p| p.id == id) {
            return Err(Errno::EEXIST);
        }
        let pool = Pool { id, cpus: CpuMask::EMPTY, domains: 0, rate_limit: self.initial_rate_limit };
        self.list.try_insert(at, pool)?;
        Ok(id)
    }

    /// Ends a pool. EBUSY: it has CPUs or domains, or is pool 0. ENOENT.
    pub fn destroy(&mut self, id: u32) -> Result<(), Errno> {
        let at = self.list.iter().position(|p| p.id == id).ok_or(Errno::ENOENT)?;
        if id == POOL0 || self.list[at].domains != 0 || !self.list[at].cpus.is_empty() {
            return Err(Errno::EBUSY);
        }
        self.list.remove(at);
        Ok(())
    }

    /// Counts one more domain in a pool. ENODEV: it has no CPU. ENOENT.
    pub fn join(&mut self, id: u32) -> Result<(), Errno> {
        let pool = self.get_mut(id).ok_or(Errno::ENOENT)?;
        if pool.cpus.is_empty() {
            return Err(Errno::ENODEV);
        }
        pool.domains += 1;
        Ok(())
    }

    /// Ends a [`Self::join`].
    pub fn leave(&mut self, id: u32) {
        if let Some(pool) = self.get_mut(id) {
            pool.domains -= 1;
        }
    }
}

impl<T> RunQueue<T> {
    /// Puts a free CPU (`None`: the first) into a pool; answers who must look. EINVAL: the machine has no such CPU.
    /// ENODEV: it is not free. ENOENT.
    pub fn add_cpu(&mut self, id: u32, wanted: Option<CpuId>, now: u64) -> Result<CpuMask, Errno> {
        let free = self.pools.free;
        let cpu = wanted.map_or_else(|| free.iter().next(), |c| Some(c).filter(|c| free.contains(*c)));
        let pool = self.pools.get_mut(id).ok_or(Errno::ENOENT)?;
        if wanted.is_some_and(|c| c.0 as usize >= self.cpus.len()) {
            return Err(Errno::EINVAL);
        }
        let cpu = cpu.ok_or(Errno::ENODEV)?;
        pool.cpus.insert(cpu);
        let limit = pool.rate_limit;
        self.pools.free.remove(cpu);
        self.cpus[cpu.0 as usize].rate_limit = limit;
        Ok(self.place_all(id, now))
    }

    /// Takes a CPU (`None`: the last) out of a pool; it is free, and whoever runs there moves as soon as it has
    /// looked. EINVAL: it is not in the pool, or pool 0's last. EBUSY: the last of another pool with domains. ENOENT.
    pub fn remove_cpu(&mut self, id: u32, cpu: Option<CpuId>, now: u64) -> Result<CpuMask, Errno> {
        let pool = self.pools.get_mut(id).ok_or(Errno::ENOENT)?;
        let cpu = cpu.or_else(|| pool.cpus.iter().last()).filter(|c| pool.cpus.contains(*c));
        let cpu = cpu.ok_or(Errno::EINVAL)?;
        if pool.cpus.count() == 1 && (id == POOL0 || pool.domains != 0) {
            return Err(if id == POOL0 { Errno::EINVAL } else { Errno::EBUSY });
        }
        pool.cpus.remove(cpu);
        self.pools.free.insert(cpu);
        Ok(self.place_all(id, now))
    }

    /// The rate limit of every pool, those to come too.
    pub fn set_every_rate_limit(&mut self, ns: u64) {
        self.pools.initial_rate_limit = ns;
        for at in 0..self.pools.list.len() {
            self.set_rate_limit(self.pools.list[at].id, ns);
        }
    }

    /// How long whoever was dispatched on a CPU of the pool runs at least, in ns.
    pub fn set_rate_limit(&mut self, id: u32, ns: u64) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        pool.rate_limit = ns;
        let cpus = pool.cpus;
        cpus.iter().for_each(|c| self.cpus[c.0 as usize].rate_limit = ns);
    }

    fn place_all(&mut self, id: u32, now: u64) -> CpuMask {
        let mut look = CpuMask::EMPTY;
        for slot in 0..self.slots.len() {
            if self.get(slot).is_some_and(|e| e.pool == id)
                && let Some(cpu) = self.place(slot, id, now)
            {
                look.insert(cpu);
            }
        }
        look
    }

    /// An entity is in this pool from now on. Should that leave nothing of its hard affinity, it may run anywhere in the
    /// pool. The answer is a CPU that must look.
    pub fn place(&mut self, slot: Slot, id: u32, now: u64) -> Option<CpuId> {
        let cpus = self.pools.get(id).map_or(CpuMask::ALL, |p| p.cpus);
        let e = self.get_mut(slot)?;
        (e.pool, e.cpus) = (id, cpus);
        if e.hard.and(&cpus).is_empty() {
            e.hard = CpuMask::ALL;
        }
        e.pinned = e.pinned.filter(|c| cpus.contains(*c));
        self.moved(slot, now)
    }
}
