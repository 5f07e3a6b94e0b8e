//! Version 2 of the table: from version to version, parts of pages, grants of grants.

use super::active::{Part, Target};
use super::entry::Copied;
use super::tests::*;
use super::*;
use crate::domain::Dying;
use crate::frame::CanRead;
use crate::frame::proof::FreshFrame;
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::Frames;
use crate::testing::{Kernel, World};
use abi::grant_table::*;
use abi::memory::*;
use abi::xen::*;
use abi::{Errno, GuestHandle};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::vec::Vec;

/// Domain 0, which uses, and domains 1 and 2, which grant: those have tables of version 2.
pub(super) fn three() -> [Kernel; 3] {
    three_in(World::new(2048, 4))
}

fn three_in(w: World) -> [Kernel; 3] {
    let kernels = [0, 1, 2].map(|id| {
        let g = w.domain(id, 2);
        grow(g.xen, &g.dom, 1).unwrap();
        g.boot(32)
    });
    for k in &kernels[1..] {
        assert_eq!(set_version(k, 2), (Ok(0), 2));
    }
    kernels
}

pub(super) fn set_version(k: &Kernel, version: u32) -> (Result<u64, Errno>, u32) {
    let mut op = [GnttabSetVersion { version }];
    (batch(k, GNTTABOP_SET_VERSION, &mut op), op[0].version)
}

fn place(k: &Kernel, r: u32) -> (FreshFrame, usize) {
    let f = k.guest.dom.grants.shared_frame(r / 256).unwrap();
    (FreshFrame(f.mfn()), r as usize % 256 * 16)
}

/// What `k` writes into its table of version 2; `arm`: the 4 bytes after the header.
pub(super) fn grant2(k: &Kernel, r: u32, to: u16, flags: u16, arm: u32, frame: u64) {
    let (f, at) = place(k, r);
    k.guest.xen.m.store(&f, at + 8, frame);
    k.guest.xen.m.store(&f, at, u64::from(flags) | u64::from(to) << 16 | u64::from(arm) << 32);
}

fn page(k: &Kernel, r: u32, to: u16, mfn: Mfn) {
    grant2(k, r, to, GTF_PERMIT_ACCESS, 0, mfn.0);
}

fn part(k: &Kernel, r: u32, to: u16, mfn: Mfn, start: u32, len: u32) {
    grant2(k, r, to, GTF_PERMIT_ACCESS | GTF_SUB_PAGE, start | len << 16, mfn.0);
}

fn transitive(k: &Kernel, r: u32, to: u16, flags: u16, from: u16, theirs: u32) {
    grant2(k, r, to, GTF_TRANSITIVE | flags, from.into(), theirs.into());
}

fn words(k: &Kernel, r: u32) -> [u64; 2] {
    let (f, at) = place(k, r);
    [0, 8].map(|n| k.guest.xen.m.load(&f, at + n))
}

pub(super) fn status(k: &Kernel, r: u32) -> u16 {
    let f = k.guest.dom.grants.table.status_frame(r / 2048).unwrap();
    (k.guest.xen.m.load(f, r as usize % 2048 / 4 * 8) >> (r % 4 * 16)) as u16
}

fn by_ref(r: u32, domid: u16, offset: u16) -> GnttabCopyPtr {
    GnttabCopyPtr { u: r.into(), domid, offset, _pad0: 0 }
}

fn by_frame(mfn: Mfn, offset: u16) -> GnttabCopyPtr {
    GnttabCopyPtr { u: mfn.0, domid: DOMID_SELF, offset, _pad0: 0 }
}

pub(super) fn copy(k: &Kernel, source: GnttabCopyPtr, dest: GnttabCopyPtr, len: u16, flags: u16) -> i16 {
    let mut op = [GnttabCopy { source, dest, len, flags, status: 77, _pad0: 0 }];
    run_batch(k, GNTTABOP_COPY, &mut op).unwrap();
    op[0].status
}

/// Copies 8 bytes from grant `r` of `from` to an own page, and what came.
fn fetch(k: &Kernel, from: u16, r: u32, offset: u16) -> Result<u64, i16> {
    match copy(k, by_ref(r, from, offset), by_frame(k.pages[3], 0), 8, GNTCOPY_SOURCE_GREF) {
        GNTST_OKAY => Ok(k.read(0, k.va(3)).unwrap()),
        status => Err(status),
    }
}

