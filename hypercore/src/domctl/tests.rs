//! `domctl` as tools call it, by interface version.

use super::*;
use crate::cpumask::CpuMask;
use crate::ids::{CpuId, Mfn, VcpuId};
use crate::memory::assign_pages;
use crate::testing::kernel::{RO, RW};
use crate::testing::tool::errno;
use crate::testing::{Guest, Scratch, World};
use crate::xen::Stop;
use abi::GuestHandle;
use abi::xen::{MMUEXT_INVLPG_LOCAL, VMASST_TYPE_M2P_STRICT, XenctlBitmap};
use std::vec::Vec;

struct Bed {
    dom0: Guest,
    s: Scratch,
    at: u64,
}

fn bed() -> Bed {
    on(&World::new(4096, 2))
}

fn on(w: &World) -> Bed {
    let dom0 = w.domain(0, 1);
    let mut s = Scratch::new(w.xen);
    let at = s.room(DOMCTL_SIZE);
    Bed { dom0, s, at }
}

#[test]
fn the_nodes_of_a_domain() {
    let mut b = on(&World::with_two_nodes(4096, 2048));
    let id = b.create(0);
    let bitmap = GuestHandle::new(b.s.room(8));
    let nodemap = XenctlBitmap { bitmap, nr_bits: 64, _pad0: 0 };
    let get = |b: &Bed| {
        assert_eq!(b.call(XEN_DOMCTL_GETNODEAFFINITY, id, &DomctlNodeaffinity { nodemap }), Ok(0));
        b.s.get::<u64>(bitmap.addr())
    };
    let set = |b: &Bed, nodes: u64| {
        b.s.set(bitmap.addr(), &nodes);
        b.call(XEN_DOMCTL_SETNODEAFFINITY, id, &DomctlNodeaffinity { nodemap })
    };
    assert_eq!(get(&b), 3, "nobody said: all");
    assert_eq!(set(&b, 2), Ok(0));
    assert_eq!(get(&b), 2);
    for none in [0, 4] {
        assert_eq!(errno(set(&b, none)), Errno::EINVAL);
    }
    assert_eq!((set(&b, 5), get(&b)), (Ok(0), 1), "those there are");
}

const CREATE: DomctlCreatedomain = DomctlCreatedomain {
    ssidref: 0,
    handle: [0xab; 16],
    flags: 0,
    iommu_opts: 0,
    max_vcpus: 2,
    max_evtchn_port: 1023,
    max_grant_frames: -1,
    max_maptrack_frames: 8,
    grant_opts: 1,
    vmtrace_size: 0,
    cpupool_id: 0,
    arch: abi::arch_x86::ArchDomainconfig { emulation_flags: 0, misc_flags: 0 },
};

impl Bed {
    fn place<T: IntoBytes + Immutable>(&self, version: u32, cmd: u32, domain: u16, payload: &T) {
        self.s.set(self.at, &[0u8; DOMCTL_SIZE]);
        self.s.set(self.at, &DomctlHeader { cmd, interface_version: version, domain, _pad: [0; 3] });
        self.s.set(self.at + DOMCTL_PAYLOAD_OFFSET as u64, payload);
    }
    /// One call to its end, continuations included.
    fn raw(&self, by: &Guest) -> HcResult {
        loop {
            let (r, restart) = by.call(0, |cx| (domctl(cx, self.at), cx.restart));
            match r {
                Err(Stop::Continue) => {
                    assert_eq!(restart.map(|r| (r.nr, r.args[0])), Some((HYPERVISOR_DOMCTL, self.at)))
                }
                r => return r,
            }
        }
    }
    fn call<T: IntoBytes + Immutable>(&self, cmd: u32, domain: u16, payload: &T) -> HcResult {
        self.place(XEN_DOMCTL_INTERFACE_VERSION, cmd, domain, payload);
        self.raw(&self.dom0)
    }
    fn header(&self) -> DomctlHeader {
        self.s.get(self.at)
    }
    fn answer<T: FromBytes + IntoBytes>(&self) -> T {
        self.s.get(self.at + DOMCTL_PAYLOAD_OFFSET as u64)
    }
    fn create(&self, id: u16) -> u16 {
        assert_eq!(self.call(XEN_DOMCTL_CREATEDOMAIN, id, &CREATE), Ok(0));
        let id = self.header().domain;
        assert_eq!(self.call(XEN_DOMCTL_MAX_VCPUS, id, &DomctlMaxVcpus { max: 2 }), Ok(0));
        id
    }
    fn info(&self, id: u16) -> Result<DomctlGetdomaininfo, Errno> {
        match self.call(XEN_DOMCTL_GETDOMAININFO, id, &0u64) {
            Ok(_) => {
                let info: DomctlGetdomaininfo = self.answer();
                assert_eq!(self.header().domain, info.domain);
                Ok(info)
            }
            e => Err(errno(e)),
        }
    }
    fn free(&self) -> u64 {
        self.dom0.xen.frames.alloc.free_pages()
    }
}

