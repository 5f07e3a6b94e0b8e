//! `sysctl` as tools call it.

use super::*;
use crate::testing::World;
use crate::testing::tool::{ToolBed, ToolCall, errno};
use crate::testing::world::FIRST_RAM;
use abi::GuestHandle;
use abi::domctl::{DomctlGetdomaininfo, XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT2};
use abi::xen::XenctlBitmap;

const WHAT: ToolCall = ToolCall {
    size: SYSCTL_SIZE,
    payload: SYSCTL_PAYLOAD_OFFSET,
    version: XEN_SYSCTL_INTERFACE_VERSION,
    serve: sysctl,
};

fn bed() -> ToolBed {
    ToolBed::new(1024, WHAT)
}

#[test]
fn versions_and_rights_come_first() {
    let b = bed();
    assert_eq!(errno(b.by(&b.dom0, 0x14, XEN_SYSCTL_PHYSINFO, &0u64)), Errno::EACCES);
    assert_eq!(errno(b.by(&b.domu, XEN_SYSCTL_INTERFACE_VERSION, XEN_SYSCTL_PHYSINFO, &0u64)), Errno::EPERM);
    assert_eq!(errno(b.call(999, &0u64)), Errno::ENOSYS);
    assert_eq!(errno(b.call(XEN_SYSCTL_PSR_CMT_OP, &0u64)), Errno::ENODEV);
}

#[test]
fn physinfo_counts_frames_as_they_come_and_go() {
    let b = bed();
    let free = || {
        assert_eq!(b.call(XEN_SYSCTL_PHYSINFO, &0u64), Ok(0));
        let p: SysctlPhysinfo = b.answer();
        (p.free_pages, p.scrub_pages, p.outstanding_pages)
    };
    let before = free();
    let (mfn, _) = b.dom0.xen.frames.alloc.alloc(4, u64::MAX).unwrap();
    assert_eq!(free().0, before.0 - 16);
    b.dom0.xen.frames.alloc.free_range(mfn, 16, true);
    assert_eq!(free(), before);
    let p: SysctlPhysinfo = b.answer();
    assert_eq!((p.nr_cpus, p.max_cpu_id, p.nr_nodes, p.max_mfn), (2, 1, 1, 1023));
    assert_eq!((p.threads_per_core, p.cores_per_socket), (1, 2));
    assert_eq!(
        p.capabilities,
        XEN_SYSCTL_PHYSCAP_PV | XEN_SYSCTL_PHYSCAP_GNTTAB_V1 | XEN_SYSCTL_PHYSCAP_GNTTAB_V2
    );
}

#[test]
fn the_list_of_domains_begins_and_ends_where_it_is_asked_to() {
    let mut b = bed();
    let buffer = b.s.room(3 * size_of::<DomctlGetdomaininfo>());
    let list = |first_domain, max_domains| {
        let l = SysctlGetdomaininfolist {
            first_domain,
            max_domains,
            buffer: GuestHandle::new(buffer),
            ..Default::default()
        };
        assert_eq!(b.call(XEN_SYSCTL_GETDOMAININFOLIST, &l), Ok(0));
        let n = b.answer::<SysctlGetdomaininfolist>().num_domains;
        b.s.list::<DomctlGetdomaininfo>(buffer, n.into()).iter().map(|d| d.domain).collect::<Vec<_>>()
    };
    assert_eq!(list(0, 3), [0, 6]);
    assert_eq!(list(0, 1), [0]);
    assert_eq!(list(1, 3), [6]);
    assert_eq!(list(7, 3), [0u16; 0]);
}

