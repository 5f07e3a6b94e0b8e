//! Register-for-register traces: loads every register with a pattern, lets something happen, and shows all that the
//! handler, or the place returned to, finds.
//!
//! - [`Regs`]: what assembly loads and stores; [`Regs::pattern`] is what nothing else has.
//! - [`run`]: from one state to the next entry of the kernel, a [`Trace`].
//! - [`Trace::say`]: one line of registers, one of selectors and hidden state, one of the stack. A register that is
//!   as it was shows as `=`; addresses show relative to what they belong to, so that lines do not change with the image.
//!
//! The handlers touch neither the stack nor a register before everything is stored.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::offset_of;

use abi::arch_x86::{FLAT_KERNEL_CS, TrapInfo};
use abi::xen::*;

use crate::hypercall::call;
use crate::mm::{self, Page};
use crate::{say, vcpu};

/// Indices into [`Regs::gpr`].
pub const RAX: usize = 0;
pub const RBX: usize = 1;
pub const RCX: usize = 2;
pub const RDX: usize = 3;
pub const RSI: usize = 4;
pub const RDI: usize = 5;
pub const RSP: usize = 7;
pub const R11: usize = 11;
const NAMES: [&str; 16] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Entries that are no vectors, in [`Regs::vector`].
pub const EVENT: u64 = 37;
pub const SYSCALL: u64 = 38;
pub const FAILSAFE: u64 = 39;
pub const SYSCALL32: u64 = 40;
pub const SYSENTER: u64 = 41;
/// Where kernel code goes on after what was traced.
pub const LANDING: u64 = 42;

/// Registers as the assembly below has them.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct Regs {
    pub gpr: [u64; 16],
    pub rflags: u64,
    pub cs: u64,
    pub ss: u64,
    pub ds: u64,
    pub es: u64,
    /// This and the next are not loaded: their bases would go.
    pub fs: u64,
    pub gs: u64,
    /// The stub that was reached; not loaded.
    pub vector: u64,
    /// FXSAVE image.
    pub fx: [u64; 64],
}

const FX: usize = offset_of!(Regs, fx);
const _: () = assert!(FX.is_multiple_of(16));

impl Regs {
    const ZERO: Self =
        Self { gpr: [0; 16], rflags: 0, cs: 0, ss: 0, ds: 0, es: 0, fs: 0, gs: 0, vector: 0, fx: [0; 64] };

    /// Every register another value, every x87 and SSE register too. The stack is the traced kernel's.
    pub fn pattern() -> Self {
        let mut r = Self::ZERO;
        for (i, to) in r.gpr.iter_mut().enumerate() {
            *to = 0x1010_1010_1010_1010 * (i as u64 % 15 + 1) + 0x0102_0304_0506_0708;
        }
        r.gpr[RSP] = stack().va() + 0xf00;
        r.rflags = 0x2d7;
        (r.ds, r.es) = (0xe02b, 0xe02b);
        // FCW 0x027f (double precision, all masked), FSW with top 5 and condition bits, tags of three registers.
        r.fx[0] = 0x0000_00e0_6d00_027f;
        // MXCSR: all masked, inexact and underflow seen, rounding down.
        r.fx[3] = 0x3fb0;
        for i in 0..8 {
            r.fx[4 + 2 * i] = 0x8111_1111_1111_1111 + ((i as u64) << 56);
            r.fx[5 + 2 * i] = 0x4000 + i as u64;
        }
        for (i, to) in r.fx[20..52].iter_mut().enumerate() {
            *to = 0x5151_5151_0000_0000 + i as u64;
        }
        r
    }

    pub fn with(mut self, set: &[(usize, u64)]) -> Self {
        for &(at, value) in set {
            self.gpr[at] = value;
        }
        self
    }

    #[must_use]
    pub fn flags(self, rflags: u64) -> Self {
        Self { rflags, ..self }
    }
}

struct Stored(UnsafeCell<Regs>);
// SAFETY: written by the stubs while nobody looks.
unsafe impl Sync for Stored {}
static AFTER: Stored = Stored(UnsafeCell::new(Regs::ZERO));

