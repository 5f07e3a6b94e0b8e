//! `switch`: two vCPUs of one CPU, and that each finds its state again: registers of the FPU and of debugging, segments,
//! XCR0. For a machine with one CPU; not a part of `all`.
//!
//! The first vCPU polls with a time limit, so that the second runs meanwhile, which never waits.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::GuestHandle;
use abi::sched::{SCHEDOP_POLL, SchedPoll};
use abi::xen::*;

use super::timers::{MS, now};
use super::trace::{both, kernel_code, set_bases};
use super::traps::rdmsr;
use super::xstate::{AVX, possible, switch_on, xgetbv, xsetbv};
use crate::boot::entry_regs;
use crate::hypercall::{addr, call, op};
use crate::mm::{self, DATA, Page, READ};
use crate::print::ok;
use crate::trace::{Case, Name, R11, RAX, RDI, RSI, Regs, hypercall, install, stacks};
use crate::{probe, say, smp, trap, vcpu};

/// All that a vCPU has for itself beside its general registers.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq)]
struct State {
    fx: [u64; 52],
    unused: [u64; 12],
    ymm: [u64; 64],
    words: [u64; WORDS.len()],
}

const WORDS: [&str; 14] = [
    "xcr0", "cr0", "cr4", "ds", "es", "fs", "gs", "fs-base", "gs-base", "gs-other", "tsc-aux", "dr0", "dr6",
    "dr7",
];

/// PSE and PGE: whether they show is a listed difference (`traps.read-cr4`).
const CR4_SHOWN: u64 = 0x90;

const ZERO: State = State { fx: [0; 52], unused: [0; 12], ymm: [0; 64], words: [0; 14] };

struct Words<'a>(&'a [u64; WORDS.len()]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        WORDS.iter().zip(self.0).try_for_each(|(name, value)| write!(f, " {name}={value:#x}"))
    }
}

/// What differs first.
fn difference(was: &State, is: &State) -> &'static str {
    if was.fx != is.fx {
        return "x87 or SSE";
    }
    if was.ymm != is.ymm {
        return "AVX";
    }
    was.words.iter().zip(&is.words).position(|(a, b)| a != b).map_or("", |i| WORDS[i])
}

/// Stores the state. What its words have no register for is asked of the hypervisor.
fn look(to: &mut State) {
    let has_xsave = possible() != 0;
    let xcr0 = if has_xsave { xgetbv() } else { 0 };
    // SAFETY: `to` has the room and the alignment; YMM registers are there while XCR0 says so.
    unsafe {
        asm!("fxsave64 [{}]", in(reg) &raw mut *to);
        if xcr0 & AVX != 0 {
            asm!(
                ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "vmovups [{at} + 32*\\n], ymm\\n",
                ".endr",
                at = in(reg) &raw mut to.ymm,
            );
        }
    }
    to.unused = [0; 12];
    // The mask of valid bits beside MXCSR is the processor's.
    to.fx[3] &= 0xffff_ffff;
    macro_rules! register {
        ($name:literal) => {{
            let value: u64;
            // SAFETY: reads a register.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value) };
            value
        }};
    }
    let debug = |reg: u64| call(HYPERVISOR_GET_DEBUGREG, [reg, 0, 0, 0]) as u64;
    let aux: u64;
    // SAFETY: reads a counter and what is beside it.
    unsafe { asm!("rdtscp", out("eax") _, out("edx") _, out("rcx") aux) };
    to.words = [
        xcr0,
        register!("cr0"),
        register!("cr4") & !CR4_SHOWN,
        register!("ds"),
        register!("es"),
        register!("fs"),
        register!("gs"),
        rdmsr_of(0xc000_0100),
        rdmsr_of(0xc000_0101),
        rdmsr_of(0xc000_0102),
        aux,
        debug(0),
        debug(6),
        debug(7),
    ];
}