#[test]
fn a_domain_is_created_described_and_destroyed_without_a_trace() {
    let b = bed();
    let before = b.free();
    for round in 0..3 {
        let id = b.create(0);
        assert_eq!(id, 1 + round);
        let info = b.info(id).unwrap();
        assert_eq!((info.domain, info.handle, info.max_vcpu_id), (id, [0xab; 16], 1));
        assert_eq!(info.nr_online_vcpus, 0);
        assert_eq!(info.flags & 0xffff, XEN_DOMINF_PAUSED);
        assert_eq!(b.call(XEN_DOMCTL_MAX_MEM, id, &DomctlMaxMem { max_memkb: 4 * 100 }), Ok(0));
        let dom = b.dom0.xen.domains.get(DomId(id)).unwrap();
        assign_pages(b.dom0.xen, &dom, 6, u64::MAX, 0).unwrap();
        drop(dom);
        let info = b.info(id).unwrap();
        assert_eq!((info.tot_pages, info.max_pages), (64, 100));
        b.dom0.xen.m.preempt_every.store(1, core::sync::atomic::Ordering::Relaxed);
        assert_eq!(b.call(XEN_DOMCTL_DESTROYDOMAIN, id, &0u64), Ok(0));
        b.dom0.xen.m.preempt_every.store(0, core::sync::atomic::Ordering::Relaxed);
        assert_eq!(b.free(), before);
        assert_eq!(errno(b.call(XEN_DOMCTL_DESTROYDOMAIN, id, &0u64)), Errno::ESRCH);
    }
}

#[test]
fn versions_are_told_apart() {
    let b = bed();
    b.place(0x14, XEN_DOMCTL_GETDOMAININFO, 0, &0u64);
    assert_eq!(errno(b.raw(&b.dom0)), Errno::EACCES);
    b.place(0x16, XEN_DOMCTL_GETDOMAININFO, 0, &0u64);
    assert_eq!(errno(b.raw(&b.dom0)), Errno::EACCES);
    let c = DomctlCreatedomainV17 {
        ssidref: 0,
        handle: [1; 16],
        flags: 0,
        iommu_opts: 0,
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: 4,
        max_maptrack_frames: 8,
        grant_opts: 1,
        altp2m_opts: 0,
        vmtrace_size: 0,
        cpupool_id: 0,
        arch: abi::arch_x86::ArchDomainconfig { emulation_flags: 0, misc_flags: 1 },
    };
    b.place(XEN_DOMCTL_INTERFACE_VERSION_V17, XEN_DOMCTL_CREATEDOMAIN, 7, &c);
    assert_eq!(b.raw(&b.dom0), Ok(0));
    let info = b.info(7).unwrap();
    assert_eq!((info.handle, info.arch_config.misc_flags), ([1; 16], 1));
    // The same bytes read as 0x15 mean something else.
    b.place(XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_CREATEDOMAIN, 8, &c);
    assert_eq!(b.raw(&b.dom0), Ok(0));
    assert_eq!(b.info(8).unwrap().arch_config.misc_flags, 0);
}

#[test]
fn getdomaininfo_searches_upward_at_0x15_only() {
    let b = bed();
    b.create(5);
    b.create(9);
    let ids: Vec<_> = [0, 1, 5, 6, 9].map(|id| b.info(id).unwrap().domain).into();
    assert_eq!(ids, [0, 5, 5, 9, 9]);
    assert_eq!(b.info(10), Err(Errno::ESRCH));
    b.place(XEN_DOMCTL_INTERFACE_VERSION_V17, XEN_DOMCTL_GETDOMAININFO, 6, &0u64);
    assert_eq!(errno(b.raw(&b.dom0)), Errno::ESRCH);
    b.place(XEN_DOMCTL_INTERFACE_VERSION_V17, XEN_DOMCTL_GETDOMAININFO, 9, &0u64);
    assert_eq!(b.raw(&b.dom0), Ok(0));
}