struct Word(UnsafeCell<u64>);
// SAFETY: one vCPU; written before the assembly that reads it.
unsafe impl Sync for Word {}
static RETURN: Word = Word(UnsafeCell::new(0));
static TARGET: Word = Word(UnsafeCell::new(0));
/// Not 0: the FPU is neither loaded nor stored (CR0.TS is set).
static LEAVE_FPU: Word = Word(UnsafeCell::new(0));

macro_rules! load {
    ($($name:literal $at:literal),*) => {
        concat!($("mov ", $name, ", [rdi + 8*", $at, "]\n",)*)
    };
}
macro_rules! store {
    ($($name:literal $at:literal),*) => {
        concat!($("mov [rip + {after} + 8*", $at, "], ", $name, "\n",)*)
    };
}

global_asm!(
    ".text",
    ".balign 16",
    ".globl trace_stubs, trace_landing, trace_enter",
    "trace_stubs:",
    ".irp v, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41",
    ".balign 16",
    "mov qword ptr [rip + {after} + {vector}], \\v",
    "jmp trace_capture",
    ".endr",
    ".balign 16",
    "trace_landing:",
    "mov qword ptr [rip + {after} + {vector}], {landing}",
    "trace_capture:",
    store!(
        "rax" "0", "rbx" "1", "rcx" "2", "rdx" "3", "rsi" "4", "rdi" "5", "rbp" "6", "rsp" "7", "r8" "8", "r9" "9",
        "r10" "10", "r11" "11", "r12" "12", "r13" "13", "r14" "14", "r15" "15"
    ),
    "mov rsp, [rip + {ret}]",
    "pushfq",
    "pop qword ptr [rip + {after} + 8*16]",
    "push 2",
    "popfq",
    "xor eax, eax",
    "mov eax, cs",
    store!("rax" "17"),
    "mov eax, ss",
    store!("rax" "18"),
    "mov eax, ds",
    store!("rax" "19"),
    "mov eax, es",
    store!("rax" "20"),
    "mov eax, fs",
    store!("rax" "21"),
    "mov eax, gs",
    store!("rax" "22"),
    "cmp qword ptr [rip + {leave_fpu}], 0",
    "jne 1f",
    "fxsave64 [rip + {after} + {fx}]",
    "fninit",
    "push 0x1f80",
    "ldmxcsr [rsp]",
    "pop rax",
    "1:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    // trace_enter(rdi = &Regs)
    "trace_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + {ret}], rsp",
    "cmp qword ptr [rip + {leave_fpu}], 0",
    "jne 1f",
    "fxrstor64 [rdi + {fx}]",
    "1:",
    "mov eax, [rdi + 8*19]",
    "mov ds, eax",
    "mov eax, [rdi + 8*20]",
    "mov es, eax",
    "mov rsp, [rdi + 8*7]",
    "push [rdi + 8*16]",
    load!(
        "rax" "0", "rbx" "1", "rcx" "2", "rdx" "3", "rsi" "4", "rbp" "6", "r8" "8", "r9" "9", "r10" "10", "r11" "11",
        "r12" "12", "r13" "13", "r14" "14", "r15" "15", "rdi" "5"
    ),
    "popfq",
    "jmp [rip + {target}]",
    after = sym AFTER,
    ret = sym RETURN,
    target = sym TARGET,
    leave_fpu = sym LEAVE_FPU,
    vector = const offset_of!(Regs, vector),
    fx = const FX,
    landing = const LANDING,
);

unsafe extern "C" {
    fn trace_stubs();
    fn trace_landing();
    fn trace_enter(regs: *const Regs);
}

/// Address of the handler that stores everything and names itself `entry`.
pub fn stub(entry: u64) -> u64 {
    trace_stubs as *const () as u64 + 16 * entry
}

pub fn landing() -> u64 {
    trace_landing as *const () as u64
}

/// The software interrupts 0x80..=0x84 have the stubs 32..=36.
fn entry_of(vector: u8) -> u64 {
    if vector < 32 { vector.into() } else { u64::from(vector) - 0x80 + 32 }
}

