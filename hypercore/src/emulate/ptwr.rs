//! Writes of a PV guest to its own page tables, which it may map read-only and write as if not.
//!
//! The faulting instruction is carried out on the 8-byte entry it hits: [`TableOps`] reads the entry
//! and commits the new one through type accounting. Read-modify-write forms commit by
//! compare-exchange, so that accessed and dirty bits set meanwhile are not lost.

use x86::regs::GuestRegs;

use super::decode::{DecodeError, Insn, Mem, Rm, Segment, decode, mask, reg, reg_mut};
use super::privileged::Outcome;

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;
const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
const RFLAGS_RF: u64 = 1 << 16;

/// What is to be written to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PteWrite {
    /// Whatever is there now.
    Write(u64),
    /// Only if `old` is there.
    CmpXchg { old: u64, new: u64 },
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    Done,
    /// Something else was there (compare-exchange only).
    Changed(u64),
    /// The entry is not one the guest may have: it gets its page fault.
    Refused,
    /// To be tried again later.
    Retry,
}

/// The table that was hit.
pub trait TableOps {
    /// The entry at `va` (a multiple of 8), if `va` is in a table of this guest.
    fn read(&mut self, va: u64) -> Option<u64>;
    fn commit(&mut self, va: u64, write: PteWrite) -> Commit;
    /// Base of FS or GS.
    fn segment_base(&mut self, segment: Segment) -> Option<u64>;
    /// A plain store to device registers that are mapped read-only: done, or swallowed. `None`: there are none at `va`.
    fn device_store(&mut self, _va: u64, _size: u8, _value: u64) -> Option<()> {
        None
    }
}

/// Carries out the 64-bit instruction at `regs.rip`, which faulted writing near `fault_va`.
///
/// [`Outcome::Unhandleable`] says it is not such a write: the guest gets its page fault.
pub fn emulate(bytes: &[u8], regs: &mut GuestRegs, fault_va: u64, ops: &mut impl TableOps) -> Outcome {
    if let Some(store) = implied(bytes, regs) {
        return match plain(ops, store.va, store.size, store.value, fault_va) {
            Some(true) => {
                *reg_mut(regs, store.pointer) = store.after;
                regs.rip = regs.rip.wrapping_add(store.len);
                regs.rflags &= !RFLAGS_RF;
                Outcome::Done
            }
            Some(false) => Outcome::Retry,
            None => Outcome::Unhandleable,
        };
    }
    let insn = match decode(bytes, true) {
        Ok(insn) => insn,
        Err(DecodeError::Truncated) => {
            return Outcome::FetchFault { va: regs.rip.wrapping_add(bytes.len() as u64) };
        }
        Err(DecodeError::Unknown) => return Outcome::Unhandleable,
    };
    match execute(&insn, regs, fault_va, ops) {
        Some(true) => {
            regs.rip = regs.rip.wrapping_add(u64::from(insn.len));
            regs.rflags &= !RFLAGS_RF;
            Outcome::Done
        }
        Some(false) => Outcome::Retry,
        None => Outcome::Unhandleable,
    }
}

/// A store whose address the instruction implies: PUSH of a register, STOS without REP.
struct Implied {
    va: u64,
    value: u64,
    size: u8,
    /// The register that moves (RSP or RDI), and where to.
    pointer: u8,
    after: u64,
    len: u64,
}

fn implied(bytes: &[u8], regs: &GuestRegs) -> Option<Implied> {
    const RSP: u8 = 4;
    const RDI: u8 = 7;
    const DF: u64 = 1 << 10;
    let (rex, opcode, len) = match *bytes {
        [rex @ 0x40..=0x4f, opcode, ..] => (rex, opcode, 2),
        [opcode, ..] => (0, opcode, 1),
        [] => return None,
    };
    match opcode {
        0x50..=0x57 => {
            let va = regs.rsp.wrapping_sub(8);
            let value = reg(regs, opcode & 7 | (rex & 1) << 3);
            Some(Implied { va, value, size: 8, pointer: RSP, after: va, len })
        }
        0xaa | 0xab => {
            let size = if opcode == 0xaa {
                1
            } else if rex & 8 != 0 {
                8
            } else {
                4
            };
            let step = u64::from(size);
            let after =
                if regs.rflags & DF == 0 { regs.rdi.wrapping_add(step) } else { regs.rdi.wrapping_sub(step) };
            Some(Implied { va: regs.rdi, value: regs.rax & mask(size), size, pointer: RDI, after, len })
        }
        _ => None,
    }
}

