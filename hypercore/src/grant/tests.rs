//! Mapping, copying and letting go, with granters and grantees that do not play fair.

use super::unmap::{Ending, Request};
use super::*;
use crate::domain::Dying;
use crate::frame::CanRead;
use crate::frame::proof::FreshFrame;
use crate::frame::record::{B, FrameType};
use crate::ids::{GrantRef, Mfn};
use crate::machine::{Frames, GuestVa};
use crate::testing::world::check;
use crate::testing::{Kernel, World};
use abi::grant_table::*;
use abi::xen::*;
use abi::{Errno, GuestHandle};
use core::sync::atomic::{AtomicBool, Ordering::*};
use std::vec::Vec;
use x86::pte::Pte;
use zerocopy::{FromBytes, IntoBytes};

pub(super) const USED: u64 = (GTF_READING | GTF_WRITING) as u64;
pub(super) const HOST: u32 = GNTMAP_HOST_MAP;
pub(super) const RO: u32 = GNTMAP_HOST_MAP | GNTMAP_READONLY;

/// Domain 0, which maps, and domain 1, which grants; both with a table of one frame.
pub(super) fn pair() -> (Kernel, Kernel) {
    let w = World::new(2048, 4);
    let (a, b) = (w.domain(0, 2), w.domain(1, 2));
    for g in [&a, &b] {
        grow(g.xen, &g.dom, 1).unwrap();
    }
    (a.boot(64), b.boot(64))
}

pub(super) fn entry(k: &Kernel, r: u32) -> (FreshFrame, usize) {
    let f = k.guest.dom.grants.shared_frame(r / 512).unwrap();
    (FreshFrame(f.mfn()), r as usize % 512 * 8)
}

/// What `k` writes into its own table.
pub(super) fn grant(k: &Kernel, r: u32, to: u16, mfn: Mfn, flags: u16) {
    let (f, at) = entry(k, r);
    let word = u64::from(flags) | u64::from(to) << 16 | mfn.0 << 32;
    k.guest.xen.m.store(&f, at, word);
}

pub(super) fn word(k: &Kernel, r: u32) -> u64 {
    let (f, at) = entry(k, r);
    k.guest.xen.m.load(&f, at)
}

/// A batch with its elements on page 0 of the caller, and the audit after it.
pub(super) fn batch<T: IntoBytes + FromBytes + abi_bounds::Plain>(
    k: &Kernel,
    cmd: u32,
    ops: &mut [T],
) -> Result<u64, Errno> {
    let r = run_batch(k, cmd, ops);
    check(k.guest.xen, "after a grant operation");
    r
}

/// A batch while the test itself holds what the audit does not know of.
pub(super) fn run_batch<T: IntoBytes + FromBytes + abi_bounds::Plain>(
    k: &Kernel,
    cmd: u32,
    ops: &mut [T],
) -> Result<u64, Errno> {
    let at = k.va(0);
    assert!(size_of_val(ops) <= 4096);
    for (i, op) in ops.iter().enumerate() {
        assert!(k.write(0, at + (i * size_of::<T>()) as u64, op.as_bytes()));
    }
    let r = k.hypercall(0, HYPERVISOR_GRANT_TABLE_OP, [u64::from(cmd), at, ops.len() as u64, 0, 0, 0]);
    k.enter(0);
    for (i, op) in ops.iter_mut().enumerate() {
        k.guest.xen.m.copy_from_guest(op.as_mut_bytes(), at + (i * size_of::<T>()) as u64).unwrap();
    }
    r
}

pub(super) mod abi_bounds {
    /// What the batch's elements are.
    pub trait Plain: zerocopy::Immutable + Default {}
    impl<T: zerocopy::Immutable + Default> Plain for T {}
}

pub(super) fn map_at(k: &Kernel, host_addr: u64, flags: u32, dom: u16, ref_: u32) -> GnttabMapGrantRef {
    let mut op = [GnttabMapGrantRef { host_addr, flags, ref_, dom, ..Default::default() }];
    batch(k, GNTTABOP_MAP_GRANT_REF, &mut op).unwrap();
    op[0]
}

pub(super) fn unmap_at(k: &Kernel, host_addr: u64, handle: u32) -> i16 {
    let mut op = [GnttabUnmapGrantRef { host_addr, handle, status: 77, ..Default::default() }];
    batch(k, GNTTABOP_UNMAP_GRANT_REF, &mut op).unwrap();
    op[0].status
}

/// Counts of a frame: existence, type, uses of the type.
pub(super) fn counts(k: &Kernel, mfn: Mfn) -> (u64, FrameType, u64) {
    let (a, b): (_, B) = k.guest.xen.frames.peek(mfn).unwrap();
    (a.count(), b.kind(), b.count())
}

pub(super) fn idle(k: &Kernel) -> bool {
    (0..4096).filter_map(|r| k.guest.dom.grants.table.slot(GrantRef(r))).all(|slot| !slot.active.in_use())
}

