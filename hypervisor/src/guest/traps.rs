//! Exceptions, hypercalls and system calls of guests.

use abi::Errno;
use hypercore::sched;
use hypercore::traps::bounce::{Bounce, KEPT_BY_SYSCALL, Undeliverable, deliver, deliver_here};
use hypercore::traps::inject::{self, INT80, vector};
use hypercore::traps::iret::iret;
use hypercore::xen::Cx;
use x86::regs::{ENTRY_SYSCALL, ENTRY_SYSENTER, GuestRegs};

use super::exit::undeliverable;
use super::machine::Bare;
use super::{switch, this, with_cx};
use crate::cpu::features;
use crate::cpu::instr::read_cr2;

/// Bytes of the instruction.
const SYSCALL_LEN: u64 = 2;
const HYPERVISOR_IRET: u32 = abi::xen::HYPERVISOR_IRET;

/// SYSCALL or SYSENTER from a guest: its kernel's is a hypercall, its user mode's goes to its kernel.
#[inline(always)]
pub fn system_call(regs: &mut GuestRegs) {
    // SAFETY: only looked at; the reference ends here.
    let kernel_mode = match unsafe { this().current() } {
        Some(cur) => cur.vp.kernel_mode,
        None => return,
    };
    if regs.entry_vector == ENTRY_SYSENTER {
        sysenter(regs);
    } else if !kernel_mode {
        let bounced = with_cx(regs, |cx| {
            let compat = cx.regs.entry_vector != ENTRY_SYSCALL;
            let callback = if compat { cx.vp.traps.syscall32 } else { cx.vp.traps.syscall };
            // One flag masks events for both, as on Debian's Xen.
            let mask_events = cx.vp.traps.syscall.mask_events;
            deliver_here(cx, &Bounce { mask_events, ..Bounce::syscall(callback) })
        });
        if let Some(Err(e)) = bounced {
            no_system_call(regs, e);
        }
    } else if regs.rax == HYPERVISOR_IRET.into() {
        if let Some(Err(e)) = with_cx(regs, iret) {
            bad_iret(regs, e);
        }
    } else {
        with_cx(regs, hypercall);
    }
}

/// A kernel without an entry for system calls sees an invalid instruction.
#[cold]
fn no_system_call(regs: &mut GuestRegs, e: Undeliverable) {
    with_cx(regs, |cx| {
        let e = match e {
            Undeliverable::NoHandler => {
                cx.regs.rip = cx.regs.rip.wrapping_sub(SYSCALL_LEN);
                let invalid = cx.vp.traps.table[usize::from(vector::UD)];
                deliver(cx, &Bounce { flags_kept: KEPT_BY_SYSCALL, ..Bounce::trap(invalid, None) })
            }
            stack => Err(stack),
        };
        if let Err(e) = e {
            undeliverable(cx, "system call", e);
        }
    });
}

#[cold]
fn bad_iret(regs: &mut GuestRegs, e: Errno) {
    with_cx(regs, |cx| {
        super::report::guest_state(cx);
        hypercore::log!(cx.xen.m, Error, "{:?}: iret from an unusable frame: {e:?}", cx.vcpu);
        sched::domain_crash(cx.xen, cx.dom, "bad iret");
    });
}

/// The frame says 0 for what the instruction did not keep. A kernel's own is a mistake it does not survive.
#[cold]
fn sysenter(regs: &mut GuestRegs) {
    with_cx(regs, |cx| {
        let callback = cx.vp.traps.sysenter;
        let delivered = if callback.address == 0 {
            inject::exception(cx, vector::GP, 0)
        } else {
            deliver(cx, &Bounce::callback(callback))
        };
        if let Err(e) = delivered {
            undeliverable(cx, "system call", e);
        }
    });
}

fn hypercall(cx: &mut Cx<'_, Bare>) {
    // A number is 64 bits wide: high bits make it an unknown one.
    let nr = u32::try_from(cx.regs.rax).unwrap_or(u32::MAX);
    let args = [cx.regs.rdi, cx.regs.rsi, cx.regs.rdx, cx.regs.r10, cx.regs.r8, cx.regs.r9];
    let result = hypercore::hypercall::dispatch(cx, nr, &args);
    hypercore::hypercall::finish(cx, result);
}

/// The frame the guest wants to return to is not loadable, and the processor said so with the vector and error code in
/// `regs`: to the guest it looks as if its code there had raised it.
pub fn bad_return(regs: &mut GuestRegs) {
    with_cx(regs, |cx| {
        let (v, code) = (cx.regs.entry_vector as u8, cx.regs.error_code);
        if let Err(e) = inject::exception(cx, v, code) {
            undeliverable(cx, "bad return", e);
        }
    });
}