#[test]
fn only_the_privileged_may_and_not_to_themselves() {
    let b = bed();
    let id = b.create(0);
    let domu = Guest { xen: b.dom0.xen, dom: b.dom0.xen.domains.get(DomId(id)).unwrap() };
    b.place(XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_GETDOMAININFO, 0, &0u64);
    assert_eq!(errno(b.raw(&domu)), Errno::EPERM);
    for cmd in [XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN] {
        assert_eq!(errno(b.call(cmd, 0, &0u64)), Errno::EINVAL);
    }
    assert_eq!(errno(b.call(XEN_DOMCTL_PAUSEDOMAIN, abi::xen::DOMID_SELF, &0u64)), Errno::ESRCH);
    assert_eq!(errno(b.call(XEN_DOMCTL_SETVNUMAINFO, id, &0u64)), Errno::ENOSYS);
    assert_eq!(errno(b.call(9999, id, &0u64)), Errno::ENOSYS);
}

#[test]
fn what_cannot_be_is_not_created() {
    let b = bed();
    let before = b.free();
    let bad = [
        DomctlCreatedomain { flags: XEN_DOMCTL_CDF_HVM, ..CREATE },
        DomctlCreatedomain { flags: 1 << 20, ..CREATE },
        DomctlCreatedomain { max_vcpus: 0, ..CREATE },
        DomctlCreatedomain { grant_opts: 3, ..CREATE },
        DomctlCreatedomain { grant_opts: 0, ..CREATE },
        DomctlCreatedomain { max_grant_frames: 0, ..CREATE },
        DomctlCreatedomain { max_grant_frames: 65, ..CREATE },
        DomctlCreatedomain { cpupool_id: 1, ..CREATE },
        DomctlCreatedomain { iommu_opts: 1, ..CREATE },
    ];
    for c in bad {
        assert_eq!(errno(b.call(XEN_DOMCTL_CREATEDOMAIN, 0, &c)), Errno::EINVAL, "{c:?}");
    }
    b.create(3);
    assert_eq!(errno(b.call(XEN_DOMCTL_CREATEDOMAIN, 3, &CREATE)), Errno::EINVAL);
    assert_eq!(b.call(XEN_DOMCTL_DESTROYDOMAIN, 3, &0u64), Ok(0));
    assert_eq!(b.free(), before);
}

#[test]
fn a_tool_that_cannot_be_told_the_number_gets_no_domain() {
    let w = World::new(512, 1);
    let dom0 = w.domain(0, 1).boot(8);
    let (at, page) = (dom0.va(3), dom0.pages[3].0 << 12);
    let header = DomctlHeader {
        cmd: XEN_DOMCTL_CREATEDOMAIN,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain: 0,
        _pad: [0; 3],
    };
    assert!(dom0.write(0, at, header.as_bytes()));
    assert!(dom0.write(0, at + DOMCTL_PAYLOAD_OFFSET as u64, CREATE.as_bytes()));
    let counts = || (w.xen.frames.alloc.free_pages(), w.xen.domains.all().count());
    let (before, create) = (counts(), || dom0.hypercall(0, HYPERVISOR_DOMCTL, [at, 0, 0, 0, 0, 0]));
    let protect = |flags| {
        let done = dom0.set_pte(0, dom0.pte(3), page | flags);
        assert_eq!(done.and(dom0.mmuext(0, MMUEXT_INVLPG_LOCAL, at, 0, 0x7ff0)), Ok(0));
    };
    protect(RO);
    assert_eq!((create(), counts()), (Err(Errno::EFAULT), before));
    protect(RW);
    // Nor does the tool see a number that is no domain's.
    crate::testing::shortage::after(0);
    assert_eq!((create(), counts()), (Err(Errno::ENOMEM), before));
    assert!(!crate::testing::shortage::end());
    let told = || DomId(dom0.read(0, at + 8).unwrap() as u16);
    assert_eq!(told(), DomId(0));
    assert_eq!(create(), Ok(0));
    assert!(told() != DomId(0) && w.xen.domains.get(told()).is_some());
}

