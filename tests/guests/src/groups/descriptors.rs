//! `descriptors`: GDT, LDT and the entries a guest may put into them.

use abi::xen::*;

use crate::hypercall::{call, mmuext};
use crate::mm::{DATA, Page, READ};
use crate::{probe, say};

/// Flat, DPL 3, present: 64-bit code, 32-bit code, data.
const CODE64: u64 = 0x00af_fb00_0000_ffff;
const CODE32: u64 = 0x00cf_fb00_0000_ffff;
const STACK32: u64 = 0x00cf_f300_0000_ffff;

fn set_gdt(frames: &mut [u64], entries: u64) -> i64 {
    call(HYPERVISOR_SET_GDT, [frames.as_mut_ptr() as u64, entries, 0, 0])
}

fn update(maddr: u64, descriptor: u64) -> i64 {
    call(HYPERVISOR_UPDATE_DESCRIPTOR, [maddr, descriptor, 0, 0])
}

/// Loads a selector into fs and puts the null selector back.
fn load(selector: u64) -> crate::trap::Outcome {
    // SAFETY: nothing here uses fs; a refused selector traps.
    unsafe { probe!(["mov fs, eax", "mov fs, ecx"], in("rax") selector, in("ecx") 0) }
}

pub fn run() {
    gdt();
    entries();
    ldt();
}

fn gdt() {
    let page = Page::new();
    page.set(1, CODE64);
    page.set(2, STACK32);
    let mut frames = [page.mfn()];
    say!("descriptors.gdt-writable", "{}", set_gdt(&mut frames, 512));
    page.map(READ);
    say!("descriptors.gdt-big", "{}", set_gdt(&mut frames, 7169));
    say!("descriptors.gdt-absent", "{}", set_gdt(&mut [1 << 38], 512));
    say!("descriptors.gdt-nowhere", "{}", call(HYPERVISOR_SET_GDT, [0x1000_0000_0000, 512, 0, 0]));
    say!("descriptors.gdt", "{}", set_gdt(&mut frames, 512));
    say!(
        "descriptors.gdt-in-use",
        "writable={} pin={}",
        page.map(DATA),
        mmuext(MMUEXT_PIN_L1_TABLE, page.mfn(), 0)
    );
    say!("descriptors.load-data", "{}", load(2 << 3 | 3));
    say!("descriptors.load-empty", "{}", load(3 << 3 | 3));
    say!("descriptors.load-past-end", "{}", load(600 << 3 | 3));
    say!("descriptors.short", "{} {}", set_gdt(&mut frames, 2), load(2 << 3 | 3));
    say!("descriptors.gdt-none", "{}", set_gdt(&mut frames, 0));
    say!("descriptors.gdt-left", "writable={}", page.map(DATA));
    page.set(3, 0x0000_ec00_e033_0000);
    page.map(READ);
    say!("descriptors.gdt-with-call-gate", "{}", set_gdt(&mut frames, 512));
    set_gdt(&mut frames, 0);
    page.map(DATA);
}

fn entries() {
    let page = Page::new();
    let at = page.maddr() + 8 * 5;
    say!("descriptors.update-data-page", "{} {:#x}", update(at, STACK32), page.get(5));
    say!("descriptors.update-data-page-dpl0", "{} {:#x}", update(at, STACK32 & !(3 << 45)), page.get(5));
    page.set(5, 0);
    page.map(READ);
    set_gdt(&mut [page.mfn()], 512);
    for (name, descriptor) in [
        ("zero", 0u64),
        ("code64", CODE64),
        ("code32", CODE32),
        ("data", STACK32),
        ("code64-dpl0", CODE64 & !(3 << 45)),
        ("code64-dpl1", CODE64 & !(3 << 45) | 1 << 45),
        ("data-dpl0", STACK32 & !(3 << 45)),
        ("code-long-and-32", CODE64 | 1 << 54),
        ("code-conforming", CODE64 | 1 << 42),
        ("data-expand-down", STACK32 | 1 << 42),
        ("not-accessed", STACK32 & !(1 << 40)),
        ("call-gate", 0x0000_ec00_e033_0000),
        ("call-gate-dpl0", 0x0000_8c00_e033_0000),
        ("call-gate-absent", 0x0000_6c00_e033_0000),
        ("ldt-descriptor", 0x0000_e200_0000_ffff),
        ("tss", 0x0000_e900_0000_ffff),
        ("interrupt-gate", 0x0000_ee00_e033_0000),
        ("absent-code", CODE64 & !(1 << 47)),
        ("small-limit", 0x0040_f300_0000_0fff),
    ] {
        let answer = update(at, descriptor);
        say!(format_args!("descriptors.{name}"), "{answer} {:#x} {}", page.get(5), load(5 << 3 | 3));
    }
    say!("descriptors.update-misaligned", "{}", update(at + 4, STACK32));
    say!("descriptors.update-absent", "{}", update(1 << 50, STACK32));
    say!("descriptors.update-table", "{}", update(crate::mm::l4_mfn() << 12, STACK32));
    set_gdt(&mut [0], 0);
    say!("descriptors.left", "{}", page.map(DATA));
}

fn ldt() {
    let page = Page::new();
    page.set(1, STACK32);
    page.set(2, 0x0000_ec00_e033_0000);
    let set = |va, count| mmuext(MMUEXT_SET_LDT, va, count);
    say!("descriptors.ldt-none", "{} {}", set(0, 0), load(1 << 3 | 7));
    say!("descriptors.ldt-misaligned", "{}", set(page.va() + 8, 4));
    say!("descriptors.ldt-big", "{}", set(page.va(), 8193));
    say!("descriptors.ldt-noncanonical", "{}", set(0x8000_0000_0000, 4));
    say!("descriptors.ldt-hypervisor", "{}", set(0xffff_8300_0000_0000, 4));
    say!("descriptors.ldt-writable", "{} {}", set(page.va(), 512), load(1 << 3 | 7));
    page.map(READ);
    say!("descriptors.ldt-call-gate", "{} {}", set(page.va(), 512), load(1 << 3 | 7));
    set(0, 0);
    page.map(DATA);
    page.set(2, 0);
    page.map(READ);
    say!("descriptors.ldt", "{} {}", set(page.va(), 512), load(1 << 3 | 7));
    say!("descriptors.ldt-empty-entry", "{}", load(2 << 3 | 7));
    say!("descriptors.ldt-past-end", "{}", load(512 << 3 | 7));
    say!("descriptors.ldt-in-use", "writable={}", page.map(DATA));
    say!("descriptors.ldt-update", "{} {:#x}", update(page.maddr() + 16, STACK32), page.get(2));
    say!("descriptors.ldt-update-load", "{}", load(2 << 3 | 7));
    say!("descriptors.ldt-clear", "{} writable={}", set(0, 0), page.map(DATA));
}
