//! What a CPU does before it returns to a guest: due timers, scheduling, changed tables, events.

use core::sync::atomic::{AtomicU32, Ordering};

use hypercore::ids::CpuId;
use hypercore::machine::Cpus;
use hypercore::sched;
use hypercore::time::runstate;
use hypercore::traps::bounce::{Bounce, Undeliverable, deliver};
use hypercore::traps::inject;
use x86::regs::{ENTRY_SYSCALL, GuestRegs};

use super::{switch, this, with_cx, xen};

/// What could not be done where it came up, because locks may be held there: bits of [`RING`], [`NMI`].
static LATER: AtomicU32 = AtomicU32::new(0);
/// The message ring has grown, and who reads it has not been told yet.
pub const RING: u32 = 1;
/// An NMI is to be reported ([`super::nmi::report`]).
pub const NMI: u32 = 2;

/// Has `what` done by the next CPU on its way to a guest.
pub fn later(what: u32) {
    LATER.fetch_or(what, Ordering::Release);
}

fn do_later() {
    let what = LATER.swap(0, Ordering::Acquire);
    if what & RING != 0 {
        hypercore::event::send_global_virq(xen(), abi::xen::VIRQ_CON_RING);
    }
    if what & NMI != 0 {
        super::nmi::report();
    }
}

/// Runs until there is a guest to return to and nothing left to do for it. `regs` then holds its registers.
pub fn to_guest(regs: &mut GuestRegs) {
    let x = xen();
    let me = CpuId(crate::percpu::this().id);
    loop {
        crate::percpu::this().shared().watch.pass();
        super::flush::serve();
        if LATER.load(Ordering::Relaxed) != 0 {
            do_later();
        }
        if this().timer_fired.replace(false) {
            hypercore::time::expired(x, me, x.m.now());
            x.m.set_timer(hypercore::time::next_deadline(x, me));
        }
        if sched::need_resched(x, me) {
            let next = sched::schedule(x, me, x.m.now());
            x.m.set_timer(hypercore::time::next_deadline(x, me));
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
            idle(me);
            continue;
        }
        with_cx(regs, |cx| {
            switch::set_ts(cx.vp.cr0 & 8 != 0);
            if cx.vp.kernel_mode && runstate::is_stale(cx.vcpu) {
                // Its copies could not be written while the user mode's tables were loaded.
                runstate::refresh_stale(cx.xen, cx.dom, cx.vcpu);
            }
            if let Err(e) = inject::pending_nmi(cx) {
                undeliverable(cx, "NMI", e);
            }
            if hypercore::event::upcall_pending(cx.xen, cx.vcpu) {
                let b = Bounce { mask_events: true, ..Bounce::callback(cx.vp.traps.event) };
                if let Err(e) = deliver(cx, &b) {
                    undeliverable(cx, "event", e);
                }
            }
        });
        if !has_work() {
            break;
        }
    }
    if regs.entry_vector == ENTRY_SYSCALL {
        // By whichever instruction the return is made, it looks as SYSRET.
        regs.rcx = regs.rip;
        regs.r11 = regs.rflags;
    }
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
fn idle(me: CpuId) {
    let x = xen();
    super::keys::audit_if_due();
    hypercore::lifecycle::reap(x);
    if hypercore::memory::scrub_some(x) {
        super::idle::breathe();
        return;
    }
    x.m.set_timer(hypercore::time::next_deadline(x, me));
    if !has_work() {
        switch::leave_lazy();
        super::idle::sleep(has_work);
    }
}

/// Whether this CPU should not go on as it does.
#[inline]
pub fn has_work() -> bool {
    this().timer_fired.get() || sched::need_resched(xen(), CpuId(crate::percpu::this().id))
}
