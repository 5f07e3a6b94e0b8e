//! A decoder for the few instructions a PV guest has emulated: prefixes, opcode, ModRM, immediate.
//!
//! It knows the shape of exactly the opcodes in [`shape`]; anything else is [`DecodeError::Unknown`].
//! Manuals: Intel SDM vol. 2, chapter 2 and appendix A.

use x86::regs::GuestRegs;

/// The most bytes an instruction has.
pub const MAX_LEN: usize = 15;

/// Opcodes of the second map are `TWO_BYTE | second byte`.
pub const TWO_BYTE: u16 = 0x100;

/// Why bytes are not an instruction this decoder can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// More bytes are needed than were given.
    Truncated,
    Unknown,
}

/// A segment a memory operand is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// A memory operand before registers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    pub segment: Segment,
    pub base: Option<u8>,
    pub index: Option<(u8, u8)>,
    pub disp: i64,
    /// Relative to the next instruction.
    pub rip: bool,
}

/// The operand that ModRM's `rm` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rm {
    Reg(u8),
    Mem(Mem),
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub opcode: u16,
    /// F3 or F2 came before it.
    pub rep: bool,
    pub lock: bool,
    /// Bytes of an operand that the opcode does not make a byte: 2, 4 or 8.
    pub operand_size: u8,
    /// Bytes of an address: 4 or 8.
    pub address_size: u8,
    /// Segment of string sources and of [`Mem`], where a prefix chose it.
    pub segment: Option<Segment>,
    /// There was a REX prefix: byte registers 4 to 7 are SPL to DIL.
    pub rex: bool,
    /// ModRM's middle field, with REX.R; the opcode's extension is its low three bits.
    pub reg: u8,
    pub rm: Rm,
    /// Sign-extended.
    pub imm: u64,
    pub len: u8,
}

impl Insn {
    /// Without prefixes and operands.
    fn plain(opcode: u16, len: u8, long: bool) -> Insn {
        Insn {
            opcode,
            rep: false,
            lock: false,
            operand_size: 4,
            address_size: if long { 8 } else { 4 },
            segment: None,
            rex: false,
            reg: 0,
            rm: Rm::Reg(0),
            imm: 0,
            len,
        }
    }
}

/// What follows an opcode: a ModRM byte, and bytes of immediate.
struct Shape {
    modrm: bool,
    imm: Imm,
}

#[derive(Clone, Copy, PartialEq)]
enum Imm {
    None,
    Byte,
    /// 2 or 4 bytes, as the operand size says.
    Full,
}

fn shape(opcode: u16) -> Option<Shape> {
    let (modrm, imm) = match opcode {
        // INS, OUTS, HLT, CLI, STI; IN and OUT by DX
        0x6c..=0x6f | 0xf4 | 0xfa | 0xfb | 0xec..=0xef => (false, Imm::None),
        // IN, OUT with a port number
        0xe4..=0xe7 => (false, Imm::Byte),
        // ADD, OR, ADC, SBB, AND, SUB, XOR r/m with r; XCHG; MOV; NOT; INC, DEC
        0x00
        | 0x01
        | 0x08
        | 0x09
        | 0x10
        | 0x11
        | 0x18
        | 0x19
        | 0x20
        | 0x21
        | 0x28
        | 0x29
        | 0x30
        | 0x31
        | 0x86..=0x89
        | 0xfe
        | 0xff => (true, Imm::None),
        // Group 3: TEST has an immediate, NOT and NEG have not.
        0xf6 | 0xf7 => (true, Imm::None),
        0x80 | 0x83 | 0xc6 => (true, Imm::Byte),
        0x81 | 0xc7 => (true, Imm::Full),
        // CLTS, INVD, WBINVD, WRMSR, RDTSC, RDMSR, RDPMC, CPUID
        0x106 | 0x108 | 0x109 | 0x130..=0x133 | 0x1a2 => (false, Imm::None),
        // group 7; MOV from and to CR and DR
        0x101 | 0x120..=0x123 => (true, Imm::None),
        // BTS, CMPXCHG, BTR, BTC, XADD, MOVNTI
        0x1ab | 0x1b0 | 0x1b1 | 0x1b3 | 0x1bb | 0x1c0 | 0x1c1 | 0x1c3 => (true, Imm::None),
        // group 8
        0x1ba => (true, Imm::Byte),
        _ => return None,
    };
    Some(Shape { modrm, imm })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        if self.at >= MAX_LEN {
            return Err(DecodeError::Unknown);
        }
        let byte = self.bytes.get(self.at).copied().ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// `len` bytes (1, 2 or 4), sign-extended.
    fn signed(&mut self, len: u32) -> Result<i64, DecodeError> {
        let mut value = 0u64;
        for i in 0..len {
            value |= u64::from(self.byte()?) << (8 * i);
        }
        let shift = 64 - 8 * len;
        Ok((value << shift) as i64 >> shift)
    }
}