#[test]
fn a_mapped_frame_is_shared_and_comes_back() {
    let (a, b) = pair();
    let frame = b.pages[5];
    let before = counts(&b, frame);
    grant(&b, 9, 0, frame, GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST, 1, 9);
    assert_eq!((m.status, m.dev_bus_addr), (GNTST_OKAY, frame.0 << 12));
    assert_eq!(word(&b, 9) & USED, USED);
    // One existence reference and one use for the entry in the page table, one of each for the mapping.
    assert_eq!(counts(&b, frame), (before.0 + 2, FrameType::Writable, before.2 + 2));
    assert!(a.write(0, a.va(7), &0x1234_5678u64.to_le_bytes()));
    assert_eq!(b.read(0, b.va(5)), Some(0x1234_5678));
    let mut held = Vec::new();
    audit(&a.guest.dom, |mfn, w| held.push((mfn, w)));
    assert_eq!(held, [(frame, true)]);

    assert_eq!(a.read(1, a.va(7)), Some(0x1234_5678), "cached on the other CPU too");
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!((a.read(0, a.va(7)), a.read(1, a.va(7))), (None, None), "flushed everywhere");
    assert_eq!(counts(&b, frame), before);
    assert_eq!(word(&b, 9) & USED, 0);
    assert!(idle(&b));
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_BAD_HANDLE);
}

#[test]
fn an_unmapped_frame_is_out_of_reach_at_every_address() {
    let (a, b) = pair();
    // The grantee's level-1 table shows at a second place, 2 MiB after the other.
    let l2 = a.tables[1];
    let second = (x86::pte::index(a.va(0), 2) + 1, a.tables[0].0 << 12 | crate::testing::kernel::RW);
    assert_eq!(a.set_pte(0, a.slot(l2, second.0), second.1), Ok(0));
    let alias = a.va(7) + (1 << 21);
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST, 1, 9);
    for v in 0..2 {
        assert_eq!((a.read(v, a.va(7)), a.read(v, alias)), (Some(0), Some(0)));
    }
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    for v in 0..2 {
        assert_eq!((a.read(v, a.va(7)), a.read(v, alias)), (None, None));
    }
}

#[test]
fn the_flags_of_a_mapping_are_in_its_entry() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let base = Pte::PRESENT | Pte::USER | Pte::ACCESSED | Pte::DIRTY | Pte::NX;
    let kernel = 1 << 52;
    let avail = |n: u32| n << GNTMAP_GUEST_AVAIL0;
    for (flags, bits) in [
        (HOST, base | Pte::RW | kernel),
        (RO, base | kernel),
        (HOST | GNTMAP_APPLICATION_MAP, base | Pte::RW),
        (RO | GNTMAP_APPLICATION_MAP | avail(5), base | 5 << 9),
        // Three bits are the guest's; there is no room for more.
        (HOST | avail(0xffff), base | Pte::RW | kernel | 7 << 9),
    ] {
        for (place, more) in [(a.va(7), 0), (a.pte(7), GNTMAP_CONTAINS_PTE)] {
            let m = map_at(&a, place, flags | more, 1, 9);
            let found = a.guest.xen.m.debug_load(a.tables[0], 7);
            assert_eq!((m.status, found), (GNTST_OKAY, b.pages[5].0 << 12 | bits), "{flags:#x}");
            assert_eq!(unmap_at(&a, place, m.handle), GNTST_OKAY);
        }
    }
}

#[test]
fn read_only_is_read_only() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS | GTF_READONLY);
    assert_eq!(map_at(&a, a.va(7), HOST, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(word(&b, 9) & USED, 0, "a refusal leaves no mark");
    let m = map_at(&a, a.va(7), RO, 1, 9);
    assert_eq!(m.status, GNTST_OKAY);
    assert_eq!(word(&b, 9) & USED, u64::from(GTF_READING));
    assert_eq!(a.read(0, a.va(7)), Some(0));
    assert!(!a.write(0, a.va(7), &[1]));
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!(word(&b, 9) & USED, 0);
}

#[test]
fn writing_is_marked_from_the_first_writer_to_the_last() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let r = map_at(&a, a.va(1), RO, 1, 9);
    assert_eq!(word(&b, 9) & USED, u64::from(GTF_READING));
    let w1 = map_at(&a, a.va(2), HOST, 1, 9);
    let w2 = map_at(&a, a.va(3), HOST, 1, 9);
    assert_eq!(unmap_at(&a, a.va(2), w1.handle), GNTST_OKAY);
    assert_eq!(word(&b, 9) & USED, USED);
    assert_eq!(unmap_at(&a, a.va(3), w2.handle), GNTST_OKAY);
    assert_eq!(word(&b, 9) & USED, u64::from(GTF_READING));
    assert_eq!(unmap_at(&a, a.va(1), r.handle), GNTST_OKAY);
    assert_eq!(word(&b, 9) & USED, 0);
}

