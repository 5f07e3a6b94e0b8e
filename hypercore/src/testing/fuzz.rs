//! Random hypercall sequences of several domains on several CPUs, with the audit as the judge.
//!
//! The same driver runs from a seed (tests, `examples/fuzz_hypercalls.rs`) and from bytes a fuzzer chooses
//! (`fuzz/`).

use super::kernel::{BASE, Kernel, RO, RW};
use super::machine::set_cpu;
use super::world::{Guest, World, check};
use crate::domain::Dying;
use crate::emulate::ptwr::{PteWrite, TableOps};
use crate::frame::CanRead;
use crate::ids::{CpuId, Mfn, VcpuId};
use crate::machine::Frames;
use crate::mm::{self, Fail};
use crate::{event, grant};
use abi::grant_table::*;
use abi::xen::*;
use core::mem::offset_of;
use std::vec::Vec;
use x86::pte::Pte;

/// Where decisions come from.
pub enum Source {
    /// xorshift64*.
    Seed(u64),
    Bytes(std::vec::IntoIter<u8>),
}

impl Source {
    /// `None` when there are no more bytes.
    pub(super) fn next(&mut self) -> Option<u64> {
        match self {
            Source::Seed(s) => {
                *s ^= *s >> 12;
                *s ^= *s << 25;
                *s ^= *s >> 27;
                Some(s.wrapping_mul(0x2545_f491_4f6c_dd1d))
            }
            Source::Bytes(b) => {
                let n = u64::from(b.next()?) | u64::from(b.next()?) << 8 | u64::from(b.next()?) << 16;
                Some(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            }
        }
    }
}

/// Frames of the world; few, so that the same ones meet again and again.
const FRAMES: u64 = 320;
const CPUS: u32 = 3;
/// Data pages of each guest.
const PAGES: usize = 20;
/// Pages the guests leave mapped mostly, for arguments.
const KEPT: usize = 2;
/// Domains at a time; the first is dom0.
const DOMAINS: usize = 3;

/// Grant operations whose elements have a status, and where.
const STATUS_AT: [(u32, usize); 9] = [
    (GNTTABOP_MAP_GRANT_REF, offset_of!(GnttabMapGrantRef, status)),
    (GNTTABOP_UNMAP_GRANT_REF, offset_of!(GnttabUnmapGrantRef, status)),
    (GNTTABOP_SETUP_TABLE, offset_of!(GnttabSetupTable, status)),
    (GNTTABOP_TRANSFER, offset_of!(GnttabTransfer, status)),
    (GNTTABOP_COPY, offset_of!(GnttabCopy, status)),
    (GNTTABOP_QUERY_SIZE, offset_of!(GnttabQuerySize, status)),
    (GNTTABOP_UNMAP_AND_REPLACE, offset_of!(GnttabUnmapAndReplace, status)),
    (GNTTABOP_GET_STATUS_FRAMES, offset_of!(GnttabGetStatusFrames, status)),
    (GNTTABOP_SWAP_GRANT_REF, offset_of!(GnttabSwapGrantRef, status)),
];

/// What the driver does, to count how much of it succeeds.
pub const KINDS: [&str; 14] = [
    "mmu_update",
    "update_va",
    "mmuext",
    "write",
    "ptwr",
    "descriptors",
    "grant entry",
    "grant map",
    "grant unmap",
    "grant copy",
    "grant version",
    "other",
    "schedule",
    "destroy",
];

/// A run.
pub struct Fuzz {
    world: World,
    source: Source,
    /// The only domain and vCPU that act, where several threads share a world.
    fixed: Option<(usize, u32)>,
    guests: Vec<Kernel>,
    zombies: Vec<Guest>,
    /// Grant mappings made: domain, handle, address.
    mapped: Vec<(u16, u32, u64)>,
    next_id: u16,
    free_at_start: u64,
    pub steps: u64,
    /// By kind: tried, succeeded.
    pub stats: [(u64, u64); KINDS.len()],
    last: &'static str,
}

impl Fuzz {
    pub fn new(source: Source) -> Self {
        let world = World::new(FRAMES, CPUS);
        let free_at_start = world.xen.frames.alloc.free_pages();
        let mut f = Self {
            world,
            source,
            fixed: None,
            guests: Vec::new(),
            zombies: Vec::new(),
            mapped: Vec::new(),
            next_id: 0,
            free_at_start,
            steps: 0,
            stats: Default::default(),
            last: "start",
        };
        for _ in 0..DOMAINS {
            let k = f.create(f.next_id);
            f.guests.push(k);
            f.next_id += 1;
        }
        f
    }