/// Decodes the instruction that `bytes` begin with, in 64-bit or (`long` false) 32-bit code.
pub fn decode(bytes: &[u8], long: bool) -> Result<Insn, DecodeError> {
    match *bytes {
        // RDMSR, WRMSR, RDTSC and CPUID as compilers write them: a kernel has one of them emulated at each switch of
        // its tasks.
        [0x0f, second @ (0x30..=0x32 | 0xa2), ..] => Ok(Insn::plain(TWO_BYTE | u16::from(second), 2, long)),
        _ => decode_any(bytes, long),
    }
}

fn decode_any(bytes: &[u8], long: bool) -> Result<Insn, DecodeError> {
    let mut r = Reader { bytes, at: 0 };
    let (mut rep, mut lock, mut size16, mut address32) = (false, false, false, false);
    let mut segment = None;
    let mut rex = None;
    let opcode = loop {
        let byte = r.byte()?;
        match byte {
            0x66 => size16 = true,
            0x67 => address32 = true,
            0xf2 | 0xf3 => rep = true,
            0xf0 => lock = true,
            0x26 => segment = Some(Segment::Es),
            0x2e => segment = Some(Segment::Cs),
            0x36 => segment = Some(Segment::Ss),
            0x3e => segment = Some(Segment::Ds),
            0x64 => segment = Some(Segment::Fs),
            0x65 => segment = Some(Segment::Gs),
            0x40..=0x4f if long => {
                rex = Some(byte);
                continue;
            }
            0x0f => break TWO_BYTE | u16::from(r.byte()?),
            _ => break u16::from(byte),
        }
        // REX counts only directly before the opcode.
        rex = None;
    };
    let shape = shape(opcode).ok_or(DecodeError::Unknown)?;
    let bits = rex.unwrap_or(0);
    let wide = bits & 8 != 0;
    let mut insn = Insn {
        rep,
        lock,
        operand_size: if wide {
            8
        } else if size16 {
            2
        } else {
            4
        },
        address_size: if long && !address32 { 8 } else { 4 },
        segment,
        rex: rex.is_some(),
        ..Insn::plain(opcode, 0, long)
    };
    if shape.modrm {
        if !long && address32 {
            return Err(DecodeError::Unknown); // 16-bit addressing
        }
        modrm(&mut r, &mut insn, bits, long)?;
    }
    insn.imm = match shape.imm {
        Imm::None => 0,
        Imm::Byte => r.signed(1)? as u64,
        Imm::Full => r.signed(if insn.operand_size == 2 { 2 } else { 4 })? as u64,
    };
    insn.len = r.at as u8;
    Ok(insn)
}

