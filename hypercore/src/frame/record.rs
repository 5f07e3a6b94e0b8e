//! The 16-byte frame record: two 64-bit atomics.
//!
//! `a` = owner (63..=48), uncached (47), foreign (46), state (45..=44), allocated (43), existence count
//! (42..=0).
//! `b` = type (63..=60), validated (59), pinned (58), partial (57), locked (56), type count (55..=32),
//! and a union (31..=0): TLB stamp of a frame that nobody uses as its type; of a table that somebody does, or that
//! is partial, how it takes part in linear mappings (31..=16) and, while partial, validation progress (15..=0:
//! entries `0..progress` of the table hold their references).
//!
//! A partial table has type count 0, and its `partial` mark holds one existence reference; a type count
//! without `validated` is a CPU that validates or devalidates it right now.

use crate::ids::DomId;
use core::sync::atomic::AtomicU64;

/// One per machine frame of RAM.
#[repr(C, align(16))]
#[derive(Debug, Default)]
pub struct FrameRecord {
    pub(super) a: AtomicU64,
    pub(crate) b: AtomicU64,
}

const _: () = assert!(size_of::<FrameRecord>() == 16);

/// Who may use a frame at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameState {
    /// Not RAM, firmware, or the hypervisor's own: nobody gets a reference.
    Reserved = 0,
    /// In the allocator.
    Free = 1,
    /// Belongs to a domain (owner).
    Domain = 2,
    /// The hypervisor's, shared with a domain (shared_info, grant frames): owner may map it, and it is never
    /// counted in the domain's memory. [`DomId::XEN`]'s are read by tools of the first domain.
    Shared = 3,
}

/// Word `a`, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct A(pub u64);

impl A {
    pub const COUNT: u64 = (1 << 43) - 1;
    pub const ALLOCATED: u64 = 1 << 43;
    /// Mapped by a domain that does not own it, at least once since it was assigned.
    pub const FOREIGN: u64 = 1 << 46;
    /// Mapped with an uncached or write-combining attribute, at least once since it was assigned.
    pub const UNCACHED: u64 = 1 << 47;
    pub const fn new(owner: DomId, state: FrameState, allocated: bool, count: u64) -> Self {
        Self((owner.0 as u64) << 48 | (state as u64) << 44 | (allocated as u64) << 43 | count)
    }
    pub const fn owner(self) -> DomId {
        DomId((self.0 >> 48) as u16)
    }
    pub const fn state(self) -> FrameState {
        match self.0 >> 44 & 3 {
            1 => FrameState::Free,
            2 => FrameState::Domain,
            3 => FrameState::Shared,
            _ => FrameState::Reserved,
        }
    }
    pub const fn allocated(self) -> bool {
        self.0 & Self::ALLOCATED != 0
    }
    pub const fn count(self) -> u64 {
        self.0 & Self::COUNT
    }
    pub const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
}

/// What a frame is used as; at most one use at a time, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameType {
    None = 0,
    L1 = 1,
    L2 = 2,
    L3 = 3,
    L4 = 4,
    /// Holds segment descriptors (GDT or LDT page).
    SegDesc = 5,
    Writable = 6,
}

impl FrameType {
    pub const fn from_bits(b: u64) -> Self {
        match b {
            1 => Self::L1,
            2 => Self::L2,
            3 => Self::L3,
            4 => Self::L4,
            5 => Self::SegDesc,
            6 => Self::Writable,
            _ => Self::None,
        }
    }
    /// Page-table level 1..=4, if it is a table.
    pub const fn level(self) -> Option<u8> {
        match self {
            Self::L1 => Some(1),
            Self::L2 => Some(2),
            Self::L3 => Some(3),
            Self::L4 => Some(4),
            _ => None,
        }
    }
    pub const fn table(level: u8) -> Self {
        match level {
            1 => Self::L1,
            2 => Self::L2,
            3 => Self::L3,
            _ => Self::L4,
        }
    }
}

/// How a table takes part in linear mappings: entries that refer to a table of their own level, another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Linear {
    /// So many of its entries refer to others.
    Refers(u16),
    /// So many entries of others refer to it (more than 0).
    Referred(u16),
}

impl Linear {
    /// Most that can be counted.
    pub const MAX: u16 = 0x7fff;
}

/// Word `b`, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct B(pub u64);

impl B {
    pub const COUNT_SHIFT: u32 = 32;
    pub const COUNT_ONE: u64 = 1 << 32;
    pub const COUNT_MAX: u64 = (1 << 24) - 1;
    pub const COUNT: u64 = Self::COUNT_MAX << 32;
    pub const LOCKED: u64 = 1 << 56;
    pub const PARTIAL: u64 = 1 << 57;
    pub const PINNED: u64 = 1 << 58;
    pub const VALIDATED: u64 = 1 << 59;
    pub const TYPE_SHIFT: u32 = 60;
    pub const UNION: u64 = 0xffff_ffff;
    pub const fn kind(self) -> FrameType {
        FrameType::from_bits(self.0 >> Self::TYPE_SHIFT)
    }
    pub const fn count(self) -> u64 {
        self.0 >> 32 & Self::COUNT_MAX
    }
    pub const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
    /// TLB stamp.
    pub const fn union(self) -> u32 {
        self.0 as u32
    }
    /// Validation progress of a partial table.
    pub const fn progress(self) -> usize {
        (self.0 & 0xffff) as usize
    }
    pub const fn with_progress(self, entries: usize) -> Self {
        Self(self.0 & !0xffff | entries as u64 & 0xffff)
    }
    /// Of a table with a type count, or a partial one.
    pub const fn linear(self) -> Linear {
        let n = (self.0 >> 16) as u16;
        if n > Linear::MAX { Linear::Referred(n & Linear::MAX) } else { Linear::Refers(n) }
    }
    pub const fn with_linear(self, linear: Linear) -> Self {
        let n = match linear {
            Linear::Refers(n) => n,
            Linear::Referred(n) => n | !Linear::MAX,
        };
        Self(self.0 & !0xffff_0000 | (n as u64) << 16)
    }
    pub const fn with_type(self, t: FrameType) -> Self {
        Self(self.0 & !(0xf << Self::TYPE_SHIFT) | (t as u64) << Self::TYPE_SHIFT)
    }
    pub const fn with_union(self, u: u32) -> Self {
        Self(self.0 & !Self::UNION | u as u64)
    }
}
