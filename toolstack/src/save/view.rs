//! [`View`]: the memory of a guest that stands still, as it numbers its pages itself.

use std::mem::offset_of;

use abi::Errno;
use abi::arch_x86::ArchSharedInfo;
use abi::xen::SharedInfo;
use xenctl::{DomId, Error, Result, Xen};
use zerocopy::FromBytes;

use super::image::{Kind, PAGE};
use super::p2m::{self, P2m};

/// A page, its frame, and what that is used as.
pub type Page = (u64, u64, Kind);

/// What of a guest's memory there is.
pub struct View {
    /// The page shared_info.
    pub shared: Vec<u8>,
    /// The guest's list of its frames.
    pub list: P2m,
    /// Pages the guest really has, in order.
    pub pages: Vec<Page>,
}

impl View {
    /// # Errors
    /// A guest without a list of its frames, or with one that cannot be.
    pub fn of(xen: &Xen, domain: DomId) -> Result<Self> {
        let doing = || format!("looking at the memory of domain {domain}");
        let info = xen.domain(domain)?.ok_or_else(|| Error::new(doing(), Errno::ESRCH))?;
        let shared = contents(xen, domain, &[info.shared_info_frame])?;
        let arch = ArchSharedInfo::read_from_prefix(&shared[offset_of!(SharedInfo, arch)..]);
        let (arch, _) = arch.map_err(|_| Error::new(doing(), Errno::EINVAL))?;
        let list = p2m::read(xen, domain, &arch, info.tot_pages)?;
        let frames: Vec<u64> = list.pages.iter().map(|(_, frame)| *frame).collect();
        let kinds = xen.frame_types(domain, &frames)?.into_iter().map(Kind::of);
        let pages = list.pages.iter().zip(kinds).map(|((page, frame), kind)| (*page, *frame, kind));
        // What its list has beyond them is none of its own.
        let pages = pages.filter(|(_, _, kind)| kind.is_there()).collect();
        Ok(Self { shared, list, pages })
    }
}

/// What is in these frames of the guest, one page after the other.
pub fn contents(xen: &Xen, domain: DomId, frames: &[u64]) -> Result<Vec<u8>> {
    let mut bytes = vec![0; frames.len() * PAGE];
    if !frames.is_empty() {
        xen.frames(domain, frames, false)?.read(0, &mut bytes);
    }
    Ok(bytes)
}