fn put(k: &Kernel, to: u16, r: u32, offset: u16) -> i16 {
    copy(k, by_frame(k.pages[3], 0), by_ref(r, to, offset), 8, GNTCOPY_DEST_GREF)
}

#[test]
fn a_version_is_changed_when_nothing_is_in_use() {
    let (a, b) = pair();
    for r in [7, 8, 511] {
        grant(&b, r, 0, b.pages[5], GTF_PERMIT_ACCESS);
    }
    for r in [8, 511] {
        let m = map_at(&a, a.va(7), HOST, 1, r);
        assert_eq!(set_version(&b, 2), (Err(Errno::EBUSY), 1), "{r}");
        assert_eq!(set_version(&b, 1), (Ok(0), 1), "no change");
        assert_eq!(word(&b, r) & USED, USED, "nothing was touched");
        assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    }
    let m = map_at(&a, a.va(7), HOST, 1, 7);
    assert_eq!(set_version(&b, 3), (Err(Errno::EINVAL), 1));
    assert_eq!(set_version(&b, 2), (Ok(0), 2));
    assert_eq!(words(&b, 7), [u64::from(GTF_PERMIT_ACCESS), b.pages[5].0]);
    assert_eq!(status(&b, 7), GTF_READING | GTF_WRITING);
    assert!((8..256).all(|r| words(&b, r) == [0, 0]));
    let mut g = [GnttabGetVersion { dom: 1, ..Default::default() }];
    assert_eq!((batch(&a, GNTTABOP_GET_VERSION, &mut g), g[0].version), (Ok(0), 2));
    // And back, with another use beside the first.
    let ro = map_at(&a, a.va(8), RO, 1, 7);
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!(status(&b, 7), GTF_READING);
    page(&b, 8, 0, b.pages[6]);
    let other = map_at(&a, a.va(7), HOST, 1, 8);
    assert_eq!(set_version(&b, 1), (Err(Errno::EBUSY), 2));
    assert_eq!(unmap_at(&a, a.va(7), other.handle), GNTST_OKAY);
    assert_eq!(set_version(&b, 1), (Ok(0), 1));
    assert_eq!(word(&b, 7), u64::from(GTF_PERMIT_ACCESS | GTF_READING) | b.pages[5].0 << 32);
    assert!((8..512).all(|r| word(&b, r) == 0));
    assert_eq!(unmap_at(&a, a.va(8), ro.handle), GNTST_OKAY);
    assert_eq!(word(&b, 7) & USED, 0);
    assert!(idle(&b));
}

#[test]
fn what_version_1_cannot_say_keeps_the_table_in_version_2() {
    let [_, b, _] = three();
    let mfn = b.pages[5].0;
    for (flags, frame, end) in [
        (GTF_PERMIT_ACCESS, 1 << 32, Err(Errno::ERANGE)),
        (GTF_TRANSITIVE, 1, Err(Errno::ERANGE)),
        (GTF_ACCEPT_TRANSFER, 1 << 32 | mfn, Ok(0)),
        (GTF_INVALID | GTF_READONLY, mfn, Ok(0)),
        (GTF_PERMIT_ACCESS | GTF_READONLY, mfn, Ok(u64::from(GTF_PERMIT_ACCESS | GTF_READONLY) | mfn << 32)),
    ] {
        grant2(&b, 7, 0, flags, 0, frame);
        let before = words(&b, 7);
        match end {
            Err(e) => {
                assert_eq!(set_version(&b, 1), (Err(e), 2));
                assert_eq!(words(&b, 7), before);
            }
            Ok(after) => {
                assert_eq!(set_version(&b, 1), (Ok(0), 1));
                assert_eq!(word(&b, 7), after, "{flags:#x}");
                assert_eq!(set_version(&b, 2), (Ok(0), 2));
            }
        }
    }
}

