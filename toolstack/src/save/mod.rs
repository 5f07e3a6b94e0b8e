//! Saved PV guests: files that stock `xl` writes and reads as well.
//!
//! [`file`] is what stands around a guest: the configuration it was made from. [`image`] is the guest's stream, of records
//! that [`wire`] cuts. Neither does anything but read and write, and both refuse what cannot be. [`write`] makes a stream of
//! a guest that stands still, [`read`] fills a domain from one; between the two the guest's frames are numbered as it
//! numbers them itself: in its page tables ([`tables`]), its list of frames ([`p2m`]), its registers ([`vcpu`]). [`suspend`] has a guest stand
//! still.

pub mod file;
pub mod image;
pub mod p2m;
pub mod read;
pub mod suspend;
pub mod tables;
#[cfg(test)]
pub mod tests;
pub mod vcpu;
pub mod view;
pub mod wire;
pub mod write;