    /// Another driver of the same domains, that acts as one vCPU only and destroys nothing: for a thread of its
    /// own. The vCPU gets a CPU to itself.
    pub fn share(&self, seed: u64, who: usize, v: u32, cpu: u32) -> Self {
        let g = &self.guests[who].guest;
        g.dom.dirty_cpus.insert(CpuId(cpu));
        g.dom.vcpu(VcpuId(v)).expect("a vCPU").set_processor(CpuId(cpu));
        Self {
            world: World { xen: self.world.xen },
            source: Source::Seed(seed | 1),
            fixed: Some((who, v)),
            guests: self.guests.clone(),
            zombies: Vec::new(),
            mapped: Vec::new(),
            next_id: 0,
            free_at_start: 0,
            steps: 0,
            stats: Default::default(),
            last: "start",
        }
    }

    /// Everything anew, with other decisions: all domains are destroyed, which must return every frame.
    pub fn restart(&mut self, source: Source) {
        self.replace(0);
        self.mapped.clear();
        self.source = source;
        self.steps = 0;
    }

    fn create(&self, id: u16) -> Kernel {
        let g = self.world.domain(id, 2);
        g.dom.memory.set_max_pages(PAGES as u32 + 24);
        g.dom.io.iomem.write().add(2, 3).expect("memory for a range");
        let k = g.boot(PAGES);
        grant::grow(self.world.xen, &g.dom, 1).expect("memory for a grant table");
        k
    }

    fn below(&mut self, n: u64) -> Option<u64> {
        Some((self.source.next()? >> 8) % n)
    }

    /// One step; false when the source is exhausted.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        self.try_step().is_some()
    }

    /// Stops at the first thing that should not be. Panics say what.
    pub fn check(&self) {
        check(self.world.xen, &std::format!("step {} ({})", self.steps, self.last));
    }

    fn try_step(&mut self) -> Option<()> {
        let who = self.below(self.guests.len() as u64)? as usize;
        let v = self.below(2)? as u32;
        let (who, v) = self.fixed.unwrap_or((who, v));
        // A guest that lost its argument page can do nothing more.
        if self.fixed.is_none() && !self.guests[who].write(v, BASE, &[0]) {
            self.last = "replace";
            self.replace(who);
            return Some(());
        }
        if !self.guests[who].write(v, BASE, &[0]) {
            return None;
        }
        let every = [0, 0, 0, 1, 2, 5][self.below(6)? as usize];
        self.guests[who].preempt_every(every);
        let kind = match self.below(1000)? {
            0..350 => 0,
            350..450 => 1,
            450..620 => 2,
            620..720 => 3,
            720..760 => 4,
            760..800 => 5,
            800..840 => 6,
            840..890 => 7,
            890..920 => 8,
            920..940 => 9,
            940..945 => 10,
            945..975 => 11,
            975..997 => 12,
            _ => 13,
        };
        self.last = KINDS[kind];
        let ok = match kind {
            0 => self.mmu_update(who, v)?,
            1 => self.update_va(who, v)?,
            2 => self.mmuext(who, v)?,
            3 => self.write(who, v)?,
            4 => self.ptwr(who, v)?,
            5 => self.descriptors(who, v)?,
            6 => self.grant_entry(who)?,
            7 => self.grant_map(who, v)?,
            8 => self.grant_unmap(who, v)?,
            9 => self.grant_copy(who, v)?,
            10 => self.grant_version(who, v)?,
            11 => self.other(who, v)?,
            12 | 13 if self.fixed.is_some() => true,
            12 => self.schedule(who, v)?,
            _ => {
                self.replace(who);
                true
            }
        };
        self.stats[kind].0 += 1;
        self.stats[kind].1 += u64::from(ok);
        Some(())
    }

    /// A frame: mostly the domain's own, sometimes another's, the hypervisor's, or none at all.
    fn frame(&mut self, who: usize) -> Option<Mfn> {
        let owner = match self.below(16)? {
            0..12 => who,
            12..14 => self.below(self.guests.len() as u64)? as usize,
            14 => return Some(Mfn(self.below(FRAMES)?)),
            _ => return Some(Mfn(1 << self.below(52)?)),
        };
        let n = self.below(PAGES as u64 + 7)? as usize;
        let k = &self.guests[owner];
        Some(match n {
            0..PAGES => k.pages[n],
            _ if n < PAGES + 4 => k.tables[n - PAGES],
            // Entries of its grant table, and status words if it has any.
            _ if n > PAGES + 4 => {
                k.guest.dom.grants.shared_frames().nth(n - PAGES - 5).map_or(Mfn(0), CanRead::mfn)
            }
            _ => k.guest.dom.shared_info.frame().mfn(),
        })
    }