#[test]
fn status_frames_come_with_the_table_and_stay_while_mapped() {
    let (a, b) = pair();
    let list = |n, at| {
        let mut op = [GnttabGetStatusFrames {
            nr_frames: n,
            dom: DOMID_SELF,
            status: 77,
            frame_list: GuestHandle::new(at),
        }];
        batch(&b, GNTTABOP_GET_STATUS_FRAMES, &mut op).unwrap();
        op[0].status
    };
    assert_eq!((list(0, b.va(2)), list(1, b.va(2))), (GNTST_OKAY, GNTST_GENERAL_ERROR), "none in version 1");
    assert_eq!(set_version(&b, 2), (Ok(0), 2));
    assert_eq!((list(1, b.va(2)), list(2, b.va(2))), (GNTST_OKAY, GNTST_GENERAL_ERROR));
    assert_eq!(list(1, 0xffff_8000_0000_0000), GNTST_BAD_VIRT_ADDR);
    let mfn = b.read(0, b.va(2)).unwrap();
    let map = |pte| b.set_pte(0, b.pte(20), pte).unwrap();
    map(mfn << 12 | crate::testing::kernel::RW);
    page(&b, 9, 0, b.pages[5]);
    let m = map_at(&a, a.va(7), RO, 1, 9);
    assert_eq!(b.read(0, b.va(20) + 16), Some(u64::from(GTF_READING) << 16), "entry 9's word");
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!(b.read(0, b.va(20) + 16), Some(0));
    assert_eq!(set_version(&b, 1), (Err(Errno::EBUSY), 2), "the guest maps them");
    map(0);
    assert_eq!(set_version(&b, 1), (Ok(0), 1));
    assert_eq!(list(1, b.va(2)), GNTST_GENERAL_ERROR);
    // A table of 8 frames has 2048 entries; here it can have no more.
    grow(b.guest.xen, &b.guest.dom, 8).unwrap();
    assert_eq!(
        (set_version(&b, 2), list(1, b.va(2)), list(2, b.va(2)).signum()),
        ((Ok(0), 2), GNTST_OKAY, -1)
    );
    assert_eq!(b.read(0, b.va(2)), Some(mfn), "the frame it had");
    page(&b, 2047, 0, b.pages[5]);
    let m = map_at(&a, a.va(7), HOST, 1, 2047);
    assert_eq!((m.status, status(&b, 2047)), (GNTST_OKAY, GTF_READING | GTF_WRITING));
    assert_eq!(map_at(&a, a.va(8), HOST, 1, 2048).status, GNTST_BAD_GNTREF);
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
}

#[test]
fn a_domain_has_the_versions_its_creator_allowed() {
    let limits = Limits { version: 1, transfer: false, ..Limits::default() };
    let w = World::with_grants(2048, 4, limits);
    let g = w.domain(0, 1);
    grow(g.xen, &g.dom, 1).unwrap();
    let k = g.boot(8);
    assert_eq!(set_version(&k, 2), (Err(Errno::ENOSYS), 1));
    let mut op = [GnttabTransfer::default()];
    assert_eq!(batch(&k, GNTTABOP_TRANSFER, &mut op), Err(Errno::EOPNOTSUPP));
}

