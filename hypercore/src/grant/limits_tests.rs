//! What a domain may have of ports, grants and mappings: as its creator said, within the command line's limits; and
//! what stays of a granter that is gone.

use super::tests::*;
use super::tests_v2::*;
use super::*;
use crate::domain::Dying;
use crate::event;
use crate::frame::CanRead;
use crate::ids::DomId;
use crate::lifecycle;
use crate::testing::kernel::{RO as RO_PTE, RW};
use crate::testing::world::check;
use crate::testing::{Kernel, World};
use abi::grant_table::*;
use core::sync::atomic::Ordering::SeqCst;
use std::vec::Vec;

fn with(w: &World, id: u16, change: impl FnOnce(&mut NewDomain)) -> Kernel {
    let mut n = w.describe(id, 1);
    change(&mut n);
    let g = w.create(&n);
    g.boot(8)
}

/// Mappings for devices need no page of the mapper's: any number can be held.
fn map_for_devices(k: &Kernel, granter: u16, n: usize) -> Vec<GnttabMapGrantRef> {
    let one = GnttabMapGrantRef { flags: GNTMAP_DEVICE_MAP, ref_: 9, dom: granter, ..Default::default() };
    let mut all = Vec::new();
    while all.len() < n {
        let mut some: Vec<_> = (all.len()..n).take(100).map(|_| one).collect();
        run_batch(k, GNTTABOP_MAP_GRANT_REF, &mut some).unwrap();
        all.extend(some);
    }
    all
}

#[test]
fn the_table_of_mappings_starts_empty_and_grows_to_the_limit() {
    let w = World::new(512, 1);
    let granter = w.domain(1, 1);
    grow(w.xen, &granter.dom, 1).unwrap();
    let granter = granter.boot(8);
    grant(&granter, 9, 0, granter.pages[5], GTF_PERMIT_ACCESS);
    let mapper = with(&w, 0, |n| n.max_maptrack_frames = 2);
    let track = &mapper.guest.dom.grants.maptrack;
    assert_eq!((track.used(), track.limit()), (0, 512), "no memory before the first");
    assert_eq!(map_for_devices(&mapper, 1, 1)[0].status, GNTST_OKAY);
    assert_eq!(track.used(), 256);
    let all = map_for_devices(&mapper, 1, 600);
    let refused = all.iter().position(|op| op.status != GNTST_OKAY);
    assert_eq!(refused, Some(511), "with the one before");
    assert!(all[511..].iter().all(|op| op.status == GNTST_NO_DEVICE_SPACE));
    assert_eq!(track.used(), 512);
    // One that is given back can be had again, and nothing more.
    let (handle, bus) = (all[300].handle, all[300].dev_bus_addr);
    let end = |handle| {
        let mut op = [GnttabUnmapGrantRef { handle, dev_bus_addr: bus, ..Default::default() }];
        run_batch(&mapper, GNTTABOP_UNMAP_GRANT_REF, &mut op).unwrap();
        op[0].status
    };
    assert_eq!(end(handle), GNTST_OKAY);
    let again = map_for_devices(&mapper, 1, 2);
    assert_eq!((again[0].status, again[0].handle), (GNTST_OKAY, handle));
    assert_eq!(again[1].status, GNTST_NO_DEVICE_SPACE);
    check(w.xen, "at the limit");
    (0..512).for_each(|h| assert_eq!(end(h), GNTST_OKAY));
    assert!(idle(&granter) && word(&granter, 9) & USED == 0);
    // A domain that may hold none.
    let none = with(&w, 3, |n| n.max_maptrack_frames = 0);
    grant(&granter, 9, 3, granter.pages[5], GTF_PERMIT_ACCESS);
    assert_eq!(map_for_devices(&none, 1, 1)[0].status, GNTST_NO_DEVICE_SPACE);
    check(w.xen, "with none");
}

#[test]
fn a_table_and_ports_end_at_what_the_creator_said() {
    let w = World::new(512, 1);
    let k = with(&w, 4, |n| (n.max_grant_frames, n.max_evtchn_port) = (3, 100));
    for (frames, there) in [(2, Ok(())), (4, Err(Errno::EINVAL)), (3, Ok(()))] {
        assert_eq!(grow(w.xen, &k.guest.dom, frames), there, "{frames}");
    }
    assert_eq!(k.guest.dom.grants.sizes(), (3, 3));
    let mut setup = [GnttabSetupTable { dom: 4, nr_frames: 4, ..Default::default() }];
    batch(&k, GNTTABOP_SETUP_TABLE, &mut setup).unwrap();
    assert_eq!(setup[0].status, GNTST_GENERAL_ERROR);
    // Half as many entries in a frame: half as many references.
    assert!(k.guest.dom.grants.table.slot(crate::ids::GrantRef(3 * 512 - 1)).is_some());
    assert_eq!(set_version(&k, 2), (Ok(0), 2));
    assert!(k.guest.dom.grants.table.slot(crate::ids::GrantRef(3 * 256)).is_none());
    let port = || event::bind::alloc_unbound(w.xen, &k.guest.dom, DomId(0)).map(|p| p.0);
    let given: Vec<_> = (0..101).map(|_| port()).collect();
    assert_eq!(given[..100], (1..=100).map(Ok).collect::<Vec<_>>());
    assert_eq!(given[100], Err(Errno::ENOSPC));
    event::bind::close(w.xen, &k.guest.dom, crate::ids::Port(64)).unwrap();
    assert_eq!((port(), port()), (Ok(64), Err(Errno::ENOSPC)));
}

