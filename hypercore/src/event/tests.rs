//! Ports, both layouts, and that no event is ever lost.

use super::bind::*;
use super::channel::State;
use super::*;
use crate::frame::proof::FreshFrame;
use crate::ids::{DomId, Mfn};
use crate::machine::Frames;
use crate::testing::machine::set_cpu;
use crate::testing::{Guest, World};
use abi::event_channel::*;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::Arc;
use std::vec::Vec;

const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);
const SELECTOR: usize = offset_of!(VcpuInfo, evtchn_pending_sel);

fn pair() -> (Guest, Guest) {
    let w = World::new(512, 4);
    (w.domain(0, 2), w.domain(1, 2))
}

fn status(g: &Guest, port: Port) -> u32 {
    match &*g.dom.events.ports.get(port).unwrap().state.lock() {
        State::Free => EVTCHNSTAT_CLOSED,
        State::Unbound { .. } => EVTCHNSTAT_UNBOUND,
        State::Interdomain { .. } => EVTCHNSTAT_INTERDOMAIN,
        State::Pirq(_) => EVTCHNSTAT_PIRQ,
        State::Virq { .. } => EVTCHNSTAT_VIRQ,
        State::Ipi => EVTCHNSTAT_IPI,
    }
}

fn connect(a: &Guest, b: &Guest) -> (Port, Port) {
    let at_b = alloc_unbound(b.xen, &b.dom, a.dom.id).unwrap();
    (bind_interdomain(a.xen, &a.dom, &b.dom, at_b).unwrap(), at_b)
}

fn vcpu(g: &Guest, v: u32) -> Arc<crate::vcpu::Vcpu> {
    g.dom.vcpu(VcpuId(v)).unwrap()
}

/// What a vCPU's guest kernel does on an upcall in the 2-level layout: the ports it handles.
fn take_2level(g: &Guest, v: u32, masked_too: bool) -> Vec<Port> {
    let m = &g.xen.m;
    let vcpu = vcpu(g, v);
    let mut ports = Vec::new();
    vcpu.events.info.with(|info| {
        info.update(m, 0, |w| w & !0xff);
        let sel = info.update(m, SELECTOR, |_| 0).unwrap();
        for word in (0..64).filter(|w| sel >> w & 1 != 0) {
            let mask = if masked_too { 0 } else { m.load(&g.dom.shared_info, MASK + word * 8) };
            let old =
                super::words::update64(m, &g.dom.shared_info, PENDING + word * 8, |p| p & mask).unwrap();
            ports.extend((0..64).filter(|b| (old & !mask) >> b & 1 != 0).map(|b| Port(word as u32 * 64 + b)));
        }
    });
    ports
}

#[test]
fn interdomain_both_ways_and_close() {
    let (a, b) = pair();
    let (pa, pb) = connect(&a, &b);
    assert_eq!((pa, pb), (Port(1), Port(1)));
    // Binding makes the port pending: something may have been sent before.
    assert_eq!(take_2level(&a, 0, false), [pa]);
    send(a.xen, &a.dom, pa).unwrap();
    send(a.xen, &a.dom, pa).unwrap();
    assert!(upcall_pending(b.xen, &vcpu(&b, 0)) && !upcall_pending(a.xen, &vcpu(&a, 0)));
    assert_eq!(take_2level(&b, 0, false), [pb]);
    assert_eq!(take_2level(&b, 0, false), []);
    send(b.xen, &b.dom, pb).unwrap();
    assert_eq!(take_2level(&a, 0, false), [pa]);

    send(b.xen, &b.dom, pb).unwrap();
    close(a.xen, &a.dom, pa).unwrap();
    assert_eq!((status(&a, pa), status(&b, pb)), (EVTCHNSTAT_CLOSED, EVTCHNSTAT_UNBOUND));
    assert_eq!(take_2level(&a, 0, false), [], "a closed port is not pending");
    assert_eq!(close(a.xen, &a.dom, pa), Err(Errno::EINVAL));
    assert_eq!(send(a.xen, &a.dom, pa), Err(Errno::EINVAL));
    assert_eq!(send(b.xen, &b.dom, pb), Ok(()), "nobody there yet");
    assert_eq!(
        bind_interdomain(a.xen, &a.dom, &b.dom, pb),
        Ok(pa),
        "the lowest free port, and it waits for us"
    );
}