#[test]
fn marks_are_in_the_status_words_and_the_entry_is_the_guests() {
    let [a, b, _] = three();
    let before = counts(&b, b.pages[5]);
    grant2(&b, 9, 0, GTF_PERMIT_ACCESS | 0xfe00, u32::MAX, b.pages[5].0);
    let entry = words(&b, 9);
    let r = map_at(&a, a.va(1), RO, 1, 9);
    assert_eq!((r.status, status(&b, 9), words(&b, 9)), (GNTST_OKAY, GTF_READING, entry));
    let w = map_at(&a, a.va(2), HOST, 1, 9);
    assert_eq!((w.status, status(&b, 9), words(&b, 9)), (GNTST_OKAY, GTF_READING | GTF_WRITING, entry));
    assert!(a.write(0, a.va(2), &77u64.to_le_bytes()));
    assert_eq!(b.read(0, b.va(5)), Some(77));
    assert!([8, 10, 11].iter().all(|&r| status(&b, r) == 0), "the neighbours' words");
    // The entry in use counts, whatever stands there now; but writing needs no READONLY.
    grant2(&b, 9, 3, GTF_TRANSITIVE | GTF_READONLY, 0, b.pages[6].0);
    let again = map_at(&a, a.va(3), RO, 1, 9);
    assert_eq!((again.status, again.dev_bus_addr), (GNTST_OKAY, b.pages[5].0 << 12));
    assert_eq!(unmap_at(&a, a.va(2), w.handle), GNTST_OKAY);
    assert_eq!(status(&b, 9), GTF_READING);
    assert_eq!(map_at(&a, a.va(2), HOST, 1, 9).status, GNTST_GENERAL_ERROR);
    assert_eq!(status(&b, 9), GTF_READING, "a refusal leaves no mark");
    for (at, m) in [(a.va(1), r), (a.va(3), again)] {
        assert_eq!(unmap_at(&a, at, m.handle), GNTST_OKAY);
    }
    assert_eq!((status(&b, 9), counts(&b, b.pages[5])), (0, before));
    for (flags, to, frame, why) in [
        (GTF_PERMIT_ACCESS, 0, 1 << 32 | b.pages[5].0, GNTST_BAD_PAGE),
        (GTF_PERMIT_ACCESS, 0, u64::MAX, GNTST_BAD_PAGE),
        (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 0, b.pages[5].0, GNTST_GENERAL_ERROR),
        (GTF_TRANSITIVE, 0, 9, GNTST_GENERAL_ERROR),
        (GTF_ACCEPT_TRANSFER, 0, b.pages[5].0, GNTST_GENERAL_ERROR),
        (GTF_PERMIT_ACCESS, 2, b.pages[5].0, GNTST_GENERAL_ERROR),
        (GTF_PERMIT_ACCESS | GTF_READONLY, 0, b.pages[5].0, GNTST_GENERAL_ERROR),
    ] {
        grant2(&b, 10, to, flags, 4096 << 16, frame);
        assert_eq!(map_at(&a, a.va(1), HOST, 1, 10).status, why, "{flags:#x} {frame:#x}");
        assert_eq!(status(&b, 10), 0);
    }
    assert!(idle(&b));
}

#[test]
fn a_part_of_a_page_is_copied_and_no_more() {
    let [a, b, _] = three();
    for i in 0..512 {
        assert!(b.write(0, b.va(5) + 8 * i, &(0xb00 + i).to_le_bytes()));
    }
    part(&b, 9, 0, b.pages[5], 128, 64);
    assert_eq!((fetch(&a, 1, 9, 128), fetch(&a, 1, 9, 184)), (Ok(0xb10), Ok(0xb17)));
    for offset in [0, 120, 124, 188, 192, 4000] {
        assert_eq!(fetch(&a, 1, 9, offset), Err(GNTST_GENERAL_ERROR), "{offset}");
        assert_eq!(put(&a, 1, 9, offset), GNTST_GENERAL_ERROR, "{offset}");
    }
    assert_eq!(fetch(&a, 1, 9, 4092), Err(GNTST_BAD_COPY_ARG));
    assert_eq!(b.read(0, b.va(5) + 120), Some(0xb0f), "nothing was written outside");
    assert_eq!(put(&a, 1, 9, 136), GNTST_OKAY);
    assert_eq!(b.read(0, b.va(5) + 136), Some(0xb17));
    part(&b, 9, 0, b.pages[5], 0xffff, 0xffff);
    assert_eq!(fetch(&a, 1, 9, 4088), Err(GNTST_GENERAL_ERROR));
    part(&b, 9, 0, b.pages[5], 4000, 0xffff);
    assert_eq!((fetch(&a, 1, 9, 4088), fetch(&a, 1, 9, 4089)), (Ok(0xcff), Err(GNTST_BAD_COPY_ARG)));
    // A part that is being copied is not mapped meanwhile, whatever the entry says now.
    part(&b, 9, 0, b.pages[5], 0, 4096);
    let xen = a.guest.xen;
    let used = Copied::begin(xen, b.guest.dom.clone(), GrantRef(9), DomId(0), false).unwrap();
    page(&b, 9, 0, b.pages[5]);
    let mut op = [GnttabMapGrantRef { host_addr: a.va(7), flags: RO, ref_: 9, dom: 1, ..Default::default() }];
    run_batch(&a, GNTTABOP_MAP_GRANT_REF, &mut op).unwrap();
    assert_eq!(op[0].status, GNTST_GENERAL_ERROR);
    used.end(xen);
    let m = map_at(&a, a.va(7), RO, 1, 9);
    // A page that is mapped may be copied all of it.
    part(&b, 9, 0, b.pages[5], 0, 8);
    assert_eq!((m.status, fetch(&a, 1, 9, 4088)), (GNTST_OKAY, Ok(0xcff)));
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
    assert_eq!(fetch(&a, 1, 9, 4088), Err(GNTST_GENERAL_ERROR));
    assert!(idle(&b) && status(&b, 9) == 0);
}

