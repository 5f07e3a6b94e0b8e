//! Memory that runs short when a test says so: the n-th allocation of this thread that may fail does.

use core::cell::Cell;

std::thread_local! {
    /// Allocations that still succeed.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// `n` more allocations of this thread succeed, then one fails; after it, all succeed again.
pub fn after(n: u64) {
    LEFT.with(|left| left.set(Some(n)));
}

/// Ends it. False: it has struck already.
pub fn end() -> bool {
    LEFT.with(Cell::take).is_some()
}

/// Whether the allocation that asks is the one that fails.
pub fn strikes() -> bool {
    LEFT.with(|left| {
        let n = left.take();
        left.set(n.and_then(|n| n.checked_sub(1)));
        n == Some(0)
    })
}
