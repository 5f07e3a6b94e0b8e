//! Exceptions as a PV guest sees them.

use super::bounce::{Bounce, Undeliverable, deliver};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::vcpu::{Vcpu, VcpuPrivate};
use crate::xen::Cx;
use abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL;
use core::sync::atomic::Ordering::Relaxed;

/// Exception vectors (Intel SDM vol. 3A 6.3.1).
pub mod vector {
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const XM: u8 = 19;
}

const PF_USER: u32 = 1 << 2;
/// DR6.BS: a single step (Intel SDM vol. 3B 18.2.3).
const DR6_STEP: u64 = 1 << 14;

/// Whether the CPU pushes an error code for `v`.
pub const fn has_error_code(v: u8) -> bool {
    matches!(v, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

/// Delivers exception `v` to the running vCPU's handler.
pub fn exception<M: Machine>(cx: &mut Cx<'_, M>, v: u8, error_code: u32) -> Result<(), Undeliverable> {
    let entry = cx.vp.traps.table[v as usize];
    if v == vector::NM {
        // Delivering #NM clears the virtual TS: the guest's handler relies on it.
        cx.vp.cr0 &= !8;
    }
    deliver(cx, &Bounce::trap(entry, has_error_code(v).then_some(error_code)))
}

/// #DB, which the processor or an emulated instruction raised: a debugger's, or the guest's.
pub fn debug<M: Machine>(cx: &mut Cx<'_, M>) -> Result<(), Undeliverable> {
    if crate::sched::stop_for_debugger(cx, vector::DB) { Ok(()) } else { exception(cx, vector::DB, 0) }
}

/// An instruction of the guest's has been emulated: if it steps through its code, that was a step.
pub fn stepped<M: Machine>(cx: &mut Cx<'_, M>) -> Result<(), Undeliverable> {
    if cx.regs.rflags & super::rflags::TF == 0 {
        return Ok(());
    }
    cx.vp.debugreg[6] |= DR6_STEP;
    debug(cx)
}

/// Whether an NMI waits that the kernel has a handler for, and takes now.
#[inline]
pub fn nmi_due(vcpu: &Vcpu, vp: &VcpuPrivate) -> bool {
    vcpu.sched.nmi_pending.load(Relaxed)
        && !vp.traps.in_nmi
        && vp.traps.table[vector::NMI as usize].address != 0
}

/// Delivers an NMI that is due.
pub fn pending_nmi<M: Machine>(cx: &mut Cx<'_, M>) -> Result<(), Undeliverable> {
    if !nmi_due(cx.vcpu, cx.vp) {
        return Ok(());
    }
    let entry = cx.vp.traps.table[vector::NMI as usize];
    cx.vcpu.sched.nmi_pending.store(false, Relaxed);
    cx.vp.traps.in_nmi = true;
    deliver(cx, &Bounce::trap(entry, None))
}

/// Delivers a page fault at `cr2`. To the guest's kernel its own faults look like supervisor's.
pub fn page_fault<M: Machine>(cx: &mut Cx<'_, M>, cr2: u64, error_code: u32) -> Result<(), Undeliverable> {
    crate::event::set_cr2(cx.xen, cx.vcpu, cr2);
    let code = if cx.vp.kernel_mode { error_code & !PF_USER } else { error_code };
    exception(cx, vector::PF, code)
}

/// The system calls' vector of old: Xen has a gate of its own for it, which asks no privilege.
pub const INT80: u8 = 0x80;

/// The ring that the virtual IOPL is compared with: a PV kernel is in ring 1, or 0 where it asked for IOPL as the
/// architecture has it; user mode is in ring 3.
pub fn ring(dom: &Domain, kernel_mode: bool) -> u8 {
    match kernel_mode {
        false => 3,
        true if dom.assisted(VMASST_TYPE_ARCHITECTURAL_IOPL) => 0,
        true => 1,
    }
}

/// Whether the table's privilege level admits `INT n`. A PV kernel counts as ring 1.
const fn admits(dpl: u8, n: u8, kernel_mode: bool) -> bool {
    n == INT80 || dpl >= if kernel_mode { 1 } else { 3 }
}

/// `INT n` from the guest: allowed if the table entry's DPL admits the guest's mode. False: deliver #GP instead.
pub fn software_interrupt<M: Machine>(cx: &mut Cx<'_, M>, n: u8) -> Result<bool, Undeliverable> {
    let entry = cx.vp.traps.table[n as usize];
    if entry.address == 0 || !admits(entry.dpl, n, cx.vp.kernel_mode) {
        return Ok(false);
    }
    deliver(cx, &Bounce::trap(entry, None))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::admits;

    #[test]
    fn a_kernel_is_ring_1_to_its_own_table() {
        assert!(!admits(0, 6, true) && admits(1, 6, true));
        assert!(!admits(2, 6, false) && admits(3, 6, false));
        assert!(admits(0, 0x80, true) && admits(0, 0x80, false));
    }
}
