//! The inner stream, which holds a PV guest itself: `libxc-migration-stream` of Xen's documentation, version 3.
//!
//! Version 2, which tools before Xen 4.14 wrote, has the same records but for the CPU policy and the end of what does not
//! change, and is read as well. Frames are numbered as the guest numbers them throughout; see [`super::tables`].

use std::io::{Read, Write};

use abi::cpu_policy::{CpuidLeaf, MsrEntry};
use abi::domctl::{DomctlTscInfo, XEN_DOMCTL_PFINFO_LTAB_SHIFT};
use xenctl::Result;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::wire::{OPTIONAL, damaged, get, get_record, half, put, put_record, word};

pub const PAGE: usize = 4096;
/// Pages in a record, at most.
pub const BATCH: usize = 1024;
/// A page's number has fewer bits than this: 512 GiB, the most the tables' list of a guest covers.
const PFN_LIMIT: u64 = 1 << 27;
const PFN_MASK: u64 = (1 << 52) - 1;
/// vCPUs a domain may have.
const VCPU_LIMIT: u32 = 8192;

const MARKER: u64 = u64::MAX;
const ID: u32 = 0x5845_4e46;
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const X86_PV: u32 = 1;
const PAGE_SHIFT: u16 = 12;
/// Bytes of an address, levels of page tables.
const PV64: [u8; 8] = [8, 4, 0, 0, 0, 0, 0, 0];

const END: u32 = 0x00;
const PAGE_DATA: u32 = 0x01;
const X86_PV_INFO: u32 = 0x02;
const X86_PV_P2M_FRAMES: u32 = 0x03;
const X86_PV_VCPU_BASIC: u32 = 0x04;
const X86_PV_VCPU_EXTENDED: u32 = 0x05;
const X86_PV_VCPU_XSAVE: u32 = 0x06;
const SHARED_INFO: u32 = 0x07;
const X86_TSC_INFO: u32 = 0x08;
const X86_PV_VCPU_MSRS: u32 = 0x0c;
const VERIFY: u32 = 0x0d;
const CHECKPOINT: u32 = 0x0e;
const STATIC_DATA_END: u32 = 0x10;
const X86_CPUID_POLICY: u32 = 0x11;
const X86_MSR_POLICY: u32 = 0x12;

/// What a page is used as: `XEN_DOMCTL_PFINFO_*`, shifted to the lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    pub const NORMAL: Self = Self(0);
    const BROKEN: u8 = 0xd;
    /// Of the answer of `Xen::frame_types`.
    pub fn of(info: u32) -> Self {
        Self((info >> XEN_DOMCTL_PFINFO_LTAB_SHIFT) as u8)
    }

    fn known(self) -> bool {
        !(5..=8).contains(&self.0) && self.0 < 16
    }

    /// Whether there is a page, with contents.
    pub fn has_contents(self) -> bool {
        self.0 < Self::BROKEN
    }

    /// Whether there is a page, which may be empty.
    pub fn is_there(self) -> bool {
        self.has_contents() || self.0 == 0xe
    }

    /// Of a page table, 1 to 4.
    pub fn level(self) -> Option<u8> {
        match self.0 & 7 {
            level @ 1..=4 if self.has_contents() => Some(level),
            _ => None,
        }
    }

    pub fn is_pinned(self) -> bool {
        self.has_contents() && self.0 & 8 != 0
    }
}

/// Which blob of a vCPU's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Basic,
    Extended,
    Xsave,
    Msrs,
}

impl Part {
    const ALL: [(Self, u32); 4] = [
        (Self::Basic, X86_PV_VCPU_BASIC),
        (Self::Extended, X86_PV_VCPU_EXTENDED),
        (Self::Xsave, X86_PV_VCPU_XSAVE),
        (Self::Msrs, X86_PV_VCPU_MSRS),
    ];

