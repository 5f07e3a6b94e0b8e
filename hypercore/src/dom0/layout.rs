//! Where everything lies when a PV kernel starts, as `xen.h` describes above `struct start_info`.
//!
//! From the kernel's notes, the size of the domain and of its initrd comes a [`Plan`]: which
//! pseudo-physical frame (pfn) each thing is in, which virtual range shows it, and every page table
//! with its entries, by pfn. [`super::contents`] writes it, for the hypervisor's first domain and for tools'.
//!
//! ```text
//! pfn 0 ── v_start: memory before the kernel, kernel, [initrd], [p2m], start_info, [rings], page
//!          tables, stack, at least 512 KiB of nothing, up to a 4 MiB boundary ── v_end
//! then, where the kernel's notes allow it: the initrd, not mapped
//! then, where its notes ask for it:        the p2m list, mapped elsewhere, and the tables for that
//! ```

use abi::arch_x86::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
use alloc::vec::Vec;
use x86::pte::{ENTRIES, PAGE_SHIFT, PAGE_SIZE, canonical};

use super::elf::Elf;
use super::error::ImageError;
use super::notes::Notes;
use crate::ids::Pfn;

const PAGE: u64 = PAGE_SIZE as u64;
/// The least that is left after the last element.
const PADDING: u64 = 512 << 10;
/// What the end of the region is aligned to.
const REGION_ALIGN: u64 = 4 << 20;
const STACK_PAGES: u64 = 1;

/// Consecutive frames that consecutive pages show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub va: u64,
    pub pfn: Pfn,
    pub pages: u64,
}

impl Mapping {
    fn end(&self) -> u64 {
        self.va + self.pages * PAGE
    }
    fn pfn_of(&self, va: u64) -> Option<Pfn> {
        let page = va.checked_sub(self.va)? / PAGE;
        (page < self.pages).then(|| Pfn(self.pfn.0 + page))
    }
}

/// A page table: entry `i` is for the addresses from `base + i * span / 512` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// 4 for the root, 1 for the one whose entries show pages.
    pub level: u8,
    /// First address it is responsible for.
    pub base: u64,
    pub pfn: Pfn,
}

/// An entry of a table: what it points at and whether the guest may write through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub pfn: Pfn,
    pub writable: bool,
}

/// Addresses of the pages that connect a guest with the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    pub store: u64,
    pub console: u64,
}

/// Where the kernel goes and everything around it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Frames the domain has.
    pub nr_pages: u64,
    /// The start-of-day region: pfn 0 and on.
    pub region: Mapping,
    /// `VIRT_BASE - PADDR_OFFSET`: what to add to an ELF physical address to get where it goes.
    pub load_offset: u64,
    /// First address of what is loaded.
    pub kernel_start: u64,
    pub entry: u64,
    pub hypercall_page: Option<u64>,
    /// First frame of the initrd and its length in bytes.
    pub initrd: Option<(Pfn, u64)>,
    /// Where the region shows the initrd; none: `mod_start` is a pfn.
    pub initrd_va: Option<u64>,
    /// The list of the domain's frames.
    pub p2m: Mapping,
    /// First frame and number of frames of what must stay read-only around the p2m list: the list and
    /// the tables that map it, where it has a place of its own.
    pub p2m_frames: Option<(Pfn, u64)>,
    pub start_info: u64,
    /// Pages that a guest shares with the store and with its console.
    pub rings: Option<Rings>,
    pub pt_base: u64,
    /// Tables that map the region, from `pt_base` on.
    pub nr_pt_frames: u64,
    /// The initial stack pointer.
    pub stack_end: u64,
    /// Every table, the root first; those of the region first.
    pub tables: Vec<Table>,
}

/// What the plan is made from, besides the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub nr_pages: u64,
    pub initrd_len: Option<u64>,
    /// With pages for the store and the console, which all but the first domain have.
    pub rings: bool,
}

fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

/// Bytes that one table of `level` is responsible for.
const fn span(level: u8) -> u64 {
    1 << (PAGE_SHIFT + 9 * level as u32)
}

/// The first address of the level-`level` table that `va` belongs to.
const fn table_base(va: u64, level: u8) -> u64 {
    if level >= 4 { 0 } else { va & !(span(level) - 1) }
}

/// Tables below the root needed to map from `start` to `end`, highest level first.
fn count_tables(start: u64, end: u64) -> u64 {
    let last = end - 1;
    (1..4).map(|level| (table_base(last, level) - table_base(start, level)) / span(level) + 1).sum()
}

