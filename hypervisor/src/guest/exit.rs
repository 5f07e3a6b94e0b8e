//! What a CPU does before it returns to a guest: due timers, scheduling, changed tables, events.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use hypercore::ids::CpuId;
use hypercore::machine::Cpus;
use hypercore::sched;
use hypercore::time::runstate;
use hypercore::traps::bounce::{Bounce, Undeliverable, deliver, deliver_here};
use hypercore::traps::inject;
use x86::regs::{ENTRY_SYSCALL, GuestRegs};

use super::{CpuGuest, switch, this, with_cx, xen};

/// Bits of [`CpuGuest::due`]: what could not be done where it came up, because locks may be held there.
/// This CPU's timer reached its deadline.
pub const TIMER: u32 = 1;
/// The message ring has grown, and who reads it has not been told yet.
pub const RING: u32 = 2;
/// An NMI is to be reported ([`super::nmi::report`]).
pub const NMI: u32 = 4;
/// A machine check is to be told ([`crate::mca::report`]).
pub const MACHINE_CHECK: u32 = 8;

/// Has `what` done by this CPU on its way to a guest. NMI handlers may call it.
#[inline]
pub fn later(what: u32) {
    this().due.fetch_or(what, Relaxed);
}

/// Runs until there is a guest to return to and nothing left to do for it. `regs` then holds its registers.
#[inline]
pub fn to_guest(regs: &mut GuestRegs) {
    loop {
        match look(this()) {
            Due::Nothing => break,
            Due::Upcall => upcall(regs),
            Due::Work => work(regs),
        }
    }
    if regs.entry_vector == ENTRY_SYSCALL {
        // By whichever instruction the return is made, it looks as SYSRET.
        regs.rcx = regs.rip;
        regs.r11 = regs.rflags;
    }
}

/// What stands between a CPU and its guest.
enum Due {
    Nothing,
    /// An event's upcall alone.
    Upcall,
    /// Something else, and perhaps an upcall.
    Work,
}

/// Whether there is a guest to return to, as it is. What every exit pays.
///
/// A flush that is asked for is not looked for: its interrupt is pending, and comes before the guest's next
/// instruction.
#[inline(always)]
fn look(g: &'static CpuGuest) -> Due {
    crate::percpu::this().shared().watch.pass();
    if g.due.load(Relaxed) != 0 || g.sched.get().is_none_or(|s| s.pending.load(Acquire)) {
        return Due::Work;
    }
    // SAFETY: only looked at.
    let Some(cur) = (unsafe { g.current() }) else { return Due::Work };
    if g.ts.get() != (cur.vp.cr0 & switch::CR0_TS != 0)
        || runstate::is_stale(&cur.vcpu) && cur.vp.kernel_mode
        || inject::nmi_due(&cur.vcpu, &cur.vp)
    {
        return Due::Work;
    }
    // SAFETY: a vCPU runs, so boot has made the global state.
    let xen = unsafe { super::XEN.get_unchecked() };
    if hypercore::event::upcall_pending(xen, &cur.vcpu) { Due::Upcall } else { Due::Nothing }
}

/// Delivers the upcall of events, if one is due.
#[inline(never)]
fn upcall(regs: &mut GuestRegs) {
    with_cx(regs, |cx| {
        if hypercore::event::upcall_pending(cx.xen, cx.vcpu) {
            let b = Bounce { mask_events: true, ..Bounce::callback(cx.vp.traps.event) };
            if let Err(e) = deliver_here(cx, &b) {
                undeliverable(cx, "event", e);
            }
        }
    });
}

/// Does what is due, once.
#[cold]
#[inline(never)]
fn work(regs: &mut GuestRegs) {
    let x = xen();
    let me = CpuId(crate::percpu::this().id);
    super::flush::serve();
    let due = this().due.swap(0, Acquire);
    if due & RING != 0 {
        hypercore::event::send_global_virq(x, abi::xen::VIRQ_CON_RING);
    }
    if due & MACHINE_CHECK != 0 {
        crate::mca::report();
    }
    if due & NMI != 0 {
        super::nmi::report();
    }
    if due & TIMER != 0 {
        hypercore::time::expired(x, me, x.m.now());
    }
    if sched::need_resched(x, me) {
        let next = sched::schedule(x, me, x.m.now());
        hypercore::time::rearm(x);
        if switch::switch_to(next.vcpu, regs) {
            with_cx(regs, |cx| {
                if this().bad_selectors.take() {
                    // It goes on with null selectors, and its failsafe callback has what they were.
                    let selectors = [cx.vp.ds, cx.vp.es, cx.vp.fs, cx.vp.gs];
                    let callback = Bounce::callback(cx.vp.traps.failsafe);
                    if let Err(e) = deliver(cx, &Bounce { failsafe: Some(selectors), ..callback }) {
                        undeliverable(cx, "failsafe callback", e);
                    }
                }
                hypercore::time::update_vcpu_time(cx.xen, cx.vcpu);
                runstate::update_area(cx);
            });
        }
    }
    // SAFETY: only looked at.
    if unsafe { this().current() }.is_none() {
        return idle();
    }
    with_cx(regs, |cx| {
        switch::set_ts(cx.vp.cr0 & switch::CR0_TS != 0);
        if cx.vp.kernel_mode && runstate::is_stale(cx.vcpu) {
            // Its copies could not be written while the user mode's tables were loaded.
            runstate::refresh_stale(cx.xen, cx.dom, cx.vcpu);
        }
        if let Err(e) = inject::pending_nmi(cx) {
            undeliverable(cx, "NMI", e);
        }
    });
    upcall(regs);
}

/// The domain cannot take what it must: it crashes.
pub fn undeliverable(cx: &mut hypercore::xen::Cx<'_, super::machine::Bare>, what: &str, e: Undeliverable) {
    super::report::guest_state(cx);
    match e {
        Undeliverable::NoHandler => {
            hypercore::log!(cx.xen.m, Error, "{:?}: no handler for {what} at rip {:#x}", cx.vcpu, cx.regs.rip)
        }
        Undeliverable::Stack(sp) => {
            hypercore::log!(cx.xen.m, Error, "{:?}: cannot write the frame of {what} at {sp:#x}", cx.vcpu)
        }
    }
    sched::domain_crash(cx.xen, cx.dom, "undeliverable trap");
}

/// Nothing to run: scrub, reap, sleep.
fn idle() {
    let x = xen();
    super::keys::audit_if_due();
    hypercore::lifecycle::reap(x);
    if hypercore::memory::scrub_some(x) {
        super::idle::breathe();
        return;
    }
    hypercore::time::rearm(x);
    let awake = || has_work() || this().due.load(Relaxed) != 0;
    if !awake() {
        switch::leave_lazy();
        super::idle::sleep(awake);
    }
}

/// Whether this CPU should not go on as it does.
#[inline]
pub fn has_work() -> bool {
    let g = this();
    g.due.load(Relaxed) & TIMER != 0 || g.sched.get().is_some_and(|s| s.pending.load(Acquire))
}
