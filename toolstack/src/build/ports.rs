//! [`Ports`]: where a guest and the store, and a guest and whoever shows its console, meet.

use abi::grant_table::{GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, GTF_PERMIT_ACCESS, GrantEntryV1};
use xenctl::{DomId, Result, Xen};
use zerocopy::IntoBytes;

/// A page and a port that two domains share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub frame: u64,
    pub port: u32,
}

/// A guest's ways to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub store: Ends,
    pub console: Ends,
}

/// Ports of the guest that dom0 may connect with: the store's, the console's.
pub fn offer(xen: &Xen, domain: DomId) -> Result<[u32; 2]> {
    Ok([xen.offer_port(domain, DomId(0))?, xen.offer_port(domain, DomId(0))?])
}

impl Ports {
    /// Grants both pages to dom0, under the references that are reserved for them, before the guest's kernel makes its
    /// table its own.
    pub fn grant(&self, xen: &Xen, domain: DomId) -> Result<()> {
        let table = xen.grant_table(domain, 0)?;
        let pages = [(GNTTAB_RESERVED_CONSOLE, self.console), (GNTTAB_RESERVED_XENSTORE, self.store)];
        for (reference, ends) in pages {
            // Frames of a table of version 1 have 32 bits.
            let entry = GrantEntryV1 { flags: GTF_PERMIT_ACCESS, domid: 0, frame: ends.frame as u32 };
            table.write(reference as usize * size_of::<GrantEntryV1>(), entry.as_bytes());
        }
        Ok(())
    }
}