#[test]
fn pauses_nest_and_unpausing_ends_with_the_last() {
    let b = bed();
    let id = b.create(0);
    let paused = || b.info(id).unwrap().flags & XEN_DOMINF_PAUSED != 0;
    assert_eq!(b.call(XEN_DOMCTL_PAUSEDOMAIN, id, &0u64), Ok(0));
    assert_eq!(b.call(XEN_DOMCTL_UNPAUSEDOMAIN, id, &0u64), Ok(0));
    assert!(paused());
    assert_eq!(b.call(XEN_DOMCTL_UNPAUSEDOMAIN, id, &0u64), Ok(0));
    assert!(!paused());
    assert_eq!(errno(b.call(XEN_DOMCTL_UNPAUSEDOMAIN, id, &0u64)), Errno::EINVAL);
    // It has run: its CPU policy is fixed.
    let p = DomctlCpuPolicy::default();
    assert_eq!(errno(b.call(XEN_DOMCTL_SET_CPU_POLICY, id, &p)), Errno::EEXIST);
}

#[test]
fn affinity_is_cut_to_what_is_online() {
    let mut b = bed();
    let id = b.create(0);
    let (hard, soft) = (b.s.put(&[2u8; 8]), b.s.put(&[0xffu8; 8]));
    let map = |at, nr_bits| XenctlBitmap { bitmap: GuestHandle::new(at), nr_bits, _pad0: 0 };
    let flags = XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT;
    let a = DomctlVcpuaffinity { vcpu: 1, flags, cpumap_hard: map(hard, 3), cpumap_soft: map(soft, 64) };
    assert_eq!(b.call(XEN_DOMCTL_SETVCPUAFFINITY, id, &a), Ok(0));
    assert_eq!(b.s.list::<u8>(soft, 8), [2, 0, 0, 0, 0, 0, 0, 0]);
    let v = b.dom0.xen.domains.get(DomId(id)).unwrap().vcpu(VcpuId(1)).unwrap();
    assert_eq!(crate::sched::affinity(b.dom0.xen, &v).0, CpuMask::single(CpuId(1)));
    b.s.set(hard, &[0xffu8; 8]);
    assert_eq!(b.call(XEN_DOMCTL_GETVCPUAFFINITY, id, &a), Ok(0));
    assert_eq!(b.s.list::<u8>(hard, 2), [2, 0xff]);
    b.s.set(hard, &[0xf8u8; 8]);
    assert_eq!(errno(b.call(XEN_DOMCTL_SETVCPUAFFINITY, id, &a)), Errno::EINVAL);
    let none = DomctlVcpuaffinity { flags: 0, ..a };
    assert_eq!(errno(b.call(XEN_DOMCTL_GETVCPUAFFINITY, id, &none)), Errno::EINVAL);
    let beyond = DomctlVcpuaffinity { vcpu: 2, ..a };
    assert_eq!(errno(b.call(XEN_DOMCTL_GETVCPUAFFINITY, id, &beyond)), Errno::EINVAL);
}

#[test]
fn the_hypercall_page_is_only_written_to_the_domains_own_frames() {
    let b = bed();
    let id = b.create(0);
    b.call(XEN_DOMCTL_MAX_MEM, id, &DomctlMaxMem { max_memkb: 400 }).unwrap();
    let dom = b.dom0.xen.domains.get(DomId(id)).unwrap();
    let mfn = assign_pages(b.dom0.xen, &dom, 0, u64::MAX, 0).unwrap();
    assert_eq!(b.call(XEN_DOMCTL_HYPERCALL_INIT, id, &DomctlHypercallInit { gmfn: mfn.0 }), Ok(0));
    let want = u64::from_le_bytes(crate::dom0::hypercall_page::contents()[..8].try_into().unwrap());
    assert_eq!(b.dom0.xen.m.debug_load(mfn, 0), want);
    let others = b.dom0.frame();
    for bad in [others, Mfn(u64::MAX), Mfn(0)] {
        let h = DomctlHypercallInit { gmfn: bad.0 };
        assert_eq!(errno(b.call(XEN_DOMCTL_HYPERCALL_INIT, id, &h)), Errno::EACCES);
    }
    assert_eq!(b.dom0.xen.m.debug_load(others, 0), 0);
}

