//! Dispatch: one match from hypercall number to handler, batches, and how a call answers or goes on.
//! [`crate::hypercall_table`] says what is served.

use crate::calls;
use crate::guest;
use crate::machine::Machine;
use crate::nospec;
use crate::refusal;
use crate::xen::{Cx, HcResult, Stop};
use abi::Errno;
use abi::xen::*;
use abi::xenolith::HYPERVISOR_XENOLITH_OP;
use core::mem::offset_of;

/// Numbers of Xen's hypercalls are below this (xen.h).
const NUMBERS: usize = 64;
/// Bytes of the instruction a hypercall is made with (`syscall`).
const INSTRUCTION: u64 = 2;
/// Entries of a batch between two looks for interrupts.
const BATCH: u32 = 16;

/// Runs hypercall `nr` with `args` (RDI, RSI, RDX, R10, R8, R9). `iret` is not among them: it replaces all
/// registers and answers nothing (see [`crate::traps::iret`]).
#[inline(always)]
pub fn dispatch<M: Machine>(cx: &mut Cx<'_, M>, nr: u32, args: &[u64; 6]) -> HcResult {
    match nr {
        HYPERVISOR_MULTICALL => multicall(cx, args[0], args[1] as u32),
        _ => single(cx, nr, args),
    }
}

/// Any call but a batch. Why it was refused, if it was, is kept.
#[inline(always)]
fn single<M: Machine>(cx: &mut Cx<'_, M>, nr: u32, args: &[u64; 6]) -> HcResult {
    let result = serve(cx, nr, args);
    if let Err(Stop::Errno(e)) = result {
        refusal::record(cx, nr, e);
    }
    result
}

