//! `user`: page tables of user mode, entering it by `iret`, and every way back.

use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

use abi::arch_x86::*;
use abi::callback::{CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKTYPE_SYSCALL, CallbackRegister};
use abi::xen::*;

use crate::boot::entry_regs;
use crate::hypercall::{call, mmuext, op};
use crate::mm::{self, Page, READ, TABLE, US, index, p2m, write8};
use crate::print::ok;
use crate::trap::{self, Caught, USER_RETURN};
use crate::{say, vcpu};

// What runs in user mode, in a page of its own. Each routine ends by trapping.
global_asm!(
    ".globl user_code, user_syscall, user_ud2, user_read, user_write, user_jump, user_int3, user_int_0x80, user_int_0x81, user_int_0x82, user_int_0x83, user_int_0x90, user_cli, user_hlt, user_in, user_cr3, user_rdmsr, user_cpuid, user_forced, user_rdtsc, user_fnop, user_gs, user_swapgs, user_push, user_32_int, enter_user, leave_user",
    ".section .user_code, \"ax\", @progbits",
    ".balign 4096",
    "user_code:",
    "user_syscall: mov edi, 0x1111; mov rbx, 0x2222; syscall; ud2",
    "user_ud2: ud2",
    "user_read: mov rax, [rax]; ud2",
    "user_write: mov [rax], rax; ud2",
    "user_jump: jmp rax",
    "user_int3: int3",
    "user_int_0x80: int 0x80",
    "user_int_0x81: int 0x81",
    "user_int_0x82: int 0x82",
    "user_int_0x83: int 0x83",
    "user_int_0x90: int 0x90",
    "user_cli: cli; ud2",
    "user_hlt: hlt; ud2",
    "user_in: in al, 0x80; ud2",
    "user_cr3: mov rax, cr3; ud2",
    "user_rdmsr: mov ecx, 0xc0000080; rdmsr; ud2",
    "user_cpuid: xor eax, eax; cpuid; ud2",
    "user_forced: mov eax, 0x40000000; .byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid; ud2",
    "user_rdtsc: rdtsc; ud2",
    "user_fnop: fnop; ud2",
    "user_gs: mov rax, gs:[0]; mov rbx, fs:[0]; ud2",
    "user_swapgs: swapgs; ud2",
    "user_push: push rax; ud2",
    ".code32",
    "user_32_int: mov eax, 0x3232; int 0x83; ud2",
    ".code64",
    ".balign 4096",
    ".text",
    // enter_user(rdi = rip, rsi = &[cs, rflags, rsp, ss, context flags, rax])
    "enter_user:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + {user_return}], rsp",
    "push [rsi + 24]",
    "push [rsi + 16]",
    "push [rsi + 8]",
    "push [rsi]",
    "push rdi",
    "push [rsi + 32]",
    "push 0x77",
    "push 0x88",
    "push [rsi + 40]",
    "mov eax, {iret}",
    "syscall",
    "ud2",
    "leave_user:",
    "mov rsp, [rip + {user_return}]",
    "mov qword ptr [rip + {user_return}], 0",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    user_return = sym USER_RETURN,
    iret = const HYPERVISOR_IRET,
);

macro_rules! user_routines {
    ($($name:ident),* $(,)?) => {
        unsafe extern "C" { $( fn $name(); )* }
    };
}
user_routines!(
    user_code,
    user_syscall,
    user_ud2,
    user_read,
    user_write,
    user_jump,
    user_int3,
    user_int_0x80,
    user_int_0x81,
    user_int_0x82,
    user_int_0x83,
    user_int_0x90,
    user_cli,
    user_hlt,
    user_in,
    user_cr3,
    user_rdmsr,
    user_cpuid,
    user_forced,
    user_rdtsc,
    user_fnop,
    user_gs,
    user_swapgs,
    user_push,
    user_32_int,
);

unsafe extern "C" {
    fn enter_user(rip: u64, frame: *const [u64; 6]);
    fn leave_user() -> !;
}

/// Called by the trap handler on a trap from user mode: back to [`visit`].
pub fn leave() -> ! {
    if USER_RETURN.load(Ordering::Relaxed) == 0 {
        panic!("a trap from user mode that nobody entered");
    }
    // SAFETY: `enter_user` stored the stack that this returns on, and its caller waits.
    unsafe { leave_user() }
}