/// Handlers of all exceptions, and of 0x80..=0x84: DPL 0, 1, 2, 3, and 3 that masks events.
pub fn install() {
    let mut table = [TrapInfo::default(); 38];
    for (i, entry) in table[..37].iter_mut().enumerate() {
        let vector = if i < 32 { i as u8 } else { (i - 32) as u8 + 0x80 };
        let flags = match vector {
            3 | 4 => 3,
            0x80..=0x83 => vector & 3,
            0x84 => 3 | 4,
            14 => 4,
            _ => 0,
        };
        *entry = TrapInfo { vector, flags, cs: FLAT_KERNEL_CS, _pad0: 0, address: stub(entry_of(vector)) };
    }
    assert!(call(HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0]) == 0);
    let callbacks = [stub(EVENT), stub(FAILSAFE), stub(SYSCALL), 0];
    assert!(call(HYPERVISOR_SET_CALLBACKS, callbacks) == 0);
}

/// The traced kernel's own stack, and the one for entries from user mode.
pub struct Stacks {
    pub kernel: &'static Page,
    pub entry: &'static Page,
}

struct StackCell(UnsafeCell<Option<Stacks>>);
// SAFETY: set once, by one vCPU, before it is read.
unsafe impl Sync for StackCell {}
static STACKS: StackCell = StackCell(UnsafeCell::new(None));

pub fn stacks() -> &'static Stacks {
    // SAFETY: one vCPU, and nothing keeps a reference over the first call.
    unsafe { (*STACKS.0.get()).get_or_insert_with(|| Stacks { kernel: Page::new(), entry: Page::new() }) }
}

pub fn stack() -> &'static Page {
    stacks().kernel
}

/// What words of stack look like that nobody wrote.
const UNUSED: u64 = 0x7e7e_7e7e_7e7e_7e7e;
const RFLAGS_RF: u64 = 1 << 16;
/// Words of stack that a trace has, from the stack pointer on.
const WORDS: usize = 14;

/// What is to happen from which state.
#[derive(Clone, Copy)]
pub struct Case {
    /// What is loaded.
    pub regs: Regs,
    /// What the registers found are compared with.
    pub was: Regs,
    /// The instruction it begins with.
    pub target: u64,
    /// Address that the lines show others relative to, as `mem`.
    pub mem: u64,
    /// Where user mode's code begins: shown as `user`.
    pub user: u64,
    /// A machine address that lines show entries relative to, as `frame`: it is another on every machine.
    pub frame: u64,
    /// evtchn_upcall_mask.
    pub masked: u8,
    /// CR0.TS is set: the FPU cannot be looked at.
    pub task_switched: bool,
}

/// All that a handler finds.
pub struct Trace {
    case: Case,
    pub after: Regs,
    bases: [u64; 3],
    debug: [u64; 2],
    cr0: u64,
    mask: u8,
    pending: u8,
    selector: u64,
    cr2: u64,
    pub stack: [u64; WORDS],
}

fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a segment base, which the hypervisor emulates.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

/// Fills both stacks with words that nobody wrote.
pub fn clear_stacks() {
    let s = stacks();
    for page in [s.kernel, s.entry] {
        (0..512).for_each(|at| page.set(at, UNUSED));
    }
}

/// Loads `case.regs`, jumps, and answers what the next entry of the kernel finds.
pub fn run(case: &Case) -> Trace {
    clear_stacks();
    resume(case)
}