#[test]
fn binding_is_for_whom_the_port_waits() {
    let w = World::new(512, 2);
    let (a, b, c) = (w.domain(0, 1), w.domain(1, 1), w.domain(2, 1));
    let p = alloc_unbound(a.xen, &a.dom, b.dom.id).unwrap();
    assert_eq!(bind_interdomain(a.xen, &c.dom, &a.dom, p), Err(Errno::EINVAL));
    assert_eq!(bind_interdomain(a.xen, &b.dom, &a.dom, Port(2)), Err(Errno::EINVAL));
    assert_eq!(bind_interdomain(a.xen, &b.dom, &a.dom, Port(99_999)), Err(Errno::EINVAL));
    assert_eq!(bind_interdomain(a.xen, &b.dom, &a.dom, p), Ok(Port(1)));
    assert_eq!(bind_interdomain(a.xen, &b.dom, &a.dom, p), Err(Errno::EINVAL), "taken");
    // A port cannot be bound to the number it is about to get.
    assert_eq!(bind_interdomain(a.xen, &b.dom, &b.dom, Port(2)), Err(Errno::EINVAL));
    assert_eq!(alloc_unbound(b.xen, &b.dom, DomId(0)), Ok(Port(2)), "refusals leave no port behind");
}

#[test]
fn loopback_closes_from_either_end() {
    let (a, _) = pair();
    let (near, far) = connect(&a, &a);
    assert_ne!(near, far);
    send(a.xen, &a.dom, near).unwrap();
    assert_eq!(take_2level(&a, 0, false).len(), 2);
    close(a.xen, &a.dom, far).unwrap();
    assert_eq!(status(&a, near), EVTCHNSTAT_UNBOUND);
    close(a.xen, &a.dom, near).unwrap();
    assert_eq!(a.dom.events.ports.next_taken(0), None);
}

#[test]
fn a_global_virq_goes_to_its_handler_while_that_lives() {
    let (a, b) = pair();
    let ports = [&a, &b].map(|g| bind_virq(g.xen, &g.dom, VIRQ_CON_RING, VcpuId(0)).unwrap());
    let taken = || (take_2level(&a, 0, false), take_2level(&b, 0, false));
    assert_eq!(set_virq_handler(a.xen, &b.dom, VIRQ_TIMER), Err(Errno::EINVAL));
    assert_eq!(set_virq_handler(a.xen, &b.dom, NR_VIRQS), Err(Errno::EINVAL));
    assert_eq!(set_virq_handler(a.xen, &b.dom, VIRQ_CON_RING), Ok(()));
    send_global_virq(a.xen, VIRQ_CON_RING);
    assert_eq!(taken(), (vec![], vec![ports[1]]));
    b.dom.set_dying(crate::domain::Dying::Dying);
    forget_virq_handler(a.xen, &b.dom);
    send_global_virq(a.xen, VIRQ_CON_RING);
    assert_eq!(take_2level(&a, 0, false), [ports[0]]);
    assert_eq!(set_virq_handler(a.xen, &b.dom, VIRQ_CON_RING), Err(Errno::EINVAL));
    send_global_virq(a.xen, VIRQ_CON_RING);
    assert_eq!(take_2level(&a, 0, false), [ports[0]]);
}

#[test]
fn who_subscribed_is_told_of_a_suspend_alone() {
    use crate::sched::{domain_shutdown, shutdown::domain_resume};
    use abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_SUSPEND};
    let (a, b) = pair();
    let port = alloc_unbound(a.xen, &b.dom, a.dom.id).unwrap();
    let mine = bind_interdomain(a.xen, &a.dom, &b.dom, port).unwrap();
    assert_eq!(take_2level(&a, 0, false), [mine], "being bound is an event of itself");
    b.dom.suspend_port.store(port.0, SeqCst);
    for (reason, told) in [(SHUTDOWN_CRASH, vec![]), (SHUTDOWN_SUSPEND, vec![mine])] {
        domain_shutdown(a.xen, &b.dom, reason);
        assert_eq!(take_2level(&a, 0, false), told, "{reason}");
        domain_resume(a.xen, &b.dom);
    }
}

