//! Configuration files: from text to what is to be created.
//!
//! [`syntax`] is the grammar that xl.cfg(5) and xl.conf(5) share, [`diagnostic`] what is said about
//! a file, with the place in it.

pub mod diagnostic;
pub mod syntax;

pub use diagnostic::{Diagnostic, Report, Severity, Span};