#[test]
fn frames_are_described_by_their_use() {
    let mut b = bed();
    let id = b.create(0);
    b.call(XEN_DOMCTL_MAX_MEM, id, &DomctlMaxMem { max_memkb: 400 }).unwrap();
    let dom = b.dom0.xen.domains.get(DomId(id)).unwrap();
    let plain = assign_pages(b.dom0.xen, &dom, 0, u64::MAX, 0).unwrap();
    let table = assign_pages(b.dom0.xen, &dom, 0, u64::MAX, 0).unwrap();
    let pt = crate::mm::Pt::own(b.dom0.xen, &dom);
    crate::mm::pin(&pt, table, 1).unwrap();
    let list = b.s.put(&[plain.0, table.0, b.dom0.frame().0]);
    let p = DomctlGetpageframeinfo3 { num: 3, array: GuestHandle::new(list) };
    assert_eq!(b.call(XEN_DOMCTL_GETPAGEFRAMEINFO3, id, &p), Ok(0));
    let want =
        [0, XEN_DOMCTL_PFINFO_L1TAB | XEN_DOMCTL_PFINFO_LPINTAB, XEN_DOMCTL_PFINFO_XTAB].map(u64::from);
    assert_eq!(b.s.list::<u64>(list, 3), want);
    let many = DomctlGetpageframeinfo3 { num: 1025, ..p };
    assert_eq!(errno(b.call(XEN_DOMCTL_GETPAGEFRAMEINFO3, id, &many)), Errno::E2BIG);
    drop(dom);
    assert_eq!(b.call(XEN_DOMCTL_DESTROYDOMAIN, id, &0u64), Ok(0));
    assert!(b.dom0.xen.domains.get(DomId(id)).is_none());
}

#[test]
fn weights_and_modes_are_kept() {
    let b = bed();
    let id = b.create(0);
    let op = |cmd, w: u64| DomctlSchedulerOp { sched_id: XEN_SCHEDULER_CREDIT2, cmd, u: [w, 0] };
    assert_eq!(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &op(XEN_DOMCTL_SCHEDOP_PUTINFO, 512)), Ok(0));
    assert_eq!(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &op(XEN_DOMCTL_SCHEDOP_GETINFO, 0)), Ok(0));
    assert_eq!(b.answer::<DomctlSchedulerOp>().u[0], 512);
    // Weight 0 leaves it; the cap is a percentage of one CPU, of which a domain may get several.
    assert_eq!(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &op(XEN_DOMCTL_SCHEDOP_PUTINFO, 150 << 16)), Ok(0));
    assert_eq!(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &op(XEN_DOMCTL_SCHEDOP_GETINFO, 0)), Ok(0));
    assert_eq!(b.answer::<DomctlSchedulerOp>().u[0], 150 << 16 | 512);
    assert_eq!(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &op(XEN_DOMCTL_SCHEDOP_PUTINFO, 300)), Ok(0));
    assert_eq!(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &op(XEN_DOMCTL_SCHEDOP_GETINFO, 0)), Ok(0));
    assert_eq!(b.answer::<DomctlSchedulerOp>().u[0], 300);
    for cmd in [XEN_DOMCTL_SCHEDOP_PUTVCPUINFO, XEN_DOMCTL_SCHEDOP_GETVCPUINFO, 4] {
        assert_eq!(errno(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &op(cmd, 0))), Errno::EINVAL);
    }
    let other = DomctlSchedulerOp { sched_id: XEN_SCHEDULER_CREDIT, ..op(1, 0) };
    assert_eq!(errno(b.call(XEN_DOMCTL_SCHEDULER_OP, id, &other)), Errno::EINVAL);
    let t =
        DomctlTscInfo { tsc_mode: TSC_MODE_NEVER_EMULATE, gtsc_khz: 5, incarnation: 3, ..Default::default() };
    assert_eq!(b.call(XEN_DOMCTL_SETTSCINFO, id, &t), Ok(0));
    assert_eq!(b.call(XEN_DOMCTL_GETTSCINFO, id, &0u64), Ok(0));
    let got: DomctlTscInfo = b.answer();
    assert_eq!((got.tsc_mode, got.gtsc_khz, got.incarnation), (TSC_MODE_NEVER_EMULATE, 0, 3));
    let t = DomctlTscInfo { tsc_mode: TSC_MODE_ALWAYS_EMULATE, elapsed_nsec: 1 << 40, ..t };
    assert_eq!(b.call(XEN_DOMCTL_SETTSCINFO, id, &t), Ok(0));
    assert_eq!(b.call(XEN_DOMCTL_GETTSCINFO, id, &0u64), Ok(0));
    let got: DomctlTscInfo = b.answer();
    assert_eq!((got.tsc_mode, got.gtsc_khz, got.elapsed_nsec >> 40), (TSC_MODE_ALWAYS_EMULATE, 5, 1));
    // The clock a vCPU finds is in terms of that counter.
    let dom = b.dom0.xen.domains.get(DomId(id)).unwrap();
    let v = dom.vcpu(VcpuId(0)).unwrap();
    let clock = crate::time::clock::read_clock(b.dom0.xen, &v);
    assert_eq!(clock.tsc_timestamp, dom.time.tsc.lock().ticks(clock.system_time));
    let scale = crate::time::TscScale::from_khz(5);
    assert_eq!((clock.tsc_to_system_mul, clock.tsc_shift), (scale.mul, scale.shift));
    let size = |size| DomctlAddressSize { size };
    assert_eq!(b.call(XEN_DOMCTL_SET_ADDRESS_SIZE, id, &size(64)), Ok(0));
    assert_eq!(errno(b.call(XEN_DOMCTL_SET_ADDRESS_SIZE, id, &size(32))), Errno::EOPNOTSUPP);
    assert_eq!(errno(b.call(XEN_DOMCTL_SET_ADDRESS_SIZE, id, &size(16))), Errno::EINVAL);
    assert_eq!(b.call(XEN_DOMCTL_GET_ADDRESS_SIZE, id, &0u64), Ok(0));
    assert_eq!(b.answer::<DomctlAddressSize>().size, 64);
}