    /// An index into a table: mostly where something is.
    fn index(&mut self) -> Option<usize> {
        Some(match self.below(16)? {
            0..12 => KEPT + self.below(10)? as usize,
            12 | 13 => (BASE >> 21) as usize & 511,
            14 => self.below(512)? as usize,
            _ => self.below(2)? as usize * 255,
        })
    }

    fn entry(&mut self, who: usize) -> Option<u64> {
        let mfn = self.frame(who)?.0;
        let flags = match self.below(12)? {
            0..5 => RW,
            5..9 => RO,
            9 => 0,
            10 => Pte::PRESENT | self.source.next()? & 0x7ff,
            _ => Pte::PRESENT | self.source.next()? & !Pte::ADDR,
        };
        Some(Pte::new(mfn, flags).0)
    }

    fn domid(&mut self, who: usize) -> Option<u64> {
        Some(match self.below(8)? {
            0..4 => u64::from(DOMID_SELF),
            4..7 => {
                let n = self.below(self.guests.len() as u64)? as usize;
                u64::from(self.guests[n].guest.dom.id.0)
            }
            _ => {
                u64::from([DOMID_IO, DOMID_XEN, 77, self.guests[who].guest.dom.id.0][self.below(4)? as usize])
            }
        })
    }

    fn mmu_update(&mut self, who: usize, v: u32) -> Option<bool> {
        let n = 1 + self.below(4)?;
        let mut reqs = Vec::new();
        for _ in 0..n {
            let table = if self.below(2)? == 0 {
                let level = self.below(4)? as usize;
                self.guests[who].tables[level]
            } else {
                self.frame(who)?
            };
            let (index, val, cmd) = (self.index()?, self.entry(who)?, self.below(8)?);
            let cmd = if cmd < 4 { cmd } else { MMU_NORMAL_PT_UPDATE };
            // One in many is not aligned.
            let odd = if self.below(64)? == 0 { 4 } else { 0 };
            reqs.push((self.guests[who].slot(Mfn(table.0 & ((1 << 52) - 1)), index) | odd | cmd, val));
        }
        let mut domid = self.domid(who)?;
        if self.below(8)? == 0 {
            domid |= ((self.domid(who)? & 0x7fff) + 1) << 16;
        }
        Some(self.guests[who].mmu_update(v, &reqs, domid).0.is_ok())
    }

    fn va(&mut self) -> Option<u64> {
        Some(match self.below(8)? {
            0..7 => BASE + (self.index()? as u64) * 4096,
            _ => self.source.next()?,
        })
    }

    fn update_va(&mut self, who: usize, v: u32) -> Option<bool> {
        let (va, val, flags, domid) = (self.va()?, self.entry(who)?, self.below(8)?, self.domid(who)?);
        let flags = if self.below(8)? == 0 { flags & 3 | self.va()? & !7 } else { flags };
        let (nr, args) = if self.below(3)? == 0 {
            (HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN, [va, val, flags, domid, 0, 0])
        } else {
            (HYPERVISOR_UPDATE_VA_MAPPING, [va, val, flags, 0, 0, 0])
        };
        Some(self.guests[who].hypercall(v, nr, args).is_ok())
    }

    fn mmuext(&mut self, who: usize, v: u32) -> Option<bool> {
        let cmd = match self.below(24)? {
            n @ 0..12 => n as u32 % 5,
            n @ 12..16 => [MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR][n as usize % 2],
            _ => self.below(22)? as u32,
        };
        let (arg1, arg2) = match cmd {
            MMUEXT_SET_LDT => (self.va()? & !0xfff, self.below(1024)?),
            6..=11 => (self.va()?, self.va()?),
            _ => (self.frame(who)?.0, self.frame(who)?.0),
        };
        let domid = if self.below(4)? == 0 { self.domid(who)? } else { u64::from(DOMID_SELF) };
        Some(self.guests[who].mmuext(v, cmd, arg1, arg2, domid).is_ok())
    }

