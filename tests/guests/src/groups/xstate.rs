//! `xstate`: XSETBV, XCR0 and what CPUID says of extended state.

use core::arch::asm;

use super::traps::{Flat, forced_cpuid};
use crate::trap::Outcome;
use crate::{probe, say};

const CR4_OSXSAVE: u64 = 1 << 18;
const X87: u64 = 1;
const SSE: u64 = 2;
pub const AVX: u64 = 4;

/// The components there can be; 0 without XSAVE.
pub fn possible() -> u64 {
    if forced_cpuid(1, 0)[2] & 1 << 26 == 0 {
        return 0;
    }
    let [low, _, _, high] = forced_cpuid(0xd, 0);
    u64::from(low) | u64::from(high) << 32
}

pub fn xgetbv() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register that is there with XSAVE.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

pub fn xsetbv(index: u64, value: u64) -> Outcome {
    // SAFETY: the compiler uses no extended state; a refusal is a trap, and execution resumes behind it.
    unsafe {
        probe!(["xsetbv"], in("rcx") index, in("rax") 0x7777_7777_0000_0000 | value & 0xffff_ffff,
            in("rdx") 0x7777_7777_0000_0000 | value >> 32)
    }
}

/// As a kernel that wants XSAVE begins.
pub fn switch_on() {
    // SAFETY: the register is the vCPU's, and every other bit stays.
    unsafe {
        let cr4: u64;
        asm!("mov {}, cr4", out(reg) cr4);
        asm!("mov cr4, {}", in(reg) cr4 | CR4_OSXSAVE);
    }
}

pub fn run() {
    let possible = possible();
    say!("xstate.possible", "{possible:#x}");
    if possible == 0 {
        return;
    }
    say!("xstate.at-start", "{:#x}", xgetbv());
    say!("xstate.before-osxsave", "{} {:#x}", xsetbv(0, X87 | SSE), xgetbv());
    switch_on();
    for value in [
        X87,
        X87 | SSE,
        0,
        SSE,
        X87 | AVX,
        X87 | SSE | AVX,
        X87 | SSE | 8,
        X87 | SSE | 0x18,
        X87 | SSE | 0x20,
        X87 | SSE | 0xe0,
        X87 | SSE | AVX | 0xe0,
        X87 | SSE | AVX | 0x100,
        X87 | SSE | AVX | 0x200,
        X87 | SSE | AVX | 1 << 32,
        X87 | SSE | 1 << 62,
        X87 | SSE | 1 << 63,
    ] {
        xsetbv(0, X87 | SSE);
        say!(format_args!("xstate.set-{value:x}"), "{} {:#x}", xsetbv(0, value), xgetbv());
    }
    say!("xstate.index-1", "{}", xsetbv(1, X87 | SSE));
    say!("xstate.index-high", "{}", xsetbv(1 << 32, X87 | SSE));
    for value in [X87, X87 | SSE, possible] {
        xsetbv(0, value);
        for subleaf in [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 62, 63, 64] {
            say!(format_args!("xstate.leaf-{value:x}-{subleaf}"), "{:#x?}", Flat(forced_cpuid(0xd, subleaf)));
        }
    }
    if possible & AVX != 0 {
        let avx = || {
            // SAFETY: the register is nobody's.
            unsafe { probe!(["vpxor xmm0, xmm0, xmm0"]) }
        };
        xsetbv(0, X87 | SSE);
        say!("xstate.avx-off", "{}", avx());
        xsetbv(0, X87 | SSE | AVX);
        say!("xstate.avx-on", "{}", avx());
    }
    xsetbv(0, X87 | SSE);
}
