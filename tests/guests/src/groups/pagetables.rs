//! `pagetables`: what may be mapped, pinned, written and switched to, and what is refused.

use abi::arch_x86::MACH2PHYS_VIRT_START;
use abi::memory::{MachphysMfnList, XENMEM_MACHPHYS_MFN_LIST};
use abi::xen::*;

use crate::boot::start_info;
use crate::hypercall::{addr, call, mmu_update, mmu_update1, mmuext, op, update_va_mapping};
use crate::mm::{self, A, ADDR, D, DATA, NX, P, PS, Page, READ, RW, TABLE, US, entry, entry_maddr, l4_mfn};
use crate::print::ok;
use crate::{probe, say};

/// An entry's flags, without those the hypervisor may keep for itself: global and bit 52.
fn shown(entry: u64) -> u64 {
    entry & !(ADDR | 1 << 52 | 1 << 8)
}

/// Of an entry that refers to a table: also without accessed and dirty, which the processor sets.
fn shown_upper(entry: u64) -> u64 {
    shown(entry) & !(A | D)
}

/// Inside the address width, but no RAM; outside it.
const NO_RAM_MFN: u64 = 0x7ff_ffff;
const ABSENT_MFN: u64 = 1 << 38;

pub fn run() {
    mappings();
    addresses();
    other_domains();
    pins();
    contents();
    upper_levels();
    batches();
    targets();
    emulated_writes();
    m2p();
    bases();
    m2p_slot(false);
    m2p_slot(true);
    linear();
    linear_chains();
    kept_bits();
    operations();
}

/// Maps an entry at the page's address, answers, shows what stands there, and maps the page again.
fn attempt(name: &str, page: &Page, value: u64) {
    let answer = update_va_mapping(page.va(), value, UVMF_INVLPG);
    let found = entry(page.va(), 1);
    let frame = ok(found & ADDR == value & ADDR);
    say!(format_args!("pagetables.{name}"), "{answer} flags={:#x} frame={frame}", shown(found));
    let answer = page.map(DATA);
    assert!(answer == 0, "{name}: mapping the page again: {answer}");
}

fn mappings() {
    let page = Page::new();
    let own = page.maddr();
    let l1 = entry(page.va(), 2) & ADDR;
    let l4 = l4_mfn() << 12;
    attempt("map-writable", page, own | DATA);
    attempt("map-read-only", page, own | READ);
    attempt("map-without-accessed", page, own | P | RW);
    attempt("map-user", page, own | DATA | US);
    attempt("map-no-execute", page, own | DATA | NX);
    attempt("map-global", page, own | DATA | 0x100);
    attempt("map-available", page, own | DATA | 0xe00);
    attempt("map-available-high", page, own | DATA | 0x3f << 52);
    attempt("map-bit-58", page, own | DATA | 1 << 58);
    attempt("map-bit-59", page, own | DATA | 1 << 59);
    attempt("map-bit-62", page, own | DATA | 1 << 62);
    attempt("map-pat", page, own | DATA | PS);
    attempt("map-write-through", page, own | DATA | 8);
    attempt("map-uncached", page, own | DATA | 0x18);
    attempt("map-write-combining", page, own | DATA | PS | 8);
    attempt("map-not-present", page, 0xdead_b000 | 0x800);
    attempt("map-l1-writable", page, l1 | DATA);
    attempt("map-l1-read-only", page, l1 | READ);
    attempt("map-l4-writable", page, l4 | DATA);
    attempt("map-l4-read-only", page, l4 | READ);
    attempt(
        "map-start-info",
        page,
        mm::p2m((core::ptr::from_ref(start_info()) as u64 - mm::VIRT_BASE) >> 12) << 12 | DATA,
    );
    attempt("map-shared-info", page, start_info().shared_info | DATA);
    attempt("map-no-ram", page, NO_RAM_MFN << 12 | DATA);
    attempt("map-absent", page, ABSENT_MFN << 12 | DATA);
    attempt("map-vga", page, 0xb_8000 | DATA);
    attempt("map-vga-uncached", page, 0xb_8000 | DATA | 0x18);
    attempt("map-local-apic", page, 0xfee0_0000 | DATA);
    attempt("map-local-apic-read-only", page, 0xfee0_0000 | READ);
    attempt("map-msi-range", page, 0xfee0_1000 | DATA);
    attempt("map-ioapic", page, 0xfec0_0000 | DATA);
    attempt("map-ioapic-read-only", page, 0xfec0_0000 | READ);
    attempt("map-mmconfig", page, 0xb000_0000 | DATA);
    let mut first = 0u64;
    let mut list = MachphysMfnList {
        max_extents: 1,
        extent_start: abi::GuestHandle::new(addr(&mut first)),
        ..Default::default()
    };
    let answer = op(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_MFN_LIST, &mut list);
    say!("pagetables.m2p-frames", "{answer} {}", list.nr_extents);
    attempt("map-m2p-writable", page, first << 12 | DATA);
    attempt("map-m2p-read-only", page, first << 12 | READ);
}

