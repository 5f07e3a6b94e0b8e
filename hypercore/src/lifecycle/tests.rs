//! Domains from creation to the last of their frames.

use super::*;
use crate::domain::{Dying, NewDomain};
use crate::frame::FrameRef;
use crate::ids::{DomId, VcpuId};
use crate::memory::assign_pages;
use crate::policy::CpuPolicy;
use crate::testing::{HostMachine, Scratch, World};
use crate::xen::Xen;
use abi::Errno;
use abi::xen::VIRQ_CON_RING;
use std::vec::Vec;

fn new(id: u16) -> NewDomain {
    NewDomain {
        id: DomId(id),
        handle: [7; 16],
        privileged: false,
        create_flags: 0,
        ssidref: 0,
        max_vcpus: 2,
        cpupool: 0,
        max_evtchn_port: 1023,
        max_grant_frames: 4,
        max_maptrack_frames: 4,
        grant_version_max: 2,
    }
}

fn make(xen: &'static Xen<HostMachine>, id: u16) -> std::sync::Arc<crate::domain::Domain> {
    let dom = create_domain(xen, &new(id), CpuPolicy::EMPTY).unwrap();
    create_vcpus(xen, &dom).unwrap();
    dom
}

#[test]
fn every_frame_returns_when_a_domain_ends() {
    let w = World::new(4096, 2);
    let before = w.xen.frames.alloc.free_pages();
    for round in 0..20 {
        let dom = make(w.xen, 3);
        dom.memory.set_max_pages(900);
        crate::memory::assign::set_claim(w.xen, &dom, 900).unwrap();
        for order in [0, 3, 9, 0, 5] {
            assign_pages(w.xen, &dom, order, u64::MAX, 0).unwrap();
        }
        crate::grant::grow(w.xen, &dom, 2).unwrap();
        assert!(w.xen.frames.alloc.free_pages() < before);
        w.xen.m.preempt_every.store(round % 3, std::sync::atomic::Ordering::Relaxed);
        let rounds = (1..).find(|_| kill(w.xen, &dom)).unwrap();
        assert!(rounds < 100);
        drop(dom);
        assert!(w.xen.domains.get(DomId(3)).is_none());
        assert_eq!(w.xen.frames.alloc.free_pages(), before, "round {round}");
        assert_eq!(w.xen.frames.alloc.outstanding(), 0);
    }
}

#[test]
fn a_domain_whose_frames_others_hold_stays_as_a_zombie() {
    let w = World::new(2048, 1);
    let before = w.xen.frames.alloc.free_pages();
    let dom = make(w.xen, 9);
    dom.memory.set_max_pages(10);
    let frames: Vec<_> = (0..3).map(|_| assign_pages(w.xen, &dom, 0, u64::MAX, 0).unwrap()).collect();
    let held: Vec<FrameRef> = frames.iter().map(|&m| w.xen.frames.get(m, dom.id).unwrap()).collect();
    let shared = dom.shared_info.frame().try_clone().unwrap();
    crate::event::set_virq_handler(w.xen, &dom, VIRQ_CON_RING).unwrap();
    while !kill(w.xen, &dom) {}
    assert_eq!(w.xen.virq_handlers.of(VIRQ_CON_RING), Some(DomId::DOM0));
    drop(dom);
    let zombie = w.xen.domains.get(DomId(9)).expect("a zombie");
    assert_eq!((zombie.dying(), w.xen.frames.owned(DomId(9))), (Dying::Dead, 3));
    // It gets nothing more, nor does its number go to another.
    assert_eq!(assign_pages(w.xen, &zombie, 0, u64::MAX, 0), Err(Errno::EINVAL));
    assert_eq!(create_domain(w.xen, &new(9), CpuPolicy::EMPTY).err(), Some(Errno::EEXIST));
    assert!(kill(w.xen, &zombie), "killing it again changes nothing");
    drop(zombie);
    reap(w.xen);
    assert!(w.xen.domains.get(DomId(9)).is_some());
    drop(held);
    // Its shared_info is mapped still.
    reap(w.xen);
    assert!(w.xen.domains.get(DomId(9)).is_some());
    drop(shared);
    reap(w.xen);
    assert!(w.xen.domains.get(DomId(9)).is_none());
    assert_eq!(w.xen.frames.alloc.free_pages(), before);
}

