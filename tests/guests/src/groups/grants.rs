//! `grants`: dom0 grants pages to itself, maps them, copies through them.

use abi::GuestHandle;
use abi::grant_table::*;
use abi::xen::*;

use crate::hypercall::{addr, call, mmu_update1, mmuext, op_array, update_va_mapping};
use crate::mm::{self, DATA, Page, READ, entry, entry_maddr, read, write};
use crate::print::ok;
use crate::trap::Outcome;
use crate::{probe, say};

pub(super) fn grant<T>(cmd: u32, arg: &mut T) -> i64 {
    op_array(HYPERVISOR_GRANT_TABLE_OP, cmd, core::slice::from_mut(arg))
}

/// The table's first frame, mapped here.
struct Table(u64);

impl Table {
    fn set(&self, gref: u32, flags: u16, dom: u16, mfn: u64) {
        write(self.0 + 8 * u64::from(gref), u64::from(flags) | u64::from(dom) << 16 | mfn << 32);
    }

    fn flags(&self, gref: u32) -> u16 {
        read(self.0 + 8 * u64::from(gref)) as u16
    }
}

pub(super) fn map(gref: u32, flags: u32, host_addr: u64) -> GnttabMapGrantRef {
    let mut arg = GnttabMapGrantRef { host_addr, flags, ref_: gref, dom: 0, ..Default::default() };
    let answer = grant(GNTTABOP_MAP_GRANT_REF, &mut arg);
    assert!(answer == 0, "map_grant_ref: {answer}");
    arg
}

pub(super) fn unmap(host_addr: u64, handle: u32) -> i16 {
    unmap_bus(host_addr, 0, handle)
}

pub(super) fn unmap_bus(host_addr: u64, dev_bus_addr: u64, handle: u32) -> i16 {
    let mut arg = GnttabUnmapGrantRef { host_addr, dev_bus_addr, handle, ..Default::default() };
    let answer = grant(GNTTABOP_UNMAP_GRANT_REF, &mut arg);
    assert!(answer == 0, "unmap_grant_ref: {answer}");
    arg.status
}

/// References the checks use; the first eight are reserved.
const REF: u32 = 20;
const READ_ONLY_REF: u32 = 21;
const OTHERS_REF: u32 = 22;

pub fn run() {
    let Some(table) = set_up() else { return };
    let shared = Page::new();
    shared.set(1, 0x1111);
    table.set(REF, GTF_PERMIT_ACCESS, 0, shared.mfn());
    table.set(READ_ONLY_REF, GTF_PERMIT_ACCESS | GTF_READONLY, 0, shared.mfn());
    table.set(OTHERS_REF, GTF_PERMIT_ACCESS, 5, shared.mfn());
    mapping(&table, shared);
    read_only(&table, shared);
    by_entry(&table, shared);
    device(&table, shared);
    refusals(&table, shared);
    replacing(shared);
    copying(&table, shared);
    versions();
    others(shared);
}

fn set_up() -> Option<Table> {
    let mut query = GnttabQuerySize { dom: DOMID_SELF, ..Default::default() };
    let answer = grant(GNTTABOP_QUERY_SIZE, &mut query);
    say!(
        "grants.query",
        "{answer} status={} frames={} limit={}",
        query.status,
        query.nr_frames,
        query.max_nr_frames
    );
    let mut frames = [0u64; 4];
    let mut setup = |dom: u16, nr_frames: u32| {
        let frame_list = GuestHandle::new(frames.as_mut_ptr() as u64);
        let mut arg = GnttabSetupTable { dom, nr_frames, frame_list, ..Default::default() };
        (grant(GNTTABOP_SETUP_TABLE, &mut arg), arg.status)
    };
    say!("grants.setup-absent", "{:?}", setup(500, 1));
    say!("grants.setup-big", "{:?}", setup(DOMID_SELF, query.max_nr_frames + 1));
    say!("grants.setup-none", "{:?}", setup(DOMID_SELF, 0));
    let answer = setup(DOMID_SELF, 1);
    say!("grants.setup", "{answer:?}");
    let window = Page::new();
    let mapped = update_va_mapping(window.va(), frames[0] << 12 | DATA, UVMF_INVLPG);
    say!("grants.map-table", "{mapped} empty={}", (0..512).all(|i| window.get(i) == 0));
    let mut version = GnttabGetVersion { dom: DOMID_SELF, ..Default::default() };
    let answer = grant(GNTTABOP_GET_VERSION, &mut version);
    say!("grants.version", "{answer} {}", version.version);
    (mapped == 0).then(|| Table(window.va()))
}