/// Whether the addresses from `start` to `end` are canonical and not the hypervisor's.
fn guest_range(start: u64, end: u64) -> bool {
    start < end
        && canonical(start)
        && canonical(end - 1)
        && (start ^ (end - 1)) >> 63 == 0
        && (end <= HYPERVISOR_VIRT_START || start >= HYPERVISOR_VIRT_END)
}

impl Plan {
    /// Lays out `elf` with its `notes` in a domain of `request.nr_pages`.
    pub fn new(elf: &Elf<'_>, notes: &Notes, request: Request) -> Result<Plan, ImageError> {
        let v_start = notes.virt_base;
        let load_offset = v_start.wrapping_sub(notes.paddr_offset);
        if !v_start.is_multiple_of(PAGE) || !canonical(v_start) {
            return Err(ImageError::Field {
                what: "ELF note VIRT_BASE",
                found: v_start,
                expected: "a canonical multiple of the page size",
            });
        }
        let mut kernel_start = u64::MAX;
        let mut kernel_end = 0;
        for segment in elf.segments() {
            let start = segment.paddr.wrapping_add(load_offset);
            let end = start.checked_add(segment.mem_size);
            match end {
                Some(end) if start >= v_start => {
                    kernel_start = kernel_start.min(start);
                    kernel_end = kernel_end.max(end);
                }
                _ => {
                    return Err(ImageError::Field {
                        what: "p_paddr of an ELF segment, moved by VIRT_BASE - PADDR_OFFSET,",
                        found: start,
                        expected: "an address from VIRT_BASE on that does not wrap",
                    });
                }
            }
        }
        let too_high = ImageError::Field {
            what: "end of the kernel",
            found: kernel_end,
            expected: "room for the start-of-day region outside the hypervisor's addresses",
        };
        // The region cannot exceed the domain, which also keeps the sums below from overflowing.
        if kernel_end - v_start > request.nr_pages.saturating_mul(PAGE) {
            return Err(ImageError::NoRoom {
                what: "the kernel",
                need: pages(kernel_end - v_start),
                have: request.nr_pages,
            });
        }
        let entry = notes.entry.unwrap_or(elf.entry());
        if !(kernel_start..kernel_end).contains(&entry) {
            return Err(ImageError::Field {
                what: "ELF note ENTRY",
                found: entry,
                expected: "an address in the kernel",
            });
        }
        if let Some(page) = notes.hypercall_page
            && !(page.is_multiple_of(PAGE) && page >= kernel_start && page.saturating_add(PAGE) <= kernel_end)
        {
            return Err(ImageError::Field {
                what: "ELF note HYPERCALL_PAGE",
                found: page,
                expected: "a page-aligned address in the kernel",
            });
        }
        if let Some(low) = notes.hv_start_low
            && low > HYPERVISOR_VIRT_START
        {
            return Err(ImageError::Field {
                what: "ELF note HV_START_LOW",
                found: low,
                expected: "at most 0xffff800000000000",
            });
        }

        let initrd_pages = request.initrd_len.map_or(0, pages);
        let p2m_pages = pages(request.nr_pages.saturating_mul(8));
        // Everything must fit into the domain; the exact sum follows when it is laid out.
        let least = pages(kernel_end - v_start).saturating_add(initrd_pages).saturating_add(p2m_pages);
        let no_room = |need| ImageError::NoRoom {
            what: "kernel, initrd and the lists and tables for them",
            need,
            have: request.nr_pages,
        };
        if least >= request.nr_pages {
            return Err(no_room(least));
        }

        let mut at = v_start + pages(kernel_end - v_start) * PAGE;
        let mut take = |pages: u64| -> u64 {
            let va = at;
            at = at.wrapping_add(pages * PAGE);
            va
        };
        let initrd_va = (initrd_pages > 0 && !notes.mod_start_pfn).then(|| take(initrd_pages));
        let p2m_va = match notes.init_p2m {
            Some(va) => va,
            None => take(p2m_pages),
        };
        let start_info = take(1);
        let rings = request.rings.then(|| Rings { store: take(1), console: take(1) });
        let pt_base = at;
        // Each table added can make the region longer and need one more.
        let mut nr_pt = 1;
        let v_end = loop {
            let end = pt_base.wrapping_add((nr_pt + STACK_PAGES) * PAGE + PADDING);
            let end = end.checked_next_multiple_of(REGION_ALIGN).ok_or(too_high)?;
            if !guest_range(v_start, end) {
                return Err(too_high);
            }
            let need = 1 + count_tables(v_start, end);
            if need == nr_pt {
                break end;
            }
            nr_pt = need.max(nr_pt);
        };
        let pfn_of = |va: u64| Pfn((va - v_start) / PAGE);
        let region = Mapping { va: v_start, pfn: Pfn(0), pages: (v_end - v_start) / PAGE };

        let mut next = Pfn(region.pages);
        let initrd = request.initrd_len.filter(|len| *len > 0).map(|len| match initrd_va {
            Some(va) => (pfn_of(va), len),
            None => {
                let pfn = next;
                next.0 += initrd_pages;
                (pfn, len)
            }
        });
        let p2m = Mapping {
            va: p2m_va,
            pfn: if notes.init_p2m.is_some() { next } else { pfn_of(p2m_va) },
            pages: p2m_pages,
        };

        let mut plan = Plan {
            nr_pages: request.nr_pages,
            region,
            load_offset,
            kernel_start,
            entry,
            hypercall_page: notes.hypercall_page,
            initrd,
            initrd_va,
            p2m,
            p2m_frames: None,
            start_info,
            rings,
            pt_base,
            nr_pt_frames: nr_pt,
            stack_end: pt_base + (nr_pt + STACK_PAGES) * PAGE,
            tables: Vec::new(),
        };
        let first = pfn_of(pt_base);
        plan.add_table(Table { level: 4, base: 0, pfn: first })?;
        let after = plan.add_tables(v_start, v_end, Pfn(first.0 + 1))?;
        debug_assert_eq!(after.0, first.0 + nr_pt);
        if let Some(va) = notes.init_p2m {
            if !va.is_multiple_of(PAGE) || !guest_range(va, va.saturating_add(p2m_pages * PAGE)) {
                return Err(ImageError::Field {
                    what: "ELF note INIT_P2M",
                    found: va,
                    expected: "a page-aligned address with room for the list outside the hypervisor's addresses",
                });
            }
            if va < v_end && p2m.end() > v_start {
                return Err(ImageError::Field {
                    what: "ELF note INIT_P2M",
                    found: va,
                    expected: "an address outside the start-of-day region",
                });
            }
            let end = plan.add_tables(va, p2m.end(), Pfn(next.0 + p2m_pages))?;
            plan.p2m_frames = Some((next, end.0 - next.0));
            next = end;
        }
        if next.0 > request.nr_pages {
            return Err(no_room(next.0));
        }
        Ok(plan)
    }

