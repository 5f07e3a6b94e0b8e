//! SYSCALL entry from guests, and the ways back to them.
//!
//! A guest's registers live in one frame at the top of this CPU's stack, whichever way it came in. The
//! return ends in `ret_to_guest` ([`crate::trap::entry`]) or, where nothing but RCX and R11 would differ,
//! in SYSRET.

use core::arch::{asm, global_asm};

use x86::regs::{ENTRY_SYSCALL, GuestRegs};

use crate::percpu::{self, offset};
use crate::{asm_clac, asm_pop_regs, asm_push_regs};

const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_CSTAR: u32 = 0xc000_0083;

unsafe extern "C" {
    static guest_syscall_entry: u8;
    static guest_syscall32_entry: u8;
    static ret_to_guest: u8;
}

global_asm!(
    r#"
    .section .text.entry, "ax"
    /* What both entries do: a frame as an interrupt would leave it, with the selectors SYSCALL stands for. */
    .macro enter_by_syscall cs, vector
    swapgs
    movq %rsp, %gs:{scratch}
    movq %gs:{rsp0}, %rsp
    pushq $0xe02b
    pushq %gs:{scratch}
    pushq %r11
    pushq $\cs
    pushq %rcx
    pushq $0
    movl $\vector, 4(%rsp)
    "#,
    asm_push_regs!(),
    asm_clac!(),
    r#"
    movq %rsp, %rdi
    xorl %ebp, %ebp
    subq $8, %rsp
    call {syscall}
    addq $8, %rsp
    .endm

    .balign 32
    .globl guest_syscall_entry
guest_syscall_entry:
    enter_by_syscall 0xe033, {vector}
    testb %al, %al
    jz ret_to_guest
    "#,
    asm_pop_regs!(),
    r#"
    movq 32(%rsp), %rsp            /* the guest's: no stack is used from here on */
    swapgs
    sysretq

    .balign 32
    .globl guest_syscall32_entry
guest_syscall32_entry:
    enter_by_syscall 0xe023, {vector} + 1
    jmp ret_to_guest
    .purgem enter_by_syscall
    "#,
    scratch = const offset::SCRATCH,
    rsp0 = const offset::RSP0,
    vector = const ENTRY_SYSCALL,
    syscall = sym on_syscall,
    options(att_syntax),
);

/// Points this CPU's SYSCALL at the entry above.
pub fn init_cpu() {
    // SAFETY: both MSRs exist on every CPU with long mode; the entries expect exactly SYSCALL's state.
    unsafe {
        crate::cpu::instr::wrmsr(MSR_LSTAR, &raw const guest_syscall_entry as u64);
        crate::cpu::instr::wrmsr(MSR_CSTAR, &raw const guest_syscall32_entry as u64);
    }
}

/// A SYSCALL: a hypercall from the guest's kernel, or a system call of its user mode. Answers whether SYSRET
/// may be used for the return.
extern "C" fn on_syscall(regs: &mut GuestRegs) -> bool {
    super::traps::system_call(regs);
    super::exit::to_guest(regs);
    // RCX and R11 must already be what SYSRET makes of RIP and RFLAGS; a non-canonical RIP would fault in
    // ring 0 on Intel CPUs.
    regs.entry_vector == ENTRY_SYSCALL
        && regs.rcx == regs.rip
        && regs.r11 == regs.rflags
        && regs.cs == 0xe033
        && regs.ss == 0xe02b
        && x86::pte::canonical(regs.rip)
        && regs.rflags & 0x1_0100 == 0
}

/// Ends boot on this CPU: runs guests (or idles) for ever.
pub fn run() -> ! {
    let frame = percpu::this().rsp0() - size_of::<GuestRegs>() as u64;
    // SAFETY: the stack above `frame` is this CPU's and holds nothing anybody returns to; `first_exit` fills
    // the frame with a guest's registers before it returns.
    unsafe {
        asm!(
            "mov rsp, {frame}",
            "mov rdi, rsp",
            "xor ebp, ebp",
            "sub rsp, 8",
            "call {exit}",
            "add rsp, 8",
            "jmp {ret}",
            frame = in(reg) frame,
            exit = sym first_exit,
            ret = sym ret_to_guest,
            options(noreturn)
        )
    }
}

extern "C" fn first_exit(regs: &mut GuestRegs) {
    *regs = GuestRegs::default();
    super::flush::leave_guests();
    super::exit::to_guest(regs);
}
