//! Random operations on tables of both versions, against a model that knows only what the header says.

use super::tests::*;
use super::tests_v2::{copy, grant2, set_version, status};
use super::*;
use crate::frame::proof::FreshFrame;
use crate::ids::Mfn;
use crate::machine::Frames;
use crate::testing::{Kernel, World};
use abi::grant_table::*;
use abi::xen::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// References that are granted, from the last of the reserved ones on.
const REFS: std::ops::Range<u32> = 7..13;
const GRANTER: u16 = 1;
const FIRST: u16 = 2;

#[derive(Clone, Copy, PartialEq, Debug)]
struct Entry {
    flags: u16,
    to: u16,
    /// `sub_page`, or `trans_domid` and nothing.
    arm: (u16, u16),
    /// Index into the granter's pages, or a reference.
    frame: u32,
}

const EMPTY: Entry = Entry { flags: 0, to: 0, arm: (0, 0), frame: 0 };

/// What a use is of: bytes of a page of a domain.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Use {
    dom: u16,
    page: u32,
    start: usize,
    end: usize,
}

struct Mapped {
    dom: u16,
    gref: u32,
    of: Use,
    write: bool,
    handle: u32,
    at: usize,
}

/// One domain's table.
struct Table {
    version: u32,
    entries: BTreeMap<u32, Entry>,
}

struct Model {
    tables: BTreeMap<u16, Table>,
    mapped: Vec<Mapped>,
    /// The first word of 8 places in each page: domain, page, place.
    contents: BTreeMap<(u16, u32, usize), u64>,
}

impl Model {
    fn uses(&self, dom: u16, gref: u32) -> impl Iterator<Item = &Mapped> {
        self.mapped.iter().filter(move |m| m.dom == dom && m.gref == gref)
    }

    /// What user `by` may do with an entry. `depth`: grants of grants that may still follow.
    fn open(&self, by: u16, dom: u16, gref: u32, write: bool, map: bool, depth: u32) -> Result<Use, i16> {
        const NO: Result<Use, i16> = Err(GNTST_GENERAL_ERROR);
        let Some(table) = self.tables.get(&dom) else { return NO };
        let e = table.entries.get(&gref).copied().unwrap_or(EMPTY);
        let read_only = e.flags & GTF_READONLY != 0;
        // In use: nothing but READONLY is looked at again, for the first writer.
        if let Some(first) = self.uses(dom, gref).next() {
            let writer = self.uses(dom, gref).any(|m| m.write);
            return if by != 0 || write && !writer && read_only { NO } else { Ok(first.of) };
        }
        if e.to != by || write && read_only {
            return NO;
        }
        let (start, end) = match (table.version, e.flags & GTF_TYPE_MASK) {
            (1, GTF_PERMIT_ACCESS) => (0, 4096),
            (2, GTF_PERMIT_ACCESS) if e.flags & GTF_SUB_PAGE == 0 => (0, 4096),
            (2, GTF_PERMIT_ACCESS) if !map => (e.arm.0.into(), usize::from(e.arm.0) + usize::from(e.arm.1)),
            (2, GTF_TRANSITIVE) if !map && depth > 0 && e.arm.0 != dom => {
                return self.open(dom, e.arm.0, e.frame, write, false, depth - 1);
            }
            _ => return NO,
        };
        Ok(Use { dom, page: e.frame, start, end })
    }

    /// What the marks of an entry say.
    fn marks(&self, dom: u16, gref: u32) -> u16 {
        let reading = self.uses(dom, gref).next().map_or(0, |_| GTF_READING);
        reading | self.uses(dom, gref).find(|m| m.write).map_or(0, |_| GTF_WRITING)
    }
}

struct Run {
    kernels: [Kernel; 3],
    model: Model,
    rng: Rng,
}

impl Run {
    fn new(seed: u64) -> Self {
        let w = World::new(2048, 2);
        let kernels = [0, GRANTER, FIRST].map(|id| {
            let g = w.domain(id, 1);
            grow(g.xen, &g.dom, 1).unwrap();
            g.boot(24)
        });
        let tables = [GRANTER, FIRST].map(|id| (id, Table { version: 1, entries: BTreeMap::new() })).into();
        let model = Model { tables, mapped: Vec::new(), contents: BTreeMap::new() };
        Self { kernels, model, rng: Rng(seed) }
    }

