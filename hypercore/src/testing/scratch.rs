//! [`Scratch`]: a few guest-writable pages at a fixed address, for the arguments of hypercalls under test. The page
//! tables are the hypervisor's own frames, so no page-type machinery is involved.

use super::HostMachine;
use crate::frame::HvFrame;
use crate::guest;
use crate::ids::DomId;
use crate::machine::{Frames, GuestVa};
use crate::xen::Xen;
use std::vec::Vec;
use x86::pte::{Pte, index};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where the pages are.
pub const BASE: u64 = 0x40_0000;
/// How many: one below all of an L1's.
pub const PAGES: u64 = 64;

/// An address space with [`PAGES`] zeroed pages at [`BASE`], loaded on the calling thread's CPU.
pub struct Scratch {
    xen: &'static Xen<HostMachine>,
    tables: Vec<HvFrame>,
    pages: Vec<HvFrame>,
    next: u64,
}

impl Scratch {
    pub fn new(xen: &'static Xen<HostMachine>) -> Self {
        let frame = || HvFrame::alloc(&xen.m, xen.frames, DomId::IO).expect("a free frame");
        let tables: Vec<HvFrame> = (0..4).map(|_| frame()).collect();
        let pages: Vec<HvFrame> = (0..PAGES).map(|_| frame()).collect();
        let flags = Pte::PRESENT | Pte::RW | Pte::USER;
        let entry = |f: &HvFrame| f.frame().mfn().0 << 12 | flags;
        for level in (2..=4u8).rev() {
            let at = 4 - usize::from(level);
            xen.m.store(&tables[at], index(BASE, level) * 8, entry(&tables[at + 1]));
        }
        for (i, page) in pages.iter().enumerate() {
            xen.m.store(&tables[3], (index(BASE, 1) + i) * 8, entry(page));
        }
        xen.m.load_root(tables[0].frame().mfn());
        Self { xen, tables, pages, next: BASE }
    }

    /// Loads the address space on the calling thread's CPU as well.
    pub fn load(&self) {
        self.xen.m.load_root(self.tables[0].frame().mfn());
    }

    /// Frames it holds.
    pub fn frames(&self) -> u64 {
        (self.tables.len() + self.pages.len()) as u64
    }

    /// Room for `bytes`, aligned to 8.
    pub fn room(&mut self, bytes: usize) -> u64 {
        let at = self.next;
        self.next += bytes.next_multiple_of(8) as u64;
        assert!(self.next <= BASE + PAGES * 4096, "scratch pages are full");
        at
    }

    /// Places a value; its address.
    pub fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, t: &T) -> u64 {
        let at = self.room(size_of_val(t));
        guest::write_bytes(&self.xen.m, at, t.as_bytes()).expect("a mapped page");
        at
    }

    /// Changes a value placed before.
    pub fn set<T: IntoBytes + Immutable + ?Sized>(&self, at: u64, t: &T) {
        guest::write_bytes(&self.xen.m, at, t.as_bytes()).expect("a mapped page");
    }

    pub fn get<T: FromBytes + IntoBytes>(&self, at: u64) -> T {
        guest::read(&self.xen.m, at).expect("a mapped page")
    }

    /// `n` values from `at`.
    pub fn list<T: FromBytes + IntoBytes>(&self, at: u64, n: u64) -> Vec<T> {
        (0..n).map(|i| guest::read_at(&self.xen.m, at, i).expect("a mapped page")).collect()
    }
}
