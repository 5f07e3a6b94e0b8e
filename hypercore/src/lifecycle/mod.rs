//! How domains come and go.
//!
//! - [`create`]: a domain and its vCPUs, wholly or not at all.
//! - [`destroy`]: [`kill`] in restartable stages, then [`reap`] once nobody holds its frames any more.

pub mod create;
pub mod destroy;
#[cfg(test)]
mod shortage_tests;
#[cfg(test)]
mod tests;

pub use create::{create_domain, create_vcpu, create_vcpus};
pub use destroy::{kill, reap};
