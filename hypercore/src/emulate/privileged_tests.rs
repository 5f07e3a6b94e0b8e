//! Every instruction against a vCPU that writes down what is asked of it.

use super::*;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

struct Vm {
    kernel: bool,
    long: bool,
    iopl: bool,
    bitmap: Vec<u16>,
    mem: BTreeMap<u64, u8>,
    log: Vec<String>,
}

impl Vm {
    fn kernel() -> Vm {
        Vm { kernel: true, long: true, iopl: true, bitmap: Vec::new(), mem: BTreeMap::new(), log: Vec::new() }
    }
    fn user() -> Vm {
        Vm { kernel: false, iopl: false, ..Vm::kernel() }
    }
    fn note(&mut self, line: String) -> Result<(), Stop> {
        self.log.push(line);
        Ok(())
    }
}

impl PrivOps for Vm {
    fn kernel_mode(&self) -> bool {
        self.kernel
    }
    fn long_mode(&self) -> bool {
        self.long
    }
    fn segment_base(&mut self, segment: Segment) -> Result<u64, Stop> {
        Ok(if segment == Segment::Gs { 0x10_0000 } else { 0 })
    }
    fn iopl_allows(&self) -> bool {
        self.iopl
    }
    fn bitmap_allows(&mut self, port: u16, bytes: u8) -> bool {
        (port..port + u16::from(bytes)).all(|p| self.bitmap.contains(&p))
    }
    fn io_read(&mut self, port: u16, bytes: u8) -> Result<u32, Stop> {
        self.note(format!("in {port:x} {bytes}"))?;
        Ok(0xa1b2_c3d4)
    }
    fn io_write(&mut self, port: u16, bytes: u8, value: u32) -> Result<(), Stop> {
        self.note(format!("out {port:x} {bytes} {value:x}"))
    }
    fn mem_read(&mut self, va: u64, to: &mut [u8]) -> Result<(), Stop> {
        for (i, to) in to.iter_mut().enumerate() {
            let va = va + i as u64;
            *to = *self.mem.get(&va).ok_or(Stop::PageFault { va, error: 4 })?;
        }
        Ok(())
    }
    fn mem_write(&mut self, va: u64, from: &[u8]) -> Result<(), Stop> {
        for (i, from) in from.iter().enumerate() {
            let va = va + i as u64;
            *self.mem.get_mut(&va).ok_or(Stop::PageFault { va, error: 6 })? = *from;
        }
        Ok(())
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> Result<[u32; 4], Stop> {
        Ok([leaf, subleaf, 3, 4])
    }
    fn msr_read(&mut self, msr: u32) -> Result<u64, Stop> {
        if msr == 0x10 { Ok(0x1_0000_0002) } else { Err(Stop::GP) }
    }
    fn msr_write(&mut self, msr: u32, value: u64) -> Result<(), Stop> {
        self.note(format!("wrmsr {msr:x} {value:x}"))
    }
    fn cr_read(&mut self, cr: u8) -> Result<u64, Stop> {
        Ok(if cr == 0 { 0x8005_0033 } else { 0xc00 + u64::from(cr) })
    }
    fn cr_write(&mut self, cr: u8, value: u64) -> Result<(), Stop> {
        self.note(format!("cr{cr} {value:x}"))
    }
    fn dr_read(&mut self, dr: u8) -> Result<u64, Stop> {
        Ok(0xd0 + u64::from(dr))
    }
    fn dr_write(&mut self, dr: u8, value: u64) -> Result<(), Stop> {
        self.note(format!("dr{dr} {value:x}"))
    }
    fn tsc(&mut self) -> Result<u64, Stop> {
        Ok(0x1234_5678_9abc_def0)
    }
    fn tsc_aux(&mut self) -> Result<u32, Stop> {
        Ok(77)
    }
    fn pmc(&mut self, counter: u32) -> Result<u64, Stop> {
        if counter == 0 { Ok(5) } else { Err(Stop::GP) }
    }
    fn xsetbv(&mut self, index: u32, value: u64) -> Result<(), Stop> {
        self.note(format!("xcr{index} {value:x}"))
    }
    fn invlpg(&mut self, va: u64) -> Result<(), Stop> {
        self.note(format!("invlpg {va:x}"))
    }
    fn wbinvd(&mut self) -> Result<(), Stop> {
        self.note("wbinvd".into())
    }
    fn clts(&mut self) -> Result<(), Stop> {
        self.note("clts".into())
    }
    fn halt(&mut self) -> Result<(), Stop> {
        self.note("hlt".into())
    }
}

const RIP: u64 = 0xffff_ffff_8100_0000;
const ONES: u64 = u64::MAX;

fn regs() -> GuestRegs {
    GuestRegs { rip: RIP, rflags: RFLAGS_RF | 2, ..GuestRegs::default() }
}

/// Runs `bytes`, which must be one whole instruction and succeed.
fn run(bytes: &[u8], regs: &mut GuestRegs, vm: &mut Vm) {
    assert_eq!(emulate(bytes, regs, vm), Outcome::Done, "{bytes:x?}");
    assert_eq!(regs.rip, RIP + bytes.len() as u64, "{bytes:x?}");
    assert_eq!(regs.rflags & RFLAGS_RF, 0, "{bytes:x?}");
}

#[test]
fn in_and_out_of_all_sizes() {
    for (bytes, log, rax) in [
        (&[0xe4, 0x80][..], "in 80 1", 0xffff_ffff_ffff_ffd4),
        (&[0xe5, 0x80], "in 80 4", 0xa1b2_c3d4),
        (&[0x66, 0xe5, 0x80], "in 80 2", 0xffff_ffff_ffff_c3d4),
        (&[0xec], "in cf8 1", 0xffff_ffff_ffff_ffd4),
        (&[0xed], "in cf8 4", 0xa1b2_c3d4),
        (&[0x48, 0xed], "in cf8 4", 0xa1b2_c3d4),
        (&[0x66, 0xed], "in cf8 2", 0xffff_ffff_ffff_c3d4),
        (&[0xe6, 0x80], "out 80 1 ff", ONES),
        (&[0xe7, 0x80], "out 80 4 ffffffff", ONES),
        (&[0xee], "out cf8 1 ff", ONES),
        (&[0xef], "out cf8 4 ffffffff", ONES),
        (&[0x66, 0xef], "out cf8 2 ffff", ONES),
    ] {
        let mut vm = Vm::kernel();
        let mut regs = GuestRegs { rax: ONES, rdx: 0xabc_0cf8, ..regs() };
        run(bytes, &mut regs, &mut vm);
        assert_eq!((&vm.log[..], regs.rax), (&[String::from(log)][..], rax), "{bytes:x?}");
    }
}

#[test]
fn ports_are_the_kernels_to_give() {
    let mut vm = Vm::user();
    let mut r = GuestRegs { rdx: 0x60, ..regs() };
    assert_eq!(emulate(&[0xed], &mut r, &mut vm), Outcome::Unhandleable);
    assert_eq!(emulate(&[0xfa], &mut r, &mut vm), Outcome::Unhandleable, "CLI");
    vm.bitmap = std::vec![0x60, 0x61, 0x62];
    assert_eq!(emulate(&[0xed], &mut r, &mut vm), Outcome::Unhandleable, "all four ports count");
    assert!(vm.log.is_empty() && r.rip == RIP);
    run(&[0xec], &mut r, &mut vm);
    let mut vm = Vm::kernel();
    run(&[0xfa], &mut regs(), &mut vm);
    run(&[0xfb], &mut regs(), &mut vm);
}

#[test]
fn strings() {
    let mut vm = Vm::kernel();
    vm.mem = (0x1000..0x1010).map(|va| (va, va as u8)).collect();
    let mut r = GuestRegs { rdx: 0x1f0, rsi: 0x1000, rcx: 3, ..regs() };
    run(&[0xf3, 0x66, 0x6f], &mut r, &mut vm);
    assert_eq!(vm.log, ["out 1f0 2 100", "out 1f0 2 302", "out 1f0 2 504"]);
    assert_eq!((r.rsi, r.rcx), (0x1006, 0));

    vm.log.clear();
    let mut r = GuestRegs { rdx: 0x1f0, rdi: 0x100c, rcx: 5, rflags: RFLAGS_DF, ..regs() };
    run(&[0x6d], &mut r, &mut vm);
    assert_eq!((r.rdi, r.rcx), (0x1008, 5), "no prefix, no count; downwards");
    assert_eq!((vm.mem[&0x100c], vm.mem[&0x100f]), (0xd4, 0xa1));

    // The third element faults: two stand, the port was read twice.
    vm.log.clear();
    let mut r = GuestRegs { rdx: 0x1f0, rdi: 0x1008, rcx: 5, ..regs() };
    let outcome = emulate(&[0xf3, 0x6d], &mut r, &mut vm);
    assert_eq!(outcome, Outcome::PageFault { va: 0x1010, error: 4 });
    assert_eq!((r.rdi, r.rcx, r.rip, vm.log.len()), (0x1010, 3, RIP, 2));

    // A long one stops in between, still on the instruction.
    vm.mem = (0..0x1000).map(|va| (va, 0)).collect();
    let mut r = GuestRegs { rcx: 1000, ..regs() };
    assert_eq!(emulate(&[0xf3, 0x6e], &mut r, &mut vm), Outcome::Done);
    assert_eq!((r.rip, r.rcx), (RIP, 1000 - u64::from(MAX_REP)));
    // GS base applies to the source.
    vm.mem = [(0x10_0004, 9)].into();
    vm.log.clear();
    run(&[0x65, 0x6e], &mut GuestRegs { rsi: 4, ..regs() }, &mut vm);
    assert_eq!(vm.log, ["out 0 1 9"]);
    // Nothing at all with a count of 0.
    run(&[0xf3, 0x6c], &mut GuestRegs { rdi: ONES, ..regs() }, &mut vm);
}

#[test]
fn model_specific_registers() {
    let mut vm = Vm::kernel();
    let mut r = GuestRegs { rcx: 0xffff_ffff_0000_0010, rax: ONES, rdx: ONES, ..regs() };
    run(&[0x0f, 0x32], &mut r, &mut vm);
    assert_eq!((r.rax, r.rdx), (2, 1));
    let mut r = GuestRegs { rcx: 0x11, ..regs() };
    assert_eq!(emulate(&[0x0f, 0x32], &mut r, &mut vm), Outcome::Fault { vector: 13, error: 0 });
    let mut r =
        GuestRegs { rcx: 0xc000_0100, rax: 0xffff_ffff_0000_0001, rdx: 0xffff_ffff_0000_7fff, ..regs() };
    run(&[0x0f, 0x30], &mut r, &mut vm);
    assert_eq!(vm.log, ["wrmsr c0000100 7fff00000001"]);
}

#[test]
fn control_and_debug_registers() {
    let mut vm = Vm::kernel();
    let mut r = GuestRegs { rbx: 0x1234_5678_9abc, r9: 0x77, ..regs() };
    run(&[0x0f, 0x22, 0xdb], &mut r, &mut vm);
    r.rip = RIP;
    run(&[0x41, 0x0f, 0x20, 0xd1], &mut r, &mut vm);
    assert_eq!(r.r9, 0xc02);
    r.rip = RIP;
    run(&[0x41, 0x0f, 0x23, 0xf9], &mut r, &mut vm);
    r.rip = RIP;
    run(&[0x0f, 0x21, 0xf3], &mut r, &mut vm);
    assert_eq!(r.rbx, 0xd6);
    assert_eq!(vm.log, ["cr3 123456789abc", "dr7 c02"]);
    for bytes in [&[0x44, 0x0f, 0x20, 0xc0][..], &[0x0f, 0x20, 0xc8], &[0xf0, 0x0f, 0x20, 0xc0]] {
        assert_eq!(emulate(bytes, &mut regs(), &mut vm), Outcome::Unhandleable, "CR8, CR1: {bytes:x?}");
    }
}

#[test]
fn machine_status_word_and_the_rest_of_the_group() {
    let mut vm = Vm::kernel();
    vm.mem = [(0x2000, 0), (0x2001, 0), (0x2002, 7), (0x2003, 0xff)].into();
    let mut r = GuestRegs { rbx: 0x2000, rcx: 0, rax: 7, rdx: 1, ..regs() };
    run(&[0x0f, 0x01, 0x23], &mut r, &mut vm);
    assert_eq!((vm.mem[&0x2000], vm.mem[&0x2001]), (0x33, 0), "SMSW to memory");
    r.rip = RIP;
    run(&[0x0f, 0x01, 0x73, 0x02], &mut r, &mut vm);
    r.rip = RIP;
    run(&[0x0f, 0x01, 0xd1], &mut r, &mut vm);
    r.rip = RIP;
    run(&[0x65, 0x0f, 0x01, 0x3b], &mut r, &mut vm);
    r.rip = RIP;
    run(&[0x0f, 0x01, 0xe6], &mut r, &mut vm);
    assert_eq!(r.rsi, 0x8005_0033);
    r.rip = RIP;
    run(&[0x0f, 0x01, 0xf9], &mut r, &mut vm);
    assert_eq!((r.rax, r.rdx, r.rcx), (0x9abc_def0, 0x1234_5678, 77));
    assert_eq!(vm.log, ["cr0 80050037", "xcr0 100000007", "invlpg 102000"]);
    // SWAPGS, LGDT, VMCALL: not for a PV guest.
    for bytes in [&[0x0f, 0x01, 0xf8][..], &[0x0f, 0x01, 0x13], &[0x0f, 0x01, 0xc1]] {
        assert_eq!(emulate(bytes, &mut regs(), &mut vm), Outcome::Unhandleable, "{bytes:x?}");
    }
}

#[test]
fn simple_ones() {
    let mut vm = Vm::kernel();
    for bytes in [&[0xf4][..], &[0x0f, 0x06], &[0x0f, 0x08], &[0x0f, 0x09]] {
        run(bytes, &mut regs(), &mut vm);
    }
    assert_eq!(vm.log, ["hlt", "clts", "wbinvd", "wbinvd"]);
    let mut r = regs();
    run(&[0x0f, 0x31], &mut r, &mut vm);
    assert_eq!((r.rax, r.rdx), (0x9abc_def0, 0x1234_5678));
    let mut r = regs();
    run(&[0x0f, 0x33], &mut r, &mut vm);
    assert_eq!((r.rax, r.rdx), (5, 0));
}

#[test]
fn user_mode_gets_what_the_processor_raised() {
    for bytes in [
        &[0xf4][..],
        &[0x0f, 0x06],
        &[0x0f, 0x09],
        &[0x0f, 0x20, 0xc0],
        &[0x0f, 0x22, 0xc0],
        &[0x0f, 0x21, 0xc0],
        &[0x0f, 0x23, 0xc0],
        &[0x0f, 0x30],
        &[0x0f, 0x32],
        &[0x0f, 0x01, 0xd1],
        &[0x0f, 0x01, 0x3b],
        &[0x0f, 0x01, 0xf0],
    ] {
        let (mut vm, mut r) = (Vm::user(), regs());
        assert_eq!(emulate(bytes, &mut r, &mut vm), Outcome::Unhandleable, "{bytes:x?}");
        assert!(vm.log.is_empty() && r == regs(), "{bytes:x?}");
    }
}

#[test]
fn cpuid_all_three_ways() {
    let mut vm = Vm::user();
    let mut r = GuestRegs { rax: 0xffff_ffff_0000_000d, rcx: 1, ..regs() };
    run(&[0x0f, 0xa2], &mut r, &mut vm);
    assert_eq!((r.rax, r.rbx, r.rcx, r.rdx), (0xd, 1, 3, 4));
    let forced = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
    let mut r = GuestRegs { rax: 0x4000_0000, ..regs() };
    assert_eq!(forced_cpuid(&forced, &mut r, &mut vm), Outcome::Done);
    assert_eq!((r.rax, r.rip), (0x4000_0000, RIP + 7));
    assert_eq!(forced_cpuid(&forced[..6], &mut regs(), &mut vm), Outcome::FetchFault { va: RIP + 6 });
    assert_eq!(
        forced_cpuid(&[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0x31], &mut regs(), &mut vm),
        Outcome::Unhandleable
    );
    assert_eq!(forced_cpuid(&[0x0f, 0x0b, 1, 2, 3, 0x0f, 0xa2], &mut regs(), &mut vm), Outcome::Unhandleable);
}

#[test]
fn unfetched_bytes_and_unknown_ones() {
    let (mut vm, mut r) = (Vm::kernel(), regs());
    assert_eq!(emulate(&[0x0f], &mut r, &mut vm), Outcome::FetchFault { va: RIP + 1 });
    assert_eq!(emulate(&[0x90], &mut r, &mut vm), Outcome::Unhandleable);
    assert_eq!(emulate(&[0xf0, 0x0f, 0x32], &mut r, &mut vm), Outcome::Unhandleable, "LOCK RDMSR");
    assert_eq!(r, regs());
}

#[test]
fn compatibility_mode() {
    let mut vm = Vm { long: false, ..Vm::kernel() };
    vm.mem = (0x1000..0x1008).map(|va| (va, va as u8)).collect();
    let mut r = GuestRegs { rip: 0xffff_ffff, rsi: 0xffff_ffff_0000_1000, ..regs() };
    assert_eq!(emulate(&[0x6f], &mut r, &mut vm), Outcome::Done);
    assert_eq!((r.rip, r.rsi), (0, 0x1004));
    assert_eq!(vm.log, ["out 0 4 3020100"]);
    assert_eq!(emulate(&[0x48, 0xed], &mut r, &mut vm), Outcome::Unhandleable, "no REX here: DEC EAX");
}

/// Whatever the bytes, emulation ends and never moves further than the instruction is long.
#[test]
fn any_bytes() {
    let mut seed = 1u64;
    for _ in 0..200_000 {
        let mut bytes = [0; 15];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 56) as u8;
        }
        bytes[0] = [0x0f, 0x66, 0xf3, 0x48, 0x67][(seed >> 40) as usize % 5];
        let (mut vm, mut r) = (Vm::kernel(), regs());
        match emulate(&bytes, &mut r, &mut vm) {
            Outcome::Done => assert!(r.rip - RIP <= 15),
            _ => assert_eq!(r.rip, RIP),
        }
    }
}