/// Where the code and the stack are in user space.
const CODE: u64 = 0x40_0000;
const STACK: u64 = 0x40_1000;
const READ_ONLY: u64 = 0x40_2000;
const UNMAPPED: u64 = 0x40_3000;

fn routine(code: unsafe extern "C" fn()) -> u64 {
    CODE + (code as *const () as u64 - user_code as *const () as u64)
}

struct Visit {
    cs: u16,
    rflags: u64,
    context_flags: u64,
    rax: u64,
}

const PLAIN: Visit = Visit { cs: FLAT_USER_CS64, rflags: 0x202, context_flags: 0, rax: 0x1234 };

/// Runs a routine in user mode until it traps.
fn visit(code: unsafe extern "C" fn(), with: &Visit) -> Caught {
    let frame =
        [with.cs.into(), with.rflags, STACK + 0x800, FLAT_USER_SS.into(), with.context_flags, with.rax];
    trap::arm();
    // SAFETY: user mode has its own tables and stack, and its trap ends in `leave`.
    unsafe { enter_user(routine(code), &raw const frame) };
    trap::caught().expect("user mode trapped")
}

struct Seen(Caught, unsafe extern "C" fn());

impl core::fmt::Display for Seen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let frame = &self.0.frame;
        write!(
            f,
            "vector={:#x} error={:#x} rip+{:#x}",
            frame.vector,
            frame.error,
            frame.rip.wrapping_sub(routine(self.1))
        )
    }
}

fn say_visit(name: &str, code: unsafe extern "C" fn(), with: &Visit) -> Caught {
    let caught = visit(code, with);
    say!(format_args!("user.{name}"), "{}", Seen(caught, code));
    caught
}

pub fn run() {
    write8(vcpu!(evtchn_upcall_mask), 1);
    let l4 = build();
    base_pointers(l4);
    call(HYPERVISOR_STACK_SWITCH, [FLAT_KERNEL_SS.into(), entry_regs().rsp, 0, 0]);
    syscalls();
    faults();
    interrupts();
    privileged();
    segments();
    compat();
    stacks();
    say!("user.base-none", "{}", mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0));
    say!("user.unpin", "{}", mmuext(MMUEXT_UNPIN_TABLE, l4.mfn(), 0));
}

/// Tables that map the code, a stack and a read-only page. The L4 is pinned.
fn build() -> &'static Page {
    let [l4, l3, l2, l1, stack, constant] = core::array::from_fn(|_| Page::new());
    let code_mfn = p2m((user_code as *const () as u64 - mm::VIRT_BASE) >> 12);
    l1.set(index(CODE, 1) as usize, code_mfn << 12 | READ | US);
    l1.set(index(STACK, 1) as usize, stack.maddr() | mm::DATA | US);
    l1.set(index(READ_ONLY, 1) as usize, constant.maddr() | READ | US);
    l2.set(index(CODE, 2) as usize, l1.maddr() | TABLE);
    l3.set(index(CODE, 3) as usize, l2.maddr() | TABLE);
    l4.set(index(CODE, 4) as usize, l3.maddr() | TABLE);
    for table in [l1, l2, l3, l4] {
        table.map(READ);
    }
    say!("user.pin", "{}", mmuext(MMUEXT_PIN_L4_TABLE, l4.mfn(), 0));
    say!("user.m2p-slot", "{}", ok(l4.get(256) == 0));
    l4
}

fn base_pointers(l4: &Page) {
    let data = Page::new();
    data.set(0, 0x1234_5678_9abc_def1);
    say!("user.base-data", "{}", mmuext(MMUEXT_NEW_USER_BASEPTR, data.mfn(), 0));
    say!("user.base-absent", "{}", mmuext(MMUEXT_NEW_USER_BASEPTR, 1 << 40, 0));
    say!("user.base", "{}", mmuext(MMUEXT_NEW_USER_BASEPTR, l4.mfn(), 0));
    say!("user.base-again", "{}", mmuext(MMUEXT_NEW_USER_BASEPTR, l4.mfn(), 0));
}

