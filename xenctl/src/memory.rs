//! `memory_op`: what tools ask of memory.

use abi::GuestHandle;
use abi::memory::*;
use abi::xen::HYPERVISOR_MEMORY_OP;
use zerocopy::IntoBytes;

use crate::DomId;
use crate::call::{Command, Xen};
use crate::error::Result;

/// Extents that one call is given.
const BATCH: usize = 1024;

impl Xen {
    fn sharing(&self, cmd: u32) -> Result<u64> {
        let doing = || "asking how much memory is shared".into();
        self.call(doing, HYPERVISOR_MEMORY_OP, Command::Register(cmd), &mut [0u8; 0])
    }

    /// Pages that sharing has made free.
    pub fn sharing_freed_pages(&self) -> Result<u64> {
        self.sharing(XENMEM_GET_SHARING_FREED_PAGES)
    }

    /// Pages that several domains share.
    pub fn sharing_used_pages(&self) -> Result<u64> {
        self.sharing(XENMEM_GET_SHARING_SHARED_PAGES)
    }

    /// Sets pages aside for the domain, which others do not get any more; 0 gives back what is left of an earlier claim.
    pub fn claim_pages(&self, domain: DomId, pages: u64) -> Result<()> {
        let doing = || format!("setting {pages} pages aside for domain {domain}");
        let mut argument = MemoryReservation { nr_extents: pages, domid: domain.0, ..Default::default() };
        let command = Command::Register(XENMEM_CLAIM_PAGES);
        self.call(doing, HYPERVISOR_MEMORY_OP, command, &mut argument).map(drop)
    }

    /// Gives the domain extents of `1 << order` pages, where its page numbers `pages` say. Answers their first machine
    /// frames: fewer than asked for if there are no more of that order.
    pub fn populate(&self, domain: DomId, order: u32, pages: &[u64]) -> Result<Vec<u64>> {
        let doing = || format!("giving domain {domain} {} extents of order {order}", pages.len());
        let mut frames = Vec::with_capacity(pages.len());
        for batch in pages.chunks(BATCH) {
            let mut list = self.buffer(size_of_val(batch))?;
            list.put(0, batch);
            let mut argument = MemoryReservation {
                extent_start: GuestHandle::new(list.address()),
                nr_extents: batch.len() as u64,
                extent_order: order,
                domid: domain.0,
                ..Default::default()
            };
            let command = Command::Register(XENMEM_POPULATE_PHYSMAP);
            let done = self.call(doing, HYPERVISOR_MEMORY_OP, command, &mut argument)? as usize;
            frames.extend(list.list::<u64>(done.min(batch.len())));
            if done < batch.len() {
                break;
            }
        }
        Ok(frames)
    }

    /// Where the domain's memory may be: one range of RAM from 0 on.
    pub fn set_memory_map(&self, domain: DomId, bytes: u64) -> Result<()> {
        let doing = || format!("telling domain {domain} of its {bytes} bytes of memory");
        let entry = E820Entry { addr: 0, size: bytes, type_: E820_RAM };
        let mut list = self.buffer(size_of::<E820Entry>())?;
        list.write(0, entry.as_bytes());
        let map = MemoryMap { nr_entries: 1, _pad0: 0, buffer: GuestHandle::new(list.address()) };
        let mut argument = ForeignMemoryMap { domid: domain.0, map, ..Default::default() };
        let command = Command::Register(XENMEM_SET_MEMORY_MAP);
        self.call(doing, HYPERVISOR_MEMORY_OP, command, &mut argument).map(drop)
    }
}
