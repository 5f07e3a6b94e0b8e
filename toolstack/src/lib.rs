//! What `xl` and every other manager of guests share: the guests' configuration files, kernel
//! images, the hand-shakes of devices.
//!
//! [`config`] reads xl.cfg files and says what is wrong with them, [`image`] unpacks kernels and keeps them, [`build`] makes
//! domains of both. [`store`] is
//! a client of the store, [`watch`] is told what changes in it, [`names`] finds domains and pools by what people call
//! them. [`memory`] changes what a guest has while it runs, [`devices`] are what it has besides, [`destroy`] ends it, as
//! [`create`] makes it; [`hotplug`] and [`host`] prepare its devices, [`life`] waits
//! for its end, [`attach`] changes what it has meanwhile;
//! [`pools`] of CPUs are made and ended. [`save`] makes files of guests and guests of files, [`dump`] files for debuggers.
//! Nothing in this crate prints or exits; messages are values.

#![forbid(unsafe_code)]

pub mod attach;
pub mod build;
pub mod config;
pub mod create;
pub mod destroy;
pub mod devices;
pub mod dom0;
pub mod dump;
pub mod host;
pub mod hotplug;
pub mod image;
pub mod life;
pub mod memory;
pub mod names;
pub mod pools;
pub mod save;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod watch;
