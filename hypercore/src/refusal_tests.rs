//! Reasons of refusals, from the check to who asks.

use super::*;
use crate::hypercall::dispatch;
use crate::machine::{Frames, GuestVa};
use crate::testing::kernel::{BASE, RW};
use crate::testing::machine::set_cpu;
use crate::testing::{Guest, Kernel, Scratch, World};
use crate::xen::Stop;
use abi::domctl::*;
use abi::grant_table::*;
use abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use abi::sysctl::{XEN_SYSCTL_CPUPOOL_OP, XEN_SYSCTL_INTERFACE_VERSION};
use std::string::{String, ToString};
use std::vec::Vec;
use x86::pte::Pte;
use zerocopy::IntoBytes;

struct Bed {
    dom0: Guest,
    domu: Guest,
    s: Scratch,
}

fn bed() -> Bed {
    let w = World::new(1024, 2);
    let s = Scratch::new(w.xen);
    set_cpu(1);
    s.load();
    Bed { dom0: w.domain(0, 2), domu: w.domain(5, 1), s }
}

fn call(g: &Guest, v: u32, nr: u32, args: [u64; 6]) -> Result<u64, Errno> {
    g.call(v, |cx| match dispatch(cx, nr, &args) {
        Ok(v) => Ok(v),
        Err(Stop::Errno(e)) => Err(e),
        Err(Stop::Continue) => panic!("preempted"),
    })
}

impl Bed {
    /// `max_vcpus` of a domain, which says more than it was created with where `max` is not 1.
    fn max_vcpus(&mut self, dom: u16, max: u32) -> u64 {
        let at = self.s.room(DOMCTL_SIZE);
        let interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        self.s.set(
            at,
            &DomctlHeader { cmd: XEN_DOMCTL_MAX_VCPUS, interface_version, domain: dom, _pad: [0; 3] },
        );
        self.s.set(at + DOMCTL_PAYLOAD_OFFSET as u64, &DomctlMaxVcpus { max });
        at
    }

    fn why(&mut self, g: &Guest, v: u32, vcpu: u32, index: u32) -> Result<XenolithWhy, Errno> {
        let at = self.s.room(size_of::<XenolithWhy>());
        self.s.set(at, &XenolithWhy { vcpu, index, ..Default::default() });
        call(g, v, HYPERVISOR_XENOLITH_OP, [XENOLITH_WHY.into(), at, 0, 0, 0, 0])?;
        Ok(self.s.get(at))
    }
}

fn text(w: &XenolithWhy) -> String {
    let end = w.text.iter().position(|&b| b == 0).expect("a NUL");
    String::from_utf8(w.text[..end].to_vec()).unwrap()
}

#[test]
fn a_tool_learns_which_check_refused() {
    let mut b = bed();
    let dom0 = b.dom0.clone();
    let at = b.max_vcpus(5, 3);
    assert_eq!(call(&dom0, 0, HYPERVISOR_DOMCTL, [at, 0, 0, 0, 0, 0]), Err(Errno::EINVAL));
    let w = b.why(&dom0, 0, XENOLITH_WHY_THIS_VCPU, 0).unwrap();
    assert_eq!(
        (w.hypercall, w.command, w.error),
        (HYPERVISOR_DOMCTL, XEN_DOMCTL_MAX_VCPUS, -Errno::EINVAL.0)
    );
    assert_eq!((w.number, w.links, w.chain[0].values), (1, 1, [3, 1]));
    assert_eq!(text(&w), "XEN_DOMCTL_max_vcpus: EINVAL: 3 vCPUs, but createdomain said 1");
    // The log says it too, for those who want to see it.
    let log = dom0.xen.m.log.lock().unwrap().join("\n");
    assert!(log.contains("d0v0: XEN_DOMCTL_max_vcpus: EINVAL: 3 vCPUs"), "{log}");
}

#[test]
fn the_code_names_the_words() {
    let mut b = bed();
    let dom0 = b.dom0.clone();
    let mut codes = Vec::new();
    for (dom, max) in [(5, 3), (5, 7), (9, 1)] {
        let at = b.max_vcpus(dom, max);
        call(&dom0, 0, HYPERVISOR_DOMCTL, [at, 0, 0, 0, 0, 0]).unwrap_err();
        codes.push(b.why(&dom0, 0, XENOLITH_WHY_THIS_VCPU, 0).unwrap().chain[0].code);
    }
    assert_eq!(codes[0], codes[1]);
    assert_ne!(codes[0], codes[2]);
}

