//! `memory_op`: reservations, exchanges, claims, maps.

use super::*;
use crate::frame::record::FrameState;
use crate::machine::Frames;
use crate::testing::tool::errno;
use crate::testing::{Guest, Scratch, World};
use crate::xen::Stop;
use abi::GuestHandle;
use abi::xen::{DOMID_SELF, HYPERVISOR_MEMORY_OP};

const E820: [E820Entry; 2] =
    [E820Entry { addr: 0, size: 0x1000, type_: 1 }, E820Entry { addr: 0x10_0000, size: 0x2000, type_: 2 }];

struct Bed {
    dom0: Guest,
    domu: Guest,
    s: Scratch,
}

/// 4096 frames; dom0 and domain 5, which may have 1000.
fn bed() -> Bed {
    let w = World::new(4096, 1);
    let (dom0, domu) = (w.domain(0, 1), w.domain(5, 1));
    dom0.dom.memory.set_max_pages(u32::MAX);
    domu.dom.memory.set_max_pages(1000);
    let s = Scratch::new(w.xen);
    Bed { dom0, domu, s }
}

impl Bed {
    fn op(&self, by: &Guest, cmd: u32, arg: u64) -> HcResult {
        by.call(0, |cx| memory_op(cx, cmd.into(), arg))
    }
    fn free(&self) -> u64 {
        self.dom0.xen.frames.alloc.free_pages()
    }
    fn owned(&self) -> u32 {
        self.domu.xen.frames.owned(self.domu.dom.id)
    }
    fn reservation(&mut self, list: &[u64], order: u32, domid: u16) -> (u64, u64) {
        let at = self.s.put(list);
        let r = MemoryReservation {
            extent_start: GuestHandle::new(at),
            nr_extents: list.len() as u64,
            extent_order: order,
            domid,
            ..Default::default()
        };
        (self.s.put(&r), at)
    }
}

#[test]
fn populated_extents_are_owned_scrubbed_and_known_to_the_m2p() {
    let mut b = bed();
    let before = b.free();
    let (arg, list) = b.reservation(&[0x100, 0x200, 0x300], 3, 5);
    assert_eq!(b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg), Ok(3));
    assert_eq!((b.owned(), b.free()), (24, before - 24));
    let xen = b.dom0.xen;
    for (mfn, gpfn) in b.s.list::<u64>(list, 3).into_iter().zip([0x100, 0x200, 0x300]) {
        assert_eq!(mfn % 8, 0);
        for j in 0..8 {
            assert_eq!(xen.m.get_m2p(Mfn(mfn + j)), gpfn + j);
            let (a, _) = xen.frames.peek(Mfn(mfn + j)).unwrap();
            assert_eq!((a.owner(), a.state(), a.count()), (b.domu.dom.id, FrameState::Domain, 1));
            let region = Mfn((mfn + j) >> REGION_ORDER << REGION_ORDER);
            assert!(b.domu.dom.memory.regions().any(|r| r == region));
        }
    }
    // ... and given back, one by one, by the domain itself.
    let (arg, _) = b.reservation(&b.s.list::<u64>(list, 3), 3, DOMID_SELF);
    assert_eq!(b.op(&b.domu, XENMEM_DECREASE_RESERVATION, arg), Ok(3));
    assert_eq!((b.owned(), b.free()), (0, before));
}

#[test]
fn what_one_domain_leaves_another_never_reads() {
    let mut b = bed();
    let (arg, list) = b.reservation(&[0x100], 0, 5);
    b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg).unwrap();
    let mfn = Mfn(b.s.list::<u64>(list, 1)[0]);
    let xen = b.dom0.xen;
    xen.m.write(&crate::frame::proof::FreshFrame(mfn), 64, b"secret");
    let (arg, _) = b.reservation(&[mfn.0], 0, 5);
    b.op(&b.dom0, XENMEM_DECREASE_RESERVATION, arg).unwrap();
    let (arg, list) = b.reservation(&[0; 900], 0, 0);
    assert_eq!(b.op(&b.dom0, XENMEM_INCREASE_RESERVATION, arg), Ok(900));
    let got = b.s.list::<u64>(list, 900);
    assert!(got.contains(&mfn.0), "the frame is used again");
    assert_eq!(xen.m.debug_load(mfn, 8), 0);
}

