//! Grant tables: a domain lets another map, or have copied, single frames of its own, or parts of them (version 2).
//!
//! - [`table`]: the frames shared with the guest, in the version in force; [`active`]: for each entry in use what
//!   the hypervisor knows of it; [`marks`]: what the guest sees of that.
//! - [`entry`]: pinning an entry for a use and letting go of it.
//! - [`version`]: from one version to the other; [`limits`]: what a domain may have.
//! - [`maptrack`]: the mappings a domain holds of others' frames, by handle.
//! - [`map`], [`unmap`], [`copy`], [`transfer`]: the operations; [`host`]: what they ask of page tables; [`op`]: the hypercall; [`small`]: its lesser commands.
//! - [`life`]: teardown, dumps, what the audit asks.
//!
//! Whose references are whose: a mapping in the maptrack table holds an existence reference of the frame,
//! with a writable type reference if it is writable, from before the guest's page-table entry is written until
//! after it is gone and flushed. What the entry in the page table itself holds is the business of [`crate::mm`].
//!
//! Locks, from the top: a maptrack slot, then a table's growth and change of version, then a grant entry. None is
//! held while page tables are written, and of two domains' entries never both.

pub mod active;
pub mod copy;
pub mod entry;
pub mod host;
pub mod life;
pub mod limits;
#[cfg(test)]
mod limits_tests;
pub mod map;
pub mod maptrack;
pub mod marks;
#[cfg(test)]
mod model;
pub mod op;
pub mod small;
pub mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_v2;
pub mod transfer;
pub mod unmap;
pub mod version;

pub use life::{audit, dump, teardown};
pub use limits::Limits;
pub use op::grant_table_op;
pub use table::{Version, grow, resource_frame, resource_status_frame};

use crate::domain::NewDomain;
use crate::frame::HvFrame;
use abi::Errno;
use core::sync::atomic::AtomicU32;
use maptrack::Maptrack;
use table::GrantTable;

/// Status of one element of a batch (`GNTST_*`).
pub type Status = i16;

/// A domain's part.
pub struct DomainGrants {
    /// What it lets others use.
    table: GrantTable,
    /// What it uses of others.
    maptrack: Maptrack,
    /// Where teardown goes on.
    progress: AtomicU32,
}

impl DomainGrants {
    pub fn new(n: &NewDomain) -> Result<Self, Errno> {
        Ok(Self {
            table: GrantTable::new(n)?,
            maptrack: Maptrack::new(n.max_maptrack_frames)?,
            progress: AtomicU32::new(0),
        })
    }

    /// Frame `i` of the table shared with the guest, if there is one (see [`grow`]).
    pub fn shared_frame(&self, i: u32) -> Option<&HvFrame> {
        self.table.frame(i)
    }

    /// Frames shared with the guest: of entries, and of status words.
    pub fn shared_frames(&self) -> impl Iterator<Item = &HvFrame> {
        let entries = (0..self.table.frames()).filter_map(|i| self.table.frame(i));
        entries.chain((0..self.table.max_status_frames()).filter_map(|i| self.table.status_frame(i)))
    }

    /// Gives back memory that ended mappings leave unused.
    pub fn trim(&self) {
        self.maptrack.trim();
    }

    /// Frames there are, and the most there may be.
    pub fn sizes(&self) -> (u32, u32) {
        (self.table.frames(), self.table.max_frames())
    }

    /// The version in force.
    pub fn version(&self) -> Version {
        self.table.version()
    }

    /// Most frames of status words there may be.
    pub fn max_status_frames(&self) -> u32 {
        self.table.max_status_frames()
    }
}