fn modrm(r: &mut Reader<'_>, insn: &mut Insn, rex: u8, long: bool) -> Result<(), DecodeError> {
    let byte = r.byte()?;
    let (mode, rm) = (byte >> 6, byte & 7);
    insn.reg = byte >> 3 & 7 | (rex & 4) << 1;
    let b = (rex & 1) << 3;
    // MOV from and to control and debug registers knows registers only.
    if mode == 3 || (0x120..=0x123).contains(&insn.opcode) {
        insn.rm = Rm::Reg(rm | b);
        return Ok(());
    }
    let mut mem = Mem { segment: Segment::Ds, base: Some(rm | b), index: None, disp: 0, rip: false };
    let mut disp = [0, 1, 4][usize::from(mode)];
    if rm == 4 {
        let sib = r.byte()?;
        let index = sib >> 3 & 7 | (rex & 2) << 2;
        mem.index = (index != 4).then_some((index, sib >> 6));
        mem.base = Some(sib & 7 | b);
        if sib & 7 == 5 && mode == 0 {
            mem.base = None;
            disp = 4;
        }
    } else if rm == 5 && mode == 0 {
        mem.base = None;
        mem.rip = long;
        disp = 4;
    }
    mem.disp = if disp == 0 { 0 } else { r.signed(disp)? };
    if matches!(mem.base, Some(4 | 5)) {
        mem.segment = Segment::Ss;
    }
    mem.segment = insn.segment.unwrap_or(mem.segment);
    insn.rm = Rm::Mem(mem);
    Ok(())
}

impl Insn {
    /// Address of a memory operand, before the segment's base.
    pub fn offset(&self, mem: &Mem, regs: &GuestRegs) -> u64 {
        let mut at = mem.disp as u64;
        if let Some(base) = mem.base {
            at = at.wrapping_add(reg(regs, base));
        }
        if let Some((index, scale)) = mem.index {
            at = at.wrapping_add(reg(regs, index) << scale);
        }
        if mem.rip {
            at = at.wrapping_add(regs.rip).wrapping_add(u64::from(self.len));
        }
        self.truncate(at)
    }

    /// Cuts an address to the instruction's address size.
    pub fn truncate(&self, address: u64) -> u64 {
        if self.address_size == 4 { address & 0xffff_ffff } else { address }
    }

    /// What `reg` holds, as an operand of `size` bytes (AH to BH included).
    pub fn operand(&self, regs: &GuestRegs, index: u8, size: u8) -> u64 {
        if size == 1 && !self.rex && (4..8).contains(&index) {
            return reg(regs, index - 4) >> 8 & 0xff;
        }
        reg(regs, index) & mask(size)
    }

    /// Sets an operand of `size` bytes; 4 bytes clear the upper half.
    pub fn set_operand(&self, regs: &mut GuestRegs, index: u8, size: u8, value: u64) {
        if size == 1 && !self.rex && (4..8).contains(&index) {
            let old = reg(regs, index - 4);
            *reg_mut(regs, index - 4) = old & !0xff00 | (value & 0xff) << 8;
            return;
        }
        let value = value & mask(size);
        let to = reg_mut(regs, index);
        *to = match size {
            1 | 2 => *to & !mask(size) | value,
            _ => value,
        };
    }
}

/// All ones in the low `size` bytes.
pub fn mask(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size))
}

/// General register `index`, as encodings number them.
pub fn reg(regs: &GuestRegs, index: u8) -> u64 {
    *reg_mut(&mut { *regs }, index)
}

