//! `xen/hypfs.h`: hypfs_op, the hypervisor's parameters as a tree.

pub const XEN_HYPFS_VERSION: u32 = 1;
/// Bytes of a path, the terminating zero included.
pub const XEN_HYPFS_MAX_PATHLEN: usize = 1024;

// hypfs_op commands.
pub const XEN_HYPFS_OP_GET_VERSION: u32 = 0;
pub const XEN_HYPFS_OP_READ: u32 = 1;
pub const XEN_HYPFS_OP_WRITE_CONTENTS: u32 = 2;

// HypfsDirentry::type_.
pub const XEN_HYPFS_TYPE_DIR: u8 = 0;
pub const XEN_HYPFS_TYPE_BLOB: u8 = 1;
pub const XEN_HYPFS_TYPE_STRING: u8 = 2;
pub const XEN_HYPFS_TYPE_UINT: u8 = 3;
pub const XEN_HYPFS_TYPE_INT: u8 = 4;
pub const XEN_HYPFS_TYPE_BOOL: u8 = 5;
// HypfsDirentry::encoding.
pub const XEN_HYPFS_ENC_PLAIN: u8 = 0;
pub const XEN_HYPFS_ENC_GZIP: u8 = 1;

abi_struct! {
    /// `struct xen_hypfs_direntry` (hypervisor → tools).
    pub struct HypfsDirentry [12] {
        pub type_: u8,
        pub encoding: u8,
        pub pad: u16,
        /// Bytes.
        pub content_len: u32,
        /// Bytes; 0 cannot be written.
        pub max_write_len: u32,
    }
}
