//! What guests' devices are on the host: interfaces of bridges, block devices.

pub mod bridge;
pub mod network;
