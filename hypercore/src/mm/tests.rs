//! The lines of INVARIANTS that page tables are about, each by what a guest can do.

mod linear;

use crate::domain::Dying;
use crate::frame::record::{A, B, FrameType};
use crate::ids::{DomId, Mfn, VcpuId};
use crate::machine::{Flush, GuestVa};
use crate::mm::{self, Fail};
use crate::testing::kernel::{BASE, RO, RW};
use crate::testing::world::check;
use crate::testing::{Guest, Kernel, World};
use abi::Errno;
use abi::xen::*;
use core::sync::atomic::Ordering::*;
use x86::pte::{Pte, index};

const SELF: u64 = 0x7ff0;

fn one() -> Kernel {
    World::new(1024, 2).domain(1, 2).boot(16)
}

fn kind(g: &Guest, mfn: Mfn) -> (FrameType, u64, u64) {
    let (a, b) = g.xen.frames.peek(mfn).unwrap();
    (b.kind(), b.count(), a.count())
}

fn flags(g: &Guest, mfn: Mfn) -> B {
    g.xen.frames.peek(mfn).unwrap().1
}

/// Unmaps page `i`, so that it is a frame like any other.
fn unmap(k: &Kernel, i: usize) -> Mfn {
    assert_eq!(k.set_pte(0, k.pte(i), 0), Ok(0));
    k.pages[i]
}

/// Unmaps pages and fills them as tables: `entries` of page `i`.
fn table(k: &Kernel, i: usize, entries: &[(usize, u64)]) -> Mfn {
    let mfn = unmap(k, i);
    k.guest.fill(mfn, entries);
    mfn
}

fn pin(k: &Kernel, level: u32, mfn: Mfn) -> Result<u64, Errno> {
    k.mmuext(0, MMUEXT_PIN_L1_TABLE + level - 1, mfn.0, 0, SELF)
}

fn unpin(k: &Kernel, mfn: Mfn) -> Result<u64, Errno> {
    k.mmuext(0, MMUEXT_UNPIN_TABLE, mfn.0, 0, SELF)
}

#[test]
fn booted_tables_are_typed_and_counted() {
    let k = one();
    let g = &k.guest;
    // The L4: its allocation, the pin, two CR3s and its own read-only mapping.
    assert_eq!(kind(g, k.tables[3]), (FrameType::L4, 3, 5));
    assert_eq!(kind(g, k.tables[0]), (FrameType::L1, 1, 3));
    assert_eq!(kind(g, k.pages[3]), (FrameType::Writable, 1, 2));
    assert!(k.write(0, k.va(3), b"hello"));
    check(g.xen, "after boot");
}

#[test]
fn a_table_is_never_mapped_writable() {
    let k = one();
    for t in k.tables {
        assert_eq!(k.set_pte(0, k.pte(5), t.0 << 12 | RW), Err(Errno::EBUSY));
    }
    assert_eq!(k.set_pte(0, k.pte(5), k.tables[0].0 << 12 | RO), Ok(0));
    assert_eq!(kind(&k.guest, k.pages[5]), (FrameType::Writable, 0, 1));
    // ... and a writable page is never a table.
    assert_eq!(pin(&k, 1, k.pages[6]), Err(Errno::EINVAL));
    check(k.guest.xen, "after refusals");
}

/// The machine-to-physical table is mapped by who saves a guest.
#[test]
fn what_the_hypervisor_shows_is_read_by_the_first_domain_alone() {
    let w = World::new(1024, 2);
    let shown = w.xen.frames.take_own(&w.xen.m, 2, 2).unwrap();
    w.xen.frames.publish(shown, 2);
    let (k0, k1) = (w.domain(0, 1).boot(8), w.domain(1, 1).boot(8));
    check(w.xen, "with shown frames");
    let xen = u64::from(DOMID_XEN);
    let map = |k: &Kernel, flags, who| k.mmu_update(0, &[(k.pte(5), (shown.0 + 1) << 12 | flags)], who).0;
    assert_eq!(map(&k0, RW, xen), Err(Errno::EBUSY));
    assert_eq!(map(&k0, RO, SELF), Err(Errno::EBUSY));
    assert_eq!(map(&k0, RO, u64::from(DOMID_IO)), Err(Errno::EBUSY));
    assert_eq!(map(&k1, RO, xen), Err(Errno::EPERM));
    assert_eq!(map(&k0, RO | Pte::PCD, xen), Ok(0));
    let stored = Pte(w.xen.m.debug_load(k0.tables[0], 5));
    assert_eq!((stored.mfn(), stored.has(Pte::PCD)), (shown.0 + 1, false));
    assert_eq!(k0.read(0, k0.va(5)), Some(w.xen.m.debug_load(Mfn(shown.0 + 1), 0)));
    check(w.xen, "with a mapping of them");
    // A frame that only the hypervisor has is not shown.
    let own = w.xen.frames.take_own(&w.xen.m, 1, 1).unwrap();
    assert_eq!(k0.mmu_update(0, &[(k0.pte(6), own.0 << 12 | RO)], xen).0, Err(Errno::EBUSY));
    // Gone with its table's owner, and never free.
    assert_eq!(k0.set_pte(0, k0.pte(5), 0), Ok(0));
    let (a, b) = w.xen.frames.peek(Mfn(shown.0 + 1)).unwrap();
    assert_eq!((a.count(), b.count(), b.kind()), (1, 1, FrameType::None));
    check(w.xen, "without it");
}

