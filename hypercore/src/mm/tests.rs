//! The lines of INVARIANTS that page tables are about, each by what a guest can do.

use crate::frame::record::{B, FrameType};
use crate::ids::Mfn;
use crate::testing::kernel::{RO, RW};
use crate::testing::{Guest, Kernel, World};
use abi::Errno;
use abi::xen::*;
use x86::pte::Pte;

fn one() -> Kernel {
    World::new(1024, 2).domain(1, 2).boot(16)
}

fn kind(g: &Guest, mfn: Mfn) -> (FrameType, u64, u64) {
    let (a, b) = g.xen.frames.peek(mfn).unwrap();
    (b.kind(), b.count(), a.count())
}

#[test]
fn booted_tables_are_typed_and_counted() {
    let k = one();
    let g = &k.guest;
    // The L4: its allocation, the pin, two CR3s and its own read-only mapping.
    assert_eq!(kind(g, k.tables[3]), (FrameType::L4, 3, 5));
    assert_eq!(kind(g, k.tables[0]), (FrameType::L1, 1, 3));
    assert_eq!(kind(g, k.pages[3]), (FrameType::Writable, 1, 2));
    let hv = g.xen.m.debug_load(k.tables[3], 256);
    assert_eq!(hv, g.xen.host.hv_l4[0]);
    assert!(k.write(0, k.va(3), b"hello"));
}

#[test]
fn a_table_is_never_mapped_writable() {
    let k = one();
    for t in k.tables {
        assert_eq!(k.set_pte(0, k.pte(5), t.0 << 12 | RW), Err(Errno::EINVAL));
    }
    assert_eq!(k.set_pte(0, k.pte(5), k.tables[0].0 << 12 | RO), Ok(0));
    assert_eq!(kind(&k.guest, k.pages[5]), (FrameType::Writable, 0, 1));
    // ... and a writable page is never a table.
    assert_eq!(k.mmuext(0, MMUEXT_PIN_L1_TABLE, k.pages[6].0, 0, 0x7ff0), Err(Errno::EINVAL));
}
