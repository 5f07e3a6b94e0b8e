//! `grants2`: version 2 of the grant table, dom0 with itself: changing versions, status words, pages in part,
//! transitive grants. It ends in version 1.

use abi::GuestHandle;
use abi::grant_table::*;
use abi::memory::*;
use abi::xen::*;

use super::grants::{copy, end, grant, map, unmap, unmap_bus};
use crate::hypercall::{addr, call, op, op_array, update_va_mapping};
use crate::mm::{self, DATA, Page, entry, m2p, read, write};
use crate::print::ok;
use crate::say;

/// Version 2's two frames and the status frame, mapped here.
struct Table {
    shared: &'static Page,
    second: &'static Page,
    status: &'static Page,
}

impl Table {
    fn word(&self, gref: u32, half: u64) -> u64 {
        let page = if gref < 256 { self.shared } else { self.second };
        page.va() + 16 * u64::from(gref % 256) + 8 * half
    }

    /// `arm`: the four bytes after the header.
    fn set(&self, gref: u32, flags: u16, dom: u16, arm: u32, frame: u64) {
        write(self.word(gref, 1), frame);
        write(self.word(gref, 0), u64::from(flags) | u64::from(dom) << 16 | u64::from(arm) << 32);
    }

    fn sub_page(&self, gref: u32, flags: u16, offset: u16, length: u16, frame: u64) {
        let arm = u32::from(offset) | u32::from(length) << 16;
        self.set(gref, GTF_PERMIT_ACCESS | GTF_SUB_PAGE | flags, 0, arm, frame);
    }

    fn header(&self, gref: u32) -> u64 {
        read(self.word(gref, 0))
    }

    fn frame(&self, gref: u32) -> u64 {
        read(self.word(gref, 1))
    }

    fn status(&self, gref: u32) -> u64 {
        read(self.status.va() + u64::from(gref / 4) * 8) >> (gref % 4 * 16) & 0xffff
    }
}

/// Which frame an entry of version 1 names.
fn whose(word: u64, mfn: u64) -> &'static str {
    match word >> 32 {
        frame if frame == mfn => "same",
        0 => "none",
        _ => "other",
    }
}

fn set_version(version: u32) -> (i64, u32) {
    let mut arg = GnttabSetVersion { version };
    (grant(GNTTABOP_SET_VERSION, &mut arg), arg.version)
}

fn setup(nr_frames: u32, frames: &mut [u64]) -> (i64, i16) {
    let frame_list = GuestHandle::new(frames.as_mut_ptr() as u64);
    let mut arg = GnttabSetupTable { dom: DOMID_SELF, nr_frames, frame_list, ..Default::default() };
    (grant(GNTTABOP_SETUP_TABLE, &mut arg), arg.status)
}

fn status_frames(dom: u16, nr_frames: u32, list: u64) -> (i64, i16) {
    let frame_list = GuestHandle::new(list);
    let mut arg = GnttabGetStatusFrames { nr_frames, dom, frame_list, ..Default::default() };
    (grant(GNTTABOP_GET_STATUS_FRAMES, &mut arg), arg.status)
}

fn swap(ref_a: u32, ref_b: u32) -> i16 {
    let mut arg = GnttabSwapGrantRef { ref_a, ref_b, ..Default::default() };
    grant(GNTTABOP_SWAP_GRANT_REF, &mut arg);
    arg.status
}

fn show(page: &Page, frames: &[u64]) -> i64 {
    update_va_mapping(page.va(), frames[0] << 12 | DATA, UVMF_INVLPG)
}

const HOST: u32 = GNTMAP_HOST_MAP;
const RO: u32 = GNTMAP_HOST_MAP | GNTMAP_READONLY;
const REF: u32 = 20;
const USED: u16 = GTF_READING | GTF_WRITING;

