//! The hypervisor on the host: [`Bed`], a machine of `hypercore` whose dom0 makes the tools' hypercalls.
//!
//! No second model: what answers is the hypervisor's own logic, reached by its own dispatch, with arguments in the
//! simulated dom0's memory.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use abi::Errno;
use hypercore::machine::GuestVa;
use hypercore::testing::{Guest, Kernel, World};

use crate::DomId;
use crate::call::{PAGE, Xen};
use crate::gate::{Gate, Memory};

/// Pages dom0 has for arguments.
const PAGES: usize = 400;

/// A machine with a dom0 of two vCPUs.
pub struct Bed {
    pub world: World,
    pub dom0: Guest,
    kernel: Arc<Pages>,
}

/// Dom0's kernel and its pages: which of them are taken.
struct Pages {
    kernel: Kernel,
    taken: Mutex<Vec<bool>>,
    /// One hypercall at a time: there is one CPU for them.
    cpu: Mutex<()>,
}

impl Bed {
    /// `frames` frames of memory, `cpus` CPUs.
    pub fn new(frames: u64, cpus: u32) -> Self {
        let world = World::new(frames, cpus);
        let dom0 = world.domain(0, 2);
        let kernel = dom0.boot(PAGES);
        let taken = Mutex::new(vec![false; PAGES]);
        Self { world, dom0, kernel: Arc::new(Pages { kernel, taken, cpu: Mutex::default() }) }
    }

    /// A guest without memory, paused as one that was just created; no CPU runs it.
    pub fn guest(&self, id: DomId, vcpus: u32) -> Guest {
        let guest = self.world.domain(id.0, vcpus);
        guest.dom.for_each_vcpu(|v| v.running.store(false, Ordering::SeqCst));
        guest
    }

    /// As dom0's tools reach it.
    pub fn xen(&self) -> Xen {
        Xen::through(HostGate(self.kernel.clone()))
    }
}

struct HostGate(Arc<Pages>);

impl Gate for HostGate {
    fn hypercall(&self, op: u32, args: [u64; 5]) -> Result<u64, Errno> {
        let _cpu = self.0.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let [a, b, c, d, e] = args;
        self.0.kernel.hypercall(0, op, [a, b, c, d, e, 0])
    }

    fn memory(&self, bytes: usize) -> Result<Box<dyn Memory>, Errno> {
        let pages = bytes.div_ceil(PAGE);
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |first: &usize| taken[*first..first + pages].iter().all(|t| !t);
        let first = (0..=PAGES.saturating_sub(pages)).find(free).ok_or(Errno::ENOMEM)?;
        taken[first..first + pages].fill(true);
        drop(taken);
        let mut memory = HostMemory { of: self.0.clone(), first, pages };
        memory.write(0, &vec![0; pages * PAGE]);
        Ok(Box::new(memory))
    }
}

/// Pages of dom0's kernel.
struct HostMemory {
    of: Arc<Pages>,
    first: usize,
    pages: usize,
}

impl Memory for HostMemory {
    fn address(&self) -> u64 {
        self.of.kernel.va(self.first)
    }

    fn len(&self) -> usize {
        self.pages * PAGE
    }

    fn read(&self, at: usize, to: &mut [u8]) {
        assert!(at + to.len() <= self.len(), "outside of a buffer");
        let _cpu = self.of.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        self.of.kernel.enter(0);
        let machine = &self.of.kernel.guest.xen.m;
        machine.copy_from_guest(to, self.address() + at as u64).expect("a mapped page");
    }

    fn write(&mut self, at: usize, from: &[u8]) {
        assert!(at + from.len() <= self.len(), "outside of a buffer");
        let _cpu = self.of.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(self.of.kernel.write(0, self.address() + at as u64, from), "a mapped page");
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken[self.first..self.first + self.pages].fill(false);
    }
}