#[test]
fn a_refused_creation_leaves_nothing() {
    let w = World::new(256, 1);
    let free = w.xen.frames.alloc.free_pages();
    for left in 0..4 {
        let held: Vec<_> =
            (left..free).map(|_| w.xen.frames.alloc.alloc(0, u64::MAX).expect("a frame").0).collect();
        let made = create_domain(w.xen, &new(4), CpuPolicy::EMPTY);
        assert_eq!(made.is_ok(), left > 0);
        if let Ok(dom) = made {
            while !kill(w.xen, &dom) {}
        } else {
            assert!(w.xen.domains.get(DomId(4)).is_none());
        }
        assert_eq!(w.xen.frames.alloc.free_pages(), left);
        held.into_iter().for_each(|m| w.xen.frames.alloc.free_range(m, 1, false));
    }
    // A number that is taken: the frame of shared_info goes back.
    let _first = make(w.xen, 4);
    let free = w.xen.frames.alloc.free_pages();
    assert_eq!(create_domain(w.xen, &new(4), CpuPolicy::EMPTY).err(), Some(Errno::EEXIST));
    assert_eq!(w.xen.frames.alloc.free_pages(), free);
}

#[test]
fn vcpus_are_made_once() {
    let w = World::new(256, 1);
    let dom = make(w.xen, 4);
    assert_eq!(create_vcpu(w.xen, &dom, VcpuId(1)).err(), Some(Errno::EEXIST));
    assert_eq!(create_vcpu(w.xen, &dom, VcpuId(2)).err(), Some(Errno::EINVAL));
    assert_eq!(create_vcpus(w.xen, &dom), Ok(()));
}

#[test]
fn numbers_are_not_soon_used_again() {
    let w = World::new(256, 1);
    let t = &w.xen.domains;
    assert_eq!(t.free_id(), Some(DomId(1)));
    assert_eq!(t.free_id(), Some(DomId(2)));
    let _d = make(w.xen, 3);
    assert_eq!(t.free_id(), Some(DomId(4)));
    assert_eq!(t.all().map(|d| d.id.0).collect::<Vec<_>>(), [3]);
    assert_eq!(t.at_or_above(DomId(4)).map(|d| d.id), None);
}

/// The daemons in dom0 learn of a death, and of the end of a zombie, by this interrupt alone.
#[test]
fn dom0_hears_of_death_and_of_the_end() {
    use abi::event_channel::{EVTCHNOP_BIND_VIRQ, EvtchnBindVirq};
    let w = World::new(2048, 1);
    let dom0 = w.domain(0, 1);
    let mut s = Scratch::new(w.xen);
    let arg = s.put(&EvtchnBindVirq { virq: abi::xen::VIRQ_DOM_EXC, vcpu: 0, port: 0 });
    let bound = dom0.call(0, |cx| crate::event::event_channel_op(cx, EVTCHNOP_BIND_VIRQ.into(), arg));
    assert_eq!(bound, Ok(0));
    let port = crate::ids::Port(s.get::<EvtchnBindVirq>(arg).port);
    let heard = || {
        let yes = crate::event::poll_check(w.xen, &dom0.dom, port).unwrap();
        crate::event::level2::clear_pending(&w.xen.m, &dom0.dom, port);
        yes
    };
    let dom = make(w.xen, 5);
    dom.memory.set_max_pages(1);
    let mfn = assign_pages(w.xen, &dom, 0, u64::MAX, 0).unwrap();
    let held = w.xen.frames.get(mfn, dom.id).unwrap();
    assert!(!heard());
    while !kill(w.xen, &dom) {}
    assert!(heard());
    reap(w.xen);
    assert!(!heard());
    drop(held);
    reap(w.xen);
    assert!(heard());
    assert!(w.xen.domains.get(DomId(5)).is_none());
}