#[test]
fn virqs_are_bound_once_and_reach_their_vcpu() {
    let (a, _) = pair();
    let t1 = bind_virq(a.xen, &a.dom, VIRQ_TIMER, VcpuId(1)).unwrap();
    assert_eq!(bind_virq(a.xen, &a.dom, VIRQ_TIMER, VcpuId(1)), Err(Errno::EEXIST));
    assert_eq!(bind_virq(a.xen, &a.dom, VIRQ_TIMER, VcpuId(2)), Err(Errno::ENOENT));
    assert_eq!(bind_virq(a.xen, &a.dom, VIRQ_DOM_EXC, VcpuId(1)), Err(Errno::EINVAL));
    assert_eq!(bind_virq(a.xen, &a.dom, NR_VIRQS, VcpuId(0)), Err(Errno::EINVAL));
    let exc = bind_virq(a.xen, &a.dom, VIRQ_DOM_EXC, VcpuId(0)).unwrap();
    send_virq(a.xen, &vcpu(&a, 0), VIRQ_TIMER);
    assert!(!upcall_pending(a.xen, &vcpu(&a, 0)));
    send_virq(a.xen, &vcpu(&a, 1), VIRQ_TIMER);
    assert_eq!(take_2level(&a, 1, false), [t1]);
    send_global_virq(a.xen, VIRQ_DOM_EXC);
    assert_eq!(take_2level(&a, 0, false), [exc]);
    // A global one may be moved, a vCPU's own not.
    assert_eq!(bind_vcpu(a.xen, &a.dom, t1, VcpuId(0)), Err(Errno::EINVAL));
    bind_vcpu(a.xen, &a.dom, exc, VcpuId(1)).unwrap();
    send_global_virq(a.xen, VIRQ_DOM_EXC);
    assert_eq!(take_2level(&a, 1, false), [exc]);
    close(a.xen, &a.dom, t1).unwrap();
    send_virq(a.xen, &vcpu(&a, 1), VIRQ_TIMER);
    assert_eq!(take_2level(&a, 1, false), []);
    assert_eq!(bind_virq(a.xen, &a.dom, VIRQ_TIMER, VcpuId(1)), Ok(t1));
}

#[test]
fn a_masked_event_waits_for_unmask() {
    let (a, _) = pair();
    let p = bind_ipi(a.xen, &a.dom, VcpuId(1)).unwrap();
    a.xen.m.store(&a.dom.shared_info, MASK, 1 << p.0);
    send(a.xen, &a.dom, p).unwrap();
    assert!(!upcall_pending(a.xen, &vcpu(&a, 1)));
    assert_eq!(poll_check(a.xen, &a.dom, p), Ok(true));
    deliver::unmask(a.xen, &a.dom, p, a.dom.events.ports.get(p).unwrap());
    assert!(upcall_pending(a.xen, &vcpu(&a, 1)));
    assert_eq!(take_2level(&a, 1, false), [p]);
    assert_eq!(poll_check(a.xen, &a.dom, p), Ok(false));
    assert_eq!(poll_check(a.xen, &a.dom, Port(9999)), Err(Errno::EINVAL));
}

#[test]
fn upcalls_are_held_back_by_their_mask() {
    let (a, _) = pair();
    let p = bind_ipi(a.xen, &a.dom, VcpuId(0)).unwrap();
    let v = vcpu(&a, 0);
    assert!(!set_upcall_mask(a.xen, &v, true));
    send(a.xen, &a.dom, p).unwrap();
    assert!(!upcall_pending(a.xen, &v) && upcall_masked(a.xen, &v));
    assert!(set_upcall_mask(a.xen, &v, false));
    assert!(upcall_pending(a.xen, &v) && deliverable(a.xen, &v));
}

