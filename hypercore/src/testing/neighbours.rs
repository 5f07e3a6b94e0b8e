//! An unprivileged domain that makes any hypercall with any arguments, beside a neighbour that works and the dom0
//! that builds, serves and destroys it, with the audit as the judge.
//!
//! Dom0 makes domains by its own hypercalls, as tools do, and destroys them in pieces, while it and the neighbour
//! still hold grants and mappings of theirs. Whatever the domain does, the neighbour's memory, its grants and its
//! events are as they should be, and once everybody let go nothing is left of it.

use super::fuzz::Source;
use super::kernel::{BASE, Kernel, RO, RW};
use super::world::{Guest, World, check};
use crate::domain::Dying;
use crate::frame::CanRead;
use crate::frame::proof::FreshFrame;
use crate::hypercall::dispatch;
use crate::ids::{CpuId, DomId, Mfn, Port};
use crate::machine::{Frames, GuestVa};
use crate::xen::Stop;
use crate::{event, lifecycle};
use abi::domctl::*;
use abi::event_channel::*;
use abi::grant_table::*;
use abi::memory::*;
use abi::xen::*;
use abi::{Errno, GuestHandle};
use core::mem::offset_of;
use core::sync::atomic::Ordering::*;
use std::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const FRAMES: u64 = 512;
const CPUS: u32 = 3;
/// Data pages of each domain.
const PAGES: usize = 20;
/// The neighbour's number.
const NEIGHBOUR: u16 = 1;
/// Its entry for dom0, the page it grants, and where dom0 maps it.
const SHARED: (u32, usize, usize) = (9, 7, 15);
/// Pages of the neighbour's that nobody else has to do with.
const PRIVATE: core::ops::Range<usize> = 8..12;
/// Mappings dom0 and the neighbour hold at most of the other's.
const HELD: usize = 6;

/// Who holds a mapping of the hostile domain's: its handle, and the page it is at.
struct Held {
    by_dom0: bool,
    handle: u32,
    page: usize,
}

pub struct Neighbours {
    world: World,
    source: Source,
    dom0: Kernel,
    neighbour: Kernel,
    hostile: Kernel,
    held: Vec<Held>,
    /// Dom0's and the neighbour's end of their connection.
    ports: (Port, Port),
    next_id: u16,
    /// Free frames without the hostile domain.
    free: u64,
    pub steps: u64,
    /// Hypercalls of the hostile domain: made, and not refused.
    pub calls: (u64, u64),
    /// Domains that came and went.
    pub domains: u64,
    last: std::string::String,
}

