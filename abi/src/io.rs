//! `xen/io/`: what guests and back ends share in memory. The hypervisor only carries it; the tools
//! speak it.

pub mod console;
pub mod protocols;
pub mod ring;
pub mod xenbus;
pub mod xs_wire;
