//! The groups of checks, in the order in which `all` runs them.

mod calls;
mod entry;
pub mod events;
mod traps;
pub mod user;

/// Name on the command line, what runs it. `events` stands last: it ends in the FIFO layout.
pub const ALL: &[(&str, fn())] = &[
    ("entry", entry::run),
    ("calls", calls::run),
    ("traps", traps::run),
    ("user", user::run),
    ("events", events::run),
];