#[inline(always)]
fn serve<M: Machine>(cx: &mut Cx<'_, M>, nr: u32, args: &[u64; 6]) -> HcResult {
    let [a0, a1, a2, a3, ..] = *args;
    if nr as usize >= NUMBERS {
        return match nr {
            HYPERVISOR_XENOLITH_OP => refusal::xenolith_op(cx, a0 as u32, a1),
            _ => Err(Errno::ENOSYS.into()),
        };
    }
    // The match becomes a table of places to jump to.
    match nospec::clamp(nr as usize, NUMBERS) as u32 {
        HYPERVISOR_SET_TRAP_TABLE => calls::traps::set_trap_table(cx, a0),
        HYPERVISOR_MMU_UPDATE => crate::mm::mmu_update(cx, a0, a1, a2, a3),
        HYPERVISOR_SET_GDT => crate::mm::desc::set_gdt(cx, a0, a1),
        HYPERVISOR_STACK_SWITCH => calls::traps::stack_switch(cx, a0, a1),
        HYPERVISOR_SET_CALLBACKS => calls::traps::set_callbacks(cx, a0, a1, a2),
        HYPERVISOR_FPU_TASKSWITCH => calls::registers::fpu_taskswitch(cx, a0 as u32),
        HYPERVISOR_SCHED_OP_COMPAT => crate::sched::op::sched_op_compat(cx, a0 as u32, a1),
        HYPERVISOR_PLATFORM_OP => crate::platform_op::platform_op(cx, a0),
        HYPERVISOR_SET_DEBUGREG => calls::registers::set_debugreg(cx, a0 as u32, a1),
        HYPERVISOR_GET_DEBUGREG => calls::registers::get_debugreg(cx, a0 as u32),
        HYPERVISOR_UPDATE_DESCRIPTOR => crate::mm::desc::update_descriptor(cx, a0, a1),
        HYPERVISOR_MEMORY_OP => crate::memory::memory_op(cx, a0, a1),
        HYPERVISOR_UPDATE_VA_MAPPING => crate::mm::update_va_mapping(cx, a0, a1, a2),
        HYPERVISOR_SET_TIMER_OP => {
            crate::time::set_timer_op(cx.xen, cx.vcpu, a0)?;
            Ok(0)
        }
        HYPERVISOR_EVENT_CHANNEL_OP_COMPAT => crate::event::event_channel_op_compat(cx, a0),
        HYPERVISOR_XEN_VERSION => calls::version::xen_version(cx, a0 as u32, a1),
        HYPERVISOR_CONSOLE_IO => calls::console::console_io(cx, a0 as u32, a1 as u32, a2),
        HYPERVISOR_PHYSDEV_OP_COMPAT => calls::small::physdev_op_compat(cx, a0),
        HYPERVISOR_GRANT_TABLE_OP => crate::grant::grant_table_op(cx, a0, a1, a2),
        HYPERVISOR_VM_ASSIST => calls::small::vm_assist(cx, a0 as u32, a1 as u32),
        HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN => {
            crate::mm::update_va_mapping_otherdomain(cx, a0, a1, a2, a3)
        }
        HYPERVISOR_VCPU_OP => calls::vcpu::vcpu_op(cx, a0 as u32, a1 as u32, a2),
        HYPERVISOR_SET_SEGMENT_BASE => calls::registers::set_segment_base(cx, a0 as u32, a1),
        HYPERVISOR_MMUEXT_OP => crate::mm::mmuext_op(cx, a0, a1, a2, a3),
        HYPERVISOR_NMI_OP => calls::traps::nmi_op(cx, a0 as u32, a1),
        HYPERVISOR_SCHED_OP => crate::sched::op::sched_op(cx, a0 as u32, a1),
        HYPERVISOR_CALLBACK_OP => calls::traps::callback_op(cx, a0 as u32, a1),
        HYPERVISOR_EVENT_CHANNEL_OP => crate::event::event_channel_op(cx, a0, a1),
        HYPERVISOR_PHYSDEV_OP => crate::io::physdev::physdev_op(cx, a0 as u32, a1),
        HYPERVISOR_XENOPROF_OP => calls::small::xenoprof_op(cx),
        HYPERVISOR_HVM_OP => calls::small::hvm_op(cx, a0 as u32, a1),
        HYPERVISOR_SYSCTL => crate::sysctl::sysctl(cx, a0),
        HYPERVISOR_DOMCTL => crate::domctl::domctl(cx, a0),
        HYPERVISOR_MCA => crate::mca::mca(cx, a0),
        HYPERVISOR_KEXEC_OP => calls::kexec::kexec_op(cx, a0 as u32, a1),
        HYPERVISOR_XENPMU_OP => calls::small::xenpmu_op(cx),
        HYPERVISOR_HYPFS_OP => calls::hypfs::hypfs_op(cx, a0 as u32, [a1, a2, a3, args[4]]),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `multicall(list, count)`: the calls of the list in order, each one's answer in its entry. Preempted between
/// entries by going on with the rest of the list, within an entry by rewriting its arguments.
#[inline(never)]
fn multicall<M: Machine>(cx: &mut Cx<'_, M>, list: u64, count: u32) -> HcResult {
    for i in 0..count {
        let at = guest::element::<MulticallEntry>(list, i.into())?;
        let entry: MulticallEntry = guest::read(&cx.xen.m, at)?;
        let result = match u32::try_from(entry.op) {
            // Neither a batch in a batch nor a call that replaces the registers the batch lives in.
            Ok(HYPERVISOR_MULTICALL) => Err(Errno::EINVAL.into()),
            Ok(HYPERVISOR_IRET) | Err(_) => Err(Errno::ENOSYS.into()),
            Ok(nr) => single(cx, nr, &entry.args),
        };
        let refused = matches!(result, Err(Stop::Errno(_))) && entry.op != HYPERVISOR_XENOLITH_OP.into();
        let Some(answer) = answer(result) else {
            // The entry becomes its own continuation; what preempted it goes first.
            if let Some(restart) = cx.restart.take() {
                let args = restart.over(entry.args);
                let rewritten = MulticallEntry { op: restart.nr.into(), result: 0, args };
                guest::write(&cx.xen.m, at, &rewritten)?;
            }
            return cx.restart(HYPERVISOR_MULTICALL, [at, u64::from(count - i)]);
        };
        guest::write(&cx.xen.m, at + offset_of!(MulticallEntry, result) as u64, &answer)?;
        let rest = count - i - 1;
        if rest != 0 && refused && asks_why(&cx.xen.m, at) {
            continue;
        }
        let let_in = (i + 1) % BATCH == 0 && cx.xen.m.preempt_point();
        if rest != 0 && (let_in || crate::sched::need_resched(cx.xen, cx.xen.m.cpu())) {
            let next = at + size_of::<MulticallEntry>() as u64;
            return cx.restart(HYPERVISOR_MULTICALL, [next, rest.into()]);
        }
    }
    Ok(0)
}

/// Whether the entry after the one at `at` asks why that one was refused: then nothing comes between the two.
fn asks_why<M: Machine>(m: &M, at: u64) -> bool {
    let next = at.wrapping_add(size_of::<MulticallEntry>() as u64);
    guest::read::<_, u64>(m, next).is_ok_and(|op| op == HYPERVISOR_XENOLITH_OP.into())
}

/// The value a call returns; `None`: it goes on later.
fn answer(result: HcResult) -> Option<u64> {
    match result {
        Ok(v) => Some(v),
        Err(Stop::Errno(e)) => Some(e.to_ret()),
        Err(Stop::Continue) => None,
    }
}

/// Puts a call's result into the guest's registers: its value, or the call to be made again, with the
/// instruction pointer back at the `syscall` instruction.
#[inline]
pub fn finish<M: Machine>(cx: &mut Cx<'_, M>, result: HcResult) {
    if let Some(v) = answer(result) {
        cx.regs.rax = v;
        return;
    }
    let r = &mut *cx.regs;
    match cx.restart.take() {
        Some(restart) => {
            r.rax = restart.nr.into();
            let args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
            [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = restart.over(args);
            r.rip = r.rip.wrapping_sub(INSTRUCTION);
        }
        // No handler stops for later without saying how.
        None => r.rax = Errno::EINVAL.to_ret(),
    }
}

#[cfg(test)]
#[path = "hypercall_tests.rs"]
mod tests;
