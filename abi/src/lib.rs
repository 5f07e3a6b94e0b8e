//! The Xen ABI: every public structure, constant, errno and handle, one file per public header.
#![no_std]
#![forbid(unsafe_code)]
