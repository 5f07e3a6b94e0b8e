//! Debug registers of guests.

use core::arch::asm;

use hypercore::vcpu::VcpuPrivate;

const DR7_ENABLES: u64 = 0xff;

macro_rules! dr {
    ($get:ident, $set:ident, $name:literal) => {
        fn $get() -> u64 {
            let v: u64;
            // SAFETY: reading a debug register changes nothing.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) v, options(nostack)) };
            v
        }
        fn $set(v: u64) {
            // SAFETY: the values were checked when the guest set them: no breakpoint lies in the hypervisor.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) v, options(nostack)) };
        }
    };
}

dr!(get_dr6, set_dr6, "dr6");
dr!(get_dr7, set_dr7, "dr7");
dr!(get_dr0, set_dr0, "dr0");
dr!(get_dr1, set_dr1, "dr1");
dr!(get_dr2, set_dr2, "dr2");
dr!(get_dr3, set_dr3, "dr3");

/// Takes the outgoing vCPU's breakpoints off the CPU.
pub fn save(vp: &mut VcpuPrivate) {
    if vp.debugreg[7] & DR7_ENABLES != 0 {
        vp.debugreg[6] = get_dr6();
        set_dr7(0x400);
    }
    debug_assert!(get_dr7() & DR7_ENABLES == 0);
}

/// Arms the incoming vCPU's.
pub fn restore(vp: &VcpuPrivate) {
    if vp.debugreg[7] & DR7_ENABLES != 0 {
        load(vp);
    }
}

/// Loads all of them as `vp` has them (after the guest changed one).
pub fn load(vp: &VcpuPrivate) {
    set_dr0(vp.debugreg[0]);
    set_dr1(vp.debugreg[1]);
    set_dr2(vp.debugreg[2]);
    set_dr3(vp.debugreg[3]);
    set_dr6(vp.debugreg[6]);
    set_dr7(vp.debugreg[7]);
}

/// DR0..=DR3, DR6 as the CPU has them, into `vp`.
pub fn sync(vp: &mut VcpuPrivate) {
    if vp.debugreg[7] & DR7_ENABLES != 0 {
        vp.debugreg[0] = get_dr0();
        vp.debugreg[1] = get_dr1();
        vp.debugreg[2] = get_dr2();
        vp.debugreg[3] = get_dr3();
    }
    vp.debugreg[6] = get_dr6();
}
