//! `power`: idle states of processors, as tools see them and dom0 tells of them. No state is uploaded that Debian's
//! Xen might enter.

use abi::platform::*;
use abi::sysctl::*;
use abi::xen::*;

use super::platform::{ask, pair};
use crate::hypercall::{addr, call};
use crate::print::ok;
use crate::say;

/// sysctl's argument.
#[repr(C)]
struct Sysctl {
    header: SysctlHeader,
    payload: [u64; 15],
}

pub fn run() {
    statistics();
    settings();
    uploads();
}

pub(super) fn sysctl(cmd: u32, words: &[u64]) -> (i64, [u64; 15]) {
    let header = SysctlHeader { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION };
    let mut arg = Sysctl { header, payload: [0; _] };
    arg.payload[..words.len()].copy_from_slice(words);
    let answer = call(HYPERVISOR_SYSCTL, [addr(&mut arg), 0, 0, 0]);
    (answer, arg.payload)
}

fn statistics() {
    for cpu in [0, 1, 99] {
        for kind in [
            PMSTAT_GET_MAX_PX,
            PMSTAT_GET_PXSTAT,
            PMSTAT_RESET_PXSTAT,
            PMSTAT_PX | 4,
            PMSTAT_GET_MAX_CX,
            PMSTAT_CX | 4,
            1,
            0x31,
        ] {
            let (answer, p) = sysctl(XEN_SYSCTL_GET_PMSTAT, &[pair(kind, cpu), 16]);
            say!(format_args!("power.stat-{cpu}-{kind:x}"), "{answer} {}", p[1] as u32);
        }
    }
    for cpu in [0, 1] {
        let (mut times, mut ns, mut registers) = ([0x55u64; 4], [0x55u64; 4], [0x55u64; 4]);
        let at = addr(&mut registers);
        let words = [pair(PMSTAT_GET_CXSTAT, cpu), 4, 0, addr(&mut times), addr(&mut ns), pair(0, 0), at, at];
        let (answer, p) = sysctl(XEN_SYSCTL_GET_PMSTAT, &words);
        say!(
            format_args!("power.idle-{cpu}"),
            "{answer} states={} last={} idle={} halted={} times={} third={:#x} registers={}",
            p[1] as u32,
            p[1] >> 32,
            ok(p[2] > 0),
            // Debian's Xen counts when a processor comes back.
            ok(ns[0] + ns[1] > 0 && ns[1] <= p[2] + 1_000_000_000),
            ok(times[1] < 1 << 32),
            ns[2],
            p[5]
        );
    }
    let (answer, _) = sysctl(XEN_SYSCTL_GET_PMSTAT, &[pair(PMSTAT_GET_CXSTAT, 0), 4, 0, 0x1000_0000_0000]);
    say!("power.idle-nowhere", "{answer}");
    let (answer, _) = sysctl(XEN_SYSCTL_GET_PMSTAT, &[pair(PMSTAT_RESET_CXSTAT, 0), 4]);
    say!("power.idle-reset", "{answer}");
}

fn settings() {
    for (cmd, cpu, value) in [
        (GET_CPUFREQ_PARA, 0, 0),
        (SET_CPUFREQ_GOV, 0, 0),
        (SET_CPUFREQ_PARA, 0, 0),
        (GET_CPUFREQ_AVGFREQ, 0, 0),
        (GET_CPUFREQ_PARA, 99, 0),
        (XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, 0, 0),
        (XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, 1, 0),
        (XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 0, 9),
        (XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 1, 9),
        (XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 99, 9),
        (XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 0, 1),
        (XEN_SYSCTL_PM_OP_SET_MAX_CSTATE, 1, 1),
        (XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 0, 8),
        (XEN_SYSCTL_PM_OP_GET_MAX_CSTATE, 1, 8),
        (XEN_SYSCTL_PM_OP_ENABLE_TURBO, 0, 0),
        (XEN_SYSCTL_PM_OP_DISABLE_TURBO, 1, 0),
        (0x24, 0, 0),
        (0x25, 0, 0),
        (0x28, 0, 0),
        (0x28, 99, 0),
        (0x31, 0, 0),
    ] {
        let (answer, p) = sysctl(XEN_SYSCTL_PM_OP, &[pair(cmd, cpu), value]);
        say!(format_args!("power.op-{cmd:x}-{cpu}-{value}"), "{answer} {:#x}", p[1] as u32);
    }
}

fn uploads() {
    for (name, id, kind, words) in [
        ("cx", 0, XEN_PM_CX, [0u64, 0]),
        ("cx-nowhere", 0, XEN_PM_CX, [pair(1, 0), 0]),
        ("cx-absent", 200, XEN_PM_CX, [0, 0]),
        ("px", 0, XEN_PM_PX, [0, 0]),
        ("px-absent", 200, XEN_PM_PX, [0, 0]),
        ("tx", 0, XEN_PM_TX, [0, 0]),
        ("pdc-nowhere", 0, XEN_PM_PDC, [0, 0]),
        ("unknown", 0, 99, [0, 0]),
    ] {
        let (answer, _) = ask(XENPF_SET_PROCESSOR_PMINFO, &[pair(id, kind), words[0], words[1]]);
        say!(format_args!("power.upload-{name}"), "{answer}");
    }
    for (name, revision, count) in [("pdc", 1u32, 1u32), ("pdc-revision", 9, 1), ("pdc-empty", 1, 0)] {
        let mut words = [revision, count, u32::MAX, 0];
        let (answer, _) = ask(XENPF_SET_PROCESSOR_PMINFO, &[pair(0, XEN_PM_PDC), addr(&mut words)]);
        say!(format_args!("power.upload-{name}"), "{answer} {:#x}", words[2]);
    }
}
