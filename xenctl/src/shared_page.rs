//! [`SharedPage`]: one page between a guest and a daemon, however it could be mapped.

use std::ops::Deref;

use crate::{DomId, Foreign, GrantMapping, Grants, Mapping, Privcmd, Result, StorePage};

/// The page, until it is dropped.
pub enum SharedPage {
    Granted(GrantMapping),
    Foreign(Foreign),
    /// Of this domain's own kernel.
    Own(StorePage),
}

impl SharedPage {
    /// The page that `domain` grants as `reference`; of one that grants nothing its frame, which only those may map who may
    /// do everything.
    ///
    /// # Errors
    /// Where neither can be mapped: why the frame could not.
    pub fn of(domain: DomId, reference: u32, frame: u64) -> Result<Self> {
        match Grants::open().and_then(|grants| grants.map(domain, reference)) {
            Ok(page) => Ok(Self::Granted(page)),
            Err(_) => Foreign::frames(&Privcmd::open()?, domain, &[frame], true).map(Self::Foreign),
        }
    }
}

impl Deref for SharedPage {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        match self {
            Self::Granted(page) => page,
            Self::Foreign(page) => page,
            Self::Own(page) => page,
        }
    }
}
