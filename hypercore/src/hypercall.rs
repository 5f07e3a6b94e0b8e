//! Dispatch: one match from hypercall number to handler. The table of `ARCHITECTURE.md` mirrors it.

use crate::machine::Machine;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::xen::*;

/// Runs hypercall `nr` with `args` (RDI, RSI, RDX, R10, R8, R9).
pub fn dispatch<M: Machine>(cx: &mut Cx<'_, M>, nr: u32, args: &[u64; 6]) -> HcResult {
    match nr {
        HYPERVISOR_MMU_UPDATE => crate::mm::mmu_update(cx, args[0], args[1], args[2], args[3]),
        HYPERVISOR_MMUEXT_OP => crate::mm::mmuext_op(cx, args[0], args[1], args[2], args[3]),
        HYPERVISOR_UPDATE_VA_MAPPING => crate::mm::update_va_mapping(cx, args[0], args[1], args[2]),
        HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN => {
            crate::mm::update_va_mapping_otherdomain(cx, args[0], args[1], args[2], args[3])
        }
        HYPERVISOR_SET_GDT => crate::mm::desc::set_gdt(cx, args[0], args[1]),
        HYPERVISOR_UPDATE_DESCRIPTOR => crate::mm::desc::update_descriptor(cx, args[0], args[1]),
        HYPERVISOR_PLATFORM_OP => crate::platform_op::platform_op(cx, args[0]),
        HYPERVISOR_SYSCTL => crate::sysctl::sysctl(cx, args[0]),
        HYPERVISOR_DOMCTL => crate::domctl::domctl(cx, args[0]),
        HYPERVISOR_MEMORY_OP => crate::memory::memory_op(cx, args[0], args[1]),
        HYPERVISOR_GRANT_TABLE_OP => crate::grant::grant_table_op(cx, args[0], args[1], args[2]),
        HYPERVISOR_EVENT_CHANNEL_OP => crate::event::event_channel_op(cx, args[0], args[1]),
        HYPERVISOR_EVENT_CHANNEL_OP_COMPAT => crate::event::event_channel_op_compat(cx, args[0]),
        HYPERVISOR_SCHED_OP => crate::sched::op::sched_op(cx, args[0] as u32, args[1]),
        HYPERVISOR_SCHED_OP_COMPAT => crate::sched::op::sched_op_compat(cx, args[0] as u32, args[1]),
        HYPERVISOR_SET_TIMER_OP => {
            crate::time::set_timer_op(cx.xen, cx.vcpu, args[0])?;
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// Puts the answer where the guest finds it.
pub fn finish<M: Machine>(cx: &mut Cx<'_, M>, result: HcResult) {
    match result {
        Ok(v) => cx.regs.rax = v,
        Err(crate::xen::Stop::Errno(e)) => cx.regs.rax = e.to_ret(),
        Err(crate::xen::Stop::Continue) => {
            let r = cx.restart.take().unwrap();
            cx.regs.rax = r.nr as u64;
            [cx.regs.rdi, cx.regs.rsi, cx.regs.rdx, cx.regs.r10, cx.regs.r8, cx.regs.r9] = r.args;
            cx.regs.rip -= 2;
        }
    }
}
