//! FPU state: saved and restored whole at each switch.

use core::arch::asm;

use hypercore::vcpu::VcpuPrivate;

use crate::cpu::features;

/// Makes `xcr0` the guest's set of enabled components; the hypervisor saves and restores all of them.
pub fn load_xcr0(xcr0: u64) {
    // SAFETY: the set was checked to be one the processor takes.
    unsafe { crate::cpu::instr::xsetbv(0, xcr0) };
}

/// Saves this CPU's FPU state. CR0.TS must be clear.
pub fn save(vp: &mut VcpuPrivate) {
    let area = vp.fpu.0.as_mut_ptr();
    let xsave = features::get().xsave;
    // SAFETY: the area is 64-byte aligned and larger than any image of the components in XCR0.
    unsafe {
        if xsave {
            let mask = features::get().xcr0;
            if vp.xcr0 != mask {
                // Components the guest has switched off may still hold state that is not to be leaked.
                load_xcr0(mask);
            }
            asm!("xsave64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                options(nostack));
        } else {
            asm!("fxsave64 [{}]", in(reg) area, options(nostack));
        }
    }
}

/// Restores it. CR0.TS must be clear. The image is ours alone; what a tool sets in it has been checked
/// (reserved bits), and a fault resets the state.
pub fn restore(vp: &mut VcpuPrivate) {
    let area = vp.fpu.0.as_ptr();
    let f = features::get();
    // SAFETY: as in `save`.
    unsafe {
        if f.xsave {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") f.xcr0 as u32, in("edx") (f.xcr0 >> 32) as u32,
                options(nostack));
            if vp.xcr0 != f.xcr0 {
                load_xcr0(vp.xcr0);
            }
        } else {
            asm!("fxrstor64 [{}]", in(reg) area, options(nostack));
        }
    }
}