#[test]
fn line_1_only_the_owner_gives_references() {
    let w = World::new(2048, 2);
    let (a, b) = (w.domain(1, 1).boot(8), w.domain(2, 1).boot(8));
    assert_eq!(a.set_pte(0, a.pte(5), b.pages[3].0 << 12 | RO), Err(Errno::EBUSY));
    assert_eq!(a.mmuext(0, MMUEXT_PIN_L1_TABLE, b.pages[3].0, 0, SELF), Err(Errno::EINVAL));
    assert_eq!(a.set_pte(0, b.pte(5), 0), Err(Errno::EINVAL));
    // Not even by naming the owner: that takes privilege.
    assert_eq!(a.mmu_update(0, &[(a.pte(5), b.pages[3].0 << 12 | RO)], 2).0, Err(Errno::EPERM));
    assert_eq!(kind(&b.guest, b.pages[3]), (FrameType::Writable, 1, 2));
    w.check("after refusals");
}

#[test]
fn line_2_a_type_changes_only_after_the_flush() {
    let k = one();
    // Both CPUs cache a writable translation; the guest unmaps the page and makes it a table at once.
    for v in 0..2 {
        assert!(k.write(v, k.va(7) + 8, &[0; 8]));
    }
    let mfn = unmap(&k, 7);
    assert_eq!(k.guest.xen.m.cached().iter().filter(|c| c.2.mfn == mfn).count(), 2);
    assert_eq!(pin(&k, 1, mfn), Ok(0));
    assert_eq!(k.guest.xen.m.cached().iter().filter(|c| c.2.mfn == mfn).count(), 0);
    assert!(!k.write(1, k.va(7), &[1; 8]));
    check(k.guest.xen, "after the pin");
    // And back: as soon as it is no table, it may be written.
    assert_eq!(unpin(&k, mfn), Ok(0));
    assert_eq!(k.set_pte(0, k.pte(7), mfn.0 << 12 | RW), Ok(0));
    assert!(k.write(1, k.va(7), &[1; 8]));
    check(k.guest.xen, "after the unpin");
}

#[test]
fn line_2_the_checks_see_a_lost_flush() {
    let k = one();
    assert!(k.write(1, k.va(7), &[0; 8]));
    let mfn = unmap(&k, 7);
    k.guest.xen.m.lose_flushes.store(true, SeqCst);
    assert_eq!(pin(&k, 1, mfn), Ok(0));
    let xen = k.guest.xen;
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(xen, "without flushes")));
    assert!(seen.is_err());
}

#[test]
fn line_2_a_foreign_mapping_is_flushed_everywhere() {
    let w = World::new(2048, 2);
    let (k0, k1) = (w.domain(0, 1).boot(8), w.domain(1, 2).boot(8));
    // Dom0 runs on CPU 0 only; the guest is made to run on CPU 1 only.
    for cpu in [0, 1] {
        k1.guest.dom.dirty_cpus.remove(crate::ids::CpuId(cpu));
    }
    k1.guest.dom.dirty_cpus.insert(crate::ids::CpuId(1));
    k1.guest.dom.vcpu(VcpuId(0)).unwrap().set_processor(crate::ids::CpuId(1));
    let mfn = k1.pages[3];
    assert_eq!(k0.mmu_update(0, &[(k0.pte(5), mfn.0 << 12 | RW)], 1), (Ok(0), 1));
    assert!(k0.write(0, k0.va(5), &[0; 8]));
    assert_eq!(k0.set_pte(0, k0.pte(5), 0), Ok(0));
    assert_eq!(k1.set_pte(0, k1.pte(3), 0), Ok(0));
    assert_eq!(k1.mmuext(0, MMUEXT_PIN_L1_TABLE, mfn.0, 0, SELF), Ok(0));
    w.check("after the guest made a table of what dom0 had mapped");
    assert!(!k0.write(0, k0.va(5), &[0; 8]));
}

#[test]
fn lines_3_and_4_an_interrupted_table_holds_its_prefix_and_goes_on() {
    let k = one();
    let g = &k.guest;
    // Two L1s under an L2 under an L3 under an L4.
    let l1a = table(&k, 8, &[(0, k.pages[1].0 << 12 | RW), (511, k.pages[2].0 << 12 | RO)]);
    let l1b = table(&k, 9, &[(5, k.pages[1].0 << 12 | RO)]);
    let l2 = table(&k, 10, &[(0, l1a.0 << 12 | RW), (1, l1b.0 << 12 | RW), (511, l1a.0 << 12 | RW)]);
    let l3 = table(&k, 11, &[(3, l2.0 << 12 | RW), (4, l2.0 << 12 | RW)]);
    let l4 = table(&k, 12, &[(0, l3.0 << 12 | RW), (300, l3.0 << 12 | RW)]);
    let before = kind(g, k.pages[1]);

    k.preempt_every(1);
    let pt = mm::Pt::own(g.xen, &g.dom);
    assert_eq!(mm::pin(&pt, l4, 4), Err(Fail::Again));
    assert!(flags(g, l4).has(B::PARTIAL) && !flags(g, l4).has(B::VALIDATED));
    check(g.xen, "half validated");
    // A partial table is not taken for a table: a write to it first gives back what it holds.
    assert!(flags(g, l2).has(B::PARTIAL));
    assert_eq!(k.set_pte(0, k.slot(l2, 9), 0), Ok(0));
    assert_eq!(kind(g, l2), (FrameType::Writable, 0, 1));
    check(g.xen, "with the partial table written");
    let mut rounds = 1;
    while mm::pin(&pt, l4, 4) == Err(Fail::Again) {
        check(g.xen, "still half validated");
        rounds += 1;
    }
    assert!(rounds > 3, "{rounds}");
    assert_eq!(kind(g, l4), (FrameType::L4, 1, 2));
    assert_eq!(kind(g, l1a), (FrameType::L1, 2, 3));
    check(g.xen, "validated");

    rounds = 0;
    while mm::unpin(g.xen, g.dom.id, l4) == Err(Fail::Again) {
        check(g.xen, "half devalidated");
        rounds += 1;
    }
    assert!(rounds > 3, "{rounds}");
    for t in [l1a, l1b, l2, l3, l4] {
        assert_eq!((flags(g, t).count(), flags(g, t).has(B::PARTIAL)), (0, false), "{t}");
    }
    assert_eq!(kind(g, k.pages[1]), before);
    check(g.xen, "devalidated");
}

