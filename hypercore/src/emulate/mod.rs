//! Emulation of what a PV guest's kernel may not execute itself.
//!
//! - [`privileged`]: instructions that raised #GP (or #UD with Xen's prefix): I/O, MSRs, control
//!   registers, CPUID and the like.
//! - [`ptwr`]: writes to page tables that raised #PF because tables are mapped read-only.
//! - [`decode`]: the decoder both share.
//!
//! All of it works on plain bytes and registers; effects go through the traits [`PrivOps`] and
//! [`ptwr::TableOps`], which the vCPU's surroundings implement.

pub mod decode;
pub mod privileged;
pub mod ptwr;

pub use privileged::{Outcome, PrivOps, Stop, emulate, forced_cpuid};