#[test]
fn a_dying_domain_gains_no_port_and_loses_all() {
    let (a, b) = pair();
    let (pa, pb) = connect(&a, &b);
    bind_virq(b.xen, &b.dom, VIRQ_TIMER, VcpuId(0)).unwrap();
    bind_ipi(b.xen, &b.dom, VcpuId(1)).unwrap();
    connect(&b, &b);
    let waits = alloc_unbound(a.xen, &a.dom, b.dom.id).unwrap();
    let refs = Arc::strong_count(&b.dom);
    b.dom.set_dying(crate::domain::Dying::Dying);
    assert!(alloc_unbound(b.xen, &b.dom, a.dom.id).is_err());
    assert!(bind_ipi(b.xen, &b.dom, VcpuId(0)).is_err());
    assert!(bind_virq(b.xen, &b.dom, VIRQ_DEBUG, VcpuId(0)).is_err());
    assert!(bind_interdomain(b.xen, &b.dom, &a.dom, waits).is_err());
    assert!(bind_interdomain(a.xen, &a.dom, &b.dom, pb).is_err());
    assert!(teardown(b.xen, &b.dom));
    assert_eq!(b.dom.events.ports.next_taken(0), None);
    assert_eq!(status(&a, pa), EVTCHNSTAT_UNBOUND);
    assert!(Arc::strong_count(&b.dom) < refs, "no reference hides in a channel");
    assert_eq!(send(a.xen, &a.dom, pa), Ok(()));
}

#[test]
fn teardown_goes_on_where_it_stopped() {
    let (_, b) = pair();
    for _ in 0..300 {
        bind_ipi(b.xen, &b.dom, VcpuId(0)).unwrap();
    }
    b.dom.set_dying(crate::domain::Dying::Dying);
    b.xen.m.preempt_every.store(1, SeqCst);
    let calls = (1..).find(|_| teardown(b.xen, &b.dom)).unwrap();
    assert!(calls >= 300 / 64, "{calls}");
    assert_eq!(b.dom.events.ports.next_taken(0), None);
}

/// Frames of the FIFO layout that the test writes as the guest.
struct FifoGuest {
    g: Guest,
    control: Vec<Mfn>,
    pages: Vec<Mfn>,
    heads: Vec<[u32; 16]>,
}

const W_PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const W_MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const W_LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
const W_BUSY: u32 = 1 << EVTCHN_FIFO_BUSY;

impl FifoGuest {
    fn new(g: &Guest, pages: usize) -> Self {
        let mut f = Self { g: g.clone(), control: Vec::new(), pages: Vec::new(), heads: Vec::new() };
        for v in 0..g.dom.max_vcpus {
            let mfn = g.frame();
            life::init_control(g.xen, &g.dom, VcpuId(v), mfn.0, 64).unwrap();
            f.control.push(mfn);
            f.heads.push([0; 16]);
        }
        for _ in 0..pages {
            f.add_page();
        }
        f
    }

    fn add_page(&mut self) {
        let mfn = self.g.frame();
        life::expand_array(self.g.xen, &self.g.dom, mfn.0).unwrap();
        self.pages.push(mfn);
    }

    fn at(&self, port: Port) -> (FreshFrame, usize) {
        (FreshFrame(self.pages[port.0 as usize / 1024]), port.0 as usize % 1024 * 4)
    }

    fn change(&self, port: Port, f: impl Fn(u32) -> u32) -> u32 {
        let (frame, at) = self.at(port);
        words::update32(&self.g.xen.m, &frame, at, f).unwrap()
    }

    fn word(&self, port: Port) -> u32 {
        self.change(port, |w| w)
    }

    /// Clears MASKED as a guest does: by itself if it can, else by hypercall.
    fn unmask(&self, port: Port) {
        let free = |w: u32| w & (W_PENDING | W_BUSY) == 0;
        let old = self.change(port, |w| if free(w) { w & !W_MASKED } else { w });
        if !free(old) {
            let ch = self.g.dom.events.ports.get(port).unwrap();
            deliver::unmask(self.g.xen, &self.g.dom, port, ch);
        }
    }

