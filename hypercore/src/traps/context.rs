//! `vcpu_guest_context` (public header arch-x86/xen.h) into a vCPU and back: `VCPUOP_initialise`, domctl
//! `setvcpucontext` and `getvcpucontext`.
//!
//! What a guest says is forced into what a guest may have: selectors of ring 3, RFLAGS without I/O privilege,
//! canonical addresses, a valid FXSAVE image. The decoded context is applied as a whole or not at all.

use super::{Callback, TrapEntry, rflags};
use crate::calls::registers::{CR4_GUEST, put_debugreg};
use crate::calls::small::PV_ASSISTS;
use crate::domain::Domain;
use crate::guest;
use crate::ids::{Mfn, VcpuId};
use crate::machine::{GuestFault, GuestVa, Machine};
use crate::mm;
use crate::vcpu::{Vcpu, VcpuPrivate, pause};
use crate::xen::{Stop, Xen};
use abi::Errno;
use abi::arch_x86::*;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem::offset_of;
use core::sync::atomic::Ordering::*;
use x86::pte::canonical;
use x86::regs::GuestRegs;
use zerocopy::{FromZeros, IntoBytes};

const CR0_TS: u64 = 1 << 3;

/// The frame of trap entry is the beginning of the ABI's registers: one layout, in two crates that do not know of each
/// other.
macro_rules! same_layout {
    ($($field:ident)*) => {$(
        const _: () = assert!(offset_of!(GuestRegs, $field) == offset_of!(CpuUserRegs, $field));
    )*};
}
same_layout! {
    r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi error_code entry_vector rip cs saved_upcall_mask rflags
    rsp ss
}
const _: () = assert!(size_of::<GuestRegs>() == offset_of!(CpuUserRegs, es));

/// A context on the heap: it is larger than a stack should hold.
pub struct GuestContext(Box<VcpuGuestContext>);

impl core::ops::Deref for GuestContext {
    type Target = VcpuGuestContext;
    fn deref(&self) -> &VcpuGuestContext {
        &self.0
    }
}

impl GuestContext {
    fn new() -> Result<Self, Errno> {
        VcpuGuestContext::new_box_zeroed().map(Self).map_err(|_| Errno::ENOMEM)
    }

    /// Copies one in from the running vCPU's address `va`.
    pub fn read<M: GuestVa>(m: &M, va: u64) -> Result<Self, Stop> {
        let mut c = Self::new()?;
        guest::read_bytes(m, va, c.0.as_mut_bytes())?;
        Ok(c)
    }

    /// Copies it out.
    pub fn write<M: GuestVa>(&self, m: &M, va: u64) -> Result<(), GuestFault> {
        guest::write_bytes(m, va, self.0.as_bytes())
    }
}

/// A selector as a guest kernel may use it.
pub const fn kernel_selector(sel: u16) -> u16 {
    sel | 3
}

/// An entry of the virtual trap table. EINVAL: not canonical.
pub fn trap_entry(t: &TrapInfo) -> Result<TrapEntry, Errno> {
    if !canonical(t.address) {
        return Err(Errno::EINVAL);
    }
    Ok(TrapEntry {
        cs: kernel_selector(t.cs),
        dpl: t.flags & TI_DPL_MASK,
        mask_events: t.flags & TI_IF != 0,
        address: t.address,
    })
}