fn addresses() {
    let page = Page::new();
    let (va, good) = (page.va(), page.maddr() | DATA);
    for (name, va) in [
        ("hypervisor", 0xffff_8300_0000_0000),
        ("m2p", MACH2PHYS_VIRT_START),
        ("noncanonical", 0x8000_0000_0000),
        ("no-table", 0x10_0000_0000),
        ("misaligned", va + 8),
    ] {
        say!(format_args!("pagetables.va-{name}"), "{}", update_va_mapping(va, good, UVMF_INVLPG));
    }
    for flags in 0..8 {
        say!(format_args!("pagetables.va-flags-{flags}"), "{}", update_va_mapping(va, good, flags));
    }
    let mut mask = 1u64;
    let masked = addr(&mut mask);
    say!("pagetables.va-flush-mask", "{}", update_va_mapping(va, good, masked | UVMF_TLB_FLUSH));
    say!("pagetables.va-invlpg-mask", "{}", update_va_mapping(va, good, masked | UVMF_INVLPG));
    say!("pagetables.va-mask-nowhere", "{}", update_va_mapping(va, good, 0x1000_0000_0000 | UVMF_INVLPG));
}

fn other_domains() {
    let page = Page::new();
    let other = |dom: u16, value: u64| {
        let answer =
            call(HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN, [page.va(), value, UVMF_INVLPG, dom.into()]);
        page.map(DATA);
        answer
    };
    let good = page.maddr() | DATA;
    for (name, dom) in [
        ("absent", 500),
        ("self", DOMID_SELF),
        ("0", 0),
        ("io", DOMID_IO),
        ("xen", DOMID_XEN),
        ("idle", DOMID_IDLE),
        ("invalid", DOMID_INVALID),
    ] {
        say!(format_args!("pagetables.other-{name}"), "{}", other(dom, good));
    }
    say!("pagetables.other-io-vga", "{}", other(DOMID_IO, 0xb_8000 | DATA));
    say!("pagetables.other-self-vga", "{}", other(DOMID_SELF, 0xb_8000 | DATA));
    let target = entry_maddr(page.va(), 1).unwrap_or(0);
    let foreign = |dom: u64, cmd: u64| {
        let mut update = MmuUpdate { ptr: target | cmd, val: good };
        let mut done = 0u32;
        let answer = call(HYPERVISOR_MMU_UPDATE, [addr(&mut update), 1, addr(&mut done), dom]);
        (answer, done)
    };
    say!("pagetables.update-for-absent", "{:?}", foreign(500, 0));
    say!("pagetables.update-for-io", "{:?}", foreign(DOMID_IO.into(), 0));
    say!("pagetables.update-for-xen", "{:?}", foreign(DOMID_XEN.into(), 0));
    say!("pagetables.update-in-absent", "{:?}", foreign(501 << 16 | u64::from(DOMID_SELF), 0));
    say!(
        "pagetables.update-in-self",
        "{:?}",
        foreign((1 + u64::from(DOMID_SELF)) << 16 | u64::from(DOMID_SELF), 0)
    );
    say!("pagetables.update-in-0", "{:?}", foreign(1 << 16 | u64::from(DOMID_SELF), 0));
    say!("pagetables.update-no-translate", "{:?}", foreign(DOMID_SELF.into(), MMU_PT_UPDATE_NO_TRANSLATE));
    page.map(DATA);
}

fn pin(level: u32, page: &Page) -> i64 {
    mmuext(MMUEXT_PIN_L1_TABLE + level - 1, page.mfn(), 0)
}

fn unpin(page: &Page) -> i64 {
    mmuext(MMUEXT_UNPIN_TABLE, page.mfn(), 0)
}

