//! Idle states of processors, as dom0 tells of them and as tools see them (`xenpm`).
//!
//! An idle processor halts: state C1, which is always there and always left by the next interrupt. Deeper states that
//! dom0 uploads from its firmware's tables are listed, and not entered. Frequencies are left to the firmware.

use crate::fallible::SmallMap;
use crate::guest;
use crate::ids::CpuId;
use crate::machine::{GuestFault, Machine};
use crate::platform_op;
use crate::refuse;
use crate::sync::Mutex;
use crate::sysctl::{self, OpResult};
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::platform::*;
use abi::sysctl::*;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// States that every processor has: it runs (C0) or is halted (C1).
const OWN: u32 = 2;
/// Deepest state entered.
const MAX_CSTATE: u32 = 1;
/// States of one upload that are looked at: ACPI has no more (ACPI 6.5, 8.4.1.1).
const MOST_UPLOADED: u32 = 8;
/// Of _PDC's bits (Intel Processor Vendor-Specific ACPI Interface), what idle processors do: halt in C1, each with
/// states of its own.
const PDC_SERVED: u32 = 1 << 1 | 1 << 3;

/// What there is to remember of one processor.
#[derive(Clone, Copy, Default)]
struct Processor {
    /// States deeper than C1 that dom0 has told of.
    deeper: u32,
    /// Where the counts of `PMSTAT_reset_cxstat` begin: times it was halted, and nanoseconds.
    times: u64,
    ns: u64,
}

/// What dom0 told of the processors.
pub struct Power {
    processors: Mutex<SmallMap<CpuId, Processor>>,
    /// Limit on sub-states, which C1 does not have.
    max_substate: AtomicU32,
}

impl Default for Power {
    fn default() -> Self {
        Self {
            processors: Mutex::new(SmallMap::new()),
            max_substate: AtomicU32::new(XEN_SYSCTL_CX_UNLIMITED),
        }
    }
}

impl Power {
    fn get(&self, cpu: CpuId) -> Processor {
        self.processors.lock().get(cpu).copied().unwrap_or_default()
    }
    /// ENOMEM.
    fn change(&self, cpu: CpuId, f: impl FnOnce(&mut Processor)) -> OpResult {
        let mut all = self.processors.lock();
        let mut p = all.get(cpu).copied().unwrap_or_default();
        f(&mut p);
        all.insert(cpu, p)
    }
}

fn fault(_: GuestFault) -> Errno {
    Errno::EFAULT
}

fn online<M: Machine>(xen: &Xen<M>, cpu: u32) -> Result<CpuId, Errno> {
    let id = CpuId(cpu);
    if xen.host.online.contains(id) {
        return Ok(id);
    }
    Err(refuse!(xen, Errno::EINVAL, "there is no CPU {}", cpu))
}

/// `XEN_SYSCTL_get_pmstat`. EINVAL: no such CPU. ENODEV: states of another kind. ENOSYS: no such question.
pub(crate) fn get_pmstat<M: Machine>(cx: &Cx<'_, M>, call: &sysctl::Call) -> OpResult {
    let xen = cx.xen;
    let mut op: SysctlGetPmstat = call.get();
    let cpu = online(xen, op.cpuid)?;
    if op.type_ & PMSTAT_CATEGORY_MASK != PMSTAT_CX {
        return Err(refuse!(xen, Errno::ENODEV, "frequencies are left to the firmware"));
    }
    let p = xen.power.get(cpu);
    let now = xen.m.now();
    let (idle_ns, idles) = xen.sched.idle(cpu, now);
    match op.type_ {
        PMSTAT_GET_MAX_CX => {
            op.u[0] = op.u[0] & !u64::from(u32::MAX) | u64::from(OWN + p.deeper);
            call.put(&xen.m, &op)
        }
        PMSTAT_GET_CXSTAT => {
            let mut s: PmCxStat = zerocopy::transmute!(op.u);
            s.nr = s.nr.min(OWN + p.deeper);
            (s.last, s.idle_time, s.nr_pc, s.nr_cc) = (0, idle_ns, 0, 0);
            let (times, ns) = (idles.saturating_sub(p.times), idle_ns.saturating_sub(p.ns));
            // C0 is what C1 comes back to.
            let of = |state| match state {
                0 => (times, now.saturating_sub(ns)),
                1 => (times, ns),
                _ => (0, 0),
            };
            for i in 0..s.nr {
                let (times, ns) = of(i);
                guest::write_at(&xen.m, s.triggers.addr(), i.into(), &times).map_err(fault)?;
                guest::write_at(&xen.m, s.residencies.addr(), i.into(), &ns).map_err(fault)?;
            }
            op.u = zerocopy::transmute!(s);
            call.put(&xen.m, &op)
        }
        PMSTAT_RESET_CXSTAT => xen.power.change(cpu, |p| (p.times, p.ns) = (idles, idle_ns)),
        n => Err(refuse!(xen, Errno::ENOSYS, "question {:x} is not known", n)),
    }
}