    /// The guest's own accesses: contents for tables to come, and cached translations.
    fn write(&mut self, who: usize, v: u32) -> Option<bool> {
        let (page, index, val) = (self.index()?, self.index()?, self.entry(who)?);
        let va = BASE + page as u64 * 4096 + index as u64 * 8;
        let k = &self.guests[who];
        Some(if val & 0x100 != 0 { k.read(v, va).is_some() } else { k.write(v, va, &val.to_le_bytes()) })
    }

    fn ptwr(&mut self, who: usize, v: u32) -> Option<bool> {
        let (page, index, val) = (PAGES as u64 + self.below(4)?, self.index()?, self.entry(who)?);
        let va = BASE + page * 4096 + index as u64 * 8;
        let compare = self.below(2)? == 0;
        let k = &self.guests[who];
        k.enter(v);
        Some(k.guest.call(v, |cx| {
            let mut tables = mm::ptwr::Tables { cx };
            let Some(old) = tables.read(va) else { return false };
            let write = if compare { PteWrite::CmpXchg { old, new: val } } else { PteWrite::Write(val) };
            tables.commit(va, write) == crate::emulate::ptwr::Commit::Done
        }))
    }

    fn descriptors(&mut self, who: usize, v: u32) -> Option<bool> {
        match self.below(4)? {
            0 => {
                let list = [self.frame(who)?.0, self.frame(who)?.0];
                let entries = self.below(1024)?;
                let k = &self.guests[who];
                let bytes: Vec<u8> = list.iter().flat_map(|m| m.to_le_bytes()).collect();
                let written = k.write(v, BASE, &bytes);
                Some(written && k.hypercall(v, HYPERVISOR_SET_GDT, [BASE, entries, 0, 0, 0, 0]).is_ok())
            }
            1 => {
                let at = (self.frame(who)?.0 << 12) | (self.index()? as u64 * 8);
                let desc = self.source.next()?;
                Some(
                    self.guests[who]
                        .hypercall(v, HYPERVISOR_UPDATE_DESCRIPTOR, [at, desc, 0, 0, 0, 0])
                        .is_ok(),
                )
            }
            _ => {
                let offset = self.below(8192)?;
                let k = &self.guests[who];
                k.enter(v);
                Some(k.guest.call(v, |cx| mm::desc::ldt_fault(cx, offset)))
            }
        }
    }

    /// An entry in the layout that is in force; now and then in the other.
    fn grant_entry(&mut self, who: usize) -> Option<bool> {
        let (entry, page) = (6 + self.below(6)?, self.below(PAGES as u64)? as usize);
        let mfn = if self.below(4)? == 0 { self.frame(who)? } else { self.guests[who].pages[page] };
        let to = self.below(self.guests.len() as u64)? as usize;
        let to = u64::from(self.guests[to].guest.dom.id.0);
        let flags = [1, 1, 1, 1, 1, 5, 0, 3, 0x101, 0x101, 3, 7][self.below(12)? as usize];
        let via = self.below(self.guests.len() as u64)? as usize;
        let via = u64::from(self.guests[via].guest.dom.id.0);
        let (arm, second) = match flags & 3 {
            3 => (via, 6 + self.below(6)?),
            _ => ((self.below(4)? << 10) | (self.below(4)? << 26), mfn.0),
        };
        let odd = self.below(32)? == 0;
        let k = &self.guests[who];
        let Some(f) = k.guest.dom.grants.shared_frame(0) else { return Some(false) };
        let store = |at: u64, word| k.guest.xen.m.store(f, at as usize, word);
        if (k.guest.dom.grants.version() == grant::Version::Two) != odd {
            store(entry * 16 + 8, second);
            store(entry * 16, flags | to << 16 | arm << 32);
        } else {
            store(entry * 8, flags | to << 16 | mfn.0 << 32);
        }
        Some(true)
    }

    fn grant_version(&mut self, who: usize, v: u32) -> Option<bool> {
        let version = 1 + self.below(2)?;
        let k = &self.guests[who];
        let written = k.write(v, BASE, &version.to_le_bytes());
        Some(written && k.hypercall(v, HYPERVISOR_GRANT_TABLE_OP, [8, BASE, 1, 0, 0, 0]).is_ok())
    }