    fn kind(self) -> u32 {
        Self::ALL[self as usize].1
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A 64-bit PV guest's: the only one there is here.
    PvInfo,
    Leaves(Vec<CpuidLeaf>),
    Msrs(Vec<MsrEntry>),
    StaticDataEnd,
    /// Pages with the guest's list of frames, of page numbers `start` to `end`.
    P2mFrames {
        start: u32,
        end: u32,
        pages: Vec<u64>,
    },
    /// Page numbers with what each is used as, and the contents of those that have any.
    Pages(Vec<(u64, Kind)>, Vec<u8>),
    Clock(DomctlTscInfo),
    SharedInfo(Vec<u8>),
    Vcpu(Part, u32, Vec<u8>),
    Verify,
    End,
}

/// Writes the two headers; the hypervisor's version is told.
pub fn begin(to: &mut dyn Write, (major, minor): (u32, u32)) -> Result<()> {
    put(to, &MARKER.to_be_bytes())?;
    put(to, &[ID, *VERSIONS.end(), 0, 0].map(u32::to_be_bytes).concat())?;
    put(to, &X86_PV.to_le_bytes())?;
    put(to, &PAGE_SHIFT.to_le_bytes())?;
    put(to, &[0, 0])?;
    put(to, &[major, minor].map(u32::to_le_bytes).concat())
}

/// Reads the two headers; the version of the stream.
///
/// # Errors
/// Another guest than a PV guest of this machine's kind, another version.
pub fn open(from: &mut dyn Read) -> Result<u32> {
    let head: [u8; 24] = get(from)?;
    let [id, version, options] = [8, 12, 16].map(|at| half(&head, at).swap_bytes());
    if word(&head, 0) != MARKER || id != ID {
        return Err(damaged("the guest does not begin as one"));
    }
    if !VERSIONS.contains(&version) {
        return Err(damaged(format!("a guest of version {version} is not known here")));
    }
    // A word of 16 bits, and 16 reserved ones.
    if options >> 16 & 1 != 0 {
        return Err(damaged("it was saved on a machine of another byte order"));
    }
    let head: [u8; 16] = get(from)?;
    match (half(&head, 0), half(&head, 4) as u16) {
        (X86_PV, PAGE_SHIFT) => Ok(version),
        (X86_PV, shift) => Err(damaged(format!("its pages have 2^{shift} bytes"))),
        (kind, _) => Err(damaged(format!("it is a guest of kind {kind}; only PV guests (1) run here"))),
    }
}

impl Record {
    pub fn write(&self, to: &mut dyn Write) -> Result<()> {
        match self {
            Self::PvInfo => put_record(to, X86_PV_INFO, &[&PV64]),
            Self::Leaves(leaves) => put_record(to, X86_CPUID_POLICY, &[leaves.as_bytes()]),
            Self::Msrs(msrs) => put_record(to, X86_MSR_POLICY, &[msrs.as_bytes()]),
            Self::StaticDataEnd => put_record(to, STATIC_DATA_END, &[]),
            Self::P2mFrames { start, end, pages } => {
                put_record(to, X86_PV_P2M_FRAMES, &[[*start, *end].as_bytes(), pages.as_bytes()])
            }
            Self::Pages(pages, contents) => {
                let words: Vec<u64> = pages.iter().map(|(pfn, kind)| pfn | u64::from(kind.0) << 60).collect();
                put_record(to, PAGE_DATA, &[(pages.len() as u64).as_bytes(), words.as_bytes(), contents])
            }
            Self::Clock(clock) => {
                let first = [clock.tsc_mode, clock.gtsc_khz];
                let last = [clock.incarnation, 0];
                let parts = [first.as_bytes(), clock.elapsed_nsec.as_bytes(), last.as_bytes()];
                put_record(to, X86_TSC_INFO, &parts)
            }
            Self::SharedInfo(page) => put_record(to, SHARED_INFO, &[page]),
            Self::Vcpu(part, vcpu, state) => {
                put_record(to, part.kind(), &[u64::from(*vcpu).as_bytes(), state])
            }
            Self::Verify => put_record(to, VERIFY, &[]),
            Self::End => put_record(to, END, &[]),
        }
    }