    fn granter(&mut self) -> u16 {
        [GRANTER, GRANTER, FIRST][self.rng.below(3) as usize]
    }

    fn gref(&mut self) -> u32 {
        REFS.start + self.rng.below(REFS.end - REFS.start)
    }

    fn write_entry(&mut self) {
        let (dom, gref) = (self.granter(), self.gref());
        let version = self.model.tables[&dom].version;
        let kinds = [GTF_PERMIT_ACCESS, GTF_PERMIT_ACCESS, GTF_PERMIT_ACCESS | GTF_SUB_PAGE, GTF_TRANSITIVE];
        let mut flags = kinds[self.rng.below(4) as usize];
        if self.rng.below(4) == 0 {
            flags |= GTF_READONLY;
        }
        if self.rng.below(12) == 0 {
            flags = GTF_INVALID;
        }
        let transitive = flags & GTF_TYPE_MASK == GTF_TRANSITIVE;
        let arm = if transitive {
            ([FIRST, FIRST, GRANTER, 0][self.rng.below(4) as usize], 0)
        } else {
            (self.rng.below(8) as u16 * 512, self.rng.below(9) as u16 * 512)
        };
        let frame = if transitive { self.gref() } else { 1 + self.rng.below(4) };
        let to = [0, 0, 0, GRANTER, FIRST][self.rng.below(5) as usize];
        let k = &self.kernels[usize::from(dom)];
        let number = if transitive { frame.into() } else { k.pages[frame as usize].0 };
        if version == 2 {
            grant2(k, gref, to, flags, u32::from(arm.0) | u32::from(arm.1) << 16, number);
        } else {
            // The marks are the guest's not to touch: it changes an entry in use by an exchange.
            grant(k, gref, to, Mfn(number), flags | self.model.marks(dom, gref));
        }
        let entry = Entry { flags, to, arm, frame };
        self.model.tables.get_mut(&dom).unwrap().entries.insert(gref, entry);
    }

    fn map(&mut self) {
        let (dom, gref, write) = (self.granter(), self.gref(), self.rng.below(2) == 0);
        let at = 8 + self.rng.below(12) as usize;
        if self.model.mapped.iter().any(|m| m.at == at) {
            return self.unmap(at);
        }
        let a = &self.kernels[0];
        let done = map_at(a, a.va(at), if write { HOST } else { RO }, dom, gref);
        let wanted = self.model.open(0, dom, gref, write, true, 0);
        assert_eq!(done.status, wanted.err().unwrap_or(GNTST_OKAY), "{dom} {gref} {write}");
        if let Ok(of) = wanted {
            assert_eq!(done.dev_bus_addr >> 12, self.kernels[usize::from(of.dom)].pages[of.page as usize].0);
            self.model.mapped.push(Mapped { dom, gref, of, write, handle: done.handle, at });
        }
    }

    fn unmap(&mut self, at: usize) {
        let n = self.model.mapped.iter().position(|m| m.at == at).unwrap();
        let m = self.model.mapped.swap_remove(n);
        let a = &self.kernels[0];
        assert_eq!(unmap_at(a, a.va(at), m.handle), GNTST_OKAY);
    }

    /// Eight bytes to or from a grant; dom0 keeps what it fetches in its page 2.
    fn copy(&mut self) {
        let (dom, gref, write) = (self.granter(), self.gref(), self.rng.below(2) == 0);
        let place = self.rng.below(8) as usize;
        let a = &self.kernels[0];
        let theirs = GnttabCopyPtr { u: gref.into(), domid: dom, offset: place as u16 * 512, _pad0: 0 };
        let ours = GnttabCopyPtr { u: a.pages[2].0, domid: DOMID_SELF, offset: 0, _pad0: 0 };
        let value = u64::from(self.rng.below(u32::MAX));
        assert!(a.write(0, a.va(2), &value.to_le_bytes()));
        let done = if write {
            copy(a, ours, theirs, 8, GNTCOPY_DEST_GREF)
        } else {
            copy(a, theirs, ours, 8, GNTCOPY_SOURCE_GREF)
        };
        let wanted = self.model.open(0, dom, gref, write, false, 1).and_then(|of| {
            let inside = of.start <= place * 512 && place * 512 + 8 <= of.end;
            if inside { Ok((of.dom, of.page, place)) } else { Err(GNTST_GENERAL_ERROR) }
        });
        assert_eq!(done, wanted.err().unwrap_or(GNTST_OKAY), "{dom} {gref} {write} {place}");
        let Ok(key) = wanted else { return };
        if write {
            self.model.contents.insert(key, value);
        } else {
            let stands = self.model.contents.get(&key).copied().unwrap_or(0);
            assert_eq!(a.read(0, a.va(2)), Some(stands));
        }
    }