fn mapping(table: &Table, shared: &Page) {
    let window = Page::new();
    window.map(0);
    let mapped = map(REF, GNTMAP_HOST_MAP, window.va());
    say!(
        "grants.map",
        "status={} bus={} flags={:#x}",
        mapped.status,
        ok(mapped.dev_bus_addr == shared.maddr()),
        table.flags(REF)
    );
    if mapped.status != 0 {
        return;
    }
    say!("grants.map-entry", "{:#x}", entry(window.va(), 1) & !mm::ADDR);
    window.set(2, 0x2222);
    say!("grants.map-sees", "{:#x} {:#x}", window.get(1), shared.get(2));
    let second = Page::new();
    second.map(0);
    let again = map(REF, GNTMAP_HOST_MAP, second.va());
    say!("grants.map-again", "status={} other-handle={}", again.status, again.handle != mapped.handle);
    say!("grants.unmap-wrong-address", "{}", unmap(second.va() + 4096, again.handle));
    say!("grants.unmap-second", "{} flags={:#x}", unmap(second.va(), again.handle), table.flags(REF));
    say!("grants.unmap", "{} flags={:#x}", unmap(window.va(), mapped.handle), table.flags(REF));
    say!("grants.unmap-again", "{}", unmap(window.va(), mapped.handle));
    say!("grants.unmap-huge-handle", "{}", unmap(window.va(), !0));
    say!("grants.unmapped-entry", "{:#x}", entry(window.va(), 1));
    for page in [window, second] {
        page.map(DATA);
    }
    say!("grants.granted-stays", "{:#x}", shared.get(2));
}

fn try_write(va: u64) -> Outcome {
    // SAFETY: a write to the check's own page, or a trap.
    unsafe { probe!(["mov [rax], rcx"], in("rax") va, in("rcx") 7u64) }
}

fn read_only(table: &Table, shared: &Page) {
    let window = Page::new();
    window.map(0);
    let mapped = map(READ_ONLY_REF, GNTMAP_HOST_MAP, window.va());
    say!("grants.read-only-ref-writable", "status={} flags={:#x}", mapped.status, table.flags(READ_ONLY_REF));
    let mapped = map(READ_ONLY_REF, GNTMAP_HOST_MAP | GNTMAP_READONLY, window.va());
    say!(
        "grants.read-only-map",
        "status={} flags={:#x} entry={:#x}",
        mapped.status,
        table.flags(READ_ONLY_REF),
        entry(window.va(), 1) & !mm::ADDR
    );
    say!("grants.read-only-write", "{} {:#x}", try_write(window.va()), shared.get(0));
    say!(
        "grants.read-only-unmap",
        "{} flags={:#x}",
        unmap(window.va(), mapped.handle),
        table.flags(READ_ONLY_REF)
    );
    let both = map(REF, GNTMAP_HOST_MAP | GNTMAP_READONLY, window.va());
    say!("grants.reading-flag", "status={} flags={:#x}", both.status, table.flags(REF));
    unmap(window.va(), both.handle);
    window.map(DATA);
}