pub fn run() {
    let table = Table { shared: Page::new(), second: Page::new(), status: Page::new() };
    let mut frames = [0u64; 16];
    let answer = setup(2, &mut frames);
    if answer != (0, 0) {
        say!("grants2.setup", "{answer:?}");
        return;
    }
    show(table.shared, &frames);
    show(table.second, &frames[1..]);
    let [shared, window] = core::array::from_fn(|_| Page::new());
    window.map(0);
    // What the tools put there is put back in the end.
    let kept: [u64; 8] = core::array::from_fn(|i| table.shared.get(i));
    changed_v1(&table, shared, window);
    to_version_2(&table, shared, window);
    let mut list = [0u64; 4];
    listing(&mut list);
    show(table.status, &list);
    reserved(&table, shared, window);
    mapping(&table, shared, window);
    in_use(&table, shared, window);
    sub_pages(&table, shared, window);
    transitive(&table, shared, window);
    limits(&table, shared, window);
    swapping(&table, shared, window);
    transfers(&table);
    to_version_1(&table, shared, window);
    for (i, word) in kept.iter().enumerate() {
        table.shared.set(i, *word);
    }
    window.map(DATA);
}

fn v1_word(flags: u16, dom: u16, frame: u64) -> u64 {
    u64::from(flags) | u64::from(dom) << 16 | frame << 32
}

/// The granter changes an entry of version 1 while it is mapped for reading.
fn changed_v1(table: &Table, shared: &Page, window: &Page) {
    let mfn = shared.mfn();
    let entry = REF as usize;
    table.shared.set(entry, v1_word(GTF_PERMIT_ACCESS, 0, mfn));
    let mapped = map(REF, RO, window.va());
    let other = Page::new();
    other.map(0);
    for (name, flags, dom, frame) in [
        ("invalid", GTF_INVALID, 0, mfn),
        ("read-only", GTF_PERMIT_ACCESS | GTF_READONLY, 0, mfn),
        ("transitive", GTF_TRANSITIVE, 0, mfn),
        ("domain", GTF_PERMIT_ACCESS, 5, mfn),
        ("frame", GTF_PERMIT_ACCESS, 0, window.mfn()),
    ] {
        table.shared.set(entry, v1_word(flags, dom, frame));
        for (how, flags) in [("ro", RO), ("rw", HOST)] {
            let again = map(REF, flags, other.va());
            say!(
                format_args!("grants2.v1-changed-{name}-{how}"),
                "{} same={} {:#x}",
                again.status,
                again.status != 0 || again.dev_bus_addr == shared.maddr(),
                table.shared.get(entry) & 0xffff_ffff
            );
            if again.status == 0 {
                unmap(other.va(), again.handle);
            }
        }
    }
    let status = unmap(window.va(), mapped.handle);
    say!("grants2.v1-changed-end", "{status} {:#x}", table.shared.get(entry) & 0xffff_ffff);
    table.shared.set(entry, 0);
    other.map(DATA);
}

/// An entry past the reserved ones stops the change while it is used; reserved ones go along.
fn to_version_2(table: &Table, shared: &Page, window: &Page) {
    let mfn = shared.mfn();
    let set = |gref: usize, flags: u16, dom: u16| table.shared.set(gref, v1_word(flags, dom, mfn));
    for (gref, flags, dom) in [
        (0, GTF_PERMIT_ACCESS, 0),
        (1, GTF_PERMIT_ACCESS | GTF_READONLY, 5),
        (2, GTF_ACCEPT_TRANSFER, 0),
        (3, GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 0),
        (4, GTF_INVALID | 0x80, 6),
        (5, GTF_TRANSITIVE, 7),
        (6, GTF_PERMIT_ACCESS | USED, 0),
        (7, GTF_PERMIT_ACCESS | 0xfe00, 0),
        (8, GTF_PERMIT_ACCESS, 0),
        (REF as usize, GTF_PERMIT_ACCESS, 0),
    ] {
        set(gref, flags, dom);
    }
    let eight = map(8, HOST, window.va());
    say!("grants2.set-busy", "{} {:?}", eight.status, set_version(2));
    unmap(window.va(), eight.handle);
    let device = map(REF, GNTMAP_DEVICE_MAP, 0);
    say!("grants2.set-busy-device", "{} {:?}", device.status, set_version(2));
    say!("grants2.set-busy-same", "{:?}", set_version(1));
    unmap_bus(0, device.dev_bus_addr, device.handle);
    let mapped = map(0, HOST, window.va());
    say!("grants2.set-reserved-mapped", "{} {:?}", mapped.status, set_version(2));
    say!("grants2.set-again", "{:?}", set_version(2));
    say!("grants2.set-odd", "{:?} {:?}", set_version(3), set_version(0));
    let mut version = GnttabGetVersion { dom: DOMID_SELF, ..Default::default() };
    say!("grants2.get", "{} {}", grant(GNTTABOP_GET_VERSION, &mut version), version.version);
    for gref in 0..8 {
        say!(
            format_args!("grants2.reserved-{gref}"),
            "{:#x} frame={}",
            table.header(gref),
            if table.frame(gref) == mfn {
                "same"
            } else if table.frame(gref) == 0 {
                "none"
            } else {
                "other"
            }
        );
    }
    let clear = (8..512).all(|gref| table.header(gref) == 0 && table.frame(gref) == 0);
    say!("grants2.others-cleared", "{clear}");
    window.set(3, 0x3333);
    say!("grants2.still-mapped", "{:#x}", shared.get(3));
    KEPT.store(mapped.handle, core::sync::atomic::Ordering::Relaxed);
}