fn pins() {
    let table = Page::new();
    say!("pagetables.pin-writable", "{}", pin(1, table));
    say!("pagetables.unpin-data", "{}", unpin(table));
    table.map(READ);
    for level in 1..=4 {
        say!(
            format_args!("pagetables.pin-l{level}"),
            "{} again={} as-other={} writable={} unpin={} again={}",
            pin(level, table),
            pin(level, table),
            pin(level % 4 + 1, table),
            table.map(DATA),
            unpin(table),
            unpin(table)
        );
    }
    say!("pagetables.writable-after-unpin", "{}", table.map(DATA));
    say!("pagetables.pin-absent", "{}", mmuext(MMUEXT_PIN_L1_TABLE, ABSENT_MFN, 0));
    say!("pagetables.pin-no-ram", "{}", mmuext(MMUEXT_PIN_L1_TABLE, NO_RAM_MFN, 0));
    say!("pagetables.unpin-absent", "{}", mmuext(MMUEXT_UNPIN_TABLE, ABSENT_MFN, 0));
    say!("pagetables.pin-shared-info", "{}", mmuext(MMUEXT_PIN_L1_TABLE, start_info().shared_info >> 12, 0));
    // A table that another table refers to stays a table without its pin.
    let [l2, l1, data] = core::array::from_fn(|_| Page::new());
    l1.set(3, data.maddr() | DATA);
    l2.set(7, l1.maddr() | TABLE);
    l1.map(READ);
    l2.map(READ);
    say!("pagetables.pin-tree", "{}", pin(2, l2));
    say!("pagetables.tree-leaf-writable", "{}", l1.map(DATA));
    say!("pagetables.tree-leaf-pin", "{} {}", pin(1, l1), unpin(l1));
    say!("pagetables.tree-leaf-pin-l2", "{}", pin(2, l1));
    let clear = mmu_update1(l2.maddr() + 8 * 7, 0);
    say!("pagetables.tree-cut", "{clear} writable={}", l1.map(DATA));
    say!("pagetables.tree-hang-writable", "{}", mmu_update1(l2.maddr() + 8 * 7, l1.maddr() | TABLE));
    say!("pagetables.tree-unpin", "{} writable={}", unpin(l2), l2.map(DATA));
    l1.set(3, 0);
}

/// Pins a table with one entry; afterwards the table must be writable again.
fn pin_with(name: &str, level: u32, value: u64) {
    let table = Page::new();
    table.set(9, value);
    table.map(READ);
    let answer = pin(level, table);
    let found = table.get(9);
    let unpinned = unpin(table);
    let writable = table.map(DATA);
    say!(
        format_args!("pagetables.{name}"),
        "{answer} flags={:#x} unpin={unpinned} writable={writable}",
        if level == 1 { shown(found) } else { shown_upper(found) }
    );
    table.set(9, 0);
}

fn contents() {
    let data = Page::new();
    let (own, l1) = (data.maddr(), entry(data.va(), 2) & ADDR);
    let (l2, l3) = (entry(data.va(), 3) & ADDR, entry(data.va(), 4) & ADDR);
    pin_with("l1-data", 1, own | DATA);
    pin_with("l1-data-no-user", 1, own | P | RW);
    pin_with("l1-table-writable", 1, l1 | DATA);
    pin_with("l1-table-read-only", 1, l1 | READ);
    pin_with("l1-absent", 1, ABSENT_MFN << 12 | READ);
    pin_with("l1-apic", 1, 0xfee0_0000 | READ);
    pin_with("l1-bits-52-62", 1, own | DATA | 0x7ff << 52);
    pin_with("l1-not-present", 1, !1);
    pin_with("l2-data", 2, own | TABLE);
    pin_with("l2-l1", 2, l1 | TABLE);
    pin_with("l2-l1-global", 2, l1 | TABLE | 0x100);
    pin_with("l2-l1-no-user", 2, l1 | P | RW);
    pin_with("l2-l2", 2, l2 | TABLE);
    pin_with("l2-superpage", 2, l1 & !0x1f_ffff | TABLE | PS);
    pin_with("l2-superpage-vga", 2, TABLE | PS);
    pin_with("l2-high-bits", 2, l1 | TABLE | 0x7ff << 52);
    pin_with("l2-absent", 2, ABSENT_MFN << 12 | TABLE);
    pin_with("l3-l2", 3, l2 | TABLE);
    pin_with("l3-l1", 3, l1 | TABLE);
    pin_with("l3-superpage", 3, PS | TABLE);
    pin_with("l3-high-bits", 3, l2 | TABLE | 0x7ff << 52);
    pin_with("l4-l3", 4, l3 | TABLE);
    pin_with("l4-l1", 4, l1 | TABLE);
    pin_with("l4-page-size", 4, l3 | TABLE | PS);
    pin_with("l4-global", 4, l3 | TABLE | 0x100);
    pin_with("l4-no-execute", 4, l3 | TABLE | NX);
    pin_with("l4-l3-read-only", 4, l3 | P);
}

fn upper_levels() {
    let l4 = start_info().pt_base;
    let in_use = l4_mfn() << 12;
    for slot in [256u64, 257, 260, 261, 262, 263, 271] {
        let before = mm::read(l4 + 8 * slot);
        let answer = mmu_update1(in_use + 8 * slot, 0);
        say!(
            format_args!("pagetables.slot-{slot}"),
            "{answer} unchanged={}",
            mm::read(l4 + 8 * slot) == before
        );
    }
    for slot in [0u64, 255, 272, 510] {
        say!(format_args!("pagetables.slot-{slot}"), "{}", mmu_update1(in_use + 8 * slot, 0));
    }
    let page = Page::new();
    for level in 2..=4 {
        let (Some(at), value) = (entry_maddr(page.va(), level), entry(page.va(), level)) else { continue };
        let change = |value| {
            let answer = mmu_update1(at, value);
            (answer, shown_upper(entry(page.va(), level)))
        };
        say!(format_args!("pagetables.l{level}-same"), "{:x?}", change(value));
        say!(format_args!("pagetables.l{level}-ps"), "{:x?}", change(value | PS));
        say!(format_args!("pagetables.l{level}-no-user"), "{:x?}", change(value & !US));
        say!(format_args!("pagetables.l{level}-available"), "{:x?}", change(value | 0xe00));
        say!(format_args!("pagetables.l{level}-no-execute-elsewhere"), "{:x?}", change(value & !NX));
        say!(format_args!("pagetables.l{level}-to-data"), "{:x?}", change(page.maddr() | TABLE));
        say!(format_args!("pagetables.l{level}-restored"), "{:x?}", change(value));
    }
}

