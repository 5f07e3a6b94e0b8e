//! `traps`: exceptions of the kernel, privileged instructions, CPUID and MSRs, `iret`, breakpoints.

use core::arch::asm;

use abi::arch_x86::*;
use abi::xen::*;

use super::allow_io;
use crate::hypercall::{call, op};
use crate::mm::{self, A, D, P, Page, READ, RW, read8, write8};
use crate::print::ok;
use crate::trap::{self, Outcome};
use crate::{probe, say, vcpu};

pub fn run() {
    exceptions();
    frames();
    software_interrupts();
    page_faults();
    fpu();
    privileged();
    ports();
    cpuid();
    msrs();
    iret();
    debug_registers();
    tables();
}

/// The first address that is not one.
const NON_CANONICAL: u64 = 0x8000_0000_0000;

fn exceptions() {
    // SAFETY: of each probe in this file: the instructions change only what is declared, and a trap
    // resumes behind them.
    unsafe {
        say!("traps.ud2", "{}", probe!(["ud2"]));
        say!("traps.int3", "{}", probe!(["int3"]));
        say!("traps.int1", "{}", probe!([".byte 0xf1"]));
        say!(
            "traps.divide",
            "{}",
            probe!(["xor edx, edx", "xor ecx, ecx", "div ecx"], out("eax") _, out("edx") _, out("ecx") _)
        );
        say!("traps.noncanonical-read", "{}", probe!(["mov rax, [rax]"], inout("rax") NON_CANONICAL => _));
        say!("traps.noncanonical-jump", "{}", probe!(["jmp rax"], inout("rax") NON_CANONICAL => _));
        say!("traps.load-bad-ds", "{}", probe!(["mov ds, eax"], in("eax") 0x1238));
        say!("traps.load-hypervisor-ss", "{}", probe!(["mov ds, eax"], in("eax") 0xe010));
        say!("traps.load-null-ds", "{}", probe!(["mov ds, eax"], in("eax") 0));
        say!(
            "traps.load-flat-ds",
            "{}",
            probe!(["mov ds, eax", "mov ds, ecx"], in("eax") u32::from(FLAT_RING3_DS32), in("ecx") 0)
        );
        say!(
            "traps.single-step",
            "{}",
            probe!(["pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "nop"])
        );
        say!(
            "traps.x87",
            "{}",
            probe!(["fninit", "push 0x033b", "fldcw [rsp]", "pop rax", "fld1", "fldz", "fdivp", "fwait"], out("rax") _)
        );
        asm!("fninit");
        say!("traps.vmcall", "{}", probe!(["vmcall"], inout("eax") 0 => _));
        say!("traps.vmmcall", "{}", probe!(["vmmcall"], inout("eax") 0 => _));
        say!("traps.lock-bad", "{}", probe!([".byte 0xf0, 0x0f, 0x0b"]));
    }
}

/// What stands in an exception frame.
fn frames() {
    write8(vcpu!(evtchn_upcall_mask), 1);
    // SAFETY: as above.
    unsafe {
        probe!(["std", "stc", "ud2"]);
        let Some(c) = trap::caught() else { return say!("traps.frame", "none") };
        say!(
            "traps.frame",
            "cs={:#x} ss={:#x} rflags={:#x} masked={}",
            c.frame.cs,
            c.frame.ss,
            c.frame.rflags,
            c.masked
        );
        say!("traps.frame-aligned", "{}", (c.at + 5 * 8) & 15);
        write8(vcpu!(evtchn_upcall_mask), 0);
        probe!(["ud2"]);
        let Some(c) = trap::caught() else { return };
        say!("traps.frame-unmasked", "cs={:#x} rflags={:#x} masked={}", c.frame.cs, c.frame.rflags, c.masked);
        probe!(["int 0x84"]);
        let Some(c) = trap::caught() else { return };
        say!("traps.frame-masking", "cs={:#x} rflags={:#x} masked={}", c.frame.cs, c.frame.rflags, c.masked);
        say!("traps.mask-restored", "{}", read8(vcpu!(evtchn_upcall_mask)));
        write8(vcpu!(evtchn_upcall_mask), 1);
    }
}

fn software_interrupts() {
    // SAFETY: as above.
    unsafe {
        say!("traps.int-dpl0", "{}", probe!(["int 0x80"]));
        say!("traps.int-dpl1", "{}", probe!(["int 0x81"]));
        say!("traps.int-dpl2", "{}", probe!(["int 0x82"]));
        say!("traps.int-dpl3", "{}", probe!(["int 0x83"]));
        say!("traps.int-absent", "{}", probe!(["int 0x90"]));
        say!("traps.int-14", "{}", probe!(["int 14"]));
        say!("traps.int-6", "{}", probe!(["int 6"]));
        say!("traps.int-4", "{}", probe!(["int 4"]));
        say!("traps.int-3-long", "{}", probe!([".byte 0xcd, 3"]));
        say!("traps.int-2", "{}", probe!(["int 2"]));
        say!("traps.int-0x20", "{}", probe!(["int 0x20"]));
        say!("traps.int-0x82-again", "{}", probe!(["int 0x82"]));
        say!("traps.int-0xff", "{}", probe!(["int 0xff"]));
    }
}

fn page_faults() {
    let page = Page::new();
    let report = |name: &str, outcome: Outcome, expected: u64| {
        let cr2 = outcome.0.map_or(0, |c| c.cr2);
        say!(format_args!("traps.{name}"), "{outcome} cr2={}", ok(cr2 == expected));
    };
    let va = page.va();
    page.map(0);
    // SAFETY: as above.
    unsafe {
        report("read-unmapped", probe!(["mov rax, [rax]"], inout("rax") va + 24 => _), va + 24);
        report("write-unmapped", probe!(["mov [rax], rax"], inout("rax") va => _), va);
        report("jump-unmapped", probe!(["mov rdx, rax", "jmp rax"], inout("rax") va => _, out("rdx") _), va);
        page.map(READ);
        report("write-read-only", probe!(["mov [rax], rax"], inout("rax") va + 8 => _), va + 8);
        page.map(P | RW | A | D | mm::NX);
        report("jump-no-execute", probe!(["jmp rax"], inout("rax") va => _), va);
        page.map(mm::DATA);
        for (read, write, va) in [
            ("read-m2p", "write-m2p", MACH2PHYS_VIRT_START),
            ("read-hypervisor-image", "write-hypervisor-image", 0xffff_82d0_4020_0000),
            ("read-hypervisor-direct-map", "write-hypervisor-direct-map", 0xffff_8300_0000_0000),
            ("read-hypervisor-linear", "write-hypervisor-linear", 0xffff_8100_0000_0000),
            ("read-hypervisor-last", "write-hypervisor-last", HYPERVISOR_VIRT_END - 8),
        ] {
            report(read, probe!(["mov rax, [rax]"], inout("rax") va => _), va);
            report(write, probe!(["mov [rax], rax"], inout("rax") va => _), va);
        }
        report("user-low", probe!(["mov rax, [rax]"], inout("rax") 0x1000u64 => _), 0x1000);
    }
}

fn fpu() {
    let switch = |set: u64| call(HYPERVISOR_FPU_TASKSWITCH, [set, 0, 0, 0]);
    let cr0 = || {
        let value: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, cr0", out(reg) value) };
        value
    };
    say!("traps.cr0", "{:#x}", cr0());
    // SAFETY: as above.
    unsafe {
        say!("traps.fpu-free", "{}", probe!(["fnop"]));
        say!("traps.taskswitch", "{} cr0={:#x}", switch(1), cr0());
        say!("traps.fpu-taken", "{}", probe!(["fnop"]));
        say!("traps.fpu-after", "{} cr0={:#x}", probe!(["fnop"]), cr0());
        switch(1);
        say!("traps.taskswitch-off", "{} {}", switch(0), probe!(["fnop"]));
        switch(1);
        say!("traps.clts", "{} cr0={:#x}", probe!(["clts"]), cr0());
        say!("traps.cr0-set-ts", "{} cr0={:#x}", probe!(["mov cr0, rax"], in("rax") cr0() | 8), cr0());
        say!("traps.cr0-clear-ts", "{} cr0={:#x}", probe!(["mov cr0, rax"], in("rax") cr0() & !8), cr0());
        say!(
            "traps.cr0-clear-wp",
            "{} cr0={:#x}",
            probe!(["mov cr0, rax"], in("rax") cr0() & !0x1_0000),
            cr0()
        );
        say!("traps.cr0-set-cd", "{} cr0={:#x}", probe!(["mov cr0, rax"], in("rax") cr0() | 1 << 30), cr0());
        let value: u64;
        asm!("smsw {}", out(reg) value);
        say!("traps.smsw", "{:#x}", value & 0xffff);
    }
}

fn privileged() {
    allow_io(1);
    let flags = || {
        let value: u64;
        // SAFETY: reads a register.
        unsafe { asm!("pushfq", "pop {}", out(reg) value) };
        value & 0x3200
    };
    // SAFETY: as above.
    unsafe {
        write8(vcpu!(evtchn_upcall_mask), 1);
        say!(
            "traps.cli",
            "{} flags={:#x} mask={}",
            probe!(["cli"]),
            flags(),
            read8(vcpu!(evtchn_upcall_mask))
        );
        say!(
            "traps.sti",
            "{} flags={:#x} mask={}",
            probe!(["sti"]),
            flags(),
            read8(vcpu!(evtchn_upcall_mask))
        );
        say!(
            "traps.popf-if",
            "{} flags={:#x}",
            probe!(["pushfq", "and dword ptr [rsp], ~0x200", "popfq"]),
            flags()
        );
        say!(
            "traps.popf-iopl",
            "{} flags={:#x}",
            probe!(["pushfq", "or dword ptr [rsp], 0x3000", "popfq"]),
            flags()
        );
        allow_io(0);
        say!("traps.cli-iopl0", "{} flags={:#x}", probe!(["cli"]), flags());
        let (value, outcome): (u64, Outcome);
        outcome = probe!(["mov rax, cr2"], inout("rax") 0u64 => value);
        say!("traps.read-cr2", "{outcome} {}", ok(value == mm::read(vcpu!(arch.cr2))));
        say!(
            "traps.write-cr2",
            "{} {:#x}",
            probe!(["mov cr2, rax"], in("rax") 0x1234u64),
            mm::read(vcpu!(arch.cr2))
        );
        let value: u64;
        let outcome = probe!(["mov rax, cr3"], inout("rax") 0u64 => value);
        say!("traps.read-cr3", "{outcome} {}", ok(value == mm::l4_mfn() << 12));
        say!("traps.write-cr3", "{}", probe!(["mov cr3, rax"], in("rax") value));
        say!("traps.write-cr3-bad", "{}", probe!(["mov cr3, rax"], in("rax") 1u64 << 50));
        let cr4: u64;
        let outcome = probe!(["mov rax, cr4"], inout("rax") 0u64 => cr4);
        say!("traps.read-cr4", "{outcome} {cr4:#x}");
        say!("traps.write-cr4-same", "{}", probe!(["mov cr4, rax"], in("rax") cr4));
        say!("traps.write-cr4-smep", "{}", probe!(["mov cr4, rax"], in("rax") cr4 ^ 1 << 20));
        say!("traps.read-cr8", "{}", probe!(["mov rax, cr8"], inout("rax") 0u64 => _));
        say!("traps.wbinvd", "{}", probe!(["wbinvd"]));
        say!("traps.invd", "{}", probe!(["invd"]));
        say!("traps.invlpg", "{}", probe!(["invlpg [rax]"], in("rax") mm::VIRT_BASE));
        say!("traps.rdpmc", "{}", probe!(["rdpmc"], inout("ecx") 0 => _, out("eax") _, out("edx") _));
        say!("traps.rdtsc", "{}", probe!(["rdtsc"], out("eax") _, out("edx") _));
        say!("traps.rdtscp", "{}", probe!(["rdtscp"], out("eax") _, out("edx") _, out("ecx") _));
        say!("traps.xgetbv", "{}", probe!(["xgetbv"], inout("ecx") 0 => _, out("eax") _, out("edx") _));
        let (low, high): (u32, u32);
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high);
        say!("traps.xcr0", "{high:#x} {low:#x}");
        say!("traps.write-cr4-osxsave", "{}", probe!(["mov cr4, rax"], in("rax") cr4 | 1 << 18));
        let value: u64;
        asm!("mov {}, cr4", out(reg) value);
        say!("traps.read-cr4-osxsave", "{value:#x}");
        say!("traps.xsetbv-same", "{}", probe!(["xsetbv"], in("ecx") 0, in("eax") low, in("edx") high));
        say!("traps.xsetbv-0", "{}", probe!(["xsetbv"], in("ecx") 0, in("eax") 0, in("edx") 0));
        say!("traps.xsetbv-avx-alone", "{}", probe!(["xsetbv"], in("ecx") 0, in("eax") 5, in("edx") 0));
        say!("traps.xsetbv-xcr1", "{}", probe!(["xsetbv"], in("ecx") 1, in("eax") 1, in("edx") 0));
        say!("traps.write-cr4-no-osxsave", "{}", probe!(["mov cr4, rax"], in("rax") cr4));
        say!("traps.lgdt", "{}", probe!(["lgdt [rsp]"]));
        say!("traps.lidt", "{}", probe!(["lidt [rsp]"]));
        say!("traps.lldt", "{}", probe!(["lldt ax"], in("eax") 0));
        say!("traps.ltr", "{}", probe!(["ltr ax"], in("eax") 0));
        say!("traps.swapgs", "{}", probe!(["swapgs"]));
        say!("traps.sysret", "{}", probe!(["sysretq"], out("rcx") _));
        say!("traps.invlpga", "{}", probe!([".byte 0x0f, 0x01, 0xdf"], in("rax") 0, in("ecx") 0));
        say!("traps.wrfsbase", "{}", probe!(["rdfsbase rax", "wrfsbase rax"], out("rax") _));
    }
}

fn ports() {
    let inb = |port: u16| {
        let value: u32;
        // SAFETY: as above; the ports read have no side effect that a check depends on.
        let outcome = unsafe { probe!(["in al, dx"], inout("eax") 0x55 => value, in("edx") u32::from(port)) };
        (outcome, value)
    };
    let inl = |port: u16| {
        let value: u32;
        // SAFETY: as in `inb`.
        let outcome =
            unsafe { probe!(["in eax, dx"], inout("eax") 0x55 => value, in("edx") u32::from(port)) };
        (outcome, value)
    };
    let outl = |port: u16, value: u32| {
        // SAFETY: the checks write only to the delay port and the PCI index.
        unsafe { probe!(["out dx, eax"], in("eax") value, in("edx") u32::from(port)) }
    };
    allow_io(0);
    say!("traps.in-iopl0", "{} {:#x}", inb(0x70).0, inb(0x70).1);
    allow_io(1);
    // SAFETY: the delay port.
    say!("traps.out-delay", "{}", unsafe { probe!(["out 0x80, al"], in("al") 0u8) });
    for (name, port) in [
        ("pic", 0x20),
        ("pic-mask", 0x21),
        ("pit", 0x40),
        ("pit-mode", 0x43),
        ("com1-lsr", 0x3fd),
        ("com1-msr", 0x3fe),
        ("unused", 0x2e8 + 3),
        ("apm", 0xb2),
    ] {
        let (outcome, value) = inb(port);
        say!(format_args!("traps.in-{name}"), "{outcome} {value:#x}");
    }
    let (outcome, value) = inl(0x20);
    say!("traps.in-pic-wide", "{outcome} {value:#x}");
    say!("traps.out-cf8", "{}", outl(0xcf8, 0x8000_0000));
    let (outcome, value) = inl(0xcf8);
    say!("traps.in-cf8", "{outcome} {value:#x}");
    let (outcome, value) = inl(0xcfc);
    say!("traps.in-cfc", "{outcome} {value:#x}");
    let (outcome, value) = inb(0xcfd);
    say!("traps.in-cfd", "{outcome} {value:#x}");
    // SAFETY: ten bytes into a buffer of sixteen.
    unsafe {
        let mut buffer = [0x5au8; 16];
        let outcome = probe!(["rep insb"], inout("rdi") buffer.as_mut_ptr() => _, inout("rcx") 10u64 => _, in("edx") 0x2eb);
        say!("traps.rep-insb", "{outcome} {buffer:x?}");
        let outcome =
            probe!(["rep outsb"], inout("rsi") buffer.as_ptr() => _, inout("rcx") 10u64 => _, in("edx") 0x80);
        say!("traps.rep-outsb", "{outcome}");
        let outcome =
            probe!(["rep insb"], inout("rdi") 0x1000u64 => _, inout("rcx") 10u64 => _, in("edx") 0x2eb);
        say!("traps.rep-insb-unmapped", "{outcome}");
    }
    allow_io(0);
    let mut bitmap = [0xffu8; 8192];
    bitmap[0x80 / 8] = 0;
    let mut arg = abi::physdev::PhysdevSetIobitmap {
        bitmap: abi::GuestHandle::new(bitmap.as_mut_ptr() as u64),
        nr_ports: 65536,
        _pad0: 0,
    };
    say!("traps.iobitmap", "{}", op(HYPERVISOR_PHYSDEV_OP, abi::physdev::PHYSDEVOP_SET_IOBITMAP, &mut arg));
    say!("traps.in-bitmap-allows", "{}", inb(0x80).0);
    say!("traps.in-bitmap-denies", "{}", inb(0x70).0);
    arg.nr_ports = 0;
    say!(
        "traps.iobitmap-none",
        "{}",
        op(HYPERVISOR_PHYSDEV_OP, abi::physdev::PHYSDEVOP_SET_IOBITMAP, &mut arg)
    );
    say!("traps.in-after-bitmap", "{}", inb(0x80).0);
}

/// CPUID by the forced-emulation prefix: eax, ebx, ecx, edx.
pub fn forced_cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let (a, b64, c, d): (u32, u64, u32, u32);
    // SAFETY: the hypervisor emulates the marked instruction; rbx is the compiler's own.
    unsafe {
        asm!(
            "mov {save}, rbx",
            ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e",
            "cpuid",
            "xchg {save}, rbx",
            save = out(reg) b64,
            inout("eax") leaf => a,
            inout("ecx") subleaf => c,
            out("edx") d,
            options(nostack),
        );
    }
    [a, b64 as u32, c, d]
}