#[test]
fn line_3_a_refused_table_leaves_nothing_behind() {
    let k = one();
    let g = &k.guest;
    let l1 = table(&k, 8, &[(0, k.pages[1].0 << 12 | RW), (1, k.tables[0].0 << 12 | RW)]);
    let l2 = table(&k, 9, &[(7, l1.0 << 12 | RW)]);
    for n in [0, 1, 2] {
        k.preempt_every(n);
        let before = kind(g, k.pages[1]);
        assert_eq!(pin(&k, 2, l2), Err(Errno::EBUSY));
        assert_eq!(kind(g, k.pages[1]), before);
        assert_eq!((flags(g, l1).count(), flags(g, l2).count()), (0, 0));
        check(g.xen, "after a refused pin");
    }
}

#[test]
fn line_5_accessed_and_dirty_bits_survive() {
    let k = one();
    let g = &k.guest;
    let at = |k: &Kernel, i: usize| Pte(g.xen.m.debug_load(k.tables[0], i));
    let clean = (k.pages[5].0 << 12 | RW) & !(Pte::ACCESSED | Pte::DIRTY);
    assert_eq!(k.set_pte(0, k.pte(5), clean), Ok(0));
    k.mmuext(0, MMUEXT_TLB_FLUSH_ALL, 0, 0, SELF).unwrap();
    assert!(k.write(0, k.va(5), &[1]));
    assert!(at(&k, 5).has(Pte::ACCESSED | Pte::DIRTY));
    assert_eq!(k.set_pte(0, k.pte(5) | MMU_PT_UPDATE_PRESERVE_AD, clean & !Pte::RW), Ok(0));
    assert!(at(&k, 5).has(Pte::ACCESSED | Pte::DIRTY) && !at(&k, 5).has(Pte::RW));
    assert_eq!(k.set_pte(0, k.pte(5), clean), Ok(0));
    assert!(!at(&k, 5).has(Pte::DIRTY));
}

#[test]
fn line_6_the_old_reference_is_dropped_after_the_new_one_is_there() {
    let k = one();
    let g = &k.guest;
    // Refused: the old entry and its references stand.
    assert_eq!(k.set_pte(0, k.pte(5), k.tables[1].0 << 12 | RW), Err(Errno::EBUSY));
    assert_eq!(kind(g, k.pages[5]), (FrameType::Writable, 1, 2));
    // Replaced: one goes, one comes.
    assert_eq!(k.set_pte(0, k.pte(5), k.pages[6].0 << 12 | RW), Ok(0));
    assert_eq!(kind(g, k.pages[5]), (FrameType::Writable, 0, 1));
    assert_eq!(kind(g, k.pages[6]), (FrameType::Writable, 2, 3));
    // By itself: nothing changes.
    assert_eq!(k.set_pte(0, k.pte(6), k.pages[6].0 << 12 | RW), Ok(0));
    assert_eq!(kind(g, k.pages[6]), (FrameType::Writable, 2, 3));
    check(g.xen, "after updates");
}

#[test]
fn line_7_the_fast_path_widens_nothing() {
    let k = one();
    let g = &k.guest;
    let ro = k.tables[0].0 << 12 | RO;
    assert_eq!(k.set_pte(0, k.pte(5), ro), Ok(0));
    assert_eq!(k.set_pte(0, k.pte(5), ro | Pte::RW), Err(Errno::EBUSY));
    assert_eq!(k.set_pte(0, k.pte(5), ro | Pte::NX | 1 << 9 | 1 << 57), Ok(0));
    // RW to RO ends the writable count, and only that.
    assert_eq!(k.set_pte(0, k.pte(6), k.pages[6].0 << 12 | RO), Ok(0));
    assert_eq!(kind(g, k.pages[6]), (FrameType::Writable, 0, 2));
    assert_eq!(k.set_pte(0, k.pte(6), k.pages[6].0 << 12 | RW), Ok(0));
    assert_eq!(kind(g, k.pages[6]), (FrameType::Writable, 1, 2));
    // USER is always there, GLOBAL never; large pages and odd caching of tables are refused.
    assert_eq!(k.set_pte(0, k.pte(6), (k.pages[6].0 << 12 | RW | Pte::GLOBAL) & !Pte::USER), Ok(0));
    assert_eq!(
        Pte(g.xen.m.debug_load(k.tables[0], 6)).0 & (Pte::USER | Pte::GLOBAL | 1 << 52),
        Pte::USER | 1 << 52
    );
    for bad in [Pte::PSE, Pte::GLOBAL, Pte::PCD, Pte::PWT] {
        let slot = k.slot(k.tables[1], 9);
        assert_eq!(k.set_pte(0, slot, k.tables[0].0 << 12 | RW | bad), Err(Errno::EINVAL));
    }
    check(g.xen, "after updates");
}

