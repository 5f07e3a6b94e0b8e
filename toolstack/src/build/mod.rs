//! Makes PV guests: from a configuration to a domain that is ready to run.
//!
//! [`Boot`] is what a guest starts from, read and laid out before anything is touched. [`domain`] makes a domain without
//! contents, which a restore needs too; [`memory`] gives it memory and [`ports`] its ways to the outside. [`start`] puts
//! the kernel in and sets the first vCPU. Whoever calls these destroys the domain if one of them fails.

mod boot;
pub mod domain;
pub mod memory;
pub mod ports;
mod start;
#[cfg(test)]
mod tests;

pub use boot::Boot;
pub use memory::Pages;
pub use ports::{Ends, Ports};
pub use start::start;