    /// What a vCPU's guest kernel does on an upcall: the ports it handles with their priority, in order.
    fn take(&mut self, v: usize) -> Vec<(u32, Port)> {
        let m = &self.g.xen.m;
        let control = FreshFrame(self.control[v]);
        let mut got = Vec::new();
        vcpu(&self.g, v as u32).events.info.with(|i| i.update(m, 0, |w| w & !0xff));
        let mut ready = words::update32(m, &control, 64, |_| 0).unwrap();
        while ready != 0 {
            let q = ready.trailing_zeros() as usize;
            let head = match self.heads[v][q] {
                0 => words::load32(m, &control, 64 + 8 + q * 4),
                h => h,
            };
            let port = Port(head);
            let old = self.change(port, |w| w & !(W_LINKED | EVTCHN_FIFO_LINK_MASK));
            let next = old & EVTCHN_FIFO_LINK_MASK;
            if next == 0 {
                ready &= !(1 << q);
            }
            if self.word(port) & (W_PENDING | W_MASKED) == W_PENDING {
                self.change(port, |w| w & !W_PENDING);
                got.push((q as u32, port));
            }
            self.heads[v][q] = next;
            ready |= words::update32(m, &control, 64, |_| 0).unwrap();
        }
        got
    }
}

#[test]
fn fifo_keeps_order_within_a_priority_and_urgent_ones_first() {
    let (a, _) = pair();
    let mut f = FifoGuest::new(&a, 1);
    let ports: Vec<Port> = (0..6).map(|_| bind_ipi(a.xen, &a.dom, VcpuId(0)).unwrap()).collect();
    let ch = |p: Port| a.dom.events.ports.get(p).unwrap();
    ch(ports[4]).set_priority(0);
    ch(ports[5]).set_priority(15);
    for i in [5, 2, 0, 1, 4, 3, 0] {
        send(a.xen, &a.dom, ports[i]).unwrap();
    }
    assert!(upcall_pending(a.xen, &vcpu(&a, 0)));
    let want = [(0, 4), (7, 2), (7, 0), (7, 1), (7, 3), (15, 5)].map(|(q, i)| (q, ports[i]));
    assert_eq!(f.take(0), want);
    assert_eq!(f.take(0), []);
}

#[test]
fn fifo_events_move_between_vcpus_and_priorities() {
    let (a, _) = pair();
    let mut f = FifoGuest::new(&a, 1);
    let p = alloc_unbound(a.xen, &a.dom, DomId(0)).unwrap();
    let q = bind_interdomain(a.xen, &a.dom, &a.dom, p).unwrap();
    let other = bind_ipi(a.xen, &a.dom, VcpuId(0)).unwrap();
    f.take(0);
    for round in 0..40u32 {
        let v = round % 2;
        bind_vcpu(a.xen, &a.dom, p, VcpuId(v)).unwrap();
        a.dom.events.ports.get(p).unwrap().set_priority(round % 5);
        a.dom.events.ports.get(other).unwrap().set_priority((round + 4) % 5);
        send(a.xen, &a.dom, q).unwrap();
        send(a.xen, &a.dom, other).unwrap();
        let (mut on0, on1) = (f.take(0), f.take(1));
        on0.sort();
        let moved = (round % 5, p);
        let mut want0 = std::vec![((round + 4) % 5, other)];
        let mut want1 = Vec::new();
        if v == 0 {
            want0.push(moved)
        } else {
            want1.push(moved)
        }
        want0.sort();
        assert_eq!((on0, on1), (want0, want1), "round {round}");
    }
}

#[test]
fn what_is_pending_survives_the_switch_to_fifo() {
    let (a, _) = pair();
    let p = bind_ipi(a.xen, &a.dom, VcpuId(0)).unwrap();
    send(a.xen, &a.dom, p).unwrap();
    let mut f = FifoGuest::new(&a, 0);
    let late = bind_ipi(a.xen, &a.dom, VcpuId(1)).unwrap();
    send(a.xen, &a.dom, late).unwrap();
    f.add_page();
    assert_eq!(f.take(0), [(7, p)]);
    assert_eq!(f.take(1), [(7, late)]);
}

#[test]
fn a_linked_port_is_not_given_again() {
    let (a, _) = pair();
    let mut f = FifoGuest::new(&a, 1);
    let p = bind_ipi(a.xen, &a.dom, VcpuId(0)).unwrap();
    send(a.xen, &a.dom, p).unwrap();
    close(a.xen, &a.dom, p).unwrap();
    let next = bind_ipi(a.xen, &a.dom, VcpuId(0)).unwrap();
    assert_ne!(next, p);
    assert_eq!(f.take(0), [], "its pending bit went with the port");
    assert_eq!(bind_ipi(a.xen, &a.dom, VcpuId(0)), Ok(p));
}

