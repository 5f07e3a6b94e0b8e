//! Privileged instructions of a PV guest's kernel (and port I/O of user mode, where its kernel lets it).

use abi::arch_x86::XEN_EMULATE_PREFIX;
use x86::regs::GuestRegs;

use super::decode::{DecodeError, Insn, Rm, Segment, decode, mask, reg, reg_mut};

const GP: u8 = 13;
const RFLAGS_DF: u64 = 1 << 10;
const RFLAGS_RF: u64 = 1 << 16;

/// Elements of a repeated string instruction that are done before the guest gets another chance.
const MAX_REP: u32 = 128;

/// What became of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out; registers are updated. A long repetition stops in between with the instruction
    /// pointer still on it. If RFLAGS.TF is set, the caller delivers #DB.
    Done,
    /// Raise this exception; completed elements of a repetition stand.
    Fault { vector: u8, error: u32 },
    /// Raise #PF for this address.
    PageFault { va: u64, error: u32 },
    /// The bytes end before the instruction does: the next byte could not be fetched.
    FetchFault { va: u64 },
    /// Nothing was changed; run it again.
    Retry,
    /// Not for us: deliver what the processor raised.
    Unhandleable,
}

/// Why an operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Fault { vector: u8, error: u32 },
    PageFault { va: u64, error: u32 },
    Retry,
    Unhandleable,
}

impl Stop {
    /// #GP(0).
    pub const GP: Stop = Stop::Fault { vector: GP, error: 0 };
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Outcome {
        match stop {
            Stop::Fault { vector, error } => Outcome::Fault { vector, error },
            Stop::PageFault { va, error } => Outcome::PageFault { va, error },
            Stop::Retry => Outcome::Retry,
            Stop::Unhandleable => Outcome::Unhandleable,
        }
    }
}

/// What emulation needs of the vCPU and the machine. Privilege is checked before anything is called,
/// except where a method says otherwise.
pub trait PrivOps {
    /// The guest's kernel executes, not its user mode.
    fn kernel_mode(&self) -> bool;
    /// The code segment is a 64-bit one.
    fn long_mode(&self) -> bool;
    /// Base of a segment in 64-bit mode (FS, GS) or of any in compatibility mode.
    fn segment_base(&mut self, segment: Segment) -> Result<u64, Stop>;

    /// The guest's IOPL allows CLI, STI and all ports.
    fn iopl_allows(&self) -> bool;
    /// The guest kernel's I/O bitmap allows these ports.
    fn bitmap_allows(&mut self, port: u16, bytes: u8) -> bool;
    /// Called only for ports the guest may use; what the domain has no right to reads as ones.
    fn io_read(&mut self, port: u16, bytes: u8) -> Result<u32, Stop>;
    fn io_write(&mut self, port: u16, bytes: u8, value: u32) -> Result<(), Stop>;
    fn mem_read(&mut self, va: u64, to: &mut [u8]) -> Result<(), Stop>;
    fn mem_write(&mut self, va: u64, from: &[u8]) -> Result<(), Stop>;

    /// Called in user mode as well: #GP there if the guest wants CPUID to fault.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> Result<[u32; 4], Stop>;
    fn msr_read(&mut self, msr: u32) -> Result<u64, Stop>;
    fn msr_write(&mut self, msr: u32, value: u64) -> Result<(), Stop>;
    /// Control register 0, 2, 3 or 4.
    fn cr_read(&mut self, cr: u8) -> Result<u64, Stop>;
    fn cr_write(&mut self, cr: u8, value: u64) -> Result<(), Stop>;
    fn dr_read(&mut self, dr: u8) -> Result<u64, Stop>;
    fn dr_write(&mut self, dr: u8, value: u64) -> Result<(), Stop>;
    /// Called in user mode as well: #GP there if the guest has set CR4.TSD.
    fn tsc(&mut self) -> Result<u64, Stop>;
    fn tsc_aux(&mut self) -> Result<u32, Stop>;
    /// Called in user mode as well: #GP there unless the guest has set CR4.PCE.
    fn pmc(&mut self, counter: u32) -> Result<u64, Stop>;
    fn xsetbv(&mut self, index: u32, value: u64) -> Result<(), Stop>;
    fn invlpg(&mut self, va: u64) -> Result<(), Stop>;
    fn wbinvd(&mut self) -> Result<(), Stop>;
    /// Clears CR0.TS.
    fn clts(&mut self) -> Result<(), Stop>;
    /// Blocks the vCPU until an event.
    fn halt(&mut self) -> Result<(), Stop>;
}

