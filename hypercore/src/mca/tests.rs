//! Machine checks from the banks to dom0.

use super::bank::{ADDRV, Bank, UC, VAL, ctl};
use super::*;
use crate::ids::Port;
use crate::machine::{Cpus, Frames};
use crate::testing::Guest;
use crate::testing::tool::{ToolBed, ToolCall, errno};
use abi::GuestHandle;

fn bed() -> ToolBed {
    let what = ToolCall {
        size: MC_SIZE,
        payload: MC_PAYLOAD_OFFSET,
        version: XEN_MCA_INTERFACE_VERSION,
        serve: mca,
    };
    ToolBed::new(512, what)
}

fn fetch(b: &mut ToolBed, flags: u32) -> (McFetch, McInfo) {
    let at = b.s.put(&McInfo::default());
    let op = McFetch { flags, data: GuestHandle::new(at), ..Default::default() };
    assert_eq!(b.call(XEN_MC_FETCH, &op), Ok(0));
    (b.answer(), b.s.get(at))
}

fn put(g: &Guest, msr: u32, value: u64) {
    g.xen.m.devices.msrs.lock().unwrap().insert(msr, value);
}

#[test]
fn a_corrected_error_is_found_and_told() {
    let mut b = bed();
    let g = b.dom0.clone();
    start(g.xen, CpuId(0));
    assert_eq!(g.xen.m.devices.msrs.lock().unwrap()[&ctl(1)], u64::MAX, "switched on");
    let port = crate::event::bind::bind_virq(g.xen, &g.dom, VIRQ_MCA, VcpuId(0)).unwrap();
    assert_eq!(fetch(&mut b, XEN_MC_NONURGENT).0.flags, XEN_MC_NODATA);
    let frame = g.frame();
    put(&g, ctl(1) + 1, VAL | ADDRV | 0x135);
    put(&g, ctl(1) + 2, frame.0 << 12 | 0x40);
    let later = g.xen.m.now() + PERIOD_NS;
    g.xen.m.clock_ns.store(later, core::sync::atomic::Ordering::SeqCst);
    crate::time::expired(g.xen, CpuId(0), later);
    assert!(pending(&g, port));
    let (op, info) = fetch(&mut b, XEN_MC_NONURGENT);
    assert_eq!((op.flags, info.mi_nentries), (XEN_MC_OK, 2));
    let bytes = info.mi_data.as_bytes();
    let (global, rest) = McinfoGlobal::read_from_prefix(bytes).unwrap();
    assert_eq!((global.mc_apicid, global.mc_flags), (0, MC_FLAG_POLLED | MC_FLAG_CORRECTABLE));
    let (bank, _) = McinfoBank::read_from_prefix(rest).unwrap();
    assert_eq!((bank.mc_bank, bank.mc_domid, bank.mc_addr), (1, 0, frame.0 << 12 | 0x40));
    assert_eq!(fetch(&mut b, XEN_MC_URGENT).0.flags, XEN_MC_NODATA, "of the other kind");
    // It stays until it is acknowledged by its name.
    let ack = |b: &ToolBed, fetch_id| {
        let op = McFetch { flags: XEN_MC_NONURGENT | XEN_MC_ACK, fetch_id, ..Default::default() };
        b.call(XEN_MC_FETCH, &op)
    };
    assert_eq!(ack(&b, op.fetch_id + 1), Ok(0));
    assert_eq!(fetch(&mut b, XEN_MC_NONURGENT).0.fetch_id, op.fetch_id);
    assert_eq!(ack(&b, op.fetch_id), Ok(0));
    assert_eq!(fetch(&mut b, XEN_MC_NONURGENT).0.flags, XEN_MC_NODATA);
}

fn pending(g: &Guest, port: Port) -> bool {
    let at = core::mem::offset_of!(abi::xen::SharedInfo, evtchn_pending);
    g.xen.m.load(&g.dom.shared_info, at) & 1 << port.0 != 0
}