fn rdmsr_of(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a segment base, which the hypervisor emulates.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

/// Gives every register a value of `seed`'s.
fn fill(seed: u64) {
    let mut pattern = ZERO;
    pattern.fx[0] = 0x0000_00e0_6d00_027f;
    pattern.fx[3] = 0x1f80 | seed & 0x3f;
    for i in 0..8 {
        pattern.fx[4 + 2 * i] = 0x8000_0000_0000_0000 | seed << 8 | i as u64;
        pattern.fx[5 + 2 * i] = 0x4000;
    }
    for (i, word) in pattern.fx[20..].iter_mut().chain(&mut pattern.ymm).enumerate() {
        *word = seed << 32 | i as u64;
    }
    // SAFETY: the image is one the processor takes; the compiler uses none of these registers.
    unsafe {
        asm!("fxrstor64 [{}]", in(reg) &raw const pattern);
        if possible() & AVX != 0 {
            asm!(
                ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "vmovups ymm\\n, [{at} + 32*\\n]",
                ".endr",
                at = in(reg) &raw const pattern.ymm,
            );
        }
        asm!("mov es, {0:e}", in(reg) if seed & 1 == 0 { 0xe02b } else { 0 });
        asm!("wrmsr", in("ecx") 0xc000_0103u32, in("eax") seed as u32, in("edx") 0);
    }
    set_bases(seed << 20, seed << 24, seed << 28);
    for (reg, value) in [(0, seed << 12), (7, 1)] {
        call(HYPERVISOR_SET_DEBUGREG, [reg, value, 0, 0]);
    }
}

fn forget() {
    for reg in [7, 0, 6] {
        call(HYPERVISOR_SET_DEBUGREG, [reg, 0, 0, 0]);
    }
}

struct Shared(UnsafeCell<State>);
// SAFETY: written by the second vCPU before it says so, read by the first one afterwards.
unsafe impl Sync for Shared {}
static FRESH: Shared = Shared(UnsafeCell::new(ZERO));

/// Times the second vCPU has looked at its state.
static LOOKED: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);
/// What it found changed: an address and a length of text.
static CHANGED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// Traps of AVX while it had switched that off, and whether it found its registers when it was on again.
static OFF: AtomicU64 = AtomicU64::new(0);

/// Lets the second vCPU run.
fn wait() -> i64 {
    op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut poll(3 * MS))
}

fn poll(ns: u64) -> SchedPoll {
    SchedPoll { ports: GuestHandle::new(0), nr_ports: 0, _pad0: 0, timeout: now() + ns }
}

const ROUNDS: u64 = 100;

pub fn run() {
    mm::write8(vcpu!(evtchn_upcall_mask), 1);
    let (outcome, aux) = rdmsr(0xc000_0103);
    say!("switch.tsc-aux-at-start", "{outcome} {aux:#x}");
    say!("switch.state", "{:?}", smp::both(first, second));
    // SAFETY: the second vCPU is down.
    let fresh = unsafe { &*FRESH.0.get() };
    say!(
        "switch.fresh",
        "fcw={:#x} mxcsr={:#x} registers={} avx={}{}",
        fresh.fx[0],
        fresh.fx[3],
        ok(fresh.fx[4..].iter().all(|&w| w == 0)),
        ok(fresh.ymm.iter().all(|&w| w == 0)),
        Words(&fresh.words)
    );
    let [at, length] = [0, 1].map(|i| CHANGED[i].load(Ordering::Relaxed));
    // SAFETY: the address and length of a `&'static str`.
    let changed = unsafe {
        core::str::from_utf8_unchecked(core::slice::from_raw_parts(at.max(1) as *const u8, length as usize))
    };
    say!("switch.second", "changed=({changed}) switched-off={:#x}", OFF.load(Ordering::Relaxed));
    STOP.store(false, Ordering::Relaxed);
    say!(
        "switch.failsafe",
        "{:?}",
        smp::both(failsafe, || while !STOP.load(Ordering::Relaxed) {
            core::hint::spin_loop()
        })
    );
}

fn first() {
    let (mut was, mut is) = (ZERO, ZERO);
    let has_xsave = possible() != 0;
    if has_xsave {
        switch_on();
        xsetbv(0, possible() & 7);
    }
    fill(0x1234);
    look(&mut was);
    let (mut changed, mut switched) = ("", 0);
    for _ in 0..ROUNDS {
        let before = LOOKED.load(Ordering::Acquire);
        wait();
        switched += u64::from(LOOKED.load(Ordering::Acquire) != before);
        look(&mut is);
        if changed.is_empty() {
            changed = difference(&was, &is);
        }
    }
    STOP.store(true, Ordering::Release);
    forget();
    set_bases(0, 0, 0);
    // SAFETY: as the guest began.
    unsafe { asm!("fninit", "mov es, {0:e}", in(reg) 0) };
    say!("switch.first", "switched={} changed=({changed})", ok(switched > ROUNDS / 2));
}