#[test]
fn a_grant_of_a_grant_holds_both() {
    let [a, b, c] = three();
    assert!(c.write(0, c.va(5), &0xccccu64.to_le_bytes()));
    let before = counts(&c, c.pages[5]);
    page(&c, 20, 1, c.pages[5]);
    transitive(&b, 9, 0, 0, 2, 20);
    let xen = a.guest.xen;
    let used = Copied::begin(xen, b.guest.dom.clone(), GrantRef(9), DomId(0), true).unwrap();
    assert_eq!((used.pinned.mfn(), used.part), (c.pages[5], Part::WHOLE));
    let both = GTF_READING | GTF_WRITING;
    assert_eq!((status(&b, 9), status(&c, 20)), (both, both));
    assert_eq!(b.guest.dom.grants.table.slot(GrantRef(9)).unwrap().active.grantee, DomId(0));
    assert_eq!(c.guest.dom.grants.table.slot(GrantRef(20)).unwrap().active.grantee, DomId(1));
    assert_eq!(counts(&c, c.pages[5]).0, before.0 + 1);
    // What is in use is the target that was found first.
    transitive(&b, 9, 0, 0, 2, 21);
    assert_eq!(fetch(&a, 2, 20, 0), Err(GNTST_GENERAL_ERROR), "c granted it to b");
    assert_eq!(fetch(&a, 1, 9, 0), Ok(0xcccc));
    used.end(xen);
    assert_eq!((status(&b, 9), status(&c, 20), counts(&c, c.pages[5])), (0, 0, before));
    assert_eq!(fetch(&a, 1, 9, 0), Err(GNTST_GENERAL_ERROR), "the entry of now");
    transitive(&b, 9, 0, 0, 2, 20);
    assert!(a.write(0, a.va(3), &0xaaaau64.to_le_bytes()));
    assert_eq!(put(&a, 1, 9, 8), GNTST_OKAY);
    assert_eq!(c.read(0, c.va(5) + 8), Some(0xaaaa));
    assert_eq!(map_at(&a, a.va(7), RO, 1, 9).status, GNTST_GENERAL_ERROR, "not to be mapped");
    assert!(idle(&b) && idle(&c));
}