fn batches() {
    let [one, two, three] = core::array::from_fn(|_| Page::new());
    let at = |page: &Page| entry_maddr(page.va(), 1).unwrap_or(0);
    let read_only = |page: &Page| MmuUpdate { ptr: at(page), val: page.maddr() | READ };
    let bad = MmuUpdate { ptr: at(two), val: l4_mfn() << 12 | DATA };
    let answer = mmu_update(&mut [read_only(one), bad, read_only(three)]);
    let flags = |page: &Page| entry(page.va(), 1) & 0x67;
    say!("pagetables.batch", "{answer:?} {:x?}", [flags(one), flags(two), flags(three)]);
    let answer = mmu_update(&mut [read_only(one), read_only(two), read_only(three)]);
    say!("pagetables.batch-good", "{answer:?} {:x?}", [flags(one), flags(two), flags(three)]);
    say!("pagetables.batch-empty", "{:?}", mmu_update(&mut []));
    let mut good = read_only(one);
    say!(
        "pagetables.batch-done-null",
        "{}",
        call(HYPERVISOR_MMU_UPDATE, [addr(&mut good), 1, 0, DOMID_SELF.into()])
    );
    let mut done = 7u32;
    let hostile = call(
        HYPERVISOR_MMU_UPDATE,
        [addr(&mut good), u64::from(MMU_UPDATE_PREEMPTED) | 1, addr(&mut done), DOMID_SELF.into()],
    );
    say!("pagetables.batch-preempted-bit", "{hostile} {done}");
    for page in [one, two, three] {
        page.map(DATA);
    }
    // Accessed and dirty bits: kept by one command, replaced by the other.
    one.set(0, 1);
    let plain = one.maddr() | P | RW;
    let kept = mmu_update1(at(one) | MMU_PT_UPDATE_PRESERVE_AD, plain);
    say!("pagetables.preserve-ad", "{kept} {:#x}", flags(one));
    let replaced = mmu_update1(at(one), plain);
    say!("pagetables.replace-ad", "{replaced} {:#x}", flags(one));
    one.map(DATA);
}

/// mmu_update aimed at something that is not an entry of a table.
fn targets() {
    let page = Page::new();
    let zero = |ptr| mmu_update1(ptr, 0x1234_0000);
    say!("pagetables.target-writable", "{} {:#x}", zero(page.maddr() + 16), page.get(2));
    page.map(READ);
    say!("pagetables.target-untyped", "{} {:#x}", zero(page.maddr() + 24), page.get(3));
    page.map(DATA);
    say!("pagetables.target-misaligned", "{}", zero(page.maddr() + 4));
    say!("pagetables.target-absent", "{}", zero(ABSENT_MFN << 12));
    say!("pagetables.target-vga", "{}", zero(0xb_8000));
    say!("pagetables.target-shared-info", "{}", zero(start_info().shared_info + 4088));
    page.set(2, 0);
    page.set(3, 0);
}

