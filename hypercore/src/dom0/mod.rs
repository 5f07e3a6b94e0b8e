//! The first domain: from a kernel file in memory to a PV guest ready to run.
//!
//! [`bzimage`] finds the compressed kernel in the file, [`decompress`] unpacks it, [`elf`] and
//! [`notes`] say where it wants to be and what it can do, [`layout`] where everything goes,
//! [`memory`] in which frames and [`contents`] what is in them; [`build`] carries that out. Tools make other domains with
//! the same parts.

pub mod build;
pub mod bzimage;
pub mod contents;
pub mod decompress;
pub mod elf;
pub mod error;
pub mod hypercall_page;
pub mod layout;
pub mod memory;
pub mod notes;

pub use error::ImageError;

#[cfg(test)]
mod real;
