//! Reasons of refusals, from the check to who asks.

use super::*;
use crate::hypercall::dispatch;
use crate::testing::machine::set_cpu;
use crate::testing::{Guest, Scratch, World};
use crate::xen::Stop;
use abi::domctl::*;
use abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use std::string::{String, ToString};
use std::vec::Vec;

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
    for i in 0..DEPTH as u64 + 3 {
        refuse!(xen, (), "{} in {:x}", i, 16 + i);
    }
    let (command, chain) = xen.refusals.take(CpuId(0)).unwrap();
    assert_eq!((command, chain.len), (7, DEPTH));
    assert_eq!(chain.to_string(), "3 in 0x13: 2 in 0x12: 1 in 0x11: 0 in 0x10");
    assert_eq!(xen.refusals.take(CpuId(0)).unwrap().1.len, 0);
}
