//! `trace`: the state before and after traps, events and hypercalls of the kernel, register for register.
//! What user mode does is in [`super::trace_user`], returns in [`super::trace_iret`].

use core::arch::asm;

use abi::arch_x86::{MACH2PHYS_VIRT_START, SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER};
use abi::xen::*;

use super::events;
use crate::boot::entry_regs;
use crate::hypercall::call;
use crate::mm::{self, A, D, P, Page, READ, RW};
use crate::trace::*;
use crate::{trap, vcpu};

/// Instructions, each of which goes on to the landing.
macro_rules! kernel_code {
    ($($name:ident: $insn:literal;)*) => {
        core::arch::global_asm!($(concat!(
            ".balign 16\n.globl ", stringify!($name), "\n", stringify!($name), ": ", $insn, "\njmp trace_landing"
        ),)*);
        unsafe extern "C" { $(pub fn $name();)* }
    };
}

pub(super) use kernel_code;

kernel_code! {
    k_nothing: "nop";
    k_ud2: "ud2";
    k_int3: "int3";
    k_int1: ".byte 0xf1";
    k_divide: "div ecx";
    k_int_80: "int 0x80";
    k_int_81: "int 0x81";
    k_int_82: "int 0x82";
    k_int_84: "int 0x84";
    k_int_90: "int 0x90";
    k_int_14: "int 14";
    k_int_81_prefixed: ".byte 0x66, 0xcd, 0x81";
    k_int3_long: ".byte 0xcd, 3";
    k_read: "mov rax, [rbx]";
    k_write: "mov [rbx], rax";
    k_jump: "jmp rbx";
    k_call: "call rbx";
    k_push: "push rax";
    k_rmw: "add [rbx + rcx*2], dx";
    k_load_ds: "mov ds, ebx";
    k_load_gs: "mov gs, ebx";
    k_fnop: "fnop";
    k_fwait: "fwait";
    k_movaps: "movaps [rbx], xmm0";
    k_cli: "cli";
    k_hlt_user_only: "lmsw ax";
    k_cpuid: "cpuid";
    k_forced_cpuid: ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid";
    k_rdmsr: "rdmsr";
    k_read_cr0: "mov rbx, cr0";
    k_read_dr7: "mov rbx, dr7";
    k_clts: "clts";
    k_in: "in al, dx";
    k_insb: "rep insb";
    k_swapgs: "swapgs";
    k_sysret: "sysretq";
    k_iretq: "iretq";
}

pub fn run() {
    let stacks = stacks();
    mm::write8(vcpu!(evtchn_upcall_mask), 1);
    install();
    call(HYPERVISOR_STACK_SWITCH, [abi::arch_x86::FLAT_KERNEL_SS.into(), stacks.entry.va() + 4096, 0, 0]);
    set_bases(0x1111_2222_3000, 0x2222_3333_4000, 0x3333_4444_5000);
    exceptions();
    flags();
    software_interrupts();
    emulated();
    page_faults();
    fpu();
    hypercalls();
    upcalls();
    super::trace_writes::run();
    super::trace_user::build();
    super::trace_iret::run();
    super::trace_user::run();
    super::trace_debug::run();
    super::trace_compat::run();
    set_bases(0, 0, 0);
    // SAFETY: the selectors the guest began with.
    unsafe { asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) 0) };
    trap::install();
    call(HYPERVISOR_STACK_SWITCH, [abi::arch_x86::FLAT_KERNEL_SS.into(), entry_regs().rsp, 0, 0]);
    mm::write8(vcpu!(evtchn_upcall_mask), 1);
}

pub fn set_bases(fs: u64, gs_kernel: u64, gs_user: u64) {
    for (which, base) in [(SEGBASE_FS, fs), (SEGBASE_GS_KERNEL, gs_kernel), (SEGBASE_GS_USER, gs_user)] {
        call(HYPERVISOR_SET_SEGMENT_BASE, [which.into(), base, 0, 0]);
    }
}

