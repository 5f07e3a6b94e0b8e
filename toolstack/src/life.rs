//! A guest's end, seen by whoever waits for it: why it was, and what is to be done then.

use std::io;

use abi::domctl::{XEN_DOMINF_DYING, XEN_DOMINF_SHUTDOWN, XEN_DOMINF_SHUTDOWNMASK, XEN_DOMINF_SHUTDOWNSHIFT};
use abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SUSPEND, SHUTDOWN_WATCHDOG};
use xenctl::{DomId, Error, Result, Xen};

use crate::config::model::{Action, DomainConfig};
use crate::watch::{RELEASE, Watcher};

/// How a guest is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody has destroyed it, or is about to.
    Gone,
    /// It has shut down, for a reason of `SHUTDOWN_*`.
    ShutDown(u32),
}

impl End {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            End::Gone => "has been destroyed",
            End::ShutDown(SHUTDOWN_POWEROFF) => "has shut down",
            End::ShutDown(SHUTDOWN_REBOOT) => "wants to begin anew",
            End::ShutDown(SHUTDOWN_SUSPEND) => "has been suspended",
            End::ShutDown(SHUTDOWN_CRASH) => "has crashed",
            End::ShutDown(SHUTDOWN_WATCHDOG) => "was stopped by its watchdog",
            End::ShutDown(_) => "has stopped for a reason that is not known",
        }
    }

    /// What its configuration says is to be done; nothing where somebody else is at it.
    pub fn action(self, config: &DomainConfig) -> Option<Action> {
        match self {
            End::Gone | End::ShutDown(SHUTDOWN_SUSPEND) => None,
            End::ShutDown(SHUTDOWN_POWEROFF) => Some(config.on_poweroff),
            End::ShutDown(SHUTDOWN_REBOOT) => Some(config.on_reboot),
            End::ShutDown(SHUTDOWN_WATCHDOG) => Some(config.on_watchdog),
            End::ShutDown(SHUTDOWN_CRASH) => Some(config.on_crash),
            End::ShutDown(_) => Some(Action::Destroy),
        }
    }
}

/// How the guest is now, if it has ended. `handle` tells it from a later one with its number.
pub fn end(xen: &Xen, domain: DomId, handle: &[u8; 16]) -> Result<Option<End>> {
    let Some(info) = xen.domain(domain)?.filter(|info| info.handle == *handle) else {
        return Ok(Some(End::Gone));
    };
    if info.flags & XEN_DOMINF_DYING != 0 {
        return Ok(Some(End::Gone));
    }
    let reason = info.flags >> XEN_DOMINF_SHUTDOWNSHIFT & XEN_DOMINF_SHUTDOWNMASK;
    Ok((info.flags & XEN_DOMINF_SHUTDOWN != 0).then_some(End::ShutDown(reason)))
}

/// Waits for the guest's end.
pub fn wait(xen: &Xen, watcher: &mut Watcher, domain: DomId, handle: &[u8; 16]) -> Result<End> {
    watcher.watch(RELEASE, "end")?;
    let ended = loop {
        if let Some(end) = end(xen, domain, handle)? {
            break end;
        }
        let told = watcher.wait();
        told.map_err(|e: io::Error| Error::os(format!("waiting for the end of domain {domain}"), &e))?;
    };
    watcher.unwatch(RELEASE, "end")?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{GUEST, Machine};

    #[test]
    fn ends_are_told_from_each_other() {
        let m = Machine::new();
        let handle = m.xen.domain(GUEST).unwrap().unwrap().handle;
        let now = |m: &Machine| end(&m.xen, GUEST, &handle).unwrap();
        assert_eq!(now(&m), None);
        assert_eq!(end(&m.xen, GUEST, &[1; 16]).unwrap(), Some(End::Gone), "another one has the number");
        m.xen.shutdown(GUEST, SHUTDOWN_CRASH).unwrap();
        assert_eq!(now(&m), Some(End::ShutDown(SHUTDOWN_CRASH)));
        m.xen.destroy(GUEST).unwrap();
        assert_eq!(now(&m), Some(End::Gone));
    }

    #[test]
    fn each_end_has_its_action() {
        let config = DomainConfig {
            on_poweroff: Action::Preserve,
            on_reboot: Action::Restart,
            on_crash: Action::RestartRename,
            on_watchdog: Action::CoredumpRestart,
            ..DomainConfig::default()
        };
        let of = |reason| End::ShutDown(reason).action(&config);
        assert_eq!(of(SHUTDOWN_POWEROFF), Some(Action::Preserve));
        assert_eq!(of(SHUTDOWN_REBOOT), Some(Action::Restart));
        assert_eq!(of(SHUTDOWN_CRASH), Some(Action::RestartRename));
        assert_eq!(of(SHUTDOWN_WATCHDOG), Some(Action::CoredumpRestart));
        assert_eq!(of(77), Some(Action::Destroy));
        assert_eq!((of(SHUTDOWN_SUSPEND), End::Gone.action(&config)), (None, None));
    }
}
