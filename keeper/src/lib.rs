//! What outlives a daemon's process, so that `kill -9` costs its clients no more than a delay.
//!
//! A daemon is two processes: the *worker*, which does everything, and the *keeper*, which waits. They share one table of
//! descriptors (`clone(2)` with `CLONE_FILES`), so that whatever the worker opens or accepts is the keeper's in the same
//! instant: nothing is handed over, and there is no moment in which a connection belongs to one process only. The worker's
//! memory that must last is a [`Region`]: pages of a memfd, which lives as long as a descriptor of it does.
//!
//! Each watches the other by a pidfd. **Whoever is left executes the program anew**: it keeps the descriptors, becomes the
//! worker ([`Life::number`] says that it is not the first), finds its memory again and clones a new keeper. A live update
//! is the same step with another program ([`Life::again`]). Only when both are killed within the same few milliseconds is
//! anything lost; the keeper is called `xen-keeper`, so that `pkill -9` of the daemon does not do that.
//!
//! What a killed process was just doing to a stream is settled by asking the kernel: [`Outlet`] says what had been sent,
//! [`Inlet`] what had been taken ([`Feed`] and [`intake`] do the same for Unix sockets, in fewer steps); or a message is received whole into a slot of the region that showed before whether it had
//! come.
#![forbid(unsafe_code)]

pub mod background;
mod feed;
mod inlet;
pub mod intake;
mod life;
mod outlet;
#[cfg(feature = "testing")]
pub mod testing;

pub use feed::Feed;
pub use inlet::{Came, Inlet};
pub use life::Life;
pub use outlet::{Outlet, Passed};
pub use xenctl::{Region, Signal, Signals};
