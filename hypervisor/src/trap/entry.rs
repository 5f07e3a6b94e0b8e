//! Entry stubs of all 256 vectors, and the ways back.
//!
//! | from | vectors | way |
//! |---|---|---|
//! | ring 0 | all but those below | same stack, [`super::trap_entry`] |
//! | ring 3 | the same | stack of the TSS, `swapgs`, [`super::trap_entry`], then `ret_to_guest` |
//! | anywhere | NMI, #DF, #MC; #DB in ring 0 | own stack, GS base saved and restored, [`super::trap_ist`] |
//!
//! All build the same [`Frame`](super::Frame). The alignment check flag is cleared, so that no guest value
//! switches SMAP off in here.

use core::arch::global_asm;

use crate::percpu::offset;
use crate::{asm_clac, asm_ex_table, trap};

/// Bytes of a stub.
pub const STUB_SIZE: u64 = 32;

/// Where the first stub is.
pub fn stubs() -> u64 {
    unsafe extern "C" {
        static trap_stubs: u8;
    }
    &raw const trap_stubs as u64
}

/// The frame of an interrupted hypervisor, if `back` is where the handler whose frame pointer is `rbp` returns to.
pub fn interrupted_frame(back: u64, rbp: u64) -> Option<u64> {
    unsafe extern "C" {
        static trap_return: u8;
    }
    // The handler's frame: saved frame pointer, return address, a word of alignment.
    (back == &raw const trap_return as u64).then_some(rbp + 24)
}

/// Assembly that pushes the general registers as [`Frame`](super::Frame) has them. AT&T syntax.
#[macro_export]
macro_rules! asm_push_regs {
    () => {
        "pushq %rdi\npushq %rsi\npushq %rdx\npushq %rcx\npushq %rax\npushq %r8\npushq %r9\npushq %r10\n\
         pushq %r11\npushq %rbx\npushq %rbp\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    };
}

/// Assembly that pops them. AT&T syntax.
#[macro_export]
macro_rules! asm_pop_regs {
    () => {
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbp\npopq %rbx\npopq %r11\npopq %r10\n\
         popq %r9\npopq %r8\npopq %rax\npopq %rcx\npopq %rdx\npopq %rsi\npopq %rdi\n"
    };
}

global_asm!(
    r#"
    .section .text.entry, "ax"
    .balign 32
    .globl trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 32
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    pushq $0
    .endif
    movl $vector, 4(%rsp)
    .if vector == 1
    jmp trap_debug
    .elseif (vector == 2) || (vector == 8) || (vector == 18)
    jmp trap_ist_common
    .else
    jmp trap_common
    .endif
    .set vector, vector + 1
    .endr

    /* #DB comes on its own stack; from a guest it goes on as any other vector. */
trap_debug:
    testb $3, 16(%rsp)
    jz trap_ist_common
    swapgs
    movq %rax, %gs:{scratch2}
    movq %rsp, %rax
    movq %gs:{rsp0}, %rsp
    pushq 40(%rax)
    pushq 32(%rax)
    pushq 24(%rax)
    pushq 16(%rax)
    pushq 8(%rax)
    pushq (%rax)
    movq %gs:{scratch2}, %rax
    swapgs

    .balign 16
trap_common:
    cld
    "#,
    asm_push_regs!(),
    asm_clac!(),
    r#"
    testb $3, 136(%rsp)
    jnz 1f
    movq %rsp, %rdi
    subq $8, %rsp
    call {entry}
    .globl trap_return
trap_return:
    addq $8, %rsp
    "#,
    asm_pop_regs!(),
    r#"
    addq $8, %rsp
    iretq

1:  swapgs
    movq %rsp, %rdi
    xorl %ebp, %ebp
    subq $8, %rsp
    call {entry}
    addq $8, %rsp
    .globl ret_to_guest
ret_to_guest:
    "#,
    asm_pop_regs!(),
    r#"
    addq $8, %rsp
    swapgs
2:  iretq

    /* The guest asked for a return the processor refuses: its kernel hears of it. What the processor said (error code
       and vector) is left in the frame of its fault, below this one, which began at a multiple of 16: nothing has
       used the stack since, for interrupts are off and NMIs have their own. */
3:  swapgs
    pushq -56(%rsp)
    "#,
    asm_ex_table!("2b", "3b"),
    asm_push_regs!(),
    r#"
    movq %rsp, %rdi
    xorl %ebp, %ebp
    subq $8, %rsp
    call {bad_return}
    addq $8, %rsp
    jmp ret_to_guest

    .balign 16
trap_ist_common:
    cld
    "#,
    asm_push_regs!(),
    asm_clac!(),
    r#"
    movl $0xc0000101, %ecx
    rdmsr
    shlq $32, %rdx
    leaq (%rax,%rdx), %rbx         /* the interrupted GS base */
    movq 168(%rsp), %rax           /* this CPU's record, above the frame */
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    movq %rsp, %rdi
    subq $8, %rsp
    call {ist}
    addq $8, %rsp
    movl $0xc0000101, %ecx
    movq %rbx, %rax
    movq %rbx, %rdx
    shrq $32, %rdx
    wrmsr
    "#,
    asm_pop_regs!(),
    r#"
    addq $8, %rsp
    iretq
    "#,
    entry = sym trap::trap_entry,
    ist = sym trap::trap_ist,
    bad_return = sym trap::bad_return,
    scratch2 = const offset::SCRATCH2,
    rsp0 = const offset::RSP0,
    options(att_syntax),
);