#[test]
fn line_9_the_hypervisors_slots_are_its_own() {
    let k = one();
    let g = &k.guest;
    let l4 = k.tables[3];
    for slot in [256, 260, 271] {
        assert_eq!(k.set_pte(0, k.slot(l4, slot), 0), Err(Errno::EINVAL));
        assert_eq!(k.set_pte(0, k.slot(l4, slot), k.tables[2].0 << 12 | RW), Err(Errno::EINVAL));
        assert_eq!(g.xen.m.debug_load(l4, slot), g.xen.host.hv_l4[slot - 256]);
    }
    // What the guest wrote there before is gone after validation, whatever it was.
    let other = table(&k, 8, &[(256, 0x1234_5007), (271, k.pages[1].0 << 12 | RW), (272, 0)]);
    assert_eq!(pin(&k, 4, other), Ok(0));
    for slot in 257..272 {
        assert_eq!(g.xen.m.debug_load(other, slot), g.xen.host.hv_l4[slot - 256]);
    }
    assert_eq!(g.xen.m.debug_load(other, 256), 0);
    check(g.xen, "after the pin");
}

#[test]
fn line_9_the_m2p_is_the_kernels() {
    let k = one();
    let g = &k.guest;
    let l4s: [Mfn; 2] =
        core::array::from_fn(|i| table(&k, 8 + i, &[(index(BASE, 4), k.tables[2].0 << 12 | RW)]));
    let shown = |l4: Mfn| {
        let slot = g.xen.m.debug_load(l4, 256);
        assert!(slot == 0 || slot == g.xen.host.hv_l4[0], "{slot:#x}");
        slot != 0
    };
    let root = |kernel: bool, l4: Mfn| {
        let cmd = if kernel { MMUEXT_NEW_BASEPTR } else { MMUEXT_NEW_USER_BASEPTR };
        assert_eq!(k.mmuext(0, cmd, l4.0, 0, SELF), Ok(0));
        check(g.xen, "with a new root");
        shown(l4)
    };
    let strict = |cmd: u32| {
        let args = [cmd.into(), VMASST_TYPE_M2P_STRICT.into(), 0, 0, 0, 0];
        assert_eq!(k.hypercall(0, HYPERVISOR_VM_ASSIST, args), Ok(0));
    };
    // Blank until it is a kernel's, and not again.
    assert!(shown(k.tables[3]));
    for l4 in l4s {
        assert_eq!(pin(&k, 4, l4), Ok(0));
        assert!(!shown(l4));
    }
    assert!(!root(false, l4s[0]));
    assert!(root(true, l4s[0]));
    assert!(root(false, l4s[1]) == shown(l4s[1]) && !shown(l4s[1]));
    assert!(root(true, l4s[1]));
    assert!(root(false, l4s[1]));
    // The guest has no say of its own.
    assert_eq!(k.set_pte(0, k.slot(l4s[0], 256), 0), Err(Errno::EINVAL));
    assert!(root(true, k.tables[3]));
    assert_eq!(k.mmuext(0, MMUEXT_NEW_USER_BASEPTR, 0, 0, SELF), Ok(0));
    for l4 in l4s {
        assert_eq!(unpin(&k, l4), Ok(0));
    }
    // Strictly: there until it is a user mode's.
    strict(VMASST_CMD_ENABLE);
    for l4 in l4s {
        assert_eq!(pin(&k, 4, l4), Ok(0));
        assert!(shown(l4));
    }
    assert!(root(true, l4s[0]));
    assert!(!root(false, l4s[0]));
    assert!(root(true, l4s[1]));
    assert!(!root(true, l4s[0]));
    strict(VMASST_CMD_DISABLE);
    assert!(root(true, k.tables[3]));
    assert!(root(true, l4s[0]));
}

#[test]
fn line_10_handles_into_the_hypervisor_fault() {
    let k = one();
    let hv = 0xffff_8300_0000_0000;
    for nr in [HYPERVISOR_MMU_UPDATE, HYPERVISOR_MMUEXT_OP] {
        assert_eq!(k.hypercall(0, nr, [hv, 1, 0, SELF, 0, 0]), Err(Errno::EFAULT));
        assert_eq!(k.hypercall(0, nr, [k.va(1), 0, hv, SELF, 0, 0]), Err(Errno::EFAULT));
        // A continuation's arguments are no better than others.
        let preempted = u64::from(MMU_UPDATE_PREEMPTED);
        assert_eq!(k.hypercall(0, nr, [k.va(1), preempted, hv, SELF, 0, 0]), Err(Errno::EFAULT));
        assert_eq!(k.hypercall(0, nr, [u64::MAX - 8, 2, 0, SELF, 0, 0]), Err(Errno::EFAULT));
    }
    assert_eq!(k.hypercall(0, HYPERVISOR_SET_GDT, [hv, 1, 0, 0, 0, 0]), Err(Errno::EFAULT));
    assert_eq!(k.hypercall(0, HYPERVISOR_UPDATE_VA_MAPPING, [hv, 0, 0, 0, 0, 0]), Err(Errno::EINVAL));
    // update_va_mapping's bitmap of vCPUs is a handle as well, and so is that of a flush.
    let val = k.pages[5].0 << 12 | RW;
    let flags = hv | UVMF_TLB_FLUSH;
    assert_eq!(
        k.hypercall(0, HYPERVISOR_UPDATE_VA_MAPPING, [k.va(5), val, flags, 0, 0, 0]),
        Err(Errno::EFAULT)
    );
    assert_eq!(k.mmuext(0, MMUEXT_TLB_FLUSH_MULTI, 0, hv, SELF), Err(Errno::EINVAL));
}

