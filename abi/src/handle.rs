//! `XEN_GUEST_HANDLE`: an address in the caller's address space, as a guest passes it in a structure.

use core::fmt;

/// A guest address (`XEN_GUEST_HANDLE`, `XEN_GUEST_HANDLE_64`), not yet checked against the
/// hypervisor's range and possibly unmapped. The pointee is named in each field's documentation.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct GuestHandle(u64);

impl GuestHandle {
    /// The null handle, which many calls read as "only tell me the size".
    pub const NULL: Self = Self(0);

    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// The guest linear address.
    pub const fn addr(self) -> u64 {
        self.0
    }

    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for GuestHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestHandle({:#x})", self.0)
    }
}
