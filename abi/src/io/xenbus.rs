//! `xen/io/xenbus.h`: states of a device's two ends, in xenstore's `state` nodes.

pub const XENBUS_STATE_UNKNOWN: u32 = 0;
pub const XENBUS_STATE_INITIALISING: u32 = 1;
/// Finished early initialisation, waits for the peer.
pub const XENBUS_STATE_INIT_WAIT: u32 = 2;
/// Initialised, waits for a connection from the peer.
pub const XENBUS_STATE_INITIALISED: u32 = 3;
pub const XENBUS_STATE_CONNECTED: u32 = 4;
pub const XENBUS_STATE_CLOSING: u32 = 5;
pub const XENBUS_STATE_CLOSED: u32 = 6;
pub const XENBUS_STATE_RECONFIGURING: u32 = 7;
pub const XENBUS_STATE_RECONFIGURED: u32 = 8;
