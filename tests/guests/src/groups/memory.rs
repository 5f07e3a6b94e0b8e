//! `memory`: giving frames back and getting others, counts, maps.

use abi::GuestHandle;
use abi::memory::*;
use abi::xen::*;

use crate::boot::start_info;
use crate::hypercall::{addr, call, op, update_va_mapping};
use crate::mm::{self, DATA, Page, m2p, p2m, set_p2m};
use crate::print::ok;
use crate::say;

fn memory<T>(cmd: u32, arg: &mut T) -> i64 {
    op(HYPERVISOR_MEMORY_OP, cmd, arg)
}

fn reservation(list: &mut [u64], order: u32, mem_flags: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestHandle::new(list.as_mut_ptr() as u64),
        nr_extents: list.len() as u64,
        extent_order: order,
        mem_flags,
        domid: DOMID_SELF,
        _pad0: [0; 3],
    }
}

fn decrease(list: &mut [u64]) -> i64 {
    memory(XENMEM_DECREASE_RESERVATION, &mut reservation(list, 0, 0))
}

fn populate(list: &mut [u64], order: u32, mem_flags: u32) -> i64 {
    memory(XENMEM_POPULATE_PHYSMAP, &mut reservation(list, order, mem_flags))
}

fn current() -> i64 {
    memory(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: DOMID_SELF })
}

pub fn run() {
    counts();
    one_page();
    two_megabytes();
    refusals();
    exchange();
    tables();
    maps();
    others();
}

fn counts() {
    let pages = start_info().nr_pages as i64;
    say!("memory.current", "{}", ok(current() == pages));
    let most = memory(XENMEM_MAXIMUM_RESERVATION, &mut MemoryDomain { domid: DOMID_SELF });
    say!("memory.maximum", "{}", ok(most >= pages));
    say!("memory.current-absent", "{}", memory(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: 500 }));
    say!(
        "memory.current-0",
        "{}",
        ok(memory(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: 0 }) == pages)
    );
    say!("memory.maximum-absent", "{}", memory(XENMEM_MAXIMUM_RESERVATION, &mut MemoryDomain { domid: 500 }));
    let gpfn = memory(XENMEM_MAXIMUM_GPFN, &mut MemoryDomain { domid: DOMID_SELF });
    say!("memory.maximum-gpfn", "{}", if gpfn < 0 { gpfn } else { i64::from(gpfn >= pages - 1) });
    let top = call(HYPERVISOR_MEMORY_OP, [XENMEM_MAXIMUM_RAM_PAGE.into(), 0, 0, 0]);
    say!("memory.maximum-ram-page", "{}", ok((0..pages as u64).all(|pfn| (p2m(pfn) as i64) <= top)));
}

fn one_page() {
    let pages = current();
    let page = Page::new();
    let (pfn, old) = (page.pfn(), page.mfn());
    page.map(0);
    say!("memory.decrease", "{} pages={}", decrease(&mut [old]), current() - pages);
    say!("memory.decrease-again", "{} pages={}", decrease(&mut [old]), current() - pages);
    let invalid = m2p(old) == u64::MAX;
    say!("memory.m2p-after-decrease", "invalid={invalid}");
    say!("memory.map-after-decrease", "{}", update_va_mapping(page.va(), old << 12 | DATA, UVMF_INVLPG));
    let mut list = [pfn];
    let answer = populate(&mut list, 0, 0);
    say!("memory.populate", "{answer} pages={} m2p={}", current() - pages, ok(m2p(list[0]) == pfn));
    set_p2m(pfn, list[0]);
    say!("memory.populated-map", "{} zero={}", page.map(DATA), (0..512).all(|i| page.get(i) == 0));
    let mut more = [pfn];
    say!("memory.populate-past-limit", "{} pages={}", populate(&mut more, 0, 0), current() - pages);
    // A mapped frame is the domain's until the mapping goes.
    let kept = Page::new();
    let mfn = kept.mfn();
    kept.set(0, 0x77);
    say!("memory.decrease-mapped", "{} pages={} {:#x}", decrease(&mut [mfn]), current() - pages, kept.get(0));
    say!("memory.decrease-mapped-again", "{} pages={}", decrease(&mut [mfn]), current() - pages);
    say!(
        "memory.decrease-mapped-cut",
        "{} pages={}",
        update_va_mapping(kept.va(), 0, UVMF_INVLPG),
        current() - pages
    );
    let mut list = [kept.pfn()];
    let answer = memory(XENMEM_INCREASE_RESERVATION, &mut reservation(&mut list, 0, 0));
    say!("memory.increase", "{answer} pages={} m2p={:#x}", current() - pages, m2p(list[0]));
    set_p2m(kept.pfn(), list[0]);
    mm_update_m2p(list[0], kept.pfn());
    say!("memory.increased-map", "{}", kept.map(DATA));
}

