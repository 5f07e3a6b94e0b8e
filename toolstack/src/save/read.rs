//! [`guest`]: fills a domain without contents with what a stream has of a guest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::mem::{offset_of, size_of};

use abi::Errno;
use abi::arch_x86::{ArchSharedInfo, LEGACY_MAX_VCPUS};
use abi::xen::*;
use xenctl::state::Policy;
use xenctl::{DomId, Error, Result, Xen};
use zerocopy::{FromBytes, IntoBytes};

use super::image::{self, Kind, PAGE, Record};
use super::vcpu::Saved;
use super::wire::damaged;
use super::{p2m, tables};
use crate::build::ports::{self, Ends, Ports};

/// Machine frames of pages, by the page's number. Room grows with what is there, whatever the numbers are.
#[derive(Default)]
struct Frames {
    leaves: BTreeMap<u64, Box<[u64; 512]>>,
}

impl Frames {
    fn of(&self, page: u64) -> Option<u64> {
        let frame = self.leaves.get(&(page / 512))?[page as usize % 512];
        (frame != p2m::INVALID).then_some(frame)
    }

    fn set(&mut self, page: u64, frame: u64) {
        let leaf = self.leaves.entry(page / 512).or_insert_with(|| Box::new([p2m::INVALID; 512]));
        leaf[page as usize % 512] = frame;
    }
}

/// A domain on its way.
struct Restored<'x> {
    xen: &'x Xen,
    domain: DomId,
    policy: Policy,
    frames: Frames,
    /// Page tables that are validated when all of them are there.
    pinned: Vec<(u64, u8)>,
    /// First and last page of the list, and the pages it is in.
    list: Option<(u32, u32, Vec<u64>)>,
    shared: Option<Vec<u8>>,
    vcpus: BTreeMap<u32, Saved>,
}

/// Fills a domain that has its vCPUs and its limits and nothing else. It is ready to be unpaused then. `progress` is told
/// how many pages have been read.
///
/// # Errors
/// A stream that is damaged or not for here, and what the hypervisor refuses; the domain is to be destroyed then.
pub fn guest(xen: &Xen, domain: DomId, from: &mut dyn Read, progress: &mut dyn FnMut(u64)) -> Result<Ports> {
    let version = image::open(from)?;
    let mut guest = Restored {
        xen,
        domain,
        policy: Policy::default(),
        frames: Frames::default(),
        pinned: Vec::new(),
        list: None,
        shared: None,
        vcpus: BTreeMap::new(),
    };
    let (mut known, mut changing, mut read) = (false, version < 3, 0);
    loop {
        let record = Record::read(from)?;
        match record {
            Record::PvInfo => known = true,
            _ if !known => return Err(damaged("it does not say first what kind of guest it is")),
            Record::Leaves(leaves) if !changing => guest.policy.leaves = leaves,
            Record::Msrs(msrs) if !changing => guest.policy.msrs = msrs,
            Record::StaticDataEnd if !changing => {
                guest.set_policy()?;
                changing = true;
            }
            Record::Leaves(_) | Record::Msrs(_) | Record::StaticDataEnd => {
                return Err(damaged("its CPU policy is out of its place"));
            }
            _ if !changing => return Err(damaged("it does not say where what changes begins")),
            Record::P2mFrames { start, end, pages } => guest.list = Some((start, end, pages)),
            Record::Pages(..) if guest.list.is_none() => {
                return Err(damaged("its pages come before the list of them"));
            }
            Record::Pages(pages, contents) => {
                read += pages.len() as u64;
                guest.take_pages(&pages, contents)?;
                progress(read);
            }
            Record::Clock(clock) => xen.set_tsc_info(domain, &clock)?,
            Record::SharedInfo(page) => guest.shared = Some(page),
            Record::Vcpu(part, vcpu, state) => {
                guest.vcpus.entry(vcpu).or_default().take(part, vcpu, state)?;
            }
            // Its pages once more, for those who look for mistakes in the tools.
            Record::Verify => {}
            Record::End => return guest.finish(),
        }
    }
}