impl Neighbours {
    pub fn new(seed: u64) -> Self {
        let world = World::new(FRAMES, CPUS);
        let dom0 = world.domain(0, 1);
        dom0.dom.memory.set_max_pages(200);
        crate::grant::grow(world.xen, &dom0.dom, 1).expect("memory for a grant table");
        let dom0 = dom0.boot(PAGES);
        let neighbour = make(&dom0, NEIGHBOUR);
        for i in PRIVATE {
            assert!(neighbour.write(0, neighbour.va(i), pattern(i).as_bytes()));
        }
        let (entry, page, _) = SHARED;
        grant(&neighbour, entry, 0, neighbour.pages[page], GTF_PERMIT_ACCESS);
        let far = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: 0, port: 0 };
        let far: EvtchnAllocUnbound = event_op(&neighbour, EVTCHNOP_ALLOC_UNBOUND, &far);
        let bind =
            EvtchnBindInterdomain { remote_dom: NEIGHBOUR, remote_port: far.port, ..Default::default() };
        let near: EvtchnBindInterdomain = event_op(&dom0, EVTCHNOP_BIND_INTERDOMAIN, &bind);
        let free = world.xen.frames.alloc.free_pages();
        let hostile = make(&dom0, NEIGHBOUR + 1);
        Self {
            world,
            source: Source::Seed(seed | 1),
            dom0,
            neighbour,
            hostile,
            held: Vec::new(),
            ports: (Port(near.local_port), Port(far.port)),
            next_id: NEIGHBOUR + 1,
            free,
            steps: 0,
            calls: (0, 0),
            domains: 1,
            last: "start".into(),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.source.next().unwrap_or(0) >> 8) % n
    }

    fn any(&mut self) -> u64 {
        self.source.next().unwrap_or(0)
    }

    /// Stops at the first thing that should not be. Panics say what.
    pub fn check(&self) {
        check(self.world.xen, &std::format!("step {} ({})", self.steps, self.last));
    }

    pub fn step(&mut self) {
        self.steps += 1;
        let alive = self.hostile.guest.dom.is_alive();
        match self.below(100) {
            0..60 if alive => self.hypercall(),
            60..72 if alive => self.lend(),
            72..78 => self.let_go(),
            78..97 => self.work(),
            _ => self.destroy(),
        }
    }

    /// What may mean something to a call of the hostile domain's.
    fn word(&mut self) -> u64 {
        let theirs = [self.dom0.pages[3], self.neighbour.pages[3], self.neighbour.tables[0]];
        let k = &self.hostile;
        let (pages, tables, id) = (k.pages.clone(), k.tables, k.guest.dom.id.0);
        match self.below(12) {
            0 | 1 => self.below(4),
            2 => (BASE + self.below(PAGES as u64 * 4096)) & !7,
            3 => pages[self.below(PAGES as u64) as usize].0,
            4 => tables[self.below(4) as usize].0,
            5 => theirs[self.below(3) as usize].0,
            6 => pages[self.below(PAGES as u64) as usize].0 << 12 | [RW, RO][self.below(2) as usize],
            7 => (tables[self.below(4) as usize].0 << 12) | (self.below(24) * 8) | self.below(4),
            8 => [DOMID_SELF, DOMID_IO, DOMID_XEN, 0, NEIGHBOUR, id, 77][self.below(7) as usize].into(),
            9 => self.below(64),
            10 => 1 << self.below(64),
            _ => self.any(),
        }
    }

    /// Any call with any arguments; the structure they point to is as little to be trusted.
    fn hypercall(&mut self) {
        if !self.hostile.write(0, BASE, &[0]) {
            // It has taken its own memory away and can do nothing more.
            self.last = "unmapped itself".into();
            return self.destroy();
        }
        let words: [u64; 16] = core::array::from_fn(|_| self.word());
        let nr = match self.below(8) {
            0 => self.below(128) as u32,
            1 => HYPERVISOR_MULTICALL,
            2 => HYPERVISOR_MEMORY_OP,
            3 => HYPERVISOR_EVENT_CHANNEL_OP,
            4 => HYPERVISOR_GRANT_TABLE_OP,
            5 => HYPERVISOR_MMUEXT_OP,
            6 => HYPERVISOR_VCPU_OP,
            _ => HYPERVISOR_MMU_UPDATE,
        };
        let mut args: [u64; 6] = core::array::from_fn(|_| self.word());
        match nr {
            // Lists on the argument page, of a few elements.
            HYPERVISOR_MULTICALL | HYPERVISOR_MMUEXT_OP | HYPERVISOR_MMU_UPDATE => {
                args[0] = BASE;
                args[1] = self.below(3);
            }
            HYPERVISOR_EVENT_CHANNEL_OP | HYPERVISOR_MEMORY_OP | HYPERVISOR_GRANT_TABLE_OP => {
                (args[0], args[1], args[2]) = (self.below(28), BASE, self.below(3));
            }
            _ => {}
        }
        self.last = std::format!("hypercall {nr} {args:x?} {words:x?}");
        if !self.hostile.write(0, BASE, words.as_bytes()) {
            return;
        }
        self.hostile.preempt_every(self.steps as u32 % 4);
        self.calls.0 += 1;
        self.calls.1 += u64::from(self.hostile.hypercall(0, nr, args).is_ok());
        self.hostile.preempt_every(0);
    }

    /// The hostile domain grants a page, and dom0 or the neighbour maps it; or it maps what is the neighbour's.
    fn lend(&mut self) {
        let (page, entry) = (3 + self.below(8) as usize, 6 + self.below(6) as u32);
        let flags = [GTF_PERMIT_ACCESS, GTF_PERMIT_ACCESS | GTF_READONLY, 0][self.below(3) as usize];
        let by_dom0 = self.below(2) == 0;
        let mapper = if by_dom0 { &self.dom0 } else { &self.neighbour };
        self.last = std::format!("lend {entry} to {}", mapper.guest.dom.id);
        let to = mapper.guest.dom.id.0;
        grant(&self.hostile, entry, to, self.hostile.pages[page], flags);
        if self.held.iter().filter(|h| h.by_dom0 == by_dom0).count() >= HELD {
            return;
        }
        let taken = |p: usize| self.held.iter().any(|h| h.by_dom0 == by_dom0 && h.page == p);
        let Some(at) = (1..1 + HELD).find(|p| !taken(*p)) else { return };
        let read_only = self.steps.is_multiple_of(2);
        let id = self.hostile.guest.dom.id.0;
        if let Some(handle) = map(mapper, id, entry, at, read_only) {
            self.held.push(Held { by_dom0, handle, page: at });
        }
        // A page of the neighbour's that is not for it.
        let (secret, _, _) = SHARED;
        assert_eq!(map(&self.hostile, NEIGHBOUR, secret, 2, true), None, "the neighbour granted it to dom0");
    }

    fn let_go(&mut self) {
        self.last = "let go".into();
        if self.held.is_empty() {
            return;
        }
        let at = self.below(self.held.len() as u64) as usize;
        let h = self.held.swap_remove(at);
        let mapper = if h.by_dom0 { &self.dom0 } else { &self.neighbour };
        // Whatever became of the granter meanwhile, what is held can be read, and given back.
        assert!(mapper.read(0, mapper.va(h.page)).is_some(), "step {}", self.steps);
        assert_eq!(unmap(mapper, h.handle, h.page), GNTST_OKAY, "step {}", self.steps);
    }

    /// What the neighbour and dom0 have with each other.
    fn work(&mut self) {
        self.last = "work".into();
        let (n, when) = (self.neighbour.clone(), std::format!("step {}", self.steps));
        for i in PRIVATE {
            let mut bytes = [0; 64];
            n.enter(0);
            n.guest.xen.m.copy_from_guest(&mut bytes, n.va(i)).expect("its own page");
            assert_eq!(bytes.as_slice(), pattern(i).as_bytes(), "{when}");
        }
        let (entry, page, at) = SHARED;
        assert!(n.write(0, n.va(page), &self.steps.to_le_bytes()));
        let handle = map(&self.dom0, NEIGHBOUR, entry, at, false).expect("the neighbour's grant");
        assert_eq!(self.dom0.read(0, self.dom0.va(at)), Some(self.steps), "{when}");
        assert!(self.dom0.write(0, self.dom0.va(at), &(!self.steps).to_le_bytes()));
        assert_eq!(unmap(&self.dom0, handle, at), GNTST_OKAY, "{when}");
        assert_eq!(n.read(0, n.va(page)), Some(!self.steps), "{when}");
        let pending = |k: &Kernel, port| event::poll_check(k.guest.xen, &k.guest.dom, port);
        assert_eq!(pending(&n, self.ports.1), Ok(false), "{when}");
        let _: EvtchnSend = event_op(&self.dom0, EVTCHNOP_SEND, &EvtchnSend { port: self.ports.0.0 });
        assert_eq!(pending(&n, self.ports.1), Ok(true), "{when}");
        event::level2::clear_pending(&n.guest.xen.m, &n.guest.dom, self.ports.1);
    }

    /// One round of the hostile domain's destruction; the next one comes once it is dead.
    fn destroy(&mut self) {
        let xen = self.world.xen;
        let id = self.hostile.guest.dom.id.0;
        if self.hostile.guest.dom.dying() != Dying::Dead {
            self.last = std::format!("destroy {id}");
            // Its vCPU is off its CPU, which idles on its tables.
            for c in &xen.m.cpus {
                c.lock().unwrap().idle = true;
            }
            self.hostile.guest.dom.for_each_vcpu(|v| v.running.store(false, SeqCst));
            xen.m.preempt_every.store(1 + self.steps as u32 % 3, Relaxed);
            let r = domctl(&self.dom0, XEN_DOMCTL_DESTROYDOMAIN, id, &0u64, false);
            xen.m.preempt_every.store(0, Relaxed);
            assert!(matches!(r, Ok(_) | Err(None)), "step {}: {r:?}", self.steps);
            return;
        }
        self.last = std::format!("replace {id}");
        // Frames that are still held are not there for the next one.
        while !self.held.is_empty() {
            self.let_go();
        }
        self.bury(id);
        self.next_id = if self.next_id >= 1000 { NEIGHBOUR + 1 } else { self.next_id + 1 };
        self.hostile = make(&self.dom0, self.next_id);
        self.domains += 1;
    }

    /// Nothing is left of the domain once its kernel is forgotten here.
    fn bury(&mut self, id: u16) {
        self.hostile = self.neighbour.clone();
        let xen = self.world.xen;
        lifecycle::reap(xen);
        assert!(xen.domains.get(DomId(id)).is_none(), "step {}: domain {id} stays", self.steps);
        assert_eq!(xen.frames.alloc.free_pages(), self.free, "step {}: frames of {id}", self.steps);
        assert_eq!(xen.frames.alloc.outstanding(), 0);
    }

    /// The hostile domain goes for good.
    pub fn end(mut self) {
        while self.hostile.guest.dom.dying() != Dying::Dead {
            self.destroy();
        }
        while !self.held.is_empty() {
            self.let_go();
        }
        self.bury(self.hostile.guest.dom.id.0);
        self.work();
        self.check();
    }
}