#[test]
fn line_12_counts_refuse_to_overflow() {
    let k = one();
    let g = &k.guest;
    let full = |mfn: Mfn, n: u64| {
        let r = g.xen.frames.rec(mfn).unwrap();
        r.b.fetch_update(SeqCst, SeqCst, |b| Some(b & !B::COUNT | n << B::COUNT_SHIFT)).unwrap()
    };
    let old = full(k.pages[5], B::COUNT_MAX);
    assert_eq!(k.set_pte(0, k.pte(6), k.pages[5].0 << 12 | RW), Err(Errno::EBUSY));
    full(k.pages[5], B(old).count());
    let old = full(k.tables[0], B::COUNT_MAX);
    assert_eq!(k.set_pte(0, k.slot(k.tables[1], 9), k.tables[0].0 << 12 | RW), Err(Errno::EBUSY));
    assert_eq!(k.set_pte(0, k.pte(6), 0), Err(Errno::EBUSY));
    full(k.tables[0], B(old).count());
    check(g.xen, "after refusals");
}

#[test]
fn line_15_device_memory_needs_a_permission() {
    let k = one();
    // Frame 3 is below RAM, frame 2^30 beyond all records.
    for mfn in [3, 1 << 30] {
        assert_eq!(k.set_pte(0, k.pte(5), mfn << 12 | RW), Err(Errno::EPERM));
    }
    k.guest.dom.io.iomem.write().add(3, 3).unwrap();
    assert_eq!(k.set_pte(0, k.pte(5), 3 << 12 | RW | Pte::PCD), Ok(0));
    assert_eq!(kind(&k.guest, Mfn(3)), (FrameType::None, 0, 0));
    assert_eq!(k.set_pte(0, k.pte(5), 0), Ok(0));
    check(k.guest.xen, "after device mappings");
}

#[test]
fn line_15_a_revoked_permission_ends_mappings() {
    let k = one();
    let g = &k.guest;
    g.dom.io.iomem.write().add(3, 5).unwrap();
    for (i, mfn) in [(5, 3u64), (6, 4), (7, 5)] {
        assert_eq!(k.set_pte(0, k.pte(i), mfn << 12 | RW), Ok(0));
        assert!(k.read(1, k.va(i)).is_some());
    }
    g.dom.io.iomem.write().remove(3, 4).unwrap();
    k.preempt_every(3);
    let mut rounds = 0;
    while mm::iomem::revoke(g.xen, &g.dom, Mfn(3), Mfn(4)) == Err(Fail::Again) {
        rounds += 1;
    }
    assert!(rounds > 3);
    k.preempt_every(0);
    assert_eq!([5, 6, 7].map(|i| k.read(1, k.va(i)).is_some()), [false, false, true]);
    assert_eq!(k.set_pte(0, k.pte(5), 3 << 12 | RW), Err(Errno::EPERM));
    check(g.xen, "after the permission went");
}

#[test]
fn line_16_an_uncached_frame_is_flushed_before_reuse() {
    let w = World::new(1024, 1);
    let k = w.domain(0, 1).boot(8);
    let wc = k.pages[5].0 << 12 | RW | Pte::PAT;
    assert_eq!(k.set_pte(0, k.pte(5), wc), Ok(0));
    assert!(w.xen.frames.peek(k.pages[5]).unwrap().0.has(A::UNCACHED));
    let mfn = unmap(&k, 5);
    drop(w.xen.frames.unassign(mfn, k.guest.dom.id));
    assert_eq!(w.xen.m.flushes.lock().unwrap().iter().filter(|f| f.1 == Flush::Cache).count(), 0);
    w.xen.frames.settle_free(&w.xen.m, mfn, 1);
    assert_eq!(w.xen.m.flushes.lock().unwrap().iter().filter(|f| f.1 == Flush::Cache).count(), 1);
    // Who does no I/O maps memory write-back, whatever it asks for.
    let u = w.domain(1, 1).boot(8);
    assert_eq!(u.set_pte(0, u.pte(5), u.pages[5].0 << 12 | RW | Pte::PAT), Ok(0));
    assert_eq!(Pte(w.xen.m.debug_load(u.tables[0], 5)).0 & Pte::PAT, 0);
}