fn emulated_writes() {
    let [table, data, l2] = core::array::from_fn(|_| Page::new());
    table.map(READ);
    l2.map(READ);
    say!("pagetables.write-setup", "{} {}", pin(1, table), pin(2, l2));
    let good = data.maddr() | P | RW;
    let va = table.va() + 8 * 5;
    let found = || shown(table.get(5));
    // SAFETY: of each probe here: the write goes to the check's own table, by the hypervisor's hand.
    unsafe {
        say!(
            "pagetables.write",
            "{} {:#x} frame={}",
            probe!(["mov [rax], rcx"], in("rax") va, in("rcx") good),
            found(),
            ok(table.get(5) & ADDR == good & ADDR)
        );
        say!(
            "pagetables.write-table-writable",
            "{} {:#x}",
            probe!(["mov [rax], rcx"], in("rax") va, in("rcx") l4_mfn() << 12 | DATA),
            found()
        );
        say!(
            "pagetables.write-absent",
            "{} {:#x}",
            probe!(["mov [rax], rcx"], in("rax") va, in("rcx") ABSENT_MFN << 12 | READ),
            found()
        );
        say!("pagetables.write-or", "{} {:#x}", probe!(["or qword ptr [rax], 0x20"], in("rax") va), found());
        say!(
            "pagetables.write-lock-or",
            "{} {:#x}",
            probe!(["lock or qword ptr [rax], 0x40"], in("rax") va),
            found()
        );
        say!("pagetables.write-and", "{} {:#x}", probe!(["and qword ptr [rax], ~2"], in("rax") va), found());
        say!(
            "pagetables.write-btr",
            "{} {:#x}",
            probe!(["lock btr qword ptr [rax], 5"], in("rax") va),
            found()
        );
        let old = table.get(5);
        let zero_flag: u8;
        let outcome = probe!(["lock cmpxchg [rdx], rcx", "setz r8b"], inout("rax") old => _, in("rcx") good, in("rdx") va, lateout("r8b") zero_flag);
        say!("pagetables.write-cmpxchg", "{outcome} {:#x} zf={zero_flag}", found());
        let outcome = probe!(["lock cmpxchg [rdx], rcx", "setz r8b"], inout("rax") 77u64 => _, in("rcx") 0u64, in("rdx") va, out("r8b") _);
        say!("pagetables.write-cmpxchg-other", "{outcome} {:#x}", found());
        let swapped: u64;
        let outcome = probe!(["xchg [rdx], rax"], inout("rax") 0u64 => swapped, in("rdx") va);
        say!("pagetables.write-xchg", "{outcome} {:#x} was={:#x}", found(), shown(swapped));
        say!(
            "pagetables.write-again",
            "{} {:#x}",
            probe!(["mov [rax], rcx"], in("rax") va, in("rcx") good),
            found()
        );
        say!(
            "pagetables.write-4-bytes",
            "{} {:#x}",
            probe!(["mov [rax], ecx"], in("rax") va, in("ecx") 0),
            found()
        );
        say!(
            "pagetables.write-1-byte",
            "{} {:#x}",
            probe!(["mov [rax], cl"], in("rax") va, in("cl") 0u8),
            found()
        );
        say!(
            "pagetables.write-misaligned",
            "{}",
            probe!(["mov [rax], rcx"], in("rax") va + 4, in("rcx") 0u64)
        );
        say!(
            "pagetables.write-immediate",
            "{} {:#x}",
            probe!(["mov qword ptr [rax], 0"], in("rax") va),
            found()
        );
        say!(
            "pagetables.write-stosq",
            "{} {:#x}",
            probe!(["stosq"], inout("rdi") va => _, in("rax") good),
            found()
        );
        say!("pagetables.write-l2", "{}", probe!(["mov [rax], rcx"], in("rax") l2.va(), in("rcx") 0u64));
        say!(
            "pagetables.write-l4",
            "{}",
            probe!(["mov [rax], rcx"], in("rax") start_info().pt_base, in("rcx") 0u64)
        );
    }
    let assist =
        |cmd: u32| call(HYPERVISOR_VM_ASSIST, [cmd.into(), VMASST_TYPE_WRITABLE_PAGETABLES.into(), 0, 0]);
    say!("pagetables.write-assist", "{}", assist(VMASST_CMD_ENABLE));
    // SAFETY: as above.
    unsafe {
        say!(
            "pagetables.write-assisted",
            "{} {:#x}",
            probe!(["mov [rax], rcx"], in("rax") va, in("rcx") good),
            found()
        );
        say!(
            "pagetables.write-assisted-l2",
            "{}",
            probe!(["mov [rax], rcx"], in("rax") l2.va(), in("rcx") 0u64)
        );
        say!(
            "pagetables.write-assisted-clear",
            "{} {:#x}",
            probe!(["mov [rax], rcx"], in("rax") va, in("rcx") 0u64),
            found()
        );
    }
    assist(VMASST_CMD_DISABLE);
    say!("pagetables.write-done", "{} {} {} {}", unpin(table), unpin(l2), table.map(DATA), l2.map(DATA));
    table.set(5, 0);
}

fn m2p() {
    let page = Page::new();
    let set = |maddr: u64, value| mmu_update1(maddr | MMU_MACHPHYS_UPDATE, value);
    let answer = set(page.maddr(), 0x1234);
    say!("pagetables.m2p", "{answer} {:#x}", mm::m2p(page.mfn()));
    set(page.maddr(), page.pfn());
    say!("pagetables.m2p-restored", "{}", ok(mm::m2p(page.mfn()) == page.pfn()));
    say!("pagetables.m2p-absent", "{}", set(ABSENT_MFN << 12, 0));
    say!("pagetables.m2p-no-ram", "{}", set(NO_RAM_MFN << 12, 0));
    say!(
        "pagetables.m2p-shared-info",
        "{}",
        set(start_info().shared_info, mm::m2p(start_info().shared_info >> 12))
    );
}

