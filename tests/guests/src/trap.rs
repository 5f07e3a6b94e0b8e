//! Traps, events and returns: the virtual IDT, entry stubs, recovery from an expected trap, `iret`.
//!
//! A check runs instructions with [`probe!`]: a trap inside it is recorded and execution goes on
//! behind it. A trap from user mode is recorded and ends [`crate::groups`]' visit there.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::arch_x86::{CpuUserRegs, FLAT_KERNEL_CS, TI_IF, TrapInfo};
use abi::sched::SHUTDOWN_CRASH;
use abi::xen::*;

use crate::hypercall;
use crate::mm;
use crate::print::say_raw;

/// What the stubs build: registers, then what the hypervisor pushed.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// As the ABI's registers, but for the vector, which has a word of its own before the error code's.
macro_rules! same_layout {
    ($by:literal: $($field:ident)*) => {$(
        const _: () = assert!(offset_of!(Frame, $field) == offset_of!(CpuUserRegs, $field) + $by);
    )*};
}
same_layout!(0: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi);
same_layout!(8: rip cs rflags rsp ss);

/// Not exceptions: the callbacks, in [`Frame::vector`].
pub const EVENT: u64 = 0x100;
pub const FAILSAFE: u64 = 0x101;
pub const SYSCALL: u64 = 0x102;

/// A trap that a check waited for.
#[derive(Clone, Copy, Default)]
pub struct Caught {
    pub frame: Frame,
    /// rip, from the first probed instruction; -1 outside the probe.
    pub offset: i64,
    /// The vCPU's event mask inside the handler.
    pub masked: u8,
    pub cr2: u64,
    /// rsp in the stub, before anything was pushed by it: where the frame ended up.
    pub at: u64,
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vector={:#x} error={:#x} rip", self.frame.vector, self.frame.error)?;
        if self.offset < 0 { f.write_str(" elsewhere") } else { write!(f, "+{}", self.offset) }
    }
}

/// `Option<Caught>` as an answer.
pub struct Outcome(pub Option<Caught>);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(caught) => caught.fmt(f),
            None => f.write_str("no trap"),
        }
    }
}

struct Last(UnsafeCell<Option<Caught>>);
// SAFETY: one vCPU; written by the trap handler and read after it returned.
unsafe impl Sync for Last {}
static LAST: Last = Last(UnsafeCell::new(None));

/// Where an expected trap returns to; 0 expects none. Then rsp there, then the probe's start.
pub static RECOVER: AtomicU64 = AtomicU64::new(0);
pub static RECOVER_RSP: AtomicU64 = AtomicU64::new(0);
pub static PROBE_START: AtomicU64 = AtomicU64::new(0);
/// Event callbacks so far.
pub static UPCALLS: AtomicU64 = AtomicU64::new(0);
/// The kernel's stack pointer while user mode runs.
pub static USER_RETURN: AtomicU64 = AtomicU64::new(0);

/// Forgets the last trap. `probe!` calls it.
pub fn arm() {
    // SAFETY: no handler runs now.
    unsafe { *LAST.0.get() = None };
}

pub fn caught() -> Option<Caught> {
    // SAFETY: no handler runs now.
    unsafe { *LAST.0.get() }
}

/// `probe!(["instruction", …], operands…)`: runs the instructions, answers the trap they raised.
/// r11 belongs to the macro. Must stand in an `unsafe` block: it is `asm!`.
#[macro_export]
macro_rules! probe {
    ([$($insn:expr),+ $(,)?] $(, $($ops:tt)*)?) => {{
        $crate::trap::arm();
        core::arch::asm!(
            "lea r11, [rip + 22f]",
            "mov [rip + {tg_recover}], r11",
            "lea r11, [rip + 21f]",
            "mov [rip + {tg_start}], r11",
            "mov [rip + {tg_rsp}], rsp",
            "21:",
            $($insn,)+
            "22:",
            "mov qword ptr [rip + {tg_recover}], 0",
            tg_recover = sym $crate::trap::RECOVER,
            tg_start = sym $crate::trap::PROBE_START,
            tg_rsp = sym $crate::trap::RECOVER_RSP,
            out("r11") _,
            $($($ops)*)?
        );
        $crate::trap::Outcome($crate::trap::caught())
    }};
}

/// Vectors with a stub, in the stubs' order.
const VECTORS: [u8; 26] =
    [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 0x80, 0x81, 0x82, 0x83, 0x84, 20, 21, 22];

