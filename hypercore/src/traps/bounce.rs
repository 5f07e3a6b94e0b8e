//! Bounce frames: what the guest kernel finds on its stack when a trap, event or system call reaches it.
//!
//! 64-bit PV frame, lowest address first (public header arch-x86/xen-x86_64.h and what Linux's entry code
//! pops): RCX, R11, [DS, ES, FS, GS for the failsafe callback], [error code], RIP, CS (with the saved event mask
//! in bits 32..=39), RFLAGS, RSP, SS.

use super::{Callback, TrapEntry, rflags};
use crate::guest;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::xen::Cx;
use abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL;
use x86::regs::ENTRY_SYSCALL;

/// The ABI's flat ring-3 selectors (arch-x86/xen-x86_64.h).
pub const FLAT_CS64: u16 = 0xe033;
pub const FLAT_SS64: u16 = 0xe02b;

/// What is delivered.
#[derive(Clone, Copy, Debug)]
pub struct Bounce {
    pub address: u64,
    pub mask_events: bool,
    pub error_code: Option<u32>,
    /// Adds the segment selectors of the failsafe callback.
    pub failsafe: Option<[u16; 4]>,
    /// What of the interrupted flags the handler starts with.
    pub flags_kept: u64,
}

/// A trap's handler starts with the flags of the code it interrupts, nothing single-stepped.
const KEPT: u64 = !(rflags::TF
    | rflags::NT
    | rflags::RF
    | rflags::VM
    | rflags::IOPL
    | rflags::AC
    | rflags::VIF
    | rflags::VIP);
/// Those that system calls start with: ZF, SF, IF, DF, OF. No kernel looks, and Debian's Xen leaves these.
pub const KEPT_BY_SYSCALL: u64 = 0xec0;

impl Bounce {
    pub fn trap(e: TrapEntry, error_code: Option<u32>) -> Self {
        Self { address: e.address, mask_events: e.mask_events, error_code, failsafe: None, flags_kept: KEPT }
    }
    pub fn callback(c: Callback) -> Self {
        Self {
            address: c.address,
            mask_events: c.mask_events,
            error_code: None,
            failsafe: None,
            flags_kept: KEPT,
        }
    }
    /// A system call of user mode.
    pub fn syscall(c: Callback) -> Self {
        Self { flags_kept: KEPT_BY_SYSCALL, ..Self::callback(c) }
    }
}

/// Why a frame could not be delivered; the domain is crashed for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undeliverable {
    NoHandler,
    /// The guest's kernel stack cannot be written at this address.
    Stack(u64),
}

/// Enters guest-kernel mode if the vCPU is in guest-user mode: kernel tables and GS base.
#[inline]
pub fn to_kernel_mode<M: Machine>(cx: &mut Cx<'_, M>) {
    if !cx.vp.kernel_mode {
        let l4 = cx.vcpu.mm.cr3_to_load(true);
        cx.vp.gs_base_user = cx.xen.m.switch_mode(l4, cx.vp.gs_base_kernel);
        cx.vp.kernel_mode = true;
        if crate::time::runstate::is_stale(cx.vcpu) {
            crate::time::runstate::refresh_stale(cx.xen, cx.dom, cx.vcpu);
        }
    }
}

/// Enters guest-user mode on tables rooted at `l4`, the user mode's.
#[inline(always)]
pub fn to_user_mode<M: Machine>(cx: &mut Cx<'_, M>, l4: Mfn) {
    if cx.vp.kernel_mode {
        cx.vp.gs_base_kernel = cx.xen.m.switch_mode(l4, cx.vp.gs_base_user);
        cx.vp.kernel_mode = false;
    }
}

/// Pushes the frame and points the registers at the handler. On error nothing of the registers has changed
/// but the mode.
pub fn deliver<M: Machine>(cx: &mut Cx<'_, M>, b: &Bounce) -> Result<(), Undeliverable> {
    deliver_here(cx, b)
}

/// [`deliver`] for a caller that it is worth to be part of: system calls and page faults.
#[inline(always)]
pub fn deliver_here<M: Machine>(cx: &mut Cx<'_, M>, b: &Bounce) -> Result<(), Undeliverable> {
    if b.address == 0 {
        return Err(Undeliverable::NoHandler);
    }
    let from_kernel = cx.vp.kernel_mode;
    to_kernel_mode(cx);
    let top = if from_kernel { cx.regs.rsp } else { cx.vp.traps.kernel_sp } & !0xf;
    let old_mask = if b.mask_events {
        crate::event::set_upcall_mask(cx.xen, cx.vcpu, true)
    } else {
        crate::event::upcall_masked(cx.xen, cx.vcpu)
    };

    // A kernel frame shows ring 0, so that the guest's own test of CS tells kernel from user.
    let cs = if from_kernel { cx.regs.cs & !3 } else { cx.regs.cs };
    let mut flags = cx.regs.rflags & !(rflags::IF | rflags::IOPL);
    if !old_mask {
        flags |= rflags::IF;
    }
    if cx.dom.assisted(VMASST_TYPE_ARCHITECTURAL_IOPL) {
        flags |= u64::from(cx.vp.iopl) << 12;
    }

    let (m, r) = (&cx.xen.m, &*cx.regs);
    let [rip, cs, flags, rsp, ss] =
        [r.rip, u64::from(cs) | u64::from(old_mask) << 32, flags, r.rsp, u64::from(r.ss)];
    let (rcx, r11) = (r.rcx, r.r11);
    let pushed = match (b.failsafe.map(|s| s.map(u64::from)), b.error_code.map(u64::from)) {
        (None, None) => push(m, top, [rcx, r11, rip, cs, flags, rsp, ss]),
        (None, Some(e)) => push(m, top, [rcx, r11, e, rip, cs, flags, rsp, ss]),
        (Some([ds, es, fs, gs]), None) => push(m, top, [rcx, r11, ds, es, fs, gs, rip, cs, flags, rsp, ss]),
        (Some([ds, es, fs, gs]), Some(e)) => {
            push(m, top, [rcx, r11, ds, es, fs, gs, e, rip, cs, flags, rsp, ss])
        }
    };
    let sp = pushed?;

    cx.regs.rip = b.address;
    // A 64-bit kernel has one code segment; the selector in the trap table does not matter.
    cx.regs.cs = FLAT_CS64;
    cx.regs.ss = FLAT_SS64;
    cx.regs.rsp = sp;
    // The handler runs with interrupts on: the real ones are the hypervisor's.
    cx.regs.rflags = cx.regs.rflags & b.flags_kept | rflags::IF;
    // It takes RCX and R11 from its frame: SYSRET will do.
    cx.regs.entry_vector = ENTRY_SYSCALL;
    Ok(())
}

/// Puts words below `top`; where they begin.
#[inline(always)]
fn push<M: Machine, const N: usize>(m: &M, top: u64, words: [u64; N]) -> Result<u64, Undeliverable> {
    let sp = top.wrapping_sub(N as u64 * 8);
    guest::store_words(m, sp, words).map_err(|_| Undeliverable::Stack(sp))?;
    Ok(sp)
}