/// What stands in a private page of the neighbour's.
fn pattern(page: usize) -> [u64; 8] {
    core::array::from_fn(|i| 0x6e65_6967_6862_0000 | (page as u64) << 8 | i as u64)
}

/// A domain as dom0 makes it.
fn make(dom0: &Kernel, id: u16) -> Kernel {
    let create = DomctlCreatedomain {
        max_vcpus: 1,
        max_evtchn_port: 127,
        max_grant_frames: 2,
        max_maptrack_frames: 1,
        grant_opts: 2,
        ..Default::default()
    };
    let n = PAGES as u64 + 4;
    let done = |r: Result<u64, Option<Errno>>| r.unwrap_or_else(|e| panic!("domain {id}: {e:?}"));
    done(domctl(dom0, XEN_DOMCTL_CREATEDOMAIN, id, &create, true));
    done(domctl(dom0, XEN_DOMCTL_MAX_VCPUS, id, &DomctlMaxVcpus { max: 1 }, true));
    done(domctl(dom0, XEN_DOMCTL_MAX_MEM, id, &DomctlMaxMem { max_memkb: (n + 4) * 4 }, true));
    let list = BASE + 2048;
    let r = MemoryReservation {
        extent_start: GuestHandle::new(list),
        nr_extents: n,
        domid: id,
        ..Default::default()
    };
    assert!(dom0.write(0, BASE, r.as_bytes()));
    assert_eq!(
        dom0.hypercall(0, HYPERVISOR_MEMORY_OP, [XENMEM_POPULATE_PHYSMAP.into(), BASE, 0, 0, 0, 0]),
        Ok(n)
    );
    let frames: Vec<Mfn> = (0..n).filter_map(|i| dom0.read(0, list + i * 8)).map(Mfn).collect();
    let xen = dom0.guest.xen;
    let dom = xen.domains.get(DomId(id)).expect("the domain");
    crate::grant::grow(xen, &dom, 1).expect("memory for a grant table");
    let cpu = CpuId(u32::from(id) % CPUS);
    dom.dirty_cpus.insert(cpu);
    dom.for_each_vcpu(|v| {
        v.set_processor(cpu);
        v.initialised.store(true, SeqCst);
    });
    let k = Guest { xen, dom }.boot_on(&frames);
    done(domctl(dom0, XEN_DOMCTL_UNPAUSEDOMAIN, id, &0u64, true));
    k
}