/// Stores `size` bytes at `va`, which is in the entry that faulted; results as [`execute`].
fn plain(ops: &mut impl TableOps, va: u64, size: u8, value: u64, fault_va: u64) -> Option<bool> {
    let (entry, shift) = (va & !7, (va & 7) * 8);
    if entry != fault_va & !7 || (va & 7) + u64::from(size) > 8 {
        return None;
    }
    if ops.device_store(va, size, value).is_some() {
        return Some(true);
    }
    let write = if size == 8 {
        PteWrite::Write(value)
    } else {
        let old = ops.read(entry)?;
        PteWrite::CmpXchg { old, new: old & !(mask(size) << shift) | value << shift }
    };
    match ops.commit(entry, write) {
        Commit::Done => Some(true),
        Commit::Changed(_) | Commit::Retry => Some(false),
        Commit::Refused => None,
    }
}

/// Bytes of the operand.
fn size(insn: &Insn) -> u8 {
    match insn.opcode {
        0x00 | 0x08 | 0x10 | 0x18 | 0x20 | 0x28 | 0x30 | 0x80 | 0x86 | 0x88 | 0xc6 | 0xf6 | 0xfe | 0x1b0
        | 0x1c0 => 1,
        _ => insn.operand_size,
    }
}

/// `Some(true)`: done; `Some(false)`: again; `None`: not such a write, or refused.
fn execute(insn: &Insn, regs: &mut GuestRegs, fault_va: u64, ops: &mut impl TableOps) -> Option<bool> {
    let Rm::Mem(mem) = insn.rm else { return None };
    let size = size(insn);
    let mut va = linear(insn, &mem, regs, ops)?;
    let mut bit = 0;
    if let Some(at) = bit_offset(insn, regs) {
        // A bit offset in a register reaches beyond the operand.
        let width = i64::from(size) * 8;
        va = va.wrapping_add((at.div_euclid(width) * i64::from(size)) as u64);
        bit = at.rem_euclid(width) as u32;
    }
    let (entry, shift) = (va & !7, (va & 7) * 8);
    if entry != fault_va & !7 || (va & 7) + u64::from(size) > 8 {
        return None;
    }
    let operand = insn.operand(regs, insn.reg, size);
    let ones = mask(size);

    // Plain stores of a whole entry need not know what was there.
    let store = match insn.opcode {
        0x88 | 0x89 | 0x1c3 if !insn.lock => Some(operand),
        0xc6 | 0xc7 if !insn.lock && insn.reg & 7 == 0 => Some(insn.imm & ones),
        _ => None,
    };
    if let Some(value) = store
        && ops.device_store(va, size, value).is_some()
    {
        return Some(true);
    }
    if let (Some(value), 8) = (store, size) {
        return match ops.commit(entry, PteWrite::Write(value)) {
            Commit::Done => Some(true),
            Commit::Changed(_) | Commit::Retry => Some(false),
            Commit::Refused => None,
        };
    }

    let whole = ops.read(entry)?;
    let old = whole >> shift & ones;
    let mut flags = regs.rflags;
    let new = match (insn.opcode, insn.reg & 7) {
        _ if store.is_some() => store?,
        (0x86 | 0x87, _) => operand,
        (0x08 | 0x09, _) => logic(&mut flags, old | operand, size),
        (0x20 | 0x21, _) => logic(&mut flags, old & operand, size),
        (0x30 | 0x31, _) => logic(&mut flags, old ^ operand, size),
        (0x00 | 0x01 | 0x1c0 | 0x1c1, _) => add(&mut flags, old, operand, 0, size),
        (0x80 | 0x81 | 0x83, 0) => add(&mut flags, old, insn.imm & ones, 0, size),
        (0x10 | 0x11, _) => add(&mut flags, old, operand, regs.rflags & CF, size),
        (0x80 | 0x81 | 0x83, 2) => add(&mut flags, old, insn.imm & ones, regs.rflags & CF, size),
        (0x18 | 0x19, _) => subtract(&mut flags, old, operand, regs.rflags & CF, size),
        (0x80 | 0x81 | 0x83, 3) => subtract(&mut flags, old, insn.imm & ones, regs.rflags & CF, size),
        (0x28 | 0x29, _) => subtract(&mut flags, old, operand, 0, size),
        (0x80 | 0x81 | 0x83, 5) => subtract(&mut flags, old, insn.imm & ones, 0, size),
        // INC and DEC leave the carry.
        (0xfe | 0xff, 0) => add(&mut flags, old, 1, 0, size),
        (0xfe | 0xff, 1) => subtract(&mut flags, old, 1, 0, size),
        (0xf6 | 0xf7, 2) => !old,
        (0xf6 | 0xf7, 3) => subtract(&mut flags, 0, old, 0, size),
        (0x80 | 0x81 | 0x83, 1) => logic(&mut flags, old | insn.imm & ones, size),
        (0x80 | 0x81 | 0x83, 4) => logic(&mut flags, old & insn.imm, size),
        (0x80 | 0x81 | 0x83, 6) => logic(&mut flags, old ^ insn.imm & ones, size),
        (0x1ab, _) | (0x1ba, 5) => bit_flag(&mut flags, old, bit) | 1 << bit,
        (0x1b3, _) | (0x1ba, 6) => bit_flag(&mut flags, old, bit) & !(1 << bit),
        (0x1bb, _) | (0x1ba, 7) => bit_flag(&mut flags, old, bit) ^ 1 << bit,
        (0x1b0 | 0x1b1, _) => return cmpxchg(insn, regs, entry, shift, size, whole, ops),
        _ => return None,
    };
    if matches!((insn.opcode, insn.reg & 7), (0xfe | 0xff, _)) {
        flags = flags & !CF | regs.rflags & CF;
    }
    let new = whole & !(ones << shift) | (new & ones) << shift;
    match ops.commit(entry, PteWrite::CmpXchg { old: whole, new }) {
        Commit::Done => {
            regs.rflags = flags;
            if matches!(insn.opcode, 0x86 | 0x87 | 0x1c0 | 0x1c1) {
                insn.set_operand(regs, insn.reg, size, old);
            }
            Some(true)
        }
        // Not what was read any more: the instruction starts afresh.
        Commit::Changed(_) | Commit::Retry => Some(false),
        Commit::Refused => None,
    }
}