fn say_frame(name: &str, c: &Caught) {
    let f = &c.frame;
    say!(
        format_args!("user.{name}-frame"),
        "cs={:#x} ss={:#x} rflags={:#x} rsp={:#x} rax={:#x} masked={}",
        f.cs,
        f.ss,
        f.rflags,
        f.rsp - STACK,
        f.rax,
        c.masked
    );
}

fn syscalls() {
    let c = say_visit("syscall", user_syscall, &PLAIN);
    say_frame("syscall", &c);
    say!(
        "user.syscall-registers",
        "rdi={:#x} rbx={:#x} rcx={} r11={:#x}",
        c.frame.rdi,
        c.frame.rbx,
        ok(c.frame.rcx == c.frame.rip),
        c.frame.r11
    );
    say!("user.syscall-frame-place", "{}", entry_regs().rsp - c.at);
    write8(vcpu!(evtchn_upcall_mask), 1);
    let c = say_visit("syscall-if-clear", user_syscall, &Visit { rflags: 0x2, ..PLAIN });
    say_frame("syscall-if-clear", &c);
    let c = say_visit("enter-by-sysret", user_syscall, &Visit { context_flags: VGCF_IN_SYSCALL, ..PLAIN });
    say_frame("enter-by-sysret", &c);
    let c = say_visit("flags", user_syscall, &Visit { rflags: 0x3ed7 | 0x4_4000, ..PLAIN });
    say_frame("flags", &c);
    let mut register = CallbackRegister {
        type_: CALLBACKTYPE_SYSCALL,
        flags: CALLBACKF_MASK_EVENTS,
        _pad0: 0,
        address: trap::syscall_stub(),
    };
    say!("user.callback-masking", "{}", op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &mut register));
    let c = say_visit("syscall-masking", user_syscall, &PLAIN);
    say_frame("syscall-masking", &c);
    register.flags = 0;
    op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &mut register);
}

fn faults() {
    let at = |rax| Visit { rax, ..PLAIN };
    for (name, code, va) in [
        ("read-unmapped", user_read as unsafe extern "C" fn(), UNMAPPED + 8),
        ("write-unmapped", user_write, UNMAPPED),
        ("write-read-only", user_write, READ_ONLY),
        ("write-code", user_write, CODE),
        ("read-kernel", user_read, mm::VIRT_BASE + 0x10_0000),
        ("read-m2p", user_read, MACH2PHYS_VIRT_START),
        ("read-hypervisor", user_read, 0xffff_8300_0000_0000),
        ("read-noncanonical", user_read, 0x8000_0000_0000),
        ("jump-unmapped", user_jump, UNMAPPED),
        ("read-zero", user_read, 0),
    ] {
        let c = visit(code, &at(va));
        let rip = if c.frame.rip == va { 0 } else { c.frame.rip.wrapping_sub(routine(code)) };
        say!(
            format_args!("user.{name}"),
            "vector={:#x} error={:#x} rip+{rip:#x} cr2={}",
            c.frame.vector,
            c.frame.error,
            ok(c.frame.vector != 14 || c.cr2 == va)
        );
    }
    say_visit("push", user_push, &PLAIN);
    let c = say_visit("ud2", user_ud2, &PLAIN);
    say_frame("ud2", &c);
}

fn interrupts() {
    for (name, code) in [
        ("int3", user_int3 as unsafe extern "C" fn()),
        ("int-dpl0", user_int_0x80),
        ("int-dpl1", user_int_0x81),
        ("int-dpl2", user_int_0x82),
        ("int-dpl3", user_int_0x83),
        ("int-absent", user_int_0x90),
    ] {
        say_visit(name, code, &PLAIN);
    }
    let c = say_visit("single-step", user_push, &Visit { rflags: 0x302, ..PLAIN });
    say_frame("single-step", &c);
}

