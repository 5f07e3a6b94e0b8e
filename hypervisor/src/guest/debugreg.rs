//! Debug registers of guests.

use core::arch::asm;

use hypercore::vcpu::VcpuPrivate;

use crate::cpu::instr::reset_dr6;

const DR7_ENABLES: u64 = 0xff;
/// B0–B3, BD, BS, BT (Intel SDM vol. 3B 17.2.3).
const DR6_STATUS: u64 = 0xe00f;

macro_rules! read {
    ($get:ident, $name:literal) => {
        fn $get() -> u64 {
            let v: u64;
            // SAFETY: reading a debug register changes nothing.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) v, options(nostack)) };
            v
        }
    };
}

macro_rules! write {
    ($set:ident, $name:literal) => {
        fn $set(v: u64) {
            // SAFETY: the values were checked when the guest set them: no breakpoint lies in the hypervisor.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) v, options(nostack)) };
        }
    };
}

read!(get_dr6, "dr6");
read!(get_dr7, "dr7");
write!(set_dr0, "dr0");
write!(set_dr1, "dr1");
write!(set_dr2, "dr2");
write!(set_dr3, "dr3");
write!(set_dr7, "dr7");

/// Takes the outgoing vCPU's breakpoints off the CPU.
pub fn save(vp: &VcpuPrivate) {
    if vp.debugreg[7] & DR7_ENABLES != 0 {
        set_dr7(0x400);
        // A condition may be noted without an exception; it is not the next vCPU's.
        reset_dr6();
    }
    debug_assert!(get_dr7() & DR7_ENABLES == 0);
}

/// Arms the incoming vCPU's.
pub fn restore(vp: &VcpuPrivate) {
    if vp.debugreg[7] & DR7_ENABLES != 0 {
        load(vp);
    }
}

/// Loads them as `vp` has them (after the guest changed one). DR6 is never the guest's: see [`taken`].
pub fn load(vp: &VcpuPrivate) {
    set_dr0(vp.debugreg[0]);
    set_dr1(vp.debugreg[1]);
    set_dr2(vp.debugreg[2]);
    set_dr3(vp.debugreg[3]);
    set_dr7(vp.debugreg[7]);
}

/// After #DB: what happened goes into the guest's DR6, where it stays until the guest clears it. The CPU's tells of
/// one exception alone, so that no vCPU sees another's.
pub fn taken(vp: &mut VcpuPrivate) {
    vp.debugreg[6] |= get_dr6() & DR6_STATUS;
    reset_dr6();
}