#[test]
fn a_grant_of_a_grant_gives_no_more_than_either() {
    let [a, b, c] = three();
    assert!(c.write(0, c.va(5) + 128, &0xccccu64.to_le_bytes()));
    let refused = Err(GNTST_GENERAL_ERROR);
    let nothing = |why: &str| {
        assert_eq!((fetch(&a, 1, 9, 128), put(&a, 1, 9, 128)), (refused, GNTST_GENERAL_ERROR), "{why}");
        assert_eq!((status(&b, 9), status(&c, 20)), (0, 0), "{why}");
    };
    let reads_only = |why: &str| {
        assert_eq!((fetch(&a, 1, 9, 128), put(&a, 1, 9, 128)), (Ok(0xcccc), GNTST_GENERAL_ERROR), "{why}");
        assert_eq!((status(&b, 9), status(&c, 20)), (0, 0), "{why}");
    };
    transitive(&b, 9, 0, GTF_READONLY, 2, 20);
    page(&c, 20, 1, c.pages[5]);
    reads_only("the second is for reading");
    transitive(&b, 9, 0, 0, 2, 20);
    grant2(&c, 20, 1, GTF_PERMIT_ACCESS | GTF_READONLY, 0, c.pages[5].0);
    reads_only("the first is for reading");
    page(&c, 20, 0, c.pages[5]);
    nothing("granted to another than who grants it on");
    part(&c, 20, 1, c.pages[5], 128, 8);
    assert_eq!((fetch(&a, 1, 9, 128), fetch(&a, 1, 9, 0)), (Ok(0xcccc), refused));
    page(&c, 20, 1, b.pages[5]);
    assert_eq!(fetch(&a, 1, 9, 128), Err(GNTST_BAD_PAGE), "not the first one's to give");
    grant2(&c, 20, 1, GTF_INVALID, 0, c.pages[5].0);
    nothing("no grant");
    page(&c, 20, 1, c.pages[5]);
    for (domid, r, why) in
        [(1, 10, "its own"), (7, 20, "of nobody"), (DOMID_SELF, 20, "no number of a domain")]
    {
        page(&b, 10, 1, b.pages[5]);
        transitive(&b, 9, 0, 0, domid, r);
        nothing(why);
    }
    transitive(&b, 9, 0, 0, 2, 5000);
    assert_eq!(fetch(&a, 1, 9, 128), Err(GNTST_BAD_GNTREF));
    // A grant of a grant of a grant; and two that go round in a circle.
    transitive(&c, 20, 1, 0, 0, 3);
    transitive(&b, 9, 0, 0, 2, 20);
    nothing("one too many");
    transitive(&c, 20, 1, 0, 1, 9);
    nothing("a circle");
    // Back to the one it came from.
    grow(a.guest.xen, &a.guest.dom, 1).unwrap();
    grant(&a, 12, 1, a.pages[6], GTF_PERMIT_ACCESS);
    assert!(a.write(0, a.va(6), &5u64.to_le_bytes()));
    transitive(&b, 9, 0, 0, 0, 12);
    assert_eq!(fetch(&a, 1, 9, 0), Ok(5));
    transitive(&b, 9, 0, 0, 2, 20);
    page(&c, 20, 1, c.pages[5]);
    c.guest.dom.set_dying(Dying::Dying);
    nothing("the first one is dying");
    assert!(idle(&a) && idle(&b) && idle(&c));
}

#[test]
fn grants_of_grants_can_be_switched_off() {
    let w = World::with_grants(2048, 4, Limits { transitive: false, ..Limits::default() });
    let [a, b, c] = three_in(w);
    page(&c, 20, 1, c.pages[5]);
    transitive(&b, 9, 0, 0, 2, 20);
    assert_eq!(fetch(&a, 1, 9, 0), Err(GNTST_GENERAL_ERROR));
    assert!(idle(&b) && idle(&c) && status(&b, 9) == 0);
}

#[test]
fn swapped_entries_take_all_of_themselves_along() {
    let [a, b, _] = three();
    grant2(&b, 9, 0, GTF_PERMIT_ACCESS, 7, b.pages[5].0);
    grant2(&b, 12, 3, GTF_TRANSITIVE, 8, 1 << 40);
    let status_frame = b.guest.dom.grants.table.status_frame(0).unwrap();
    b.guest.xen.m.store(status_frame, 16, 0x1111_2222_3333_4444);
    b.guest.xen.m.store(status_frame, 24, 0x5555_6666_7777_8888);
    let (nine, twelve) = (words(&b, 9), words(&b, 12));
    let swap = |ref_a, ref_b| {
        let mut op = [GnttabSwapGrantRef { ref_a, ref_b, ..Default::default() }];
        batch(&b, GNTTABOP_SWAP_GRANT_REF, &mut op).unwrap();
        op[0].status
    };
    assert_eq!((swap(12, 9), swap(9, 256), swap(256, 256)), (0, GNTST_BAD_GNTREF, GNTST_BAD_GNTREF));
    assert_eq!((words(&b, 9), words(&b, 12)), (twelve, nine));
    assert_eq!((status(&b, 9), status(&b, 12)), (0x8888, 0x3333));
    assert_eq!((status(&b, 8), status(&b, 13)), (0x4444, 0x7777), "the neighbours");
    let m = map_at(&a, a.va(7), RO, 1, 12);
    assert_eq!((swap(9, 12), swap(12, 12)), (GNTST_EAGAIN, GNTST_OKAY));
    assert_eq!(unmap_at(&a, a.va(7), m.handle), GNTST_OKAY);
}