/// Mappings that name the page-table entry instead of the address.
fn by_entry(table: &Table, shared: &Page) {
    let window = Page::new();
    window.map(0);
    let at = entry_maddr(window.va(), 1).unwrap_or(0);
    let flags = GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE;
    let mapped = map(REF, flags, at);
    say!(
        "grants.entry-map",
        "status={} flags={:#x} sees={:#x}",
        mapped.status,
        table.flags(REF),
        if mapped.status == 0 { window.get(1) } else { 0 }
    );
    say!("grants.entry-unmap", "{} {:#x}", unmap(at, mapped.handle), entry(window.va(), 1));
    let mapped = map(REF, flags | GNTMAP_APPLICATION_MAP | 0x5 << GNTMAP_GUEST_AVAIL0, at);
    say!(
        "grants.entry-application",
        "status={} entry={:#x}",
        mapped.status,
        entry(window.va(), 1) & !mm::ADDR
    );
    unmap(at, mapped.handle);
    for (name, more) in [
        ("all-available", 0xffff << GNTMAP_GUEST_AVAIL0),
        ("read-only", GNTMAP_READONLY | 0x2 << GNTMAP_GUEST_AVAIL0),
        ("unknown-flags", 0x60),
        ("device", GNTMAP_DEVICE_MAP),
    ] {
        for (by, place, flags) in [("entry", at, flags), ("address", window.va(), GNTMAP_HOST_MAP)] {
            let mapped = map(REF, flags | more, place);
            say!(
                format_args!("grants.{by}-{name}"),
                "status={} entry={:#x}",
                mapped.status,
                entry(window.va(), 1) & !mm::ADDR
            );
            if mapped.status == 0 {
                let bus = if more == GNTMAP_DEVICE_MAP { mapped.dev_bus_addr } else { 0 };
                unmap_bus(place, bus, mapped.handle);
            }
        }
    }
    let mapped = map(REF, GNTMAP_HOST_MAP | GNTMAP_APPLICATION_MAP, window.va());
    say!(
        "grants.address-application",
        "{} {:#x}",
        mapped.status,
        entry(window.va(), 1) & !(mm::ADDR | 0x100)
    );
    unmap(window.va(), mapped.handle);
    aliased(window);
    let mapped = map(REF, flags, at + 4);
    say!("grants.entry-misaligned", "{}", mapped.status);
    let mapped = map(REF, flags, shared.maddr());
    say!("grants.entry-in-data", "{}", mapped.status);
    let mapped = map(REF, flags, 1 << 50);
    say!("grants.entry-absent", "{}", mapped.status);
    window.map(DATA);
}

/// A mapping that shows at a second address, since the table above refers to its table twice, ends at both.
fn aliased(window: &Page) {
    let Some(slot) = entry_maddr(window.va(), 2) else { return };
    let (table, index) = (slot & !0xfff, slot & 0xfff);
    let Some(free) = (1..8u64).find(|n| entry(window.va() + (n << 21), 2) == 0 && index + 8 * n < 4096)
    else {
        return;
    };
    let answer = mmu_update1(table + index + 8 * free, entry(window.va(), 2));
    let alias = window.va() + (free << 21);
    let mapped = map(REF, GNTMAP_HOST_MAP, window.va());
    say!("grants.alias-map", "{answer} {} {:#x}", mapped.status, read(alias + 8));
    say!("grants.alias-unmap", "{}", unmap(window.va(), mapped.handle));
    // SAFETY: reads of the check's own addresses, or traps.
    let seen = [window.va(), alias].map(|va| unsafe { probe!(["mov rax, [rax]"], inout("rax") va => _) });
    say!("grants.alias-read", "{} {}", seen[0], seen[1]);
    say!("grants.alias-end", "{}", mmu_update1(table + index + 8 * free, 0));
}

fn device(table: &Table, shared: &Page) {
    let mapped = map(REF, GNTMAP_DEVICE_MAP, 0);
    say!(
        "grants.device-map",
        "status={} bus={} flags={:#x}",
        mapped.status,
        ok(mapped.dev_bus_addr == shared.maddr()),
        table.flags(REF)
    );
    say!("grants.device-unmap-host", "{}", unmap(0, mapped.handle));
    say!(
        "grants.device-unmap",
        "{} flags={:#x}",
        unmap_bus(0, mapped.dev_bus_addr, mapped.handle),
        table.flags(REF)
    );
}

