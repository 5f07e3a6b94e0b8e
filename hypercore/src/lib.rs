//! Everything of the hypervisor that can be decided without touching hardware.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
extern crate alloc;
pub mod boot;
pub mod console;
pub mod dom0;
