//! The host's machine: the same hypervisor logic over a vector of atomics.
//!
//! - [`machine`]: [`HostMachine`], frames, a software page walk with a translation cache per CPU (so that a
//!   missing flush shows), a clock, recorded kicks and flushes.
//! - [`fuzz`]: random hypercall sequences.
//! - [`kernel`]: a guest's page tables and its hypercalls.
//! - [`world`]: a small hypervisor around it, dom0 and PV guests with page tables.
//! - [`scratch`]: guest addresses for hypercall arguments, without a guest; [`tool`]: a bed for tools' calls.
//!
//! A thread chooses which simulated CPU it is with [`machine::set_cpu`].

pub mod devices;
pub mod fuzz;
pub mod kernel;
pub mod machine;
pub mod neighbours;
pub mod scratch;
pub mod shortage;
pub mod tool;
pub mod world;

pub use kernel::Kernel;
pub use machine::HostMachine;
pub use scratch::Scratch;
pub use world::{Guest, World};