#[test]
fn a_page_table_can_be_granted_to_readers_only() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.tables[0], GTF_PERMIT_ACCESS);
    assert_eq!(map_at(&a, a.va(7), HOST, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(word(&b, 9) & USED, 0);
    let m = map_at(&a, a.va(7), RO, 1, 9);
    assert_eq!(m.status, GNTST_OKAY);
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
}

#[test]
fn what_maps_nothing_says_why() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    grant(&b, 10, 3, b.pages[5], GTF_PERMIT_ACCESS);
    grant(&b, 11, 0, b.pages[5], GTF_ACCEPT_TRANSFER);
    grant(&b, 12, 0, a.pages[5], GTF_PERMIT_ACCESS);
    grant(&b, 13, 0, Mfn(u64::from(u32::MAX)), GTF_PERMIT_ACCESS);
    let before = counts(&b, b.pages[5]);
    let status = |flags, dom, r| map_at(&a, a.va(7), flags, dom, r).status;
    assert_eq!(status(0, 1, 9), GNTST_BAD_GNTREF);
    assert_eq!(status(HOST, 5, 9), GNTST_BAD_DOMAIN);
    assert_eq!(status(HOST, 0x7ff0, 9), GNTST_BAD_DOMAIN);
    assert_eq!(status(HOST, 1, 512), GNTST_BAD_GNTREF);
    assert_eq!(status(HOST, 1, u32::MAX), GNTST_BAD_GNTREF);
    assert_eq!(status(HOST, 1, 8), GNTST_GENERAL_ERROR, "an empty entry");
    assert_eq!(status(HOST, 1, 10), GNTST_GENERAL_ERROR, "for another domain");
    assert_eq!(status(HOST, 1, 11), GNTST_GENERAL_ERROR, "not for access");
    assert_eq!(status(HOST, 1, 12), GNTST_BAD_PAGE, "not the granter's to give");
    assert_eq!(status(HOST, 1, 13), GNTST_BAD_PAGE);
    // No table there, or not level 1, or not the caller's.
    assert_eq!(map_at(&a, 0x7000_0000_0000, HOST, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(map_at(&a, 0xffff_8000_0000_0000, HOST, 1, 9).status, GNTST_GENERAL_ERROR);
    let by_pte = HOST | GNTMAP_CONTAINS_PTE;
    assert_eq!(map_at(&a, a.pages[3].0 << 12, by_pte, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(map_at(&a, a.slot(a.tables[1], 9), by_pte, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(map_at(&a, b.pte(3), by_pte, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(map_at(&a, a.pte(7) + 4, by_pte, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(counts(&b, b.pages[5]), before);
    assert!(idle(&b) && (9..14).all(|r| word(&b, r) & USED == 0));
    assert_eq!(a.hyper_count(), 0);
}

trait Held {
    fn hyper_count(&self) -> usize;
}

impl Held for Kernel {
    /// Mappings it holds.
    fn hyper_count(&self) -> usize {
        let mut n = 0;
        audit(&self.guest.dom, |_, _| n += 1);
        n
    }
}

#[test]
fn by_page_table_entry_with_the_guests_bits() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let flags = HOST | GNTMAP_CONTAINS_PTE | GNTMAP_APPLICATION_MAP | 1 << GNTMAP_GUEST_AVAIL0;
    let m = map_at(&a, a.pte(7), flags, 1, 9);
    assert_eq!(m.status, GNTST_OKAY);
    let pte = a.guest.xen.m.debug_load(a.tables[0], 7);
    assert_eq!(pte & 0xfff, 0x267, "present, writable, user, accessed, dirty, first free bit");
    assert_eq!(pte >> 12, Pte::NX >> 12 | b.pages[5].0);
    assert!(a.write(0, a.va(7), &[5]));
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_GENERAL_ERROR, "not how it was mapped");
    assert_eq!(unmap_at(&a, a.pte(7), m.handle), GNTST_OKAY);
    assert!(idle(&b));
}

#[test]
fn unmap_goes_by_what_was_recorded() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let before = counts(&b, b.pages[5]);
    let m = map_at(&a, a.va(7), HOST, 1, 9);
    let mapped = counts(&b, b.pages[5]);
    assert_eq!(unmap_at(&a, a.va(8), m.handle), GNTST_GENERAL_ERROR);
    assert_eq!(unmap_at(&a, a.va(7), m.handle + 1), GNTST_BAD_HANDLE);
    assert_eq!(unmap_at(&a, a.va(7), u32::MAX), GNTST_BAD_HANDLE);
    assert_eq!(counts(&b, b.pages[5]), mapped);
    assert_eq!(unmap_at(&a, 0, m.handle), GNTST_OKAY, "0 keeps the mapping");
    assert_eq!(counts(&b, b.pages[5]), mapped);
    // The guest wrote over the entry itself: the grant stays pinned rather than being taken for unmapped.
    a.set_pte(0, a.pte(7), 0).unwrap();
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_GENERAL_ERROR);
    assert_eq!(word(&b, 9) & USED, USED);
    assert_eq!(counts(&b, b.pages[5]), (before.0 + 1, FrameType::Writable, before.2 + 1));
}

#[test]
fn a_granter_that_rewrites_its_entry_gains_nothing() {
    let (a, b) = pair();
    let (one, two) = (b.pages[5], b.pages[6]);
    let before = (counts(&b, one), counts(&b, two));
    grant(&b, 9, 0, one, GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST, 1, 9);
    grant(&b, 9, 3, two, GTF_PERMIT_ACCESS | GTF_READONLY);
    let again = map_at(&a, a.va(8), HOST, 1, 9);
    assert_eq!((again.status, again.dev_bus_addr), (GNTST_OKAY, one.0 << 12), "the entry in use counts");
    assert_eq!(counts(&b, two), before.1);
    grant(&b, 9, 0, two, GTF_INVALID);
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!(unmap_at(&a, a.va(8), again.handle), GNTST_OKAY);
    assert_eq!((counts(&b, one), counts(&b, two)), before);
    assert!(idle(&b));
    assert_eq!(word(&b, 9), two.0 << 32, "only the marks were touched");
}

#[test]
fn device_and_host_mappings_end_one_by_one() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST | GNTMAP_DEVICE_MAP, 1, 9);
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!(word(&b, 9) & USED, USED);
    let dev = |addr| {
        let mut op = [GnttabUnmapGrantRef { dev_bus_addr: addr, handle: m.handle, ..Default::default() }];
        batch(&a, GNTTABOP_UNMAP_GRANT_REF, &mut op).unwrap();
        op[0].status
    };
    assert_eq!(dev(4096), GNTST_GENERAL_ERROR);
    assert_eq!(dev(m.dev_bus_addr), GNTST_OKAY);
    assert_eq!(word(&b, 9) & USED, 0);
    assert_eq!(dev(m.dev_bus_addr), GNTST_BAD_HANDLE);
}

/// One vCPU takes the host mapping away and has not flushed yet when another ends the rest of it.
#[test]
fn who_ends_a_mapping_flushes_for_those_who_began() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST | GNTMAP_DEVICE_MAP, 1, 9);
    assert_eq!(a.read(1, a.va(7)), Some(0));
    let host = Request { handle: m.handle, host_addr: a.va(7), dev_bus_addr: 0, replace: None };
    let device = Request { host_addr: 0, dev_bus_addr: m.dev_bus_addr, ..host };
    a.guest.call(0, |cx| {
        let mut first = Ending::default();
        assert_eq!(first.unmap(cx, &host), GNTST_OKAY);
        let mut second = Ending::default();
        assert_eq!(second.unmap(cx, &device), GNTST_OKAY);
        second.finish(cx.xen, cx.dom);
        assert_eq!(word(&b, 9) & USED, 0);
        assert_eq!(a.read(1, a.va(7)), None, "the granter has its frame for itself again");
        first.finish(cx.xen, cx.dom);
    });
}

#[test]
fn replacing_moves_the_other_entry_in() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST, 1, 9);
    assert!(a.write(0, a.va(8), &0xabcdu64.to_le_bytes()));
    let replace = |host_addr, new_addr| {
        let mut op = [GnttabUnmapAndReplace { host_addr, new_addr, handle: m.handle, ..Default::default() }];
        batch(&a, GNTTABOP_UNMAP_AND_REPLACE, &mut op).unwrap();
        op[0].status
    };
    assert_eq!(replace(a.va(7), 0x7000_0000_0000), GNTST_GENERAL_ERROR);
    assert_eq!(replace(a.va(7), a.va(8)), GNTST_OKAY);
    assert_eq!((a.read(0, a.va(7)), a.read(0, a.va(8))), (Some(0xabcd), None));
    assert!(idle(&b));
}

