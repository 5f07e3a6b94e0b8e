//! `xen/io/protocols.h`: names of ring layouts in xenstore's `protocol` nodes.

pub const XEN_IO_PROTO_ABI_X86_32: &str = "x86_32-abi";
pub const XEN_IO_PROTO_ABI_X86_64: &str = "x86_64-abi";
