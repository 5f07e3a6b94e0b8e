//! Writes what a [`Plan`] describes: the memory that a PV kernel finds when it starts.
//!
//! The hypervisor makes its first domain so, and tools make all others; what differs is how each of them reaches the
//! memory ([`Target`]). All of it is plain memory here. The tables mean something only once the hypervisor has validated
//! them.

use abi::features::XENFEAT_WRITABLE_PAGE_TABLES;
use abi::xen::{SIF_MOD_START_PFN, START_INFO_MAGIC, StartInfo};
use x86::pte::{ENTRIES, PAGE_SIZE, Pte};
use zerocopy::{FromZeros, IntoBytes};

use super::elf::Elf;
use super::layout::{Plan, Table};
use crate::ids::{Mfn, Pfn};

/// What a PV kernel may require of us (bits of `XENFEAT_*`): that it may write its tables in place.
pub const OFFERED: u32 = 1 << XENFEAT_WRITABLE_PAGE_TABLES;

/// RFLAGS of its first vCPU: interrupts are its own business, an exception is none yet.
pub const RFLAGS: u64 = 1 << 9 | 1 << 1;

const ZEROES: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// The memory of a domain that does not run yet, from pseudo-physical address 0 on.
pub trait Target {
    type Error;

    /// The machine frame of a page that it has.
    fn mfn(&self, pfn: Pfn) -> Mfn;

    /// Copies `data` to pseudo-physical address `at`.
    fn write(&self, at: u64, data: &[u8]) -> Result<(), Self::Error>;

    /// Zeroes from pseudo-physical address `from` up to `to`.
    fn zero(&self, from: u64, to: u64) -> Result<(), Self::Error> {
        let mut at = from;
        while at < to {
            let bytes = (PAGE_SIZE - at as usize % PAGE_SIZE).min((to - at) as usize);
            self.write(at, &ZEROES[..bytes])?;
            at += bytes as u64;
        }
        Ok(())
    }
}

/// The kernel, and zeroes from its beginning to the end of the start-of-day region, but for its hypercall page.
pub fn kernel<T: Target>(target: &T, elf: &Elf<'_>, plan: &Plan) -> Result<(), T::Error> {
    let at = |paddr: u64| paddr.wrapping_add(plan.load_offset) - plan.region.va;
    let data = || elf.segments().iter().map(|s| at(s.paddr)..at(s.paddr) + s.data.len() as u64);
    let end = plan.region.pages * PAGE_SIZE as u64;
    let mut done = plan.kernel_start - plan.region.va;
    // Only what is between segments' data, so that no byte is written twice.
    while done < end {
        if let Some(written) = data().find(|range| range.contains(&done)) {
            done = written.end;
            continue;
        }
        let next = data().map(|range| range.start).filter(|start| *start > done).min().unwrap_or(end);
        target.zero(done, next)?;
        done = next;
    }
    elf.segments().iter().try_for_each(|s| target.write(at(s.paddr), s.data))
}

/// The initrd, zeroes in the rest of its last page. The kernel is there already.
pub fn initrd<T: Target>(target: &T, plan: &Plan, initrd: &[u8]) -> Result<(), T::Error> {
    let Some((pfn, len)) = plan.initrd else { return Ok(()) };
    let from = pfn.0 * PAGE_SIZE as u64;
    target.write(from, initrd)?;
    target.zero(from + len, (from + len).next_multiple_of(PAGE_SIZE as u64))
}

/// The list of the domain's machine frames; its last page is filled up with invalid entries.
pub fn p2m<T: Target>(
    target: &T,
    plan: &Plan,
    mut frames: impl Iterator<Item = u64>,
) -> Result<(), T::Error> {
    let mut page = [u64::MAX; ENTRIES];
    for i in 0..plan.p2m.pages {
        for entry in &mut page {
            *entry = frames.next().unwrap_or(u64::MAX);
        }
        target.write((plan.p2m.pfn.0 + i) * PAGE_SIZE as u64, page.as_bytes())?;
    }
    Ok(())
}

/// Every page table.
pub fn tables<T: Target>(target: &T, plan: &Plan) -> Result<(), T::Error> {
    plan.tables.iter().try_for_each(|one| table(target, plan, one))
}

fn table<T: Target>(target: &T, plan: &Plan, table: &Table) -> Result<(), T::Error> {
    let mut entries = [0u64; ENTRIES];
    for (i, to) in entries.iter_mut().enumerate() {
        if let Some(entry) = plan.entry(table, i) {
            let mut flags = Pte::PRESENT | Pte::USER | Pte::ACCESSED;
            if table.level == 1 {
                flags |= Pte::DIRTY;
            }
            if entry.writable {
                flags |= Pte::RW;
            }
            *to = Pte::new(target.mfn(entry.pfn).0, flags).0;
        }
    }
    target.write(table.pfn.0 * PAGE_SIZE as u64, entries.as_bytes())
}

/// What the kernel is told: all but the outside's rings and the flags that only some domains have.
///
/// # Panics
/// If the command line, without a zero, does not fit with one (`MAX_GUEST_CMDLINE`).
pub fn start_info(plan: &Plan, shared_info: Mfn, cmdline: &str) -> StartInfo {
    let mut si = StartInfo::new_zeroed();
    si.magic[..START_INFO_MAGIC.len()].copy_from_slice(START_INFO_MAGIC.as_bytes());
    si.nr_pages = plan.nr_pages;
    si.shared_info = shared_info.0 << 12;
    si.pt_base = plan.pt_base;
    si.nr_pt_frames = plan.nr_pt_frames;
    si.mfn_list = plan.p2m.va;
    if let Some((pfn, len)) = plan.initrd {
        si.mod_len = len;
        si.mod_start = plan.initrd_va.unwrap_or(pfn.0);
        if plan.initrd_va.is_none() {
            si.flags |= SIF_MOD_START_PFN;
        }
    }
    if let Some((pfn, frames)) = plan.p2m_frames {
        si.first_p2m_pfn = pfn.0;
        si.nr_p2m_frames = frames;
    }
    si.cmd_line[..cmdline.len()].copy_from_slice(cmdline.as_bytes());
    si
}
