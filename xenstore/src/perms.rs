//! Permissions: who owns a node and who else may read or write it.
//!
//! The first entry names the owner, who may do everything, and its letter is for everyone not
//! listed. Each further entry is for the one domain that it names.

use crate::DomId;
use crate::error::{Error, Result};
use crate::kept::{Kept, Reader, Writer, kept};

/// Read, write, both or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    pub read: bool,
    pub write: bool,
}

impl Access {
    pub const NONE: Self = Self { read: false, write: false };
    pub const READ: Self = Self { read: true, write: false };
    pub const WRITE: Self = Self { read: false, write: true };
    pub const BOTH: Self = Self { read: true, write: true };

    /// The letter on the wire.
    pub const fn letter(self) -> char {
        match (self.read, self.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        }
    }

    pub const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'n' => Some(Self::NONE),
            b'r' => Some(Self::READ),
            b'w' => Some(Self::WRITE),
            b'b' => Some(Self::BOTH),
            _ => None,
        }
    }

    /// Whether all of `wanted` is in here.
    pub const fn allows(self, wanted: Self) -> bool {
        (self.read || !wanted.read) && (self.write || !wanted.write)
    }
}

/// One entry of a node's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Perm {
    pub domid: DomId,
    pub access: Access,
}

/// A node's list: never empty, the owner first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Perms(Box<[Perm]>);

kept!(Perm { domid, access });

impl Kept for Access {
    fn keep(&self, to: &mut Writer) {
        (self.letter() as u8).keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Self::from_letter(u8::find(from)?)
    }
}

impl Kept for Perms {
    fn keep(&self, to: &mut Writer) {
        (self.0.len() as u32).keep(to);
        self.0.iter().for_each(|perm| perm.keep(to));
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Self::new(Kept::find(from)?).ok()
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub domid: DomId,
    /// The domain whose rights it has as well (`SET_TARGET`).
    pub target: Option<DomId>,
    /// May do everything, and is under no quota.
    pub privileged: bool,
}

impl Caller {
    /// Dom0's tools.
    pub const DOM0: Self = Self { domid: 0, target: None, privileged: true };

    fn is(&self, domid: DomId) -> bool {
        self.domid == domid || self.target == Some(domid)
    }
}

impl Perms {
    /// The list of these entries. `EINVAL` where there is none.
    pub fn new(entries: Vec<Perm>) -> Result<Self> {
        if entries.is_empty() { Err(Error::EINVAL) } else { Ok(Self(entries.into())) }
    }

    /// A list of the owner alone.
    pub fn owned(domid: DomId, others: Access) -> Self {
        Self(Box::new([Perm { domid, access: others }]))
    }

    pub fn owner(&self) -> DomId {
        self.0[0].domid
    }

    pub fn entries(&self) -> &[Perm] {
        &self.0
    }

    /// The same with another owner.
    pub fn with_owner(&self, domid: DomId) -> Self {
        let mut entries = self.0.clone();
        entries[0].domid = domid;
        Self(entries)
    }

    /// The same without what is granted to `domid`; `None` where nothing is. The owner stays.
    pub fn without(&self, domid: DomId) -> Option<Self> {
        if self.0[1..].iter().all(|perm| perm.domid != domid) {
            return None;
        }
        let (owner, others) = self.0.split_first().expect("a list has an owner");
        Some(Self([*owner].into_iter().chain(others.iter().copied().filter(|p| p.domid != domid)).collect()))
    }

    /// Whether `caller` may do what only an owner may.
    pub fn owned_by(&self, caller: &Caller) -> bool {
        caller.privileged || caller.is(self.owner())
    }

    /// What `caller` may do.
    pub fn access(&self, caller: &Caller) -> Access {
        if self.owned_by(caller) {
            return Access::BOTH;
        }
        let listed = self.0[1..].iter().find(|perm| caller.is(perm.domid));
        listed.unwrap_or(&self.0[0]).access
    }

    /// As the wire has it: `n0\0r3\0`.
    pub fn encode(&self) -> Vec<u8> {
        let entry = |perm: &Perm| format!("{}{}\0", perm.access.letter(), perm.domid);
        self.0.iter().map(entry).collect::<String>().into_bytes()
    }

    /// What [`Self::encode`] makes. `EINVAL` for anything else, an empty list too.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\0'));
        let entries = text.ok_or(Error::EINVAL)?.split('\0').map(|entry| {
            let (&letter, domid) = entry.as_bytes().split_first().ok_or(Error::EINVAL)?;
            let access = Access::from_letter(letter).ok_or(Error::EINVAL)?;
            let digits = std::str::from_utf8(domid).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            let domid = digits.and_then(|digits| digits.parse().ok()).ok_or(Error::EINVAL)?;
            Ok(Perm { domid, access })
        });
        Self::new(entries.collect::<Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(domid: DomId) -> Caller {
        Caller { domid, target: None, privileged: false }
    }

    #[test]
    fn the_owner_the_listed_and_everyone_else() {
        let perms = Perms::decode(b"r3\0b4\0n5\0").unwrap();
        assert_eq!(perms.access(&guest(3)), Access::BOTH);
        assert_eq!(perms.access(&guest(4)), Access::BOTH);
        assert_eq!(perms.access(&guest(5)), Access::NONE);
        assert_eq!(perms.access(&guest(6)), Access::READ);
        assert_eq!(perms.access(&Caller::DOM0), Access::BOTH);
        assert!(perms.owned_by(&guest(3)) && !perms.owned_by(&guest(4)));
    }

    #[test]
    fn a_target_lends_its_rights() {
        let perms = Perms::decode(b"n3\0r4\0").unwrap();
        assert!(perms.owned_by(&Caller { target: Some(3), ..guest(9) }));
        assert_eq!(perms.access(&Caller { target: Some(4), ..guest(9) }), Access::READ);
    }

    #[test]
    fn the_wire_form_and_what_is_not_one() {
        let wire = b"n0\0r12\0w3\0b65535\0";
        assert_eq!(Perms::decode(wire).unwrap().encode(), wire);
        for bad in [&b""[..], b"n0", b"\0", b"x0\0", b"n\0", b"n-1\0", b"n65536\0", b"n0\0\0", b"n+1\0"] {
            assert_eq!(Perms::decode(bad), Err(Error::EINVAL), "{bad:?}");
        }
    }

    #[test]
    fn a_domain_is_taken_off_a_list_but_not_its_ownership() {
        let perms = Perms::decode(b"n3\0r4\0r3\0").unwrap();
        assert_eq!(perms.without(4).unwrap().encode(), b"n3\0r3\0");
        assert_eq!(perms.without(3).unwrap().encode(), b"n3\0r4\0");
        assert_eq!(perms.without(5), None);
    }
}