#[test]
fn fifo_setup_refuses_what_it_must_and_reset_unpins() {
    let (a, b) = pair();
    let before = a.xen.frames.owned(a.dom.id);
    let mfn = a.frame();
    let init = |v, mfn: Mfn, off| life::init_control(a.xen, &a.dom, VcpuId(v), mfn.0, off);
    assert_eq!(life::expand_array(a.xen, &a.dom, mfn.0), Err(Errno::EOPNOTSUPP));
    assert_eq!(init(2, mfn, 0), Err(Errno::ENOENT));
    assert_eq!(init(0, mfn, 4), Err(Errno::EINVAL));
    assert_eq!(init(0, mfn, 4096 - 64), Err(Errno::EINVAL));
    assert_eq!(init(0, b.frame(), 0), Err(Errno::EINVAL), "another's frame");
    assert!(!a.dom.events.uses_fifo());
    assert_eq!(init(0, mfn, 4096 - 72), Ok(()));
    assert_eq!(init(0, mfn, 0), Err(Errno::EINVAL), "only once");
    assert_eq!(init(1, mfn, 0), Ok(()));
    let page = a.frame();
    life::expand_array(a.xen, &a.dom, page.0).unwrap();
    crate::testing::world::check(a.xen, "with FIFO pages");
    let mut pins = Vec::new();
    audit(&a.dom, |m| pins.push(m));
    pins.sort();
    let mut want = std::vec![mfn, mfn, page];
    want.sort();
    assert_eq!(pins, want);
    // Pinned: gone from the domain only once events let go.
    drop(a.xen.frames.unassign(mfn, a.dom.id));
    drop(a.xen.frames.unassign(page, a.dom.id));
    assert_eq!(a.xen.frames.owned(a.dom.id), before + 2);
    assert!(life::reset(a.xen, &a.dom));
    assert!(!a.dom.events.uses_fifo());
    assert_eq!(a.xen.frames.owned(a.dom.id), before);
}

#[test]
fn vcpu_info_moves_once_and_loses_nothing() {
    let (a, _) = pair();
    let p = bind_ipi(a.xen, &a.dom, VcpuId(1)).unwrap();
    send(a.xen, &a.dom, p).unwrap();
    let v = vcpu(&a, 1);
    v.pause_flags.store(crate::vcpu::pause::DOWN, SeqCst);
    let mfn = a.frame();
    set_cpu(0);
    let register = |off| register_vcpu_info(a.xen, &a.dom, &v, mfn, off);
    assert_eq!(register(4), Err(Errno::ENXIO));
    assert_eq!(register(4096 - 56), Err(Errno::ENXIO));
    assert_eq!(register(128), Ok(()));
    assert_eq!(register(128), Err(Errno::EINVAL));
    assert_eq!(v.events.info.registered_frame(), Some(mfn));
    crate::testing::world::check(a.xen, "with a registered vcpu_info");
    assert_eq!(take_2level(&a, 1, false), [p]);
    send(a.xen, &a.dom, p).unwrap();
    assert_eq!(a.xen.m.load(&FreshFrame(mfn), 128) & 0xff, 1, "the new place is the one in use");
    // Another running vCPU's place does not move under it.
    vcpu(&a, 0).pause_flags.store(0, SeqCst);
    set_cpu(1);
    assert_eq!(register_vcpu_info(a.xen, &a.dom, &vcpu(&a, 0), mfn, 0), Err(Errno::EINVAL));
    let before = a.xen.frames.owned(a.dom.id);
    drop(a.xen.frames.unassign(mfn, a.dom.id));
    a.dom.set_dying(crate::domain::Dying::Dying);
    assert!(teardown(a.xen, &a.dom));
    assert_eq!(a.xen.frames.owned(a.dom.id), before - 1);
    assert!(!upcall_pending(a.xen, &v) && !v.events.info.exists());
}

/// A small deterministic generator.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as u32 % n
    }
}