/// General register `index`, to be changed.
pub fn reg_mut(regs: &mut GuestRegs, index: u8) -> &mut u64 {
    match index & 15 {
        0 => &mut regs.rax,
        1 => &mut regs.rcx,
        2 => &mut regs.rdx,
        3 => &mut regs.rbx,
        4 => &mut regs.rsp,
        5 => &mut regs.rbp,
        6 => &mut regs.rsi,
        7 => &mut regs.rdi,
        8 => &mut regs.r8,
        9 => &mut regs.r9,
        10 => &mut regs.r10,
        11 => &mut regs.r11,
        12 => &mut regs.r12,
        13 => &mut regs.r13,
        14 => &mut regs.r14,
        _ => &mut regs.r15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(bytes: &[u8]) -> Insn {
        let insn = decode(bytes, true).unwrap();
        assert_eq!(usize::from(insn.len), bytes.len());
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut], true), Err(DecodeError::Truncated));
        }
        insn
    }

    #[test]
    fn the_short_way_decodes_as_the_long_one() {
        for second in 0..=0xff {
            for long in [false, true] {
                let bytes = [0x0f, second, 0xc0, 0, 0, 0, 0, 0];
                assert_eq!(decode(&bytes, long), decode_any(&bytes, long), "0f {second:02x}");
            }
        }
    }

    #[test]
    fn addressing_forms() {
        let regs = GuestRegs { rax: 0x1000, rbx: 0x10, r12: 0x7000, rip: 0x40_0000, ..GuestRegs::default() };
        let at = |bytes: &[u8]| {
            let insn = insn(bytes);
            let Rm::Mem(mem) = insn.rm else { panic!("{bytes:x?} has no memory operand") };
            (insn.offset(&mem, &regs), mem.segment)
        };
        // mov [rax], rcx; [rax + rbx*8 + 0x10]; [r12 - 8]; [rip + 0x100]; [disp32]; gs:[rax]; [eax]; [rbp + 1]
        assert_eq!(at(&[0x48, 0x89, 0x08]), (0x1000, Segment::Ds));
        assert_eq!(at(&[0x48, 0x89, 0x4c, 0xd8, 0x10]), (0x1090, Segment::Ds));
        assert_eq!(at(&[0x49, 0x89, 0x4c, 0x24, 0xf8]), (0x6ff8, Segment::Ds));
        assert_eq!(at(&[0x48, 0x89, 0x0d, 0, 1, 0, 0]), (0x40_0107, Segment::Ds));
        assert_eq!(at(&[0x48, 0x89, 0x0c, 0x25, 0, 1, 0, 0x80]), (0xffff_ffff_8000_0100, Segment::Ds));
        assert_eq!(at(&[0x65, 0x48, 0x89, 0x08]), (0x1000, Segment::Gs));
        assert_eq!(at(&[0x67, 0x48, 0x89, 0x48, 0x80]), (0xf80, Segment::Ds));
        assert_eq!(at(&[0x48, 0x89, 0x4d, 0x01]), (1, Segment::Ss));
    }

    #[test]
    fn prefixes_and_immediates() {
        assert_eq!(insn(&[0x48, 0xc7, 0x00, 0xff, 0xff, 0xff, 0xff]).imm, u64::MAX);
        assert_eq!(insn(&[0x66, 0xc7, 0x00, 0x34, 0x12]).imm, 0x1234);
        let locked = insn(&[0xf0, 0x80, 0x20, 0xfd]);
        assert!(locked.lock && locked.imm == !2 && locked.reg == 4);
        // A REX before another prefix does not count.
        assert_eq!(insn(&[0x48, 0x66, 0x89, 0x08]).operand_size, 2);
        assert_eq!(insn(&[0xf3, 0x6d]).opcode, 0x6d);
        assert_eq!(decode(&[0x90], true), Err(DecodeError::Unknown));
        assert_eq!(decode(&[0x66; 16], true), Err(DecodeError::Unknown), "longer than 15 bytes");
    }

    #[test]
    fn registers_by_size() {
        let mut regs = GuestRegs { rax: 0x1122_3344_5566_7788, ..GuestRegs::default() };
        let no_rex = insn(&[0x88, 0x20]);
        assert_eq!(no_rex.operand(&regs, 4, 1), 0x77, "AH");
        no_rex.set_operand(&mut regs, 4, 1, 0xee);
        assert_eq!(regs.rax, 0x1122_3344_5566_ee88);
        no_rex.set_operand(&mut regs, 0, 2, 0xabcd);
        assert_eq!(regs.rax, 0x1122_3344_5566_abcd);
        no_rex.set_operand(&mut regs, 0, 4, 1);
        assert_eq!(regs.rax, 1, "a 32-bit write clears the upper half");
        let rex = insn(&[0x40, 0x88, 0x20]);
        regs.rsp = 0x99;
        assert_eq!(rex.operand(&regs, 4, 1), 0x99, "SPL");
        for i in 0..16 {
            *reg_mut(&mut regs, i) = u64::from(i);
        }
        assert!((0..16).all(|i| reg(&regs, i) == u64::from(i)));
    }
}
