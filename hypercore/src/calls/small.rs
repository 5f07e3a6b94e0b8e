//! `vm_assist`, and calls that answer without a subsystem behind them.

use crate::guest;
use crate::machine::Machine;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::hvm_op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use abi::physdev::*;
use abi::xen::*;
use core::mem::offset_of;
use core::sync::atomic::Ordering::*;

/// Assists a 64-bit PV guest may switch on (bit n: `VMASST_TYPE_n`). Those about segments and PAE mean nothing to
/// it; writable page tables are always emulated.
pub const PV_ASSISTS: u64 = 1 << VMASST_TYPE_4GB_SEGMENTS
    | 1 << VMASST_TYPE_4GB_SEGMENTS_NOTIFY
    | 1 << VMASST_TYPE_WRITABLE_PAGETABLES
    | 1 << VMASST_TYPE_PAE_EXTENDED_CR3
    | 1 << VMASST_TYPE_ARCHITECTURAL_IOPL
    | 1 << VMASST_TYPE_RUNSTATE_UPDATE_FLAG
    | 1 << VMASST_TYPE_M2P_STRICT;

/// `vm_assist(cmd, type)`. EINVAL: no such assist.
pub fn vm_assist<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, kind: u32) -> HcResult {
    let bit = 1u64.checked_shl(kind).filter(|b| b & PV_ASSISTS != 0).ok_or(Errno::EINVAL)?;
    match cmd {
        VMASST_CMD_ENABLE => cx.dom.vm_assist.fetch_or(bit, AcqRel),
        VMASST_CMD_DISABLE => cx.dom.vm_assist.fetch_and(!bit, AcqRel),
        _ => return Err(Errno::ENOSYS.into()),
    };
    Ok(0)
}

/// `physdev_op_compat(op)`: command and argument in one structure, for the commands there were then.
pub fn physdev_op_compat<M: Machine>(cx: &mut Cx<'_, M>, op: u64) -> HcResult {
    let cmd: u32 = guest::read(&cx.xen.m, op)?;
    let arg = guest::element::<u8>(op, offset_of!(PhysdevOp, u) as u64)?;
    match cmd {
        PHYSDEVOP_IRQ_UNMASK_NOTIFY
        | PHYSDEVOP_IRQ_STATUS_QUERY
        | PHYSDEVOP_SET_IOPL
        | PHYSDEVOP_SET_IOBITMAP
        | PHYSDEVOP_APIC_READ
        | PHYSDEVOP_APIC_WRITE => crate::io::physdev::physdev_op(cx, cmd, arg),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `hvm_op(cmd, arg)`: there are no HVM guests, and a PV one has no parameters (EINVAL).
pub fn hvm_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    match cmd {
        HVMOP_SET_PARAM | HVMOP_GET_PARAM => {
            let p: HvmParam = guest::read(&cx.xen.m, arg)?;
            cx.domain(p.domid)?;
            Err(Errno::EINVAL.into())
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `xenoprof_op`: no counters to profile with.
pub fn xenoprof_op<M: Machine>(_cx: &mut Cx<'_, M>) -> HcResult {
    Err(Errno::ENODEV.into())
}

/// `xenpmu_op`: performance counters are not virtualised, as where `vpmu` is off.
pub fn xenpmu_op<M: Machine>(_cx: &mut Cx<'_, M>) -> HcResult {
    Err(Errno::EOPNOTSUPP.into())
}