/// Carries out the instruction at `regs.rip`, of which `bytes` are what could be fetched.
pub fn emulate(bytes: &[u8], regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Outcome {
    let insn = match decode(bytes, ops.long_mode()) {
        Ok(insn) => insn,
        Err(DecodeError::Truncated) => {
            return Outcome::FetchFault { va: regs.rip.wrapping_add(bytes.len() as u64) };
        }
        Err(DecodeError::Unknown) => return Outcome::Unhandleable,
    };
    match execute(&insn, regs, ops) {
        Ok(Next::Advance) => {
            advance(regs, insn.len, ops.long_mode());
            Outcome::Done
        }
        Ok(Next::Again) => Outcome::Done,
        Err(stop) => stop.into(),
    }
}

/// Carries out CPUID behind Xen's prefix, if that is what `bytes` (at `regs.rip`, where #UD was
/// raised) are; else it is somebody's real UD2.
pub fn forced_cpuid(bytes: &[u8], regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Outcome {
    const CPUID: [u8; 2] = [0x0f, 0xa2];
    let Some(rest) = bytes.strip_prefix(&XEN_EMULATE_PREFIX) else {
        return Outcome::Unhandleable;
    };
    if !rest.starts_with(&CPUID) {
        return if CPUID.starts_with(rest) {
            Outcome::FetchFault { va: regs.rip.wrapping_add(bytes.len() as u64) }
        } else {
            Outcome::Unhandleable
        };
    }
    match cpuid(regs, ops) {
        Ok(_) => {
            let len = XEN_EMULATE_PREFIX.len() + CPUID.len();
            advance(regs, len as u8, ops.long_mode());
            Outcome::Done
        }
        Err(stop) => stop.into(),
    }
}

fn advance(regs: &mut GuestRegs, len: u8, long: bool) {
    regs.rip = regs.rip.wrapping_add(u64::from(len));
    if !long {
        regs.rip &= 0xffff_ffff;
    }
    regs.rflags &= !RFLAGS_RF;
}

/// Whether the instruction is finished.
enum Next {
    Advance,
    Again,
}

fn execute(insn: &Insn, regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Result<Next, Stop> {
    if insn.lock && !matches!(insn.opcode, 0x120 | 0x122) {
        return Err(Stop::Unhandleable);
    }
    // What any privilege level may do goes first; the rest is the kernel's.
    match insn.opcode {
        0x6c..=0x6f => return string_io(insn, regs, ops),
        0xe4..=0xe7 | 0xec..=0xef => return port_io(insn, regs, ops),
        0xfa | 0xfb => {
            // Events are masked in vcpu_info, not by IF: nothing to do, for who may do it.
            return if ops.iopl_allows() { Ok(Next::Advance) } else { Err(Stop::Unhandleable) };
        }
        0x131 => return rdtsc(regs, ops),
        0x133 => {
            let value = ops.pmc(regs.rcx as u32)?;
            set_edx_eax(regs, value);
            return Ok(Next::Advance);
        }
        0x1a2 => return cpuid(regs, ops),
        0x101 => return group7(insn, regs, ops),
        _ => {}
    }
    if !ops.kernel_mode() {
        return Err(Stop::Unhandleable);
    }
    match insn.opcode {
        0xf4 => ops.halt()?,
        0x106 => ops.clts()?,
        0x108 | 0x109 => ops.wbinvd()?,
        0x120 => {
            let value = ops.cr_read(cr(insn)?)?;
            set_register(insn, regs, ops.long_mode(), value);
        }
        0x122 => {
            let value = register(insn, regs, ops.long_mode());
            ops.cr_write(cr(insn)?, value)?;
        }
        0x121 => {
            let value = ops.dr_read(dr(insn)?)?;
            set_register(insn, regs, ops.long_mode(), value);
        }
        0x123 => {
            let value = register(insn, regs, ops.long_mode());
            ops.dr_write(dr(insn)?, value)?;
        }
        0x130 => ops.msr_write(regs.rcx as u32, edx_eax(regs))?,
        0x132 => {
            let value = ops.msr_read(regs.rcx as u32)?;
            set_edx_eax(regs, value);
        }
        _ => return Err(Stop::Unhandleable),
    }
    Ok(Next::Advance)
}

fn edx_eax(regs: &GuestRegs) -> u64 {
    regs.rdx << 32 | regs.rax & 0xffff_ffff
}

fn set_edx_eax(regs: &mut GuestRegs, value: u64) {
    regs.rax = value & 0xffff_ffff;
    regs.rdx = value >> 32;
}

/// The general register of a MOV from or to a control or debug register.
fn register(insn: &Insn, regs: &GuestRegs, long: bool) -> u64 {
    let Rm::Reg(index) = insn.rm else { return 0 };
    reg(regs, index) & if long { u64::MAX } else { mask(4) }
}

fn set_register(insn: &Insn, regs: &mut GuestRegs, long: bool, value: u64) {
    if let Rm::Reg(index) = insn.rm {
        *reg_mut(regs, index) = value & if long { u64::MAX } else { mask(4) };
    }
}

fn cr(insn: &Insn) -> Result<u8, Stop> {
    // LOCK is AMD's way to CR8 outside 64-bit mode; PV has no CR8.
    match insn.reg {
        0 | 2 | 3 | 4 if !insn.lock => Ok(insn.reg),
        _ => Err(Stop::Unhandleable),
    }
}

fn dr(insn: &Insn) -> Result<u8, Stop> {
    if insn.reg < 8 { Ok(insn.reg) } else { Err(Stop::Unhandleable) }
}

fn cpuid(regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Result<Next, Stop> {
    let [a, b, c, d] = ops.cpuid(regs.rax as u32, regs.rcx as u32)?;
    regs.rax = u64::from(a);
    regs.rbx = u64::from(b);
    regs.rcx = u64::from(c);
    regs.rdx = u64::from(d);
    Ok(Next::Advance)
}

fn rdtsc(regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Result<Next, Stop> {
    let value = ops.tsc()?;
    set_edx_eax(regs, value);
    Ok(Next::Advance)
}

/// SMSW, LMSW, INVLPG; XSETBV and RDTSCP, which live among the register forms.
fn group7(insn: &Insn, regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Result<Next, Stop> {
    match (insn.reg & 7, insn.rm) {
        (4, Rm::Reg(index)) => {
            let value = ops.cr_read(0)?;
            insn.set_operand(regs, index, insn.operand_size, value);
        }
        (4, Rm::Mem(mem)) => {
            let value = ops.cr_read(0)? as u16;
            let va = address(insn, mem.segment, insn.offset(&mem, regs), ops)?;
            ops.mem_write(va, &value.to_le_bytes())?;
        }
        (7, Rm::Reg(index)) if index & 7 == 1 => {
            let aux = ops.tsc_aux()?;
            rdtsc(regs, ops)?;
            regs.rcx = u64::from(aux);
        }
        _ if !ops.kernel_mode() => return Err(Stop::Unhandleable),
        (2, Rm::Reg(index)) if index & 7 == 1 => ops.xsetbv(regs.rcx as u32, edx_eax(regs))?,
        (6, rm) => {
            let value = match rm {
                Rm::Reg(index) => reg(regs, index),
                Rm::Mem(mem) => {
                    let va = address(insn, mem.segment, insn.offset(&mem, regs), ops)?;
                    let mut word = [0; 2];
                    ops.mem_read(va, &mut word)?;
                    u64::from(u16::from_le_bytes(word))
                }
            };
            // PE can be set by LMSW but not cleared, and PE is always set.
            let cr0 = ops.cr_read(0)?;
            ops.cr_write(0, cr0 & !0xe | value & 0xf | cr0 & 1)?;
        }
        (7, Rm::Mem(mem)) => {
            let va = address(insn, mem.segment, insn.offset(&mem, regs), ops)?;
            ops.invlpg(va)?;
        }
        _ => return Err(Stop::Unhandleable),
    }
    Ok(Next::Advance)
}

/// The linear address of an offset in a segment.
fn address(insn: &Insn, segment: Segment, offset: u64, ops: &mut impl PrivOps) -> Result<u64, Stop> {
    let long = ops.long_mode();
    let offset = insn.truncate(offset);
    if long && !matches!(segment, Segment::Fs | Segment::Gs) {
        return Ok(offset);
    }
    let linear = ops.segment_base(segment)?.wrapping_add(offset);
    Ok(if long { linear } else { linear & 0xffff_ffff })
}

/// Bytes a port instruction moves: the even opcodes are bytes.
fn io_size(insn: &Insn) -> u8 {
    if insn.opcode & 1 == 0 { 1 } else { insn.operand_size.min(4) }
}

fn check_io(port: u16, size: u8, ops: &mut impl PrivOps) -> Result<(), Stop> {
    if ops.iopl_allows() || ops.bitmap_allows(port, size) { Ok(()) } else { Err(Stop::Unhandleable) }
}

fn port_io(insn: &Insn, regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Result<Next, Stop> {
    let size = io_size(insn);
    let port = if insn.opcode < 0xec { insn.imm as u8 as u16 } else { regs.rdx as u16 };
    check_io(port, size, ops)?;
    if insn.opcode & 2 == 0 {
        let value = ops.io_read(port, size)?;
        insn.set_operand(regs, 0, size, u64::from(value));
    } else {
        ops.io_write(port, size, (regs.rax & mask(size)) as u32)?;
    }
    Ok(Next::Advance)
}

fn string_io(insn: &Insn, regs: &mut GuestRegs, ops: &mut impl PrivOps) -> Result<Next, Stop> {
    let size = io_size(insn);
    let bytes = usize::from(size);
    let port = regs.rdx as u16;
    check_io(port, size, ops)?;
    let step = if regs.rflags & RFLAGS_DF != 0 { (bytes as u64).wrapping_neg() } else { bytes as u64 };
    let mut left = MAX_REP;
    loop {
        if insn.rep && insn.truncate(regs.rcx) == 0 {
            return Ok(Next::Advance);
        }
        if left == 0 {
            return Ok(Next::Again);
        }
        left -= 1;
        let mut data = [0; 4];
        if insn.opcode < 0x6e {
            let va = address(insn, Segment::Es, regs.rdi, ops)?;
            // A port must not be read in vain: see first whether the destination can be written.
            ops.mem_read(va, &mut data[..bytes])?;
            ops.mem_write(va, &data[..bytes])?;
            let value = ops.io_read(port, size)?;
            ops.mem_write(va, &value.to_le_bytes()[..bytes])?;
            regs.rdi = step_register(insn, regs.rdi, step);
        } else {
            let va = address(insn, insn.segment.unwrap_or(Segment::Ds), regs.rsi, ops)?;
            ops.mem_read(va, &mut data[..bytes])?;
            ops.io_write(port, size, u32::from_le_bytes(data))?;
            regs.rsi = step_register(insn, regs.rsi, step);
        }
        if !insn.rep {
            return Ok(Next::Advance);
        }
        regs.rcx = step_register(insn, regs.rcx, u64::MAX);
    }
}

/// Adds to a register of the instruction's address size; a 32-bit one loses its upper half.
fn step_register(insn: &Insn, value: u64, step: u64) -> u64 {
    insn.truncate(value.wrapping_add(step))
}

#[cfg(test)]
#[path = "privileged_tests.rs"]
mod tests;