fn second() {
    let (mut was, mut is) = (ZERO, ZERO);
    let possible = possible();
    if possible != 0 {
        switch_on();
        xsetbv(0, possible & 7);
    }
    // SAFETY: nobody looks before this is over.
    look(unsafe { &mut *FRESH.0.get() });
    fill(0x4321);
    look(&mut was);
    while !STOP.load(Ordering::Acquire) {
        if possible & AVX != 0 {
            xsetbv(0, 3);
            if LOOKED.load(Ordering::Relaxed) == 5 {
                // SAFETY: traps, for AVX is off.
                let outcome = unsafe { probe!(["vpxor xmm0, xmm0, xmm0"]) };
                OFF.store(outcome.0.map_or(0xff, |c| c.frame.vector), Ordering::Relaxed);
            }
            // Here the other one runs, too.
            for _ in 0..20_000 {
                core::hint::spin_loop();
            }
            xsetbv(0, possible & 7);
        }
        look(&mut is);
        let changed = difference(&was, &is);
        if !changed.is_empty() && CHANGED[1].load(Ordering::Relaxed) == 0 {
            CHANGED[0].store(changed.as_ptr() as u64, Ordering::Relaxed);
            CHANGED[1].store(changed.len() as u64, Ordering::Relaxed);
        }
        LOOKED.fetch_add(1, Ordering::Release);
    }
    forget();
}

kernel_code! {
    s_nothing: "nop";
}

/// Flat data, DPL 3.
const DESCRIPTOR: u64 = 0x00cf_f300_0000_ffff;
const ENTRY: u64 = 12;

/// Selectors whose descriptor goes while they are loaded and another vCPU runs.
fn failsafe() {
    install();
    let stack = stacks().entry.va() + 4096;
    call(HYPERVISOR_STACK_SWITCH, [abi::arch_x86::FLAT_KERNEL_SS.into(), stack, 0, 0]);
    let gdt = Page::new();
    gdt.map(READ);
    let mut frames = [gdt.mfn()];
    say!("switch.gdt", "{}", call(HYPERVISOR_SET_GDT, [frames.as_mut_ptr() as u64, 512, 0, 0]));
    let entry = gdt.maddr() + 8 * ENTRY;
    let selector = ENTRY << 3 | 3;
    for (name, ds, es, fs, gs) in [
        ("none", false, false, false, false),
        ("ds", true, false, false, false),
        ("es", false, true, false, false),
        ("fs", false, false, true, false),
        ("gs", false, false, false, true),
        ("all", true, true, true, true),
    ] {
        for masked in [1, 0] {
            call(HYPERVISOR_UPDATE_DESCRIPTOR, [entry, DESCRIPTOR, 0, 0]);
            let pick = |yes: bool, no: u64| if yes { selector } else { no };
            // SAFETY: the descriptor is there; nothing uses these segments.
            unsafe {
                asm!("mov fs, {0:e}", "mov gs, {1:e}", in(reg) pick(fs, 0), in(reg) pick(gs, 0));
            }
            set_bases(0x1111_2222_3000, 0x2222_3333_4000, 0x3333_4444_5000);
            let mut arg = poll(10 * MS);
            let mut calls = [MulticallEntry::default(); 2];
            calls[0].op = HYPERVISOR_UPDATE_DESCRIPTOR.into();
            calls[0].args[0] = entry;
            calls[1].op = HYPERVISOR_SCHED_OP.into();
            calls[1].args[..2].copy_from_slice(&[SCHEDOP_POLL.into(), addr(&mut arg)]);
            let mut regs = Regs::pattern().with(&[
                (RAX, HYPERVISOR_MULTICALL.into()),
                (RDI, calls.as_mut_ptr() as u64),
                (RSI, calls.len() as u64),
                (R11, 0),
            ]);
            (regs.ds, regs.es) = (pick(ds, 0xe02b), pick(es, 0xe02b));
            let case = Case { target: hypercall(), masked, ..Case::kernel(s_nothing, regs) };
            both(Name::new(format_args!("switched-{name}-{masked}")).as_str(), &case);
        }
    }
    // SAFETY: null selectors, before the table goes.
    unsafe { asm!("mov fs, {0:e}", "mov gs, {0:e}", "mov ds, {0:e}", "mov es, {0:e}", in(reg) 0) };
    call(HYPERVISOR_SET_GDT, [frames.as_mut_ptr() as u64, 0, 0, 0]);
    gdt.map(DATA);
    trap::install();
    call(HYPERVISOR_STACK_SWITCH, [abi::arch_x86::FLAT_KERNEL_SS.into(), entry_regs().rsp, 0, 0]);
    mm::write8(vcpu!(evtchn_upcall_mask), 1);
    STOP.store(true, Ordering::Release);
}