    fn add_table(&mut self, table: Table) -> Result<(), ImageError> {
        self.tables.try_reserve(1).map_err(|_| ImageError::NoMemory { what: "page tables" })?;
        self.tables.push(table);
        Ok(())
    }

    /// Adds the tables below the root that map from `start` to `end`, unless they are there already,
    /// in frames from `next` on; returns the first frame left over.
    fn add_tables(&mut self, start: u64, end: u64, mut next: Pfn) -> Result<Pfn, ImageError> {
        for level in [3, 2, 1] {
            let mut base = table_base(start, level);
            let last = table_base(end - 1, level);
            loop {
                if self.table(level, base).is_none() {
                    self.add_table(Table { level, base, pfn: next })?;
                    next.0 += 1;
                }
                if base == last {
                    break;
                }
                base += span(level);
            }
        }
        Ok(next)
    }

    fn table(&self, level: u8, base: u64) -> Option<&Table> {
        self.tables.iter().find(|table| table.level == level && table.base == base)
    }

    /// Entry `index` of `table`, if it is to be present.
    pub fn entry(&self, table: &Table, index: usize) -> Option<Entry> {
        debug_assert!(index < ENTRIES);
        let step = span(table.level) / ENTRIES as u64;
        let mut va = table.base.wrapping_add(index as u64 * step);
        if table.level == 4 && index >= ENTRIES / 2 {
            va |= 0xffff << 48;
        }
        if table.level > 1 {
            let below = self.table(table.level - 1, va)?;
            return Some(Entry { pfn: below.pfn, writable: true });
        }
        let pfn = self.region.pfn_of(va).or_else(|| self.p2m.pfn_of(va))?;
        Some(Entry { pfn, writable: !self.is_table(pfn) })
    }

    /// Whether the frame holds a page table.
    pub fn is_table(&self, pfn: Pfn) -> bool {
        let first = self.tables[0].pfn.0;
        let region = first..first + self.nr_pt_frames;
        let (p2m, frames) = self.p2m_frames.unwrap_or((Pfn(0), 0));
        let beyond = p2m.0 + self.p2m.pages.min(frames)..p2m.0 + frames;
        region.contains(&pfn.0) || beyond.contains(&pfn.0)
    }

