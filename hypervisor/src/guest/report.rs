//! What is printed of a guest that crashes.

use core::sync::atomic::{AtomicBool, Ordering};

use hypercore::guest;
use hypercore::ids::DomId;
use hypercore::log;
use hypercore::xen::Cx;
use x86::regs::GuestRegs;

use super::machine::Bare;
use crate::percpu;

/// The first domain's state has been printed: its end need not print it again.
static DOM0_SHOWN: AtomicBool = AtomicBool::new(false);

/// Registers and the top of the stack of the running vCPU.
pub fn guest_state(cx: &Cx<'_, Bare>) {
    let r = &*cx.regs;
    if cx.dom.id == DomId::DOM0 {
        DOM0_SHOWN.store(true, Ordering::Relaxed);
    }
    log!(
        cx.xen.m,
        Error,
        "{:?} state ({} mode), vector {:#x} error {:#x}:",
        cx.vcpu,
        if cx.vp.kernel_mode { "kernel" } else { "user" },
        r.entry_vector,
        r.error_code
    );
    registers(cx.xen.m, r);
}

/// What the first domain was doing on this CPU when it took the machine with it.
pub fn dom0_state() {
    let Some((0, vcpu)) = super::name_current() else { return };
    if DOM0_SHOWN.swap(true, Ordering::Relaxed) {
        return;
    }
    let at = percpu::this().rsp0() - size_of::<GuestRegs>() as u64;
    // SAFETY: each entry from a guest builds its frame at the top of this CPU's stack; it is only copied, by a
    // CPU that does not return to it.
    let regs = unsafe { (at as *const GuestRegs).read_volatile() };
    log!(Bare, Error, "d0v{vcpu} state:");
    registers(Bare, &regs);
}

fn registers(m: Bare, r: &GuestRegs) {
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