#[test]
fn sizes_are_asked_for_with_null_lists() {
    let mut b = bed();
    assert_eq!(b.call(XEN_SYSCTL_CPUTOPOINFO, &SysctlCputopoinfo::default()), Ok(0));
    assert_eq!(b.answer::<SysctlCputopoinfo>().num_cpus, 2);
    assert_eq!(b.call(XEN_SYSCTL_NUMAINFO, &SysctlNumainfo::default()), Ok(0));
    assert_eq!(b.answer::<SysctlNumainfo>().num_nodes, 1);
    assert_eq!(b.call(XEN_SYSCTL_GET_CPU_FEATURESET, &SysctlCpuFeatureset::default()), Ok(0));
    let words = b.answer::<SysctlCpuFeatureset>().nr_features;
    let features = GuestHandle::new(b.s.room(words as usize * 4));
    let f = SysctlCpuFeatureset { index: XEN_SYSCTL_CPU_FEATURESET_PV, nr_features: words, features };
    assert_eq!(b.call(XEN_SYSCTL_GET_CPU_FEATURESET, &f), Ok(0));
    let short = SysctlCpuFeatureset { nr_features: 3, ..f };
    assert_eq!(errno(b.call(XEN_SYSCTL_GET_CPU_FEATURESET, &short)), Errno::ENOBUFS);
    assert_eq!(b.answer::<SysctlCpuFeatureset>().nr_features, 3);
    let hvm = SysctlCpuFeatureset { index: XEN_SYSCTL_CPU_FEATURESET_HVM, ..f };
    assert_eq!(errno(b.call(XEN_SYSCTL_GET_CPU_FEATURESET, &hvm)), Errno::EINVAL);
    let p = SysctlCpuPolicy { index: XEN_SYSCTL_CPU_POLICY_HOST, ..Default::default() };
    assert_eq!(b.call(XEN_SYSCTL_GET_CPU_POLICY, &p), Ok(0));
    let got: SysctlCpuPolicy = b.answer();
    let leaves = GuestHandle::new(b.s.room(got.nr_leaves as usize * 24));
    let msrs = GuestHandle::new(b.s.room(got.nr_msrs as usize * 16));
    let p = SysctlCpuPolicy { leaves, msrs, nr_leaves: got.nr_leaves, nr_msrs: got.nr_msrs - 1, ..p };
    assert_eq!(errno(b.call(XEN_SYSCTL_GET_CPU_POLICY, &p)), Errno::ENOBUFS);
    let p = SysctlCpuPolicy { nr_msrs: got.nr_msrs, ..p };
    assert_eq!(b.call(XEN_SYSCTL_GET_CPU_POLICY, &p), Ok(0));
    let hvm = SysctlCpuPolicy { index: XEN_SYSCTL_CPU_POLICY_HVM_MAX, ..p };
    assert_eq!(errno(b.call(XEN_SYSCTL_GET_CPU_POLICY, &hvm)), Errno::EOPNOTSUPP);
}

#[test]
fn nodes_are_the_machines() {
    let mut b = ToolBed::on(&World::with_two_nodes(1024, 600), WHAT);
    assert_eq!(b.call(XEN_SYSCTL_PHYSINFO, &0u64), Ok(0));
    let p: SysctlPhysinfo = b.answer();
    assert_eq!((p.nr_nodes, p.max_node_id), (2, 1));
    let cputopo = GuestHandle::new(b.s.room(2 * size_of::<SysctlCputopo>()));
    let c = SysctlCputopoinfo { num_cpus: 2, cputopo, ..Default::default() };
    assert_eq!(b.call(XEN_SYSCTL_CPUTOPOINFO, &c), Ok(0));
    let cpus = b.s.list::<SysctlCputopo>(cputopo.addr(), 2);
    assert_eq!([cpus[0].node, cpus[1].node], [0, 1]);
    assert_eq!(b.call(XEN_SYSCTL_NUMAINFO, &SysctlNumainfo::default()), Ok(0));
    assert_eq!(b.answer::<SysctlNumainfo>().num_nodes, 2);
    let meminfo = GuestHandle::new(b.s.room(3 * size_of::<SysctlMeminfo>()));
    let distance = GuestHandle::new(b.s.room(36));
    let ask = |num_nodes| {
        b.s.set(distance.addr(), &[77u32; 5]);
        let n = SysctlNumainfo { num_nodes, meminfo, distance, ..Default::default() };
        assert_eq!(b.call(XEN_SYSCTL_NUMAINFO, &n), Ok(0));
        let memory = b.s.list::<SysctlMeminfo>(meminfo.addr(), 2);
        let pages = [0, 1].map(|i: usize| (memory[i].memsize >> 12, memory[i].memfree >> 12));
        (b.answer::<SysctlNumainfo>().num_nodes, pages, b.s.list::<u32>(distance.addr(), 5))
    };
    let (n, pages, distances) = ask(3);
    assert_eq!((n, distances), (2, std::vec![10, 20, 20, 10, 77]));
    assert_eq!([pages[0].0, pages[1].0], [600 - FIRST_RAM, 424]);
    let all = b.dom0.xen.frames.alloc.free_pages();
    assert_eq!(pages[0].1 + pages[1].1, all);
    // What is taken is missing where it was.
    let (mfn, _) = b.dom0.xen.frames.alloc.alloc(4, u64::MAX).unwrap();
    let node = usize::from(mfn.0 >= 600);
    let (_, now, _) = ask(2);
    assert_eq!((now[node].1, now[1 - node].1), (pages[node].1 - 16, pages[1 - node].1));
    let (n, _, distances) = ask(1);
    assert_eq!((n, &distances[..2]), (1, &[10, 77][..]));
    for (node, free) in [(0, now[0].1), (1, now[1].1), (2, 0), (-1, all - 16)] {
        assert_eq!(b.call(XEN_SYSCTL_AVAILHEAP, &SysctlAvailheap { node, ..Default::default() }), Ok(0));
        assert_eq!(b.answer::<SysctlAvailheap>().avail_bytes >> 12, free);
    }
}