/// Several CPUs send while the guest takes, masks and unmasks: whatever was sent last on a port is seen.
fn storm(g: &Guest, ports: &[Port], mut take: impl FnMut(u32) -> Vec<Port>, remask: impl Fn(Port, &mut Rng)) {
    let sent: Vec<AtomicU64> = ports.iter().map(|_| AtomicU64::new(0)).collect();
    let mut seen = std::vec![0; ports.len()];
    let done = AtomicBool::new(false);
    let index = |p: Port| ports.iter().position(|&q| q == p).expect("a port that is bound");
    std::thread::scope(|s| {
        let senders: Vec<_> = (0..3u64)
            .map(|n| {
                let (sent, g) = (&sent, g.clone());
                s.spawn(move || {
                    set_cpu(1 + n as u32);
                    let mut rng = Rng(0x9e37_79b9 * (n + 1));
                    for _ in 0..4000 {
                        let i = rng.below(ports.len() as u32) as usize;
                        sent[i].fetch_add(1, SeqCst);
                        send(g.xen, &g.dom, ports[i]).unwrap();
                        if rng.below(8) == 0 {
                            let vcpu = VcpuId(rng.below(2));
                            // IPIs stay where they are; the others move while they are sent.
                            let _ = bind_vcpu(g.xen, &g.dom, ports[i], vcpu);
                        }
                        if rng.below(16) == 0 {
                            let ch = g.dom.events.ports.get(ports[i]).unwrap();
                            ch.set_priority(rng.below(16));
                        }
                    }
                })
            })
            .collect();
        let watcher = {
            let done = &done;
            s.spawn(move || {
                let ends: Vec<_> = senders.into_iter().map(|t| t.join()).collect();
                done.store(true, SeqCst);
                assert!(ends.iter().all(Result::is_ok));
            })
        };
        let mut rng = Rng(77);
        loop {
            let last = done.load(SeqCst);
            if !last {
                remask(ports[rng.below(ports.len() as u32) as usize], &mut rng);
            }
            let mut any = false;
            for v in 0..2 {
                if upcall_pending(g.xen, &vcpu(g, v)) {
                    any = true;
                    for p in take(v) {
                        seen[index(p)] = sent[index(p)].load(SeqCst);
                    }
                }
            }
            if last && !any {
                break;
            }
        }
        watcher.join().unwrap();
    });
    let sent: Vec<u64> = sent.iter().map(|s| s.load(SeqCst)).collect();
    assert_eq!(seen, sent);
}

fn storm_ports(g: &Guest) -> Vec<Port> {
    let mut ports: Vec<Port> = (0..4).map(|n| bind_ipi(g.xen, &g.dom, VcpuId(n % 2)).unwrap()).collect();
    for _ in 0..4 {
        // Each end of a loopback makes the other pending.
        let (near, far) = connect(g, g);
        ports.extend([near, far]);
    }
    ports
}

/// The port a send on `p` makes pending.
fn peer(g: &Guest, p: Port) -> Port {
    match &*g.dom.events.ports.get(p).unwrap().state.lock() {
        State::Interdomain { port, .. } => *port,
        _ => p,
    }
}

#[test]
fn two_level_never_loses_an_event() {
    let (a, _) = pair();
    let ports = storm_ports(&a);
    let take = |v| take_2level(&a, v, true).into_iter().map(|p| peer(&a, p)).collect();
    storm(&a, &ports, take, |_, _| {});
}

#[test]
fn fifo_never_loses_an_event() {
    let (a, _) = pair();
    let mut f = FifoGuest::new(&a, 1);
    let ports = storm_ports(&a);
    let other = FifoGuest { g: a.clone(), control: Vec::new(), pages: f.pages.clone(), heads: Vec::new() };
    let remask = |p: Port, rng: &mut Rng| {
        let p = Port(p.0);
        other.change(p, |w| w | W_MASKED);
        if rng.below(2) == 0 {
            std::thread::yield_now();
        }
        other.unmask(p);
    };
    let take = |v| f.take(v as usize).into_iter().map(|(_, p)| peer(&a, p)).collect();
    storm(&a, &ports, take, remask);
}