fn cr3() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, cr3", out(reg) value) };
    value
}

fn bases() {
    let old = l4_mfn();
    let [new, data] = core::array::from_fn(|_| Page::new());
    data.set(0, 0x5555_5555);
    say!("pagetables.base-data", "{}", mmuext(MMUEXT_NEW_BASEPTR, data.mfn(), 0));
    say!("pagetables.base-l3", "{}", mmuext(MMUEXT_NEW_BASEPTR, (entry(data.va(), 4) & ADDR) >> 12, 0));
    say!("pagetables.base-absent", "{}", mmuext(MMUEXT_NEW_BASEPTR, ABSENT_MFN, 0));
    say!("pagetables.base-zero", "{}", mmuext(MMUEXT_NEW_BASEPTR, 0, 0));
    for slot in (0..512).filter(|slot| !(256..272).contains(slot)) {
        new.set(slot, mm::read(start_info().pt_base + 8 * slot as u64));
    }
    say!("pagetables.base-writable", "{}", mmuext(MMUEXT_NEW_BASEPTR, new.mfn(), 0));
    new.map(READ);
    say!(
        "pagetables.base-new",
        "{} cr3={}",
        mmuext(MMUEXT_NEW_BASEPTR, new.mfn(), 0),
        ok(cr3() == new.maddr())
    );
    say!("pagetables.base-in-use", "writable={} pin={} unpin={}", new.map(DATA), pin(4, new), unpin(new));
    say!("pagetables.base-old-pinned", "{}", mmuext(MMUEXT_PIN_L4_TABLE, old, 0));
    say!("pagetables.base-back", "{} cr3={}", mmuext(MMUEXT_NEW_BASEPTR, old, 0), ok(cr3() == old << 12));
    say!("pagetables.base-left", "writable={}", new.map(DATA));
    say!("pagetables.base-unpin-own", "{}", mmuext(MMUEXT_UNPIN_TABLE, old, 0));
    say!(
        "pagetables.base-own-unpinned",
        "writable={}",
        update_va_mapping(data.va(), old << 12 | DATA, UVMF_INVLPG)
    );
    say!("pagetables.base-pin-own", "{}", mmuext(MMUEXT_PIN_L4_TABLE, old, 0));
}

/// Recursive entries: an L4 that refers to itself, read-only.
fn linear() {
    const SLOT: u64 = 300;
    let l4 = l4_mfn() << 12;
    let set = |value| mmu_update1(l4 + 8 * SLOT, value);
    say!("pagetables.linear-writable", "{}", set(l4 | P | RW | A));
    let answer = set(l4 | P | A);
    let va = 0xffff << 48 | SLOT << 39 | SLOT << 30 | SLOT << 21 | SLOT << 12;
    let found = if answer == 0 { mm::read(va + 8 * 511) } else { 0 };
    say!(
        "pagetables.linear",
        "{answer} {}",
        ok(found & ADDR == mm::read(start_info().pt_base + 8 * 511) & ADDR)
    );
    say!("pagetables.linear-clear", "{}", set(0));
    let [other, l2] = core::array::from_fn(|_| Page::new());
    other.set(3, l4 | P | A);
    other.map(READ);
    say!("pagetables.linear-to-other", "{} {}", pin(4, other), unpin(other));
    l2.set(3, l2.maddr() | P | A);
    l2.map(READ);
    say!("pagetables.linear-l2", "{} {}", pin(2, l2), unpin(l2));
    say!("pagetables.linear-done", "{} {}", other.map(DATA), l2.map(DATA));
    other.set(3, 0);
    l2.set(3, 0);
}

