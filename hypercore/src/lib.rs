//! Everything of the hypervisor that can be decided without touching hardware.
//!
//! Start at [`xen`] (global state, hypercall context), [`machine`] (the seam to hardware), [`domain`] and
//! [`vcpu`]; [`hypercall`] dispatches.
#![cfg_attr(not(any(test, feature = "testing")), no_std)]
#![forbid(unsafe_code)]
// Tests may end when memory is short.
#![cfg_attr(any(test, feature = "testing"), allow(clippy::disallowed_methods))]
extern crate alloc;
pub mod boot;
pub mod console;
#[allow(clippy::disallowed_methods, reason = "at boot, where there is nobody to refuse")]
pub mod dom0;

pub mod calls;
pub mod cpumask;
pub mod domain;
pub mod domains;
pub mod domctl;
pub mod emulate;
pub mod event;
pub mod fallible;
pub mod frame;
pub mod grant;
pub mod guest;
pub mod heap;
pub mod host;
pub mod hypercall;
pub mod hypercall_table;
pub mod ids;
pub mod io;
pub mod lifecycle;
pub mod log;
pub mod machine;
pub mod mca;
pub mod memory;
pub mod mm;
pub mod nospec;
pub mod numa;
pub mod platform_op;
pub mod policy;
pub mod power;
pub mod privilege;
pub mod refusal;
pub mod sched;
pub mod sync;
pub mod sysctl;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod traps;
pub mod vcpu;
pub mod watchdog;
pub mod xen;
pub mod xstate;
