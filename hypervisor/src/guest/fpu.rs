//! FPU state: saved and restored whole at each switch.

use core::arch::asm;

use hypercore::vcpu::VcpuPrivate;

use crate::cpu::features;

/// Low byte of the status word in an image, and its bit of a pending exception.
const FSW: usize = 2;
const FSW_ERROR: u8 = 1 << 7;

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
    if f.keeps_x87_addresses && vp.fpu.0[FSW] & FSW_ERROR == 0 {
        // What the last guest executed is none of this one's business.
        let none = 0u32;
        // SAFETY: all of the x87's state is replaced below; a pending exception is gone before anything could raise it.
        unsafe { asm!("fnclex", "emms", "fild dword ptr [{}]", in(reg) &raw const none, options(nostack)) };
    }
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
