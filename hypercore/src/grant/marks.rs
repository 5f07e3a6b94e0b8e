//! The words of an entry that guest and hypervisor share, in both versions.
//!
//! Version 1: an entry is one 8-byte word, so flags, grantee and frame change together or not at all, and the
//! marks of a use are set in the same exchange.
//! Version 2: the first 8 bytes hold the flags, the grantee and what depends on the kind, the second the frame or a
//! reference; marks are in a word of the status array. Marks are set first and the entry read again after: a granter
//! that takes the grant away and then sees no marks knows that it was in time.

use super::Status;
use super::active::{Part, Target};
use super::entry::Want;
use super::table::Slot;
use crate::event::words::update64;
use crate::frame::HvFrame;
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::Frames;
use abi::grant_table::*;

/// How often an entry may change under us before we call it unstable.
const ATTEMPTS: usize = 16;

/// The first 8 bytes of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(pub u64);

impl Word {
    pub fn flags(self) -> u16 {
        self.0 as u16
    }
    pub fn kind(self) -> u16 {
        self.flags() & GTF_TYPE_MASK
    }
    pub fn grantee(self) -> DomId {
        DomId((self.0 >> 16) as u16)
    }
    /// Version 1.
    fn frame(self) -> Mfn {
        Mfn(self.0 >> 32)
    }
    /// Version 2: `sub_page`.
    fn part(self) -> Part {
        Part { start: (self.0 >> 32) as u16, len: (self.0 >> 48) as u16 }
    }
    /// Version 2: `transitive.trans_domid`.
    fn granter(self) -> DomId {
        DomId((self.0 >> 32) as u16)
    }

    /// Whether `grantee` may use an entry that says so; by writing only if it is not for reading.
    fn permits(self, grantee: DomId, write: bool) -> bool {
        self.grantee() == grantee && !(write && self.flags() & GTF_READONLY != 0)
    }
}

/// The marks of a use.
fn marks(write: bool) -> u16 {
    GTF_READING | if write { GTF_WRITING } else { 0 }
}

/// The 2-byte word at `offset`.
fn load16<M: Frames>(m: &M, f: &HvFrame, offset: usize) -> u16 {
    (m.load(f, offset & !7) >> ((offset & 6) * 8)) as u16
}

/// Changes the 2-byte word at `offset`; false if a guest would not let us.
fn update16<M: Frames>(m: &M, f: &HvFrame, offset: usize, change: impl Fn(u16) -> u16) -> bool {
    let shift = (offset as u32 & 6) * 8;
    let changed = |w: u64| w & !(0xffff << shift) | u64::from(change((w >> shift) as u16)) << shift;
    update64(m, f, offset & !7, changed).is_some()
}

