//! Xenolith's store: the database of paths and values by which a Xen system's parts find each other.
//!
//! [`Store`] is all of it, without any I/O: clients' bytes in, answers and watch events out, for
//! Unix sockets and guests' rings alike. The protocol is that of `xen/io/xs_wire.h` and Xen's
//! `docs/misc/xenstore.txt`.
#![forbid(unsafe_code)]

mod children;
mod connection;
mod control;
mod domains;
mod error;
mod kept;
mod ops;
mod path;
mod perms;
mod quota;
mod requests;
pub mod ring;
pub mod state;
mod store;
mod transaction;
mod tree;
pub mod turn;
mod watch;
pub mod wire;

#[cfg(test)]
mod tests;

pub use connection::{BACKLOG, Connection, Peer};
pub use control::Update;
pub use domains::Introduction;
pub use error::Error;
pub use path::Path;
pub use perms::{Access, Caller, Perm, Perms};
pub use quota::Quotas;
pub use store::{Domain, Effect, INTRODUCE_DOMAIN, RELEASE_DOMAIN, Store};
pub use tree::{Node, Tree};

/// A domain's number, as the ABI has it.
pub type DomId = u16;

/// A connection's number: never used twice.
pub type ConnId = u64;
