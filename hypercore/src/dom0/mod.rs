//! The first domain: from a kernel file in memory to a PV guest ready to run.
//!
//! [`bzimage`] finds the compressed kernel in the file, [`decompress`] unpacks it, [`elf`] and
//! [`notes`] say where it wants to be and what it can do, [`layout`] where everything goes and
//! [`memory`] in which frames;
//! [`build`] carries that out.

pub mod build;
pub mod bzimage;
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