fn cpuid() {
    let [max, b, c, d] = forced_cpuid(XEN_CPUID_FIRST_LEAF, 0);
    let named = [b, c, d] == [XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX];
    say!("traps.cpuid-signature", "{max:#x} {}", ok(named));
    for (leaf, subleaf) in [
        (0x4000_0001, 0),
        (0x4000_0002, 0),
        (0x4000_0004, 0),
        (0x4000_0005, 0),
        (0x4000_0006, 0),
        (0x4000_0100, 0),
        (0, 0),
        (2, 0),
        (4, 0),
        (5, 0),
        (6, 0),
        (7, 0),
        (7, 1),
        (0xa, 0),
        (0xd, 0),
        (0xd, 1),
        (0xd, 2),
        (0x15, 0),
        (0x8000_0000, 0),
        (0x8000_0001, 0),
        (0x8000_0002, 0),
        (0x8000_0005, 0),
        (0x8000_0006, 0),
        (0x8000_0007, 0),
        (0x8000_0008, 0),
        (0x8000_000a, 0),
        (0x8000_001e, 0),
        (0x8000_0021, 0),
        (0x8fff_ffff, 0),
        (0xc000_0000, 0),
    ] {
        say!(format_args!("traps.cpuid-{leaf:x}.{subleaf}"), "{:#x?}", Flat(forced_cpuid(leaf, subleaf)));
    }
    let [a, b, c, d] = forced_cpuid(1, 0);
    say!("traps.cpuid-1.0", "{a:#x} {:#x} {c:#x} {d:#x}", b & 0x00ff_ffff);
    let [flags, mode, khz, incarnation] = forced_cpuid(0x4000_0003, 0);
    say!("traps.cpuid-40000003.0", "{flags:#x} mode={mode} khz-set={} incarnation={incarnation}", khz != 0);
    // SAFETY: as above.
    unsafe {
        say!("traps.cpuid-prefix-other", "{}", probe!([".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e", "nop"]));
    }
}