/// Handle of the mapping of reference 0 that lives through the change.
static KEPT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

fn listing(list: &mut [u64; 4]) {
    let at = addr(list);
    for n in [0, 2, 9, !0] {
        say!(format_args!("grants2.status-frames-{n}"), "{:?}", status_frames(DOMID_SELF, n, at));
    }
    say!("grants2.status-frames-absent", "{:?}", status_frames(500, 1, at));
    say!("grants2.status-frames-nowhere", "{:?}", status_frames(DOMID_SELF, 1, 0x1000_0000_0000));
    say!("grants2.status-frames", "{:?}", status_frames(DOMID_SELF, 1, at));
    say!("grants2.status-frame", "{}", ok(list[0] != 0 && list[1] == 0));
}

fn reserved(table: &Table, shared: &Page, window: &Page) {
    let status: [u64; 8] = core::array::from_fn(|gref| table.status(gref as u32));
    say!("grants2.status-reserved", "{status:x?}");
    let clear = (8..2048).all(|gref| table.status(gref) == 0);
    say!("grants2.status-cleared", "{clear}");
    let again = map(0, RO, window.va() + 4096);
    say!("grants2.reserved-again", "{} {:#x}", again.status, table.status(0));
    if again.status == 0 {
        unmap(window.va() + 4096, again.handle);
    }
    let handle = KEPT.load(core::sync::atomic::Ordering::Relaxed);
    say!("grants2.reserved-unmap", "{} {:#x}", unmap(window.va(), handle), table.status(0));
    say!("grants2.reserved-header", "{:#x} {:#x}", table.header(0), shared.get(3));
}

