//! From real mode, where an application processor starts, to 64-bit mode at the linked address.
//!
//! The code is copied below 1 MiB. It finds itself by CS, and what it needs in the words at its end, which
//! [`prepare`] fills for the one CPU that starts at a time.

use core::arch::global_asm;

use crate::boot::entry::BOOT_PML4;
use crate::mm::{phys_to_virt, virt_to_phys};

global_asm!(
    r#"
    .section .rodata, "a"
    .balign 16
    .globl ap_trampoline_start, ap_trampoline_end, ap_trampoline_words
    .code16
ap_trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl (.Lap_gdtr - ap_trampoline_start)
    movl $0xa0, %eax               /* CR4: PAE, PGE */
    movl %eax, %cr4
    movl (ap_trampoline_words - ap_trampoline_start), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx         /* EFER: SCE, LME, NXE */
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80050033, %eax
    movl %eax, %cr0
    ljmpl *(.Lap_far - ap_trampoline_start)

    .code64
.Lap_long:
    movq (ap_trampoline_words + 8)(%rip), %rsp
    movq (ap_trampoline_words + 16)(%rip), %rax
    movl (ap_trampoline_words + 24)(%rip), %edi
    xorl %ebp, %ebp
    movl %ebp, %ds
    movl %ebp, %es
    movl %ebp, %ss
    movl %ebp, %fs
    movl %ebp, %gs
    pushq $0
    pushq $0
    callq *%rax
    ud2

    .balign 8
.Lap_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
.Lap_gdtr:
    .word 15
.Lap_gdt_base:
    .long .Lap_gdt - ap_trampoline_start
    .balign 4
.Lap_far:
    .long .Lap_long - ap_trampoline_start
    .word 8
    .balign 8
ap_trampoline_words:
    .quad 0                        /* CR3 */
    .quad 0                        /* stack */
    .quad 0                        /* where to go on */
    .quad 0                        /* its argument */
    .quad .Lap_gdt_base - ap_trampoline_start
    .quad .Lap_far - ap_trampoline_start
ap_trampoline_end:
    .code64
    "#,
    options(att_syntax),
);

/// Where the code is copied: below 640 KiB, clear of the BIOS's data.
const PAGE_NUMBER: u8 = 8;

/// Copies the code and has the next CPU that starts go to `entry(argument)` on `stack`; the page to start it at.
///
/// Memory below 1 MiB is never handed out, and what the loader left there has been read.
pub fn prepare(stack: u64, entry: extern "C" fn(u32) -> !, argument: u32) -> u8 {
    unsafe extern "C" {
        static ap_trampoline_start: u8;
        static ap_trampoline_end: u8;
        static ap_trampoline_words: u8;
    }
    let (start, end, words) =
        (&raw const ap_trampoline_start, &raw const ap_trampoline_end, &raw const ap_trampoline_words);
    let base = u32::from(PAGE_NUMBER) << 12;
    let target = phys_to_virt(base.into()) as *mut u8;
    let len = end as usize - start as usize;
    let at = words as usize - start as usize;
    // SAFETY: the first megabyte is mapped and this page of it is used for nothing else; the copy is as long as the
    // code, and the words lie within it. No CPU is starting: `smp` starts them one after the other.
    unsafe {
        core::ptr::copy_nonoverlapping(start, target, len);
        let word = |i: usize| target.add(at + 8 * i).cast::<u64>();
        word(0).write_unaligned(virt_to_phys(BOOT_PML4.as_ptr() as u64));
        word(1).write_unaligned(stack);
        word(2).write_unaligned(entry as usize as u64);
        word(3).write_unaligned(argument.into());
        // Two addresses in the code are absolute.
        for i in [4, 5] {
            let place = target.add(word(i).read_unaligned() as usize).cast::<u32>();
            place.write_unaligned(place.read_unaligned() + base);
        }
    }
    PAGE_NUMBER
}
