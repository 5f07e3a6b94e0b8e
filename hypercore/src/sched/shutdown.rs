//! A domain ends itself, or is ended: by its own call, by a tool, by its watchdog, by a crash.

use super::state::{pause_domain, unpause_domain};
use crate::domain::Domain;
use crate::ids::{DomId, Port};
use crate::machine::{HostShutdown, Machine};
use crate::xen::Xen;
use abi::sched::{
    SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SOFT_RESET, SHUTDOWN_SUSPEND,
    SHUTDOWN_WATCHDOG,
};
use abi::xen::VIRQ_DOM_EXC;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::Ordering::*;

/// No reason recorded yet, in [`Domain::shutdown_code`].
pub const NO_CODE: u32 = u32::MAX;

/// Marks `dom` as shut down for `reason` (`SHUTDOWN_*`; one recorded before takes precedence), pauses it and
/// tells the manager by `VIRQ_DOM_EXC`. The first domain takes the machine with it.
pub fn domain_shutdown<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, reason: u32) {
    let reason = record_code(dom, reason);
    if dom.id == DomId::DOM0 {
        xen.m.host_shutdown(host_action(reason));
    }
    if dom.shut_down.compare_exchange(false, true, AcqRel, Acquire).is_ok() {
        pause_domain(xen, dom);
        let port = Port(dom.suspend_port.load(Relaxed));
        if reason == SHUTDOWN_SUSPEND && port.0 != 0 {
            // Who asked for it looks at the domain anyway if the port is closed by now.
            let _ = crate::event::send(xen, dom, port);
        }
        crate::event::send_global_virq(xen, VIRQ_DOM_EXC);
    }
}

/// Records why the domain is about to shut down, unless a reason stands already. The one that counts.
pub fn record_code(dom: &Domain, reason: u32) -> u32 {
    match dom.shutdown_code.compare_exchange(NO_CODE, reason, AcqRel, Acquire) {
        Ok(_) => reason,
        Err(earlier) => earlier,
    }
}

/// What the first domain's end means for the machine.
fn host_action(reason: u32) -> HostShutdown {
    match reason {
        SHUTDOWN_POWEROFF => HostShutdown::Halt,
        SHUTDOWN_CRASH => HostShutdown::Crash,
        SHUTDOWN_WATCHDOG => HostShutdown::Watchdog,
        // Suspending or resetting the first domain alone is not possible: start afresh.
        SHUTDOWN_REBOOT | SHUTDOWN_SUSPEND | SHUTDOWN_SOFT_RESET => HostShutdown::Reboot,
        _ => HostShutdown::Crash,
    }
}

/// Takes a shutdown back (after a cancelled or finished suspend): the domain runs again.
pub fn domain_resume<M: Machine>(xen: &Xen<M>, dom: &Domain) {
    dom.shutdown_code.store(NO_CODE, Release);
    if dom.shut_down.compare_exchange(true, false, AcqRel, Acquire).is_ok() {
        unpause_domain(xen, dom);
    }
}

/// The domain did, or met, something it cannot go on from. Only it is stopped; `why` goes to the log.
pub fn domain_crash<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, why: impl fmt::Display) {
    if !dom.shut_down.load(Acquire) {
        crate::log!(xen.m, Error, "Domain {} crashed: {why}", dom.id.0);
    }
    domain_shutdown(xen, dom, SHUTDOWN_CRASH);
}