fn mapping(table: &Table, shared: &Page, window: &Page) {
    let mfn = shared.mfn();
    let va = window.va();
    shared.set(1, 0x1111);
    table.set(REF, GTF_PERMIT_ACCESS, 0, 0, mfn);
    let mapped = map(REF, HOST, va);
    say!(
        "grants2.map",
        "{} bus={} status={:#x} header={:#x} sees={:#x} entry={:#x}",
        mapped.status,
        ok(mapped.dev_bus_addr == shared.maddr()),
        table.status(REF),
        table.header(REF),
        if mapped.status == 0 { window.get(1) } else { 0 },
        entry(va, 1) & !mm::ADDR
    );
    say!("grants2.neighbours", "{:#x} {:#x}", table.status(REF - 1), table.status(REF + 1));
    say!("grants2.unmap", "{} status={:#x}", unmap(va, mapped.handle), table.status(REF));
    let read_only = map(REF, RO, va);
    say!("grants2.map-read-only", "{} status={:#x}", read_only.status, table.status(REF));
    say!("grants2.unmap-read-only", "{} status={:#x}", unmap(va, read_only.handle), table.status(REF));
    table.set(REF, GTF_PERMIT_ACCESS | GTF_READONLY, 0, 0, mfn);
    say!("grants2.map-read-only-ref", "{} status={:#x}", map(REF, HOST, va).status, table.status(REF));
    for (name, flags, dom, arm, frame) in [
        ("junk-between", GTF_PERMIT_ACCESS, 0, !0, mfn),
        ("odd-flags", GTF_PERMIT_ACCESS | 0xfe00, 0, 0, mfn),
        ("marks-in-header", GTF_PERMIT_ACCESS | USED, 0, 0, mfn),
        ("invalid", GTF_INVALID, 0, 0, mfn),
        ("anothers", GTF_PERMIT_ACCESS, 5, 0, mfn),
        ("transfer", GTF_ACCEPT_TRANSFER, 0, 0, mfn),
        ("transitive", GTF_TRANSITIVE, 0, 0, REF.into()),
        ("sub-page", GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 0, 64 << 16, mfn),
        ("whole-sub-page", GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 0, 4096 << 16, mfn),
        ("no-frame", GTF_PERMIT_ACCESS, 0, 0, 1 << 38),
        ("huge-frame", GTF_PERMIT_ACCESS, 0, 0, 1 << 60 | mfn),
        ("frame-twice", GTF_PERMIT_ACCESS, 0, 0, mfn << 32 | mfn),
    ] {
        table.set(21, flags, dom, arm, frame);
        let mapped = map(21, HOST, va);
        say!(
            format_args!("grants2.map-{name}"),
            "{} status={:#x} header={:#x}",
            mapped.status,
            table.status(21),
            table.header(21)
        );
        if mapped.status == 0 {
            unmap(va, mapped.handle);
        }
        say!(format_args!("grants2.after-{name}"), "status={:#x}", table.status(21));
    }
    // Words the guest wrote into the status array itself.
    table.set(22, GTF_PERMIT_ACCESS, 0, 0, mfn);
    let word = table.status.va() + 8 * (22 / 4);
    write(word, !0);
    let mapped = map(22, RO, va);
    say!("grants2.status-scribbled", "{} {:#x}", mapped.status, read(word));
    say!("grants2.status-scribbled-after", "{} {:#x}", unmap(va, mapped.handle), read(word));
    write(word, 0);
    // The granter takes the entry away, or changes it, while it is mapped.
    table.set(23, GTF_PERMIT_ACCESS, 0, 0, mfn);
    let mapped = map(23, RO, va);
    let other = Page::new();
    other.map(0);
    for (name, flags, dom, frame) in [
        ("invalid", GTF_INVALID, 0, mfn),
        ("read-only", GTF_PERMIT_ACCESS | GTF_READONLY, 0, mfn),
        ("sub-page", GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 0, mfn),
        ("transitive", GTF_TRANSITIVE, 0, 1),
        ("frame", GTF_PERMIT_ACCESS, 0, window.mfn()),
        ("domain", GTF_PERMIT_ACCESS, 5, mfn),
    ] {
        table.set(23, flags, dom, 0, frame);
        for (how, flags) in [("ro", RO), ("rw", HOST)] {
            let again = map(23, flags, other.va());
            say!(
                format_args!("grants2.changed-{name}-{how}"),
                "{} same={} status={:#x}",
                again.status,
                again.status != 0 || again.dev_bus_addr == shared.maddr(),
                table.status(23)
            );
            if again.status == 0 {
                unmap(other.va(), again.handle);
            }
        }
    }
    say!("grants2.changed-end", "{} status={:#x}", unmap(va, mapped.handle), table.status(23));
    table.set(23, 0, 0, 0, 0);
    other.map(DATA);
}

/// What stops a change back to version 1 and what does not.
fn in_use(table: &Table, shared: &Page, window: &Page) {
    let mfn = shared.mfn();
    for gref in 0..8 {
        table.set(gref, 0, 0, 0, 0);
    }
    table.set(REF, GTF_PERMIT_ACCESS, 0, 0, mfn);
    let mapped = map(REF, HOST, window.va());
    say!("grants2.back-busy", "{} {:?}", mapped.status, set_version(1));
    say!("grants2.back-busy-same", "{:?}", set_version(2));
    unmap(window.va(), mapped.handle);
    say!("grants2.back-status-mapped", "{:?}", set_version(1));
    table.set(7, GTF_TRANSITIVE, 0, 0, 50);
    say!("grants2.back-status-mapped-transitive", "{:?}", set_version(1));
    table.set(7, 0, 0, 0, 0);
}