#[test]
fn a_transferred_frame_is_named_in_the_second_word() {
    let [a, b, _] = three();
    a.guest.dom.memory.set_max_pages(1000);
    b.guest.dom.memory.set_max_pages(b.guest.xen.frames.owned(b.guest.dom.id) + 1);
    let transfer = |mfn: Mfn, ref_| {
        let mut op = [GnttabTransfer { mfn: mfn.0, domid: 1, ref_, status: 77, ..Default::default() }];
        batch(&a, GNTTABOP_TRANSFER, &mut op).unwrap();
        op[0].status
    };
    let [mfn, more] = [a.guest.frame(), a.guest.frame()];
    grant2(&b, 9, 2, GTF_ACCEPT_TRANSFER, 0, 0x1_2345_6789);
    assert_eq!(transfer(mfn, 9), GNTST_GENERAL_ERROR, "from another");
    grant2(&b, 9, 0, GTF_ACCEPT_TRANSFER, 0, 0x1_2345_6789);
    assert_eq!(transfer(mfn, 9), GNTST_OKAY);
    let done = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED;
    assert_eq!((words(&b, 9), status(&b, 9)), ([done.into(), mfn.0], 0));
    assert_eq!(a.guest.xen.m.get_m2p(mfn), 0x1_2345_6789);
    assert!(b.guest.xen.frames.get(mfn, DomId(1)).is_some());
    // The receiver is full.
    grant2(&b, 10, 0, GTF_ACCEPT_TRANSFER, 0, 7);
    assert_eq!(transfer(more, 10), GNTST_GENERAL_ERROR);
    assert_eq!(words(&b, 10), [u64::from(GTF_ACCEPT_TRANSFER), 7]);
    assert!(a.guest.xen.frames.get(more, DomId(0)).is_some());
}

#[test]
fn tools_get_the_frames_of_status_words() {
    let (a, b) = pair();
    let acquire = |id, frame, nr_frames, list: u64| {
        let op = MemAcquireResource {
            domid: 1,
            type_: XENMEM_RESOURCE_GRANT_TABLE,
            id,
            nr_frames,
            frame,
            frame_list: GuestHandle::new(list),
            ..Default::default()
        };
        use zerocopy::{FromBytes, IntoBytes};
        assert!(a.write(0, a.va(0), op.as_bytes()));
        let args = [u64::from(XENMEM_ACQUIRE_RESOURCE), a.va(0), 0, 0, 0, 0];
        let r = a.hypercall(0, HYPERVISOR_MEMORY_OP, args);
        let mut bytes = [0; size_of::<MemAcquireResource>()];
        crate::machine::GuestVa::copy_from_guest(&a.guest.xen.m, &mut bytes, a.va(0)).unwrap();
        r.map(|_| MemAcquireResource::read_from_bytes(&bytes).unwrap().nr_frames)
    };
    let (shared, status) = (XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED, XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS);
    assert_eq!((acquire(shared, 0, 0, 0), acquire(status, 0, 0, 0)), (Ok(8), Ok(1)));
    assert_eq!(acquire(status, 0, 1, a.va(2)), Err(Errno::EINVAL), "version 1 has none");
    assert_eq!(set_version(&b, 2), (Ok(0), 2));
    assert_eq!(acquire(status, 0, 1, a.va(2)), Ok(1));
    let mfn = b.guest.dom.grants.table.status_frame(0).unwrap().mfn();
    assert_eq!(a.read(0, a.va(2)), Some(mfn.0));
    assert_eq!(acquire(status, 1, 1, a.va(2)), Err(Errno::EINVAL));
    assert_eq!(acquire(shared, 7, 1, a.va(2)), Ok(1), "the table grows to it");
    assert_eq!(b.guest.dom.grants.sizes(), (8, 8));
    // While the tool maps it the guest stays in version 2, and as a zombie it stays until the tool is done.
    assert!(a.mmu_update(0, &[(a.pte(20), mfn.0 << 12 | crate::testing::kernel::RW)], 1).0.is_ok());
    assert_eq!(set_version(&b, 1), (Err(Errno::EBUSY), 2));
    a.set_pte(0, a.pte(20), 0).unwrap();
    assert_eq!(set_version(&b, 1), (Ok(0), 1));
}

