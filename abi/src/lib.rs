//! The Xen ABI: every public structure, constant, errno and handle, one file per public header.
//!
//! The public headers are the authority. `tests/layout.rs` compiles a C program against them and
//! compares the size of every structure and the offset of every field with what stands here.
//!
//! How C becomes Rust:
//! - `EVTCHNOP_alloc_unbound` is [`event_channel::EVTCHNOP_ALLOC_UNBOUND`]: the header's name in capitals.
//! - `struct xen_memory_reservation` is [`memory::MemoryReservation`]; field names stay, except that
//!   Rust's keywords gain an underscore (`ref_`, `type_`, `in_`).
//! - Padding is spelled out (`_pad0`), so that every structure can be read from and written to bytes
//!   without `unsafe`, and never leaks what was in memory before.
//! - A union is its largest raw field plus methods, or a structure per arm.
//! - What a guest chose (commands, types, flags) stays an integer; callers validate.
#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
mod layout;

pub mod arch_x86;
pub mod callback;
pub mod cpu_policy;
pub mod cpufeatureset;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod features;
pub mod grant_table;
pub mod handle;
pub mod hvm_op;
pub mod hvm_params;
pub mod hvm_start_info;
pub mod hvm_vcpu;
pub mod hypfs;
pub mod io;
pub mod kexec;
pub mod memory;
pub mod nmi;
pub mod physdev;
pub mod platform;
pub mod pmu;
pub mod sched;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod xen;
pub mod xen_mca;
pub mod xenolith;

pub use errno::Errno;
pub use handle::GuestHandle;
#[doc(hidden)]
pub use layout::FieldLayout;
