//! What tools ask of the hypervisor and of the kernel's Xen devices, typed.
//!
//! - [`Xen`]: hypercalls, from `/dev/xen/privcmd`; a module for each of them: [`version`], [`sysctl`], [`domctl`],
//!   [`memory`], [`scheduler`], [`pool`], [`state`].
//! - [`EventChannels`], [`Grants`], [`Foreign`]: `/dev/xen/evtchn`, `/dev/xen/gntdev`, frames of other domains;
//!   [`SharedPage`] and [`ring`]: what a daemon has of a guest.
//! - [`Region`], [`Heritage`], [`Signals`], [`process`]: what outlives a process, for daemons.
//! - [`Error`]: what was being done, the errno, and the hypervisor's reason where it has one.
//!
//! All unsafe code of the tools stands in `linux/`. Everything else goes through [`Gate`], which has a second
//! implementation: with the feature `testing` the hypervisor's own logic, built for the host.

#![deny(unsafe_code)]

mod call;
mod cpus;
mod create;
pub mod domctl;
mod error;
mod gate;
#[allow(unsafe_code)]
mod linux;
pub mod memory;
pub mod pool;
pub mod ring;
pub mod scheduler;
mod shared_page;
pub mod state;
pub mod sysctl;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod version;
pub mod why;

pub use call::{Buffer, Xen};
pub use cpus::Cpus;
pub use error::{Error, Result};
pub use gate::{Gate, Memory};
pub use linux::{
    EventChannels, Foreign, GrantMapping, Grants, LoopDevice, Mapping, Port, Privcmd, StorePage,
};
pub use linux::{HEAD_WORDS, Heritage, Region, Signal, Signals, keep_on_exec};
pub use linux::{clock, peek, process};
pub use shared_page::SharedPage;

/// Number of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(pub u16);

impl std::fmt::Display for DomId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