#[test]
fn an_idle_cpu_scrubs_and_then_nothing_is_left_to_do() {
    let mut b = bed();
    let xen = b.dom0.xen;
    while scrub_some(xen) {}
    let (arg, list) = b.reservation(&[1, 2, 3], 2, 5);
    b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg).unwrap();
    let mfn = Mfn(b.s.list::<u64>(list, 1)[0]);
    xen.m.write(&crate::frame::proof::FreshFrame(mfn), 0, b"secret!!");
    let (arg, _) = b.reservation(&b.s.list::<u64>(list, 3), 2, 5);
    b.op(&b.dom0, XENMEM_DECREASE_RESERVATION, arg).unwrap();
    assert_eq!(xen.frames.alloc.scrub_pages(), 12);
    assert!(scrub_some(xen));
    while scrub_some(xen) {}
    assert_eq!((xen.frames.alloc.scrub_pages(), xen.m.debug_load(mfn, 0)), (0, 0));
}

#[test]
fn more_than_the_limit_stops_after_a_prefix() {
    let mut b = bed();
    let (arg, _) = b.reservation(&[0; 3], 8, 5);
    let r = MemoryReservation { nr_extents: 4, ..b.s.get(arg) };
    b.domu.dom.memory.set_max_pages(600);
    b.s.set(arg, &MemoryReservation { extent_start: GuestHandle::NULL, ..r });
    assert_eq!(b.op(&b.dom0, XENMEM_INCREASE_RESERVATION, arg), Ok(2));
    assert_eq!(b.owned(), 512);
}

#[test]
fn a_bad_extent_in_the_middle_leaves_the_ones_before_done() {
    let mut b = bed();
    let (arg, list) = b.reservation(&[7; 4], 0, 5);
    b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg).unwrap();
    let mut frames = b.s.list::<u64>(list, 4);
    frames[2] = b.dom0.frame().0;
    let (arg, _) = b.reservation(&frames, 0, 5);
    assert_eq!(b.op(&b.dom0, XENMEM_DECREASE_RESERVATION, arg), Ok(2));
    assert_eq!(b.owned(), 2);
    // Nor is a frame given back twice.
    assert_eq!(b.op(&b.dom0, XENMEM_DECREASE_RESERVATION, arg), Ok(0));
}

#[test]
fn a_frame_that_others_hold_is_free_only_when_they_let_go() {
    let mut b = bed();
    let (arg, list) = b.reservation(&[7], 0, 5);
    b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg).unwrap();
    let mfn = Mfn(b.s.list::<u64>(list, 1)[0]);
    let held = b.dom0.xen.frames.get(mfn, b.domu.dom.id).unwrap();
    let before = b.free();
    let (arg, _) = b.reservation(&[mfn.0], 0, 5);
    assert_eq!(b.op(&b.dom0, XENMEM_DECREASE_RESERVATION, arg), Ok(1));
    assert_eq!((b.owned(), b.free()), (1, before));
    drop(held);
    assert_eq!((b.owned(), b.free()), (0, before + 1));
}

#[test]
fn a_preempted_call_continues_where_it_was() {
    let mut b = bed();
    let (arg, list) = b.reservation(&[9, 8, 7, 6, 5], 1, 5);
    b.dom0.xen.m.preempt_every.store(2, Relaxed);
    let (mut cmd, mut rounds) = (u64::from(XENMEM_POPULATE_PHYSMAP), 0);
    let done = loop {
        let (r, restart) = b.dom0.call(0, |cx| (memory_op(cx, cmd, arg), cx.restart));
        match r {
            Err(Stop::Continue) => {
                let restart = restart.unwrap();
                assert_eq!((restart.nr, restart.args[1]), (HYPERVISOR_MEMORY_OP, arg));
                cmd = restart.args[0];
                rounds += 1;
            }
            done => break done,
        }
    };
    assert_eq!((done, b.owned()), (Ok(5), 10));
    assert!(rounds >= 1);
    let first = b.s.list::<u64>(list, 5);
    assert_eq!(first.iter().map(|&m| b.dom0.xen.m.get_m2p(Mfn(m))).collect::<Vec<_>>(), [9, 8, 7, 6, 5]);
}

#[test]
fn only_the_privileged_change_others_memory() {
    let mut b = bed();
    let (arg, _) = b.reservation(&[7], 0, 0);
    assert_eq!(errno(b.op(&b.domu, XENMEM_POPULATE_PHYSMAP, arg)), Errno::EPERM);
    let d = b.s.put(&MemoryDomain { domid: 0 });
    assert_eq!(errno(b.op(&b.domu, XENMEM_CURRENT_RESERVATION, d)), Errno::EPERM);
    assert_eq!(errno(b.op(&b.domu, XENMEM_MACHINE_MEMORY_MAP, d)), Errno::EPERM);
    b.s.set(d, &MemoryDomain { domid: 77 });
    assert_eq!(errno(b.op(&b.dom0, XENMEM_CURRENT_RESERVATION, d)), Errno::ESRCH);
}