/// Four registers on one line.
pub struct Flat(pub [u32; 4]);

impl core::fmt::Debug for Flat {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:#x} {b:#x} {c:#x} {d:#x}")
    }
}

pub fn rdmsr(msr: u32) -> (Outcome, u64) {
    let (low, high): (u32, u32);
    // SAFETY: as above.
    let outcome = unsafe { probe!(["rdmsr"], in("ecx") msr, inout("eax") 0 => low, inout("edx") 0 => high) };
    (outcome, u64::from(high) << 32 | u64::from(low))
}

fn wrmsr(msr: u32, value: u64) -> Outcome {
    // SAFETY: as above; the checks write values back or to their own segment bases.
    unsafe { probe!(["wrmsr"], in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32) }
}

fn msrs() {
    for (name, msr) in [
        ("platform-id", 0x17),
        ("apic-base", 0x1b),
        ("feature-control", 0x3a),
        ("spec-ctrl", 0x48),
        ("pred-cmd", 0x49),
        ("ucode", 0x8b),
        ("platform-info", 0xce),
        ("mtrr-cap", 0xfe),
        ("arch-capabilities", 0x10a),
        ("misc-features", 0x140),
        ("sysenter-cs", 0x174),
        ("sysenter-esp", 0x175),
        ("mcg-cap", 0x179),
        ("mcg-status", 0x17a),
        ("perf-ctl", 0x199),
        ("therm-status", 0x19c),
        ("misc-enable", 0x1a0),
        ("debugctl", 0x1d9),
        ("mtrr-0", 0x200),
        ("pat", 0x277),
        ("mtrr-default", 0x2ff),
        ("mc0-ctl", 0x400),
        ("vmx-basic", 0x480),
        ("tsc-deadline", 0x6e0),
        ("x2apic-id", 0x802),
        ("xss", 0xda0),
        ("efer", 0xc000_0080),
        ("star", 0xc000_0081),
        ("lstar", 0xc000_0082),
        ("cstar", 0xc000_0083),
        ("fmask", 0xc000_0084),
        ("gs-shadow-high", 0xc000_0104),
        ("perf-evtsel", 0xc001_0000),
        ("syscfg", 0xc001_0010),
        ("hwcr", 0xc001_0015),
        ("nb-cfg", 0xc001_001f),
        ("pstate-limit", 0xc001_0061),
        ("vm-cr", 0xc001_0114),
        ("virt-spec-ctrl", 0xc001_011f),
        ("osvw", 0xc001_0140),
        ("ls-cfg", 0xc001_1020),
        ("de-cfg", 0xc001_1029),
        ("xen-hypercall", 0x4000_0000),
        ("absent", 0x1234_5678),
    ] {
        let (outcome, value) = rdmsr(msr);
        say!(format_args!("traps.rdmsr-{name}"), "{outcome} {value:#x}");
        let write = outcome.0.is_none().then(|| wrmsr(msr, value));
        match write {
            Some(write) => say!(format_args!("traps.wrmsr-{name}-same"), "{write}"),
            None => say!(format_args!("traps.wrmsr-{name}-same"), "not read"),
        }
    }
    say!("traps.rdmsr-tsc", "{}", rdmsr(0x10).0);
    say!("traps.rdmsr-tsc-aux", "{}", rdmsr(0xc000_0103).0);
    for (name, msr) in [("fs-base", 0xc000_0100), ("gs-base", 0xc000_0101), ("gs-user-base", 0xc000_0102)] {
        let write = wrmsr(msr, 0x1122_3344_5000);
        let (outcome, value) = rdmsr(msr);
        say!(format_args!("traps.msr-{name}"), "{write}, {outcome} {value:#x}");
        say!(
            format_args!("traps.msr-{name}-noncanonical"),
            "{} {:#x}",
            wrmsr(msr, 0x8000_0000_0000),
            rdmsr(msr).1
        );
        say!(
            format_args!("traps.msr-{name}-hypervisor"),
            "{} {:#x}",
            wrmsr(msr, 0xffff_8300_0000_0000),
            rdmsr(msr).1
        );
        wrmsr(msr, 0);
    }
    say!("traps.wrmsr-efer-nx", "{}", wrmsr(0xc000_0080, rdmsr(0xc000_0080).1 ^ 1 << 11));
    say!("traps.wrmsr-pat-other", "{} {:#x}", wrmsr(0x277, 0x0007_0406_0007_0406), rdmsr(0x277).1);
    say!("traps.wrmsr-lstar", "{}", wrmsr(0xc000_0082, 0x1000));
    say!("traps.wrmsr-absent", "{}", wrmsr(0x1234_5678, 0));
    say!("traps.wrmsr-tsc", "{}", wrmsr(0x10, 0));
}