/// A guest that writes its words at random from another CPU hurts only itself: every call returns, and the
/// hypervisor's own state stays whole.
#[test]
fn a_hostile_fifo_guest_stops_nobody() {
    let (a, b) = pair();
    let f = FifoGuest::new(&a, 1);
    let ports = storm_ports(&a);
    let (pb, pa) = connect(&b, &a);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            set_cpu(2);
            let mut rng = Rng(3);
            while !stop.load(SeqCst) {
                let word = rng.below(u32::MAX) << 16 ^ rng.below(u32::MAX);
                f.change(Port(rng.below(32)), |_| word);
            }
        });
        set_cpu(1);
        let mut rng = Rng(9);
        for _ in 0..20_000 {
            let _ = send(a.xen, &a.dom, ports[rng.below(ports.len() as u32) as usize]);
            send(b.xen, &b.dom, pb).unwrap();
        }
        stop.store(true, SeqCst);
    });
    close(a.xen, &a.dom, pa).unwrap();
    assert_eq!(status(&b, pb), EVTCHNSTAT_UNBOUND);
    for p in ports {
        close(a.xen, &a.dom, p).unwrap();
    }
    assert_eq!(a.dom.events.ports.next_taken(0), None);
}

/// Ends are closed from both sides, rebound and sent through at once.
#[test]
fn closing_while_sending_leaves_pairs_consistent() {
    let (a, b) = pair();
    let send_far = AtomicBool::new(false);
    std::thread::scope(|s| {
        let sender = |g: Guest, cpu: u32| {
            let stop = &send_far;
            s.spawn(move || {
                set_cpu(cpu);
                let mut port = 1;
                while !stop.load(SeqCst) {
                    let _ = send(g.xen, &g.dom, Port(port));
                    port = port % 8 + 1;
                }
            });
        };
        sender(a.clone(), 2);
        sender(b.clone(), 3);
        let closer = {
            let b = b.clone();
            let stop = &send_far;
            s.spawn(move || {
                set_cpu(1);
                let mut rng = Rng(5);
                while !stop.load(SeqCst) {
                    let _ = close(b.xen, &b.dom, Port(1 + rng.below(8)));
                }
            })
        };
        set_cpu(0);
        for _ in 0..3000 {
            let Ok(at_b) = alloc_unbound(b.xen, &b.dom, a.dom.id) else { continue };
            if let Ok(p) = bind_interdomain(a.xen, &a.dom, &b.dom, at_b) {
                let _ = close(a.xen, &a.dom, p);
            }
            let _ = close(b.xen, &b.dom, at_b);
        }
        send_far.store(true, SeqCst);
        closer.join().unwrap();
    });
    for g in [&a, &b] {
        while let Some(p) = g.dom.events.ports.next_taken(0) {
            close(g.xen, &g.dom, p).unwrap();
        }
    }
    assert_eq!((Arc::strong_count(&a.dom), Arc::strong_count(&b.dom)), (2, 2));
}

#[test]
fn the_dump_names_every_binding() {
    let (a, b) = pair();
    connect(&a, &b);
    alloc_unbound(a.xen, &a.dom, DomId(1)).unwrap();
    bind_virq(a.xen, &a.dom, VIRQ_TIMER, VcpuId(1)).unwrap();
    let mut text = std::string::String::new();
    dump(a.xen, &a.dom, |l| text += &std::format!("{l}\n"));
    assert_eq!(
        text,
        "Event channel information for domain 0 (2-level):\n\
         \x20    1 [1/0]: v=0 to d1 port 1\n\
         \x20    2 [0/0]: v=0 unbound for d1\n\
         \x20    3 [0/0]: v=1 virq 0\n"
    );
}

#[test]
fn the_mask_of_upcalls_leaves_what_is_pending_alone() {
    let (a, _) = pair();
    let (m, v) = (&a.xen.m, vcpu(&a, 0));
    v.events.info.with(|info| info.update(m, 0, |_| 0x1122_3344_5566_0000));
    let word = || v.events.info.with(|info| info.load(m, 0)).unwrap();
    assert!(!set_upcall_mask(a.xen, &v, true));
    assert!(v.events.info.with(|info| info.raise_upcall(m)).unwrap());
    assert_eq!(word(), 0x1122_3344_5566_0101);
    assert!(!upcall_pending(a.xen, &v));
    assert!(set_upcall_mask(a.xen, &v, false));
    assert_eq!(word(), 0x1122_3344_5566_0001);
    assert!(upcall_pending(a.xen, &v));
}
