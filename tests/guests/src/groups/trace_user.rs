//! `trace`: what user mode does, in 64-bit code, and the kernel finds; and the way back.

use core::arch::global_asm;

use abi::arch_x86::MACH2PHYS_VIRT_START;
use abi::callback::*;
use abi::xen::*;

use super::trace_iret::{Return, case};
use crate::hypercall::{call, mmuext, op};
use crate::mm::{self, Page, READ, TABLE, US, index, p2m};
use crate::trace::*;

// Each goes on to a software interrupt that user mode may raise.
macro_rules! user_code {
    ($mode:literal: $($name:ident: $insn:literal;)*) => {
        core::arch::global_asm!(
            ".section .user_code, \"ax\", @progbits", $mode,
            $(concat!(".balign 16\n.globl ", stringify!($name), "\n", stringify!($name), ": ", $insn, "\nint 0x83\nud2"),)*
            ".code64", ".text"
        );
        unsafe extern "C" { $(pub fn $name();)* }
    };
}

global_asm!(
    ".section .user_code, \"ax\", @progbits",
    ".balign 4096",
    ".globl trace_user_page",
    "trace_user_page:",
    ".text",
);
// In this page; the routines of compatibility mode are in the same.
user_code! { ".code64":
    u_landing: "";
    u_syscall: "syscall";
    u_ud2: "ud2";
    u_int3: "int3";
    u_int1: ".byte 0xf1";
    u_int_80: "int 0x80";
    u_int_81: "int 0x81";
    u_int_82: "int 0x82";
    u_int_83: "int 0x83";
    u_int_84: "int 0x84";
    u_int_90: "int 0x90";
    u_int_14: "int 14";
    u_int_2: "int 2";
    u_divide: "div ecx";
    u_read: "mov rax, [rbx]";
    u_write: "mov [rbx], rax";
    u_jump: "jmp rbx";
    u_push: "push rax";
    u_call: "call rbx";
    u_rmw: "add [rbx + rcx*2], dx";
    u_fnop: "fnop";
    u_fwait: "fwait";
    u_cli: "cli";
    u_hlt: "hlt";
    u_in: "in al, dx";
    u_rdmsr: "rdmsr";
    u_read_cr0: "mov rax, cr0";
    u_forced_cpuid: ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid";
    u_sysenter: "sysenter";
    u_load_ds: "mov ds, ebx";
    u_load_gs: "mov gs, ebx";
    u_load_fs_word: "mov fs, ebx; mov edx, fs:[8]";
}
// Compatibility mode.
user_code! { ".code32":
    c_landing: "";
    c_ud2: "ud2";
    c_int_80: "int 0x80";
    c_int_84: "int 0x84";
    c_syscall: ".byte 0x0f, 0x05";
    c_sysenter: ".byte 0x0f, 0x34";
    c_read: "mov eax, [ebx]";
    c_push: "push eax";
    c_load_fs_word: "mov fs, ebx; mov edx, fs:[8]";
    c_load_ds_word: "mov ds, ebx; mov edx, ds:[8]";
    c_into: "mov al, 0x7f; add al, 1; into";
    c_bound: "bound eax, [ebx]";
    c_far_return_64: "push 0xe033; push ecx; retf";
}
global_asm!(
    ".section .user_code, \"ax\", @progbits",
    ".globl trace_user_end",
    "trace_user_end: .balign 4096",
    ".text",
);
unsafe extern "C" {
    fn trace_user_page();
}

const CODE: u64 = 0x50_0000;
const STACK: u64 = 0x50_1000;
pub const STACK_TOP: u64 = STACK + 0x1000;
const READ_ONLY: u64 = 0x50_2000;
const UNMAPPED: u64 = 0x50_3000;
const NO_EXECUTE: u64 = 0x50_4000;

pub fn at(code: unsafe extern "C" fn()) -> u64 {
    CODE + (code as *const () as u64 - trace_user_page as *const () as u64)
}

pub fn landing() -> u64 {
    at(u_landing)
}

/// The same in 32-bit code.
pub fn landing32() -> u64 {
    at(c_landing)
}