/// Returns to the next instruction by `iret` with these flags; the flags found there.
fn iret_with(rflags: u64, context_flags: u64) -> (u64, u64, u8) {
    let (found, rcx): (u64, u64);
    // SAFETY: the frame returns to the label behind the call with the stack as it was.
    unsafe {
        asm!(
            "mov r8, rsp",
            "mov r9d, ss",
            "push r9",
            "push r8",
            "push {rflags}",
            "push {cs}",
            "lea r9, [rip + 22f]",
            "push r9",
            "push {context}",
            "push 0x77",      // rcx
            "push 0x88",      // r11
            "push 0x99",      // rax
            "mov eax, {iret}",
            "syscall",
            "ud2",
            "22:",
            "pushfq",
            "pop {found}",
            "push 0x202",
            "popfq",
            rflags = in(reg) rflags,
            context = in(reg) context_flags,
            cs = in(reg) 0xe030u64,
            iret = const HYPERVISOR_IRET,
            found = lateout(reg) found,
            lateout("rcx") rcx,
            out("rax") _, out("r8") _, out("r9") _, lateout("r11") _,
        );
    }
    (found, rcx, read8(vcpu!(evtchn_upcall_mask)))
}

fn iret() {
    for (name, flags) in [
        ("masked", 0x2u64),
        ("unmasked", 0x202),
        ("status", 0x2d7 | 0x800),
        ("direction", 0x602),
        ("iopl", 0x3202),
        ("nt", 0x4202),
        ("ac", 0x4_0202),
        ("vm", 0x2_0202),
        ("id", 0x20_0202),
        ("rf", 0x1_0202),
        ("vif", 0x18_0202),
        ("reserved", 0x820a | 0x20),
    ] {
        let (found, rcx, mask) = iret_with(flags, 0);
        say!(format_args!("traps.iret-{name}"), "{found:#x} rcx={rcx:#x} mask={mask}");
    }
    write8(vcpu!(evtchn_upcall_mask), 1);
    let (found, rcx, mask) = iret_with(0x202, VGCF_IN_SYSCALL);
    say!("traps.iret-in-syscall", "{found:#x} rcx-restored={} mask={mask}", rcx == 0x77);
    write8(vcpu!(evtchn_upcall_mask), 1);
}

