//! Registers of the calling vCPU that its kernel cannot touch itself.

use crate::guest::range_ok;
use crate::machine::{Machine, Reload};
use crate::vcpu::VcpuPrivate;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::arch_x86::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL};
use x86::pte::canonical;

const CR0_TS: u64 = 1 << 3;
pub const CR4_TSD: u64 = 1 << 2;
pub const CR4_DE: u64 = 1 << 3;
const CR4_PCE: u64 = 1 << 8;
const CR4_FSGSBASE: u64 = 1 << 16;
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4 bits a guest may change its view of.
pub const CR4_GUEST: u64 = CR4_TSD | CR4_DE | CR4_PCE | CR4_OSXSAVE | CR4_FSGSBASE;

/// DR6 and DR7 (Intel SDM vol. 3B 17.2): bits that read as fixed values, and what a guest may not set.
const DR6_ZERO: u64 = 1 << 12;
const DR6_ONE: u64 = 0xffff_0ff0;
const DR7_ZERO: u64 = 0xd800;
const DR7_ONE: u64 = 1 << 10;
const DR7_GENERAL_DETECT: u64 = 1 << 13;
const DR7_ACTIVE: u64 = 0xff;

/// `fpu_taskswitch(set)`: sets or clears the virtual CR0.TS.
pub fn fpu_taskswitch<M: Machine>(cx: &mut Cx<'_, M>, set: u32) -> HcResult {
    cx.vp.cr0 = if set != 0 { cx.vp.cr0 | CR0_TS } else { cx.vp.cr0 & !CR0_TS };
    cx.xen.m.reload(cx.vp, Reload::TaskSwitched);
    Ok(0)
}

/// `set_segment_base(which, base)`. EINVAL: not canonical, or no such base.
pub fn set_segment_base<M: Machine>(cx: &mut Cx<'_, M>, which: u32, base: u64) -> HcResult {
    let valid = match which {
        SEGBASE_FS | SEGBASE_GS_USER | SEGBASE_GS_KERNEL => canonical(base),
        SEGBASE_GS_USER_SEL => true,
        _ => false,
    };
    if !valid {
        return Err(Errno::EINVAL.into());
    }
    cx.xen.m.set_segment_base(cx.vp, which, base);
    Ok(0)
}

/// Puts `value` into a vCPU's debug register `reg`, the fixed bits as hardware has them.
/// EPERM: a breakpoint in the hypervisor's area, on I/O, or on the debug registers themselves.
/// EINVAL: bits that DR6 and DR7 have not. ENODEV: no such register.
pub fn put_debugreg(vp: &mut VcpuPrivate, reg: u32, value: u64) -> Result<(), Errno> {
    let (at, value) = match reg {
        0..=3 if range_ok(value, 8) && canonical(value) => (reg, value),
        0..=3 => return Err(Errno::EPERM),
        4 | 5 if vp.cr4 & CR4_DE != 0 => return Err(Errno::ENODEV),
        4..=7 if value >> 32 != 0 => return Err(Errno::EINVAL),
        4 | 6 => (6, value & 0xffff_ffff & !DR6_ZERO | DR6_ONE),
        5 | 7 => {
            let value = value & 0xffff_ffff & !DR7_ZERO | DR7_ONE;
            let io = |i: u32| value >> (16 + 4 * i) & 3 == 2;
            if value & DR7_GENERAL_DETECT != 0 || value & DR7_ACTIVE != 0 && (0..4).any(io) {
                return Err(Errno::EPERM);
            }
            (7, value)
        }
        _ => return Err(Errno::ENODEV),
    };
    vp.debugreg[at as usize] = value;
    Ok(())
}

/// `set_debugreg(reg, value)`: see [`put_debugreg`].
pub fn set_debugreg<M: Machine>(cx: &mut Cx<'_, M>, reg: u32, value: u64) -> HcResult {
    put_debugreg(cx.vp, reg, value)?;
    cx.xen.m.reload(cx.vp, Reload::Debug);
    Ok(0)
}

/// `get_debugreg(reg)`: its value. ENODEV: no such register.
pub fn get_debugreg<M: Machine>(cx: &mut Cx<'_, M>, reg: u32) -> HcResult {
    let at = match reg {
        0..=3 | 6 | 7 => reg,
        4 | 5 if cx.vp.cr4 & CR4_DE == 0 => reg + 2,
        _ => return Err(Errno::ENODEV.into()),
    };
    Ok(cx.vp.debugreg[at as usize])
}