/// `XEN_SYSCTL_pm_op`. EINVAL: no such CPU. ENODEV: no driver of its frequency. EACCES: nobody switches the faster ones.
/// EOPNOTSUPP: what is not so now and cannot be. ENOSYS: no such operation.
pub(crate) fn pm_op<M: Machine>(cx: &Cx<'_, M>, call: &sysctl::Call) -> OpResult {
    let xen = cx.xen;
    let mut op: SysctlPmOp = call.get();
    online(xen, op.cpuid)?;
    let (cmd, cpu, value) = (op.cmd, op.cpuid, op.u[0] as u32);
    let mut answer = |v: u32| {
        op.u[0] = op.u[0] & !u64::from(u32::MAX) | u64::from(v);
        call.put(&xen.m, &op)
    };
    match (cmd, cpu) {
        (GET_CPUFREQ_PARA..=GET_CPUFREQ_AVGFREQ, _) => {
            Err(refuse!(xen, Errno::ENODEV, "frequencies are left to the firmware"))
        }
        // Load is spread over cores before it is over their threads; the old setting is the answer.
        (XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, 0) if value == 0 => answer(0),
        (XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, 0) => {
            Err(refuse!(xen, Errno::EOPNOTSUPP, "load is not gathered on few cores"))
        }
        (XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 0) => answer(MAX_CSTATE),
        (XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 1) => answer(xen.power.max_substate.load(Relaxed)),
        (XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 0) if value >= MAX_CSTATE => Ok(()),
        (XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 0) => {
            Err(refuse!(xen, Errno::EOPNOTSUPP, "idle processors halt, whatever the limit"))
        }
        (XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 1) => {
            xen.power.max_substate.store(value, Relaxed);
            Ok(())
        }
        (
            XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT
            | XEN_SYSCTL_PM_OP_GET_MAX_CSTATE
            | XEN_SYSCTL_PM_OP_SET_MAX_CSTATE,
            n,
        ) => Err(refuse!(xen, Errno::EINVAL, "there is no limit number {}", n)),
        (XEN_SYSCTL_PM_OP_ENABLE_TURBO | XEN_SYSCTL_PM_OP_DISABLE_TURBO, _) => {
            Err(refuse!(xen, Errno::EACCES, "frequencies are left to the firmware"))
        }
        (n, _) => Err(refuse!(xen, Errno::ENOSYS, "operation {:x} is not known", n)),
    }
}

/// `XENPF_set_processor_pminfo`. EINVAL: no processor of that ACPI id, no such kind. ENOSYS: frequencies and throttling.
pub(crate) fn set_pminfo<M: Machine>(cx: &Cx<'_, M>, call: &platform_op::Call) -> OpResult {
    let (xen, op) = (cx.xen, call.get::<XenpfSetProcessorPminfo>());
    let by_acpi_id = || {
        let mut cpus = (0..xen.host.nr_cpus).map(CpuId).filter(|c| xen.host.online.contains(*c));
        cpus.find(|c| xen.m.acpi_id(*c) == Some(op.id))
            .ok_or_else(|| refuse!(xen, Errno::EINVAL, "no processor has ACPI id {}", op.id))
    };
    match op.type_ {
        XEN_PM_CX => {
            let cpu = by_acpi_id()?;
            let [first, second, ..] = op.u;
            let states: ProcessorPower = zerocopy::transmute!([first, second]);
            let mut deeper = 0;
            for i in 0..states.count.min(MOST_UPLOADED) {
                let state: ProcessorCx =
                    guest::read_at(&xen.m, states.states.addr(), i.into()).map_err(fault)?;
                deeper += u32::from(matches!(state.type_, 2 | 3));
            }
            xen.power.change(cpu, |p| p.deeper = deeper)
        }
        XEN_PM_PX => Err(refuse!(xen, Errno::ENOSYS, "frequencies are left to the firmware")),
        XEN_PM_PDC => pdc(xen, op.u[0]),
        XEN_PM_TX => Err(Errno::ENOSYS),
        n => Err(refuse!(xen, Errno::EINVAL, "states of kind {} are not known", n)),
    }
}

/// Leaves of _PDC's words at `at` (revision, how many follow, what the system can do) what is served.
fn pdc<M: Machine>(xen: &Xen<M>, at: u64) -> OpResult {
    let [revision, count]: [u32; 2] = guest::read(&xen.m, at).map_err(fault)?;
    if revision != 1 || count == 0 {
        return Err(refuse!(xen, Errno::EINVAL, "revision {} with {} words", revision, count));
    }
    let can: u32 = guest::read_at(&xen.m, at, 2).map_err(fault)?;
    guest::write_at(&xen.m, at, 2, &(can & PDC_SERVED)).map_err(fault)
}

#[cfg(test)]
#[path = "power_tests.rs"]
mod tests;