#[test]
fn a_caller_gives_only_the_hardware_it_has() {
    let b = bed();
    let id = b.create(0);
    b.dom0.dom.io.ports.write().add(0x60, 0x6f).unwrap();
    let p = |first_port, nr_ports, allow_access| DomctlIoportPermission {
        first_port,
        nr_ports,
        allow_access,
        ..Default::default()
    };
    assert_eq!(b.call(XEN_DOMCTL_IOPORT_PERMISSION, id, &p(0x60, 16, 1)), Ok(0));
    assert_eq!(errno(b.call(XEN_DOMCTL_IOPORT_PERMISSION, id, &p(0x60, 17, 1))), Errno::EPERM);
    assert_eq!(errno(b.call(XEN_DOMCTL_IOPORT_PERMISSION, id, &p(0xffff, 2, 1))), Errno::EINVAL);
    assert_eq!(b.call(XEN_DOMCTL_IOPORT_PERMISSION, id, &p(0x64, 1, 0)), Ok(0));
    let dom = b.dom0.xen.domains.get(DomId(id)).unwrap();
    assert!(dom.io.ports_allowed(0x60, 4) && !dom.io.ports_allowed(0x64, 1));
}

#[test]
fn a_context_comes_back_as_it_was_given() {
    use abi::arch_x86::{VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext};
    let mut b = bed();
    let before = b.free();
    let id = b.create(0);
    b.call(XEN_DOMCTL_MAX_MEM, id, &DomctlMaxMem { max_memkb: 400 }).unwrap();
    let dom = b.dom0.xen.domains.get(DomId(id)).unwrap();
    let l4 = assign_pages(b.dom0.xen, &dom, 0, u64::MAX, 0).unwrap();
    let at = b.s.room(size_of::<VcpuGuestContext>());
    let arg = DomctlVcpucontext { vcpu: 0, ctxt: GuestHandle::new(at), ..Default::default() };
    assert_eq!(errno(b.call(XEN_DOMCTL_GETVCPUCONTEXT, id, &arg)), Errno::ENODATA);
    let mut c = VcpuGuestContext { flags: VGCF_IN_KERNEL | VGCF_ONLINE, ..Default::default() };
    c.user_regs.rip = 0xffff_ffff_8100_0000;
    c.user_regs.rsi = 0x1234;
    c.ctrlreg[3] = l4.0 << 12;
    // TSD and OSXSAVE are the guest's, PGE is not.
    c.ctrlreg[4] = 1 << 2 | 1 << 18 | 1 << 7;
    c.user_regs.rsp = 1 << 47;
    b.s.set(at, &c);
    assert_eq!(errno(b.call(XEN_DOMCTL_SETVCPUCONTEXT, id, &arg)), Errno::EINVAL);
    c.user_regs.rsp = 0xffff_ffff_8200_0000;
    b.s.set(at, &c);
    assert_eq!(b.call(XEN_DOMCTL_SETVCPUCONTEXT, id, &arg), Ok(0));
    b.s.set(at, &VcpuGuestContext::default());
    assert_eq!(b.call(XEN_DOMCTL_GETVCPUCONTEXT, id, &arg), Ok(0));
    let got: VcpuGuestContext = b.s.get(at);
    assert_eq!((got.user_regs.rip, got.user_regs.rsi), (c.user_regs.rip, 0x1234));
    assert_eq!((got.ctrlreg[3], got.flags & VGCF_ONLINE), (l4.0 << 12, VGCF_ONLINE));
    assert_eq!(got.user_regs.cs & 3, 3);
    assert_eq!(got.ctrlreg[4], 1 << 2 | 1 << 18);
    assert_eq!(b.info(id).unwrap().nr_online_vcpus, 1);
    // The root is typed and referenced; all of it goes with the domain.
    assert_eq!(dom.dying(), crate::domain::Dying::Alive);
    drop(dom);
    assert_eq!(b.call(XEN_DOMCTL_DESTROYDOMAIN, id, &0u64), Ok(0));
    assert_eq!(b.free(), before);
}

