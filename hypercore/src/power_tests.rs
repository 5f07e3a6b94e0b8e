//! Power states as dom0's kernel and `xenpm` ask.

use super::*;
use crate::machine::Cpus;
use crate::testing::tool::{ToolBed, ToolCall, errno};
use abi::GuestHandle;
use core::sync::atomic::Ordering::SeqCst;

const SYSCTL: ToolCall = ToolCall {
    size: SYSCTL_SIZE,
    payload: SYSCTL_PAYLOAD_OFFSET,
    version: XEN_SYSCTL_INTERFACE_VERSION,
    serve: sysctl::sysctl,
};
const PLATFORM: ToolCall = ToolCall {
    size: PLATFORM_OP_SIZE,
    payload: PLATFORM_OP_PAYLOAD_OFFSET,
    version: XENPF_INTERFACE_VERSION,
    serve: platform_op::platform_op,
};

fn ask(b: &ToolBed, type_: u32, cpuid: u32, u: [u64; 7]) -> Result<[u64; 7], Errno> {
    match b.call(XEN_SYSCTL_GET_PMSTAT, &SysctlGetPmstat { type_, cpuid, u }) {
        Ok(0) => Ok(b.answer::<SysctlGetPmstat>().u),
        r => Err(errno(r)),
    }
}

/// Triggers and residencies of the states, and the time idle.
fn stat(b: &mut ToolBed, cpu: u32) -> (std::vec::Vec<(u64, u64)>, u64) {
    let (t, r) = (b.s.put(&[0x55u64; 8]), b.s.put(&[0x55u64; 8]));
    let s = PmCxStat {
        nr: 8,
        triggers: GuestHandle::new(t),
        residencies: GuestHandle::new(r),
        ..Default::default()
    };
    let s: PmCxStat = zerocopy::transmute!(ask(b, PMSTAT_GET_CXSTAT, cpu, zerocopy::transmute!(s)).unwrap());
    let (t, r): ([u64; 8], [u64; 8]) = (b.s.get(t), b.s.get(r));
    assert_eq!(t[s.nr as usize], 0x55, "no further");
    (t.into_iter().zip(r).take(s.nr as usize).collect(), s.idle_time)
}

#[test]
fn halted_time_is_counted_and_can_be_counted_anew() {
    let mut b = ToolBed::new(512, SYSCTL);
    let clock = |ns| b.dom0.xen.m.clock_ns.store(ns, SeqCst);
    let start = b.dom0.xen.m.now();
    clock(start + 500);
    assert_eq!(ask(&b, PMSTAT_GET_MAX_CX, 1, [0; 7]).unwrap()[0], 2);
    let (states, idle) = stat(&mut b, 1);
    assert_eq!(states[1], (1, idle));
    assert_eq!(states[0], (1, start + 500 - idle));
    assert!(idle >= 500);
    ask(&b, PMSTAT_RESET_CXSTAT, 1, [0; 7]).unwrap();
    b.dom0.xen.m.clock_ns.store(start + 700, SeqCst);
    assert_eq!(stat(&mut b, 1), (std::vec![(0, start + 500), (0, 200)], idle + 200));
}

#[test]
fn what_is_not_there_is_refused() {
    let b = ToolBed::new(512, SYSCTL);
    let refused = |type_, cpu| ask(&b, type_, cpu, [0; 7]).unwrap_err();
    assert_eq!(refused(PMSTAT_GET_MAX_CX, 2), Errno::EINVAL);
    assert_eq!(refused(PMSTAT_GET_MAX_PX, 0), Errno::ENODEV);
    assert_eq!(refused(PMSTAT_CX | 4, 0), Errno::ENOSYS);
    let op = |cmd, cpuid, value| {
        let mut u = [0; 15];
        u[0] = value;
        match b.call(XEN_SYSCTL_PM_OP, &SysctlPmOp { cmd, cpuid, u }) {
            Ok(0) => Ok(b.answer::<SysctlPmOp>().u[0]),
            r => Err(errno(r)),
        }
    };
    assert_eq!(op(XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 0, 9), Ok(1));
    assert_eq!(op(XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 1, 9), Ok(0xffff_ffff));
    assert_eq!(op(XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 1, 3), Ok(3));
    assert_eq!(op(XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 1, 9), Ok(3));
    assert_eq!(op(XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 0, 7), Ok(7));
    assert_eq!(op(XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 0, 9), Ok(1), "it does not go deeper");
    assert_eq!(op(XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 0, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(op(XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, 0, 0), Ok(0));
    assert_eq!(op(XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, 0, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(op(XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, 1, 0), Err(Errno::EINVAL));
    assert_eq!(op(GET_CPUFREQ_PARA, 0, 0), Err(Errno::ENODEV));
    assert_eq!(op(GET_CPUFREQ_PARA, 2, 0), Err(Errno::EINVAL));
    assert_eq!(op(XEN_SYSCTL_PM_OP_ENABLE_TURBO, 0, 0), Err(Errno::EACCES));
    assert_eq!(op(0x28, 0, 0), Err(Errno::ENOSYS));
    assert_eq!(op(0x28, 2, 0), Err(Errno::EINVAL));
}

#[test]
fn deeper_states_are_listed_and_not_entered() {
    let mut b = ToolBed::new(512, PLATFORM);
    let state = |type_| ProcessorCx { type_, ..Default::default() };
    let list = b.s.put(&[state(1), state(2), state(3), state(9)]);
    let call = |b: &ToolBed, id, type_, words: [u64; 2]| {
        let mut u = [0; 13];
        u[..2].copy_from_slice(&words);
        match b.call(XENPF_SET_PROCESSOR_PMINFO, &XenpfSetProcessorPminfo { id, type_, u }) {
            Ok(0) => Ok(()),
            r => Err(errno(r)),
        }
    };
    assert_eq!(call(&b, 1, XEN_PM_CX, [4, list]), Ok(()));
    assert_eq!(b.dom0.xen.power.get(CpuId(1)).deeper, 2);
    assert_eq!(call(&b, 1, XEN_PM_CX, [1, 0]), Err(Errno::EFAULT));
    assert_eq!(call(&b, 200, XEN_PM_CX, [0, 0]), Err(Errno::EINVAL));
    for id in [0, 200] {
        assert_eq!(call(&b, id, XEN_PM_PX, [0, 0]), Err(Errno::ENOSYS));
    }
    assert_eq!(call(&b, 0, XEN_PM_TX, [0, 0]), Err(Errno::ENOSYS));
    assert_eq!(call(&b, 0, 99, [0, 0]), Err(Errno::EINVAL));
    let words = b.s.put(&[1u32, 1, !0]);
    assert_eq!(call(&b, 0, XEN_PM_PDC, [words, 0]), Ok(()));
    assert_eq!(b.s.get::<[u32; 3]>(words), [1, 1, 0xa]);
    assert_eq!(call(&b, 0, XEN_PM_PDC, [0, 0]), Err(Errno::EFAULT));
    b.s.set(words, &2u32);
    assert_eq!(call(&b, 0, XEN_PM_PDC, [words, 0]), Err(Errno::EINVAL));
}