fn sub_pages(table: &Table, shared: &Page, window: &Page) {
    let mfn = shared.mfn();
    let own = Page::new();
    for i in 0..512 {
        shared.set(i, 0xa000 + i as u64);
    }
    let (from_ref, to_ref) = (GNTCOPY_SOURCE_GREF, GNTCOPY_DEST_GREF);
    let from = |gref: u32, offset, len| copy(end(gref.into(), offset), end(own.mfn(), 0), len, from_ref);
    let to = |gref: u32, offset, len| copy(end(own.mfn(), 0), end(gref.into(), offset), len, to_ref);
    table.set(40, GTF_PERMIT_ACCESS, 0, !0, mfn);
    say!("grants2.copy", "{} {:#x} status={:#x}", from(40, 80, 8), own.get(0), table.status(40));
    say!("grants2.copy-to", "{} {:#x}", to(40, 88, 8), shared.get(11));
    table.sub_page(41, 0, 128, 64, mfn);
    for (name, offset, len) in [
        ("whole", 128, 64),
        ("start", 128, 8),
        ("end", 184, 8),
        ("nothing", 128, 0),
        ("nothing-at-end", 192, 0),
        ("nothing-outside", 0, 0),
        ("nothing-beyond", 4000, 0),
        ("before", 120, 8),
        ("across-start", 124, 8),
        ("across-end", 188, 8),
        ("after", 192, 8),
        ("relative", 0, 8),
        ("one-more", 128, 65),
        ("page", 0, 4096),
        ("crosses", 4092, 8),
    ] {
        own.set(0, 0);
        let status = from(41, offset, len);
        say!(format_args!("grants2.sub-from-{name}"), "{status} {:#x}", own.get(0));
        own.set(0, 0xb0b0);
        say!(format_args!("grants2.sub-to-{name}"), "{} {:#x}", to(41, offset, len), table.status(41));
    }
    say!("grants2.sub-whole-wrote", "{:#x} {:#x} {:#x}", shared.get(15), shared.get(16), shared.get(24));
    table.sub_page(42, GTF_READONLY, 128, 64, mfn);
    say!("grants2.sub-read-only", "{} {}", from(42, 128, 8), to(42, 128, 8));
    for (name, offset, length) in
        [("empty", 128, 0), ("past-page", 4000, 200), ("huge", 0xffff, 0xffff), ("huge-length", 0, 0xffff)]
    {
        table.sub_page(43, 0, offset, length, mfn);
        say!(
            format_args!("grants2.sub-{name}"),
            "{} {} {} {}",
            from(43, 0, 8),
            from(43, 128, 8),
            from(43, 4088, 8),
            from(43, 128, 0)
        );
    }
    // Two grants of parts of one page, in one batch with others.
    table.sub_page(44, 0, 0, 64, mfn);
    table.sub_page(45, 0, 64, 64, mfn);
    let one = |gref: u64, offset| GnttabCopy {
        source: end(gref, offset),
        dest: end(own.mfn(), 512),
        len: 8,
        flags: from_ref,
        ..Default::default()
    };
    let mut list = [one(44, 0), one(44, 64), one(45, 64), one(45, 0), one(40, 0), one(44, 56)];
    let answer = op_array(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_COPY, &mut list);
    say!("grants2.sub-batch", "{answer} {:?}", list.each_ref().map(|c| c.status));
    let mut both = GnttabCopy {
        source: end(44, 0),
        dest: end(45, 64),
        len: 64,
        flags: from_ref | to_ref,
        ..Default::default()
    };
    say!("grants2.sub-to-sub", "{} {}", grant(GNTTABOP_COPY, &mut both), both.status);
    // A page in part while it is mapped whole: the mapping says what may be used.
    table.set(46, GTF_PERMIT_ACCESS, 0, 0, mfn);
    let mapped = map(46, HOST, window.va());
    table.sub_page(46, 0, 128, 64, mfn);
    say!("grants2.sub-while-mapped", "{} {} {}", mapped.status, from(46, 128, 8), from(46, 0, 8));
    unmap(window.va(), mapped.handle);
    say!("grants2.sub-after-mapped", "{} {}", from(46, 128, 8), from(46, 0, 8));
    let left: u64 = (40..47).map(|gref| table.status(gref)).sum();
    say!("grants2.sub-left", "{left:#x}");
}