/// Gives `v`, which is off its CPU and stays so, the state `c` describes, and its up or down with it.
/// EINVAL: not a PV context. EBUSY: it runs. Else what taking its tables or descriptors answers, which may be
/// that the same call goes on later.
pub fn set<M: Machine>(
    xen: &Xen<M>,
    dom: &Domain,
    v: &Arc<Vcpu>,
    c: &VcpuGuestContext,
) -> Result<(), mm::Fail> {
    // What is refused before anything changes.
    let addresses = [
        c.user_regs.rip,
        c.user_regs.rsp,
        c.kernel_sp,
        c.event_callback_eip,
        c.failsafe_callback_eip,
        c.syscall_callback_eip,
        c.fs_base,
        c.gs_base_kernel,
        c.gs_base_user,
    ];
    if !addresses.into_iter().all(canonical) {
        return Err(Errno::EINVAL.into());
    }
    let mut vp = VcpuPrivate::new()?;
    v.with_private(|old| keep(&mut vp, old, c.flags & VGCF_I387_VALID != 0)).ok_or(Errno::EBUSY)?;
    decode(&mut vp, c)?;

    // What can still fail, in an order that leaves a vCPU that cannot run, never one with half a context.
    let root = Mfn(xen_cr3_to_pfn(c.ctrlreg[3]));
    let user = Some(Mfn(xen_cr3_to_pfn(c.ctrlreg[1]))).filter(|m| m.0 != 0);
    crate::sched::add_vcpu(xen, v)?;
    mm::desc::set_vcpu_gdt(xen, dom, v, &c.gdt_frames[..FIRST_RESERVED_GDT_PAGE], gdt_entries(c)?)?;
    mm::desc::set_vcpu_ldt(xen, v, c.ldt_base, c.ldt_ents)?;
    // The roots are made what the assists ask of them.
    let assists = dom.vm_assist.load(Acquire);
    if v.id == VcpuId(0) {
        dom.vm_assist.store(c.vm_assist & PV_ASSISTS, Release);
    }
    let roots = mm::base::set_cr3(xen, dom, v, true, Some(root))
        .and_then(|()| mm::base::set_cr3(xen, dom, v, false, user));
    roots.inspect_err(|_| dom.vm_assist.store(assists, Release))?;

    v.with_private(|old| core::mem::swap(old, &mut vp)).ok_or(Errno::EBUSY)?;
    v.initialised.store(true, Release);
    if c.flags & VGCF_ONLINE != 0 {
        crate::time::first_up(xen, v)?;
        v.pause_flags.fetch_and(!pause::DOWN, SeqCst);
    } else {
        v.pause_flags.fetch_or(pause::DOWN, SeqCst);
    }
    crate::sched::update(xen, v);
    Ok(())
}

/// What a context does not hold stays as it is: a guest may be in the middle of its life, as one that goes on after it
/// was saved. Without an image of the FPU in the context that is reset.
fn keep(vp: &mut VcpuPrivate, old: &VcpuPrivate, fpu: bool) {
    (vp.xcr0, vp.tsc_aux) = (old.xcr0, old.tsc_aux);
    (vp.iobitmap, vp.iobitmap_ports) = (old.iobitmap, old.iobitmap_ports);
    (vp.traps.sysenter, vp.traps.syscall32) = (old.traps.sysenter, old.traps.syscall32);
    vp.traps.in_nmi = old.traps.in_nmi;
    if fpu {
        vp.fpu.0 = old.fpu.0;
    }
}

fn gdt_entries(c: &VcpuGuestContext) -> Result<u32, Errno> {
    u32::try_from(c.gdt_ents).map_err(|_| Errno::EINVAL)
}

/// All that is private to the vCPU.
fn decode(vp: &mut VcpuPrivate, c: &VcpuGuestContext) -> Result<(), Errno> {
    let u = &c.user_regs;
    vp.regs = GuestRegs {
        r15: u.r15,
        r14: u.r14,
        r13: u.r13,
        r12: u.r12,
        rbp: u.rbp,
        rbx: u.rbx,
        r11: u.r11,
        r10: u.r10,
        r9: u.r9,
        r8: u.r8,
        rax: u.rax,
        rcx: u.rcx,
        rdx: u.rdx,
        rsi: u.rsi,
        rdi: u.rdi,
        rip: u.rip,
        cs: kernel_selector(u.cs),
        rflags: u.rflags & 0x3f_ffff & !(rflags::IOPL | rflags::VM | rflags::NT | rflags::VIF | rflags::VIP)
            | rflags::IF
            | rflags::MBS,
        rsp: u.rsp,
        ss: kernel_selector(u.ss),
        ..GuestRegs::default()
    };
    (vp.ds, vp.es, vp.fs, vp.gs) = (u.ds, u.es, u.fs, u.gs);
    (vp.fs_base, vp.gs_base_kernel, vp.gs_base_user) = (c.fs_base, c.gs_base_kernel, c.gs_base_user);
    vp.kernel_mode = c.flags & VGCF_IN_KERNEL != 0;
    vp.iopl = (u.rflags >> 12 & 3) as u8;
    vp.cr0 = c.ctrlreg[0] & CR0_TS;
    vp.cr4 = c.ctrlreg[4] & CR4_GUEST;
    for (to, from) in vp.traps.table.iter_mut().zip(&c.trap_ctxt) {
        *to = trap_entry(from)?;
    }
    let masks = |flag| c.flags & flag != 0;
    vp.traps.event = Callback { address: c.event_callback_eip, mask_events: true };
    vp.traps.failsafe =
        Callback { address: c.failsafe_callback_eip, mask_events: masks(VGCF_FAILSAFE_DISABLES_EVENTS) };
    vp.traps.syscall =
        Callback { address: c.syscall_callback_eip, mask_events: masks(VGCF_SYSCALL_DISABLES_EVENTS) };
    vp.traps.kernel_ss = kernel_selector(c.kernel_ss as u16);
    vp.traps.kernel_sp = c.kernel_sp;
    if c.flags & VGCF_I387_VALID != 0 {
        vp.fpu.set_legacy(&c.fpu_ctxt);
    }
    // A context made by an older hypervisor may hold what is refused today: then it is left out.
    for reg in [0, 1, 2, 3, 6, 7] {
        let _ = put_debugreg(vp, reg, c.debugreg[reg as usize]);
    }
    Ok(())
}