/// A domctl of dom0's, to its end unless `once`. `Err(None)`: it goes on another time.
fn domctl<T: IntoBytes + Immutable>(
    dom0: &Kernel,
    cmd: u32,
    domain: u16,
    payload: &T,
    whole: bool,
) -> Result<u64, Option<Errno>> {
    let header = DomctlHeader { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain, _pad: [0; 3] };
    assert!(dom0.write(0, BASE, &[0; DOMCTL_SIZE]) && dom0.write(0, BASE, header.as_bytes()));
    assert!(dom0.write(0, BASE + DOMCTL_PAYLOAD_OFFSET as u64, payload.as_bytes()));
    let args = [BASE, 0, 0, 0, 0, 0];
    if whole {
        return dom0.hypercall(0, HYPERVISOR_DOMCTL, args).map_err(Some);
    }
    match dom0.guest.call(0, |cx| dispatch(cx, HYPERVISOR_DOMCTL, &args)) {
        Ok(v) => Ok(v),
        Err(Stop::Errno(e)) => Err(Some(e)),
        Err(Stop::Continue) => Err(None),
    }
}

/// An event-channel operation that must succeed; its structure after it.
fn event_op<T: IntoBytes + FromBytes + Immutable>(k: &Kernel, op: u32, arg: &T) -> T {
    assert!(k.write(0, BASE, arg.as_bytes()));
    assert_eq!(k.hypercall(0, HYPERVISOR_EVENT_CHANNEL_OP, [op.into(), BASE, 0, 0, 0, 0]), Ok(0));
    let mut answer = T::new_zeroed();
    k.enter(0);
    k.guest.xen.m.copy_from_guest(answer.as_mut_bytes(), BASE).expect("its own page");
    answer
}