impl Slot<'_> {
    /// The entry's first 8 bytes.
    pub fn word<M: Frames>(&self, m: &M) -> Word {
        Word(m.load(self.frame, self.offset))
    }

    /// Marks an entry that nobody uses as used by `grantee`; what it grants.
    pub fn mark<M: Frames>(&self, m: &M, grantee: DomId, want: Want, write: bool) -> Result<Target, Status> {
        match self.status {
            None => self.mark_v1(m, grantee, write),
            Some(status) => self.mark_v2(m, status, grantee, want, write),
        }
    }

    fn mark_v1<M: Frames>(&self, m: &M, grantee: DomId, write: bool) -> Result<Target, Status> {
        let mut word = self.word(m);
        for _ in 0..ATTEMPTS {
            if word.kind() != GTF_PERMIT_ACCESS || !word.permits(grantee, write) {
                return Err(GNTST_GENERAL_ERROR);
            }
            let marked = word.0 | u64::from(marks(write));
            match m.compare_exchange(self.frame, self.offset, word.0, marked) {
                Ok(_) => return Ok(Target::Page(word.frame())),
                Err(now) => word = Word(now),
            }
        }
        Err(GNTST_GENERAL_ERROR)
    }

    fn mark_v2<M: Frames>(
        &self,
        m: &M,
        (status, at): (&HvFrame, usize),
        grantee: DomId,
        want: Want,
        write: bool,
    ) -> Result<Target, Status> {
        let fits = |word: Word| word.permits(grantee, write) && kind_fits(word, want);
        let mut word = self.word(m);
        if !fits(word) {
            return Err(GNTST_GENERAL_ERROR);
        }
        if update16(m, status, at, |s| s | marks(write)) {
            for _ in 0..ATTEMPTS {
                let now = self.word(m);
                if now == word {
                    // Read once, and after the flags that say what it is.
                    return Ok(target(word, m.load(self.frame, self.offset + 8)));
                }
                if !fits(now) {
                    break;
                }
                word = now;
            }
        }
        self.unmark(m, write);
        Err(GNTST_GENERAL_ERROR)
    }

    /// Marks an entry in use for reading as used for writing as well. What it grants was settled by its first use.
    pub fn mark_writing<M: Frames>(&self, m: &M) -> Result<(), Status> {
        let marked = match self.status {
            None => self.mark_writing_v1(m),
            Some((status, at)) => {
                let writable = |m: &M| self.word(m).flags() & GTF_READONLY == 0;
                writable(m) && update16(m, status, at, |s| s | marks(true)) && writable(m)
            }
        };
        if marked {
            return Ok(());
        }
        self.unmark(m, true);
        Err(GNTST_GENERAL_ERROR)
    }

    fn mark_writing_v1<M: Frames>(&self, m: &M) -> bool {
        let mut word = self.word(m);
        for _ in 0..ATTEMPTS {
            if word.flags() & GTF_READONLY != 0 {
                return false;
            }
            let marked = word.0 | u64::from(marks(true));
            match m.compare_exchange(self.frame, self.offset, word.0, marked) {
                Ok(_) => return true,
                Err(now) => word = Word(now),
            }
        }
        false
    }

    /// Exchanges two entries of one table, marks and all.
    pub fn swap<M: Frames>(&self, other: &Slot<'_>, m: &M) {
        let swap_word = |at| {
            let (one, two) = (m.load(self.frame, self.offset + at), m.load(other.frame, other.offset + at));
            m.store(self.frame, self.offset + at, two);
            m.store(other.frame, other.offset + at, one);
        };
        swap_word(0);
        if let (Some((f, at)), Some((g, of))) = (self.status, other.status) {
            swap_word(8);
            let (one, two) = (load16(m, f, at), load16(m, g, of));
            update16(m, f, at, |_| two);
            update16(m, g, of, |_| one);
        }
    }

    /// Clears the marks of uses that ended, after one did that may have been `write`.
    pub fn unmark<M: Frames>(&self, m: &M, write: bool) {
        let mut clear = 0;
        if write && self.active.writers == 0 {
            clear |= GTF_WRITING;
        }
        if !self.active.in_use() {
            clear |= GTF_READING;
        }
        if clear == 0 {
            return;
        }
        match self.status {
            None => _ = update64(m, self.frame, self.offset, |w| w & !u64::from(clear)),
            Some((status, at)) => _ = update16(m, status, at, |s| s & !clear),
        }
    }
}

/// Version 2: whether an entry is of a kind that can be wanted so.
fn kind_fits(word: Word, want: Want) -> bool {
    match word.kind() {
        GTF_PERMIT_ACCESS => want != Want::Map || word.flags() & GTF_SUB_PAGE == 0,
        GTF_TRANSITIVE => want == Want::Copy,
        _ => false,
    }
}

/// Version 2: what an entry grants; `second`: its other 8 bytes.
fn target(word: Word, second: u64) -> Target {
    if word.kind() == GTF_TRANSITIVE {
        Target::Grant(word.granter(), GrantRef(second as u32))
    } else if word.flags() & GTF_SUB_PAGE != 0 {
        Target::Part(Mfn(second), word.part())
    } else {
        Target::Page(Mfn(second))
    }
}
