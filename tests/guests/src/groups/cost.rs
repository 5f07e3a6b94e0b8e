//! `cost`: what things cost, in ticks of the counter, for a guest with two vCPUs on one CPU. Not a part of `all`.
//!
//! The counter's value comes first: with the value that dom0 saw when it began to make the guest, and native counters,
//! it is the time to the guest's first instructions.

use core::sync::atomic::{AtomicU64, Ordering};

use super::timers::tsc;
use crate::say;
use crate::smp::{both, pause};

const ROUNDS: u64 = 5_000;

pub fn run() {
    let begun = tsc();
    say!("cost.begun", "{begun}");
    let there = both(|| take_turns(0), || take_turns(1));
    say!("cost.both", "{there:?}");
    let ticks = ENDED.load(Ordering::Relaxed) - STARTED.load(Ordering::Relaxed);
    say!("cost.switch", "{}", ticks / (2 * ROUNDS));
}

/// Whose turn it is, and how many there were.
static TURN: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Yields until the other has had its turn: on one CPU, one switch each.
fn take_turns(mine: u64) {
    for round in 0..=ROUNDS {
        while TURN.load(Ordering::Acquire) % 2 != mine {
            pause();
        }
        // The first round waits for the second vCPU to come up.
        if round == 0 {
            STARTED.store(tsc(), Ordering::Relaxed);
        }
        ENDED.store(tsc(), Ordering::Relaxed);
        TURN.fetch_add(1, Ordering::AcqRel);
    }
}
