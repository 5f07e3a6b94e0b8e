//! SYSCALL and SYSENTER entry from guests, and the ways back to them.
//!
//! A guest's registers live in one frame at the top of this CPU's stack, whichever way it came in. The
//! return ends in `ret_to_guest` ([`crate::trap::entry`]) or, where nothing but RCX and R11 would differ,
//! in SYSRET.

use core::arch::{asm, global_asm};

use hypercore::ids::CpuId;
use x86::regs::{ENTRY_SYSCALL, ENTRY_SYSCALL32, ENTRY_SYSENTER, GuestRegs};

use crate::percpu::{self, offset};
use crate::{asm_clac, asm_pop_regs, asm_push_regs};

const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_CSTAR: u32 = 0xc000_0083;
const MSR_SYSENTER_CS: u32 = 0x174;
const MSR_SYSENTER_ESP: u32 = 0x175;
const MSR_SYSENTER_EIP: u32 = 0x176;

unsafe extern "C" {
    static guest_syscall_entry: u8;
    static guest_syscall32_entry: u8;
    static guest_sysenter_entry: u8;
    static ret_to_guest: u8;
}

global_asm!(
    r#"
    .section .text.entry, "ax"
    /* What follows the frame, of whichever entry: the other registers, and the call. */
    .macro serve vector
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

    /* What both entries of SYSCALL do: a frame as an interrupt would leave it, with the selectors SYSCALL stands for. */
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
    serve \vector
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
    enter_by_syscall 0xe023, {vector32}
    jmp ret_to_guest
    .purgem enter_by_syscall

    /* SYSENTER tells neither where it was nor on which stack, and leaves the flags as they were: all that could disturb
       goes at once (single steps until then end in the hypervisor's own handler). */
    .balign 32
    .globl guest_sysenter_entry
guest_sysenter_entry:
    swapgs
    movq %gs:{rsp0}, %rsp
    pushq $0xe02b
    pushq $0
    pushfq
    orl $0x200, (%rsp)
    pushq $2
    popfq
    pushq $3
    pushq $0
    pushq $0
    serve {sysenter}
    jmp ret_to_guest
    .purgem serve
    "#,
    scratch = const offset::SCRATCH,
    rsp0 = const offset::RSP0,
    vector = const ENTRY_SYSCALL,
    vector32 = const ENTRY_SYSCALL32,
    sysenter = const ENTRY_SYSENTER,
    syscall = sym on_syscall,
    options(att_syntax),
);

/// Points this CPU's SYSCALL and SYSENTER at the entries above.
pub fn init_cpu() {
    // First word of "AuthenticAMD" and "HygonGenuine": theirs have no SYSENTER in long mode.
    let sysenter = !matches!(core::arch::x86_64::__cpuid(0).ebx, 0x6874_7541 | 0x6f67_7948);
    // SAFETY: the MSRs exist on every CPU with long mode; the entries expect exactly the instructions' state. No stack
    // is used before SYSENTER's entry has loaded its own; with selector 0 it is #GP.
    unsafe {
        let cs = if sysenter { crate::cpu::gdt::RING0_CS } else { 0 };
        crate::cpu::instr::wrmsr(MSR_SYSENTER_CS, cs.into());
        crate::cpu::instr::wrmsr(MSR_SYSENTER_ESP, 0);
        crate::cpu::instr::wrmsr(MSR_SYSENTER_EIP, &raw const guest_sysenter_entry as u64);
        crate::cpu::instr::wrmsr(MSR_LSTAR, &raw const guest_syscall_entry as u64);
        crate::cpu::instr::wrmsr(MSR_CSTAR, &raw const guest_syscall32_entry as u64);
    }
}

/// SYSCALL or SYSENTER: a hypercall from the guest's kernel, or a system call of its user mode. Answers whether SYSRET
/// may be used for the return.
extern "C" fn on_syscall(regs: &mut GuestRegs) -> bool {
    super::traps::system_call(regs);
    super::exit::to_guest(regs);
    // RCX and R11 are what SYSRET makes RIP and RFLAGS of; a non-canonical RIP would fault in ring 0 on Intel CPUs,
    // and RF would be lost.
    regs.entry_vector == ENTRY_SYSCALL
        && regs.cs == 0xe033
        && regs.ss == 0xe02b
        && x86::pte::canonical(regs.rip)
        && regs.rflags & 0x1_0000 == 0
}

/// Ends boot on this CPU: runs guests (or idles) for ever.
pub fn run() -> ! {
    super::this().sched.set(Some(super::xen().sched.cpu(CpuId(percpu::this().id))));
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
