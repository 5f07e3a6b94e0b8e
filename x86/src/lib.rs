//! Definitions of the x86-64 architecture. Executes no instruction.
#![no_std]
#![forbid(unsafe_code)]

pub mod cpuid;
pub mod pte;
pub mod regs;