/// One trace, and the handler's return: behind the instruction if it trapped after it, to the landing else.
pub fn both(name: &str, case: &Case) {
    let there = run_and_say(name, case);
    if there.after.vector != LANDING {
        let back = resume(&there.back(Some(landing())));
        back.say_named(name, "back");
    }
}

pub fn run_and_say(name: &str, case: &Case) -> Trace {
    let there = crate::trace::run(case);
    there.say(name);
    there
}

fn exceptions() {
    let p = Regs::pattern();
    for (name, code, regs) in [
        ("nothing", k_nothing as unsafe extern "C" fn(), p),
        ("ud2", k_ud2, p),
        ("int3", k_int3, p),
        ("int1", k_int1, p),
        ("divide", k_divide, p.with(&[(RCX, 0)])),
        ("load-ds", k_load_ds, p.with(&[(RBX, 0x1238)])),
        ("load-ds-ring0", k_load_ds, p.with(&[(RBX, 0xe010)])),
        ("load-gs-ldt", k_load_gs, p.with(&[(RBX, 0x000f)])),
        ("read-noncanonical", k_read, p.with(&[(RBX, 0x8000_0000_0000)])),
        ("jump-noncanonical", k_jump, p.with(&[(RBX, 0x8000_0000_0000)])),
        ("movaps-misaligned", k_movaps, p.with(&[(RBX, stack().va() + 8)])),
        ("sysret", k_sysret, p),
        ("iretq", k_iretq, p),
        ("lmsw", k_hlt_user_only, p),
        ("cli", k_cli, p),
        ("swapgs", k_swapgs, p),
    ] {
        both(name, &Case::kernel(code, regs));
    }
    let odd = p.with(&[(RSP, stack().va() + 0xe4c)]);
    both("ud2-misaligned-stack", &Case::kernel(k_ud2, odd));
    both("ud2-unmasked", &Case { masked: 0, ..Case::kernel(k_ud2, p) });
}

/// Flags that a kernel can set itself, and which of them the handler starts with.
fn flags() {
    let p = Regs::pattern();
    for (name, flags) in [
        ("none", 0x202),
        ("direction", 0x602),
        ("step", 0x302),
        ("alignment", 0x4_0202),
        ("id", 0x20_0202),
        ("status", 0xad7),
        ("all", 0x24_0fd7),
    ] {
        for (event, code) in
            [("ud2", k_ud2 as unsafe extern "C" fn()), ("int-81", k_int_81), ("cpuid", k_forced_cpuid)]
        {
            let name = Name::new(format_args!("flags-{name}-{event}"));
            both(name.as_str(), &Case::kernel(code, p.flags(flags)));
        }
    }
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
}

fn software_interrupts() {
    let p = Regs::pattern();
    for (name, code) in [
        ("int-80", k_int_80 as unsafe extern "C" fn()),
        ("int-81", k_int_81),
        ("int-82", k_int_82),
        ("int-84", k_int_84),
        ("int-90", k_int_90),
        ("int-14", k_int_14),
        ("int-81-prefixed", k_int_81_prefixed),
        ("int-3-long", k_int3_long),
    ] {
        both(name, &Case::kernel(code, p));
    }
    both("int-84-unmasked", &Case { masked: 0, ..Case::kernel(k_int_84, p) });
}