fn transitive(table: &Table, shared: &Page, window: &Page) {
    let own = Page::new();
    table.set(50, GTF_PERMIT_ACCESS, 0, 0, shared.mfn());
    let from = |gref: u32, len| copy(end(gref.into(), 0), end(own.mfn(), 0), len, GNTCOPY_SOURCE_GREF);
    let to = |gref: u32| copy(end(own.mfn(), 0), end(gref.into(), 0), 8, GNTCOPY_DEST_GREF);
    for (name, flags, dom, via, gref) in [
        ("own", 0, 0, 0, 50),
        ("self", 0, 0, DOMID_SELF, 50),
        ("absent", 0, 0, 500, 50),
        ("anothers", 0, 5, 0, 50),
        ("huge-ref", 0, 0, 500, !0),
        ("sub-page", GTF_SUB_PAGE, 0, 0, 50),
    ] {
        table.set(51, GTF_TRANSITIVE | flags, dom, via.into(), gref);
        say!(
            format_args!("grants2.transitive-{name}"),
            "{} {} {} status={:#x} {:#x}",
            from(51, 8),
            to(51),
            from(51, 0),
            table.status(51),
            table.status(50)
        );
        say!(format_args!("grants2.transitive-{name}-map"), "{}", map(51, RO, window.va()).status);
    }
}

fn limits(table: &Table, shared: &Page, window: &Page) {
    let va = window.va();
    for gref in [255, 256, 511] {
        table.set(gref, GTF_PERMIT_ACCESS, 0, 0, shared.mfn());
        let mapped = map(gref, HOST, va);
        say!(format_args!("grants2.ref-{gref}"), "{} status={:#x}", mapped.status, table.status(gref));
        if mapped.status == 0 {
            unmap(va, mapped.handle);
        }
    }
    for gref in [512, 1024, !0] {
        say!(format_args!("grants2.ref-{gref}"), "{}", map(gref, HOST, va).status);
    }
    let copied = copy(end(512, 0), end(shared.mfn(), 0), 8, GNTCOPY_SOURCE_GREF);
    say!("grants2.copy-ref-512", "{copied}");
    let mut frames = [0u64; 16];
    let mut list = [0u64; 4];
    say!("grants2.grow-8", "{:?}", setup(8, &mut frames));
    say!("grants2.status-frames-after-8", "{:?}", status_frames(DOMID_SELF, 2, addr(&mut list)));
    say!("grants2.grow-9", "{:?}", setup(9, &mut frames));
    say!("grants2.status-frames-after-9", "{:?}", status_frames(DOMID_SELF, 2, addr(&mut list)));
    say!("grants2.status-frames-distinct", "{}", ok(list[0] != list[1] && list[1] != 0 && list[2] == 0));
    let mut query = GnttabQuerySize { dom: DOMID_SELF, ..Default::default() };
    say!("grants2.query", "{} {} {}", grant(GNTTABOP_QUERY_SIZE, &mut query), query.status, query.nr_frames);
    // An entry of the last frame has its status in the second status frame.
    let [far, status] = core::array::from_fn(|_| Page::new());
    show(far, &frames[8..]);
    show(status, &list[1..]);
    far.set(11, shared.mfn());
    far.set(10, GTF_PERMIT_ACCESS.into());
    let mapped = map(8 * 256 + 5, HOST, va);
    say!("grants2.ref-far", "{} {:#x} {:#x}", mapped.status, status.get(1), status.get(0));
    if mapped.status == 0 {
        unmap(va, mapped.handle);
    }
    say!("grants2.ref-far-after", "{:#x}", status.get(1));
    for (name, idx) in [("entries", 0), ("status", XENMAPIDX_GRANT_TABLE_STATUS)] {
        let space = XENMAPSPACE_GRANT_TABLE;
        let mut arg = AddToPhysmap { domid: DOMID_SELF, size: 0, space, idx, gpfn: 0x10_0000 };
        let answer = op(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut arg);
        say!(format_args!("grants2.add-{name}"), "{answer}");
    }
    far.map(DATA);
    status.map(DATA);
}