/// As [`run`], the stacks left as they are.
pub fn resume(case: &Case) -> Trace {
    // SAFETY: one vCPU; the assembly restores what the compiler counts on, and runs on stacks of its own.
    unsafe {
        *TARGET.0.get() = case.target;
        *LEAVE_FPU.0.get() = case.task_switched.into();
        mm::write8(vcpu!(evtchn_upcall_mask), case.masked);
        mm::write(vcpu!(arch.cr2), UNUSED);
        trace_enter(&raw const case.regs);
    }
    let (mask, pending) = (mm::read8(vcpu!(evtchn_upcall_mask)), mm::read8(vcpu!(evtchn_upcall_pending)));
    mm::write8(vcpu!(evtchn_upcall_mask), 1);
    let selector = mm::read(vcpu!(evtchn_pending_sel));
    let cr2 = mm::read(vcpu!(arch.cr2));
    // SAFETY: the stub that wrote it has returned.
    let after = unsafe { *AFTER.0.get() };
    let sp = after.gpr[RSP];
    let s = stacks();
    let mut words = [UNUSED; WORDS];
    for (i, to) in words.iter_mut().enumerate() {
        let at = sp + 8 * i as u64;
        if at & 7 == 0 && (at & !0xfff == s.kernel.va() || at & !0xfff == s.entry.va()) {
            *to = mm::read(at);
        }
    }
    let cr0: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr0", out(reg) cr0) };
    let debug = [6, 7].map(|reg| call(HYPERVISOR_GET_DEBUGREG, [reg, 0, 0, 0]) as u64);
    let bases = [0xc000_0100, 0xc000_0101, 0xc000_0102].map(rdmsr);
    Trace { case: *case, after, bases, debug, cr0, mask, pending, selector, cr2, stack: words }
}

/// An address or a value, as a line has it.
struct Shown<'a>(&'a Case, u64);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(case, v) = *self;
        let s = stacks();
        let below = |top: u64| top.wrapping_sub(v);
        if v == UNUSED {
            f.write_str(".")
        } else if below(s.entry.va() + 4096) <= 4096 {
            write!(f, "entry-{:#x}", below(s.entry.va() + 4096))
        } else if below(s.kernel.va() + 4096) <= 4096 {
            write!(f, "stack-{:#x}", below(s.kernel.va() + 4096))
        } else if v.wrapping_sub(case.target) < 32 {
            write!(f, "code+{}", v - case.target)
        } else if case.user != 0 && v.wrapping_sub(case.user) < 32 {
            write!(f, "user+{}", v - case.user)
        } else if v == landing() {
            f.write_str("landing")
        } else if (stub(0)..=stub(SYSENTER)).contains(&v) {
            write!(f, "stub{}", (v - stub(0)) / 16)
        } else if case.frame != 0 && v & mm::ADDR == case.frame {
            write!(f, "frame|{:#x}", v & !mm::ADDR)
        } else if case.mem != 0 && v.wrapping_sub(case.mem) < 4096 {
            write!(f, "mem+{}", v - case.mem)
        } else {
            write!(f, "{v:#x}")
        }
    }
}

struct Registers<'a>(&'a Trace);

impl fmt::Display for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trace { case, after, .. } = self.0;
        for (i, name) in NAMES.iter().enumerate() {
            let (was, is) = (case.was.gpr[i], after.gpr[i]);
            if was == is { write!(f, " {name}==")? } else { write!(f, " {name}={}", Shown(case, is))? }
        }
        write!(f, " rflags={:#x}", after.rflags)
    }
}

struct Fpu<'a>(&'a Trace);

impl fmt::Display for Fpu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trace { case, after, .. } = self.0;
        if case.task_switched {
            return f.write_str("unseen");
        }
        // The word of MXCSR has its mask of valid bits in the upper half.
        let was = |i: usize| if i == 3 { case.was.fx[i] & 0xffff_ffff } else { case.was.fx[i] };
        let is = |i: usize| if i == 3 { after.fx[i] & 0xffff_ffff } else { after.fx[i] };
        // What the processor left in the words that software may use is not state.
        let mut changed = (0..52).filter(|&i| was(i) != is(i)).peekable();
        if changed.peek().is_none() {
            return f.write_str("=");
        }
        for i in changed {
            write!(f, "{i}:{:#x},", is(i))?;
        }
        Ok(())
    }
}

struct Words<'a>(&'a Trace);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trace { case, stack, .. } = self.0;
        let used = stack.iter().rposition(|&w| w != UNUSED).map_or(0, |last| last + 1);
        // RF is not compared: an interrupt of the machine just before the instruction may set it.
        let flags = 4 + self.0.skipped() as usize;
        for (i, &word) in stack[..used].iter().enumerate() {
            let word = if i == flags && word != UNUSED { word & !RFLAGS_RF } else { word };
            write!(f, " {}", Shown(case, word))?;
        }
        Ok(())
    }
}