    fn grant_copy(&mut self, who: usize, v: u32) -> Option<bool> {
        let mut words = [0u64; 5];
        let mut flags = 0;
        for end in 0..2 {
            let offset = self.below(8)? * 512;
            let (what, dom) = if self.below(3)? == 0 {
                (self.frame(who)?.0, u64::from(DOMID_SELF))
            } else {
                flags |= 1 << end;
                let from = self.below(self.guests.len() as u64)? as usize;
                (6 + self.below(6)?, u64::from(self.guests[from].guest.dom.id.0))
            };
            (words[end * 2], words[end * 2 + 1]) = (what, dom | offset << 16);
        }
        words[4] = (self.below(5)? * 300) | (flags << 16);
        let bytes: Vec<u8> = words.iter().flat_map(|m| m.to_le_bytes()).collect();
        Some(self.grant_bytes(who, v, GNTTABOP_COPY, &bytes))
    }

    fn grant_map(&mut self, who: usize, v: u32) -> Option<bool> {
        let from = self.below(self.guests.len() as u64)? as usize;
        let from = self.guests[from].guest.dom.id.0;
        let (gref, bits) = (6 + self.below(6)?, self.below(8)?);
        let by_pte = self.below(3)? == 0;
        let index = self.index()?;
        let host = if by_pte { self.guests[who].pte(index) } else { self.va()? };
        let flags = bits & !1 | 2 | if by_pte { 16 } else { 0 };
        let words = [host, flags & 0xffff_ffff | gref << 32, u64::from(from), 0];
        let ok = self.grant_op(who, v, GNTTABOP_MAP_GRANT_REF, &words)?;
        if ok && self.mapped.len() < 256 {
            let k = &self.guests[who];
            let handle = (k.read(v, BASE + 16).unwrap_or(0) >> 32) as u32;
            self.mapped.push((k.guest.dom.id.0, handle, host));
        }
        Some(ok)
    }

    fn grant_unmap(&mut self, who: usize, v: u32) -> Option<bool> {
        let id = self.guests[who].guest.dom.id.0;
        if self.below(4)? != 0
            && let Some(at) = self.mapped.iter().position(|m| m.0 == id)
        {
            let (_, handle, host) = self.mapped.swap_remove(at);
            return self.grant_op(who, v, GNTTABOP_UNMAP_GRANT_REF, &[host, 0, u64::from(handle)]);
        }
        let handle = self.below(12)?;
        let index = self.index()?;
        let host = if self.below(3)? == 0 { self.guests[who].pte(index) } else { self.va()? };
        self.grant_op(who, v, GNTTABOP_UNMAP_GRANT_REF, &[host, 0, handle])
    }

    fn grant_op(&mut self, who: usize, v: u32, cmd: u32, words: &[u64]) -> Option<bool> {
        let bytes: Vec<u8> = words.iter().flat_map(|m| m.to_le_bytes()).collect();
        Some(self.grant_bytes(who, v, cmd, &bytes))
    }

    /// One element of a grant operation; whether it did not fail.
    fn grant_bytes(&self, who: usize, v: u32, cmd: u32, bytes: &[u8]) -> bool {
        let k = &self.guests[who];
        match STATUS_AT.iter().find(|s| s.0 == cmd) {
            // Threads of one guest write over each other's arguments, statuses among them.
            Some((_, at)) if self.fixed.is_none() => k.grant_op(v, cmd, bytes, *at) == Ok(0),
            _ => {
                let args = [cmd.into(), BASE, 1, 0, 0, 0];
                k.write(v, BASE, bytes) && k.hypercall(v, HYPERVISOR_GRANT_TABLE_OP, args).is_ok()
            }
        }
    }

    /// Calls with an argument block of values that may mean something.
    fn other(&mut self, who: usize, v: u32) -> Option<bool> {
        let mut words = [0u64; 16];
        for w in &mut words {
            *w = match self.below(6)? {
                0 => self.frame(who)?.0,
                1 => self.below(4)?,
                2 => (BASE + self.below(4096)?) & !7,
                3 => self.domid(who)?,
                4 => 1 << self.below(64)?,
                _ => self.source.next()?,
            };
        }
        // A reservation is one more often than chance would have it.
        if self.below(2)? == 0 {
            words[..4].copy_from_slice(&[BASE + 64, 1 + self.below(3)?, 0, u64::from(DOMID_SELF)]);
            words[8] = self.frame(who)?.0;
        }
        let (nr, cmd) = match self.below(3)? {
            0 => (HYPERVISOR_MEMORY_OP, [0, 1, 6, 11][self.below(4)? as usize]),
            1 => (HYPERVISOR_EVENT_CHANNEL_OP, self.below(14)?),
            _ => (HYPERVISOR_GRANT_TABLE_OP, self.below(13)?),
        };
        let bytes: Vec<u8> = words.iter().flat_map(|m| m.to_le_bytes()).collect();
        if nr == HYPERVISOR_GRANT_TABLE_OP {
            return Some(self.grant_bytes(who, v, cmd as u32, &bytes));
        }
        let k = &self.guests[who];
        Some(k.write(v, BASE, &bytes) && k.hypercall(v, nr, [cmd, BASE, 1, 0, 0, 0]).is_ok())
    }