fn mm_update_m2p(mfn: u64, pfn: u64) {
    crate::hypercall::mmu_update1(mfn << 12 | MMU_MACHPHYS_UPDATE, pfn);
}

/// Gives up the last frames, that nothing maps, and gets one extent of order 9 for them.
fn two_megabytes() {
    let pages = current();
    let first = (start_info().nr_pages - 512) & !511;
    let list = Page::new();
    let frames = |page: &Page| GuestHandle::new(page.va());
    for i in 0..512 {
        list.set(i as usize, p2m(first + i));
    }
    let mut all = MemoryReservation {
        extent_start: frames(list),
        nr_extents: 512,
        domid: DOMID_SELF,
        ..Default::default()
    };
    say!(
        "memory.decrease-512",
        "{} pages={}",
        memory(XENMEM_DECREASE_RESERVATION, &mut all),
        current() - pages
    );
    let mut extent = [first];
    let answer = populate(&mut extent, 9, 0);
    let mfn = extent[0];
    say!("memory.populate-order-9", "{answer} pages={} aligned={}", current() - pages, ok(mfn & 511 == 0));
    if answer != 1 {
        return;
    }
    let right = (0..512).all(|i| m2p(mfn + i) == first + i);
    say!("memory.order-9-m2p", "{}", ok(right));
    (0..512).for_each(|i| set_p2m(first + i, mfn + i));
    let sum = current() - pages;
    say!("memory.order-9-pages", "{sum}");
    // Within the extent: whose the frame behind it is, no check knows, so order 9 would not do.
    let answer = memory(XENMEM_DECREASE_RESERVATION, &mut reservation(&mut [mfn + 1], 8, 0));
    let rest = (0..512).filter(|i| m2p(mfn + i) == first + i).count();
    say!("memory.decrease-misaligned", "{answer} pages={} rest={rest}", current() - pages);
}