#[test]
fn pools_divide_the_cpus() {
    let mut b = bed();
    let map = XenctlBitmap { bitmap: GuestHandle::new(b.s.put(&[0xffu8; 8])), nr_bits: 64, _pad0: 0 };
    let of = |op, cpupool_id| SysctlCpupoolOp {
        op,
        cpupool_id,
        sched_id: XEN_SCHEDULER_CREDIT2,
        cpumap: map,
        ..Default::default()
    };
    let run = |op: SysctlCpupoolOp| b.call(XEN_SYSCTL_CPUPOOL_OP, &op);
    let info = |id| {
        assert_eq!(run(of(XEN_SYSCTL_CPUPOOL_OP_INFO, id)), Ok(0));
        let got: SysctlCpupoolOp = b.answer();
        assert_eq!(got.sched_id, XEN_SCHEDULER_CREDIT2);
        (got.cpupool_id, got.n_dom, b.s.list::<u8>(map.bitmap.addr(), 8)[0])
    };
    let free = || {
        assert_eq!(run(of(XEN_SYSCTL_CPUPOOL_OP_FREEINFO, 0)), Ok(0));
        b.s.list::<u8>(map.bitmap.addr(), 8)[0]
    };
    let cpu = |op, id, cpu| run(SysctlCpupoolOp { cpu, ..of(op, id) });
    let (add, remove) = (XEN_SYSCTL_CPUPOOL_OP_ADDCPU, XEN_SYSCTL_CPUPOOL_OP_RMCPU);
    let any = XEN_SYSCTL_CPUPOOL_PAR_ANY;
    let moves = |domid, id| run(SysctlCpupoolOp { domid, ..of(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, id) });
    let destroy = |id| run(of(XEN_SYSCTL_CPUPOOL_OP_DESTROY, id));
    // At boot there is one, with every CPU and domain.
    assert_eq!((info(0), free()), ((0, 2, 3), 0));
    for op in [XEN_SYSCTL_CPUPOOL_OP_INFO, XEN_SYSCTL_CPUPOOL_OP_DESTROY, XEN_SYSCTL_CPUPOOL_OP_RMCPU] {
        assert_eq!(errno(run(of(op, 1))), Errno::ENOENT);
    }
    assert_eq!(errno(moves(6, 1)), Errno::ENOENT);
    assert_eq!(errno(moves(5, 0)), Errno::ESRCH);
    for id in [0, 7] {
        assert_eq!(errno(moves(0, id)), Errno::EPERM, "not oneself, wherever to");
    }
    assert_eq!(errno(destroy(0)), Errno::EBUSY);
    assert_eq!(errno(cpu(add, 0, 1)), Errno::ENODEV);
    assert_eq!(errno(cpu(add, 0, 9)), Errno::EINVAL);
    assert_eq!(errno(cpu(add, 7, 9)), Errno::ENOENT);
    assert_eq!(errno(cpu(remove, 0, 9)), Errno::EINVAL);
    // A second one, from the first one's CPU.
    let create = |id| run(of(XEN_SYSCTL_CPUPOOL_OP_CREATE, id));
    let credit = SysctlCpupoolOp { sched_id: XEN_SCHEDULER_CREDIT, ..of(XEN_SYSCTL_CPUPOOL_OP_CREATE, any) };
    assert_eq!(errno(run(credit)), Errno::ENOENT);
    assert_eq!(create(any), Ok(0));
    assert_eq!(b.answer::<SysctlCpupoolOp>().cpupool_id, 1);
    assert_eq!(errno(create(1)), Errno::EEXIST);
    assert_eq!(create(7), Ok(0));
    assert_eq!((info(1), info(2)), ((1, 0, 0), (7, 0, 0)));
    assert_eq!(destroy(7), Ok(0));
    assert_eq!(errno(moves(6, 1)), Errno::ENODEV);
    assert_eq!(cpu(remove, 0, any), Ok(0));
    assert_eq!((info(0), free()), ((0, 2, 1), 2));
    assert_eq!(errno(cpu(remove, 0, 0)), Errno::EINVAL);
    assert_eq!(cpu(add, 1, any), Ok(0));
    assert_eq!(moves(6, 1), Ok(0));
    assert_eq!((info(0), info(1), free()), ((0, 1, 1), (1, 1, 2), 0));
    assert_eq!(crate::domctl::info::describe(b.domu.xen, &b.domu.dom).cpupool, 1);
    // It is not left without what its domain needs, and the domain's end frees it.
    assert_eq!(errno(destroy(1)), Errno::EBUSY);
    assert_eq!(errno(cpu(remove, 1, 1)), Errno::EBUSY);
    b.domu.dom.for_each_vcpu(|v| v.running.store(false, core::sync::atomic::Ordering::SeqCst));
    while !lifecycle::kill(b.domu.xen, &b.domu.dom) {}
    assert_eq!(errno(destroy(1)), Errno::EBUSY, "it still has its CPU");
    assert_eq!(cpu(remove, 1, 1), Ok(0));
    assert_eq!(destroy(1), Ok(0));
    assert_eq!(free(), 2);
    assert_eq!(cpu(add, 0, 1), Ok(0));
    assert_eq!((info(0).2, free()), (3, 0));
}

