//! `xen/io/ring.h`: the head of a request and response ring.

abi_struct! {
    /// The head of `struct NAME_sring` (shared memory, both ways); the entries follow, a power of
    /// two of them. Indexes run freely.
    pub struct SringHead [64] {
        /// Requests produced by the front end.
        pub req_prod: u32,
        /// Notify the back end when `req_prod` passes it.
        pub req_event: u32,
        /// Responses produced by the back end.
        pub rsp_prod: u32,
        /// Notify the front end when `rsp_prod` passes it.
        pub rsp_event: u32,
        pub pvt: [u8; 4],
        pub __pad: [u8; 44],
    }
}

/// Entries of a ring of `bytes` whose larger of request and response has `entry` bytes.
pub const fn ring_size(bytes: usize, entry: usize) -> usize {
    let room = (bytes - size_of::<SringHead>()) / entry;
    1 << room.ilog2()
}

#[cfg(test)]
mod tests {
    use super::ring_size;

    #[test]
    fn block_and_network_rings_have_their_known_sizes() {
        assert_eq!(ring_size(4096, 112), 32);
        assert_eq!(ring_size(4096, 12), 256);
    }
}
