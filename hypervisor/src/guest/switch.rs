//! Context switch on this CPU: the outgoing vCPU's state goes back to it, the incoming one's is checked out.
//!
//! A CPU that has nothing to run keeps the last guest's tables loaded until it goes to sleep, or until those tables
//! are freed: then [`leave_lazy`] ends that. A sleeping CPU is on no guest's tables, so that no flush wakes it: a
//! guest comes back by a load of CR3 anyway.

use alloc::sync::Arc;

use hypercore::ids::{CpuId, Mfn};
use hypercore::vcpu::Vcpu;
use x86::regs::GuestRegs;

use super::{Current, fpu, machine, segments, this, xen};
use crate::cpu::gdt;
use crate::cpu::instr::{read_cr0, write_cr0};
use crate::mm::percpu_map::{Window, set_window};

pub const CR0_TS: u64 = 1 << 3;

/// Sets CR0.TS as the running vCPU's virtual one says.
pub fn set_ts(on: bool) {
    let g = this();
    if g.ts.get() != on {
        // SAFETY: TS only decides whether FPU instructions trap.
        unsafe { write_cr0(if on { read_cr0() | CR0_TS } else { read_cr0() & !CR0_TS }) };
        g.ts.set(on);
    }
}

/// Saves the running vCPU (if any) and gives its private state back.
fn switch_out(regs: &GuestRegs) {
    // SAFETY: called from the exit path, which holds no reference to the slot.
    let Some(mut cur) = (unsafe { this().current() }).take() else { return };
    this().occupied.set(false);
    cur.vp.regs = *regs;
    segments::save(&mut cur.vp);
    set_ts(false);
    fpu::save(&mut cur.vp);
    super::debugreg::save(&cur.vp);
    cur.vcpu.check_in(cur.vp);
    hypercore::sched::context_saved(xen(), &cur.vcpu);
}

/// Loads `v` and fills `regs` with its registers.
fn switch_in(v: Arc<Vcpu>, regs: &mut GuestRegs) {
    let Some(dom) = v.domain() else { return };
    let mut vp = loop {
        match v.check_out() {
            Some(vp) => break vp,
            None => crate::cpu::relax(),
        }
    };
    let g = this();
    load_tables(&dom, v.mm.cr3_to_load(vp.kernel_mode));
    let d = v.mm.descriptors();
    show_gdt(&d.gdt);
    clear_ldt(d.ldt_entries);
    for (page, mfn) in d.ldt.iter().enumerate() {
        if let Some(mfn) = mfn {
            fill_ldt(page, *mfn);
        }
    }
    v.mm.reload.store(false, core::sync::atomic::Ordering::Release);
    g.bad_selectors.set(!segments::restore(&vp));
    fpu::restore(&mut vp);
    set_ts(vp.cr0 & CR0_TS != 0);
    super::privops::apply_cr4(vp.cr4, &dom);
    super::debugreg::restore(&vp);
    machine::set_tsc_aux(vp.tsc_aux);
    *regs = vp.regs;
    // SAFETY: as in `switch_out`.
    unsafe { *g.current() = Some(Current { vcpu: v, dom, vp }) };
    g.occupied.set(true);
}

/// Makes `next` the running vCPU (`None`: idle). `regs` is the frame this CPU returns to a guest with.
/// True if that was a change.
pub fn switch_to(next: Option<Arc<Vcpu>>, regs: &mut GuestRegs) -> bool {
    // SAFETY: as in `switch_out`; the reference ends with the comparison.
    let same = match (unsafe { this().current() }.as_ref(), next.as_ref()) {
        (Some(cur), Some(n)) => Arc::ptr_eq(&cur.vcpu, n),
        (None, None) => true,
        _ => false,
    };
    if same {
        return false;
    }
    switch_out(regs);
    if let Some(v) = next {
        switch_in(v, regs);
    }
    true
}

/// Loads `l4` of `dom` and keeps `dirty_cpus` true: a domain's bit is set before its tables are loaded and
/// cleared after others are.
fn load_tables(dom: &Arc<hypercore::domain::Domain>, l4: Mfn) {
    let g = this();
    let me = CpuId(crate::percpu::this().id);
    dom.dirty_cpus.insert(me);
    super::flush::load_root(l4);
    // SAFETY: only this CPU touches its slot and no other reference to it is alive.
    let lazy = unsafe { &mut *g.lazy.get() };
    if let Some(old) = lazy.replace(dom.clone())
        && !Arc::ptr_eq(&old, dom)
    {
        old.dirty_cpus.remove(me);
    }
}

/// Leaves the tables of a guest that does not run here any more.
pub fn leave_lazy() {
    let g = this();
    if g.occupied.get() {
        return;
    }
    // SAFETY: as in `load_tables`.
    if let Some(old) = unsafe { &mut *g.lazy.get() }.take() {
        super::flush::leave_guests();
        old.dirty_cpus.remove(CpuId(crate::percpu::this().id));
    }
}

/// Shows `mfn` (or nothing) as page `page` of this CPU's window.
fn show(window: Window, page: usize, mfn: Option<Mfn>) {
    set_window(crate::percpu::this().id, window, page, mfn.map(|m| m.0));
}

/// Shows `frames` as the guest's pages of this CPU's GDT window, and nothing past them.
pub fn show_gdt(frames: &[Mfn]) {
    let g = this();
    let mut shown = g.gdt.get();
    for (i, have) in shown.iter_mut().enumerate() {
        let want = frames.get(i).copied().unwrap_or_default();
        if want != *have {
            show(Window::Gdt, i, Some(want).filter(|m| m.0 != 0));
            *have = want;
        }
    }
    g.gdt.set(shown);
}

/// Empties the LDT window and makes it `entries` long; pages fill as the guest touches them.
pub fn clear_ldt(entries: u32) {
    let g = this();
    let filled = g.ldt_filled.get();
    for i in (0..16).filter(|i| filled >> i & 1 != 0) {
        show(Window::Ldt, i, None);
    }
    g.ldt_filled.set(0);
    gdt::load_ldt(entries);
}

/// Shows one page of the guest's LDT (the frame is typed as descriptors and held by the vCPU).
pub fn fill_ldt(page: usize, mfn: Mfn) {
    let g = this();
    show(Window::Ldt, page, Some(mfn));
    g.ldt_filled.set(g.ldt_filled.get() | 1 << page);
}