fn refusals(table: &Table, shared: &Page) {
    let [window, spare] = core::array::from_fn(|_| Page::new());
    window.map(0);
    spare.map(0);
    let va = window.va();
    say!("grants.map-invalid-ref", "{}", map(30, GNTMAP_HOST_MAP, va).status);
    say!("grants.map-huge-ref", "{}", map(!0, GNTMAP_HOST_MAP, va).status);
    say!("grants.map-past-table", "{}", map(512, GNTMAP_HOST_MAP, va).status);
    say!("grants.map-anothers-ref", "{}", map(OTHERS_REF, GNTMAP_HOST_MAP, va).status);
    say!("grants.map-nothing", "{}", map(REF, 0, va).status);
    say!("grants.map-read-only-nothing", "{}", map(REF, GNTMAP_READONLY, va).status);
    table.set(31, GTF_ACCEPT_TRANSFER, 0, shared.mfn());
    say!("grants.map-transfer-ref", "{}", map(31, GNTMAP_HOST_MAP, va).status);
    table.set(32, GTF_TRANSITIVE, 0, shared.mfn());
    say!("grants.map-transitive-ref", "{}", map(32, GNTMAP_HOST_MAP, va).status);
    table.set(33, GTF_PERMIT_ACCESS, 0, 0xfff_ffff);
    say!("grants.map-no-frame", "{} flags={:#x}", map(33, GNTMAP_HOST_MAP, va).status, table.flags(33));
    table.set(34, GTF_PERMIT_ACCESS, 0, mm::l4_mfn());
    say!("grants.map-table-frame", "{} flags={:#x}", map(34, GNTMAP_HOST_MAP, va).status, table.flags(34));
    let read_only = map(34, GNTMAP_HOST_MAP | GNTMAP_READONLY, va);
    say!("grants.map-table-frame-read-only", "{} flags={:#x}", read_only.status, table.flags(34));
    unmap(va, read_only.handle);
    table.set(35, GTF_PERMIT_ACCESS | 0x8000, 0, shared.mfn());
    say!("grants.map-odd-flags", "{}", map(35, GNTMAP_HOST_MAP, va).status);
    table.set(35, GTF_PERMIT_ACCESS | GTF_SUB_PAGE, 0, shared.mfn());
    say!("grants.map-sub-page", "{}", map(35, GNTMAP_HOST_MAP, va).status);
    for (name, va) in [
        ("hypervisor", 0xffff_8300_0000_0000),
        ("noncanonical", 0x8000_0000_0000),
        ("no-table", 0x10_0000_0000),
        ("misaligned", va + 8),
    ] {
        let mapped = map(REF, GNTMAP_HOST_MAP, va);
        say!(format_args!("grants.map-at-{name}"), "{} flags={:#x}", mapped.status, table.flags(REF));
        if mapped.status == 0 {
            unmap(va, mapped.handle);
        }
    }
    let mut absent = GnttabMapGrantRef {
        host_addr: va,
        flags: GNTMAP_HOST_MAP,
        ref_: REF,
        dom: 500,
        ..Default::default()
    };
    say!("grants.map-absent-domain", "{} {}", grant(GNTTABOP_MAP_GRANT_REF, &mut absent), absent.status);
    absent.dom = DOMID_SELF;
    say!("grants.map-self", "{} {}", grant(GNTTABOP_MAP_GRANT_REF, &mut absent), absent.status);
    absent.dom = 500;
    let mut list = [absent; 3];
    list[0].dom = 0;
    list[2].dom = 0;
    list[2].host_addr = spare.va();
    let answer = op_array(HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF, &mut list);
    say!("grants.map-batch", "{answer} {:?}", list.each_ref().map(|m| m.status));
    for mapped in list.iter().filter(|m| m.status == 0) {
        unmap(mapped.host_addr, mapped.handle);
    }
    say!(
        "grants.map-nowhere",
        "{}",
        call(HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), 0x1000_0000_0000, 1, 0])
    );
    say!("grants.map-none", "{}", call(HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), 0, 0, 0]));
    say!("grants.left", "flags={:#x}", table.flags(REF));
    window.map(DATA);
    spare.map(DATA);
    // A page with a writable grant mapping becomes no table.
    let window = Page::new();
    window.map(0);
    let spare = Page::new();
    spare.map(READ);
    table.set(36, GTF_PERMIT_ACCESS, 0, spare.mfn());
    let mapped = map(36, GNTMAP_HOST_MAP, window.va());
    let pin = |page: &Page| mmuext(MMUEXT_PIN_L1_TABLE, page.mfn(), 0);
    say!("grants.pin-while-mapped", "{} {}", mapped.status, pin(spare));
    say!("grants.pin-after-unmap", "{} {}", unmap(window.va(), mapped.handle), pin(spare));
    mmuext(MMUEXT_UNPIN_TABLE, spare.mfn(), 0);
    spare.map(DATA);
    window.map(DATA);
}

