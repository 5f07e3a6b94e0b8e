//! What is known of an entry in use: fixed from its first use to its last, whatever the guest writes meanwhile.

use crate::ids::{DomId, GrantRef, Mfn};

/// What an entry lets its grantee use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A frame of the granter's.
    Page(Mfn),
    /// Bytes of one, to be copied only.
    Part(Mfn, Part),
    /// What this entry of another domain's lets the granter use.
    Grant(DomId, GrantRef),
}

/// A range of bytes of a page, as the granter wrote it: it may end beyond the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub start: u16,
    pub len: u16,
}

impl Part {
    pub const WHOLE: Part = Part { start: 0, len: 4096 };

    /// Whether `len` bytes at `offset` are within.
    pub fn covers(self, offset: usize, len: usize) -> bool {
        let (start, end) = (usize::from(self.start), usize::from(self.start) + usize::from(self.len));
        start <= offset && offset + len <= end
    }
}

/// 24 bytes: there is one for each entry of every table.
#[derive(Default)]
pub struct Active {
    /// The frame, or the other domain's reference.
    what: u64,
    /// Uses that only read, and those that may write.
    pub readers: u32,
    pub writers: u32,
    /// Who uses it.
    pub grantee: DomId,
    /// Of the part, or the other domain's number.
    start: u16,
    len: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Page,
    Part,
    Grant,
}

impl Active {
    pub fn in_use(&self) -> bool {
        self.readers != 0 || self.writers != 0
    }

    pub fn target(&self) -> Target {
        match self.kind {
            Kind::Page => Target::Page(Mfn(self.what)),
            Kind::Part => Target::Part(Mfn(self.what), Part { start: self.start, len: self.len }),
            Kind::Grant => Target::Grant(DomId(self.start), GrantRef(self.what as u32)),
        }
    }

    /// The first use.
    pub fn begin(&mut self, grantee: DomId, target: Target) {
        self.grantee = grantee;
        (self.kind, self.what, self.start, self.len) = match target {
            Target::Page(mfn) => (Kind::Page, mfn.0, 0, 0),
            Target::Part(mfn, part) => (Kind::Part, mfn.0, part.start, part.len),
            Target::Grant(dom, gref) => (Kind::Grant, gref.0.into(), dom.0, 0),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out() {
        assert_eq!(size_of::<Active>(), 24);
        let mut a = Active::default();
        let frame = Mfn(0xf_1234_5678_9abc);
        let part = Part { start: 0xffff, len: 7 };
        for target in [
            Target::Page(frame),
            Target::Part(frame, part),
            Target::Grant(DomId(0x7fe0), GrantRef(u32::MAX)),
            Target::Part(frame, Part::WHOLE),
        ] {
            a.begin(DomId(5), target);
            assert_eq!((a.target(), a.grantee), (target, DomId(5)));
        }
    }

    #[test]
    fn a_part_covers_what_is_within() {
        let part = Part { start: 128, len: 64 };
        for (offset, len) in [(128, 64), (128, 0), (192, 0), (184, 8)] {
            assert!(part.covers(offset, len), "{offset} {len}");
        }
        for (offset, len) in [(127, 1), (0, 0), (193, 0), (128, 65), (192, 1), (4095, 1)] {
            assert!(!part.covers(offset, len), "{offset} {len}");
        }
        assert!(Part { start: u16::MAX, len: u16::MAX }.covers(4096 * 16 - 1, 0));
        assert!(Part::WHOLE.covers(0, 4096) && !Part::WHOLE.covers(1, 4096));
    }
}