#[test]
fn long_batches_go_on_where_they_stopped() {
    let (a, b) = pair();
    for r in 0..60 {
        grant(&b, r, 0, b.pages[r as usize], GTF_PERMIT_ACCESS);
    }
    a.preempt_every(1);
    let mut ops: Vec<GnttabMapGrantRef> = (0..60)
        .map(|r| GnttabMapGrantRef {
            host_addr: a.va(1 + r as usize),
            flags: HOST,
            ref_: r,
            dom: 1,
            status: 77,
            ..Default::default()
        })
        .collect();
    batch(&a, GNTTABOP_MAP_GRANT_REF, &mut ops).unwrap();
    assert!(ops.iter().all(|o| o.status == GNTST_OKAY));
    assert_eq!(a.hyper_count(), 60);
    let mut ops: Vec<GnttabUnmapGrantRef> = ops
        .iter()
        .map(|o| GnttabUnmapGrantRef { host_addr: o.host_addr, handle: o.handle, ..Default::default() })
        .collect();
    // A handle given twice in one batch ends once.
    ops.push(ops[0]);
    batch(&a, GNTTABOP_UNMAP_GRANT_REF, &mut ops).unwrap();
    assert!(ops[..60].iter().all(|o| o.status == GNTST_OKAY));
    assert_eq!(ops[60].status, GNTST_BAD_HANDLE);
    assert_eq!(a.hyper_count(), 0);
    assert!(idle(&b));
}