#[test]
fn machine_checks_are_urgent_and_too_many_are_lost() {
    let mut b = bed();
    let xen = b.dom0.xen;
    let banks = [Bank { number: 3, status: VAL | UC, addr: 0, misc: 0 }].into_iter().collect();
    let l = Logout { gstatus: 5, tsc: 77, banks };
    for _ in 0..20 {
        report(xen, CpuId(1), &l, MC_FLAG_MCE | MC_FLAG_UNCORRECTABLE, Some((DomId(6), VcpuId(2))));
    }
    let (op, info) = fetch(&mut b, XEN_MC_URGENT);
    assert_eq!((op.flags, op.fetch_id), (XEN_MC_OK, 1));
    let (global, rest) = McinfoGlobal::read_from_prefix(info.mi_data.as_bytes()).unwrap();
    assert_eq!((global.mc_domid, global.mc_vcpuid, global.mc_apicid, global.mc_gstatus), (6, 2, 1, 5));
    let (bank, _) = McinfoBank::read_from_prefix(rest).unwrap();
    assert_eq!((bank.mc_domid, bank.mc_tsc), (DomId::INVALID.0, 77), "no address");
    for id in 1..=16 {
        assert_eq!(fetch(&mut b, XEN_MC_URGENT).0.fetch_id, id);
        xen.mca.acknowledge(Urgency::Now, id);
    }
    assert_eq!(fetch(&mut b, XEN_MC_URGENT).0.flags, XEN_MC_NODATA);
    let lost = xen.m.log.lock().unwrap().iter().filter(|l| l.contains("is lost")).count();
    assert_eq!(lost, 4);
}

#[test]
fn refusals() {
    let b = bed();
    assert_eq!(errno(b.by(&b.domu, XEN_MCA_INTERFACE_VERSION, XEN_MC_FETCH, &0u64)), Errno::EPERM);
    assert_eq!(errno(b.by(&b.dom0, XEN_MCA_INTERFACE_VERSION - 1, XEN_MC_FETCH, &0u64)), Errno::EACCES);
    assert_eq!(errno(b.call(99, &0u64)), Errno::EINVAL);
    for flags in [0, XEN_MC_URGENT | XEN_MC_NONURGENT, 0x80, XEN_MC_NONURGENT] {
        let op = McFetch { flags, ..Default::default() };
        assert_eq!(errno(b.call(XEN_MC_FETCH, &op)), Errno::EINVAL, "{flags:x}");
    }
    assert_eq!(errno(b.call(XEN_MC_NOTIFYDOMAIN, &0u64)), Errno::EINVAL);
    let msr = |mcinj_cpunr, mcinj_count, reg| {
        let mcinj_msr = [McinfoMsr { reg, value: 0 }; 8];
        b.call(XEN_MC_MSRINJECT, &McMsrinject { mcinj_cpunr, mcinj_count, mcinj_msr, ..Default::default() })
    };
    assert_eq!(msr(0, 0, 0), Ok(0));
    assert_eq!(errno(msr(99, 0, 0)), Errno::EINVAL);
    assert_eq!(errno(msr(0, 9, 0x401)), Errno::EINVAL);
    for reg in [0, 0x179, 0x17b, 0x3ff, 0x400, 0x428, 0x429, u64::MAX, 1 << 32 | 0x401] {
        assert_eq!(errno(msr(0, 1, reg)), Errno::EINVAL, "{reg:x}");
    }
    for reg in [0x17a, 0x401, 0x403, 0x427] {
        assert_eq!(errno(msr(0, 1, reg)), Errno::EOPNOTSUPP, "{reg:x}");
    }
    assert_eq!(errno(b.call(XEN_MC_MCEINJECT, &McMceinject { mceinj_cpunr: 2 })), Errno::EINVAL);
    assert_eq!(errno(b.call(XEN_MC_MCEINJECT, &McMceinject { mceinj_cpunr: 1 })), Errno::EOPNOTSUPP);
}

#[test]
fn processors_are_told_as_far_as_there_is_room() {
    let mut b = bed();
    let at = b.s.put(&[McinfoLogicalCpu::default(); 2]);
    let ask = |b: &ToolBed, ncpus, at| {
        let op = McPhyscpuinfo { ncpus, info: GuestHandle::new(at), ..Default::default() };
        assert_eq!(b.call(XEN_MC_PHYSCPUINFO, &op), Ok(0));
        b.answer::<McPhyscpuinfo>().ncpus
    };
    assert_eq!(ask(&b, 0, 0), 2);
    assert_eq!(ask(&b, 1, at), 1);
    let [first, second] = b.s.get::<[McinfoLogicalCpu; 2]>(at);
    assert_eq!((first.mc_ncores, first.mc_nthreads, first.mc_msrvalues[0].reg), (2, 1, 0x179));
    assert_eq!(second.mc_ncores, 0, "no room was given for it");
    assert_eq!(ask(&b, 9, at), 2);
    assert_eq!(b.s.get::<[McinfoLogicalCpu; 2]>(at)[1].mc_apicid, 1);
}
