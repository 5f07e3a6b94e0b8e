//! `trace`: writes of the kernel to a page table that is mapped read-only, which the hypervisor carries out: what
//! each instruction leaves in the entry, in the registers and in the flags.

use abi::xen::*;

use super::trace::{both, kernel_code};
use crate::hypercall::mmuext;
use crate::mm::{A, ADDR, D, DATA, P, Page, READ, RW};
use crate::trace::*;
use crate::trap::Outcome;
use crate::{probe, say, trap};

kernel_code! {
    w_mov: "mov [rbx], rax";
    w_mov_dword: "mov [rbx], eax";
    w_mov_word: "mov [rbx], ax";
    w_mov_byte: "mov [rbx], al";
    w_mov_ah: "mov [rbx], ah";
    w_mov_imm: "mov qword ptr [rbx], 0";
    w_movnti: "movnti [rbx], rax";
    w_xchg: "xchg [rbx], rax";
    w_cmpxchg: "lock cmpxchg [rbx], rdx";
    w_or: "or qword ptr [rbx], 0x20";
    w_lock_or: "lock or qword ptr [rbx], 0x20";
    w_and: "and qword ptr [rbx], ~0x42";
    w_xor: "xor qword ptr [rbx], 0x20";
    w_bts: "bts qword ptr [rbx], 5";
    w_btr: "lock btr qword ptr [rbx], 1";
    w_btc: "btc qword ptr [rbx], 5";
    w_btr_reg: "btr [rbx], rcx";
    w_push: "mov rsp, rbx; push rax; mov rsp, rcx";
    w_stos: "mov rdi, rbx; stosq";
    w_stos_dword: "mov rdi, rbx; std; stosd; cld";
    w_add: "add qword ptr [rbx], 0x20";
    w_sub: "sub qword ptr [rbx], 0x20";
    w_adc: "adc qword ptr [rbx], 0x20";
    w_inc: "inc qword ptr [rbx]";
    w_dec: "dec qword ptr [rbx]";
    w_not: "not qword ptr [rbx]";
    w_neg: "neg qword ptr [rbx]";
    w_xadd: "lock xadd [rbx], rdx";
    w_movq: "movq [rbx], xmm3";
    w_movaps: "movaps [rbx], xmm3";
}

/// The entry's place in the table.
const INDEX: usize = 6;