#[test]
fn a_batch_that_faults_keeps_what_it_did() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST, 1, 9);
    // The second element is beyond what is mapped.
    let last = a.va(63) + 4096 * 5 - 24;
    let op = GnttabUnmapGrantRef { host_addr: a.va(7), handle: m.handle, ..Default::default() };
    let at = a.va(63) + 4096 - 24;
    assert!(a.write(0, at, op.as_bytes()));
    let call = |at| a.hypercall(0, HYPERVISOR_GRANT_TABLE_OP, [1, at, 2, 0, 0, 0]);
    assert_eq!(call(last), Err(Errno::EFAULT));
    assert_eq!(call(0xffff_8000_0000_0000), Err(Errno::EFAULT));
    assert_eq!(call(u64::MAX - 24), Err(Errno::EFAULT));
    // Pages after the last hold the tables, read-only: reading the second element works, answering does not.
    assert_eq!(call(at), Err(Errno::EFAULT));
    assert!(idle(&b), "the first element was finished");
    assert_eq!(a.read(0, a.va(7)), None);
}

#[test]
fn copies_by_grant_and_by_frame() {
    let (a, b) = pair();
    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS | GTF_READONLY);
    grant(&b, 10, 0, b.pages[6], GTF_PERMIT_ACCESS);
    assert!(b.write(0, b.va(5) + 100, b"from the granter"));
    let ptr = |u: u64, domid, offset| GnttabCopyPtr { u, domid, offset, _pad0: 0 };
    let (src, dst) = (GNTCOPY_SOURCE_GREF, GNTCOPY_DEST_GREF);
    let copy = |source, dest, len, flags| {
        let mut op = [GnttabCopy { source, dest, len, flags, status: 77, _pad0: 0 }];
        batch(&a, GNTTABOP_COPY, &mut op).unwrap();
        op[0].status
    };
    let own = |i: usize, offset| ptr(a.pages[i].0, 0x7ff0, offset);
    assert_eq!(copy(ptr(9, 1, 100), own(3, 8), 16, src), GNTST_OKAY);
    assert_eq!(a.read(0, a.va(3) + 8), Some(u64::from_le_bytes(*b"from the")));
    assert_eq!(copy(own(3, 8), ptr(10, 1, 4080), 16, dst), GNTST_OKAY);
    assert_eq!(b.read(0, b.va(6) + 4088), Some(u64::from_le_bytes(*b" granter")));
    assert_eq!(copy(ptr(9, 1, 0), ptr(10, 1, 0), 4096, src | dst), GNTST_OKAY);
    assert_eq!(b.read(0, b.va(6) + 100), Some(u64::from_le_bytes(*b"from the")));
    // Overlapping ranges of one frame.
    assert_eq!(copy(own(3, 8), own(3, 10), 2000, 0), GNTST_OKAY);
    assert_eq!(a.read(0, a.va(3) + 10), Some(u64::from_le_bytes(*b"from the")));

    assert_eq!(copy(own(3, 0), ptr(9, 1, 0), 8, dst), GNTST_GENERAL_ERROR, "granted for reading");
    assert_eq!(copy(own(3, 4000), ptr(10, 1, 0), 97, dst), GNTST_BAD_COPY_ARG);
    assert_eq!(copy(own(3, 0), ptr(10, 1, 4000), 97, dst), GNTST_BAD_COPY_ARG);
    assert_eq!(copy(ptr(b.pages[5].0, 1, 0), own(3, 0), 8, 0), GNTST_PERMISSION_DENIED);
    assert_eq!(copy(ptr(b.pages[5].0, 0x7ff0, 0), own(3, 0), 8, 0), GNTST_BAD_PAGE);
    assert_eq!(copy(own(3, 0), ptr(a.tables[0].0, 0x7ff0, 0), 8, 0), GNTST_GENERAL_ERROR, "a page table");
    assert_eq!(copy(ptr(9, 6, 0), own(3, 0), 8, src), GNTST_BAD_DOMAIN);
    assert_eq!(copy(ptr(512, 1, 0), own(3, 0), 8, src), GNTST_BAD_GNTREF);
    assert!(idle(&b) && word(&b, 9) & USED == 0 && word(&b, 10) & USED == 0);
}