fn replacing(shared: &Page) {
    let [window, other] = core::array::from_fn(|_| Page::new());
    window.map(0);
    other.set(1, 0x9999);
    let mapped = map(REF, GNTMAP_HOST_MAP, window.va());
    let mut arg = GnttabUnmapAndReplace {
        host_addr: window.va(),
        new_addr: other.va(),
        handle: mapped.handle,
        ..Default::default()
    };
    let answer = grant(GNTTABOP_UNMAP_AND_REPLACE, &mut arg);
    say!("grants.replace", "{answer} {} {:#x}", arg.status, entry(other.va(), 1));
    let found = if entry(window.va(), 1) & 1 != 0 { window.get(1) } else { 0 };
    say!("grants.replaced", "{found:#x} shared={:#x}", shared.get(1));
    if arg.status != 0 {
        unmap(window.va(), mapped.handle);
    }
    window.map(DATA);
    other.map(DATA);
}

pub(super) fn end(u: u64, offset: u16) -> GnttabCopyPtr {
    GnttabCopyPtr { u, domid: DOMID_SELF, offset, _pad0: 0 }
}

pub(super) fn copy(source: GnttabCopyPtr, dest: GnttabCopyPtr, len: u16, flags: u16) -> i16 {
    let mut arg = GnttabCopy { source, dest, len, flags, ..Default::default() };
    let answer = grant(GNTTABOP_COPY, &mut arg);
    assert!(answer == 0, "copy: {answer}");
    arg.status
}

fn copying(table: &Table, shared: &Page) {
    let own = Page::new();
    shared.set(10, 0x1010_1010);
    let (from_ref, to_ref) = (GNTCOPY_SOURCE_GREF, GNTCOPY_DEST_GREF);
    let (gref, ro_ref, mfn) = (u64::from(REF), u64::from(READ_ONLY_REF), own.mfn());
    say!("grants.copy-from-ref", "{} {:#x}", copy(end(gref, 80), end(mfn, 88), 8, from_ref), own.get(11));
    own.set(12, 0x1212_1212);
    say!("grants.copy-to-ref", "{} {:#x}", copy(end(mfn, 96), end(gref, 104), 8, to_ref), shared.get(13));
    say!("grants.copy-flags-after", "{:#x}", table.flags(REF));
    say!("grants.copy-from-read-only", "{}", copy(end(ro_ref, 0), end(mfn, 0), 8, from_ref));
    say!("grants.copy-to-read-only", "{}", copy(end(mfn, 0), end(ro_ref, 0), 8, to_ref));
    say!("grants.copy-frames", "{}", copy(end(mfn, 0), end(shared.mfn(), 2048), 8, 0));
    say!("grants.copy-both-refs", "{}", copy(end(ro_ref, 0), end(gref, 2048), 8, from_ref | to_ref));
    say!("grants.copy-nothing", "{}", copy(end(gref, 0), end(mfn, 0), 0, from_ref));
    say!("grants.copy-page", "{}", copy(end(gref, 0), end(mfn, 0), 4096, from_ref));
    say!("grants.copy-source-crosses", "{}", copy(end(gref, 4090), end(mfn, 0), 8, from_ref));
    say!("grants.copy-dest-crosses", "{}", copy(end(gref, 0), end(mfn, 4090), 8, from_ref));
    say!("grants.copy-offset-big", "{}", copy(end(gref, 5000), end(mfn, 0), 8, from_ref));
    say!("grants.copy-length-big", "{}", copy(end(gref, 0), end(mfn, 0), 4097, from_ref));
    say!("grants.copy-bad-ref", "{}", copy(end(30, 0), end(mfn, 0), 8, from_ref));
    say!("grants.copy-huge-ref", "{}", copy(end(!0, 0), end(mfn, 0), 8, from_ref));
    say!("grants.copy-anothers-ref", "{}", copy(end(OTHERS_REF.into(), 0), end(mfn, 0), 8, from_ref));
    say!("grants.copy-absent-frame", "{}", copy(end(gref, 0), end(1 << 38, 0), 8, from_ref));
    say!("grants.copy-to-table", "{}", copy(end(gref, 0), end(mm::l4_mfn(), 0), 8, from_ref));
    say!("grants.copy-from-table", "{}", copy(end(mm::l4_mfn(), 0), end(mfn, 0), 8, 0));
    let absent = GnttabCopyPtr { domid: 500, ..end(gref, 0) };
    say!("grants.copy-absent-domain", "{}", copy(absent, end(mfn, 0), 8, from_ref));
    say!("grants.copy-odd-flags", "{}", copy(end(gref, 0), end(mfn, 0), 8, from_ref | 0x100));
}