fn debug_registers() {
    let set = |reg: u64, value: u64| call(HYPERVISOR_SET_DEBUGREG, [reg, value, 0, 0]);
    let get = |reg: u64| call(HYPERVISOR_GET_DEBUGREG, [reg, 0, 0, 0]);
    let watched = Page::new();
    for reg in 0..8 {
        say!(format_args!("traps.debugreg-{reg}"), "{:#x}", get(reg));
    }
    say!("traps.debugreg-8", "{} {}", get(8), set(8, 0));
    say!("traps.debugreg-4-5", "{} {}", set(4, 0), set(5, 0));
    say!("traps.debugreg-hypervisor", "{}", set(0, 0xffff_8300_0000_0000));
    say!("traps.debugreg-noncanonical", "{}", set(0, NON_CANONICAL));
    say!("traps.debugreg-address", "{} {}", set(0, watched.va()), ok(get(0) as u64 == watched.va()));
    say!("traps.debugreg-7-gd", "{} {:#x}", set(7, 1 << 13), get(7));
    say!("traps.debugreg-7-io", "{} {:#x}", set(7, 2 << 16), get(7));
    say!("traps.debugreg-7-high", "{} {:#x}", set(7, 1 << 32), get(7));
    say!("traps.set-debugreg-6", "{} {:#x}", set(6, !0), get(6));
    set(6, 0);
    // Local enable of register 0, four bytes, on writes.
    say!("traps.set-debugreg-7", "{} {:#x}", set(7, 0x1 | 0xd << 16), get(7));
    // SAFETY: as above; the page is the check's own.
    unsafe {
        say!("traps.watch-write", "{}", probe!(["mov [rax], eax", "nop", "nop"], in("rax") watched.va()));
        say!("traps.watch-dr6", "{:#x}", get(6));
        say!("traps.watch-dr7", "{:#x}", get(7));
        set(7, 0);
        set(6, 0);
        say!("traps.watch-off", "{}", probe!(["mov [rax], eax", "nop"], in("rax") watched.va()));
        let value: u64;
        let outcome = probe!(["mov rax, dr0"], inout("rax") 0u64 => value);
        say!("traps.mov-from-dr0", "{outcome} {}", ok(value == watched.va()));
        say!("traps.mov-to-dr0", "{} {:#x}", probe!(["mov dr0, rax"], in("rax") 0u64), get(0));
        say!("traps.mov-to-dr7-gd", "{} {:#x}", probe!(["mov dr7, rax"], in("rax") 1u64 << 13), get(7));
        say!("traps.mov-from-dr4", "{}", probe!([".byte 0x0f, 0x21, 0xe0"], out("rax") _));
        set(0, 0);
        set(7, 0);
    }
}