#[test]
fn a_dying_granter_lasts_until_it_is_unmapped() {
    let (a, b) = pair();
    let frame = b.guest.frame();
    let owned = b.guest.xen.frames.owned(b.guest.dom.id);
    grant(&b, 9, 0, frame, GTF_PERMIT_ACCESS);
    let m = map_at(&a, a.va(7), HOST, 1, 9);
    b.guest.dom.set_dying(Dying::Dying);
    assert!(teardown(b.guest.xen, &b.guest.dom));
    drop(b.guest.xen.frames.unassign(frame, b.guest.dom.id));
    assert_eq!(b.guest.xen.frames.owned(b.guest.dom.id), owned);
    assert!(a.write(0, a.va(7), &[1]), "still mapped");
    assert_eq!(map_at(&a, a.va(8), HOST, 1, 9).status, GNTST_GENERAL_ERROR, "no new ones");
    assert!(grow(b.guest.xen, &b.guest.dom, 2).is_err());
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!(b.guest.xen.frames.owned(b.guest.dom.id), owned - 1);
}

#[test]
fn a_dying_grantee_gives_everything_back() {
    let (a, b) = pair();
    for r in 0..60 {
        grant(&b, r, 0, b.pages[r as usize], GTF_PERMIT_ACCESS);
        let flags = if r % 2 == 0 { HOST } else { RO };
        assert_eq!(map_at(&a, a.va(1 + r as usize), flags, 1, r).status, GNTST_OKAY);
    }
    a.guest.dom.set_dying(Dying::Dying);
    assert_eq!(map_at(&a, a.va(1), HOST, 1, 3).status, GNTST_GENERAL_ERROR);
    a.preempt_every(1);
    let calls = (1..).find(|_| teardown(a.guest.xen, &a.guest.dom)).unwrap();
    assert!(calls >= 2, "{calls}");
    assert_eq!(a.hyper_count(), 0);
    assert!(idle(&b) && (0..60).all(|r| word(&b, r) & USED == 0));
    check(a.guest.xen, "after the teardown");
    // What its page tables still hold is theirs.
    assert_eq!(counts(&b, b.pages[4]).1, FrameType::Writable);
    assert!(teardown(a.guest.xen, &a.guest.dom));
}

#[test]
fn the_tables_own_commands() {
    let (a, b) = pair();
    let c = World { xen: a.guest.xen }.domain(2, 1);
    let mut q = [GnttabQuerySize { dom: 2, ..Default::default() }];
    batch(&a, GNTTABOP_QUERY_SIZE, &mut q).unwrap();
    assert_eq!((q[0].status, q[0].nr_frames, c.dom.grants.sizes()), (GNTST_OKAY, 1, (1, 8)));
    let call = |k: &Kernel, cmd, at, n| k.hypercall(0, HYPERVISOR_GRANT_TABLE_OP, [cmd, at, n, 0, 0, 0]);
    let mut q = [GnttabQuerySize { dom: 0x7ff0, ..Default::default() }];
    batch(&b, GNTTABOP_QUERY_SIZE, &mut q).unwrap();
    assert_eq!((q[0].status, q[0].nr_frames, q[0].max_nr_frames), (GNTST_OKAY, 1, 8));

    let list = GuestHandle::new(b.va(2));
    let mut s = [GnttabSetupTable { dom: 0x7ff0, nr_frames: 4, frame_list: list, ..Default::default() }];
    batch(&b, GNTTABOP_SETUP_TABLE, &mut s).unwrap();
    assert_eq!(s[0].status, GNTST_OKAY);
    for i in 0..4 {
        let mfn = b.guest.dom.grants.shared_frame(i).unwrap().mfn();
        assert_eq!(b.read(0, b.va(2) + u64::from(i) * 8), Some(mfn.0));
        // The guest maps them as its own.
        b.set_pte(0, b.pte(20 + i as usize), mfn.0 << 12 | crate::testing::kernel::RW).unwrap();
    }
    s[0].nr_frames = 9;
    batch(&b, GNTTABOP_SETUP_TABLE, &mut s).unwrap();
    assert_eq!(s[0].status, GNTST_GENERAL_ERROR);
    (s[0].dom, s[0].nr_frames) = (0, 1);
    batch(&b, GNTTABOP_SETUP_TABLE, &mut s).unwrap();
    assert_eq!(s[0].status, GNTST_PERMISSION_DENIED);
    (s[0].dom, s[0].frame_list) = (0x7ff0, GuestHandle::new(0xffff_8000_0000_0000));
    batch(&b, GNTTABOP_SETUP_TABLE, &mut s).unwrap();
    assert_eq!(s[0].status, GNTST_BAD_VIRT_ADDR);

    let version = |v| {
        let mut op = [GnttabSetVersion { version: v }];
        (batch(&b, GNTTABOP_SET_VERSION, &mut op), op[0].version)
    };
    assert_eq!(version(1), (Ok(0), 1));
    assert_eq!(version(3), (Err(Errno::EINVAL), 1));
    let mut g = [GnttabGetVersion { dom: 1, ..Default::default() }];
    assert_eq!((batch(&a, GNTTABOP_GET_VERSION, &mut g), g[0].version), (Ok(0), 1));
    g[0].dom = 0;
    assert_eq!(batch(&b, GNTTABOP_GET_VERSION, &mut g), Err(Errno::EPERM));

    grant(&b, 9, 0, b.pages[5], GTF_PERMIT_ACCESS);
    grant(&b, 10, 3, b.pages[6], GTF_PERMIT_ACCESS);
    let (nine, ten) = (word(&b, 9), word(&b, 10));
    let swap = |ref_a, ref_b| {
        let mut op = [GnttabSwapGrantRef { ref_a, ref_b, ..Default::default() }];
        batch(&b, GNTTABOP_SWAP_GRANT_REF, &mut op).unwrap();
        op[0].status
    };
    assert_eq!((swap(10, 9), swap(9, 9), swap(9, 9999)), (GNTST_OKAY, GNTST_OKAY, GNTST_BAD_GNTREF));
    assert_eq!((word(&b, 9), word(&b, 10)), (ten, nine));
    let m = map_at(&a, a.va(7), HOST, 1, 10);
    assert_eq!(swap(9, 10), GNTST_EAGAIN);
    let flush = |k: &Kernel, op, mfn: Mfn| {
        let mut op = [GnttabCacheFlush { a: mfn.0 << 12, offset: 0, length: 4096, op }];
        batch(k, GNTTABOP_CACHE_FLUSH, &mut op)
    };
    assert_eq!(flush(&a, GNTTAB_CACHE_CLEAN, b.pages[5]), Ok(0), "mapped by grant");
    assert_eq!(flush(&a, GNTTAB_CACHE_CLEAN, b.pages[6]), Err(Errno::EINVAL));
    assert_eq!(flush(&a, GNTTAB_CACHE_INVAL, a.pages[6]), Err(Errno::EOPNOTSUPP));
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);

    assert_eq!(call(&b, 99, b.va(0), 1), Err(Errno::ENOSYS));
    assert_eq!(call(&b, 0, b.va(0), 1 << 31), Err(Errno::EINVAL));
    assert_eq!(call(&b, 6, b.va(0), 2), Err(Errno::EINVAL));
}