#[test]
fn the_schedulers_rate_limit_is_a_pools() {
    let b = bed();
    let s = SysctlSchedulerOp { sched_id: XEN_SCHEDULER_CREDIT2, cmd: 1, u: [7, 7], ..Default::default() };
    assert_eq!(b.call(XEN_SYSCTL_SCHEDULER_OP, &s), Ok(0));
    assert_eq!(b.answer::<SysctlSchedulerOp>().u[0] as u32, 1000, "a millisecond, as on Debian's Xen");
    let put = |us| SysctlSchedulerOp { cmd: XEN_SYSCTL_SCHEDOP_PUTINFO, u: [us, 0], ..s };
    for us in [100, 500_000, 0] {
        assert_eq!(b.call(XEN_SYSCTL_SCHEDULER_OP, &put(us)), Ok(0));
        assert_eq!(b.call(XEN_SYSCTL_SCHEDULER_OP, &s), Ok(0));
        assert_eq!(b.answer::<SysctlSchedulerOp>().u[0] as u32, us as u32);
    }
    for us in [1, 99, 500_001] {
        assert_eq!(errno(b.call(XEN_SYSCTL_SCHEDULER_OP, &put(us))), Errno::EINVAL);
    }
    let pool = SysctlSchedulerOp { cpupool_id: 1, ..s };
    assert_eq!(errno(b.call(XEN_SYSCTL_SCHEDULER_OP, &pool)), Errno::ESRCH);
    assert_eq!(errno(b.call(XEN_SYSCTL_SCHEDULER_OP, &SysctlSchedulerOp { cmd: 2, ..s })), Errno::EINVAL);
    let other = SysctlSchedulerOp { sched_id: XEN_SCHEDULER_CREDIT, ..s };
    assert_eq!(errno(b.call(XEN_SYSCTL_SCHEDULER_OP, &other)), Errno::EINVAL);
}

#[test]
fn free_memory_is_told_by_address_width() {
    let b = bed();
    let ask = |min_bitwidth, max_bitwidth, node| {
        let a = SysctlAvailheap { min_bitwidth, max_bitwidth, node, ..Default::default() };
        assert_eq!(b.call(XEN_SYSCTL_AVAILHEAP, &a), Ok(0));
        b.answer::<SysctlAvailheap>().avail_bytes >> 12
    };
    let all = b.dom0.xen.frames.alloc.free_pages();
    assert_eq!(ask(0, 0, -1), all);
    let (low, high) = (ask(0, 20, -1), ask(20, 0, -1));
    assert_eq!((low, low + high), (b.dom0.xen.frames.alloc.free_within(0, 256), all));
    assert_eq!(ask(0, 0, 3), 0);
}