#[test]
fn an_extent_that_is_refused_is_explained_though_the_call_answers_a_count() {
    let mut b = bed();
    let dom0 = b.dom0.clone();
    dom0.dom.memory.set_max_pages(2);
    let list = b.s.room(5 * 8);
    let at = b.s.room(size_of::<MemoryReservation>());
    let r = MemoryReservation {
        extent_start: abi::GuestHandle::new(list),
        nr_extents: 5,
        domid: 0x7ff0,
        ..Default::default()
    };
    b.s.set(at, &r);
    let args = [XENMEM_POPULATE_PHYSMAP.into(), at, 0, 0, 0, 0];
    assert_eq!(call(&dom0, 0, HYPERVISOR_MEMORY_OP, args), Ok(2));
    let w = b.why(&dom0, 0, XENOLITH_WHY_THIS_VCPU, 0).unwrap();
    assert_eq!(
        (w.hypercall, w.command, w.error),
        (HYPERVISOR_MEMORY_OP, XENMEM_POPULATE_PHYSMAP, -Errno::E2BIG.0)
    );
    assert_eq!(
        text(&w),
        "XENMEM_populate_physmap: E2BIG: extent 2 of 5: the domain has 2 pages and may have 2"
    );
    assert_eq!((w.links, w.chain[0].values, w.chain[1].values), (2, [2, 2], [2, 5]));
}

#[test]
fn what_was_noted_for_one_call_is_not_told_of_another() {
    let mut b = bed();
    let dom0 = b.dom0.clone();
    // Somebody notes a reason, and then does without.
    set_cpu(0);
    let e = refuse!(dom0.xen, Errno::EINVAL, "left over");
    assert_eq!(e, Errno::EINVAL);
    let at = b.max_vcpus(9, 1);
    call(&dom0, 0, HYPERVISOR_DOMCTL, [at, 0, 0, 0, 0, 0]).unwrap_err();
    let w = b.why(&dom0, 0, XENOLITH_WHY_THIS_VCPU, 0).unwrap();
    assert_eq!((w.links, text(&w).as_str()), (1, "XEN_DOMCTL_max_vcpus: ESRCH: there is no domain 9"));
}

