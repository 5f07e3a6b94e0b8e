//! Machine frames: their records, references to them, and the allocator of free ones.
//!
//! - [`record`]: the 16-byte record and its bit layout.
//! - [`table`]: [`FrameTable`], all records; existence references ([`FrameRef`]) and their release.
//! - [`proof`]: what [`crate::machine::Frames`] demands before it touches contents.
//! - [`stamp`]: which CPUs may still cache translations of a frame.
//! - [`alloc`]: the free-frame allocator and scrubbing state, made of `bitmap`s.

pub mod alloc;
mod bitmap;
pub mod proof;
pub mod record;
pub mod stamp;
pub mod table;

pub use proof::{CanRead, CanWrite, HvFrame, WritableRef};
pub use record::{FrameRecord, FrameType};
pub use table::{FrameRef, FrameTable};