#[test]
fn a_dying_domain_gets_nothing() {
    let mut b = bed();
    let before = b.free();
    b.domu.dom.set_dying(crate::domain::Dying::Dying);
    let (arg, _) = b.reservation(&[7], 0, 5);
    assert_eq!(b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg), Ok(0));
    assert_eq!((b.owned(), b.free()), (0, before));
}

/// An exchange of the single frames `given` for one block of `order` below `bits` address bits.
fn exchange_arg(b: &mut Bed, given: &[u64], order: u32, bits: u32) -> (u64, u64) {
    let (i, _) = b.reservation(given, 0, DOMID_SELF);
    let (o, out) = b.reservation(&[0x4000], order, DOMID_SELF);
    let out_r = MemoryReservation { mem_flags: bits, ..b.s.get(o) };
    let ex = MemoryExchange { in_: b.s.get(i), out: out_r, nr_exchanged: 0 };
    (b.s.put(&ex), out)
}

fn with_frames(b: &mut Bed, n: usize) -> Vec<u64> {
    let (arg, list) = b.reservation(&vec![0x50; n], 0, 5);
    assert_eq!(b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg), Ok(n as u64));
    b.s.list(list, n as u64)
}

#[test]
fn exchange_trades_scattered_frames_for_a_low_block() {
    let mut b = bed();
    let given = with_frames(&mut b, 8);
    let before = b.free();
    let (arg, out) = exchange_arg(&mut b, &given, 3, 22);
    assert_eq!(b.op(&b.domu, XENMEM_EXCHANGE, arg), Ok(0));
    let ex: MemoryExchange = b.s.get(arg);
    assert_eq!(ex.nr_exchanged, 8);
    let block = b.s.list::<u64>(out, 1)[0];
    assert!(block.is_multiple_of(8) && block + 8 <= 1 << 10);
    let xen = b.dom0.xen;
    assert_eq!((b.owned(), b.free()), (8, before));
    assert_eq!(xen.m.get_m2p(Mfn(block + 3)), 0x4003);
    assert!(given.iter().all(|&m| xen.m.get_m2p(Mfn(m)) == u64::MAX));
    assert_eq!(xen.frames.peek(Mfn(block)).unwrap().0.owner(), b.domu.dom.id);
}

#[test]
fn exchange_refuses_a_frame_in_use_and_changes_nothing() {
    let mut b = bed();
    let given = with_frames(&mut b, 4);
    let before = b.free();
    let held = b.dom0.xen.frames.get(Mfn(given[3]), b.domu.dom.id).unwrap();
    let (arg, _) = exchange_arg(&mut b, &given, 2, 0);
    assert_eq!(errno(b.op(&b.domu, XENMEM_EXCHANGE, arg)), Errno::EINVAL);
    assert_eq!(b.s.get::<MemoryExchange>(arg).nr_exchanged, 0);
    assert_eq!((b.owned(), b.free()), (4, before));
    drop(held);
    // Once it is let go, the same call works: all four are still the domain's.
    assert_eq!(b.op(&b.domu, XENMEM_EXCHANGE, arg), Ok(0));
    // A frame named twice is refused as well.
    let twice = with_frames(&mut b, 1)[0];
    let (arg, _) = exchange_arg(&mut b, &[twice, twice], 1, 0);
    assert_eq!(errno(b.op(&b.domu, XENMEM_EXCHANGE, arg)), Errno::EINVAL);
    assert_eq!(b.owned(), 5);
}

#[test]
fn exchange_checks_its_sums_before_it_begins() {
    let mut b = bed();
    let given = with_frames(&mut b, 4);
    let (arg, _) = exchange_arg(&mut b, &given, 3, 0);
    assert_eq!(errno(b.op(&b.domu, XENMEM_EXCHANGE, arg)), Errno::EINVAL);
    let (arg, _) = exchange_arg(&mut b, &given, 2, 12);
    assert_eq!(errno(b.op(&b.domu, XENMEM_EXCHANGE, arg)), Errno::EINVAL);
    assert_eq!(b.owned(), 4);
}

