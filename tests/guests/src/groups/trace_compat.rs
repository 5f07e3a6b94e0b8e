//! `trace`: 32-bit code in user mode: its system calls by each instruction, its faults, descriptors of GDT and LDT.

use abi::arch_x86::SEGBASE_FS;
use abi::callback::*;
use abi::xen::*;

use super::trace_iret::Return;
use super::trace_user::*;
use crate::hypercall::{call, mmuext};
use crate::mm::{DATA, Page, READ};
use crate::say;
use crate::trace::*;

/// Flat 32-bit code and data of user mode; data whose base is 0x501000.
const CODE32: u64 = 0x00cf_fb00_0000_ffff;
const DATA32: u64 = 0x00cf_f300_0000_ffff;
const BASED: u64 = 0x0040_f350_1000_0fff;

fn frame32(code: unsafe extern "C" fn(), rflags: u64) -> Return {
    Return { cs: 0xe023, ..frame(code, rflags) }
}

/// Compatibility mode sees the low halves.
fn pattern32() -> Regs {
    let mut p = Regs::pattern();
    p.gpr[..8].iter_mut().for_each(|r| *r &= 0xffff_ffff);
    p
}

pub fn run() {
    let p = pattern32();
    for (name, code, regs) in [
        ("landing", c_landing as unsafe extern "C" fn(), p),
        ("ud2", c_ud2, p),
        ("int-80", c_int_80, p),
        ("int-84", c_int_84, p),
        ("read-unmapped", c_read, p.with(&[(RBX, 0x50_3008)])),
        ("into", c_into, p),
        ("bound", c_bound, p.with(&[(RBX, 0x50_2000)])),
        ("far-return-64", c_far_return_64, p.with(&[(RCX, super::trace_user::landing())])),
        ("syscall-unregistered", c_syscall, p),
        ("sysenter-unregistered", c_sysenter, p),
        ("load-fs", c_load_fs_word, p.with(&[(RBX, 0xe02b)])),
        ("load-fs-bad", c_load_fs_word, p.with(&[(RBX, 0x1238)])),
    ] {
        both(Name::new(format_args!("compat-{name}")).as_str(), &frame32(code, 0x202), regs, 0x50_3000);
    }
    let ret = Return { rsp: 0x50_3108, ..frame32(c_push, 0x202) };
    both("compat-push-unmapped", &ret, p, 0x50_3000);
    system_calls();
    descriptors();
    call(HYPERVISOR_SET_SEGMENT_BASE, [SEGBASE_FS.into(), 0x1111_2222_3000, 0, 0]);
}

fn system_calls() {
    let p = pattern32();
    for (callback, flags) in [("open", 0), ("masking", CALLBACKF_MASK_EVENTS)] {
        say!(
            format_args!("trace.compat-register-{callback}"),
            "{} {}",
            register(CALLBACKTYPE_SYSCALL32, flags, stub(SYSCALL32)),
            register(CALLBACKTYPE_SYSENTER, flags, stub(SYSENTER))
        );
        for (name, rflags) in [
            ("plain", 0x202u64),
            ("masked", 2),
            ("status", 0xad7),
            ("direction", 0x602),
            ("alignment", 0x4_0202),
            ("id", 0x20_0202),
        ] {
            let named = |call: &str| Name::new(format_args!("{call}-{callback}-{name}"));
            both(named("compat-syscall").as_str(), &frame32(c_syscall, rflags), p, 0);
            both(named("compat-sysenter").as_str(), &frame32(c_sysenter, rflags), p, 0);
            both(named("user-sysenter").as_str(), &frame(u_sysenter, rflags), p, 0);
        }
        both(
            Name::new(format_args!("compat-syscall-{callback}-step")).as_str(),
            &frame32(c_syscall, 0x302),
            p,
            0,
        );
    }
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
}

fn descriptors() {
    let p = pattern32();
    let [gdt, ldt] = core::array::from_fn(|_| Page::new());
    gdt.map(READ);
    ldt.map(READ);
    let mut frames = [gdt.mfn()];
    say!("trace.compat-gdt", "{}", call(HYPERVISOR_SET_GDT, [frames.as_mut_ptr() as u64, 512, 0, 0]));
    // As the kernel sets thread-local storage: three entries, changed under the running vCPU.
    let put = |page: &Page, at: u64, descriptor: u64| {
        call(HYPERVISOR_UPDATE_DESCRIPTOR, [page.maddr() + 8 * at, descriptor, 0, 0])
    };
    say!("trace.compat-tls", "{} {} {}", put(gdt, 12, BASED), put(gdt, 13, CODE32), put(gdt, 14, DATA32));
    let set_ldt = |va: u64, entries: u64| mmuext(MMUEXT_SET_LDT, va, entries);
    say!("trace.compat-ldt", "{} {} {}", set_ldt(ldt.va(), 16), put(ldt, 1, BASED), put(ldt, 2, CODE32));
    for (name, selector) in
        [("tls", 12 << 3 | 3), ("ldt", 1 << 3 | 7), ("ldt-absent", 3 << 3 | 7), ("ldt-past", 16 << 3 | 7)]
    {
        let regs = p.with(&[(RBX, selector)]);
        both(Name::new(format_args!("compat-{name}-fs")).as_str(), &frame32(c_load_fs_word, 0x202), regs, 0);
        both(Name::new(format_args!("compat-{name}-ds")).as_str(), &frame32(c_load_ds_word, 0x202), regs, 0);
        both(Name::new(format_args!("user-{name}-fs")).as_str(), &frame(u_load_fs_word, 0x202), regs, 0);
    }
    for (name, cs) in [("tls", 13 << 3 | 3), ("ldt", 2 << 3 | 7)] {
        let ret = |code| Return { cs, ..frame32(code, 0x202) };
        both(Name::new(format_args!("compat-{name}-cs")).as_str(), &ret(c_int_80), p, 0);
        both(Name::new(format_args!("compat-{name}-cs-syscall")).as_str(), &ret(c_syscall), p, 0);
        both(Name::new(format_args!("compat-{name}-cs-ud2")).as_str(), &ret(c_ud2), p, 0);
        let ret = Return { ss: 14 << 3 | 3, ..ret(c_landing) };
        both(Name::new(format_args!("compat-{name}-ss")).as_str(), &ret, p, 0);
    }
    // SAFETY: null selectors, before their descriptors go.
    unsafe { core::arch::asm!("mov fs, {0:e}", "mov gs, {0:e}", in(reg) 0) };
    say!("trace.compat-ldt-gone", "{}", set_ldt(0, 0));
    both("compat-ldt-gone-cs", &Return { cs: 2 << 3 | 7, ..frame32(c_landing, 0x202) }, p, 0);
    both("compat-ldt-gone-fs", &frame32(c_load_fs_word, 0x202), p.with(&[(RBX, 1 << 3 | 7)]), 0);
    say!("trace.compat-gdt-gone", "{}", call(HYPERVISOR_SET_GDT, [frames.as_mut_ptr() as u64, 0, 0, 0]));
    say!("trace.compat-pages", "{} {}", gdt.map(DATA), ldt.map(DATA));
}
