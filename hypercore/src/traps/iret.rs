//! `HYPERVISOR_iret`: the guest kernel's return, to itself or to user mode.

use super::bounce::to_user_mode;
use super::rflags;
use crate::guest;
use crate::machine::Machine;
use crate::xen::Cx;
use abi::Errno;
use abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL;

/// `struct iret_context` on the guest's stack (arch-x86/xen-x86_64.h): RAX, R11, RCX, flags, RIP, CS, RFLAGS,
/// RSP, SS.
const WORDS: usize = 9;
/// The frame came from a system call: RCX and R11 need not be restored (arch-x86/xen.h).
const VGCF_IN_SYSCALL: u64 = 1 << 8;

/// Restores what the frame says. EFAULT if the stack cannot be read; EPERM from user mode. The caller
/// crashes the domain for it, for the guest has nowhere to go.
#[inline(always)]
pub fn iret<M: Machine>(cx: &mut Cx<'_, M>) -> Result<(), Errno> {
    if !cx.vp.kernel_mode {
        return Err(Errno::EPERM);
    }
    let f: [u64; WORDS] = guest::load_words(&cx.xen.m, cx.regs.rsp).map_err(|_| Errno::EFAULT)?;
    let [rax, r11, rcx, flags, rip, cs, saved_flags, rsp, ss] = f;

    if cs & 3 == 3 {
        // A user mode without tables of its own would run on the kernel's.
        let l4 = cx.vcpu.mm.user_cr3().ok_or(Errno::EINVAL)?;
        to_user_mode(cx, l4);
    }
    let r = &mut *cx.regs;
    r.rip = rip;
    r.cs = cs as u16 | 3;
    r.rflags =
        saved_flags & !(rflags::IOPL | rflags::VM | rflags::NT | rflags::VIF | rflags::VIP) & 0x3f_ffff
            | rflags::IF
            | rflags::MBS;
    r.rsp = rsp;
    r.ss = ss as u16 | 3;
    r.rax = rax;
    if flags & VGCF_IN_SYSCALL == 0 {
        r.rcx = rcx;
        r.r11 = r11;
        r.entry_vector = 0;
    }
    if cx.dom.assisted(VMASST_TYPE_ARCHITECTURAL_IOPL) {
        cx.vp.iopl = (saved_flags >> 12 & 3) as u8;
    }
    cx.vp.traps.in_nmi = false;
    let masked = saved_flags & rflags::IF == 0;
    crate::event::set_upcall_mask(cx.xen, cx.vcpu, masked);
    Ok(())
}