pub fn run() {
    let [table, data] = core::array::from_fn(|_| Page::new());
    let good = data.maddr() | P | RW;
    table.set(INDEX, good);
    table.map(READ);
    say!("trace.write-setup", "{}", mmuext(MMUEXT_PIN_L1_TABLE, table.mfn(), 0));
    let at = table.va() + 8 * INDEX as u64;
    let p = Regs::pattern().with(&[(RBX, at)]).flags(0x203);
    // Of an entry, its flags; whether it has the frame.
    let shown = || {
        let entry = table.get(INDEX);
        (entry & !ADDR & !(1 << 52), entry & ADDR == data.maddr())
    };
    let stack = stack().va();
    for (name, code, regs) in [
        ("mov", w_mov as unsafe extern "C" fn(), p.with(&[(RAX, good | A | D)])),
        ("mov-zero", w_mov, p.with(&[(RAX, 0)])),
        ("mov-refused", w_mov, p.with(&[(RAX, table.maddr() | P | RW)])),
        ("mov-reserved", w_mov, p.with(&[(RAX, good | 1 << 58)])),
        ("mov-not-present", w_mov, p.with(&[(RAX, 0xffff_ffff_ffff_fffe)])),
        ("mov-dword", w_mov_dword, p.with(&[(RAX, good | A)])),
        ("mov-word", w_mov_word, p.with(&[(RAX, good | A)])),
        ("mov-byte", w_mov_byte, p.with(&[(RAX, good & 0xf0 | P | A)])),
        ("mov-ah", w_mov_ah, p.with(&[(RAX, (good & 0xf0 | P | A) << 8)])),
        ("mov-imm", w_mov_imm, p),
        ("movnti", w_movnti, p.with(&[(RAX, good | A)])),
        ("xchg", w_xchg, p.with(&[(RAX, good | A)])),
        ("cmpxchg", w_cmpxchg, p.with(&[(RAX, good), (RDX, good | A)])),
        ("cmpxchg-other", w_cmpxchg, p.with(&[(RAX, 5), (RDX, good | A)])),
        ("or", w_or, p),
        ("lock-or", w_lock_or, p),
        ("and", w_and, p),
        ("xor", w_xor, p),
        ("bts", w_bts, p),
        ("btr", w_btr, p),
        ("btc", w_btc, p),
        ("btr-register", w_btr_reg, p.with(&[(RCX, 1)])),
        ("btr-register-far", w_btr_reg, p.with(&[(RCX, 65), (RBX, at - 8)])),
        ("push", w_push, p.with(&[(RBX, at + 8), (RAX, good | A), (RCX, stack + 0xf00)])),
        ("stos", w_stos, p.with(&[(RAX, good | A)])),
        ("stos-dword", w_stos_dword, p.with(&[(RAX, good | A)])),
        ("add", w_add, p),
        ("sub", w_sub, p),
        ("adc", w_adc, p),
        ("inc", w_inc, p),
        ("dec", w_dec, p),
        ("not", w_not, p),
        ("neg", w_neg, p),
        ("xadd", w_xadd, p.with(&[(RDX, 0x20)])),
        ("movq", w_movq, p),
        ("movaps", w_movaps, p),
        ("misaligned", w_mov, p.with(&[(RBX, at + 4), (RAX, 0)])),
        ("step", w_mov, p.with(&[(RAX, good | A)]).flags(0x303)),
    ] {
        let case = Case { mem: table.va(), frame: data.maddr(), ..Case::kernel(code, regs) };
        both(Name::new(format_args!("write-{name}")).as_str(), &case);
        let (flags, frame) = shown();
        say!(format_args!("trace.write-{name}.entry"), "{flags:#x} frame={frame}");
        // As it was, by the call that cannot be refused.
        let put = crate::hypercall::mmu_update1(table.maddr() + 8 * INDEX as u64, good);
        if put != 0 {
            say!(format_args!("trace.write-{name}.reset"), "{put}");
        }
        crate::hypercall::mmu_update1(table.maddr() + 8 * (INDEX as u64 + 1), 0);
    }
    crate::hypercall::call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
    others(at, || assert!(crate::hypercall::mmu_update1(table.maddr() + 8 * INDEX as u64, good) == 0));
    crate::hypercall::mmu_update1(table.maddr() + 8 * (INDEX as u64 + 1), 0);
    say!("trace.write-done", "{} {}", mmuext(MMUEXT_UNPIN_TABLE, table.mfn(), 0), table.map(DATA));
}

/// Instructions that no kernel writes its tables with: whether they are carried out.
fn others(at: u64, reset: impl Fn()) {
    let show = |name: &str, outcome: Outcome| {
        say!(format_args!("trace.write-other-{name}"), "{outcome}");
        reset();
    };
    trap::install();
    // SAFETY: the instructions write the entry of a table that maps nothing in use, if they do; what else they change
    // is declared.
    unsafe {
        show("shl", probe!(["shl qword ptr [rax], 1"], in("rax") at));
        show(
            "pop",
            probe!(["mov r8, rsp", "push 0", "pop qword ptr [rax]", "mov rsp, r8"], in("rax") at, out("r8") _),
        );
        show("movs", probe!(["movsq"], inout("rdi") at => _, inout("rsi") [0u64; 1].as_ptr() => _));
        show("rep-stos", probe!(["rep stosq"], inout("rdi") at => _, inout("rcx") 1u64 => _, in("rax") 0));
        show("sete", probe!(["sete byte ptr [rax]"], in("rax") at));
        show(
            "cmpxchg16b",
            probe!(["lock cmpxchg16b [rdi]"], in("rdi") at, inout("rax") 0u64 => _, inout("rdx") 0u64 => _, inout("rcx") 0u64 => _),
        );
    }
    install();
}