fn privileged() {
    for (name, code) in [
        ("cli", user_cli as unsafe extern "C" fn()),
        ("hlt", user_hlt),
        ("in", user_in),
        ("cr3", user_cr3),
        ("rdmsr", user_rdmsr),
        ("rdtsc", user_rdtsc),
        ("swapgs", user_swapgs),
        ("fnop", user_fnop),
    ] {
        say_visit(name, code, &PLAIN);
    }
    let c = say_visit("cpuid", user_cpuid, &PLAIN);
    say!("user.cpuid-vendor", "{:#x} {:#x} {:#x}", c.frame.rbx, c.frame.rdx, c.frame.rcx);
    let c = say_visit("cpuid-forced", user_forced, &PLAIN);
    say!("user.cpuid-forced-signature", "{:#x} {:#x} {:#x}", c.frame.rbx, c.frame.rcx, c.frame.rdx);
    call(HYPERVISOR_FPU_TASKSWITCH, [1, 0, 0, 0]);
    say_visit("fnop-taskswitch", user_fnop, &PLAIN);
    call(HYPERVISOR_FPU_TASKSWITCH, [0, 0, 0, 0]);
}

/// User and kernel bases are separate, and swapped on the way in and out.
fn segments() {
    let base = |which: u32, value: u64| call(HYPERVISOR_SET_SEGMENT_BASE, [which.into(), value, 0, 0]);
    let [kernel, fs] = core::array::from_fn(|_| Page::new());
    kernel.set(0, 0xaaaa);
    fs.set(0, 0xbbbb);
    let (found, bases) = {
        let bases = [
            base(SEGBASE_GS_KERNEL, kernel.va()),
            base(SEGBASE_GS_USER, READ_ONLY),
            base(SEGBASE_FS, READ_ONLY),
        ];
        let found: u64;
        // SAFETY: reads a word of the page that the base points at.
        unsafe { asm!("mov {}, gs:[0]", out(reg) found) };
        (found, bases)
    };
    say!("user.bases", "{bases:?} kernel-gs={found:#x}");
    let c = say_visit("gs", user_gs, &Visit { rax: 1, ..PLAIN });
    let found: u64;
    // SAFETY: as above.
    unsafe { asm!("mov {}, gs:[0]", out(reg) found) };
    say!("user.gs-values", "user-gs={:#x} user-fs={:#x} kernel-gs={found:#x}", c.frame.rax, c.frame.rbx);
    base(SEGBASE_GS_USER, UNMAPPED);
    let c = say_visit("gs-unmapped", user_gs, &PLAIN);
    say!("user.gs-unmapped-cr2", "{:#x}", c.cr2);
    say!("user.base-gs-hypervisor", "{}", base(SEGBASE_GS_USER, 0xffff_8300_0000_0000));
    say!("user.base-gs-noncanonical", "{}", base(SEGBASE_GS_USER, 0x8000_0000_0000));
    say!("user.base-gs-selector", "{}", base(SEGBASE_GS_USER_SEL, FLAT_RING3_DS32.into()));
    say!("user.base-gs-selector-null", "{}", base(SEGBASE_GS_USER_SEL, 0));
    say!("user.base-gs-selector-bad", "{}", base(SEGBASE_GS_USER_SEL, 0x1238));
    base(SEGBASE_GS_USER_SEL, 0);
    for which in [SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_FS] {
        base(which, 0);
    }
}

fn compat() {
    let compat = Visit { cs: FLAT_USER_CS32, ..PLAIN };
    let c = say_visit("compat-int", user_32_int, &compat);
    say_frame("compat-int", &c);
}

/// The kernel's stack for traps from user mode is what stack_switch said last.
fn stacks() {
    let other = Page::new();
    say!(
        "user.stack-switch",
        "{}",
        call(HYPERVISOR_STACK_SWITCH, [FLAT_KERNEL_SS.into(), other.va() + 4096, 0, 0])
    );
    let c = visit(user_ud2, &PLAIN);
    say!("user.stack-switch-place", "{}", (other.va() + 4096).wrapping_sub(c.at));
    call(HYPERVISOR_STACK_SWITCH, [FLAT_KERNEL_SS.into(), other.va() + 4096 - 8, 0, 0]);
    let c = visit(user_ud2, &PLAIN);
    say!("user.stack-switch-misaligned", "{}", (other.va() + 4096).wrapping_sub(c.at));
    call(HYPERVISOR_STACK_SWITCH, [FLAT_KERNEL_SS.into(), entry_regs().rsp, 0, 0]);
}