/// A granter that takes its grant away and then sees no marks knows that nobody has the frame.
#[test]
fn no_marks_mean_no_use() {
    let [a, b, _] = three();
    let frame = b.pages[5];
    let base = counts(&b, frame);
    let (stop, used) = (AtomicBool::new(false), AtomicU32::new(0));
    let xen = a.guest.xen;
    std::thread::scope(|s| {
        s.spawn(|| {
            crate::testing::machine::set_cpu(1);
            while !stop.load(SeqCst) {
                for write in [false, true] {
                    std::thread::yield_now();
                    if let Ok(c) = Copied::begin(xen, b.guest.dom.clone(), GrantRef(9), DomId(0), write) {
                        used.fetch_add(1, SeqCst);
                        c.end(xen);
                    }
                }
            }
        });
        crate::testing::machine::set_cpu(0);
        let mut rng = Rng(7);
        let rounds = (0..).take_while(|&n| n < 5000 || used.load(SeqCst) == 0);
        let failed = { rounds }.find(|n| {
            page(&b, 9, 0, frame);
            for _ in 0..rng.below(40) {
                core::hint::spin_loop();
            }
            let flags = [GTF_INVALID, GTF_ACCEPT_TRANSFER][n % 2];
            grant2(&b, 9, 0, flags, 0, frame.0);
            status(&b, 9) == 0 && counts(&b, frame) != base
        });
        stop.store(true, SeqCst);
        assert_eq!(failed, None, "in use without a mark");
    });
    assert!(idle(&b) && status(&b, 9) == 0);
}

/// One CPU changes the version to and fro while others use reserved entries and others.
#[test]
fn a_change_of_version_waits_for_those_at_entries() {
    let (a, b) = pair();
    let xen = a.guest.xen;
    let frames: Vec<Mfn> = b.pages[8..16].to_vec();
    let before: Vec<_> = frames.iter().map(|&f| counts(&b, f)).collect();
    for r in 0..8 {
        grant(&b, r, 0, frames[r as usize], GTF_PERMIT_ACCESS);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let users: Vec<_> = (1..3)
            .map(|cpu| {
                let (b, stop, frames) = (&b, &stop, &frames);
                s.spawn(move || {
                    crate::testing::machine::set_cpu(cpu);
                    let mut rng = Rng(u64::from(cpu) * 77);
                    let mut held: Vec<Copied> = Vec::new();
                    let mut used = 0;
                    while !stop.load(SeqCst) {
                        let r = rng.below(12);
                        let write = rng.below(2) == 0;
                        if let Ok(c) = Copied::begin(xen, b.guest.dom.clone(), GrantRef(r), DomId(0), write) {
                            assert!(r < 8 && c.pinned.mfn() == frames[r as usize], "{r}");
                            used += 1;
                            held.push(c);
                        }
                        if held.len() > 3 || rng.below(3) == 0 {
                            held.drain(..).for_each(|c| c.end(xen));
                        }
                    }
                    held.drain(..).for_each(|c| c.end(xen));
                    used
                })
            })
            .collect();
        let args = [u64::from(GNTTABOP_SET_VERSION), b.va(0), 1, 0, 0, 0];
        // Not the audit as well, which finds references that others hold for a moment.
        let failed = (0..400u32).find(|n| {
            let written = b.write(0, b.va(0), &(2 - n % 2).to_le_bytes());
            !written || b.hypercall(0, HYPERVISOR_GRANT_TABLE_OP, args) != Ok(0)
        });
        stop.store(true, SeqCst);
        assert_eq!(failed, None, "only reserved entries are ever in use");
        // On a busy machine one of them may not have had its turn.
        users.into_iter().for_each(|u| _ = u.join().unwrap());
    });
    assert!(idle(&b));
    for r in 0..8 {
        assert_eq!(word(&b, r), u64::from(GTF_PERMIT_ACCESS) | frames[r as usize].0 << 32, "{r}");
    }
    let after: Vec<_> = frames.iter().map(|&f| counts(&b, f)).collect();
    assert_eq!(after, before);
    assert!(matches!(b.guest.dom.grants.table.slot(GrantRef(3)).unwrap().active.target(), Target::Page(_)));
}
