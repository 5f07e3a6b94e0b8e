//! The small hypercalls: those that need no subsystem of their own.
//!
//! - [`traps`]: where exceptions, events and system calls go; [`registers`]: debug registers, segment bases,
//!   CR0.TS.
//! - [`vcpu`]: `vcpu_op`; [`version`]: `xen_version`; [`console`]: `console_io`; [`hypfs`]: `hypfs_op`; [`kexec`]: `kexec_op`;
//!   [`small`]: the rest.

pub mod console;
pub mod hypfs;
pub mod kexec;
pub mod registers;
pub mod small;
pub mod traps;
pub mod vcpu;
pub mod version;

#[cfg(test)]
mod tests;