fn cmpxchg(
    insn: &Insn,
    regs: &mut GuestRegs,
    entry: u64,
    shift: u64,
    size: u8,
    whole: u64,
    ops: &mut impl TableOps,
) -> Option<bool> {
    let ones = mask(size);
    let expected = regs.rax & ones;
    let found = whole >> shift & ones;
    if found == expected {
        let operand = insn.operand(regs, insn.reg, size);
        let new = whole & !(ones << shift) | operand << shift;
        match ops.commit(entry, PteWrite::CmpXchg { old: whole, new }) {
            Commit::Done => {}
            Commit::Changed(_) | Commit::Retry => return Some(false),
            Commit::Refused => return None,
        }
    } else {
        insn.set_operand(regs, 0, size, found);
    }
    subtract(&mut regs.rflags, expected, found, 0, size);
    Some(true)
}

fn linear(insn: &Insn, mem: &Mem, regs: &GuestRegs, ops: &mut impl TableOps) -> Option<u64> {
    let offset = insn.offset(mem, regs);
    match mem.segment {
        Segment::Fs | Segment::Gs => Some(ops.segment_base(mem.segment)?.wrapping_add(offset)),
        _ => Some(offset),
    }
}

/// The bit a bit instruction is after, counted from its operand's beginning.
fn bit_offset(insn: &Insn, regs: &GuestRegs) -> Option<i64> {
    let bits = u64::from(size(insn)) * 8;
    match insn.opcode {
        0x1ba => Some((insn.imm % bits) as i64),
        0x1ab | 0x1b3 | 0x1bb => {
            let value = insn.operand(regs, insn.reg, size(insn));
            let unused = 64 - bits;
            Some((value << unused) as i64 >> unused)
        }
        _ => None,
    }
}

/// Flags of a logical operation; its result.
fn logic(flags: &mut u64, result: u64, size: u8) -> u64 {
    let result = result & mask(size);
    *flags = *flags & !ARITHMETIC | result_flags(result, size);
    result
}

fn result_flags(result: u64, size: u8) -> u64 {
    let mut flags = 0;
    if result == 0 {
        flags |= ZF;
    }
    if result >> (u32::from(size) * 8 - 1) & 1 != 0 {
        flags |= SF;
    }
    if (result as u8).count_ones().is_multiple_of(2) {
        flags |= PF;
    }
    flags
}

