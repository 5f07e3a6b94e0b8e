//! Configuration files: from text to what is to be created.
//!
//! [`syntax`] is the grammar that xl.cfg(5) and xl.conf(5) share, [`diagnostic`] what is said about
//! a file, with the place in it. [`read`] makes of a guest's file what [`model`] describes, which
//! also has its JSON form; [`check`] holds it against itself and the host; [`options`] knows every option's name, [`globals`] is xl.conf.

pub mod check;
pub mod diagnostic;
pub mod globals;
pub mod model;
pub mod options;
pub mod read;
pub mod syntax;

pub use diagnostic::{Diagnostic, Report, Severity, Span};
pub use globals::Globals;
pub use read::{Loaded, Surroundings, load};