impl Restored<'_> {
    fn set_policy(&self) -> Result<()> {
        match self.policy.leaves.is_empty() && self.policy.msrs.is_empty() {
            true => Ok(()),
            false => self.xen.set_policy(self.domain, &self.policy),
        }
    }

    /// Frames for those of the pages that have none yet.
    fn populate(&mut self, pages: impl Iterator<Item = u64>) -> Result<()> {
        let new: Vec<u64> = pages
            .filter(|page| self.frames.of(*page).is_none())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if let Some(beyond) = new.iter().find(|page| **page > self.last()) {
            return Err(damaged(format!("page {beyond:#x} is not on the list")));
        }
        let frames = self.xen.populate(self.domain, 0, &new)?;
        if frames.len() < new.len() {
            let doing = format!("giving domain {} its memory back", self.domain);
            let more = "there is not enough; free some: xl mem-set of another guest or of Domain-0";
            return Err(Error::new(doing, Errno::ENOMEM).because(more));
        }
        new.iter().zip(frames).for_each(|(page, frame)| self.frames.set(*page, frame));
        Ok(())
    }

    fn last(&self) -> u64 {
        self.list.as_ref().map_or(0, |(_, end, _)| u64::from(*end))
    }

    fn take_pages(&mut self, pages: &[(u64, Kind)], mut contents: Vec<u8>) -> Result<()> {
        let full: Vec<(u64, Kind)> = pages.iter().copied().filter(|(_, kind)| kind.has_contents()).collect();
        self.populate(pages.iter().filter(|(_, kind)| kind.is_there()).map(|(page, _)| *page))?;
        for ((page, kind), table) in full.iter().zip(contents.chunks_mut(PAGE)) {
            let Some(level) = kind.level() else { continue };
            let below: Vec<u64> = tables::numbers(table, level).collect();
            self.populate(below.into_iter())?;
            let renumbered = tables::renumber(table, level, |page| self.frames.of(page));
            renumbered.map_err(|e| damaged(format!("table {page:#x} of level {level}: {e}")))?;
            self.pinned.retain(|(other, _)| other != page);
            if kind.is_pinned() {
                self.pinned.push((*page, level));
            }
        }
        if full.is_empty() {
            return Ok(());
        }
        let frames: Vec<u64> = full.iter().filter_map(|(page, _)| self.frames.of(*page)).collect();
        self.xen.frames(self.domain, &frames, true)?.write(0, &contents);
        Ok(())
    }

    fn frame(&self, page: u64, what: &str) -> Result<u64> {
        self.frames
            .of(page)
            .ok_or_else(|| damaged(format!("{what} is in page {page:#x}, which is not there")))
    }

    fn finish(mut self) -> Result<Ports> {
        let (xen, domain) = (self.xen, self.domain);
        let gone = || Error::new(format!("restoring domain {domain}"), Errno::ESRCH);
        let info = xen.domain(domain)?.ok_or_else(gone)?;
        self.write_list()?;
        let shared = self.shared.take().ok_or_else(|| damaged("there is no shared_info in it"))?;
        let page = xen.frames(domain, &[info.shared_info_frame], true)?;
        shared_info(&shared, |at, bytes| page.write(at, bytes));
        drop(page);
        // The guest put the number of the page there when it was suspended.
        let first = self.vcpus.get(&0).and_then(|vcpu| vcpu.basic.as_ref());
        let first = first.ok_or_else(|| damaged("there are no registers of vCPU 0"))?;
        let start_info = self.frame(first.user_regs.rdx, "start_info")?;
        let ports = self.write_start_info(start_info, info.shared_info_frame)?;
        ports.grant(xen, domain)?;
        for (page, level) in &self.pinned {
            let operation =
                [MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE];
            xen.pin(domain, operation[usize::from(*level) - 1], self.frame(*page, "a table")?)?;
        }
        let vcpus = info.max_vcpu_id.wrapping_add(1);
        for (vcpu, saved) in std::mem::take(&mut self.vcpus) {
            if vcpu >= vcpus {
                return Err(damaged(format!("there is a vCPU {vcpu}, its configuration gives it {vcpus}")));
            }
            saved.set(xen, domain, vcpu, |page| self.frames.of(page))?;
        }
        Ok(ports)
    }

    /// The guest's list has its new frames.
    fn write_list(&self) -> Result<()> {
        let (start, end, pages) =
            self.list.as_ref().ok_or_else(|| damaged("there is no list of its frames"))?;
        let first = u64::from(*start) / p2m::ENTRIES_A_PAGE;
        for (n, page) in pages.iter().enumerate() {
            let frame = self.frame(*page, "the list of its frames")?;
            let memory = self.xen.frames(self.domain, &[frame], true)?;
            let mut leaf = [0u64; 512];
            memory.read(0, leaf.as_mut_bytes());
            for (entry, number) in leaf.iter_mut().zip((first + n as u64) * p2m::ENTRIES_A_PAGE..) {
                if (u64::from(*start)..=u64::from(*end)).contains(&number) {
                    *entry = p2m::restored(*entry, self.frames.of(number));
                }
            }
            memory.write(0, leaf.as_bytes());
        }
        Ok(())
    }

    /// What the guest looks at first when it goes on: where it is, and its new ways to the outside.
    fn write_start_info(&self, frame: u64, shared_info: u64) -> Result<Ports> {
        let memory = self.xen.frames(self.domain, &[frame], true)?;
        let mut info = StartInfo::default();
        memory.read(0, info.as_mut_bytes());
        // The guest leaves its own pages' numbers there when it is suspended.
        let (store, console) = (info.store_mfn, info.console_mfn);
        let [store_port, console_port] = ports::offer(self.xen, self.domain)?;
        let ports = Ports {
            store: Ends { frame: self.frame(store, "the store's ring")?, port: store_port },
            console: Ends { frame: self.frame(console, "the console's ring")?, port: console_port },
        };
        info.shared_info = shared_info << 12;
        info.flags &= SIF_VIRT_P2M_4TOOLS;
        (info.store_mfn, info.store_evtchn) = (ports.store.frame, ports.store.port);
        (info.console_mfn, info.console_evtchn) = (ports.console.frame, ports.console.port);
        memory.write(0, info.as_bytes());
        Ok(ports)
    }
}

/// What the guest finds in the new shared_info of the old one: its vCPUs' words and where its list is. All ports are
/// closed, so nothing is pending; all are masked, as they are at a domain's start. The clock is the hypervisor's.
fn shared_info(old: &[u8], write: impl Fn(usize, &[u8])) {
    let one = size_of::<VcpuInfo>();
    for vcpu in 0..LEGACY_MAX_VCPUS {
        let at = offset_of!(SharedInfo, vcpu_info) + vcpu * one;
        let Ok(mut info) = VcpuInfo::read_from_bytes(&old[at..at + one]) else { continue };
        info.evtchn_pending_sel = 0;
        write(at, info.as_bytes());
    }
    let at = offset_of!(SharedInfo, arch);
    let Ok((mut arch, _)) = ArchSharedInfo::read_from_prefix(&old[at..]) else { return };
    // Frames of where it was.
    (arch.pfn_to_mfn_frame_list_list, arch.p2m_cr3) = (0, 0);
    write(at, arch.as_bytes());
    let (pending, mask) = (offset_of!(SharedInfo, evtchn_pending), offset_of!(SharedInfo, evtchn_mask));
    write(pending, &vec![0; mask - pending]);
    write(mask, &vec![0xff; mask - pending]);
}