#[test]
fn line_17_descriptor_pages_stay_typed_while_loaded() {
    let k = one();
    let g = &k.guest;
    let code = 0x00af_9a00_0000_ffffu64;
    let (gdt, ldt) = (table(&k, 8, &[(1, code)]), k.pages[9]);
    assert!(k.write(0, k.va(1), &gdt.0.to_le_bytes()));
    assert_eq!(k.hypercall(0, HYPERVISOR_SET_GDT, [k.va(1), 512, 0, 0, 0, 0]), Ok(0));
    assert_eq!(kind(g, gdt), (FrameType::SegDesc, 1, 2));
    assert_eq!(g.xen.m.debug_load(gdt, 1), code | 3 << 45);
    assert_eq!(k.set_pte(0, k.pte(8), gdt.0 << 12 | RW), Err(Errno::EBUSY));
    check(g.xen, "with a GDT");
    // An interrupt gate is refused, in place and one at a time; a call gate is kept from everybody.
    let call = 0x0000_ec00_0008_0000u64;
    assert_eq!(mm::desc::check(call), Ok(call & !(3 << 45)));
    let gate = 0x0000_ee00_0008_0000u64;
    assert_eq!(
        k.hypercall(0, HYPERVISOR_UPDATE_DESCRIPTOR, [gdt.0 << 12 | 16, gate, 0, 0, 0, 0]),
        Err(Errno::EINVAL)
    );
    assert_eq!(k.hypercall(0, HYPERVISOR_UPDATE_DESCRIPTOR, [gdt.0 << 12 | 16, code, 0, 0, 0, 0]), Ok(0));
    assert_eq!(g.xen.m.debug_load(gdt, 2), code | 3 << 45);
    let bad = table(&k, 10, &[(3, gate)]);
    assert!(k.write(0, k.va(1), &bad.0.to_le_bytes()));
    assert_eq!(k.hypercall(0, HYPERVISOR_SET_GDT, [k.va(1), 8, 0, 0, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(flags(g, bad).count(), 0);

    // The LDT is typed by its first use, and held until the window is empty.
    assert_eq!(k.set_pte(0, k.pte(9), ldt.0 << 12 | RO), Ok(0));
    assert_eq!(k.mmuext(0, MMUEXT_SET_LDT, k.va(9), 512, SELF), Ok(0));
    assert!(g.call(0, |cx| mm::desc::ldt_fault(cx, 8)));
    assert_eq!(kind(g, ldt), (FrameType::SegDesc, 1, 3));
    assert_eq!(g.xen.m.this_cpu().ldt.get(&0), Some(&ldt));
    assert_eq!(k.set_pte(0, k.pte(9), ldt.0 << 12 | RW), Err(Errno::EBUSY));
    assert!(!g.call(0, |cx| mm::desc::ldt_fault(cx, 4096)));
    check(g.xen, "with an LDT");
    assert_eq!(k.mmuext(0, MMUEXT_SET_LDT, 0, 0, SELF), Ok(0));
    assert!(g.xen.m.this_cpu().ldt.is_empty());
    assert_eq!(k.set_pte(0, k.pte(9), ldt.0 << 12 | RW), Ok(0));
    assert_eq!(k.hypercall(0, HYPERVISOR_SET_GDT, [k.va(1), 0, 0, 0, 0, 0]), Ok(0));
    assert_eq!(k.set_pte(0, k.pte(8), gdt.0 << 12 | RW), Ok(0));
    check(g.xen, "without descriptors");
}

#[test]
fn line_18_a_dying_domain_gains_nothing() {
    let w = World::new(2048, 2);
    let (k0, k1) = (w.domain(0, 1).boot(8), w.domain(1, 1).boot(8));
    let pte = k0.pte(5);
    assert_eq!(k0.mmu_update(0, &[(pte, k1.pages[3].0 << 12 | RO)], 1), (Ok(0), 1));
    k1.guest.dom.set_dying(Dying::Dying);
    let free = unmap_quietly(&k1, 5);
    assert_eq!(k0.mmu_update(0, &[(k0.pte(6), k1.pages[4].0 << 12 | RO)], 1).0, Err(Errno::ESRCH));
    assert_eq!(k0.mmuext(0, MMUEXT_PIN_L1_TABLE, free.0, 0, 1), Err(Errno::EINVAL));
    let v = k1.guest.dom.vcpu(VcpuId(0)).unwrap();
    let again = mm::set_cr3(w.xen, &k1.guest.dom, &v, false, Some(k1.tables[3]));
    assert_eq!(again, Err(Fail::Errno(Errno::EINVAL)));
    w.check("while dying");
    let _ = free;
}

/// A page of a domain that makes no calls any more.
fn unmap_quietly(k: &Kernel, i: usize) -> Mfn {
    k.pages[i]
}

#[test]
fn line_19_teardown_returns_every_frame_and_reuse_flushes() {
    for every in [0, 1, 3] {
        let w = World::new(2048, 2);
        let free = w.xen.frames.alloc.free_pages();
        let k0 = w.domain(0, 1).boot(8);
        let with_dom0 = w.xen.frames.alloc.free_pages();
        let k1 = w.domain(1, 2).boot(32);
        assert!(k1.write(1, k1.va(3), &[1; 8]));
        assert_eq!(k0.mmu_update(0, &[(k0.pte(5), k1.pages[3].0 << 12 | RW)], 1), (Ok(0), 1));
        assert!(k0.write(0, k0.va(5), &[7; 8]));
        k1.guest.dom.set_dying(Dying::Dying);
        for c in [0, 1] {
            let mut cpu = w.xen.m.cpus[c].lock().unwrap();
            cpu.idle = cpu.root == Some(k1.tables[3]);
        }
        w.xen.m.preempt_every.store(every, SeqCst);
        let mut rounds = 0;
        while mm::teardown::relinquish(w.xen, &k1.guest.dom) == Err(Fail::Again) {
            w.check("half torn down");
            rounds += 1;
        }
        assert!(every != 1 || rounds > 0);
        w.xen.m.preempt_every.store(0, SeqCst);
        // What dom0 maps is left, and dom0 reads it until it lets go.
        assert_eq!(w.xen.frames.owned(DomId(1)), 1);
        assert_eq!(k0.read(0, k0.va(5)), Some(u64::from_le_bytes([7; 8])));
        w.check("torn down");
        assert_eq!(k0.set_pte(0, k0.pte(5), 0), Ok(0));
        assert_eq!(w.xen.frames.owned(DomId(1)), 0);
        // All but the domain's shared_info.
        assert_eq!(w.xen.frames.alloc.free_pages(), with_dom0 - 1);
        assert!(free > with_dom0);
        // Whoever gets the frames next shares no translation with the dead.
        let k2 = w.domain(2, 1).boot(64);
        w.check("with another in its place");
        drop(k2);
    }
}

#[test]
fn line_22_foreign_owners_obey_all_of_it() {
    let w = World::new(2048, 2);
    let (k0, k1) = (w.domain(0, 1).boot(8), w.domain(1, 1).boot(8));
    let no_translate = MMU_PT_UPDATE_NO_TRANSLATE;
    // A table of the guest is not writable for dom0 either.
    let bad = (k0.pte(5) | no_translate, k1.tables[0].0 << 12 | RW);
    assert_eq!(k0.mmu_update(0, &[bad], 1).0, Err(Errno::EBUSY));
    let good = (k0.pte(5) | no_translate, k1.pages[3].0 << 12 | RW);
    assert_eq!(k0.mmu_update(0, &[good, bad, good], 1), (Err(Errno::EBUSY), 1));
    assert_eq!(kind(&k1.guest, k1.pages[3]), (FrameType::Writable, 2, 3));
    // While dom0 maps it writable, the guest makes no table of it.
    assert_eq!(k1.set_pte(0, k1.pte(3), 0), Ok(0));
    assert_eq!(k1.mmuext(0, MMUEXT_PIN_L1_TABLE, k1.pages[3].0, 0, SELF), Err(Errno::EINVAL));
    // Frames of the caller are not the foreign domain's.
    assert_eq!(k0.mmu_update(0, &[(k0.pte(6), k0.pages[4].0 << 12 | RO)], 1).0, Err(Errno::EBUSY));
    // update_va_mapping_otherdomain maps and unmaps the same way.
    let val = k1.pages[4].0 << 12 | RO;
    let nr = HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN;
    assert_eq!(k0.hypercall(0, nr, [k0.va(6), val, UVMF_INVLPG, 1, 0, 0]), Ok(0));
    assert_eq!(k0.hypercall(0, nr, [k0.va(6), val | Pte::RW, UVMF_INVLPG, 1, 0, 0]), Ok(0));
    assert_eq!(k1.hypercall(0, nr, [k1.va(6), k0.pages[1].0 << 12 | RO, 0, 0, 0, 0]), Err(Errno::EPERM));
    w.check("with foreign mappings");
    for i in [5, 6] {
        assert_eq!(k0.set_pte(0, k0.pte(i), 0), Ok(0));
    }
    assert_eq!(kind(&k1.guest, k1.pages[4]), (FrameType::Writable, 1, 2));
    w.check("without");
}

#[test]
fn a_new_root_is_loaded_before_the_old_one_is_given_up() {
    let k = one();
    let g = &k.guest;
    let words: [(usize, u64); 1] = [(index(BASE, 4), k.tables[2].0 << 12 | RW)];
    let l4 = table(&k, 8, &words);
    for v in 0..2 {
        assert_eq!(k.mmuext(v, MMUEXT_NEW_BASEPTR, l4.0, 0, SELF), Ok(0));
        assert_eq!(g.xen.m.this_cpu().root, Some(l4));
    }
    // The old root is pinned still; unpinned, it is an ordinary page again.
    assert_eq!(unpin(&k, k.tables[3]), Ok(0));
    assert_eq!(kind(g, k.tables[3]), (FrameType::L4, 0, 2));
    assert_eq!(k.mmuext(0, MMUEXT_NEW_USER_BASEPTR, k.pages[1].0, 0, SELF), Err(Errno::EINVAL));
    assert_eq!(k.mmuext(0, MMUEXT_NEW_USER_BASEPTR, l4.0, 0, SELF), Ok(0));
    assert_eq!(kind(g, l4), (FrameType::L4, 3, 4));
    assert_eq!(k.mmuext(0, MMUEXT_NEW_USER_BASEPTR, 0, 0, SELF), Ok(0));
    check(g.xen, "on the new root");
}

#[test]
fn a_cpu_that_idles_on_a_root_leaves_it_before_it_changes() {
    let w = World::new(1024, 2);
    let k = w.domain(1, 2).boot(16);
    let l4 = table(&k, 8, &[(index(BASE, 4), k.tables[2].0 << 12 | RW)]);
    assert_eq!(k.mmuext(1, MMUEXT_NEW_BASEPTR, l4.0, 0, SELF), Ok(0));
    // vCPU 1 goes to CPU 0; CPU 1 idles on its tables, which vCPU 1 then gives up.
    w.xen.m.cpus[1].lock().unwrap().idle = true;
    k.guest.dom.vcpu(VcpuId(1)).unwrap().set_processor(crate::ids::CpuId(0));
    assert_eq!(k.mmuext(1, MMUEXT_NEW_BASEPTR, k.tables[3].0, 0, SELF), Ok(0));
    assert_eq!(w.xen.m.cpus[1].lock().unwrap().root, None);
    w.check("after the root went");
}

#[test]
fn batches_commit_a_prefix_and_continue() {
    let k = one();
    let reqs: std::vec::Vec<(u64, u64)> =
        (0..100).map(|i| (k.pte(100 + i), k.pages[2].0 << 12 | RO | (i as u64 & 7) << 9)).collect();
    k.preempt_every(1);
    assert_eq!(k.mmu_update(0, &reqs, SELF), (Ok(0), 100));
    assert_eq!(kind(&k.guest, k.pages[2]).2, 102);
    let mut broken = reqs.clone();
    broken[60].1 = k.tables[0].0 << 12 | RW;
    assert_eq!(k.mmu_update(0, &broken, SELF), (Err(Errno::EBUSY), 60));
    check(k.guest.xen, "after batches");
}

#[test]
fn the_m2p_takes_only_own_frames() {
    let w = World::new(2048, 1);
    let (a, b) = (w.domain(1, 1).boot(8), w.domain(2, 1).boot(8));
    let ptr = |mfn: Mfn| mfn.0 << 12 | MMU_MACHPHYS_UPDATE;
    assert_eq!(a.set_pte(0, ptr(a.pages[1]), 42), Ok(0));
    assert_eq!(crate::machine::Frames::get_m2p(&w.xen.m, a.pages[1]), 42);
    assert_eq!(a.set_pte(0, ptr(b.pages[1]), 43), Err(Errno::EINVAL));
}

#[test]
fn update_va_mapping_writes_the_entry_and_flushes() {
    let k = one();
    let g = &k.guest;
    let nr = HYPERVISOR_UPDATE_VA_MAPPING;
    assert_eq!(k.read(1, k.va(5)), Some(0));
    let val = k.pages[6].0 << 12 | RW;
    assert!(k.write(0, k.va(6), &[9; 8]));
    assert_eq!(k.hypercall(0, nr, [k.va(5), val, UVMF_INVLPG | UVMF_ALL, 0, 0, 0]), Ok(0));
    assert_eq!(k.read(1, k.va(5)), Some(u64::from_le_bytes([9; 8])));
    assert_eq!(k.hypercall(0, nr, [0x7000_0000_0000, val, 0, 0, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(k.hypercall(0, nr, [1 << 60, val, 0, 0, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(k.hypercall(0, nr, [k.va(5), 0, UVMF_TLB_FLUSH | UVMF_LOCAL, 0, 0, 0]), Ok(0));
    assert!(g.xen.m.copy_to_guest(k.va(5), &[0]).is_err());
    // A bitmap of vCPUs.
    assert!(k.write(0, k.va(1), &2u64.to_le_bytes()));
    let flags = k.va(1) | UVMF_TLB_FLUSH;
    assert_eq!(k.hypercall(0, nr, [k.va(5), val, flags, 0, 0, 0]), Ok(0));
    check(g.xen, "after updates");
}

#[test]
fn pages_are_cleared_and_copied_if_writable() {
    let k = one();
    assert!(k.write(0, k.va(5), &[5; 64]));
    assert_eq!(k.mmuext(0, MMUEXT_COPY_PAGE, k.pages[6].0, k.pages[5].0, SELF), Ok(0));
    assert_eq!(k.read(0, k.va(6)), Some(u64::from_le_bytes([5; 8])));
    assert_eq!(k.mmuext(0, MMUEXT_CLEAR_PAGE, k.pages[6].0, 0, SELF), Ok(0));
    assert_eq!(k.read(0, k.va(6)), Some(0));
    assert_eq!(k.mmuext(0, MMUEXT_CLEAR_PAGE, k.tables[0].0, 0, SELF), Err(Errno::EINVAL));
    assert_eq!(k.mmuext(0, MMUEXT_FLUSH_CACHE, 0, 0, SELF), Err(Errno::EACCES));
    assert_eq!(k.mmuext(0, 99, 0, 0, SELF), Err(Errno::ENOSYS));
}

#[test]
fn random_sequences_keep_the_books() {
    for seed in [1, 0xdead_beef, 0x1234_5678_9abc] {
        let stats = crate::testing::fuzz::run(seed, 3_000, 1);
        // The run is worth something only if much of it succeeds.
        for (kind, (tried, ok)) in crate::testing::fuzz::KINDS.iter().zip(stats) {
            assert!(tried > 0 && ok > 0, "{kind}: {ok} of {tried} succeeded");
        }
    }
}

#[test]
fn cpus_at_work_at_once_keep_the_books() {
    use crate::testing::fuzz::{Fuzz, Source};
    let mut f = Fuzz::new(Source::Seed(7));
    let mut acted = 0;
    for round in 0..25u64 {
        // Two vCPUs of one domain, and dom0, which maps its frames.
        let drivers = [
            f.share(round * 3 + 1, 1, 0, 0),
            f.share(round * 3 + 2, 1, 1, 1),
            f.share(round * 3 + 3, 0, 0, 2),
        ];
        let threads = drivers.map(|mut d| {
            std::thread::spawn(move || {
                (0..400).take_while(|_| d.step()).for_each(drop);
                d.stats.iter().map(|s| s.1).sum::<u64>()
            })
        });
        for t in threads {
            acted += t.join().expect("no thread panics");
        }
        f.check();
        f.restart(Source::Seed(round | 1));
    }
    assert!(acted > 2_000, "{acted}");
}