/// The state of `v`, which is off its CPU. EBUSY: it runs.
pub fn get<M: Machine>(xen: &Xen<M>, dom: &Domain, v: &Vcpu) -> Result<GuestContext, Errno> {
    let _ = xen;
    let mut ctx = GuestContext::new()?;
    let c = &mut *ctx.0;
    v.with_private(|vp| encode(c, vp)).ok_or(Errno::EBUSY)?;
    if v.pause_flags.load(Acquire) & pause::DOWN == 0 {
        c.flags |= VGCF_ONLINE;
    }
    let d = v.mm.descriptors();
    c.ldt_base = d.ldt_base;
    c.ldt_ents = d.ldt_entries.into();
    c.gdt_ents = d.gdt_entries.into();
    for (to, from) in c.gdt_frames.iter_mut().zip(&d.gdt) {
        *to = from.0;
    }
    c.ctrlreg[3] = v.mm.kernel_cr3().map_or(0, |m| xen_pfn_to_cr3(m.0));
    c.ctrlreg[1] = v.mm.user_cr3().map_or(0, |m| xen_pfn_to_cr3(m.0));
    if v.id == VcpuId(0) {
        c.vm_assist = dom.vm_assist.load(Acquire);
    }
    Ok(ctx)
}

fn encode(c: &mut VcpuGuestContext, vp: &VcpuPrivate) {
    let r = &vp.regs;
    c.user_regs = CpuUserRegs {
        r15: r.r15,
        r14: r.r14,
        r13: r.r13,
        r12: r.r12,
        rbp: r.rbp,
        rbx: r.rbx,
        r11: r.r11,
        r10: r.r10,
        r9: r.r9,
        r8: r.r8,
        rax: r.rax,
        rcx: r.rcx,
        rdx: r.rdx,
        rsi: r.rsi,
        rdi: r.rdi,
        rip: r.rip,
        cs: r.cs,
        rflags: r.rflags & !rflags::IOPL | u64::from(vp.iopl) << 12,
        rsp: r.rsp,
        ss: r.ss,
        ds: vp.ds,
        es: vp.es,
        fs: vp.fs,
        gs: vp.gs,
        ..CpuUserRegs::default()
    };
    let flag = |on: bool, bit: u64| if on { bit } else { 0 };
    c.flags = VGCF_I387_VALID
        | flag(vp.kernel_mode, VGCF_IN_KERNEL)
        | flag(vp.traps.failsafe.mask_events, VGCF_FAILSAFE_DISABLES_EVENTS)
        | flag(vp.traps.syscall.mask_events, VGCF_SYSCALL_DISABLES_EVENTS);
    let n = c.fpu_ctxt.len();
    c.fpu_ctxt.copy_from_slice(&vp.fpu.0[..n]);
    for (i, (to, from)) in c.trap_ctxt.iter_mut().zip(vp.traps.table.iter()).enumerate() {
        *to = TrapInfo {
            vector: i as u8,
            flags: from.dpl | if from.mask_events { TI_IF } else { 0 },
            cs: from.cs,
            _pad0: 0,
            address: from.address,
        };
    }
    (c.fs_base, c.gs_base_kernel, c.gs_base_user) = (vp.fs_base, vp.gs_base_kernel, vp.gs_base_user);
    c.kernel_ss = vp.traps.kernel_ss.into();
    c.kernel_sp = vp.traps.kernel_sp;
    c.event_callback_eip = vp.traps.event.address;
    c.failsafe_callback_eip = vp.traps.failsafe.address;
    c.syscall_callback_eip = vp.traps.syscall.address;
    c.ctrlreg[0] = vp.cr0;
    c.ctrlreg[4] = vp.cr4;
    c.debugreg = vp.debugreg;
}