/// What the domain writes into its table, if that is of version 1.
fn grant(k: &Kernel, entry: u32, to: u16, frame: Mfn, flags: u16) {
    let Some(f) = k.guest.dom.grants.shared_frame(0).map(|f| FreshFrame(f.mfn())) else { return };
    let word = u64::from(flags) | u64::from(to) << 16 | frame.0 << 32;
    k.guest.xen.m.store(&f, entry as usize * size_of::<GrantEntryV1>(), word);
}

/// Maps an entry of `granter` at a page of the mapper's; the handle, unless it was refused.
fn map(k: &Kernel, granter: u16, entry: u32, page: usize, read_only: bool) -> Option<u32> {
    let op = GnttabMapGrantRef {
        host_addr: k.va(page),
        flags: GNTMAP_HOST_MAP | if read_only { GNTMAP_READONLY } else { 0 },
        ref_: entry,
        dom: granter,
        ..Default::default()
    };
    let status = k.grant_op(0, GNTTABOP_MAP_GRANT_REF, op.as_bytes(), offset_of!(GnttabMapGrantRef, status));
    let at = BASE + offset_of!(GnttabMapGrantRef, handle) as u64;
    (status == Ok(GNTST_OKAY)).then(|| k.read(0, at & !7)).flatten().map(|w| (w >> (at % 8 * 8)) as u32)
}

fn unmap(k: &Kernel, handle: u32, page: usize) -> i16 {
    let op = GnttabUnmapGrantRef { host_addr: k.va(page), handle, ..Default::default() };
    let at = offset_of!(GnttabUnmapGrantRef, status);
    k.grant_op(0, GNTTABOP_UNMAP_GRANT_REF, op.as_bytes(), at).expect("its own argument page")
}

/// `steps` steps from `seed`, with the audit after every `every`-th; hypercalls made and not refused, and domains.
pub fn run(seed: u64, steps: u64, every: u64) -> (u64, u64, u64) {
    let mut n = Neighbours::new(seed);
    for i in 1..=steps {
        n.step();
        if i % every == 0 {
            n.check();
        }
    }
    let answer = (n.calls.0, n.calls.1, n.domains);
    n.end();
    answer
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_working_neighbour_and_dom0_do_not_notice() {
        let (made, succeeded, domains) = super::run(7, if cfg!(miri) { 60 } else { 4_000 }, 1);
        assert!(
            cfg!(miri) || made > 1_000 && succeeded > 100 && domains > 10,
            "{made} {succeeded} {domains}"
        );
    }
}
