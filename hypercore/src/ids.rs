//! Newtypes for the numbers that cross functions.

macro_rules! id {
    ($(#[$m:meta])* $name:ident($t:ty)) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $t);
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

id!(/** Machine frame number: a 4 KiB frame of real memory. */ Mfn(u64));
id!(/** Guest frame number: for PV the same as [`Mfn`], for translated guests theirs. */ Gfn(u64));
id!(/** Pseudo-physical frame number of a PV guest. */ Pfn(u64));
id!(/** A physical CPU, 0-based and dense. */ CpuId(u32));
id!(/** A vCPU within its domain. */ VcpuId(u32));
id!(/** An event-channel port within its domain. */ Port(u32));
id!(/** Index into a domain's grant table. */ GrantRef(u32));
id!(/** A physical interrupt (GSI, or MSI allocated above the GSIs). */ Irq(u32));

/// A domain's number, or one of the reserved `DOMID_*`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct DomId(pub u16);

impl DomId {
    pub const DOM0: Self = Self(0);
    pub const FIRST_RESERVED: Self = Self(0x7ff0);
    pub const SELF: Self = Self(0x7ff0);
    pub const IO: Self = Self(0x7ff1);
    pub const XEN: Self = Self(0x7ff2);
    pub const COW: Self = Self(0x7ff3);
    pub const INVALID: Self = Self(0x7ff4);
    pub const IDLE: Self = Self(0x7fff);
    /// Whether a real domain can have this number.
    pub const fn is_real(self) -> bool {
        self.0 < Self::FIRST_RESERVED.0
    }
}

impl core::fmt::Debug for DomId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "d{}", self.0)
    }
}
impl core::fmt::Display for DomId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "d{}", self.0)
    }
}
