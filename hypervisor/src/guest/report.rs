//! What is printed of a guest that crashes.

use hypercore::guest;
use hypercore::log;
use hypercore::xen::Cx;

use super::machine::Bare;

/// Registers and the top of the stack of the running vCPU.
pub fn guest_state(cx: &Cx<'_, Bare>) {
    let r = &*cx.regs;
    let m = cx.xen.m;
    log!(
        m,
        Error,
        "{:?} state ({} mode), vector {:#x} error {:#x}:",
        cx.vcpu,
        if cx.vp.kernel_mode { "kernel" } else { "user" },
        r.entry_vector,
        r.error_code
    );
    log!(m, Error, "RIP: {:04x}:{:016x} RFLAGS: {:016x}", r.cs, r.rip, r.rflags);
    log!(m, Error, "rax: {:016x} rbx: {:016x} rcx: {:016x}", r.rax, r.rbx, r.rcx);
    log!(m, Error, "rdx: {:016x} rsi: {:016x} rdi: {:016x}", r.rdx, r.rsi, r.rdi);
    log!(m, Error, "rbp: {:016x} rsp: {:016x} r8:  {:016x}", r.rbp, r.rsp, r.r8);
    log!(m, Error, "r9:  {:016x} r10: {:016x} r11: {:016x}", r.r9, r.r10, r.r11);
    log!(m, Error, "r12: {:016x} r13: {:016x} r14: {:016x}", r.r12, r.r13, r.r14);
    log!(
        m,
        Error,
        "r15: {:016x} cr2: {:016x} cr3: {:016x}",
        r.r15,
        crate::cpu::instr::read_cr2(),
        crate::cpu::instr::read_cr3()
    );
    let mut code = [0u8; 16];
    if guest::read_bytes(&m, r.rip, &mut code).is_ok() {
        log!(m, Error, "Code at RIP: {:02x?}", code);
    }
    log!(m, Error, "Guest stack from rsp={:016x}:", r.rsp);
    for line in 0..6u64 {
        let mut words = [0u64; 4];
        let at = r.rsp.wrapping_add(line * 32);
        for (i, w) in words.iter_mut().enumerate() {
            match guest::read::<_, u64>(&m, at.wrapping_add(i as u64 * 8)) {
                Ok(v) => *w = v,
                Err(_) => {
                    log!(m, Error, "   <unreadable at {:016x}>", at.wrapping_add(i as u64 * 8));
                    return;
                }
            }
        }
        log!(m, Error, "   {:016x} {:016x} {:016x} {:016x}", words[0], words[1], words[2], words[3]);
    }
}
