//! Debug keys that know of guests: domains, events, grants, run queues, and the audit of references.
//!
//! The audit needs every vCPU off its CPU: the key pauses all domains, and the CPU that finds the last one
//! stopped (in idle) recounts and lets them go on.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::*};

use hypercore::domain::Domain;
use hypercore::ids::{CpuId, DomId};
use hypercore::machine::Cpus;
use hypercore::sched;

use super::{XEN, xen};
use crate::console::always;
use crate::console::keys::{self, Key};
use crate::snapshot;
use crate::sync::Mutex;

/// The keys.
pub const KEYS: &[Key] = &[
    Key { key: b'0', text: "dump Dom0 registers", act: dom0_registers },
    Key { key: b'A', text: "audit every frame's references", act: audit },
    Key { key: b'e', text: "dump evtchn info", act: events },
    Key { key: b'g', text: "print grant table usage", act: grants },
    Key { key: b'M', text: "dump MSI state", act: messages },
    Key { key: b'a', text: "dump timer queues", act: timers },
    Key { key: b'r', text: "dump run queues", act: run_queues },
    Key { key: b's', text: "dump softtsc stats", act: tsc_modes },
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

fn dom0_registers() {
    let Some(dom0) = XEN.get().and_then(|x| x.domains.get(DomId::DOM0)) else { return };
    always(format_args!("'0' pressed -> dumping Dom0's registers"));
    dom0.for_each_vcpu(|v| {
        let shown = v.with_private(|p| {
            always(format_args!("*** Dumping Dom0 vcpu#{} state: ***", v.id.0));
            keys::show(&p.regs);
        });
        if shown.is_none() {
            always(format_args!("*** Dom0 vcpu#{} runs on CPU{}: ***", v.id.0, v.processor().0));
        }
    });
    // Those that run are seen where they run.
    snapshot::others(|cpu, frame| {
        let name = XEN.get().and_then(|x| x.sched.current(CpuId(cpu)));
        if let (Some(v), Some(r)) = (name, frame)
            && v.domain().is_some_and(|d| d.id == DomId::DOM0)
        {
            let mode = if r.cs & 3 == 3 { "guest" } else { "host" };
            always(format_args!("*** Dumping Dom0 vcpu#{} {mode} state: ***", v.id.0));
            keys::show(r);
        }
    });
}

fn messages() {
    always(format_args!("MSI information:"));
    for d in all() {
        let mut next = 0;
        loop {
            let found = {
                let pirqs = d.io.pirqs.lock();
                pirqs.next(next).and_then(|n| pirqs.get(n).map(|p| (n, p)))
            };
            let Some((n, p)) = found else { break };
            next = n + 1;
            if let Some(m) = p.msi {
                let port = p.port.map_or(-1, |port| i64::from(port.0));
                always(format_args!(
                    "  {} pirq {n}: {:?} of {} entry {} port {port}",
                    d.id, p.irq, m.bdf, m.entry
                ));
            }
        }
    }
}

fn timers() {
    let Some(xen) = XEN.get() else { return };
    let now = crate::time::now_ns();
    always(format_args!("Dumping timer queues: NOW={now} ns"));
    xen.timers.dump(now, always);
}

fn run_queues() {
    if let Some(xen) = XEN.get() {
        sched::dump::dump(&xen.sched, crate::time::now_ns(), always);
    }
}

fn tsc_modes() {
    let trust = if xen().host.tsc_sound.load(Relaxed) { "are" } else { "are not" };
    always(format_args!("TSCs {trust} to be trusted"));
    for d in all() {
        let (t, elapsed_ns, khz) = d.time.tsc_info(&xen().host, xen().m.tsc_and_now());
        let emulated = if t.emulated { ", emulated" } else { "" };
        always(format_args!(
            "{}: mode={} kHz={khz} inc={} elapsed={elapsed_ns} ns{emulated}",
            d.id, t.mode, t.incarnation
        ));
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