fn versions() {
    for version in [0, 3, 2, 1] {
        let mut arg = GnttabSetVersion { version };
        let answer = grant(GNTTABOP_SET_VERSION, &mut arg);
        say!(format_args!("grants.set-version-{version}"), "{answer} now={}", arg.version);
    }
    let mut version = GnttabGetVersion { dom: 500, ..Default::default() };
    say!("grants.version-absent", "{}", grant(GNTTABOP_GET_VERSION, &mut version));
    let mut frames = [0u64; 1];
    let frame_list = GuestHandle::new(addr(&mut frames));
    let mut status =
        GnttabGetStatusFrames { nr_frames: 1, dom: DOMID_SELF, frame_list, ..Default::default() };
    say!("grants.status-frames-v1", "{} {}", grant(GNTTABOP_GET_STATUS_FRAMES, &mut status), status.status);
}

fn others(shared: &Page) {
    let mut swap = GnttabSwapGrantRef { ref_a: 40, ref_b: 41, ..Default::default() };
    say!("grants.swap", "{} {}", grant(GNTTABOP_SWAP_GRANT_REF, &mut swap), swap.status);
    let mut swap = GnttabSwapGrantRef { ref_a: 40, ref_b: 1 << 20, ..Default::default() };
    say!("grants.swap-big", "{} {}", grant(GNTTABOP_SWAP_GRANT_REF, &mut swap), swap.status);
    let mut flush = GnttabCacheFlush { a: shared.maddr(), offset: 0, length: 64, op: GNTTAB_CACHE_CLEAN };
    say!("grants.cache-flush", "{}", grant(GNTTABOP_CACHE_FLUSH, &mut flush));
    let mut flush = GnttabCacheFlush { a: shared.maddr(), offset: 4090, length: 64, op: GNTTAB_CACHE_CLEAN };
    say!("grants.cache-flush-crosses", "{}", grant(GNTTABOP_CACHE_FLUSH, &mut flush));
    let mut flush = GnttabCacheFlush { a: shared.maddr(), offset: 0, length: 64, op: 1 << 9 };
    say!("grants.cache-flush-odd", "{}", grant(GNTTABOP_CACHE_FLUSH, &mut flush));
    let mut transfer = GnttabTransfer { mfn: shared.mfn(), domid: 500, ..Default::default() };
    say!("grants.transfer-absent", "{} {}", grant(GNTTABOP_TRANSFER, &mut transfer), transfer.status);
    let mut query = GnttabQuerySize { dom: 500, ..Default::default() };
    say!("grants.query-absent", "{} {}", grant(GNTTABOP_QUERY_SIZE, &mut query), query.status);
}
