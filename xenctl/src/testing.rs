//! The hypervisor on the host: [`Bed`], a machine of `hypercore` whose dom0 makes the tools' hypercalls.
//!
//! No second model: what answers is the hypervisor's own logic, reached by its own dispatch, with arguments in the
//! simulated dom0's memory.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use abi::memory::*;
use abi::xen::HYPERVISOR_MEMORY_OP;
use abi::{Errno, GuestHandle};
use hypercore::frame::{FrameRef, WritableRef};
use hypercore::ids::Mfn;
use hypercore::machine::{Frames, GuestVa};
use hypercore::mm::Fail;
use hypercore::mm::types::get_writable;
use hypercore::testing::{Guest, HostMachine, Kernel, World};
use zerocopy::IntoBytes;

use crate::DomId;
use crate::call::{PAGE, Xen};
use crate::error::Error;
use crate::gate::{Gate, Memory};

type HostXen = hypercore::xen::Xen<HostMachine>;

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
        Xen::through(self.gate())
    }

    /// The way there, for a test that stands in it.
    pub fn gate(&self) -> impl Gate + use<> {
        HostGate(self.kernel.clone())
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
        let memory = HostMemory { of: self.0.clone(), first, pages };
        memory.write(0, &vec![0; pages * PAGE]);
        Ok(Box::new(memory))
    }

    fn frames(&self, domain: DomId, frames: &[u64], writable: bool) -> crate::Result<Box<dyn Memory>> {
        let _cpu = self.0.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.kernel.enter(0);
        let xen = self.0.kernel.guest.xen;
        let doing = || format!("mapping {} frames of domain {domain}", frames.len());
        let held = frames.iter().map(|mfn| {
            let held = Held::take(xen, domain, *mfn, writable);
            held.map_err(|e| Error::new(doing(), e).because(format!("frame {mfn:#x} cannot be")))
        });
        Ok(Box::new(HostFrames { xen, frames: held.collect::<crate::Result<_>>()? }))
    }

    fn grant_table(&self, domain: DomId, page: u32) -> crate::Result<Box<dyn Memory>> {
        let frame = self.acquire(domain, page);
        let doing = || format!("acquiring page {page} of the grant table of domain {domain}");
        self.frames(domain, &[frame.map_err(|e| Error::new(doing(), e))?], true)
    }
}

impl HostGate {
    /// As the kernel's driver asks.
    fn acquire(&self, domain: DomId, page: u32) -> Result<u64, Errno> {
        let room = self.memory(PAGE)?;
        let argument = MemAcquireResource {
            domid: domain.0,
            type_: XENMEM_RESOURCE_GRANT_TABLE,
            nr_frames: 1,
            frame: page.into(),
            frame_list: GuestHandle::new(room.address()),
            ..Default::default()
        };
        room.write(8, argument.as_bytes());
        let command = XENMEM_ACQUIRE_RESOURCE.into();
        self.hypercall(HYPERVISOR_MEMORY_OP, [command, room.address() + 8, 0, 0, 0])?;
        let mut frame = [0; 8];
        room.read(0, &mut frame);
        Ok(u64::from_le_bytes(frame))
    }
}

/// What a mapping of a frame counts as.
enum Held {
    ReadOnly(FrameRef),
    Writable(WritableRef),
}

impl Held {
    fn take(xen: &'static HostXen, domain: DomId, mfn: u64, writable: bool) -> Result<Self, Errno> {
        let frame = xen.frames.get(Mfn(mfn), hypercore::ids::DomId(domain.0)).ok_or(Errno::EINVAL)?;
        if !writable {
            return Ok(Self::ReadOnly(frame));
        }
        get_writable(xen, frame).map(Self::Writable).map_err(Fail::errno)
    }
}

/// Frames of another domain, as long as they are mapped.
struct HostFrames {
    xen: &'static HostXen,
    frames: Vec<Held>,
}

/// The pieces of pages that `bytes` bytes from `at` on are in: page, offset in it, range of the bytes.
fn pieces(at: usize, bytes: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (page, offset) = ((at + done) / PAGE, (at + done) % PAGE);
        let range = done..bytes.min(done + PAGE - offset);
        done = range.end;
        (!range.is_empty()).then_some((page, offset, range))
    })
}

impl Memory for HostFrames {
    /// Nothing that takes an address is told of these.
    fn address(&self) -> u64 {
        0
    }

    fn len(&self) -> usize {
        self.frames.len() * PAGE
    }

    fn read(&self, at: usize, to: &mut [u8]) {
        for (page, offset, range) in pieces(at, to.len()) {
            match &self.frames[page] {
                Held::ReadOnly(frame) => self.xen.m.read(frame, offset, &mut to[range]),
                Held::Writable(frame) => self.xen.m.read(frame, offset, &mut to[range]),
            }
        }
    }

    fn write(&self, at: usize, from: &[u8]) {
        for (page, offset, range) in pieces(at, from.len()) {
            let Held::Writable(frame) = &self.frames[page] else { panic!("a mapping for reading") };
            self.xen.m.write(frame, offset, &from[range]);
        }
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

    fn write(&self, at: usize, from: &[u8]) {
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
