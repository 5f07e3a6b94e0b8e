//! Segment registers and bases of guests.

use core::arch::asm;

use hypercore::vcpu::VcpuPrivate;

use crate::asm_ex_table;
use crate::cpu::features;
use crate::cpu::instr::{rdmsr, wrmsr};

const MSR_FS_BASE: u32 = 0xc000_0100;
/// While the hypervisor runs, the guest's GS base waits in the swap register.
const MSR_SHADOW_GS_BASE: u32 = 0xc000_0102;

macro_rules! load_selector {
    ($name:ident, $reg:literal) => {
        /// False: the guest's tables do not allow it, and a null selector is loaded.
        fn $name(selector: u16) -> bool {
            let refused: u32;
            // SAFETY: a selector the guest's tables do not allow faults at 2 and a null one is loaded instead.
            unsafe {
                asm!(
                    concat!("2: mov ", $reg, ", {sel:e}"),
                    "jmp 4f",
                    "3: xor {sel:e}, {sel:e}",
                    concat!("mov ", $reg, ", {sel:e}"),
                    "inc {refused:e}",
                    "4:",
                    asm_ex_table!("2b", "3b"),
                    sel = inout(reg) u32::from(selector) => _,
                    refused = inout(reg) 0u32 => refused,
                    options(nostack)
                )
            }
            refused == 0
        }
    };
}

load_selector!(load_ds, "ds");
load_selector!(load_es, "es");
load_selector!(load_fs, "fs");

/// Loads the guest's GS selector; the hypervisor's base is swapped away meanwhile. False: as with the others.
pub fn load_gs(selector: u16) -> bool {
    let refused: u32;
    // SAFETY: interrupts are off and a fault's fixup does not use GS; both ways end in the second swapgs.
    unsafe {
        asm!(
            "swapgs",
            "2: mov gs, {sel:e}",
            "jmp 4f",
            "3: xor {sel:e}, {sel:e}",
            "mov gs, {sel:e}",
            "inc {refused:e}",
            "4: swapgs",
            asm_ex_table!("2b", "3b"),
            sel = inout(reg) u32::from(selector) => _,
            refused = inout(reg) 0u32 => refused,
            options(nostack)
        )
    }
    refused == 0
}

/// DS, ES, FS, GS as they are.
pub fn selectors() -> [u16; 4] {
    let (ds, es, fs, gs): (u16, u16, u16, u16);
    // SAFETY: reading selectors changes nothing.
    unsafe {
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags));
    }
    [ds, es, fs, gs]
}

/// The running guest's GS base.
pub fn gs_base() -> u64 {
    // SAFETY: the register exists on every CPU with long mode.
    unsafe { rdmsr(MSR_SHADOW_GS_BASE) }
}

/// Sets the running guest's GS base; a non-canonical one (which no caller lets through) becomes 0.
pub fn set_gs_base(base: u64) {
    // SAFETY: not the hypervisor's own base, which is swapped in; canonical.
    unsafe { wrmsr(MSR_SHADOW_GS_BASE, if x86::pte::canonical(base) { base } else { 0 }) }
}

/// Sets the running guest's GS base; what it was.
#[inline(always)]
pub fn exchange_gs_base(new: u64) -> u64 {
    if !features::has_fsgsbase() {
        let old = gs_base();
        set_gs_base(new);
        return old;
    }
    let old: u64;
    // SAFETY: between the two swapgs nothing uses GS: interrupts are off, and NMI handlers bring their own base and
    // put back what they found. A base the processor refuses (which no caller lets through) leaves the old one.
    unsafe {
        asm!(
            "swapgs",
            "rdgsbase {old}",
            "2: wrgsbase {new}",
            "3: swapgs",
            asm_ex_table!("2b", "3b"),
            old = out(reg) old,
            new = in(reg) new,
            options(nostack, preserves_flags)
        );
    }
    old
}

/// The guest's FS base.
pub fn fs_base() -> u64 {
    // SAFETY: as above.
    unsafe { rdmsr(MSR_FS_BASE) }
}

/// Sets the guest's FS base; the hypervisor does not use FS.
pub fn set_fs_base(base: u64) {
    // SAFETY: as above.
    unsafe { wrmsr(MSR_FS_BASE, if x86::pte::canonical(base) { base } else { 0 }) }
}

/// Takes what the outgoing vCPU has loaded.
pub fn save(vp: &mut VcpuPrivate) {
    [vp.ds, vp.es, vp.fs, vp.gs] = selectors();
    vp.fs_base = fs_base();
    if vp.kernel_mode { vp.gs_base_kernel = gs_base() } else { vp.gs_base_user = gs_base() }
}

/// Loads what the incoming vCPU had. Its descriptor tables must be in place. False: they do not allow one of its
/// selectors (any more), and a null one stands there.
pub fn restore(vp: &VcpuPrivate) -> bool {
    let [ds, es, fs, gs] = selectors();
    let mut fine = true;
    // One that is not null has a descriptor behind it, which need not be the last guest's.
    if ds != vp.ds || vp.ds & !3 != 0 {
        fine &= load_ds(vp.ds);
    }
    if es != vp.es || vp.es & !3 != 0 {
        fine &= load_es(vp.es);
    }
    if fs != vp.fs || vp.fs & !3 != 0 {
        fine &= load_fs(vp.fs);
    }
    if gs != vp.gs || vp.gs & !3 != 0 {
        fine &= load_gs(vp.gs);
    }
    // After the selectors: loading one replaces the base.
    set_fs_base(vp.fs_base);
    set_gs_base(if vp.kernel_mode { vp.gs_base_kernel } else { vp.gs_base_user });
    fine
}

/// Whether `selector` names a 64-bit code segment in the loaded tables.
pub fn is_64bit_code(selector: u16) -> bool {
    const L: u32 = 1 << 21;
    let rights: u32;
    // SAFETY: LAR only reads a descriptor; one it may not read leaves the register (0) alone.
    unsafe {
        asm!("lar {0:e}, {1:e}", inout(reg) 0u32 => rights, in(reg) u32::from(selector), options(nostack));
    }
    rights & L != 0
}
