//! Xenolith on bare metal: the platform under `hypercore`'s decisions.
//!
//! Boot ([`boot`]) brings up memory ([`mm`]), processors ([`cpu`], [`percpu`], [`smp`]), exceptions and
//! interrupts ([`trap`], [`apic`], [`irq`]), clocks ([`time`]) and the console ([`console`]), then calls
//! [`hooks::main`]. Interrupts are off in here but while idle ([`guest::idle`]).
#![no_std]
#![no_main]

extern crate alloc;

mod apic;
mod boot;
mod console;
mod cpu;
mod guest;
mod hooks;
mod irq;
mod layout;
mod mca;
mod mm;
mod panic;
mod percpu;
mod power;
mod smp;
mod snapshot;
#[allow(clippy::disallowed_methods, reason = "at boot, where there is nobody to refuse")]
mod start;
mod symbols;
mod sync;
mod time;
mod trap;
mod watchdog;