    /// Frames from 0 on of which something is in some; the others are the kernel's to use.
    pub fn used_pages(&self) -> u64 {
        let initrd = self.initrd.map_or(0, |(pfn, len)| pfn.0 + pages(len));
        let p2m = self.p2m_frames.map_or(0, |(pfn, frames)| pfn.0 + frames);
        self.region.pages.max(initrd).max(p2m)
    }

    /// The frame behind an address of the region.
    pub fn pfn_at(&self, va: u64) -> Option<Pfn> {
        self.region.pfn_of(va)
    }
}

#[cfg(test)]
mod tests {
    use super::super::elf::synthetic;
    use super::*;
    use std::collections::BTreeMap;

    const BASE: u64 = 0xffff_ffff_8000_0000;

    fn notes() -> Notes {
        Notes {
            present: true,
            entry: Some(BASE + 0x100_0010),
            virt_base: BASE,
            init_p2m: Some(0x80_0000_0000),
            mod_start_pfn: true,
            ..Notes::default()
        }
    }

    /// A kernel of 48 MiB at 16 MiB.
    fn plan(notes: &Notes, nr_pages: u64, initrd_len: Option<u64>) -> Result<Plan, ImageError> {
        let image = synthetic::elf(0, &[(0x100_0000, BASE + 0x100_0000, 0x300_0000, b"code")], b"");
        Plan::new(&Elf::parse(&image).unwrap(), notes, Request { nr_pages, initrd_len, rings: false })
    }

    /// What a processor would see: every mapped page, found by walking the plan's tables.
    fn walk(plan: &Plan) -> BTreeMap<u64, Entry> {
        let by_pfn: BTreeMap<u64, &Table> = plan.tables.iter().map(|t| (t.pfn.0, t)).collect();
        assert_eq!(by_pfn.len(), plan.tables.len(), "two tables in one frame");
        let mut seen = BTreeMap::new();
        let mut visited = 1;
        let mut todo = std::vec![(plan.tables[0], 0u64)];
        while let Some((table, base)) = todo.pop() {
            for i in 0..ENTRIES {
                let Some(entry) = plan.entry(&table, i) else { continue };
                let mut va = base + i as u64 * (span(table.level) / 512);
                if table.level == 4 && i >= 256 {
                    va |= 0xffff << 48;
                }
                if table.level == 1 {
                    assert!(seen.insert(va, entry).is_none());
                } else {
                    let below = by_pfn[&entry.pfn.0];
                    assert_eq!((below.level, below.base), (table.level - 1, va));
                    visited += 1;
                    todo.push((*below, va));
                }
            }
        }
        assert_eq!(visited, plan.tables.len(), "a table nobody points at");
        seen
    }

    #[test]
    fn linux_layout() {
        let plan = plan(&notes(), 262_144, Some(10_000_001)).unwrap();
        assert_eq!(plan.region.va, BASE);
        assert_eq!(plan.start_info, BASE + 0x400_0000);
        assert_eq!(plan.pt_base, plan.start_info + PAGE);
        let end = plan.region.end();
        assert_eq!(end % REGION_ALIGN, 0);
        assert!(end - plan.stack_end >= PADDING && end - plan.stack_end < PADDING + REGION_ALIGN);
        // 68 MiB in 2 MiB steps, and one table of each level above.
        assert_eq!((end - BASE, plan.nr_pt_frames), (68 << 20, 34 + 3));
        assert_eq!(plan.stack_end, plan.pt_base + 38 * PAGE);
        // The initrd is not mapped and follows the region; the list and its tables follow it.
        assert_eq!(plan.initrd, Some((Pfn(68 << 8), 10_000_001)));
        assert_eq!(plan.initrd_va, None);
        let list = Pfn((68 << 8) + 2442);
        assert_eq!(plan.p2m, Mapping { va: 0x80_0000_0000, pfn: list, pages: 512 });
        assert_eq!(plan.p2m_frames, Some((list, 512 + 3)));
    }

    #[test]
    fn tables_show_exactly_what_the_header_says() {
        let plan = plan(&notes(), 262_144, Some(4096)).unwrap();
        let seen = walk(&plan);
        assert_eq!(seen.len() as u64, plan.region.pages + plan.p2m.pages);
        for (va, entry) in seen {
            let (pfn, writable) = match va.checked_sub(BASE) {
                Some(offset) => (offset / PAGE, !plan.tables.iter().any(|t| t.pfn.0 == offset / PAGE)),
                None => (plan.p2m.pfn.0 + (va - 0x80_0000_0000) / PAGE, true),
            };
            assert_eq!(entry, Entry { pfn: Pfn(pfn), writable }, "at {va:#x}");
        }
    }