#[test]
fn frames_that_cannot_be_noted_go_back_with_their_claim() {
    let b = bed();
    let (xen, alloc) = (b.dom0.xen, &b.dom0.xen.frames.alloc);
    super::assign::set_claim(xen, &b.domu.dom, 900).unwrap();
    let counts = || (b.free(), alloc.scrub_pages(), alloc.outstanding(), b.domu.dom.memory.outstanding());
    let before = counts();
    // The block is there, but no memory to note its region.
    crate::testing::shortage::after(1);
    assert_eq!(assign_pages(xen, &b.domu.dom, 3, u64::MAX, 0), Err(Errno::ENOMEM));
    assert!(!crate::testing::shortage::end(), "it struck");
    assert_eq!(counts(), before);
    // Another domain may not take what is claimed.
    assert_eq!(before.2, 900);
    assign_pages(xen, &b.domu.dom, 3, u64::MAX, 0).unwrap();
    assert_eq!((alloc.outstanding(), b.domu.dom.memory.outstanding()), (892, 892));
}

#[test]
fn a_claim_keeps_frames_for_its_domain() {
    let mut b = bed();
    let free = b.free();
    b.domu.dom.memory.set_max_pages(4000);
    let r = MemoryReservation { nr_extents: free - 10, domid: 5, ..Default::default() };
    let arg = b.s.put(&r);
    assert_eq!(errno(b.op(&b.domu, XENMEM_CLAIM_PAGES, arg)), Errno::EPERM);
    assert_eq!(b.op(&b.dom0, XENMEM_CLAIM_PAGES, arg), Ok(0));
    assert_eq!(errno(b.op(&b.dom0, XENMEM_CLAIM_PAGES, arg)), Errno::EINVAL);
    let (other, _) = b.reservation(&[0; 11], 0, 0);
    assert_eq!(b.op(&b.dom0, XENMEM_INCREASE_RESERVATION, other), Ok(10));
    assert_eq!(with_frames(&mut b, 100).len(), 100);
    assert_eq!(b.domu.dom.memory.outstanding(), free - 110);
    assert_eq!(b.dom0.xen.frames.alloc.outstanding(), free - 110);
    b.s.set(arg, &MemoryReservation { nr_extents: 0, ..r });
    assert_eq!(b.op(&b.dom0, XENMEM_CLAIM_PAGES, arg), Ok(0));
    assert_eq!(b.dom0.xen.frames.alloc.outstanding(), 0);
}

#[test]
fn maps_are_what_tools_and_firmware_say() {
    let mut b = bed();
    let buffer = b.s.room(200);
    let map = MemoryMap { nr_entries: 8, buffer: GuestHandle::new(buffer), ..Default::default() };
    let arg = b.s.put(&map);
    assert_eq!(errno(b.op(&b.domu, XENMEM_MEMORY_MAP, arg)), Errno::ENOSYS);
    let entries = b.s.put(&E820);
    let set = ForeignMemoryMap {
        domid: 5,
        map: MemoryMap { nr_entries: 2, buffer: GuestHandle::new(entries), ..Default::default() },
        ..Default::default()
    };
    let set = b.s.put(&set);
    assert_eq!(b.op(&b.dom0, XENMEM_SET_MEMORY_MAP, set), Ok(0));
    assert_eq!(b.op(&b.domu, XENMEM_MEMORY_MAP, arg), Ok(0));
    assert_eq!(b.s.get::<MemoryMap>(arg).nr_entries, 2);
    assert_eq!(b.s.list::<E820Entry>(buffer, 2), E820);
    b.s.set(arg, &map);
    assert_eq!(b.op(&b.dom0, XENMEM_MACHINE_MEMORY_MAP, arg), Ok(0));
    assert_eq!(b.s.get::<MemoryMap>(arg).nr_entries as usize, b.dom0.xen.host.e820.len());
    b.s.set(arg, &MemoryMap { nr_entries: 0, ..map });
    assert_eq!(errno(b.op(&b.dom0, XENMEM_MACHINE_MEMORY_MAP, arg)), Errno::EINVAL);
}

/// Follows a call's continuations; its answer, and how often others got the CPU meanwhile.
fn to_the_end(by: &Guest, cmd: u32, arg: u64) -> (HcResult, u32) {
    let mut cmd = u64::from(cmd);
    for rounds in 0..1000 {
        let (r, again) = by.call(0, |cx| (memory_op(cx, cmd, arg), cx.restart.take()));
        match (r, again) {
            (Err(Stop::Continue), Some(again)) => cmd = again.args[0],
            (r, _) => return (r, rounds),
        }
    }
    panic!("it never ends");
}