/// Tables of user mode, which become the vCPU's.
pub fn build() {
    let [l4, l3, l2, l1, stack, constant, data] = core::array::from_fn(|_| Page::new());
    let code_mfn = p2m((trace_user_page as *const () as u64 - mm::VIRT_BASE) >> 12);
    l1.set(index(CODE, 1) as usize, code_mfn << 12 | READ | US);
    l1.set(index(STACK, 1) as usize, stack.maddr() | mm::DATA | US);
    l1.set(index(READ_ONLY, 1) as usize, constant.maddr() | READ | US);
    l1.set(index(NO_EXECUTE, 1) as usize, data.maddr() | mm::DATA | US | mm::NX);
    l2.set(index(CODE, 2) as usize, l1.maddr() | TABLE);
    l3.set(index(CODE, 3) as usize, l2.maddr() | TABLE);
    l4.set(index(CODE, 4) as usize, l3.maddr() | TABLE);
    for table in [l1, l2, l3, l4] {
        table.map(READ);
    }
    assert!(mmuext(MMUEXT_PIN_L4_TABLE, l4.mfn(), 0) == 0);
    assert!(mmuext(MMUEXT_NEW_USER_BASEPTR, l4.mfn(), 0) == 0);
}

/// Where user mode begins and with which frame.
pub fn frame(code: unsafe extern "C" fn(), rflags: u64) -> Return {
    Return { flags: 0, rip: at(code), cs: 0xe033, rflags, rsp: STACK_TOP - 0x18, ss: 0xe02b }
}

/// Goes to user mode, shows how it comes back, and shows the return of the handler: behind the instruction where the
/// frame says so, else to user mode's landing.
pub fn both(name: &str, ret: &Return, regs: Regs, mem: u64) -> Trace {
    let case = Case { user: ret.rip, mem, ..case(ret, regs, 1) };
    let there = resume(&case);
    there.say(name);
    let after = there.after.vector;
    let trapped_behind = matches!(after, 1 | 3 | 4 | SYSCALL | SYSCALL32) || (32..=36).contains(&after);
    let landing = if ret.cs == 0xe033 { landing() } else { landing32() };
    let back = there.back((!trapped_behind).then_some(landing));
    if after == SYSENTER {
        // The instruction keeps neither: its user tells the kernel where to go on.
        let frame = there.after.gpr[RSP] + 8 * 2;
        mm::write(frame + 8, ret.cs);
        mm::write(frame + 8 * 3, ret.rsp);
    }
    resume(&back).say_named(name, "back");
    there
}

pub fn run() {
    system_calls();
    interrupts();
    faults();
    others();
}

fn plain(name: &str, code: unsafe extern "C" fn(), regs: Regs) {
    both(Name::new(format_args!("user-{name}")).as_str(), &frame(code, 0x202), regs, UNMAPPED);
}

pub fn register(kind: u16, flags: u16, address: u64) -> i64 {
    let mut arg = CallbackRegister { type_: kind, flags, _pad0: 0, address };
    op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &mut arg)
}

fn system_calls() {
    let p = Regs::pattern();
    for (callback, flags) in [("open", 0), ("masking", CALLBACKF_MASK_EVENTS)] {
        register(CALLBACKTYPE_SYSCALL, flags, stub(SYSCALL));
        for (name, rflags) in [
            ("plain", 0x202u64),
            ("masked", 2),
            ("status", 0xad7),
            ("direction", 0x602),
            ("step", 0x302),
            ("alignment", 0x4_0202),
            ("id", 0x20_0202),
            ("iopl", 0x3202),
            ("resume", 0x1_0202),
        ] {
            let name = Name::new(format_args!("user-syscall-{callback}-{name}"));
            both(name.as_str(), &frame(u_syscall, rflags), p, 0);
            let ret = Return { flags: abi::arch_x86::VGCF_IN_SYSCALL, ..frame(u_syscall, rflags) };
            let name = Name::new(format_args!("{}-sysret", name.as_str()));
            both(name.as_str(), &ret, p, 0);
        }
    }
    register(CALLBACKTYPE_SYSCALL, 0, stub(SYSCALL));
    // An event waits when the system call is made.
    let (_, port) = super::events::bind_ipi(0);
    super::events::set_mask(port, false);
    for (name, rflags) in [("open", 0x202), ("masked", 2)] {
        let case = Case { user: at(u_syscall), ..case(&frame(u_syscall, rflags), p, 1) };
        let there = resume(&case);
        super::events::send(port);
        let upcall = resume(&there.back(None));
        upcall.say(Name::new(format_args!("user-syscall-upcall-{name}")).as_str());
        super::events::clear();
    }
    super::events::close(port);
    let ret = Return { ss: 0xe02b, rsp: 0x1234_5678_9abc, ..frame(u_syscall, 0x202) };
    both("user-syscall-any-stack", &ret, p, 0);
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
}

