//! Where a guest kernel wants traps, events, system calls and NMIs.

use crate::guest;
use crate::machine::Machine;
use crate::traps::context::{kernel_selector, trap_entry};
use crate::traps::{Callback, TrapEntry};
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::arch_x86::TrapInfo;
use abi::callback::*;
use abi::nmi::{XENNMI_REGISTER_CALLBACK, XENNMI_UNREGISTER_CALLBACK, XennmiCallback};
use abi::xen::HYPERVISOR_SET_TRAP_TABLE;
use x86::pte::canonical;

/// Entries of a trap table between two looks for interrupts.
const BATCH: u64 = 256;

/// `set_trap_table(table)`: a list that ends with address 0; null clears all. EINVAL: an address that is not
/// canonical (entries before it are in force).
pub fn set_trap_table<M: Machine>(cx: &mut Cx<'_, M>, table: u64) -> HcResult {
    if table == 0 {
        cx.vp.traps.table.fill(TrapEntry::default());
        return Ok(0);
    }
    for i in 0..BATCH {
        let t: TrapInfo = guest::read_at(&cx.xen.m, table, i)?;
        if t.address == 0 {
            return Ok(0);
        }
        cx.vp.traps.table[t.vector as usize] = trap_entry(&t)?;
    }
    // A list need not end: others go first.
    let next = guest::element::<TrapInfo>(table, BATCH)?;
    cx.restart(HYPERVISOR_SET_TRAP_TABLE, [next])
}

/// `stack_switch(ss, rsp)`: the kernel's stack for entries from user mode.
pub fn stack_switch<M: Machine>(cx: &mut Cx<'_, M>, ss: u64, sp: u64) -> HcResult {
    cx.vp.traps.kernel_ss = kernel_selector(ss as u16);
    cx.vp.traps.kernel_sp = sp;
    Ok(0)
}

/// `set_callbacks(event, failsafe, syscall)`: their addresses; one that is not canonical stays as it was, and the
/// call answers 0 all the same, as the ABI's original does.
pub fn set_callbacks<M: Machine>(cx: &mut Cx<'_, M>, event: u64, failsafe: u64, syscall: u64) -> HcResult {
    let t = &mut cx.vp.traps;
    for (callback, address) in [(&mut t.event, event), (&mut t.failsafe, failsafe), (&mut t.syscall, syscall)]
    {
        if canonical(address) {
            callback.address = address;
        }
    }
    Ok(0)
}

/// `callback_op(cmd, arg)`. EINVAL: not canonical, or one that cannot be unregistered. ENOSYS: no such type.
pub fn callback_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    match cmd {
        CALLBACKOP_REGISTER => {
            let c: CallbackRegister = guest::read(&cx.xen.m, arg)?;
            register(cx, &c)
        }
        CALLBACKOP_UNREGISTER => {
            let c: CallbackUnregister = guest::read(&cx.xen.m, arg)?;
            match c.type_ {
                CALLBACKTYPE_NMI => {
                    cx.vp.traps.set_nmi(0);
                    Ok(0)
                }
                CALLBACKTYPE_EVENT
                | CALLBACKTYPE_FAILSAFE
                | CALLBACKTYPE_SYSCALL
                | CALLBACKTYPE_SYSCALL32
                | CALLBACKTYPE_SYSENTER => Err(Errno::EINVAL.into()),
                _ => Err(Errno::ENOSYS.into()),
            }
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn register<M: Machine>(cx: &mut Cx<'_, M>, c: &CallbackRegister) -> HcResult {
    if !canonical(c.address) {
        return Err(Errno::EINVAL.into());
    }
    let callback = Callback { address: c.address, mask_events: c.flags & CALLBACKF_MASK_EVENTS != 0 };
    let t = &mut cx.vp.traps;
    match c.type_ {
        // Upcalls are always delivered with upcalls masked.
        CALLBACKTYPE_EVENT => t.event = Callback { mask_events: true, ..callback },
        CALLBACKTYPE_FAILSAFE => t.failsafe = callback,
        CALLBACKTYPE_SYSCALL => t.syscall = callback,
        CALLBACKTYPE_SYSCALL32 => t.syscall32 = callback,
        CALLBACKTYPE_SYSENTER => t.sysenter = callback,
        CALLBACKTYPE_NMI => t.set_nmi(c.address),
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

/// `nmi_op(cmd, arg)`: the old way to register the NMI callback.
pub fn nmi_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    match cmd {
        XENNMI_REGISTER_CALLBACK => {
            let c: XennmiCallback = guest::read(&cx.xen.m, arg)?;
            if !canonical(c.handler_address) {
                return Err(Errno::EINVAL.into());
            }
            cx.vp.traps.set_nmi(c.handler_address);
        }
        XENNMI_UNREGISTER_CALLBACK => cx.vp.traps.set_nmi(0),
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}
