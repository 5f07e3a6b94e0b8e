//! ELF notes, the entry code and what it found: registers and start_info.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use abi::elfnote::*;
use abi::xen::StartInfo;

use crate::mm::VIRT_BASE;

/// The registers at entry, in the order the entry code stores them.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct EntryRegs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r: [u64; 8],
    pub rflags: u64,
    pub cs: u64,
    pub ss: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

struct Stored(UnsafeCell<EntryRegs>);
// SAFETY: written once by the entry code, before any Rust code runs, and only read afterwards.
unsafe impl Sync for Stored {}

static ENTRY_REGS: Stored = Stored(UnsafeCell::new(EntryRegs {
    rax: 0,
    rbx: 0,
    rcx: 0,
    rdx: 0,
    rsi: 0,
    rdi: 0,
    rbp: 0,
    rsp: 0,
    r: [0; 8],
    rflags: 0,
    cs: 0,
    ss: 0,
    ds: 0,
    es: 0,
    fs: 0,
    gs: 0,
}));

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);
// SAFETY: only the entry code and the CPU use it, as a stack.
unsafe impl Sync for Stack {}
const STACK_BYTES: usize = 128 * 1024;
static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

global_asm!(
    ".macro xen_note kind:req, desc:vararg",
    ".balign 4",
    ".long 4, 9902f - 9901f, \\kind",
    ".asciz \"Xen\"",
    "9901: \\desc",
    "9902: .balign 4",
    ".endm",
    ".section .note.Xen, \"a\", @note",
    "xen_note {guest_os}, .asciz \"tiny-guest\"",
    "xen_note {loader}, .asciz \"generic\"",
    "xen_note {xen_version}, .asciz \"xen-3.0\"",
    "xen_note {pae_mode}, .asciz \"yes\"",
    "xen_note {features}, .asciz \"!writable_page_tables|pae_pgdir_above_4gb\"",
    "xen_note {virt_base}, .quad {base}",
    "xen_note {paddr_offset}, .quad 0",
    "xen_note {entry}, .quad _start",
    "xen_note {hypercall_page}, .quad hypercall_page",
    ".section .hypercall_page, \"ax\", @progbits",
    ".balign 4096",
    ".globl hypercall_page",
    "hypercall_page: .fill 4096, 1, 0xcc",
    ".section .text.entry, \"ax\", @progbits",
    ".globl _start",
    "_start:",
    "mov [rip + {regs} + {rax}], rax",
    "mov [rip + {regs} + {rbx}], rbx",
    "mov [rip + {regs} + {rcx}], rcx",
    "mov [rip + {regs} + {rdx}], rdx",
    "mov [rip + {regs} + {rsi}], rsi",
    "mov [rip + {regs} + {rdi}], rdi",
    "mov [rip + {regs} + {rbp}], rbp",
    "mov [rip + {regs} + {rsp}], rsp",
    "mov [rip + {regs} + {r}], r8",
    "mov [rip + {regs} + {r} + 8], r9",
    "mov [rip + {regs} + {r} + 16], r10",
    "mov [rip + {regs} + {r} + 24], r11",
    "mov [rip + {regs} + {r} + 32], r12",
    "mov [rip + {regs} + {r} + 40], r13",
    "mov [rip + {regs} + {r} + 48], r14",
    "mov [rip + {regs} + {r} + 56], r15",
    "lea rsp, [rip + {stack} + {stack_bytes}]",
    "pushfq",
    "pop qword ptr [rip + {regs} + {rflags}]",
    "mov [rip + {regs} + {cs}], cs",
    "mov [rip + {regs} + {ss}], ss",
    "mov [rip + {regs} + {ds}], ds",
    "mov [rip + {regs} + {es}], es",
    "mov [rip + {regs} + {fs}], fs",
    "mov [rip + {regs} + {gs}], gs",
    "cld",
    "xor ebp, ebp",
    "call {main}",
    "ud2",
    guest_os = const XEN_ELFNOTE_GUEST_OS,
    loader = const XEN_ELFNOTE_LOADER,
    xen_version = const XEN_ELFNOTE_XEN_VERSION,
    pae_mode = const XEN_ELFNOTE_PAE_MODE,
    features = const XEN_ELFNOTE_FEATURES,
    virt_base = const XEN_ELFNOTE_VIRT_BASE,
    paddr_offset = const XEN_ELFNOTE_PADDR_OFFSET,
    entry = const XEN_ELFNOTE_ENTRY,
    hypercall_page = const XEN_ELFNOTE_HYPERCALL_PAGE,
    base = const VIRT_BASE,
    regs = sym ENTRY_REGS,
    rax = const offset_of!(EntryRegs, rax),
    rbx = const offset_of!(EntryRegs, rbx),
    rcx = const offset_of!(EntryRegs, rcx),
    rdx = const offset_of!(EntryRegs, rdx),
    rsi = const offset_of!(EntryRegs, rsi),
    rdi = const offset_of!(EntryRegs, rdi),
    rbp = const offset_of!(EntryRegs, rbp),
    rsp = const offset_of!(EntryRegs, rsp),
    r = const offset_of!(EntryRegs, r),
    rflags = const offset_of!(EntryRegs, rflags),
    cs = const offset_of!(EntryRegs, cs),
    ss = const offset_of!(EntryRegs, ss),
    ds = const offset_of!(EntryRegs, ds),
    es = const offset_of!(EntryRegs, es),
    fs = const offset_of!(EntryRegs, fs),
    gs = const offset_of!(EntryRegs, gs),
    stack = sym STACK,
    stack_bytes = const STACK_BYTES,
    main = sym crate::guest_main,
);

pub fn entry_regs() -> EntryRegs {
    // SAFETY: written once, before Rust code ran.
    unsafe { *ENTRY_REGS.0.get() }
}

/// What the builder left at rsi.
pub fn start_info() -> &'static StartInfo {
    // SAFETY: the builder mapped a start_info page there and nobody writes it any more.
    unsafe { &*(entry_regs().rsi as *const StartInfo) }
}

/// A zero-terminated string, without what follows the zero.
pub fn c_str(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or("(not UTF-8)")
}

/// The value of `group=` on the command line.
pub fn selected_groups() -> Option<&'static str> {
    option("group")
}

/// The value of `name=` on the command line.
fn option(name: &str) -> Option<&'static str> {
    let mut words = c_str(&start_info().cmd_line).split_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// The same, as a decimal number.
pub fn number(name: &str) -> Option<u64> {
    option(name)?.parse().ok()
}

/// End of the image, a symbol of the linker's script.
pub fn image_end() -> u64 {
    unsafe extern "C" {
        static __image_end: u8;
    }
    (&raw const __image_end) as u64
}

/// The page the hypervisor filled with one 32-byte stub per hypercall.
pub fn hypercall_page() -> u64 {
    unsafe extern "C" {
        static hypercall_page: u8;
    }
    (&raw const hypercall_page) as u64
}
