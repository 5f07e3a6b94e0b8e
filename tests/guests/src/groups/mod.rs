//! The groups of checks, in the order in which `all` runs them.

use abi::physdev::{PHYSDEVOP_SET_IOPL, PhysdevSetIopl};
use abi::xen::HYPERVISOR_PHYSDEV_OP;

use crate::hypercall::op;

mod anything;
mod calls;
mod cost;
mod descriptors;
mod entry;
pub mod events;
mod grants;
mod grants2;
mod hardware;
mod kexec;
mod mca;
mod memory;
mod nodes;
mod pagetables;
mod platform;
mod power;
mod switch;
mod timers;
mod trace;
mod trace_compat;
mod trace_debug;
mod trace_iret;
mod trace_user;
mod trace_writes;
mod traps;
mod tree;
mod tsc;
pub mod user;
mod xstate;

/// Name on the command line, what runs it. `events` ends in the FIFO layout; `platform` after it changes what EOIs do.
pub const ALL: &[(&str, fn())] = &[
    ("entry", entry::run),
    ("calls", calls::run),
    ("traps", traps::run),
    ("user", user::run),
    ("trace", trace::run),
    ("pagetables", pagetables::run),
    ("descriptors", descriptors::run),
    ("grants2", grants2::run),
    ("grants", grants::run),
    ("timers", timers::run),
    ("memory", memory::run),
    ("xstate", xstate::run),
    ("mca", mca::run),
    ("power", power::run),
    ("tree", tree::run),
    ("kexec", kexec::run),
    ("events", events::run),
    ("platform", platform::run),
];

/// What `all` leaves out.
pub const ON_REQUEST: &[(&str, fn())] = &[
    ("switch", switch::run),
    ("nodes", nodes::run),
    ("tsc", tsc::run),
    ("anything", anything::run),
    ("cost", cost::run),
];

/// set_iopl: 1 lets the kernel use ports and privileged flags instructions, 0 does not.
fn allow_io(level: u32) -> i64 {
    op(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &mut PhysdevSetIopl { iopl: level })
}