/// As the toolstack does to let a guest go on that it has saved: a context read, changed and written.
#[test]
fn what_a_context_does_not_hold_stays() {
    use abi::arch_x86::{VGCF_I387_VALID, VGCF_IN_KERNEL, VcpuGuestContext};
    let mut b = bed();
    let id = b.create(0);
    b.call(XEN_DOMCTL_MAX_MEM, id, &DomctlMaxMem { max_memkb: 400 }).unwrap();
    let dom = b.dom0.xen.domains.get(DomId(id)).unwrap();
    let l4 = assign_pages(b.dom0.xen, &dom, 0, u64::MAX, 0).unwrap();
    let at = b.s.room(size_of::<VcpuGuestContext>());
    let arg = DomctlVcpucontext { vcpu: 0, ctxt: GuestHandle::new(at), ..Default::default() };
    let mut c = VcpuGuestContext { flags: VGCF_IN_KERNEL, ..Default::default() };
    c.ctrlreg[3] = l4.0 << 12;
    b.s.set(at, &c);
    assert_eq!(b.call(XEN_DOMCTL_SETVCPUCONTEXT, id, &arg), Ok(0));
    let v = dom.vcpu(VcpuId(0)).unwrap();
    let (avx, ymm) = (4u64, 576);
    v.with_private(|p| {
        (p.xcr0, p.tsc_aux, p.iobitmap, p.iobitmap_ports) = (7, 5, 0x1000, 64);
        p.traps.sysenter.address = 0xffff_ffff_8100_0000;
        p.traps.syscall32.address = 0xffff_ffff_8100_1000;
        p.fpu.0[512..520].copy_from_slice(&avx.to_le_bytes());
        p.fpu.0[ymm] = 0x77;
    })
    .unwrap();
    assert_eq!(b.call(XEN_DOMCTL_GETVCPUCONTEXT, id, &arg), Ok(0));
    let mut c: VcpuGuestContext = b.s.get(at);
    assert_ne!(c.flags & VGCF_I387_VALID, 0);
    c.user_regs.rax = 1;
    b.s.set(at, &c);
    assert_eq!(b.call(XEN_DOMCTL_SETVCPUCONTEXT, id, &arg), Ok(0));
    let kept = |p: &mut crate::vcpu::VcpuPrivate| {
        assert_eq!((p.xcr0, p.tsc_aux, p.iobitmap, p.iobitmap_ports), (7, 5, 0x1000, 64));
        assert_eq!(p.traps.sysenter.address, 0xffff_ffff_8100_0000);
        assert_eq!(p.traps.syscall32.address, 0xffff_ffff_8100_1000);
        (p.regs.rax, crate::xstate::components(&p.fpu.0) & avx, p.fpu.0[ymm])
    };
    assert_eq!(v.with_private(kept), Some((1, avx, 0x77)));
    // Without an image of the FPU that is as after a reset.
    c.flags &= !VGCF_I387_VALID;
    b.s.set(at, &c);
    assert_eq!(b.call(XEN_DOMCTL_SETVCPUCONTEXT, id, &arg), Ok(0));
    assert_eq!(v.with_private(kept), Some((1, 0, 0)));
}