fn tables() {
    let set = |list: &mut [TrapInfo]| call(HYPERVISOR_SET_TRAP_TABLE, [list.as_mut_ptr() as u64, 0, 0, 0]);
    let mut bad = [trap::trap_info(6, 0), TrapInfo::default()];
    bad[0].address = NON_CANONICAL;
    say!("traps.table-noncanonical", "{}", set(&mut bad));
    bad[0].address = 0xffff_8300_0000_0000;
    say!("traps.table-hypervisor", "{}", set(&mut bad));
    bad[0] = trap::trap_info(6, 0);
    bad[0].cs = 0xe008;
    say!("traps.table-ring0-cs", "{}", set(&mut bad));
    // SAFETY: as above.
    unsafe {
        say!("traps.table-ring0-cs-effect", "{}", probe!(["ud2"]));
    }
    let cs = trap::caught().map_or(0, |c| c.frame.cs);
    say!("traps.table-ring0-cs-seen", "{cs:#x}");
    say!("traps.table-nowhere", "{}", call(HYPERVISOR_SET_TRAP_TABLE, [0x1000_0000_0000, 0, 0, 0]));
    trap::install();
    let set_callbacks =
        |event, failsafe, syscall| call(HYPERVISOR_SET_CALLBACKS, [event, failsafe, syscall, 0]);
    say!(
        "traps.callbacks-noncanonical",
        "{}",
        set_callbacks(NON_CANONICAL, trap::failsafe_stub(), trap::syscall_stub())
    );
    trap::install();
    say!(
        "traps.stack-switch",
        "{}",
        call(HYPERVISOR_STACK_SWITCH, [u64::from(FLAT_KERNEL_SS), crate::boot::entry_regs().rsp, 0, 0])
    );
    say!(
        "traps.stack-switch-noncanonical",
        "{}",
        call(HYPERVISOR_STACK_SWITCH, [u64::from(FLAT_KERNEL_SS), NON_CANONICAL, 0, 0])
    );
    say!(
        "traps.stack-switch-ring0",
        "{}",
        call(HYPERVISOR_STACK_SWITCH, [0xe010, crate::boot::entry_regs().rsp, 0, 0])
    );
    call(HYPERVISOR_STACK_SWITCH, [u64::from(FLAT_KERNEL_SS), crate::boot::entry_regs().rsp, 0, 0]);
}
