//! PV memory: page types, validation of page tables, and the calls that change them.
//!
//! - [`types`]: type references and what ends them; [`validate`]: tables as a whole; [`entry`]: what one entry
//!   may be and which references it holds, [`linear`]: if it refers to its own level; [`lock`]: the right to write a table; [`update`]: one entry's change.
//! - [`walk`], [`base`], [`pin`], [`desc`], [`ptwr`], [`grants`]: finding an entry by address, CR3s, pins,
//!   descriptor pages, emulated writes, and entries that grants make.
//! - [`mmu_update`], [`mmuext`]: the hypercalls.
//! - [`tlb`]: who must flush; [`teardown`]: giving everything back; [`audit`]: recounting
//!   it all; [`iomem`]: ending device mappings; [`boot`]: for domain builders; [`why`]: words for refusals.
//!
//! Who holds what: a present L1 entry holds an existence reference to its frame, and a *writable* type count
//! if it has RW; a present higher entry holds both counts of the table below (or of another one of its level); so do a CR3, a pin, and a GDT or
//! LDT page in use. Entries of reserved frames (device memory) hold nothing. A partial table's mark holds one
//! existence reference, and the entries before its progress theirs.

pub mod audit;
pub mod base;
pub mod boot;
pub mod desc;
pub mod entry;
pub mod grants;
pub mod iomem;
pub mod linear;
pub mod lock;
pub mod mmu_update;
pub mod mmuext;
pub mod pin;
pub mod ptwr;
pub mod teardown;
pub mod tlb;
pub mod types;
pub mod update;
pub mod validate;
pub mod walk;
mod why;

use crate::domain::Domain;
use crate::ids::{DomId, Mfn};
use crate::machine::Machine;
use crate::sync::Mutex;
use crate::xen::{Stop, Xen};
use abi::Errno;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

pub use base::set_cr3;
pub use boot::pin_l4;
pub use mmu_update::{mmu_update, update_va_mapping, update_va_mapping_otherdomain};
pub use mmuext::mmuext_op;
pub use pin::{pin, unpin};

/// Why an operation on page tables did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    Errno(Errno),
    /// Interrupted, or another CPU is at it; the same again goes on from where it stopped.
    Again,
}

impl From<Errno> for Fail {
    fn from(e: Errno) -> Self {
        Fail::Errno(e)
    }
}

impl Fail {
    /// For callers that cannot continue later.
    pub fn errno(self) -> Errno {
        match self {
            Fail::Errno(e) => e,
            Fail::Again => Errno::EBUSY,
        }
    }
}

impl From<Fail> for Stop {
    fn from(f: Fail) -> Self {
        Stop::Errno(f.errno())
    }
}

pub type R<T> = Result<T, Fail>;

/// Whose tables are changed, and whose frames they may map.
pub struct Pt<'a, M: Machine> {
    pub xen: &'a Xen<M>,
    /// Owner of the tables.
    pub dom: &'a Domain,
    /// Expected owner of the frames that level-1 entries map; `DomId::IO`: device memory only; `DomId::XEN`: what the
    /// hypervisor shows to tools.
    pub page_owner: DomId,
    /// Whose right to map device memory counts.
    pub io_of: &'a Domain,
}

impl<'a, M: Machine> Pt<'a, M> {
    /// Tables of `dom` that map its own frames.
    pub fn own(xen: &'a Xen<M>, dom: &'a Domain) -> Self {
        Self { xen, dom, page_owner: dom.id, io_of: dom }
    }
}

/// Page-table state of a domain.
#[derive(Default)]
pub struct DomainMm {
    /// Tables whose devalidation was interrupted where nothing could wait for it: the domain's next
    /// memory-management call finishes them.
    unfinished: Mutex<ArrayVec<Mfn, 64>>,
    has_unfinished: AtomicBool,
    /// Next frame of [`iomem::revoke`].
    revoke: AtomicU64,
    /// Next frame of the teardown's sweep.
    sweep: AtomicU64,
}

impl DomainMm {
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a partial table. One too many stays partial until it is used again or the domain ends.
    fn defer(&self, mfn: Mfn) {
        let _ = self.unfinished.lock().try_push(mfn);
        self.has_unfinished.store(true, Release);
    }

    /// Finishes what was deferred.
    #[inline]
    pub(crate) fn finish_deferred<M: Machine>(&self, xen: &Xen<M>, dom: DomId) -> R<()> {
        if self.has_unfinished.load(Acquire) { self.finish_all(xen, dom) } else { Ok(()) }
    }

    #[cold]
    fn finish_all<M: Machine>(&self, xen: &Xen<M>, dom: DomId) -> R<()> {
        while self.has_unfinished.load(Acquire) {
            let next = {
                let mut list = self.unfinished.lock();
                let next = list.pop();
                self.has_unfinished.store(!list.is_empty(), Release);
                next
            };
            let Some(mfn) = next else { break };
            if let Some(f) = xen.frames.get_held(mfn, dom)
                && let Err(e) = validate::finish(xen, &f)
            {
                self.defer(mfn);
                return Err(e);
            }
        }
        Ok(())
    }
}

pub use base::VcpuMm;

#[cfg(test)]
mod tests;
