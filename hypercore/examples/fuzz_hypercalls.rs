//! Random hypercall sequences on the host: `--steps N` (10^6), `--seed S` (1), `--audit-every K` (64).
//!
//! Deterministic: a failure's seed and step name it. Each seed runs at most 10^5 steps, then the next begins. After
//! each, a tenth as many of one hostile domain beside a working neighbour and the dom0 that makes and destroys it.

use hypercore::testing::{fuzz, neighbours};
use std::time::Instant;

/// Steps of one seed.
const ROUND: u64 = 100_000;

fn main() {
    let (mut steps, mut seed, mut every) = (1_000_000, 1, 64);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|v| v.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--steps", Some(n)) => steps = n,
            ("--seed", Some(n)) => seed = n,
            ("--audit-every", Some(n)) => every = n.max(1),
            _ => {
                eprintln!("usage: fuzz_hypercalls [--steps N] [--seed S] [--audit-every K]");
                std::process::exit(2);
            }
        }
    }
    let start = Instant::now();
    let mut total = [(0, 0); fuzz::KINDS.len()];
    let mut beside = (0, 0, 0);
    let mut left = steps;
    while left > 0 {
        let n = left.min(ROUND);
        println!("seed {seed}: {n} steps, {:.0} s so far", start.elapsed().as_secs_f32());
        for (t, s) in total.iter_mut().zip(fuzz::run(seed, n, every)) {
            *t = (t.0 + s.0, t.1 + s.1);
        }
        let (made, ok, domains) = neighbours::run(seed, n / 10, every.min(8));
        beside = (beside.0 + made, beside.1 + ok, beside.2 + domains);
        left -= n;
        seed += 1;
    }
    println!("{:12} {:>10} {:>10}", "", "tried", "succeeded");
    for (kind, (tried, ok)) in fuzz::KINDS.iter().zip(total) {
        println!("{kind:12} {tried:>10} {ok:>10}");
    }
    let (made, ok, domains) = beside;
    println!("any, beside a neighbour: {made} tried, {ok} succeeded, of {domains} domains");
    println!("{steps} steps, {:.0} s, nothing found", start.elapsed().as_secs_f32());
}
