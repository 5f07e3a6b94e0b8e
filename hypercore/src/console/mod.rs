//! The decisions of the hypervisor's console: which message is printed ([`level`]), what `xl dmesg` shows
//! ([`ring`]), how lines are marked ([`lines`]), and who hears the keyboard ([`switch`]). The serial port
//! itself belongs to the `hypervisor` crate.

pub mod level;
pub mod lines;
pub mod ring;
pub mod stamp;
pub mod switch;