global_asm!(
    ".macro trap_stub vector:req",
    ".balign 16",
    "pop rcx",
    "pop r11",
    "push 0",
    "push \\vector",
    "jmp trap_common",
    ".endm",
    ".macro trap_stub_error vector:req",
    ".balign 16",
    "pop rcx",
    "pop r11",
    "push \\vector",
    "jmp trap_common",
    ".endm",
    ".text",
    ".balign 16",
    ".globl trap_stubs, event_callback, syscall_callback, failsafe_callback",
    "trap_stubs:",
    "trap_stub 0",
    "trap_stub 1",
    "trap_stub 3",
    "trap_stub 4",
    "trap_stub 5",
    "trap_stub 6",
    "trap_stub 7",
    "trap_stub_error 8",
    "trap_stub 9",
    "trap_stub_error 10",
    "trap_stub_error 11",
    "trap_stub_error 12",
    "trap_stub_error 13",
    "trap_stub_error 14",
    "trap_stub 16",
    "trap_stub_error 17",
    "trap_stub 18",
    "trap_stub 19",
    "trap_stub 0x80",
    "trap_stub 0x81",
    "trap_stub 0x82",
    "trap_stub 0x83",
    "trap_stub 0x84",
    "trap_stub 20",
    "trap_stub_error 21",
    "trap_stub 22",
    "event_callback:",
    "trap_stub {event}",
    "syscall_callback:",
    "trap_stub {syscall}",
    "failsafe_callback:",
    "pop rcx",
    "pop r11",
    "add rsp, 32", // ds, es, fs, gs
    "push 0",
    "push {failsafe}",
    "trap_common:",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rax",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cld",
    "mov rdi, rsp",
    "mov rbx, rsp",
    "and rsp, -16",
    "call {handler}",
    "mov rsp, rbx",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rax",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "add rsp, 16", // vector, error
    "push 0",
    "push rcx",
    "push r11",
    "push rax",
    "mov eax, {iret}",
    "syscall",
    "ud2",
    event = const EVENT,
    syscall = const SYSCALL,
    failsafe = const FAILSAFE,
    iret = const HYPERVISOR_IRET,
    handler = sym trap_handler,
);

unsafe extern "C" {
    fn trap_stubs();
    fn event_callback();
    fn syscall_callback();
    fn failsafe_callback();
}

pub fn stub(vector: u8) -> u64 {
    let place = VECTORS.iter().position(|&v| v == vector).expect("a vector without a stub");
    trap_stubs as *const () as u64 + 16 * place as u64
}

pub fn event_stub() -> u64 {
    event_callback as *const () as u64
}

pub fn syscall_stub() -> u64 {
    syscall_callback as *const () as u64
}

pub fn failsafe_stub() -> u64 {
    failsafe_callback as *const () as u64
}

/// An entry for set_trap_table.
pub fn trap_info(vector: u8, flags: u8) -> TrapInfo {
    TrapInfo { vector, flags, cs: FLAT_KERNEL_CS, _pad0: 0, address: stub(vector) }
}

/// All handlers. 0x80..=0x83 may be reached from privilege 0..=3; 0x84 masks events.
pub fn table() -> [TrapInfo; VECTORS.len()] {
    VECTORS.map(|vector| {
        let flags = match vector {
            3 | 4 => 3,
            0x80..=0x83 => vector & 3,
            0x84 => 3 | TI_IF,
            14 => TI_IF,
            _ => 0,
        };
        trap_info(vector, flags)
    })
}

/// Registers them.
pub fn install() {
    let mut table_and_end = [TrapInfo::default(); VECTORS.len() + 1];
    table_and_end[..VECTORS.len()].copy_from_slice(&table());
    let answer = hypercall::call(HYPERVISOR_SET_TRAP_TABLE, [table_and_end.as_ptr() as u64, 0, 0, 0]);
    assert!(answer == 0, "set_trap_table: {answer}");
    let answer =
        hypercall::call(HYPERVISOR_SET_CALLBACKS, [event_stub(), failsafe_stub(), syscall_stub(), 0]);
    assert!(answer == 0, "set_callbacks: {answer}");
}

const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_DF: u64 = 1 << 10;

extern "C" fn trap_handler(frame: &mut Frame) {
    let masked = mm::read8(crate::vcpu!(evtchn_upcall_mask));
    if frame.vector == EVENT && frame.cs & 3 == 0 {
        UPCALLS.fetch_add(1, Ordering::Relaxed);
        crate::groups::events::upcall();
        return;
    }
    let expected = RECOVER.load(Ordering::Relaxed);
    let from_user = frame.cs & 3 == 3;
    if expected == 0 && !from_user {
        say_raw(format_args!(
            "TG unexpected trap: vector={:#x} error={:#x} rip={:#x} cs={:#x} rflags={:#x} rsp={:#x} cr2={:#x}\n",
            frame.vector,
            frame.error,
            frame.rip,
            frame.cs,
            frame.rflags,
            frame.rsp,
            mm::read(crate::vcpu!(arch.cr2)),
        ));
        hypercall::shutdown(SHUTDOWN_CRASH);
    }
    let start = PROBE_START.load(Ordering::Relaxed);
    let caught = Caught {
        frame: *frame,
        offset: if (start..=expected).contains(&frame.rip) { (frame.rip - start) as i64 } else { -1 },
        masked,
        cr2: mm::read(crate::vcpu!(arch.cr2)),
        at: (&raw const frame.rip) as u64,
    };
    // SAFETY: the code that reads it was interrupted, and reads after it resumes.
    unsafe { *LAST.0.get() = Some(caught) };
    if from_user {
        crate::groups::user::leave();
    }
    frame.rip = expected;
    frame.rsp = RECOVER_RSP.load(Ordering::Relaxed);
    frame.rflags &= !(RFLAGS_TF | RFLAGS_DF);
}