/// CF becomes the bit; returns the operand as it was.
fn bit_flag(flags: &mut u64, old: u64, bit: u32) -> u64 {
    *flags = *flags & !CF | old >> bit & CF;
    old
}

/// `a + b + carry`, with its flags.
fn add(flags: &mut u64, a: u64, b: u64, carry: u64, size: u8) -> u64 {
    let sum = u128::from(a) + u128::from(b) + u128::from(carry);
    let result = sum as u64 & mask(size);
    let overflow = (a ^ result) & (b ^ result);
    arithmetic(flags, result, sum >> (u32::from(size) * 8) != 0, overflow, a ^ b ^ result, size);
    result
}

/// `a - b - borrow`, with its flags.
fn subtract(flags: &mut u64, a: u64, b: u64, borrow: u64, size: u8) -> u64 {
    let result = a.wrapping_sub(b).wrapping_sub(borrow) & mask(size);
    let borrowed = u128::from(a) < u128::from(b) + u128::from(borrow);
    arithmetic(flags, result, borrowed, (a ^ b) & (a ^ result), a ^ b ^ result, size);
    result
}

/// `overflow` has it in the operand's top bit, `carries` the carry out of bit 3 in bit 4.
fn arithmetic(flags: &mut u64, result: u64, carry: bool, overflow: u64, carries: u64, size: u8) {
    let top = u32::from(size) * 8 - 1;
    *flags = *flags & !ARITHMETIC | result_flags(result, size);
    if carry {
        *flags |= CF;
    }
    if overflow >> top & 1 != 0 {
        *flags |= OF;
    }
    if carries & 0x10 != 0 {
        *flags |= AF;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const VA: u64 = 0xffff_8880_0123_4560;
    const RIP: u64 = 0xffff_ffff_8100_0000;
    const PTE: u64 = 0x8000_0000_1234_5067;

    struct Table {
        pte: u64,
        answer: Option<Commit>,
        log: Vec<PteWrite>,
    }

    impl TableOps for Table {
        fn read(&mut self, va: u64) -> Option<u64> {
            (va == VA).then_some(self.pte)
        }
        fn commit(&mut self, va: u64, write: PteWrite) -> Commit {
            assert_eq!(va, VA);
            self.log.push(write);
            if let Some(answer) = self.answer {
                return answer;
            }
            match write {
                PteWrite::Write(new) => self.pte = new,
                PteWrite::CmpXchg { old, .. } if old != self.pte => return Commit::Changed(self.pte),
                PteWrite::CmpXchg { new, .. } => self.pte = new,
            }
            Commit::Done
        }
        fn segment_base(&mut self, _: Segment) -> Option<u64> {
            Some(0x1000)
        }
    }

    fn table() -> Table {
        Table { pte: PTE, answer: None, log: Vec::new() }
    }

    fn regs() -> GuestRegs {
        GuestRegs { rip: RIP, rbx: VA, rflags: 0x10002 | ARITHMETIC, ..GuestRegs::default() }
    }

    /// Runs an instruction that must succeed; returns the entry and registers.
    fn run(bytes: &[u8], mut r: GuestRegs) -> (u64, GuestRegs) {
        let mut table = table();
        assert_eq!(emulate(bytes, &mut r, VA, &mut table), Outcome::Done, "{bytes:x?}");
        assert_eq!(r.rip, RIP + bytes.len() as u64);
        (table.pte, r)
    }

    #[test]
    fn whole_entries_are_stored() {
        let r = GuestRegs { rcx: 0x5067, ..regs() };
        assert_eq!(run(&[0x48, 0x89, 0x0b], r).0, 0x5067);
        assert_eq!(run(&[0x48, 0x0f, 0xc3, 0x0b], r).0, 0x5067);
        assert_eq!(run(&[0x48, 0xc7, 0x03, 0, 0, 0, 0], r).0, 0);
        let gs = GuestRegs { rbx: VA - 0x1000, rcx: 1, ..regs() };
        assert_eq!(run(&[0x65, 0x48, 0x89, 0x0b], gs).0, 1);
    }

    #[test]
    fn parts_of_entries_keep_the_rest() {
        let r = GuestRegs { rcx: 0xaabb_ccdd, ..regs() };
        assert_eq!(run(&[0x89, 0x0b], r).0, 0x8000_0000_aabb_ccdd);
        assert_eq!(run(&[0x89, 0x4b, 0x04], r).0, 0xaabb_ccdd_1234_5067);
        assert_eq!(run(&[0xc6, 0x43, 0x07, 0x00], r).0, 0x1234_5067);
    }

    #[test]
    fn exchange() {
        let (pte, r) = run(&[0x48, 0x87, 0x0b], GuestRegs { rcx: 0, ..regs() });
        assert_eq!((pte, r.rcx), (0, PTE));
        assert_eq!(r.rflags & ARITHMETIC, ARITHMETIC, "flags stay");
    }

    #[test]
    fn compare_exchange() {
        let r = GuestRegs { rax: PTE, rcx: 0x9067, ..regs() };
        let (pte, r) = run(&[0xf0, 0x48, 0x0f, 0xb1, 0x0b], r);
        assert_eq!((pte, r.rax, r.rflags & ARITHMETIC), (0x9067, PTE, ZF | PF));
        let r = GuestRegs { rax: 5, rcx: 0x9067, ..regs() };
        let (pte, r) = run(&[0xf0, 0x48, 0x0f, 0xb1, 0x0b], r);
        assert_eq!((pte, r.rax), (PTE, PTE));
        // 5 - 0x8000000012345067 = 0x7fffffffedcbaf9e
        assert_eq!(r.rflags & ARITHMETIC, CF | AF);
    }

    #[test]
    fn bits() {
        // lock btr $1, (rbx): what clear_bit of a variable is; lock andb $0xfd, (rbx): of a constant.
        let (pte, r) = run(&[0xf0, 0x48, 0x0f, 0xba, 0x33, 0x01], regs());
        assert_eq!((pte, r.rflags & CF), (PTE & !2, CF));
        let (pte, r) = run(&[0xf0, 0x80, 0x23, 0xfd], regs());
        assert_eq!((pte, r.rflags & ARITHMETIC), (PTE & !2, PF));
        let (pte, r) = run(&[0xf0, 0x48, 0x0f, 0xba, 0x2b, 0x3b], regs());
        assert_eq!((pte, r.rflags & CF), (PTE | 1 << 59, 0));
        // Register offsets reach other entries: bit 64 + 6 from eight bytes before.
        let far = GuestRegs { rbx: VA - 8, rcx: 64 + 6, ..regs() };
        assert_eq!(run(&[0x48, 0x0f, 0xbb, 0x0b], far).0, PTE ^ 1 << 6);
        let back = GuestRegs { rbx: VA + 8, rcx: -58i64 as u64, ..regs() };
        assert_eq!(run(&[0x48, 0x0f, 0xab, 0x0b], back).0, PTE | 1 << 6);
    }

    #[test]
    fn logic_forms() {
        let r = GuestRegs { rcx: 0xfff, ..regs() };
        assert_eq!(run(&[0xf0, 0x48, 0x21, 0x0b], r).0, PTE & 0xfff);
        assert_eq!(run(&[0xf0, 0x48, 0x09, 0x0b], r).0, PTE | 0xfff);
        assert_eq!(run(&[0x48, 0x31, 0x0b], r).0, PTE ^ 0xfff);
        assert_eq!(run(&[0x48, 0x83, 0x23, 0xfe], r).0, PTE & !1, "the immediate is sign-extended");
        assert_eq!(run(&[0x48, 0x81, 0x0b, 0, 0, 0, 0x80], r).0, PTE | 0xffff_ffff_8000_0000);
        let (pte, r) = run(&[0x48, 0x83, 0x23, 0x00], r);
        assert_eq!((pte, r.rflags & ARITHMETIC), (0, ZF | PF));
    }

    #[test]
    fn arithmetic_forms() {
        let with = |flags| GuestRegs { rcx: 0x20, rflags: 2 | flags, ..regs() };
        let flags_of = |r: GuestRegs| r.rflags & ARITHMETIC;
        // add [rbx], rcx; adc [rbx], 0x20 with carry; sub [rbx], rcx; sbb with borrow
        let (pte, r) = run(&[0x48, 0x01, 0x0b], with(CF));
        assert_eq!((pte, flags_of(r)), (PTE + 0x20, SF | PF));
        assert_eq!(run(&[0x48, 0x83, 0x13, 0x20], with(CF)).0, PTE + 0x21);
        assert_eq!(run(&[0x48, 0x29, 0x0b], with(CF)).0, PTE - 0x20);
        assert_eq!(run(&[0x48, 0x19, 0x0b], with(CF)).0, PTE - 0x21);
        // inc and dec keep the carry; not changes no flag; neg borrows.
        let (pte, r) = run(&[0x48, 0xff, 0x03], with(CF));
        assert_eq!((pte, flags_of(r) & CF), (PTE + 1, CF));
        let (pte, r) = run(&[0x48, 0xff, 0x0b], with(0));
        assert_eq!((pte, flags_of(r) & CF), (PTE - 1, 0));
        let (pte, r) = run(&[0x48, 0xf7, 0x13], with(CF | OF));
        assert_eq!((pte, flags_of(r)), (!PTE, CF | OF));
        let (pte, r) = run(&[0x48, 0xf7, 0x1b], with(0));
        assert_eq!((pte, flags_of(r) & CF), (PTE.wrapping_neg(), CF));
        // A byte's overflow and carries: 0x67 + 0x20 = 0x87.
        let (pte, r) = run(&[0x80, 0x03, 0x20], with(0));
        assert_eq!((pte, flags_of(r) & (OF | CF | AF | SF)), (PTE & !0xff | 0x87, OF | SF));
        // xadd leaves what was there.
        let (pte, r) = run(&[0xf0, 0x48, 0x0f, 0xc1, 0x0b], with(0));
        assert_eq!((pte, r.rcx), (PTE + 0x20, PTE));
    }

    #[test]
    fn what_mm_answers_counts() {
        for (answer, outcome) in [
            (Commit::Refused, Outcome::Unhandleable),
            (Commit::Changed(7), Outcome::Retry),
            (Commit::Retry, Outcome::Retry),
        ] {
            for bytes in [&[0x48, 0x87, 0x0b][..], &[0xf0, 0x48, 0x0f, 0xb1, 0x0b], &[0xf0, 0x80, 0x23, 0xfd]]
            {
                let before = GuestRegs { rax: PTE, ..regs() };
                let mut r = before;
                let mut table = Table { answer: Some(answer), ..table() };
                assert_eq!(emulate(bytes, &mut r, VA, &mut table), outcome);
                assert_eq!(r, before, "nothing happened");
            }
        }
    }

    #[test]
    fn pushes_and_string_stores() {
        let mut t = table();
        let mut r = GuestRegs { rsp: VA + 8, r9: 0x7067, rdi: VA, rax: 0xffff_0000_0000_9067, ..regs() };
        let rip = r.rip;
        assert_eq!(emulate(&[0x41, 0x51], &mut r, VA, &mut t), Outcome::Done);
        assert_eq!((t.read(VA), r.rsp, r.rip), (Some(0x7067), VA, rip + 2));
        assert_eq!(emulate(&[0xab], &mut r, VA, &mut t), Outcome::Done);
        assert_eq!((t.read(VA), r.rdi), (Some(0x9067), VA + 4));
        r.rdi = VA;
        r.rflags |= 1 << 10;
        assert_eq!(emulate(&[0x48, 0xab], &mut r, VA, &mut t), Outcome::Done);
        assert_eq!((t.read(VA), r.rdi), (Some(0xffff_0000_0000_9067), VA - 8));
        // Not the entry that faulted.
        assert_eq!(emulate(&[0x48, 0xab], &mut r, VA, &mut t), Outcome::Unhandleable);
    }

    #[test]
    fn other_things_are_not_table_writes() {
        let mut table = table();
        let mut check = |bytes: &[u8], fault: u64, r: GuestRegs| {
            let mut after = r;
            assert_eq!(emulate(bytes, &mut after, fault, &mut table), Outcome::Unhandleable, "{bytes:x?}");
            assert_eq!(after, r);
        };
        check(&[0x48, 0x89, 0x0b], VA + 8, regs()); // not where it faulted
        check(&[0x48, 0x89, 0x4b, 0x04], VA, regs()); // across two entries
        check(&[0x48, 0x89, 0xcb], VA, regs()); // registers only
        check(&[0x80, 0x3b, 0x00], VA, regs()); // CMP
        check(&[0xf0, 0x48, 0x89, 0x0b], VA, regs()); // LOCK MOV
        check(&[0xf3, 0xaa], VA, regs()); // REP STOS
        assert!(table.log.is_empty());
    }
}
