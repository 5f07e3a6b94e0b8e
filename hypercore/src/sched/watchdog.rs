//! A domain's watchdogs (`SCHEDOP_watchdog`): it is shut down when it does not reset one in time.

use crate::domain::Domain;
use crate::machine::Machine;
use crate::time::queue::{Timer, TimerKey};
use crate::xen::Xen;
use abi::Errno;
use alloc::sync::Arc;

/// Watchdogs of a domain.
pub const NR_WATCHDOGS: usize = 2;

/// Which are in use, and on which CPU's timer queue each stands.
#[derive(Debug, Default)]
pub struct Watchdogs {
    on: [Option<crate::ids::CpuId>; NR_WATCHDOGS],
}

/// `id` 0 starts one and answers its id; else it is set to fire in `timeout_s` seconds from now, or stopped
/// for 0. EINVAL: no such watchdog; ENOSPC: all in use.
pub fn set<M: Machine>(xen: &Xen<M>, dom: &Arc<Domain>, id: u32, timeout_s: u32) -> Result<u64, Errno> {
    let mut dogs = dom.sched.watchdogs.lock();
    let index = match id as usize {
        0 if timeout_s == 0 => return Err(Errno::EINVAL),
        0 => dogs.on.iter().position(Option::is_none).ok_or(Errno::ENOSPC)?,
        n if n <= NR_WATCHDOGS && dogs.on[n - 1].is_some() => n - 1,
        _ => return Err(Errno::EINVAL),
    };
    let key = TimerKey::watchdog(dom.id, index);
    if let Some(cpu) = dogs.on[index].take() {
        xen.timers.remove(cpu, key);
    }
    if timeout_s == 0 {
        return Ok(0);
    }
    let deadline = xen.m.now() + u64::from(timeout_s) * 1_000_000_000;
    let cpu = xen.m.cpu();
    xen.timers.insert(cpu, deadline, key, Timer::Watchdog(Arc::downgrade(dom)))?;
    crate::time::rearm(xen);
    dogs.on[index] = Some(cpu);
    Ok(if id == 0 { index as u64 + 1 } else { 0 })
}