/// Entries that refer to tables of their own level, which neither refer to such nor are referred to twice over.
fn linear_chains() {
    for level in 2..=4 {
        let [a, b, c, data] = core::array::from_fn(|_| Page::new());
        for table in [a, b, c, data] {
            table.map(READ);
        }
        let entry = |of: &Page, slot: u64, to: Option<&Page>| {
            mmu_update1(of.maddr() + 8 * slot, to.map_or(0, |to| to.maddr() | P | A))
        };
        macro_rules! tell {
            ($check:expr, $($rest:tt)*) => {
                say!(format_args!("pagetables.linear-l{level}-{}", $check), $($rest)*)
            };
        }
        tell!("to-data", "{} {}", pin(level, a), entry(a, 3, Some(data)));
        tell!("to-writable-typed", "{}", {
            data.map(DATA);
            let answer = entry(a, 3, Some(data));
            data.map(READ);
            answer
        });
        tell!("pins", "{} {}", pin(level, b), pin(level, c));
        tell!("to-pinned", "{} again={}", entry(a, 3, Some(b)), entry(a, 4, Some(b)));
        tell!("flags", "{:#x}", shown_upper(a.get(3)));
        tell!("writable", "{}", mmu_update1(a.maddr() + 8 * 3, b.maddr() | TABLE));
        tell!(
            "two-more",
            "c-to-b={} c-to-a={} b-to-c={} b-to-a={}",
            entry(c, 3, Some(b)),
            entry(c, 4, Some(a)),
            entry(b, 3, Some(c)),
            entry(b, 4, Some(a))
        );
        tell!("selves", "{} {}", entry(a, 5, Some(a)), entry(b, 5, Some(b)));
        tell!("one-less", "{} b-to-c={}", entry(a, 3, None), entry(b, 3, Some(c)));
        tell!("none", "{} {} b-to-c={}", entry(a, 4, None), entry(c, 3, None), entry(b, 3, Some(c)));
        tell!(
            "turned",
            "a-to-b={} a-to-c={} c-to-a={}",
            entry(a, 3, Some(b)),
            entry(a, 4, Some(c)),
            entry(c, 3, Some(a))
        );
        tell!("unpin-used", "{} writable={} {}", unpin(c), c.map(DATA), entry(c, 7, None));
        tell!(
            "unpin-user",
            "{} {} writable={} {} {}",
            unpin(b),
            unpin(a),
            c.map(DATA),
            a.map(DATA),
            b.map(DATA)
        );
        for table in [a, b, c] {
            for slot in 3..8 {
                table.set(slot, 0);
            }
        }
        data.map(DATA);
    }
}

/// The machine-to-physical table's slot of a new L4, in kernel and user use.
fn m2p_slot(strict: bool) {
    let mode = if strict { "strict" } else { "default" };
    let assist = |cmd: u32| call(HYPERVISOR_VM_ASSIST, [cmd.into(), VMASST_TYPE_M2P_STRICT.into(), 0, 0]);
    if strict {
        say!("pagetables.m2p-strict", "{}", assist(VMASST_CMD_ENABLE));
    }
    let old = l4_mfn();
    let old_slot = || if mm::read(start_info().pt_base + 8 * 256) & P != 0 { "there" } else { "blank" };
    say!(format_args!("pagetables.m2p-{mode}-own"), "{}", old_slot());
    let [user, kernel] = core::array::from_fn(|_| Page::new());
    for new in [user, kernel] {
        for slot in (0..512).filter(|slot| !(256..272).contains(slot)) {
            new.set(slot, mm::read(start_info().pt_base + 8 * slot as u64));
        }
        new.map(READ);
        pin(4, new);
    }
    let slot = |page: &Page| if page.get(256) & P != 0 { "there" } else { "blank" };
    let user_base = |mfn: u64| mmuext(MMUEXT_NEW_USER_BASEPTR, mfn, 0);
    let kernel_base = |mfn: u64| mmuext(MMUEXT_NEW_BASEPTR, mfn, 0);
    say!(format_args!("pagetables.m2p-{mode}-pinned"), "{}", slot(user));
    say!(format_args!("pagetables.m2p-{mode}-user"), "{} {}", user_base(user.mfn()), slot(user));
    say!(format_args!("pagetables.m2p-{mode}-both"), "{} {}", kernel_base(user.mfn()), slot(user));
    say!(format_args!("pagetables.m2p-{mode}-user-again"), "{} {}", user_base(user.mfn()), slot(user));
    say!(format_args!("pagetables.m2p-{mode}-kernel-again"), "{} {}", kernel_base(user.mfn()), slot(user));
    say!(format_args!("pagetables.m2p-{mode}-kernel"), "{} {}", kernel_base(kernel.mfn()), slot(kernel));
    say!(format_args!("pagetables.m2p-{mode}-then-user"), "{} {}", user_base(kernel.mfn()), slot(kernel));
    say!(format_args!("pagetables.m2p-{mode}-other"), "{} {}", user_base(user.mfn()), slot(user));
    say!(format_args!("pagetables.m2p-{mode}-back"), "{} {}", kernel_base(old), slot(kernel));
    say!(format_args!("pagetables.m2p-{mode}-old-as-user"), "{} {}", user_base(old), old_slot());
    say!(format_args!("pagetables.m2p-{mode}-old-again"), "{} {}", kernel_base(old), old_slot());
    if strict {
        say!("pagetables.m2p-not-strict", "{} {}", assist(VMASST_CMD_DISABLE), old_slot());
        say!("pagetables.m2p-not-strict-same", "{} {}", kernel_base(old), old_slot());
        say!("pagetables.m2p-not-strict-other", "{} {}", kernel_base(kernel.mfn()), slot(kernel));
        say!("pagetables.m2p-not-strict-back", "{} {}", kernel_base(old), old_slot());
    }
    say!(format_args!("pagetables.m2p-{mode}-none"), "{} {}", user_base(0), old_slot());
    say!(
        format_args!("pagetables.m2p-{mode}-done"),
        "{} {} {} {}",
        unpin(user),
        unpin(kernel),
        user.map(DATA),
        kernel.map(DATA)
    );
}