#[test]
fn the_end_of_a_list_is_no_refusal() {
    let mut b = bed();
    let dom0 = b.dom0.clone();
    let at = b.s.room(DOMCTL_SIZE);
    let interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    b.s.set(at, &DomctlHeader { cmd: XEN_DOMCTL_GETDOMAININFO, interface_version, domain: 6, _pad: [0; 3] });
    assert_eq!(call(&dom0, 0, HYPERVISOR_DOMCTL, [at, 0, 0, 0, 0, 0]), Err(Errno::ESRCH));
    assert_eq!(b.why(&dom0, 0, XENOLITH_WHY_THIS_VCPU, 0), Err(Errno::ENOENT));
    // What comes after it is one.
    let at = b.max_vcpus(9, 1);
    call(&dom0, 0, HYPERVISOR_DOMCTL, [at, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(b.why(&dom0, 0, XENOLITH_WHY_THIS_VCPU, 0).unwrap().number, 1);
}

#[test]
fn the_last_ones_are_kept_for_each_vcpu_and_only_for_its_own_domain() {
    let mut b = bed();
    let (dom0, domu) = (b.dom0.clone(), b.domu.clone());
    for max in 0..20 {
        let at = b.max_vcpus(5, 100 + max);
        call(&dom0, 1, HYPERVISOR_DOMCTL, [at, 0, 0, 0, 0, 0]).unwrap_err();
    }
    // vCPU 0 had none; what vCPU 1 had can be asked from either.
    assert_eq!(b.why(&dom0, 0, XENOLITH_WHY_THIS_VCPU, 0), Err(Errno::ENOENT));
    for index in 0..KEPT as u32 {
        let w = b.why(&dom0, 0, 1, index).unwrap();
        assert_eq!((w.number, w.chain[0].values[0]), (20 - u64::from(index), 119 - u64::from(index)));
    }
    assert_eq!(b.why(&dom0, 0, 1, KEPT as u32), Err(Errno::ENOENT));
    assert_eq!(b.why(&dom0, 0, 2, 0), Err(Errno::EINVAL));
    // Another domain has its own.
    assert_eq!(b.why(&domu, 0, 0, 0), Err(Errno::ENOENT));
    call(&domu, 0, HYPERVISOR_DOMCTL, [0; 6]).unwrap_err();
    let w = b.why(&domu, 0, 0, 0).unwrap();
    assert_eq!(text(&w), "domctl: EPERM: only a privileged domain may do this");
}

#[test]
fn nothing_comes_between_a_call_and_why_in_one_batch() {
    let mut b = bed();
    let dom0 = b.dom0.clone();
    let (refused, why) = (b.max_vcpus(5, 3), b.s.room(size_of::<XenolithWhy>()));
    b.s.set(why, &XenolithWhy { vcpu: XENOLITH_WHY_THIS_VCPU, ..Default::default() });
    let list = b.s.room(3 * size_of::<MulticallEntry>());
    let entry = |nr: u32, args: [u64; 2]| MulticallEntry {
        op: nr.into(),
        result: 0,
        args: [args[0], args[1], 0, 0, 0, 0],
    };
    let all = [
        entry(HYPERVISOR_DOMCTL, [refused, 0]),
        entry(HYPERVISOR_XENOLITH_OP, [XENOLITH_WHY.into(), why]),
        entry(HYPERVISOR_XEN_VERSION, [0, 0]),
    ];
    for (i, e) in (0..).zip(&all) {
        b.s.set(list + i * size_of::<MulticallEntry>() as u64, e);
    }
    // Others want the CPU all the time.
    crate::sched::tickle(dom0.xen, CpuId(0));
    let stopped = dom0.call(0, |cx| {
        let r = dispatch(cx, HYPERVISOR_MULTICALL, &[list, 3, 0, 0, 0, 0]);
        (r, cx.restart.map(|r| r.args[1]))
    });
    assert_eq!(stopped, (Err(Stop::Continue), Some(1)), "both are done, the third is still to do");
    assert!(text(&b.s.get(why)).contains("createdomain said 1"));
}

#[test]
fn words_that_do_not_fit_are_left_out() {
    let mut room = [0xffu8; 8];
    room[7] = 0;
    let mut t = Text { room: &mut room, used: 0 };
    assert!(write!(t, "kälte {}", 12).is_err());
    assert_eq!(&room, "kälte \0".as_bytes());
}

#[test]
fn a_chain_keeps_the_innermost() {
    let b = bed();
    let xen = b.dom0.xen;
    set_cpu(0);
    xen.refusals.begin(CpuId(0), 7);
    // This check failed too, but something else was tried.
    refuse!(xen, (), "another way");
    refuse!(xen, (), "{} in {:x}", 0, 16);
    for i in 1..DEPTH as u64 + 3 {
        within!(xen, (), "{} in {:x}", i, 16 + i);
    }
    let (command, chain) = xen.refusals.take(CpuId(0)).unwrap();
    assert_eq!((command, chain.len), (7, DEPTH));
    assert_eq!(chain.to_string(), "3 in 0x13: 2 in 0x12: 1 in 0x11: 0 in 0x10");
    assert_eq!(xen.refusals.take(CpuId(0)).unwrap().1.len, 0);
}

/// A kernel beside the rest, and how to ask why from a page of its own.
fn kernels() -> (Kernel, Kernel) {
    let w = World::new(1024, 2);
    let (dom0, domu) = (w.domain(0, 1), w.domain(5, 1));
    for g in [&dom0, &domu] {
        crate::grant::grow(g.xen, &g.dom, 1).unwrap();
    }
    (dom0.boot(8), domu.boot(8))
}

fn why(k: &Kernel) -> XenolithWhy {
    let at = k.va(2);
    let asked = XenolithWhy { vcpu: XENOLITH_WHY_THIS_VCPU, ..Default::default() };
    assert!(k.write(0, at, asked.as_bytes()));
    k.hypercall(0, HYPERVISOR_XENOLITH_OP, [XENOLITH_WHY.into(), at, 0, 0, 0, 0]).unwrap();
    let mut answer = XenolithWhy::default();
    k.enter(0);
    k.guest.xen.m.copy_from_guest(answer.as_mut_bytes(), at).unwrap();
    answer
}

#[test]
fn page_tables_say_which_entry_and_what_is_wrong_with_its_frame() {
    let (dom0, domu) = kernels();
    let l1 = domu.tables[0].0;
    let uses = domu.guest.xen.frames.peek(domu.tables[0]).unwrap().1.count();
    assert_eq!(domu.set_pte(0, domu.pte(3), l1 << 12 | RW), Err(Errno::EBUSY));
    let w = why(&domu);
    assert_eq!((w.hypercall, w.command, w.error), (HYPERVISOR_MMU_UPDATE, 0, -Errno::EBUSY.0));
    assert_eq!(
        text(&w),
        std::format!(
            "mmu_update: EBUSY: request 0 of 1: entry 3 of a level-1 table: \
             frame {l1:#x} is in use as a level-1 table ({} uses)",
            // The lock of the table counts too.
            uses + 1
        )
    );
    // Whose frame it is is not told.
    let theirs = dom0.pages[0].0;
    domu.set_pte(0, domu.pte(3), theirs << 12 | RW).unwrap_err();
    assert!(text(&why(&domu)).ends_with(&std::format!("frame {theirs:#x} is not memory of domain 5")));
    // The second of three.
    let reqs = [(domu.pte(3), 0), (domu.slot(domu.tables[1], 7), RW | Pte::PSE), (domu.pte(4), 0)];
    assert_eq!(domu.mmu_update(0, &reqs, 0x7ff0), (Err(Errno::EINVAL), 1));
    let w = why(&domu);
    assert!(text(&w).starts_with("mmu_update: EINVAL: request 1 of 3: "), "{}", text(&w));
    assert!(
        text(&w).contains("bits 0x80 (PSE, GLOBAL, PCD or PWT) are not for entries of level 2"),
        "{}",
        text(&w)
    );
    // A table that is refused as a whole says where, from the pin down to the entry.
    let (table, page) = (domu.pages[5], domu.pages[6].0);
    assert!(domu.write(0, domu.va(5) + 9 * 8, &(l1 << 12 | RW).to_le_bytes()));
    for (i, entry) in [(5, 0), (6, 0)] {
        domu.set_pte(0, domu.pte(i), entry).unwrap();
    }
    assert_eq!(domu.mmuext(0, MMUEXT_PIN_L1_TABLE, table.0, 0, 0x7ff0), Err(Errno::EBUSY));
    let w = why(&domu);
    assert_eq!((w.hypercall, w.command), (HYPERVISOR_MMUEXT_OP, MMUEXT_PIN_L1_TABLE));
    assert!(
        text(&w)
            .starts_with("MMUEXT_PIN_L1_TABLE: EBUSY: operation 0 of 1: entry 9 of a level-1 table: frame"),
        "{}",
        text(&w)
    );
    // No operation was looked at.
    assert_eq!(domu.mmuext(0, MMUEXT_PIN_L1_TABLE, page, 0, 4242), Err(Errno::ESRCH));
    let w = why(&domu);
    assert_eq!((w.hypercall, w.command), (HYPERVISOR_MMUEXT_OP, XENOLITH_WHY_NO_OPERATION));
    assert_eq!(text(&w), "mmuext_op: ESRCH: there is no domain 4242");
    // What went before does not stand there.
    domu.mmuext(0, MMUEXT_UNPIN_TABLE, page, 0, 0x7ff0).unwrap_err();
    assert_eq!(
        text(&why(&domu)),
        std::format!("MMUEXT_UNPIN_TABLE: EINVAL: operation 0 of 1: frame {page:#x} is not pinned")
    );
}

#[test]
fn elements_of_grant_operations_say_why() {
    let (dom0, domu) = kernels();
    let map = |ref_: u32| {
        let op = GnttabMapGrantRef { host_addr: dom0.va(3), flags: 2, ref_, dom: 5, ..Default::default() };
        let status = dom0.grant_op(0, 0, op.as_bytes(), core::mem::offset_of!(GnttabMapGrantRef, status));
        let w = why(&dom0);
        assert_eq!((w.hypercall, w.command), (HYPERVISOR_GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF));
        (status, w)
    };
    let (status, w) = map(9);
    assert_eq!((status, w.error), (Ok(GNTST_GENERAL_ERROR), GNTST_GENERAL_ERROR.into()));
    assert_eq!(
        text(&w),
        "GNTTABOP_map_grant_ref: GNTST_general_error: the element at 0x10000000: entry 9 of domain 5: \
         the entry grants no access (flags 0x0)"
    );
    assert_eq!(map(100_000).0, Ok(GNTST_BAD_GNTREF));
    // A frame that is in use as a table, which the mapper does not get to know the number of.
    let table = domu.tables[0].0;
    let shared = crate::frame::proof::FreshFrame(crate::frame::CanRead::mfn(
        domu.guest.dom.grants.shared_frame(0).unwrap(),
    ));
    dom0.guest.xen.m.store(&shared, 9 * 8, 1 | table << 32);
    let (status, w) = map(9);
    assert_eq!(status, Ok(GNTST_GENERAL_ERROR));
    assert!(
        text(&w).ends_with("the frame of domain 5 is in use as a page table or for descriptors"),
        "{}",
        text(&w)
    );
    assert!(w.chain.iter().all(|l| !l.values.contains(&table)));
    // An error of the call as a whole.
    let args = [GNTTABOP_COPY.into(), 0xffff_8000_0000_0000, 3, 0, 0, 0];
    assert_eq!(dom0.hypercall(0, HYPERVISOR_GRANT_TABLE_OP, args), Err(Errno::EFAULT));
    assert_eq!(
        text(&why(&dom0)),
        "GNTTABOP_copy: EFAULT: the elements from 0xffff800000000000 on, 3, cannot all be accessed"
    );
}

/// Every operation of these kinds, with arguments that cannot be right.
#[test]
fn no_refusal_is_without_a_reason() {
    let mut refused = 0;
    // These end their lists with an error, which is no refusal.
    let lists = |r: &crate::hypercall_table::Row| {
        r.nr == HYPERVISOR_DOMCTL && r.op == Some(XEN_DOMCTL_GETDOMAININFO)
            || r.nr == HYPERVISOR_SYSCTL && r.op == Some(XEN_SYSCTL_CPUPOOL_OP)
    };
    for row in HYPERCALLS.iter().filter(|r| of_interest(r.nr) && !lists(r)) {
        let op = u64::from(row.op.unwrap_or(0));
        for by in 0..2 {
            let fresh = || if by == 0 { kernels().0 } else { kernels().1 };
            let mut k = fresh();
            for garbage in [0, 1, 7, 0x7ff0, 0x7ff4, BASE + 4096, 0xffff_8000_0000_0000, u64::MAX] {
                for fill in [0u64, 0x0101_0101_0101_0101, 0x7ff0_7ff0_7ff0_7ff0, BASE + 0x2345, u64::MAX] {
                    // Some of it is not refused, and takes pages away.
                    if !k.write(0, BASE, [fill; 64].as_bytes()) {
                        k = fresh();
                        assert!(k.write(0, BASE, [fill; 64].as_bytes()));
                    }
                    let args = match row.nr {
                        HYPERVISOR_MMUEXT_OP => {
                            assert!(k.write(0, BASE, &(op as u32).to_le_bytes()));
                            [BASE, 1, 0, if fill == 0 { 0x7ff0 } else { garbage }, 0, 0]
                        }
                        HYPERVISOR_MMU_UPDATE => [BASE, 3, garbage, garbage, 0, 0],
                        HYPERVISOR_DOMCTL => {
                            let head = [op as u32, XEN_DOMCTL_INTERFACE_VERSION, garbage as u32];
                            assert!(k.write(0, BASE, head.as_bytes()));
                            [BASE, 0, 0, 0, 0, 0]
                        }
                        HYPERVISOR_SYSCTL => {
                            let head = [op as u32, XEN_SYSCTL_INTERFACE_VERSION];
                            assert!(k.write(0, BASE, head.as_bytes()));
                            [BASE, 0, 0, 0, 0, 0]
                        }
                        HYPERVISOR_GRANT_TABLE_OP | HYPERVISOR_MEMORY_OP => [op, BASE, 1, 0, 0, 0],
                        _ => [garbage, fill, garbage, garbage, 0, 0],
                    };
                    // It looks for the reason itself.
                    refused += u32::from(k.hypercall(0, row.nr, args).is_err());
                    let faulty = [if row.op.is_some() { op } else { garbage }, garbage, 1, 0x7ff0, 0, 0];
                    refused += u32::from(k.hypercall(0, row.nr, faulty).is_err());
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}