/// The roots a context brings are made what the assists it brings ask of them.
#[test]
fn assists_of_a_context_reach_its_own_roots() {
    use abi::arch_x86::{VGCF_IN_KERNEL, VcpuGuestContext};
    let mut b = bed();
    let id = b.create(0);
    b.call(XEN_DOMCTL_MAX_MEM, id, &DomctlMaxMem { max_memkb: 400 }).unwrap();
    let xen = b.dom0.xen;
    let dom = xen.domains.get(DomId(id)).unwrap();
    let l4 = assign_pages(xen, &dom, 0, u64::MAX, 0).unwrap();
    let at = b.s.room(size_of::<VcpuGuestContext>());
    let arg = DomctlVcpucontext { vcpu: 0, ctxt: GuestHandle::new(at), ..Default::default() };
    let strict = 1 << VMASST_TYPE_M2P_STRICT;
    let mut c = VcpuGuestContext { flags: VGCF_IN_KERNEL, vm_assist: strict, ..Default::default() };
    c.ctrlreg[3] = l4.0 << 12;
    // A root of user mode that is not there: no assist is switched on either.
    c.ctrlreg[1] = 0xfff_ffff << 12;
    b.s.set(at, &c);
    assert_eq!(errno(b.call(XEN_DOMCTL_SETVCPUCONTEXT, id, &arg)), Errno::EINVAL);
    assert!(!dom.assisted(VMASST_TYPE_M2P_STRICT));
    // One root for both modes: strictly, it has no machine-to-physical table.
    c.ctrlreg[1] = l4.0 << 12;
    for (assists, shown) in [(0, xen.host.hv_l4[0]), (strict, 0)] {
        c.vm_assist = assists;
        b.s.set(at, &c);
        assert_eq!(b.call(XEN_DOMCTL_SETVCPUCONTEXT, id, &arg), Ok(0));
        assert_eq!(xen.m.debug_load(l4, 256), shown);
    }
}

#[test]
fn extended_state_is_checked_before_it_is_taken() {
    let mut b = bed();
    let id = b.create(0);
    let ask = DomctlVcpuextstate::default();
    assert_eq!(b.call(XEN_DOMCTL_GETVCPUEXTSTATE, id, &ask), Ok(0));
    let e: DomctlVcpuextstate = b.answer();
    assert_eq!((e.size, e.xfeature_mask), (16 + 576, 3));
    let buffer = b.s.room(e.size as usize);
    let e = DomctlVcpuextstate { buffer: GuestHandle::new(buffer), ..e };
    assert_eq!(b.call(XEN_DOMCTL_GETVCPUEXTSTATE, id, &e), Ok(0));
    assert_eq!(b.s.get::<u64>(buffer), 3);
    // SSE without x87, and a header with a bit nobody knows.
    b.s.set(buffer, &2u64);
    assert_eq!(errno(b.call(XEN_DOMCTL_SETVCPUEXTSTATE, id, &e)), Errno::EINVAL);
    b.s.set(buffer, &3u64);
    b.s.set(buffer + 16 + 512, &(1u64 << 62));
    assert_eq!(errno(b.call(XEN_DOMCTL_SETVCPUEXTSTATE, id, &e)), Errno::EINVAL);
    // AVX is not this machine's, nor part of AVX-512 any machine's.
    for xcr0 in [7u64, 0x27] {
        b.s.set(buffer, &[xcr0, xcr0]);
        b.s.set(buffer + 16 + 512, &0u64);
        assert_eq!(errno(b.call(XEN_DOMCTL_SETVCPUEXTSTATE, id, &e)), Errno::EINVAL);
    }
    // What has been switched off while it was in use is told of.
    let v = b.dom0.xen.domains.get(DomId(id)).unwrap().vcpu(VcpuId(0)).unwrap();
    v.with_private(|p| {
        p.xcr0 = 1;
        p.fpu.0[512] = 3;
    });
    assert_eq!(b.call(XEN_DOMCTL_GETVCPUEXTSTATE, id, &e), Ok(0));
    assert_eq!(b.s.get::<[u64; 2]>(buffer), [1, 3]);
    let short = DomctlVcpuextstate { size: e.size - 8, ..e };
    assert_eq!(errno(b.call(XEN_DOMCTL_GETVCPUEXTSTATE, id, &short)), Errno::EINVAL);
    let msrs = b.s.put(&DomctlVcpuMsr { index: 0xc000_0103, reserved: 0, value: 7 });
    let l = DomctlVcpuMsrs { vcpu: 1, msr_count: 1, msrs: GuestHandle::new(msrs) };
    assert_eq!(b.call(XEN_DOMCTL_SET_VCPU_MSRS, id, &l), Ok(0));
    b.s.set(msrs, &DomctlVcpuMsr::default());
    assert_eq!(b.call(XEN_DOMCTL_GET_VCPU_MSRS, id, &l), Ok(0));
    assert_eq!(b.s.get::<DomctlVcpuMsr>(msrs).value, 7);
    b.s.set(msrs, &DomctlVcpuMsr { index: 0x1b, ..Default::default() });
    assert_eq!(errno(b.call(XEN_DOMCTL_SET_VCPU_MSRS, id, &l)), Errno::EINVAL);
}