#[test]
fn a_dead_granter_of_version_2_stays_until_the_last_mapping_goes() {
    let w = World::new(1024, 4);
    let mapper = w.domain(0, 1);
    grow(w.xen, &mapper.dom, 1).unwrap();
    let mapper = mapper.boot(16);
    let free = w.xen.frames.alloc.free_pages();
    // Only its kernel holds the domain.
    let granter = {
        let g = w.domain(1, 1);
        grow(w.xen, &g.dom, 1).unwrap();
        g.boot(16)
    };
    assert_eq!(set_version(&granter, 2), (Ok(0), 2));
    grant2(&granter, 9, 0, GTF_PERMIT_ACCESS, 0, granter.pages[5].0);
    grant2(&granter, 10, 0, GTF_PERMIT_ACCESS | GTF_READONLY, 0, granter.pages[6].0);
    assert!(granter.write(0, granter.va(5), b"old data") && granter.write(0, granter.va(6), b"the rest"));
    let mapped = [map_at(&mapper, mapper.va(7), HOST, 1, 9), map_at(&mapper, mapper.va(8), RO, 1, 10)];
    assert!(mapped.iter().all(|m| m.status == GNTST_OKAY));
    // A tool looks at the status words.
    let status = granter.guest.dom.grants.table.status_frame(0).unwrap().mfn();
    assert_eq!(mapper.mmu_update(0, &[(mapper.pte(9), status.0 << 12 | RO_PTE)], 1).0, Ok(0));
    let marks = |k: &Kernel| k.read(0, k.va(9) + 16).unwrap() >> 16 & 0xffff_ffff;
    let both = u64::from(GTF_READING | GTF_WRITING) | u64::from(GTF_READING) << 16;
    assert_eq!(marks(&mapper), both);

    w.xen.m.cpus.iter().for_each(|c| c.lock().unwrap().idle = true);
    granter.guest.dom.for_each_vcpu(|v| v.running.store(false, SeqCst));
    while !lifecycle::kill(w.xen, &granter.guest.dom) {}
    let zombie = || w.xen.domains.get(DomId(1)).map(|d| (d.dying(), w.xen.frames.owned(d.id)));
    assert_eq!(zombie(), Some((Dying::Dead, 2)));
    check(w.xen, "a zombie");
    let old = |k: &Kernel, page: usize| k.read(0, k.va(page)).map(u64::to_le_bytes);
    assert_eq!((old(&mapper, 7), old(&mapper, 8)), (Some(*b"old data"), Some(*b"the rest")));
    assert!(mapper.write(0, mapper.va(7), b"new data") && !mapper.write(0, mapper.va(8), &[0]));
    assert_eq!(map_at(&mapper, mapper.va(10), HOST, 1, 9).status, GNTST_GENERAL_ERROR, "no new ones");
    // Another page of theirs can no longer be had at all.
    let gone = mapper.mmu_update(0, &[(mapper.pte(10), granter.pages[4].0 << 12 | RW)], 1).0;
    assert!(gone.is_err());

    assert_eq!(unmap_at(&mapper, mapper.va(7), mapped[0].handle), GNTST_OKAY);
    lifecycle::reap(w.xen);
    assert_eq!(zombie(), Some((Dying::Dead, 1)));
    assert_eq!(old(&mapper, 8), Some(*b"the rest"));
    assert_eq!(unmap_at(&mapper, mapper.va(8), mapped[1].handle), GNTST_OKAY);
    lifecycle::reap(w.xen);
    // No page of its own is left, but the tool still has its status words.
    assert_eq!(zombie(), Some((Dying::Dead, 0)));
    assert_eq!(marks(&mapper), 0);
    assert_eq!(mapper.set_pte(0, mapper.pte(9), 0), Ok(0));
    lifecycle::reap(w.xen);
    assert_eq!(zombie(), None);
    drop(granter);
    assert_eq!(w.xen.frames.alloc.free_pages(), free);
    check(w.xen, "after the zombie");
}