    #[test]
    fn without_the_newer_notes_everything_is_in_the_region() {
        let old = Notes { init_p2m: None, mod_start_pfn: false, ..notes() };
        let plan = plan(&old, 262_144, Some(10_000_001)).unwrap();
        assert_eq!(plan.initrd_va, Some(BASE + 0x400_0000));
        assert_eq!(plan.initrd, Some((Pfn(0x4000), 10_000_001)));
        assert_eq!(plan.p2m.va, BASE + 0x400_0000 + 2442 * PAGE);
        assert_eq!(plan.p2m.pfn, Pfn(0x4000 + 2442));
        assert_eq!(plan.start_info, plan.p2m.end());
        assert_eq!(plan.p2m_frames, None);
        assert_eq!(walk(&plan).len() as u64, plan.region.pages);
    }

    #[test]
    fn the_number_of_tables_fits_whatever_the_end() {
        let old = Notes { init_p2m: None, mod_start_pfn: false, ..notes() };
        for initrd in (1u64..400).map(|n| n * 64 * PAGE + 1) {
            let plan = plan(&old, 1 << 18, Some(initrd)).unwrap();
            assert_eq!(plan.tables.len() as u64, plan.nr_pt_frames);
            assert!(plan.region.end() - plan.stack_end >= PADDING);
            assert_eq!(plan.region.end() % REGION_ALIGN, 0);
        }
    }

    #[test]
    fn a_guest_has_two_pages_more() {
        let image = synthetic::elf(0, &[(0x100_0000, BASE + 0x100_0000, 0x300_0000, b"code")], b"");
        let of = |rings| {
            let request = Request { nr_pages: 0x10000, initrd_len: Some(5000), rings };
            Plan::new(&Elf::parse(&image).unwrap(), &notes(), request).unwrap()
        };
        let (first, guest) = (of(false), of(true));
        assert_eq!(first.rings, None);
        let (store, console) = (guest.start_info + PAGE, guest.start_info + 2 * PAGE);
        assert_eq!(guest.rings, Some(Rings { store, console }));
        assert_eq!((guest.start_info, guest.pt_base), (first.start_info, first.pt_base + 2 * PAGE));
        assert_eq!(guest.kernel_start, BASE + 0x100_0000);
        let (p2m, frames) = guest.p2m_frames.unwrap();
        assert_eq!(guest.used_pages(), p2m.0 + frames);
        assert_eq!(guest.used_pages(), guest.region.pages + 2 + 0x80 + 3);
    }

    #[test]
    fn what_cannot_be_laid_out_is_refused() {
        let field = |result: Result<Plan, ImageError>| match result.unwrap_err() {
            ImageError::Field { what, .. } => what,
            other => panic!("{other}"),
        };
        let with = |f: &dyn Fn(&mut Notes)| {
            let mut notes = notes();
            f(&mut notes);
            field(plan(&notes, 262_144, None))
        };
        assert_eq!(with(&|n| n.entry = Some(BASE)), "ELF note ENTRY");
        assert_eq!(with(&|n| n.hypercall_page = Some(BASE + 0x100_0800)), "ELF note HYPERCALL_PAGE");
        assert_eq!(with(&|n| n.init_p2m = Some(0xffff_8000_0000_0000)), "ELF note INIT_P2M");
        assert_eq!(with(&|n| n.init_p2m = Some(BASE + 0x1000)), "ELF note INIT_P2M");
        assert_eq!(with(&|n| n.virt_base = 0x8000_0000_0000_0000), "ELF note VIRT_BASE");
        assert_eq!(with(&|n| n.hv_start_low = Some(u64::MAX)), "ELF note HV_START_LOW");
        assert_eq!(
            with(&|n| n.paddr_offset = 0x200_0000),
            "p_paddr of an ELF segment, moved by VIRT_BASE - PADDR_OFFSET,"
        );
        assert_eq!(
            with(&|n| {
                n.virt_base = 0xffff_87ff_fc00_0000;
                n.entry = Some(0xffff_87ff_fd00_0000);
            }),
            "end of the kernel"
        );
        for pages in [0, 1, 0x4000, 0x4400] {
            let result = plan(&notes(), pages, Some(4096));
            assert!(matches!(result, Err(ImageError::NoRoom { .. })), "{pages} pages");
        }
    }
}
