//! [`Pages`]: the memory of a guest, by page number.

use abi::Errno;
use xenctl::{DomId, Error, Result, Xen};

use crate::config::model::BuildInfo;

/// KiB of a guest whose configuration does not say.
pub const DEFAULT_KIB: u64 = 32 << 10;
/// log2 of the pages of a large extent, 2 MiB: what one entry of a level-2 table covers.
const LARGE: u32 = 9;

/// KiB a guest has at its start.
pub fn target_kib(info: &BuildInfo) -> u64 {
    info.target_memkb.or(info.max_memkb).unwrap_or(DEFAULT_KIB)
}

/// KiB a guest may ever have.
pub fn most_kib(info: &BuildInfo) -> u64 {
    info.max_memkb.unwrap_or(DEFAULT_KIB).max(target_kib(info))
}

/// Pages a guest has at its start.
pub fn target_pages(info: &BuildInfo) -> u64 {
    target_kib(info) / 4
}

/// Machine frames of a guest's pages: page `i` is in the `i`-th.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    pub frames: Vec<u64>,
}

impl Pages {
    /// Gives the domain `count` pages, numbered from 0 on, in large extents as far as there are any. With `claim` they
    /// are set aside first, so that either all of them are there or none is taken.
    pub fn give(xen: &Xen, domain: DomId, count: u64, claim: bool) -> Result<Self> {
        let doing = || format!("giving domain {domain} {} MiB of memory", count >> 8);
        let more = "free some: xl mem-set of another guest or of Domain-0";
        if claim {
            xen.claim_pages(domain, count).map_err(|e| Error { doing: doing(), ..e })?;
        }
        let mut pages = Self { frames: Vec::with_capacity(count as usize) };
        let numbers: Vec<u64> = (0..count >> LARGE).map(|n| n << LARGE).collect();
        for first in xen.populate(domain, LARGE, &numbers)? {
            pages.frames.extend(first..first + (1 << LARGE));
        }
        let numbers: Vec<u64> = (pages.frames.len() as u64..count).collect();
        pages.frames.extend(xen.populate(domain, 0, &numbers)?);
        if claim {
            xen.claim_pages(domain, 0)?;
        }
        match pages.frames.len() as u64 {
            given if given == count => Ok(pages),
            given => {
                let why = format!("there are only {} MiB; {more}", given >> 8);
                Err(Error::new(doing(), Errno::ENOMEM).because(why))
            }
        }
    }
}