impl Case {
    /// Kernel code from a state of patterns.
    pub fn kernel(code: unsafe extern "C" fn(), regs: Regs) -> Self {
        let target = code as *const () as u64;
        Self { regs, was: regs, target, mem: 0, user: 0, frame: 0, masked: 1, task_switched: false }
    }
}

impl Trace {
    /// Three lines.
    pub fn say(&self, name: &str) {
        let Trace { case, after, .. } = self;
        let entry = match after.vector {
            EVENT => "event",
            SYSCALL => "syscall",
            FAILSAFE => "failsafe",
            SYSCALL32 => "syscall32",
            SYSENTER => "sysenter",
            LANDING => "landing",
            _ => "",
        };
        if entry.is_empty() {
            let vector = if after.vector < 32 { after.vector } else { after.vector - 32 + 0x80 };
            say!(format_args!("trace.{name}.registers"), "vector={vector:#x}{}", Registers(self));
        } else {
            say!(format_args!("trace.{name}.registers"), "{entry}{}", Registers(self));
        }
        let [fs_base, gs_base, gs_other] = self.bases;
        let [dr6, dr7] = self.debug;
        say!(
            format_args!("trace.{name}.state"),
            "cs={:#x} ss={:#x} ds={:#x} es={:#x} fs={:#x} gs={:#x} fs-base={fs_base:#x} gs-base={gs_base:#x} \
             gs-other={gs_other:#x} cr0={:#x} dr6={dr6:#x} dr7={dr7:#x} masked={} pending={} selector={:#x} cr2={} fpu={}",
            after.cs,
            after.ss,
            after.ds,
            after.es,
            after.fs,
            after.gs,
            self.cr0,
            self.mask,
            self.pending,
            self.selector,
            Shown(case, self.cr2),
            Fpu(self)
        );
        say!(format_args!("trace.{name}.stack"), "{}", Words(self));
    }

    pub fn say_named(&self, name: &str, suffix: &str) {
        self.say(Name::new(format_args!("{name}-{suffix}")).as_str());
    }

    /// Whether the entry has an error code on its stack.
    fn has_error_code(&self) -> bool {
        matches!(self.after.vector, 8 | 10..=14 | 17 | 21)
    }

    /// Words between R11 and RIP in the entry's frame: an error code, or the failsafe callback's selectors.
    fn skipped(&self) -> u64 {
        match self.after.vector {
            FAILSAFE => 4,
            _ => self.has_error_code().into(),
        }
    }

    /// What a handler does at its end: RCX, R11 from its frame, `iret` with the rest. `rip` replaces the frame's.
    pub fn back(&self, rip: Option<u64>) -> Case {
        let s = self.after.gpr[RSP];
        let frame = s + 8 * (2 + self.skipped());
        let word = |at: u64| mm::read(s + 8 * at);
        let (rcx, r11) = (word(0), word(1));
        for (i, value) in [self.after.gpr[RAX], r11, rcx, 0].into_iter().enumerate() {
            mm::write(frame - 32 + 8 * i as u64, value);
        }
        if let Some(rip) = rip {
            mm::write(frame, rip);
        }
        let mut regs = self.after;
        regs.gpr[RSP] = frame - 32;
        regs.gpr[RAX] = HYPERVISOR_IRET.into();
        Case { regs, target: hypercall(), ..self.case }
    }
}

/// A check's name put together.
pub struct Name {
    bytes: [u8; 64],
    len: usize,
}

impl Name {
    pub fn new(text: fmt::Arguments<'_>) -> Self {
        let mut name = Self { bytes: [0; 64], len: 0 };
        fmt::Write::write_fmt(&mut name, text).expect("a name has room");
        name
    }

    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).expect("names are ASCII")
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let to = self.bytes.get_mut(self.len..self.len + s.len()).ok_or(fmt::Error)?;
        to.copy_from_slice(s.as_bytes());
        self.len += s.len();
        Ok(())
    }
}

/// The hypercall instruction, behind which [`landing`] follows.
pub fn hypercall() -> u64 {
    unsafe extern "C" {
        fn trace_hypercall();
    }
    trace_hypercall as *const () as u64
}

global_asm!(".globl trace_hypercall", ".balign 16", "trace_hypercall:", "syscall", "jmp trace_landing",);