fn interrupts() {
    let p = Regs::pattern();
    for (name, code) in [
        ("int3", u_int3 as unsafe extern "C" fn()),
        ("int1", u_int1),
        ("int-80", u_int_80),
        ("int-81", u_int_81),
        ("int-82", u_int_82),
        ("int-83", u_int_83),
        ("int-84", u_int_84),
        ("int-90", u_int_90),
        ("int-14", u_int_14),
        ("int-2", u_int_2),
    ] {
        plain(name, code, p);
    }
    for (name, rflags) in [("masked", 2), ("all", 0x24_0ed7), ("step", 0x302), ("iopl", 0x3202)] {
        let name = |event: &str| Name::new(format_args!("user-{event}-{name}"));
        both(name("int-83").as_str(), &frame(u_int_83, rflags), p, 0);
        both(name("int-84").as_str(), &frame(u_int_84, rflags), p, 0);
        both(name("int3").as_str(), &frame(u_int3, rflags), p, 0);
        both(name("ud2").as_str(), &frame(u_ud2, rflags), p, 0);
    }
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
}

fn faults() {
    let p = Regs::pattern();
    let at = |va| p.with(&[(RBX, va)]);
    for (name, code, regs) in [
        ("read-unmapped", u_read as unsafe extern "C" fn(), at(UNMAPPED + 0x18)),
        ("write-unmapped", u_write, at(UNMAPPED + 8)),
        ("jump-unmapped", u_jump, at(UNMAPPED + 1)),
        ("call-unmapped", u_call, at(UNMAPPED + 2)),
        ("rmw-unmapped", u_rmw, at(UNMAPPED + 0x10).with(&[(RCX, 0x40)])),
        ("write-read-only", u_write, at(READ_ONLY)),
        ("rmw-read-only", u_rmw, at(READ_ONLY).with(&[(RCX, 0x40)])),
        ("write-across", u_write, at(UNMAPPED - 4)),
        ("read-across", u_read, at(UNMAPPED - 4)),
        ("jump-no-execute", u_jump, at(NO_EXECUTE + 4)),
        ("write-no-execute", u_write, at(NO_EXECUTE)),
        ("read-kernel", u_read, at(mm::VIRT_BASE + 0x10_0000)),
        ("jump-kernel", u_jump, at(mm::VIRT_BASE + 0x10_0000)),
        ("read-m2p", u_read, at(MACH2PHYS_VIRT_START)),
        ("read-hypervisor", u_read, at(0xffff_8300_0000_0000)),
        ("write-hypervisor", u_write, at(0xffff_8300_0000_0000)),
        ("jump-hypervisor", u_jump, at(0xffff_8300_0000_0000)),
        ("read-noncanonical", u_read, at(0x8000_0000_0000)),
        ("jump-noncanonical", u_jump, at(0x8000_0000_0000)),
    ] {
        plain(name, code, regs);
    }
    let ret = Return { rsp: UNMAPPED + 0x108, ..frame(u_push, 0x24_0ed7) };
    both("user-push-unmapped", &ret, p, UNMAPPED);
}

fn others() {
    let p = Regs::pattern();
    for (name, code, regs) in [
        ("ud2", u_ud2 as unsafe extern "C" fn(), p),
        ("divide", u_divide, p.with(&[(RCX, 0)])),
        ("cli", u_cli, p),
        ("hlt", u_hlt, p),
        ("in", u_in, p),
        ("rdmsr", u_rdmsr, p),
        ("read-cr0", u_read_cr0, p),
        ("cpuid-forced", u_forced_cpuid, p),
        ("load-ds", u_load_ds, p.with(&[(RBX, 0x1238)])),
        ("load-ds-ring0", u_load_ds, p.with(&[(RBX, 0xe010)])),
        ("load-gs-ldt", u_load_gs, p.with(&[(RBX, 0xf)])),
        ("sysenter", u_sysenter, p),
    ] {
        plain(name, code, regs);
    }
    let mut pending = p;
    pending.fx[0] = 0x0000_00e0_ed84_037b;
    plain("fpu-pending", u_fwait, pending);
    call(HYPERVISOR_FPU_TASKSWITCH, [1, 0, 0, 0]);
    let ret = frame(u_fnop, 0x202);
    let case = Case { user: ret.rip, task_switched: true, ..case(&ret, p, 1) };
    let taken = resume(&case);
    taken.say("user-fpu-taken");
    resume(&taken.back(Some(landing()))).say("user-fpu-taken-back");
    call(HYPERVISOR_FPU_TASKSWITCH, [0, 0, 0, 0]);
}
