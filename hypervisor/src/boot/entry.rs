//! From the boot loader's 32-bit protected mode (multiboot 1 and 2 and PVH leave the same state) to [`super::start`]
//! in 64-bit mode at the linked address.
//!
//! The first page tables map the low 4 GiB three times: at 0 (until the jump), at the direct map, and 1 GiB
//! at the image's address. [`crate::mm`] replaces them; application processors pass through them once more.

use core::arch::global_asm;

use crate::layout::IMAGE_OFFSET;

global_asm!(
    r#"
    .section .multiboot, "a"
    .balign 8
    .long 0x1badb002
    .long 3                        /* modules page-aligned; memory map wanted */
    .long -(0x1badb002 + 3)

    .balign 8
.Lmultiboot2:
    .long 0xe85250d6
    .long 0                        /* i386 */
    .long .Lmultiboot2_end - .Lmultiboot2
    .long -(0xe85250d6 + (.Lmultiboot2_end - .Lmultiboot2))
    .word 1, 0                     /* wanted: the memory map */
    .long 12
    .long 6
    .balign 8
    .word 6, 0                     /* modules page-aligned */
    .long 8
    .word 0, 0
    .long 8
.Lmultiboot2_end:

    .section .text.boot, "ax"
    .code32
    .globl _start_pvh
_start_pvh:
    movl ${pvh}, %eax              /* a PVH loader leaves nothing in eax */
    .globl _start32
_start32:
    cli
    cld
    movl $({boot_stack} + {boot_stack_size} - {off}), %esp
    movl %eax, %ebp                /* the protocol's magic number, kept in ebp */
    movl %ebx, %esi                /* the loader's information, kept in esi */

    /* Refuse a CPU without long mode. */
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb .Lno_long_mode
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx
    jnc .Lno_long_mode

    /* 4 GiB in 2 MiB pages. */
    movl $({pds} - {off}), %edi
    movl $0xe3, %eax
    xorl %ecx, %ecx
1:  movl %eax, (%edi,%ecx,8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jne 1b

    movl $({pdpt} - {off}), %edi
    movl $({pds} - {off} + 0x63), %eax
    movl %eax, (%edi)
    addl $0x1000, %eax
    movl %eax, 8(%edi)
    addl $0x1000, %eax
    movl %eax, 16(%edi)
    addl $0x1000, %eax
    movl %eax, 24(%edi)
    movl $({pdpt_image} - {off}), %edi
    movl $({pds} - {off} + 0x63), %eax
    movl %eax, {image_pdpt_index} * 8(%edi)

    movl $({pml4} - {off}), %edi
    movl $({pdpt} - {off} + 0x63), %eax
    movl %eax, (%edi)
    movl %eax, 262 * 8(%edi)
    movl $({pdpt_image} - {off} + 0x63), %eax
    movl %eax, 261 * 8(%edi)

    movl $0x20, %eax               /* CR4.PAE */
    movl %eax, %cr4
    movl %edi, %cr3
    movl $0xc0000080, %ecx         /* EFER: SCE, LME, NXE */
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80050033, %eax         /* CR0: PG AM WP NE ET MP PE */
    movl %eax, %cr0
    lgdt (.Lboot_gdtr - {off})
    ljmpl $8, $(.Llong - {off})

.Lno_long_mode:
    hlt
    jmp .Lno_long_mode

    .code64
.Llong:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movabsq $.Lhigh, %rax
    jmpq *%rax
.Lhigh:
    leaq {boot_stack} + {boot_stack_size}(%rip), %rsp
    movl %ebp, %edi
    movl %esi, %esi
    xorl %ebp, %ebp
    pushq $0
    pushq $0
    call {start}
    ud2

    .balign 16
.Lboot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
.Lboot_gdtr:
    .word 23
    .quad .Lboot_gdt - {off}
    "#,
    off = const IMAGE_OFFSET,
    image_pdpt_index = const (IMAGE_OFFSET >> 30) & 511,
    boot_stack = sym BOOT_STACK,
    boot_stack_size = const core::mem::size_of::<BootStack>(),
    pml4 = sym BOOT_PML4,
    pdpt = sym BOOT_PDPT,
    pdpt_image = sym BOOT_PDPT_IMAGE,
    pds = sym BOOT_PDS,
    pvh = const hypercore::boot::pvh::MAGIC,
    start = sym super::start,
    options(att_syntax),
);

#[repr(C, align(4096))]
pub struct Tables<const N: usize>(core::cell::UnsafeCell<[[u64; 512]; N]>);

// SAFETY: written by the entry code before any Rust runs, then only through `boot_pml4`'s one caller.
unsafe impl<const N: usize> Sync for Tables<N> {}

impl<const N: usize> Tables<N> {
    const fn new() -> Self {
        Tables(core::cell::UnsafeCell::new([[0; 512]; N]))
    }

    /// Where the tables are.
    pub fn as_ptr(&self) -> *mut [u64; 512] {
        self.0.get().cast()
    }
}

#[repr(C, align(4096))]
struct BootStack(core::cell::UnsafeCell<[u8; 65536]>);

// SAFETY: only ever used as the stack of the boot processor.
unsafe impl Sync for BootStack {}

static BOOT_STACK: BootStack = BootStack(core::cell::UnsafeCell::new([0; 65536]));
pub static BOOT_PML4: Tables<1> = Tables::new();
static BOOT_PDPT: Tables<1> = Tables::new();
static BOOT_PDPT_IMAGE: Tables<1> = Tables::new();
static BOOT_PDS: Tables<4> = Tables::new();

/// Bottom and top of the boot processor's first stack, if `address` is in it.
pub fn boot_stack(address: u64) -> Option<(u64, u64)> {
    let bottom = BOOT_STACK.0.get() as u64;
    let top = bottom + core::mem::size_of::<BootStack>() as u64;
    (bottom..top).contains(&address).then_some((bottom, top))
}