#[test]
fn a_frame_is_transferred_once_and_for_good() {
    let (a, b) = pair();
    a.guest.dom.memory.set_max_pages(1000);
    b.guest.dom.memory.set_max_pages(b.guest.xen.frames.owned(b.guest.dom.id) + 1);
    let mfn = a.pages[9];
    let owned = || [&a, &b].map(|k| k.guest.xen.frames.owned(k.guest.dom.id));
    let before = owned();
    let transfer = |mfn: Mfn, domid, ref_| {
        let mut op = [GnttabTransfer { mfn: mfn.0, domid, ref_, status: 77, ..Default::default() }];
        batch(&a, GNTTABOP_TRANSFER, &mut op).unwrap();
        op[0].status
    };
    assert!(a.write(0, a.va(9), b"contents") && a.read(1, a.va(9)).is_some());
    grant(&b, 9, 0, Mfn(0x123), GTF_ACCEPT_TRANSFER);
    assert_eq!(transfer(mfn, 1, 9), GNTST_BAD_PAGE, "still mapped");
    a.set_pte(0, a.pte(9), 0).unwrap();
    grant(&b, 10, 5, Mfn(0), GTF_ACCEPT_TRANSFER);
    grant(&b, 11, 0, Mfn(0), GTF_PERMIT_ACCESS);
    assert_eq!(transfer(mfn, 1, 10), GNTST_GENERAL_ERROR);
    assert_eq!(transfer(mfn, 1, 11), GNTST_GENERAL_ERROR);
    assert_eq!(transfer(mfn, 1, 5000), GNTST_BAD_GNTREF);
    assert_eq!(transfer(mfn, 7, 9), GNTST_BAD_DOMAIN);
    assert_eq!(transfer(b.pages[1], 1, 9), GNTST_BAD_PAGE);
    assert_eq!(transfer(a.tables[0], 1, 9), GNTST_BAD_PAGE);
    assert_eq!(owned(), before);
    assert_eq!(transfer(mfn, 1, 9), GNTST_OKAY);
    assert_eq!(owned(), [before[0] - 1, before[1] + 1]);
    let done = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED;
    assert_eq!(word(&b, 9), u64::from(done) | mfn.0 << 32);
    assert_eq!(a.guest.xen.m.get_m2p(mfn), 0x123);
    assert_eq!(a.read(1, a.va(9)), None, "the giver reaches it no more");
    b.set_pte(0, b.pte(40), mfn.0 << 12 | crate::testing::kernel::RW).unwrap();
    assert_eq!(b.read(0, b.va(40)), Some(u64::from_le_bytes(*b"contents")));
    assert_eq!(transfer(a.guest.frame(), 1, 9), GNTST_GENERAL_ERROR, "the entry is used up");
    // The receiver is full.
    grant(&b, 12, 0, Mfn(0), GTF_ACCEPT_TRANSFER);
    let more = a.guest.frame();
    assert_eq!(transfer(more, 1, 12), GNTST_GENERAL_ERROR);
    assert_eq!(word(&b, 12), u64::from(GTF_ACCEPT_TRANSFER));
    assert!(a.guest.xen.frames.get(more, a.guest.dom.id).is_some());
}

