//! Has a guest stand still, by its own kernel's doing, and lets it go on.
//!
//! A kernel that is asked by `control/shutdown` of the store takes the request by emptying the node, lets go of its devices
//! and calls the hypervisor to stop (`SHUTDOWN_suspend`). When that call returns in the same domain, it answers 1 and the
//! kernel connects its devices again (`xen/sched.h`).

use std::io;
use std::time::{Duration, Instant};

use abi::Errno;
use abi::domctl::*;
use abi::sched::SHUTDOWN_SUSPEND;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xenctl::{DomId, Error, Result, Xen};

use crate::store::Client;
use crate::watch::{RELEASE, Watcher};

/// For how long a kernel may take to see a request, and then to stop.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the kernel's call to stop answers where nothing happened to it.
const CANCELLED: u64 = 1;

/// How far the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Taken,
    Stopped,
}

fn control(domain: DomId) -> String {
    format!("/local/domain/{domain}/control/shutdown")
}

/// Asks the guest and waits until it stands still.
///
/// # Errors
/// One that does not answer within `patience`, which is not asked any more then; one that ends instead.
pub fn suspend(
    xen: &Xen,
    store: &mut Client,
    watcher: &mut Watcher,
    domain: DomId,
    patience: Duration,
) -> Result<()> {
    let doing = || format!("suspending domain {domain}");
    let refused = |errno, why: &str| Error::new(doing(), errno).because(why);
    let info = xen.domain(domain)?.ok_or_else(|| Error::new(doing(), Errno::ESRCH))?;
    if domain.0 == 0 {
        return Err(refused(Errno::EINVAL, "it is the domain we run in"));
    }
    if info.flags & (XEN_DOMINF_SHUTDOWN | XEN_DOMINF_DYING) != 0 {
        return Err(refused(Errno::EINVAL, "it has shut down"));
    }
    if info.flags & XEN_DOMINF_PAUSED != 0 {
        return Err(refused(Errno::EBUSY, "it is paused, and cannot answer; xl unpause lets it"));
    }
    let (path, token) = (control(domain), "suspend");
    [path.as_str(), RELEASE].iter().try_for_each(|path| watcher.watch(path, token))?;
    store.write(&path, b"suspend")?;
    let asked = wait(xen, store, watcher, domain, patience);
    if asked.is_err() {
        // Who has not seen it is not to see it later.
        withdraw(store, &path)?;
    }
    [path.as_str(), RELEASE].iter().try_for_each(|path| watcher.unwatch(path, token))?;
    asked
}

fn withdraw(store: &mut Client, path: &str) -> Result<()> {
    store.transaction(|store| match store.read(path)?.as_deref() {
        Some(b"suspend") => store.write(path, b""),
        _ => Ok(()),
    })
}

fn wait(
    xen: &Xen,
    store: &mut Client,
    watcher: &mut Watcher,
    domain: DomId,
    patience: Duration,
) -> Result<()> {
    let (mut began, mut last) = (Instant::now(), State::Asked);
    loop {
        let now = state(xen, store, domain)?;
        if now == State::Stopped {
            return Ok(());
        }
        if now != last {
            (began, last) = (Instant::now(), now);
        }
        let left = patience.saturating_sub(began.elapsed());
        let failed = |e| Error::os(format!("suspending domain {domain}"), &e);
        if left.is_zero() || !told(watcher, left).map_err(failed)? {
            let why = match last {
                State::Asked => {
                    "its kernel does not take the request: has it started, and can it be suspended?"
                }
                _ => "its kernel has taken the request but does not stop",
            };
            return Err(Error::new(format!("suspending domain {domain}"), Errno::ETIMEDOUT).because(why));
        }
    }
}

fn state(xen: &Xen, store: &mut Client, domain: DomId) -> Result<State> {
    let ended = |why: &str| Error::new(format!("suspending domain {domain}"), Errno::ENOENT).because(why);
    let info = xen.domain(domain)?.filter(|info| info.flags & XEN_DOMINF_DYING == 0);
    let info = info.ok_or_else(|| ended("it was destroyed meanwhile"))?;
    let reason = info.flags >> XEN_DOMINF_SHUTDOWNSHIFT & XEN_DOMINF_SHUTDOWNMASK;
    match info.flags & XEN_DOMINF_SHUTDOWN {
        0 => {}
        _ if reason == SHUTDOWN_SUSPEND => return Ok(State::Stopped),
        _ => return Err(ended("it shut down meanwhile")),
    }
    Ok(match store.read(&control(domain))?.as_deref() {
        Some(b"suspend") => State::Asked,
        _ => State::Taken,
    })
}

/// Whether something was told within this time.
fn told(watcher: &mut Watcher, time: Duration) -> io::Result<bool> {
    let began = Instant::now();
    loop {
        if watcher.event()?.is_some() {
            return Ok(true);
        }
        let left = time.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&*watcher, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Lets a suspended guest go on in its domain, as if nothing had been.
pub fn resume(xen: &Xen, store: &mut Client, domain: DomId) -> Result<()> {
    let mut context = xen.vcpu_context(domain, 0)?;
    context.user_regs.rax = CANCELLED;
    xen.set_context(domain, 0, &context)?;
    xen.resume(domain)?;
    // It is told again when the domain stops for another time.
    store.resume(domain)
}

#[cfg(test)]
#[path = "suspend_tests.rs"]
mod tests;