#[test]
fn a_large_dirty_extent_is_scrubbed_in_pieces() {
    for claimed in [0, 3000] {
        let mut b = bed();
        let xen = b.dom0.xen;
        b.domu.dom.memory.set_max_pages(u32::MAX);
        let before = b.free();
        let block = xen.frames.alloc.alloc(11, u64::MAX).unwrap().0;
        for i in 0..2048 {
            xen.m.write(&crate::frame::proof::FreshFrame(Mfn(block.0 + i)), 8, b"secret!!");
        }
        xen.frames.alloc.free_range(block, 2048, true);
        if claimed > 0 {
            super::assign::set_claim(xen, &b.domu.dom, claimed).unwrap();
        }
        xen.m.preempt_every.store(1, core::sync::atomic::Ordering::SeqCst);
        let (arg, list) = b.reservation(&[0x800], 11, 5);
        let (r, rounds) = to_the_end(&b.dom0, XENMEM_POPULATE_PHYSMAP, arg);
        assert_eq!(r, Ok(1));
        // A look after each 512 frames, but not after the last.
        assert_eq!((rounds, b.s.list::<u64>(list, 1)[0]), (3, block.0));
        assert!((0..2048).all(|i| xen.m.debug_load(Mfn(block.0 + i), 1) == 0));
        assert_eq!((b.owned(), b.free()), (2048, before - 2048));
        assert_eq!(
            b.domu.dom.memory.claim.load(core::sync::atomic::Ordering::SeqCst),
            claimed.saturating_sub(2048)
        );
        assert_eq!(xen.frames.alloc.outstanding(), claimed.saturating_sub(2048));
        assert_eq!(xen.frames.alloc.scrub_pages(), 0);
    }
}

#[test]
fn an_exchange_is_scrubbed_in_pieces() {
    let mut b = bed();
    let xen = b.dom0.xen;
    while scrub_some(xen) {}
    let (arg, list) = b.reservation(&[0], 10, 0);
    assert_eq!(b.op(&b.dom0, XENMEM_INCREASE_RESERVATION, arg), Ok(1));
    let given = b.s.list::<u64>(list, 1)[0];
    // All that is left is dirty.
    let mut left = Vec::new();
    while let Some((mfn, _)) = xen.frames.alloc.alloc(0, u64::MAX) {
        xen.m.write(&crate::frame::proof::FreshFrame(mfn), 8, b"secret!!");
        left.push(mfn);
    }
    left.iter().for_each(|mfn| xen.frames.alloc.free_range(*mfn, 1, true));
    let gpfns: Vec<u64> = (0x4000..0x4400).collect();
    let out = b.s.put(&gpfns[..]);
    let extents = |at, n, order| MemoryReservation {
        extent_start: GuestHandle::new(at),
        nr_extents: n,
        extent_order: order,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let ex = MemoryExchange {
        in_: extents(b.s.put(&[given][..]), 1, 10),
        out: extents(out, 1024, 0),
        nr_exchanged: 0,
    };
    let arg = b.s.put(&ex);
    xen.m.preempt_every.store(1, core::sync::atomic::Ordering::SeqCst);
    let (r, rounds) = to_the_end(&b.dom0, XENMEM_EXCHANGE, arg);
    assert_eq!((r, rounds), (Ok(0), 1));
    for mfn in b.s.list::<u64>(out, 1024) {
        assert_eq!(xen.m.debug_load(Mfn(mfn), 1), 0);
    }
}

#[test]
fn the_m2p_ends_with_the_last_frame() {
    let mut b = bed();
    let arg = b.s.put(&MachphysMapping::default());
    assert_eq!(b.op(&b.domu, XENMEM_MACHPHYS_MAPPING, arg), Ok(0));
    let told = b.s.get::<MachphysMapping>(arg);
    assert_eq!(Ok(told.max_mfn + 1), b.op(&b.domu, XENMEM_MAXIMUM_RAM_PAGE, 0));
    assert!(told.v_start + told.max_mfn * 8 < told.v_end);
}

#[test]
fn arguments_in_the_hypervisors_area_fault() {
    let b = bed();
    let hv = guest::HYPERVISOR_VIRT_START;
    assert_eq!(errno(b.op(&b.dom0, XENMEM_MACHPHYS_MAPPING, hv)), Errno::EFAULT);
    assert_eq!(b.op(&b.dom0, XENMEM_POPULATE_PHYSMAP, hv), Ok(0));
    assert_eq!(errno(b.op(&b.dom0, 63, 0)), Errno::ENOSYS);
    assert_eq!(errno(b.op(&b.dom0, XENMEM_EXCHANGE | 1 << EXTENT_SHIFT, 0)), Errno::EINVAL);
}

#[test]
fn regions_are_listed_once_and_in_order() {
    let m = DomainMemory::new();
    for mfn in [5000u64, 100_000, 3, 5001, 600] {
        m.holdings.lock().note(mfn >> REGION_ORDER).unwrap();
    }
    assert_eq!(m.regions().collect::<Vec<_>>(), [0, 512, 4608, 99_840].map(Mfn));
}