    /// The next record, with those passed over that may be.
    ///
    /// # Errors
    /// A record that is not known, or whose body cannot be.
    pub fn read(from: &mut dyn Read) -> Result<Self> {
        loop {
            let raw = get_record(from)?;
            if raw.kind & OPTIONAL == 0 {
                return parse(raw.kind, raw.body);
            }
        }
    }
}

fn parse(kind: u32, body: Vec<u8>) -> Result<Record> {
    if let Some((part, _)) = Part::ALL.iter().find(|(_, number)| *number == kind) {
        return vcpu(*part, &body);
    }
    let empty = |record| if body.is_empty() { Ok(record) } else { Err(length(kind, &body)) };
    match kind {
        PAGE_DATA => pages(&body),
        X86_PV_INFO if body.get(..2) == Some(&PV64[..2]) => Ok(Record::PvInfo),
        X86_PV_INFO => Err(damaged("it is no 64-bit guest")),
        X86_PV_P2M_FRAMES => p2m_frames(&body),
        SHARED_INFO if body.len() == PAGE => Ok(Record::SharedInfo(body)),
        SHARED_INFO => Err(length(kind, &body)),
        X86_TSC_INFO => clock(&body),
        X86_CPUID_POLICY => list(kind, &body).map(Record::Leaves),
        X86_MSR_POLICY => list(kind, &body).map(Record::Msrs),
        STATIC_DATA_END => empty(Record::StaticDataEnd),
        VERIFY => empty(Record::Verify),
        END => empty(Record::End),
        CHECKPOINT => Err(damaged("it is a guest that was being mirrored, and never ends")),
        _ => Err(damaged(format!("record {kind:#x} is not known here"))),
    }
}

fn length(kind: u32, body: &[u8]) -> xenctl::Error {
    damaged(format!("record {kind:#x} cannot have {} bytes", body.len()))
}

fn list<T: FromBytes + Immutable>(kind: u32, body: &[u8]) -> Result<Vec<T>> {
    let one = size_of::<T>();
    if body.is_empty() || !body.len().is_multiple_of(one) {
        return Err(length(kind, body));
    }
    Ok(body.chunks(one).filter_map(|bytes| T::read_from_bytes(bytes).ok()).collect())
}

fn pfn(pfn: u64) -> Result<u64> {
    match pfn {
        pfn if pfn < PFN_LIMIT => Ok(pfn),
        pfn => Err(damaged(format!("page {pfn:#x} is beyond what a guest can have"))),
    }
}

fn pages(body: &[u8]) -> Result<Record> {
    let count = half(body, 0) as usize;
    let end = count.saturating_mul(8).saturating_add(8);
    if count == 0 || body.len() < end {
        return Err(damaged(format!("{count} pages in a record of {} bytes", body.len())));
    }
    let mut pages = Vec::with_capacity(count);
    for n in 1..=count {
        let word = word(body, n * 8);
        let kind = Kind((word >> 60) as u8);
        if !kind.known() {
            return Err(damaged(format!("a page of kind {:#x} is not known here", kind.0)));
        }
        pages.push((pfn(word & PFN_MASK)?, kind));
    }
    let full = pages.iter().filter(|(_, kind)| kind.has_contents()).count();
    if body.len() - end != full * PAGE {
        return Err(damaged(format!("{full} pages in {} bytes", body.len() - end)));
    }
    Ok(Record::Pages(pages, body[end..].to_vec()))
}

fn p2m_frames(body: &[u8]) -> Result<Record> {
    let (start, end) = (half(body, 0), half(body, 4));
    pfn(end.into())?;
    let pages = (end / 512 + 1).saturating_sub(start / 512) as usize;
    if start > end || body.len() != 8 + pages * 8 {
        return Err(damaged(format!("the list of pages {start:#x} to {end:#x} has {} bytes", body.len())));
    }
    let pages = (1..=pages).map(|n| pfn(word(body, n * 8))).collect::<Result<_>>()?;
    Ok(Record::P2mFrames { start, end, pages })
}

fn clock(body: &[u8]) -> Result<Record> {
    if body.len() != 24 {
        return Err(length(X86_TSC_INFO, body));
    }
    Ok(Record::Clock(DomctlTscInfo {
        tsc_mode: half(body, 0),
        gtsc_khz: half(body, 4),
        elapsed_nsec: word(body, 8),
        incarnation: half(body, 16),
        pad: 0,
    }))
}

fn vcpu(part: Part, body: &[u8]) -> Result<Record> {
    let vcpu = half(body, 0);
    match body.get(8..) {
        Some(_) if vcpu >= VCPU_LIMIT => Err(damaged(format!("it has a vCPU {vcpu}"))),
        Some(state) => Ok(Record::Vcpu(part, vcpu, state.to_vec())),
        None => Err(length(part.kind(), body)),
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