/// A small deterministic generator.
pub(super) struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as u32 % n
    }
}

/// Two CPUs of one domain map, unmap by any handle, and copy, while the granter rewrites its table.
#[test]
fn counts_return_to_zero_whatever_is_tried() {
    let (a, b) = pair();
    let frames: Vec<Mfn> = b.pages[32..40].to_vec();
    let before: Vec<_> = frames.iter().map(|&f| counts(&b, f)).collect();
    let stop = AtomicBool::new(false);
    let one = |v: u32, cmd: u32, bytes: &mut [u8]| {
        // Each vCPU has its own page for arguments.
        let at = a.va(v as usize);
        assert!(a.write(v, at, bytes));
        a.hypercall(v, HYPERVISOR_GRANT_TABLE_OP, [u64::from(cmd), at, 1, 0, 0, 0]).unwrap();
        a.guest.xen.m.copy_from_guest(bytes, at).unwrap();
    };
    let unmap = |v: u32, host_addr, handle| {
        let mut op = GnttabUnmapGrantRef { host_addr, handle, ..Default::default() };
        one(v, GNTTABOP_UNMAP_GRANT_REF, op.as_mut_bytes());
        op.status
    };
    std::thread::scope(|s| {
        s.spawn(|| {
            crate::testing::machine::set_cpu(3);
            let mut rng = Rng(3);
            while !stop.load(SeqCst) {
                let f = frames[rng.below(8) as usize];
                let flags = GTF_PERMIT_ACCESS | rng.below(32) as u16;
                grant(&b, rng.below(4), (rng.below(8) == 0) as u16, f, flags);
            }
        });
        let workers: Vec<_> = (0..2u32)
            .map(|v| {
                let (frames, one, unmap, a) = (&frames, &one, &unmap, &a);
                s.spawn(move || {
                    let mut rng = Rng(11 + u64::from(v));
                    let mut mine: Vec<(u64, u32)> = Vec::new();
                    for _ in 0..3000 {
                        match rng.below(4) {
                            0 | 1 => {
                                let host_addr = a.va(2 + 10 * v as usize + rng.below(10) as usize);
                                if mine.iter().any(|(at, _)| *at == host_addr) {
                                    continue;
                                }
                                let flags = if rng.below(2) == 0 { HOST } else { RO };
                                let mut op = GnttabMapGrantRef {
                                    host_addr,
                                    flags,
                                    ref_: rng.below(4),
                                    dom: 1,
                                    ..Default::default()
                                };
                                one(v, GNTTABOP_MAP_GRANT_REF, op.as_mut_bytes());
                                if op.status == GNTST_OKAY {
                                    assert!(frames.contains(&Mfn(op.dev_bus_addr >> 12)));
                                    mine.push((host_addr, op.handle));
                                }
                            }
                            2 if !mine.is_empty() => {
                                let i = rng.below(mine.len() as u32) as usize;
                                let (at, handle) = mine.swap_remove(i);
                                // Another's handle or a stale one ends nothing at this address.
                                unmap(v, at, handle ^ 1 << rng.below(3));
                                assert_eq!(unmap(v, at, handle), GNTST_OKAY);
                                assert_eq!(unmap(v, at, handle + 4096), GNTST_BAD_HANDLE);
                            }
                            _ => {
                                let gref = GnttabCopyPtr {
                                    u: u64::from(rng.below(4)),
                                    domid: 1,
                                    ..Default::default()
                                };
                                let own = GnttabCopyPtr {
                                    u: a.pages[40 + v as usize].0,
                                    domid: 0x7ff0,
                                    ..Default::default()
                                };
                                let (source, dest, flags) = if rng.below(2) == 0 {
                                    (gref, own, GNTCOPY_SOURCE_GREF)
                                } else {
                                    (own, gref, GNTCOPY_DEST_GREF)
                                };
                                let mut op =
                                    GnttabCopy { source, dest, len: 64, flags, ..Default::default() };
                                one(v, GNTTABOP_COPY, op.as_mut_bytes());
                            }
                        }
                    }
                    for (at, handle) in mine {
                        assert_eq!(unmap(v, at, handle), GNTST_OKAY);
                    }
                })
            })
            .collect();
        let ends: Vec<_> = workers.into_iter().map(|w| w.join()).collect();
        stop.store(true, SeqCst);
        assert!(ends.iter().all(Result::is_ok));
    });
    assert_eq!(a.hyper_count(), 0);
    assert!(idle(&b));
    let after: Vec<_> = frames.iter().map(|&f| counts(&b, f)).collect();
    assert_eq!(after, before);
    check(a.guest.xen, "after the storm");
}