/// What becomes of the bits that the hypervisor has a use for itself: global, and bit 52.
fn kept_bits() {
    let page = Page::new();
    for (name, flags) in [
        ("kernel", P | RW),
        ("kernel-global", P | RW | 0x100),
        ("user", P | RW | US),
        ("user-global", P | RW | US | 0x100),
        ("user-bit-52", P | RW | US | 1 << 52),
        ("not-present", 0x100 | US),
    ] {
        let answer = update_va_mapping(page.va(), page.maddr() | flags, UVMF_INVLPG);
        say!(
            format_args!("pagetables.bits-{name}"),
            "{answer} {:#x}",
            entry(page.va(), 1) & (P | RW | US | 0x100 | 1 << 52)
        );
    }
    page.map(DATA);
}

fn operations() {
    let [page, from] = core::array::from_fn(|_| Page::new());
    page.set(5, 0x55);
    from.set(6, 0x66);
    say!("pagetables.clear-page", "{} {:#x}", mmuext(MMUEXT_CLEAR_PAGE, page.mfn(), 0), page.get(5));
    say!("pagetables.copy-page", "{} {:#x}", mmuext(MMUEXT_COPY_PAGE, page.mfn(), from.mfn()), page.get(6));
    say!("pagetables.clear-table", "{}", mmuext(MMUEXT_CLEAR_PAGE, l4_mfn(), 0));
    say!("pagetables.copy-to-table", "{}", mmuext(MMUEXT_COPY_PAGE, l4_mfn(), from.mfn()));
    say!(
        "pagetables.copy-from-table",
        "{} {}",
        mmuext(MMUEXT_COPY_PAGE, page.mfn(), l4_mfn()),
        ok(page.get(511) & P != 0)
    );
    say!("pagetables.clear-absent", "{}", mmuext(MMUEXT_CLEAR_PAGE, ABSENT_MFN, 0));
    say!("pagetables.copy-absent", "{}", mmuext(MMUEXT_COPY_PAGE, page.mfn(), ABSENT_MFN));
    let mut mask = 1u64;
    for (name, cmd, arg) in [
        ("flush-local", MMUEXT_TLB_FLUSH_LOCAL, 0),
        ("flush-all", MMUEXT_TLB_FLUSH_ALL, 0),
        ("invlpg-local", MMUEXT_INVLPG_LOCAL, page.va()),
        ("invlpg-local-noncanonical", MMUEXT_INVLPG_LOCAL, 0x8000_0000_0000),
        ("invlpg-all", MMUEXT_INVLPG_ALL, page.va()),
        ("flush-cache", MMUEXT_FLUSH_CACHE, 0),
        ("flush-cache-global", MMUEXT_FLUSH_CACHE_GLOBAL, 0),
        ("mark-super", MMUEXT_MARK_SUPER, 0),
        ("unmark-super", MMUEXT_UNMARK_SUPER, 0),
        ("command-14", 14, 0),
        ("command-99", 99, 0),
    ] {
        say!(format_args!("pagetables.{name}"), "{}", mmuext(cmd, arg, 0));
    }
    let mask = addr(&mut mask);
    say!("pagetables.flush-multi", "{}", mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, mask));
    say!("pagetables.invlpg-multi", "{}", mmuext(MMUEXT_INVLPG_MULTI, page.va(), mask));
    say!("pagetables.flush-multi-nowhere", "{}", mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, 0x1000_0000_0000));
    let ext = |cmd, count: u64, dom: u16| {
        let mut ops = [MmuextOp { cmd, _pad0: 0, arg1: 0, arg2: 0 }; 2];
        let mut done = 9u32;
        let answer =
            call(HYPERVISOR_MMUEXT_OP, [ops.as_mut_ptr() as u64, count, addr(&mut done), dom.into()]);
        (answer, done)
    };
    say!("pagetables.ext-two", "{:?}", ext(MMUEXT_TLB_FLUSH_LOCAL, 2, DOMID_SELF));
    say!("pagetables.ext-none", "{:?}", ext(MMUEXT_TLB_FLUSH_LOCAL, 0, DOMID_SELF));
    say!("pagetables.ext-bad", "{:?}", ext(99, 2, DOMID_SELF));
    say!("pagetables.ext-for-absent", "{:?}", ext(MMUEXT_TLB_FLUSH_LOCAL, 1, 500));
    say!("pagetables.ext-for-io", "{:?}", ext(MMUEXT_TLB_FLUSH_LOCAL, 1, DOMID_IO));
    // Accessed and dirty bits of a translation that was flushed come back by use.
    page.map(READ);
    let cleared = entry(page.va(), 1) & (A | D);
    page.map(P | RW);
    page.set(0, 1);
    say!("pagetables.used", "{cleared:#x} {:#x}", entry(page.va(), 1) & (A | D));
    page.map(DATA);
}
