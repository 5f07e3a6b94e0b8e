//! What Xenolith serves beyond the Xen ABI: one hypercall of its own, which Xen answers with ENOSYS.
//!
//! `xenolith_op(cmd, arg)`: `cmd` is a `XENOLITH_*`, `arg` the address of its structure.

/// Number of `xenolith_op`. Below 128, so that it has a stub in each guest's hypercall page.
pub const HYPERVISOR_XENOLITH_OP: u32 = 96;

/// Why hypercalls of the caller's domain were refused: [`XenolithWhy`], in and out.
/// ENOENT: fewer refusals are kept. EINVAL: no such vCPU.
///
/// A tool that wants to know why a call of its own was refused puts this one right after it in one multicall:
/// nothing comes between the two.
pub const XENOLITH_WHY: u32 = 0;

/// [`XenolithWhy::command`] of a list of operations that was refused as a whole.
pub const XENOLITH_WHY_NO_OPERATION: u32 = u32::MAX;

/// [`XenolithWhy::vcpu`]: the vCPU that asks.
pub const XENOLITH_WHY_THIS_VCPU: u32 = u32::MAX;
/// Links of a chain of reasons.
pub const XENOLITH_WHY_LINKS: usize = 4;
/// Bytes of [`XenolithWhy::text`].
pub const XENOLITH_WHY_TEXT: usize = 256;

abi_struct! {
    /// One reason of a chain.
    pub struct XenolithWhyLink [24] {
        /// Names the reason; the same for the same words in every build.
        pub code: u32,
        pub _pad: u32,
        /// What the words speak of: an argument, a limit. Only the caller's own numbers stand here.
        pub values: [u64; 2],
    }

    /// Argument of [`XENOLITH_WHY`].
    pub struct XenolithWhy [384] {
        /// In: a vCPU of the caller's domain, or [`XENOLITH_WHY_THIS_VCPU`].
        pub vcpu: u32,
        /// In: which refusal; 0 is the latest.
        pub index: u32,
        /// Out: how many refusals the vCPU had with this one.
        pub number: u64,
        /// Out: the hypercall, and its command or operation (0 where it has none,
        /// [`XENOLITH_WHY_NO_OPERATION`] where none was looked at).
        pub hypercall: u32,
        pub command: u32,
        /// Out: what it answered: a negative errno, for `grant_table_op` also a `GNTST_*`.
        pub error: i32,
        /// Out: how many of `chain` there are, innermost first. 0: no reason was noted.
        pub links: u32,
        pub chain: [XenolithWhyLink; XENOLITH_WHY_LINKS],
        /// Out: the chain in words, outermost first; ends with a NUL.
        pub text: [u8; XENOLITH_WHY_TEXT],
    }
}