    /// A vCPU moves to another CPU; the old one idles on its tables.
    fn schedule(&mut self, who: usize, v: u32) -> Option<bool> {
        let to = CpuId(self.below(u64::from(CPUS))? as u32);
        let g = &self.guests[who].guest;
        g.dom.dirty_cpus.insert(to);
        g.dom.vcpu(VcpuId(v))?.set_processor(to);
        Some(true)
    }

    /// The domain is destroyed and another comes in its place, dom0 with the same number.
    fn replace(&mut self, who: usize) {
        let old = self.guests[who].guest.clone();
        let id = old.dom.id.0;
        self.destroy(&old);
        drop(old);
        let new = if id == 0 {
            // All of the others' mappings of it go as well, so that its number is free.
            for i in 1..self.guests.len() {
                let g = self.guests[i].guest.clone();
                self.destroy(&g);
            }
            self.bury();
            assert!(self.zombies.is_empty(), "step {}: frames held by nobody: {:?}", self.steps, self.held());
            self.guests.clear();
            assert_eq!(self.world.xen.frames.alloc.free_pages(), self.free_at_start, "step {}", self.steps);
            for n in 0..DOMAINS {
                let id = if n == 0 { 0 } else { self.fresh_id() };
                let k = self.create(id);
                self.guests.push(k);
            }
            return;
        } else {
            self.fresh_id()
        };
        self.bury();
        if self.world.xen.frames.alloc.free_pages() < PAGES as u64 + 8 {
            return self.replace(0);
        }
        self.guests[who] = self.create(new);
    }

    fn fresh_id(&mut self) -> u16 {
        self.next_id = if self.next_id >= 1000 { 1 } else { self.next_id + 1 };
        while self.world.xen.domains.get(crate::ids::DomId(self.next_id)).is_some() {
            self.next_id += 1;
        }
        self.next_id
    }

    fn held(&self) -> Vec<(u16, u32)> {
        self.zombies.iter().map(|g| (g.dom.id.0, self.world.xen.frames.owned(g.dom.id))).collect()
    }

    fn destroy(&mut self, g: &Guest) {
        let xen = self.world.xen;
        if g.dom.dying() != Dying::Alive {
            return;
        }
        set_cpu(0);
        // Its vCPUs are off their CPUs, which idle on its tables.
        for c in &xen.m.cpus {
            c.lock().unwrap().idle = true;
        }
        g.dom.set_dying(Dying::Dying);
        while !event::teardown(xen, &g.dom) || !grant::teardown(xen, &g.dom) {}
        while let Err(e) = mm::teardown::relinquish(xen, &g.dom) {
            assert_eq!(e, Fail::Again);
        }
        g.dom.set_dying(Dying::Dead);
        self.zombies.push(g.clone());
    }

    /// Forgets zombies that own nothing any more.
    fn bury(&mut self) {
        let xen = self.world.xen;
        self.zombies.retain(|g| {
            let held = |mfn| xen.frames.peek(mfn).map_or(0, |(a, _)| a.count());
            let gone = xen.frames.owned(g.dom.id) == 0
                && held(g.dom.shared_info.mfn()) <= 3
                && g.dom.grants.shared_frames().all(|f| held(f.mfn()) <= 1);
            if gone {
                xen.domains.remove(g.dom.id);
                g.dom.drop_vcpus();
            }
            !gone
        });
    }
}

/// `steps` steps from `seed`, with the audit after every `every`-th.
pub fn run(seed: u64, steps: u64, every: u64) -> [(u64, u64); KINDS.len()] {
    let mut f = Fuzz::new(Source::Seed(seed | 1));
    for n in 1..=steps {
        f.step();
        if n % every == 0 {
            f.check();
        }
    }
    f.check();
    f.stats
}
