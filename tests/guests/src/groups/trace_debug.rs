//! `trace`: breakpoints of the debug registers in both modes, and NMIs.

use abi::vcpu::VCPUOP_SEND_NMI;
use abi::xen::*;

use super::trace::{both, kernel_code, run_and_say};
use super::trace_user::{self, frame, u_landing, u_read, u_write};
use crate::hypercall::call;
use crate::mm::Page;
use crate::trace::*;

kernel_code! {
    d_nop: "nop; nop";
    d_read: "mov rax, [rbx]";
    d_write: "mov [rbx], rax";
    d_forced: ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid";
    d_ud2: "ud2";
}

fn set(reg: u64, value: u64) -> i64 {
    call(HYPERVISOR_SET_DEBUGREG, [reg, value, 0, 0])
}

/// Register 0 watches `va`: `kind` 0 execution (1 byte), 1 writes, 3 reads and writes (8 bytes).
fn watch(va: u64, kind: u64) {
    unwatch();
    set(0, va);
    let length = if kind == 0 { 0 } else { 2 };
    set(7, 1 | (kind | length << 2) << 16);
}

fn unwatch() {
    for (reg, value) in [(7, 0), (6, 0), (0, 0)] {
        set(reg, value);
    }
}

pub fn run() {
    let p = Regs::pattern();
    // Not on the stack, which the checks themselves write.
    let word = Page::new().va() + 0x100;
    let at = p.with(&[(RBX, word)]);
    watch(d_nop as *const () as u64, 0);
    both("debug-execute", &Case::kernel(d_nop, p));
    // RF lets the instruction go on.
    let stopped = crate::trace::run(&Case::kernel(d_nop, p.flags(0x202)));
    let case = stopped.back(None);
    let flags = stopped.after.gpr[RSP] + 8 * 4;
    crate::mm::write(flags, crate::mm::read(flags) | 1 << 16);
    resume(&case).say("debug-execute-resumed");
    for (name, kind, code) in [
        ("write", 1, d_write as unsafe extern "C" fn()),
        ("read-of-written", 1, d_read),
        ("read", 3, d_read),
        ("readwrite-write", 3, d_write),
    ] {
        watch(word, kind);
        both(Name::new(format_args!("debug-{name}")).as_str(), &Case::kernel(code, at));
    }
    watch(word, 1);
    both("debug-write-step", &Case::kernel(d_write, at.flags(0x302)));
    watch(d_ud2 as *const () as u64, 0);
    both("debug-execute-ud2", &Case::kernel(d_ud2, p));
    watch(word, 1);
    both("debug-emulated", &Case::kernel(d_forced, at));
    user();
    unwatch();
    nmi();
}

fn user() {
    let p = Regs::pattern();
    let word = trace_user::STACK_TOP - 0x100;
    let at = p.with(&[(RBX, word)]);
    watch(word, 1);
    trace_user::both("debug-user-write", &frame(u_write, 0x202), at, 0);
    watch(word, 3);
    trace_user::both("debug-user-read", &frame(u_read, 0x202), at, 0);
    watch(trace_user::landing(), 0);
    trace_user::both("debug-user-execute", &frame(u_landing, 0x202), p, 0);
    unwatch();
    trace_user::both("debug-user-off", &frame(u_write, 0x202), at, 0);
}

/// An NMI a vCPU sends itself: it comes at the end of the call; no other before the handler's return.
fn nmi() {
    let p = Regs::pattern();
    let send = p.with(&[(RAX, HYPERVISOR_VCPU_OP.into()), (RDI, VCPUOP_SEND_NMI.into()), (RSI, 0), (RDX, 0)]);
    for (name, masked) in [("masked", 1), ("open", 0)] {
        let case = Case { target: hypercall(), masked, ..Case::kernel(d_nop, send) };
        let there = run_and_say(Name::new(format_args!("nmi-{name}")).as_str(), &case);
        // Sent from its own handler: it waits.
        let inner = Case {
            regs: there.after.with(&[
                (RAX, HYPERVISOR_VCPU_OP.into()),
                (RDI, VCPUOP_SEND_NMI.into()),
                (RSI, 0),
                (RDX, 0),
            ]),
            ..case
        };
        resume(&inner).say(Name::new(format_args!("nmi-{name}-inner")).as_str());
        resume(&there.back(None)).say(Name::new(format_args!("nmi-{name}-waited")).as_str());
        resume(&there.back(None)).say(Name::new(format_args!("nmi-{name}-back")).as_str());
    }
    call(HYPERVISOR_VCPU_OP, [u64::from(VCPUOP_SEND_NMI), 7, 0, 0]);
}
