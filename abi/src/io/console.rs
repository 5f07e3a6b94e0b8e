//! `xen/io/console.h`: the page of a PV console.

/// Bytes towards the guest.
pub const XENCONS_IN_SIZE: usize = 1024;
/// Bytes from the guest.
pub const XENCONS_OUT_SIZE: usize = 2048;

abi_struct! {
    /// `struct xencons_interface` (shared memory, both ways). Indexes run freely; masked by the
    /// ring's size they give a position.
    pub struct XenconsInterface [3088] {
        /// Backend → guest.
        pub in_: [u8; XENCONS_IN_SIZE],
        /// Guest → backend.
        pub out: [u8; XENCONS_OUT_SIZE],
        pub in_cons: u32,
        pub in_prod: u32,
        pub out_cons: u32,
        pub out_prod: u32,
    }
}