    fn change_version(&mut self) {
        let dom = self.granter();
        let to = 1 + self.rng.below(2);
        let k = &self.kernels[usize::from(dom)];
        let (answer, now) = set_version(k, to);
        let busy = self.model.mapped.iter().any(|m| m.dom == dom && m.gref >= 8);
        let table = self.model.tables.get_mut(&dom).unwrap();
        let seventh = table.entries.get(&7).copied().unwrap_or(EMPTY);
        let kind = seventh.flags & GTF_TYPE_MASK;
        let refused = if to == table.version {
            assert_eq!((answer, now), (Ok(0), to));
            return;
        } else if busy {
            Some(abi::Errno::EBUSY)
        } else if to == 1 && kind == GTF_TRANSITIVE {
            Some(abi::Errno::ERANGE)
        } else {
            None
        };
        assert_eq!((answer, now), (refused.map_or(Ok(0), Err), refused.map_or(to, |_| table.version)));
        if refused.is_none() {
            table.version = to;
            table.entries.retain(|&gref, _| gref < 8);
            if let Some(kept) = table.entries.get_mut(&7) {
                // What stands between is of version 2 alone.
                kept.arm = (0, 0);
                if to == 1 && kind != GTF_PERMIT_ACCESS {
                    *kept = EMPTY;
                }
            }
        }
    }

    fn swap(&mut self) {
        let (dom, a, b) = (self.granter(), self.gref(), self.gref());
        let mut op = [GnttabSwapGrantRef { ref_a: a, ref_b: b, status: 77, _pad0: 0 }];
        batch(&self.kernels[usize::from(dom)], GNTTABOP_SWAP_GRANT_REF, &mut op).unwrap();
        let used = |gref| self.model.uses(dom, gref).next().is_some();
        let busy = a != b && (used(a) || used(b));
        assert_eq!(op[0].status, if busy { GNTST_EAGAIN } else { GNTST_OKAY });
        if !busy {
            let entries = &mut self.model.tables.get_mut(&dom).unwrap().entries;
            let [x, y] = [a, b].map(|gref| entries.get(&gref).copied().unwrap_or(EMPTY));
            entries.insert(a, y);
            entries.insert(b, x);
        }
    }

    /// The marks that guests see, and what stands in mapped pages.
    fn compare(&self) {
        for (&dom, table) in &self.model.tables {
            let k = &self.kernels[usize::from(dom)];
            for gref in REFS {
                let marks = match table.version {
                    1 => word(k, gref) as u16 & (GTF_READING | GTF_WRITING),
                    _ => status(k, gref),
                };
                assert_eq!(marks, self.model.marks(dom, gref), "{dom} {gref}");
            }
            assert_eq!(k.guest.dom.grants.table.version() as u32, table.version);
        }
        for (&(dom, page, place), &value) in &self.model.contents {
            let f = FreshFrame(self.kernels[usize::from(dom)].pages[page as usize]);
            assert_eq!(self.kernels[0].guest.xen.m.load(&f, place * 512), value);
        }
    }
}

#[test]
fn tables_do_what_the_model_does() {
    for seed in 1..=8 {
        let mut run = Run::new(seed * 0x9e37_79b9);
        let before: Vec<_> = (1..5).map(|p| counts(&run.kernels[1], run.kernels[1].pages[p])).collect();
        for _ in 0..1500 {
            match run.rng.below(16) {
                0..5 => run.write_entry(),
                5..8 => run.map(),
                8 | 9 if !run.model.mapped.is_empty() => {
                    let n = run.rng.below(run.model.mapped.len() as u32) as usize;
                    run.unmap(run.model.mapped[n].at);
                }
                10 | 11 => run.change_version(),
                12 => run.swap(),
                _ => run.copy(),
            }
            run.compare();
        }
        while let Some(m) = run.model.mapped.last() {
            run.unmap(m.at);
        }
        run.compare();
        let after: Vec<_> = (1..5).map(|p| counts(&run.kernels[1], run.kernels[1].pages[p])).collect();
        assert_eq!(after, before);
        assert!(run.kernels.iter().all(idle));
    }
}
