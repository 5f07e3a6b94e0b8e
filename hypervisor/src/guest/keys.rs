//! Debug keys that know of guests: domains, events, grants, run queues, and the audit of references.
//!
//! The audit needs every vCPU off its CPU: the key pauses all domains, and the CPU that finds the last one
//! stopped (in idle) recounts and lets them go on.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::*};

use hypercore::domain::Domain;
use hypercore::sched;

use super::{XEN, xen};
use crate::console::always;
use crate::console::keys::Key;
use crate::sync::Mutex;

/// The keys.
pub const KEYS: &[Key] = &[
    Key { key: b'A', text: "audit every frame's references", act: audit },
    Key { key: b'e', text: "dump evtchn info", act: events },
    Key { key: b'g', text: "print grant table usage", act: grants },
    Key { key: b'q', text: "dump domain (and guest debug) info", act: domains },
];

static AUDIT: AtomicBool = AtomicBool::new(false);
/// Domains the audit has paused.
static PAUSED: Mutex<Vec<Arc<Domain>>> = Mutex::new(Vec::new());

fn all() -> Vec<Arc<Domain>> {
    XEN.get().map(|x| x.domains.all().collect()).unwrap_or_default()
}

fn domains() {
    for d in all() {
        always(format_args!(
            "General information for domain {}: dying={:?} shutdown={} pause_count={} pages={} max_pages={}",
            d.id.0,
            d.dying(),
            d.shut_down.load(Relaxed),
            d.pause_count.load(Relaxed),
            xen().frames.owned(d.id),
            d.memory.max_pages(),
        ));
        d.for_each_vcpu(|v| {
            always(format_args!(
                "    VCPU{}: CPU{} running={} pause_flags={:#x} pause_count={}",
                v.id.0,
                v.processor().0,
                v.running.load(Relaxed),
                v.pause_flags.load(Relaxed),
                v.pause_count.load(Relaxed),
            ));
            v.with_private(|p| {
                always(format_args!(
                    "        rip {:#x} rsp {:#x} {} mode",
                    p.regs.rip,
                    p.regs.rsp,
                    if p.kernel_mode { "kernel" } else { "user" }
                ))
            });
        });
    }
}

fn events() {
    for d in all() {
        always(format_args!("Event channel information for domain {}:", d.id.0));
        hypercore::event::dump(xen(), &d, always);
    }
}

fn grants() {
    for d in all() {
        always(format_args!("Grant table of domain {}:", d.id.0));
        hypercore::grant::dump(&d, always);
    }
}

fn audit() {
    if XEN.get().is_none() || AUDIT.swap(true, AcqRel) {
        return;
    }
    let mut paused = PAUSED.lock();
    *paused = all();
    for d in paused.iter() {
        sched::pause_domain(xen(), d);
    }
}

/// In idle: audits if that was asked for and no vCPU runs any more.
pub fn audit_if_due() {
    if !AUDIT.load(Acquire) {
        return;
    }
    let Some(mut paused) = PAUSED.try_lock() else { return };
    let mut running = paused.is_empty();
    paused.iter().for_each(|d| d.for_each_vcpu(|v| running |= v.running.load(Acquire)));
    if running {
        return;
    }
    match crate::watchdog::without(|| hypercore::mm::audit::audit(xen())) {
        Ok(r) if r.is_clean() => always(format_args!(
            "Audit: {} frames with {} references, stored and recounted are equal",
            r.frames, r.references
        )),
        Ok(r) => {
            always(format_args!("Audit: {} MISMATCHES in {} frames", r.mismatches, r.frames));
            for m in &r.first {
                always(format_args!("    mfn {} of {}: {:?}", m.mfn, m.owner, m.wrong));
            }
            for o in &r.owned {
                always(format_args!("    frames owned: {o:?}"));
            }
        }
        Err(e) => always(format_args!("Audit: not possible now: {e:?}")),
    }
    for d in paused.drain(..) {
        sched::unpause_domain(xen(), &d);
    }
    AUDIT.store(false, Release);
}