fn swapping(table: &Table, shared: &Page, window: &Page) {
    let mfn = shared.mfn();
    table.set(60, GTF_PERMIT_ACCESS, 0, 7, mfn);
    table.set(61, GTF_PERMIT_ACCESS | GTF_READONLY, 5, 9, 0x123);
    let status = swap(60, 61);
    say!(
        "grants2.swap",
        "{status} {:#x} {:#x} {} {}",
        table.header(60),
        table.header(61),
        ok(table.frame(60) == 0x123),
        ok(table.frame(61) == mfn)
    );
    let mapped = map(61, RO, window.va());
    say!("grants2.swap-mapped", "{} {} {}", mapped.status, swap(60, 61), swap(61, 60));
    say!("grants2.swap-mapped-self", "{}", swap(61, 61));
    unmap(window.va(), mapped.handle);
    say!("grants2.swap-self", "{}", swap(61, 61));
    say!("grants2.swap-beyond", "{} {}", swap(61, 9 * 256), swap(9 * 256, 61));
    say!("grants2.swap-reserved", "{} {}", swap(0, 61), swap(0, 61));
    let word = table.status.va() + 8 * (60 / 4);
    write(word, 0x18);
    let status = swap(60, 61);
    say!("grants2.swap-status", "{status} {:#x}", read(word));
    write(word, 0);
    let mut flush =
        GnttabCacheFlush { a: 61, offset: 0, length: 64, op: GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_SOURCE_GREF };
    say!("grants2.cache-flush-ref", "{}", grant(GNTTABOP_CACHE_FLUSH, &mut flush));
}

/// A frame of its own comes to it as another's would.
fn transfers(table: &Table) {
    let page = Page::new();
    let (mfn, pfn) = (page.mfn(), page.pfn());
    page.set(1, 0x7777);
    page.map(0);
    let transfer = |mfn| {
        let mut arg = GnttabTransfer { mfn, domid: 0, ref_: 70, ..Default::default() };
        (grant(GNTTABOP_TRANSFER, &mut arg), arg.status)
    };
    table.set(70, GTF_ACCEPT_TRANSFER, 0, 0, pfn);
    say!("grants2.transfer-hole", "{:?}", transfer(crate::HOLE));
    let answer = transfer(mfn);
    say!(
        "grants2.transfer",
        "{answer:?} {:#x} frame={} m2p={} status={:#x}",
        table.header(70),
        ok(table.frame(70) == mfn),
        ok(m2p(mfn) == pfn),
        table.status(70)
    );
    say!(
        "grants2.transfer-maps",
        "{} {:#x}",
        page.map(DATA),
        if page.map(DATA) == 0 { page.get(1) } else { 0 }
    );
}

