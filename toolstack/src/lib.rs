//! What `xl` and every other manager of guests share: the guests' configuration files, kernel
//! images, the hand-shakes of devices.
//!
//! [`config`] reads xl.cfg files and says what is wrong with them. Nothing in this crate prints
//! or exits; messages are values.

#![forbid(unsafe_code)]

pub mod config;