/// Instructions that the hypervisor carries out: what else they change.
fn emulated() {
    let p = Regs::pattern();
    for (name, code, regs) in [
        ("cpuid-native", k_cpuid as unsafe extern "C" fn(), p.with(&[(RAX, 0), (RCX, 0)])),
        ("cpuid-forced", k_forced_cpuid, p.with(&[(RAX, 0x4000_0000), (RCX, 0)])),
        ("rdmsr-fs", k_rdmsr, p.with(&[(RCX, 0x1111_1111_c000_0100)])),
        ("read-cr0", k_read_cr0, p),
        ("read-dr7", k_read_dr7, p),
        ("clts", k_clts, p),
        ("in-denied", k_in, p.with(&[(RDX, 0x70)])),
        ("insb-denied", k_insb, p.with(&[(RDX, 0x70), (RCX, 3), (RDI, stack().va())])),
    ] {
        both(name, &Case::kernel(code, regs));
    }
    super::allow_io(1);
    for (name, code, regs) in [
        ("in-allowed", k_in as unsafe extern "C" fn(), p.with(&[(RDX, 0x2eb)])),
        ("insb-allowed", k_insb, p.with(&[(RDX, 0x2eb), (RCX, 3), (RDI, stack().va())])),
        ("ud2-iopl1", k_ud2, p),
        ("cli-iopl1", k_cli, p),
    ] {
        both(name, &Case::kernel(code, regs));
    }
    super::allow_io(3);
    both("ud2-iopl3", &Case::kernel(k_ud2, p));
    super::allow_io(0);
    // The assist that shows the level in frames and takes it from them.
    let assist =
        |cmd: u32| call(HYPERVISOR_VM_ASSIST, [cmd.into(), VMASST_TYPE_ARCHITECTURAL_IOPL.into(), 0, 0]);
    assist(VMASST_CMD_ENABLE);
    for level in [1, 3] {
        super::allow_io(level);
        both(Name::new(format_args!("ud2-assisted-iopl{level}")).as_str(), &Case::kernel(k_ud2, p));
    }
    let shown = crate::trace::run(&Case::kernel(k_ud2, p));
    let back = shown.back(Some(landing()));
    mm::write(shown.after.gpr[RSP] + 8 * 4, 0x202);
    resume(&back);
    both("ud2-assisted-iopl-returned", &Case::kernel(k_ud2, p));
    both("cli-assisted", &Case::kernel(k_cli, p));
    assist(VMASST_CMD_DISABLE);
    super::allow_io(0);
}

fn page_faults() {
    let page = Page::new();
    let (va, p) = (page.va(), Regs::pattern());
    let fault = |name: &str, code: unsafe extern "C" fn(), regs: Regs| {
        both(name, &Case { mem: va, ..Case::kernel(code, regs) });
    };
    let at = |offset: u64| p.with(&[(RBX, va + offset)]);
    page.map(0);
    fault("read-unmapped", k_read, at(0x18));
    fault("write-unmapped", k_write, at(8));
    fault("jump-unmapped", k_jump, at(1));
    fault("call-unmapped", k_call, at(2));
    fault("push-unmapped", k_push, p.with(&[(RSP, stack().va() + 0xf00)]));
    fault("rmw-unmapped", k_rmw, at(0x10).with(&[(RCX, 0x40)]));
    fault("read-unmapped-flags", k_read, at(0x18).flags(0x24_0ed7));
    page.map(READ);
    fault("write-read-only", k_write, at(0x10));
    fault("rmw-read-only", k_rmw, at(0x10).with(&[(RCX, 0x40)]));
    fault("write-across", k_write, p.with(&[(RBX, va.wrapping_sub(4))]));
    page.map(P | RW | A | D | mm::NX);
    fault("jump-no-execute", k_jump, at(0));
    page.map(mm::DATA);
    fault("read-user-low", k_read, p.with(&[(RBX, 0x1000)]));
    fault("write-m2p", k_write, p.with(&[(RBX, MACH2PHYS_VIRT_START)]));
    fault("read-hypervisor", k_read, p.with(&[(RBX, 0xffff_8300_0000_0000)]));
    fault("write-hypervisor", k_write, p.with(&[(RBX, 0xffff_8300_0000_0000)]));
    fault("jump-hypervisor", k_jump, p.with(&[(RBX, 0xffff_8300_0000_0000)]));
    let unmasked = Case { masked: 0, mem: va, ..Case::kernel(k_read, p.with(&[(RBX, 0x1000)])) };
    both("fault-unmasked", &unmasked);
}