fn to_version_1(table: &Table, shared: &Page, window: &Page) {
    let mfn = shared.mfn();
    table.status.map(DATA);
    for gref in 0..8 {
        table.set(gref, 0, 0, 0, 0);
    }
    for (name, flags, frame) in
        [("big-frame", GTF_PERMIT_ACCESS, 1u64 << 32 | mfn), ("transitive", GTF_TRANSITIVE, 50)]
    {
        table.set(7, flags, 0, 0, frame);
        let answer = set_version(1);
        say!(format_args!("grants2.back-{name}"), "{answer:?}");
        if answer.0 == 0 {
            let word = table.shared.get(7);
            say!(
                format_args!("grants2.back-{name}-word"),
                "{:#x} frame={}",
                word & 0xffff_ffff,
                whose(word, mfn)
            );
            say!(format_args!("grants2.forth-after-{name}"), "{:?}", set_version(2));
        }
    }
    for (gref, flags, dom, arm, frame) in [
        (0, GTF_PERMIT_ACCESS, 0, 0, mfn),
        (1, GTF_PERMIT_ACCESS | GTF_READONLY, 5, !0, mfn),
        (2, GTF_ACCEPT_TRANSFER, 0, 0, mfn),
        (3, GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 0, 128 | 64 << 16, mfn),
        (4, GTF_INVALID | 0x80, 6, 0, mfn),
        (5, GTF_ACCEPT_TRANSFER, 0, 0, 1 << 32 | mfn),
        (6, GTF_PERMIT_ACCESS | USED, 0, 0, mfn),
        (7, GTF_PERMIT_ACCESS | 0xfe00, 0, 0, mfn),
        (9, GTF_PERMIT_ACCESS, 0, 0, mfn),
    ] {
        table.set(gref, flags, dom, arm, frame);
    }
    let mapped = map(0, RO, window.va());
    let seventh = Page::new();
    seventh.map(0);
    let also = map(7, HOST, seventh.va());
    say!("grants2.back", "{} {} {:?}", mapped.status, also.status, set_version(1));
    for gref in 0..10 {
        let word = table.shared.get(gref);
        say!(format_args!("grants2.back-{gref}"), "{:#x} frame={}", word & 0xffff_ffff, whose(word, mfn));
    }
    let clear = (8..512).all(|i| table.shared.get(i) == 0) && (0..512).all(|i| table.second.get(i) == 0);
    say!("grants2.back-cleared", "{clear}");
    say!("grants2.back-unmap", "{} {:#x}", unmap(window.va(), mapped.handle), table.shared.get(0) & 0xffff);
    say!("grants2.back-unmap-7", "{} {:#x}", unmap(seventh.va(), also.handle), table.shared.get(7) & 0xffff);
    let mut list = [0u64; 4];
    say!("grants2.back-status-frames", "{:?}", status_frames(DOMID_SELF, 1, addr(&mut list)));
    say!("grants2.back-status-frames-0", "{:?}", status_frames(DOMID_SELF, 0, addr(&mut list)));
    let mut twice = [GnttabSetVersion { version: 2 }, GnttabSetVersion { version: 1 }];
    let answer = op_array(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_SET_VERSION, &mut twice);
    say!("grants2.set-two", "{answer} {:?}", twice.each_ref().map(|v| v.version));
    let answer = call(HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_SET_VERSION.into(), addr(&mut twice), 0, 0]);
    say!("grants2.set-none", "{answer} {:?}", twice.each_ref().map(|v| v.version));
    let mut version = [GnttabGetVersion { dom: DOMID_SELF, ..Default::default() }; 2];
    let answer = op_array(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_GET_VERSION, &mut version);
    say!("grants2.get-two", "{answer} {:?}", version.each_ref().map(|v| v.version));
    let frame_list = GuestHandle::new(addr(&mut list));
    let one = GnttabGetStatusFrames { nr_frames: 1, dom: DOMID_SELF, frame_list, status: 7 };
    let mut two = [one; 2];
    let answer = op_array(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_GET_STATUS_FRAMES, &mut two);
    say!("grants2.status-frames-two", "{answer} {:?}", two.each_ref().map(|s| s.status));
    say!("grants2.forth-and-back", "{:?} {:?}", set_version(2), set_version(1));
    seventh.map(DATA);
    let page = Page::new();
    let (own, pfn) = (page.mfn(), page.pfn());
    page.set(1, 0x7777);
    page.map(0);
    table.shared.set(70, v1_word(GTF_ACCEPT_TRANSFER, 0, pfn));
    let mut arg = GnttabTransfer { mfn: own, domid: 0, ref_: 70, ..Default::default() };
    let answer = grant(GNTTABOP_TRANSFER, &mut arg);
    let word = table.shared.get(70);
    say!(
        "grants2.transfer-v1",
        "{answer} {} {:#x} frame={} m2p={}",
        arg.status,
        word & 0xffff_ffff,
        ok(word >> 32 == own),
        ok(m2p(own) == pfn)
    );
    page.map(DATA);
}
