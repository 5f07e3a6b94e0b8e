//! Locks that serve pending translation flushes while they spin.
//!
//! Interrupts are off in the hypervisor, so a CPU that waits for a lock could keep another one waiting for
//! its flush acknowledgement for ever. Every spin therefore calls the machine's relax hook.
//!
//! Lock order (take from the top): domain list -> a domain's `domctl` lock -> two domains in id order ->
//! page-table frame lock bits (lower MFN first where two are needed) -> a grant table's growth and version -> one
//! table's grant entries (lower reference first) -> event channel table -> scheduler run queue -> timers -> frame allocator -> console.

use spin::Once;

static RELAX: Once<fn()> = Once::new();

/// Installs what a spinning CPU does each turn. First call wins; called once at boot before other CPUs run.
pub fn set_relax_hook(f: fn()) {
    RELAX.call_once(|| f);
}

/// One turn of a spin loop.
#[inline]
pub fn relax() {
    core::hint::spin_loop();
    if let Some(f) = RELAX.get() {
        f();
    }
}

/// Relax strategy of all locks here.
#[derive(Clone, Copy, Debug)]
pub struct ServeFlushes;

impl spin::RelaxStrategy for ServeFlushes {
    #[inline]
    fn relax() {
        relax();
    }
}

pub type Mutex<T> = spin::mutex::Mutex<T, ServeFlushes>;
pub type MutexGuard<'a, T> = spin::mutex::MutexGuard<'a, T>;
pub type RwLock<T> = spin::rwlock::RwLock<T, ServeFlushes>;