fn fpu() {
    let p = Regs::pattern();
    let mut pending = p;
    // Divide by zero, unmasked and seen.
    pending.fx[0] = 0x0000_00e0_ed84_037b;
    both("fpu-pending", &Case::kernel(k_fwait, pending));
    for (name, code) in [
        ("taken", k_fnop as unsafe extern "C" fn()),
        ("movaps", k_movaps),
        ("other", k_ud2),
        ("clts", k_clts),
    ] {
        call(HYPERVISOR_FPU_TASKSWITCH, [1, 0, 0, 0]);
        let case = Case { task_switched: true, ..Case::kernel(code, p.with(&[(RBX, stack().va())])) };
        let name = Name::new(format_args!("fpu-{name}"));
        both(name.as_str(), &case);
        call(HYPERVISOR_FPU_TASKSWITCH, [0, 0, 0, 0]);
    }
}

/// The kernel's own hypercalls: which registers they leave alone.
fn hypercalls() {
    let p = Regs::pattern();
    let made = |number: u32, command: u64, flags: u64| {
        let regs = p.with(&[(RAX, number.into()), (RDI, command), (RSI, 0)]).flags(flags);
        Case { target: hypercall(), ..Case::kernel(k_nothing, regs) }
    };
    both("hypercall", &made(HYPERVISOR_XEN_VERSION, 0, 0x202));
    both("hypercall-flags", &made(HYPERVISOR_XEN_VERSION, 0, 0x24_0ed7));
    both("hypercall-step", &made(HYPERVISOR_XEN_VERSION, 0, 0x302));
    both("hypercall-unknown", &made(63, 0, 0x202));
    both("hypercall-yield", &made(HYPERVISOR_SCHED_OP, 0, 0x202));
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
}

fn upcalls() {
    let (_, port) = events::bind_ipi(0);
    events::set_mask(port, false);
    let mut arg = abi::event_channel::EvtchnSend { port };
    let arg = crate::hypercall::addr(&mut arg);
    let send = |flags| {
        Regs::pattern()
            .with(&[
                (RAX, HYPERVISOR_EVENT_CHANNEL_OP.into()),
                (RDI, abi::event_channel::EVTCHNOP_SEND.into()),
                (RSI, arg),
            ])
            .flags(flags)
    };
    let regs = [send(0x202), send(0x24_0ed7), send(0x302)];
    let case = |regs, masked| Case { target: hypercall(), masked, ..Case::kernel(k_nothing, regs) };
    for (name, regs) in ["plain", "flags", "step"].into_iter().zip(regs) {
        let upcall = run_and_say(Name::new(format_args!("upcall-{name}")).as_str(), &case(regs, 0));
        events::clear();
        resume(&upcall.back(None)).say_named("upcall", name);
    }
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
    run_and_say("upcall-masked", &case(regs[0], 1));
    // Pending and unmasked by a write: delivered by the next entry, whatever it is.
    run_and_say(
        "upcall-by-hypercall",
        &Case { regs: regs[0].with(&[(RAX, HYPERVISOR_XEN_VERSION.into()), (RDI, 0)]), ..case(regs[0], 0) },
    );
    run_and_say("upcall-behind-trap", &Case { masked: 0, ..Case::kernel(k_ud2, Regs::pattern()) });
    run_and_say("upcall-behind-masking-trap", &Case { masked: 0, ..Case::kernel(k_int_84, Regs::pattern()) });
    run_and_say(
        "upcall-behind-emulation",
        &Case { masked: 0, ..Case::kernel(k_forced_cpuid, Regs::pattern().with(&[(RAX, 0x4000_0000)])) },
    );
    events::clear();
    // An upcall whose handler unmasks and is called again.
    let first = run_and_say("upcall-outer", &case(regs[0], 0));
    events::clear();
    let inner = Case {
        regs: first.after.with(&[
            (RAX, HYPERVISOR_EVENT_CHANNEL_OP.into()),
            (RDI, abi::event_channel::EVTCHNOP_SEND.into()),
            (RSI, arg),
        ]),
        ..case(first.after, 0)
    };
    let second = resume(&inner);
    second.say("upcall-inner");
    events::clear();
    resume(&second.back(None)).say("upcall-inner-back");
    events::close(port);
}
