//! `xen/io/xs_wire.h`: xenstore's messages and its page in a guest.

// XsdSockmsg::type_.
pub const XS_CONTROL: u32 = 0;
pub const XS_DIRECTORY: u32 = 1;
pub const XS_READ: u32 = 2;
pub const XS_GET_PERMS: u32 = 3;
pub const XS_WATCH: u32 = 4;
pub const XS_UNWATCH: u32 = 5;
pub const XS_TRANSACTION_START: u32 = 6;
pub const XS_TRANSACTION_END: u32 = 7;
pub const XS_INTRODUCE: u32 = 8;
pub const XS_RELEASE: u32 = 9;
pub const XS_GET_DOMAIN_PATH: u32 = 10;
pub const XS_WRITE: u32 = 11;
pub const XS_MKDIR: u32 = 12;
pub const XS_RM: u32 = 13;
pub const XS_SET_PERMS: u32 = 14;
pub const XS_WATCH_EVENT: u32 = 15;
pub const XS_ERROR: u32 = 16;
pub const XS_IS_DOMAIN_INTRODUCED: u32 = 17;
pub const XS_RESUME: u32 = 18;
pub const XS_SET_TARGET: u32 = 19;
pub const XS_RESET_WATCHES: u32 = 21;
pub const XS_DIRECTORY_PART: u32 = 22;
/// Types there are.
pub const XS_TYPE_COUNT: u32 = 23;
pub const XS_INVALID: u32 = 0xffff;

/// Bytes of each direction's ring.
pub const XENSTORE_RING_SIZE: usize = 1024;
/// Bytes of a message after its head.
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// Bytes of an absolute path.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
/// Bytes of a path below the domain's own.
pub const XENSTORE_REL_PATH_MAX: usize = 2048;

// XenstoreDomainInterface::server_features.
pub const XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1;
pub const XENSTORE_SERVER_FEATURE_ERROR: u32 = 2;

// XenstoreDomainInterface::connection.
pub const XENSTORE_CONNECTED: u32 = 0;
/// The guest wants the connection set up anew.
pub const XENSTORE_RECONNECT: u32 = 1;

// XenstoreDomainInterface::error.
pub const XENSTORE_ERROR_NONE: u32 = 0;
pub const XENSTORE_ERROR_COMM: u32 = 1;
pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
pub const XENSTORE_ERROR_PROTO: u32 = 3;

abi_struct! {
    /// `struct xsd_sockmsg`: the head of a message (both ways).
    pub struct XsdSockmsg [16] {
        /// `XS_*`.
        pub type_: u32,
        /// Chosen by the client, echoed in the answer.
        pub req_id: u32,
        /// Transaction, 0 for none.
        pub tx_id: u32,
        /// Bytes that follow, at most `XENSTORE_PAYLOAD_MAX`.
        pub len: u32,
    }

    /// `struct xenstore_domain_interface` (shared memory, both ways). Indexes run freely.
    pub struct XenstoreDomainInterface [2076] {
        /// Guest → store.
        pub req: [u8; XENSTORE_RING_SIZE],
        /// Store → guest.
        pub rsp: [u8; XENSTORE_RING_SIZE],
        pub req_cons: u32,
        pub req_prod: u32,
        pub rsp_cons: u32,
        pub rsp_prod: u32,
        pub server_features: u32,
        pub connection: u32,
        pub error: u32,
    }
}