/// Any vector from a guest but SYSCALL, NMI, #DF and #MC.
pub fn from_guest(regs: &mut GuestRegs) {
    let v = regs.entry_vector as u8;
    if v == INT80 {
        with_cx(regs, |cx| {
            if let Err(e) = int80(cx) {
                undeliverable(cx, "system call", e);
            }
        });
        return;
    }
    if v >= 0x20 {
        // A guest's INT n of these vectors is a #GP (the gates' DPL is 0), so this is a real interrupt.
        crate::trap::interrupt(v);
        return;
    }
    with_cx(regs, |cx| {
        if let Err(e) = exception(cx, v) {
            undeliverable(cx, "exception", e);
        }
    });
}

/// The system calls' vector of old has a gate of its own.
fn int80(cx: &mut Cx<'_, Bare>) -> Delivered {
    if inject::software_interrupt(cx, INT80)? {
        return Ok(());
    }
    cx.regs.rip = cx.regs.rip.wrapping_sub(2);
    inject::exception(cx, vector::GP, u32::from(INT80) * 8 + ERROR_IDT)
}

type Delivered = Result<(), hypercore::traps::bounce::Undeliverable>;

fn exception(cx: &mut Cx<'_, Bare>, v: u8) -> Delivered {
    let code = cx.regs.error_code;
    match v {
        vector::PF => page_fault(cx, code),
        vector::GP => general_protection(cx, code),
        vector::UD => invalid_opcode(cx),
        vector::NM => {
            // Real TS is set only because the virtual one is.
            inject::exception(cx, v, 0)?;
            switch::set_ts(cx.vp.cr0 & 8 != 0);
            Ok(())
        }
        vector::DB => {
            super::debugreg::taken(cx.vp);
            inject::debug(cx)
        }
        vector::BP if sched::stop_for_debugger(cx, v) => Ok(()),
        vector::BP | vector::OF => {
            // The table's DPL is checked here: the gates of these two admit ring 3.
            if inject::software_interrupt(cx, v)? {
                return Ok(());
            }
            // Point at the instruction again, as a #GP would.
            cx.regs.rip = cx.regs.rip.wrapping_sub(1);
            inject::exception(cx, vector::GP, u32::from(v) * 8 + 2)
        }
        _ => inject::exception(cx, v, code),
    }
}

/// IDT bit of an error code that names a selector (SDM vol. 3A 6.13).
const ERROR_IDT: u32 = 2;

fn general_protection(cx: &mut Cx<'_, Bare>, code: u32) -> Delivered {
    if code & ERROR_IDT != 0 && code & 1 == 0 {
        // INT n through a gate of the real table: the guest's own table decides.
        let n = (code >> 3) as u8;
        let rip = cx.regs.rip;
        cx.regs.rip = rip.wrapping_add(2);
        if inject::software_interrupt(cx, n)? {
            return Ok(());
        }
        cx.regs.rip = rip;
    } else if code == 0 && super::privops::emulate(cx)? {
        return Ok(());
    }
    inject::exception(cx, vector::GP, code)
}

fn invalid_opcode(cx: &mut Cx<'_, Bare>) -> Delivered {
    if super::privops::emulate_forced(cx)? {
        return Ok(());
    }
    inject::exception(cx, vector::UD, 0)
}

/// Page-fault error code bits.
const PF_PRESENT: u32 = 1;
const PF_WRITE: u32 = 2;
const PF_USER: u32 = 4;
const PF_RESERVED: u32 = 8;

fn page_fault(cx: &mut Cx<'_, Bare>, code: u32) -> Delivered {
    let cr2 = read_cr2();
    if code & PF_RESERVED == 0 {
        let ldt = crate::cpu::gdt::ldt_window(crate::percpu::this().id);
        if (ldt..ldt + 0x1_0000).contains(&cr2) {
            if hypercore::mm::desc::ldt_fault(cx, cr2 - ldt) {
                return Ok(());
            }
        } else if code & (PF_PRESENT | PF_WRITE) == PF_PRESENT | PF_WRITE
            && cx.vp.kernel_mode
            && super::privops::page_table_write(cx, cr2)?
        {
            return Ok(());
        }
    }
    // In ring 3 a present page is refused with the supervisor's rights only within the hypervisor's area.
    if code & (PF_PRESENT | PF_USER | PF_RESERVED) == PF_PRESENT
        && hypercore::guest::range_ok(cr2, 1)
        && features::give_up_smap()
    {
        return Ok(());
    }
    inject::page_fault(cx, cr2, code)
}
