//! Locks whose waiters serve what other CPUs ask for ([`crate::cpu::relax`]): interrupts are off in the
//! hypervisor, so a waiter that did not could make the CPU it waits for wait for it.

/// How the locks below wait.
pub struct Relax;

impl spin::RelaxStrategy for Relax {
    fn relax() {
        crate::cpu::relax();
    }
}

/// A spin lock. Not to be taken by NMI or machine-check handlers.
pub type Mutex<T> = spin::mutex::SpinMutex<T, Relax>;

/// A value set once during boot.
pub type Once<T> = spin::once::Once<T, Relax>;