fn refusals() {
    let pages = current();
    say!("memory.decrease-absent", "{}", decrease(&mut [1 << 38]));
    say!("memory.decrease-no-ram", "{}", decrease(&mut [0x7ff_ffff]));
    say!("memory.decrease-none", "{}", decrease(&mut []));
    for order in [10, 18, 19, 64] {
        let mut list = [0x10_0000];
        let answer = populate(&mut list, order, 0);
        say!(format_args!("memory.populate-order-{order}"), "{answer}");
        let answer = memory(XENMEM_DECREASE_RESERVATION, &mut reservation(&mut [1 << 38], order, 0));
        say!(format_args!("memory.decrease-order-{order}"), "{answer}");
    }
    let mut absent = reservation(&mut [], 0, 0);
    absent.domid = 500;
    say!("memory.populate-absent", "{}", memory(XENMEM_POPULATE_PHYSMAP, &mut absent));
    say!("memory.decrease-for-absent", "{}", memory(XENMEM_DECREASE_RESERVATION, &mut absent));
    let mut nowhere = MemoryReservation {
        extent_start: GuestHandle::new(0x1000_0000_0000),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    say!("memory.decrease-nowhere", "{}", memory(XENMEM_DECREASE_RESERVATION, &mut nowhere));
    say!("memory.populate-nowhere", "{}", memory(XENMEM_POPULATE_PHYSMAP, &mut nowhere));
    nowhere.extent_start = GuestHandle::new(0xffff_8300_0000_0000);
    say!("memory.decrease-hypervisor", "{}", memory(XENMEM_DECREASE_RESERVATION, &mut nowhere));
    nowhere.nr_extents = 1 << 60;
    say!("memory.decrease-huge-count", "{}", memory(XENMEM_DECREASE_RESERVATION, &mut nowhere));
    say!(
        "memory.arg-nowhere",
        "{}",
        call(HYPERVISOR_MEMORY_OP, [XENMEM_DECREASE_RESERVATION.into(), 0x1000_0000_0000, 0, 0])
    );
    let mut one = reservation(&mut [1 << 38], 0, 0);
    say!("memory.start-past-end", "{}", memory(XENMEM_DECREASE_RESERVATION | 5 << 6, &mut one));
    // Bits of a machine address nothing has.
    let page = Page::new();
    let (pfn, old) = (page.pfn(), page.mfn());
    page.map(0);
    decrease(&mut [old]);
    say!("memory.populate-12-bits", "{} pages={}", populate(&mut [pfn], 0, 12), current() - pages);
    let mut list = [pfn];
    let answer = populate(&mut list, 0, 32);
    say!("memory.populate-32-bits", "{answer} {}", ok(list[0] < 1 << 20));
    set_p2m(pfn, list[0]);
    say!("memory.refusals-pages", "{} {}", page.map(DATA), current() - pages);
}

fn exchange() {
    let pages = current();
    let page = Page::new();
    let (pfn, old) = (page.pfn(), page.mfn());
    page.map(0);
    let trade = |input: &mut [u64], in_order: u32, output: &mut [u64], out_order: u32, flags: u32| {
        let mut arg = MemoryExchange {
            in_: reservation(input, in_order, 0),
            out: reservation(output, out_order, flags),
            nr_exchanged: 0,
        };
        (memory(XENMEM_EXCHANGE, &mut arg), arg.nr_exchanged)
    };
    let mut output = [pfn];
    let answer = trade(&mut [old], 0, &mut output, 0, 32);
    let mfn = output[0];
    say!(
        "memory.exchange",
        "{answer:?} below-4g={} m2p={} pages={}",
        ok(mfn < 1 << 20),
        ok(m2p(mfn) == pfn),
        current() - pages
    );
    if answer.0 == 0 {
        set_p2m(pfn, mfn);
    }
    say!("memory.exchange-map", "{}", page.map(DATA));
    let mut output = [pfn; 2];
    say!("memory.exchange-unequal", "{:?}", trade(&mut [mfn], 0, &mut output, 0, 0));
    say!("memory.exchange-absent", "{:?}", trade(&mut [1 << 38], 0, &mut [pfn], 0, 0));
    say!("memory.exchange-hole", "{:?}", trade(&mut [crate::HOLE], 0, &mut [pfn], 0, 0));
    say!("memory.exchange-order-20", "{:?}", trade(&mut [mfn], 20, &mut [pfn], 20, 0));
    let mut mapped = [pfn];
    let answer = trade(&mut [p2m(pfn)], 0, &mut mapped, 0, 0);
    say!("memory.exchange-mapped", "{answer:?} pages={}", current() - pages);
}

fn tables() {
    let mut mapping = MachphysMapping::default();
    let answer = memory(XENMEM_MACHPHYS_MAPPING, &mut mapping);
    let top = call(HYPERVISOR_MEMORY_OP, [XENMEM_MAXIMUM_RAM_PAGE.into(), 0, 0, 0]) as u64;
    let (start, end) = (mapping.v_start, mapping.v_end);
    say!("memory.machphys-mapping", "{answer} {start:#x} {end:#x} {}", top.wrapping_sub(mapping.max_mfn));
    let mut frames = [0u64; 8];
    let mut list = MachphysMfnList {
        max_extents: 8,
        extent_start: GuestHandle::new(addr(&mut frames)),
        ..Default::default()
    };
    let answer = memory(XENMEM_MACHPHYS_MFN_LIST, &mut list);
    say!("memory.machphys-list", "{answer} {} first={}", list.nr_extents, ok(frames[0] != 0));
    let answer = memory(XENMEM_MACHPHYS_COMPAT_MFN_LIST, &mut list);
    say!("memory.machphys-compat-list", "{answer}");
}

fn maps() {
    let entries = Page::new();
    for (name, cmd) in [("memory-map", XENMEM_MEMORY_MAP), ("machine-map", XENMEM_MACHINE_MEMORY_MAP)] {
        let mut map = MemoryMap { nr_entries: 128, _pad0: 0, buffer: GuestHandle::new(entries.va()) };
        let answer = memory(cmd, &mut map);
        let word = |at: u64| mm::read(entries.va() + at);
        let count = u64::from(map.nr_entries);
        let sorted =
            answer == 0 && (1..count).all(|i| word(20 * i) >= word(20 * (i - 1)) + word(20 * (i - 1) + 8));
        say!(
            format_args!("memory.{name}"),
            "{answer} entries={} sorted={}",
            ok(count > 0),
            ok(sorted || answer != 0)
        );
        let mut short = MemoryMap { nr_entries: 1, _pad0: 0, buffer: GuestHandle::new(entries.va()) };
        let answer = memory(cmd, &mut short);
        say!(format_args!("memory.{name}-short"), "{answer} entries={}", short.nr_entries);
        let mut nowhere = MemoryMap { nr_entries: 128, _pad0: 0, buffer: GuestHandle::new(0x1000_0000_0000) };
        say!(format_args!("memory.{name}-nowhere"), "{}", memory(cmd, &mut nowhere));
    }
    let mut foreign = ForeignMemoryMap { domid: 500, ..Default::default() };
    say!("memory.set-map-absent", "{}", memory(XENMEM_SET_MEMORY_MAP, &mut foreign));
}

fn others() {
    say!(
        "memory.sharing-freed",
        "{}",
        call(HYPERVISOR_MEMORY_OP, [XENMEM_GET_SHARING_FREED_PAGES.into(), 0, 0, 0])
    );
    say!(
        "memory.sharing-shared",
        "{}",
        call(HYPERVISOR_MEMORY_OP, [XENMEM_GET_SHARING_SHARED_PAGES.into(), 0, 0, 0])
    );
    for (name, space) in [
        ("shared-info", XENMAPSPACE_SHARED_INFO),
        ("grant-table", XENMAPSPACE_GRANT_TABLE),
        ("gmfn", XENMAPSPACE_GMFN),
        ("foreign", XENMAPSPACE_GMFN_FOREIGN),
        ("unknown", 99),
    ] {
        let mut arg = AddToPhysmap { domid: DOMID_SELF, size: 0, space, idx: 0, gpfn: 0x10_0000 };
        say!(format_args!("memory.add-{name}"), "{}", memory(XENMEM_ADD_TO_PHYSMAP, &mut arg));
    }
    let mut arg = RemoveFromPhysmap { domid: DOMID_SELF, gpfn: 1 << 38, ..Default::default() };
    say!("memory.remove", "{}", memory(XENMEM_REMOVE_FROM_PHYSMAP, &mut arg));
    let mut pod = PodTarget { domid: DOMID_SELF, ..Default::default() };
    say!("memory.pod-get", "{}", memory(XENMEM_GET_POD_TARGET, &mut pod));
    say!("memory.pod-set", "{}", memory(XENMEM_SET_POD_TARGET, &mut pod));
    let mut vnuma = VnumaTopologyInfo { domid: DOMID_SELF, ..Default::default() };
    say!("memory.vnuma", "{}", memory(XENMEM_GET_VNUMAINFO, &mut vnuma));
    let mut rdm = ReservedDeviceMemoryMap::default();
    say!("memory.reserved-device", "{}", memory(XENMEM_RESERVED_DEVICE_MEMORY_MAP, &mut rdm));
    let mut claim = reservation(&mut [0; 1], 0, 0);
    claim.extent_start = GuestHandle::NULL;
    say!("memory.claim-self", "{}", memory(XENMEM_CLAIM_PAGES, &mut claim));
    claim.domid = 500;
    say!("memory.claim-absent", "{}", memory(XENMEM_CLAIM_PAGES, &mut claim));
    for (name, domid, kind) in [
        ("own-grants", DOMID_SELF, XENMEM_RESOURCE_GRANT_TABLE),
        ("0-grants", 0, XENMEM_RESOURCE_GRANT_TABLE),
        ("absent-grants", 500, XENMEM_RESOURCE_GRANT_TABLE),
        ("unknown", 0, 9),
    ] {
        let mut arg = MemAcquireResource { domid, type_: kind, ..Default::default() };
        let answer = memory(XENMEM_ACQUIRE_RESOURCE, &mut arg);
        say!(format_args!("memory.resource-{name}"), "{answer} frames={}", arg.nr_frames);
    }
    say!("memory.paging-op", "{}", memory(XENMEM_PAGING_OP, &mut MemPagingOp::default()));
    say!("memory.access-op", "{}", memory(XENMEM_ACCESS_OP, &mut MemAccessOp::default()));
    say!("memory.sharing-op", "{}", memory(XENMEM_SHARING_OP, &mut MemSharingOp::default()));
}
