//! The machine: processors, memory, nodes.

use super::{Call, OpResult};
use crate::guest;
use crate::ids::CpuId;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::physdev::PhysdevPciDevice;
use abi::sysctl::*;

/// Kind of the firmware's memory map: usable (ACPI 6.5, 15.1).
const RAM: u32 = 1;
const PAGE: u64 = 4096;
/// Most devices asked about in one call.
const MAX_DEVICES: u32 = 4096;

fn fault(_: crate::machine::GuestFault) -> Errno {
    Errno::EFAULT
}

/// Threads of the first core, cores of the first socket.
fn shape<M: Machine>(xen: &Xen<M>) -> (u32, u32) {
    let all = &xen.host.topology;
    let Some(&(_, core, socket)) = all.first() else { return (1, 1) };
    let threads = all.iter().filter(|t| (t.1, t.2) == (core, socket)).count() as u32;
    let in_socket = all.iter().filter(|t| t.2 == socket).count() as u32;
    (threads.max(1), (in_socket / threads.max(1)).max(1))
}

pub(super) fn physinfo<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let (xen, host) = (cx.xen, &cx.xen.host);
    let (threads_per_core, cores_per_socket) = shape(xen);
    let v2 = if host.grants.version >= 2 { XEN_SYSCTL_PHYSCAP_GNTTAB_V2 } else { 0 };
    let mut hw_cap = [0; 8];
    hw_cap.copy_from_slice(&host.policies.host.features().0[..8]);
    let info = SysctlPhysinfo {
        threads_per_core,
        cores_per_socket,
        nr_cpus: host.online.count(),
        max_cpu_id: host.nr_cpus.saturating_sub(1),
        nr_nodes: host.nodes.count(),
        max_node_id: host.nodes.count() - 1,
        cpu_khz: host.tsc_khz,
        capabilities: XEN_SYSCTL_PHYSCAP_PV | XEN_SYSCTL_PHYSCAP_GNTTAB_V1 | v2,
        total_pages: host.total_pages,
        // What still is to be scrubbed can be had at once, and counts as free.
        free_pages: xen.frames.alloc.free_pages(),
        scrub_pages: 0,
        outstanding_pages: xen.frames.alloc.outstanding(),
        max_mfn: xen.frames.max_mfn().0.saturating_sub(1),
        hw_cap,
        ..Default::default()
    };
    call.put(&xen.m, &info)
}

/// A null list asks how many there are.
pub(super) fn cputopoinfo<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut t: SysctlCputopoinfo = call.get();
    let all = &cx.xen.host.topology;
    let mut n = all.len() as u32;
    if !t.cputopo.is_null() {
        n = n.min(t.num_cpus);
        for (i, &(apic_id, core, socket)) in (0..).zip(&all[..n as usize]) {
            let online = cx.xen.host.online.contains(CpuId(i as u32));
            let entry = if online {
                SysctlCputopo { core, socket, node: cx.xen.host.nodes.of_cpu(apic_id) }
            } else {
                SysctlCputopo {
                    core: XEN_INVALID_CORE_ID,
                    socket: XEN_INVALID_SOCKET_ID,
                    node: XEN_INVALID_NODE_ID,
                }
            };
            guest::write_at(&cx.xen.m, t.cputopo.addr(), i, &entry).map_err(fault)?;
        }
    }
    t.num_cpus = n;
    call.put(&cx.xen.m, &t)
}

/// Null lists ask how many nodes there are.
pub(super) fn numainfo<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let (xen, nodes) = (cx.xen, &cx.xen.host.nodes);
    let mut n: SysctlNumainfo = call.get();
    let asks = n.meminfo.is_null() && n.distance.is_null();
    let count = if asks { nodes.count() } else { n.num_nodes.min(nodes.count()) };
    for node in 0..count {
        if !n.meminfo.is_null() {
            let info = SysctlMeminfo {
                memsize: ram_of(xen, node) << 12,
                memfree: free_of(xen, node, 0, u64::MAX) << 12,
            };
            guest::write_at(&xen.m, n.meminfo.addr(), node.into(), &info).map_err(fault)?;
        }
        if !n.distance.is_null() {
            for other in 0..count {
                let distance = nodes.distance(node, other).unwrap_or(XEN_INVALID_NODE_DIST);
                let at = u64::from(node * count + other);
                guest::write_at(&xen.m, n.distance.addr(), at, &distance).map_err(fault)?;
            }
        }
    }
    n.num_nodes = count;
    call.put(&xen.m, &n)
}

/// Frames of RAM at a node.
fn ram_of<M: Machine>(xen: &Xen<M>, node: u32) -> u64 {
    if xen.host.nodes.count() == 1 {
        return xen.host.total_pages;
    }
    let ram = xen.host.e820.iter().filter(|r| r.2 == RAM).map(|r| (r.0.div_ceil(PAGE), (r.0 + r.1) / PAGE));
    let at_node = |(first, end): (u64, u64)| {
        let spans = xen.host.nodes.spans(node, end);
        spans.map(|s| s.1.saturating_sub(s.0.max(first))).sum::<u64>()
    };
    ram.map(at_node).sum()
}

/// Free frames at a node, of those among `first..end`.
fn free_of<M: Machine>(xen: &Xen<M>, node: u32, first: u64, end: u64) -> u64 {
    let alloc = &xen.frames.alloc;
    let spans = xen.host.nodes.spans(node, end);
    spans.map(|s| (s.0.max(first), s.1)).filter(|s| s.0 < s.1).map(|s| alloc.free_within(s.0, s.1)).sum()
}

/// Which node each device is at: none is known to be at one.
pub(super) fn pcitopoinfo<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let p: SysctlPcitopoinfo = call.get();
    if p.devs.is_null() || p.nodes.is_null() {
        return Err(refuse!(cx.xen, Errno::EINVAL, "devs or nodes is a null pointer"));
    }
    if p.num_devs > MAX_DEVICES {
        return Err(refuse!(cx.xen, Errno::E2BIG, "{} devices, at most {} at once", p.num_devs, MAX_DEVICES));
    }
    for i in 0..u64::from(p.num_devs) {
        let _: PhysdevPciDevice = guest::read_at(&cx.xen.m, p.devs.addr(), i).map_err(fault)?;
        guest::write_at(&cx.xen.m, p.nodes.addr(), i, &XEN_INVALID_NODE_ID).map_err(fault)?;
    }
    Ok(())
}

/// Idle time of each processor.
pub(super) fn getcpuinfo<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut g: SysctlGetcpuinfo = call.get();
    let now = cx.xen.m.now();
    g.nr_cpus = g.max_cpus.min(cx.xen.host.nr_cpus);
    for cpu in 0..g.nr_cpus {
        let info = SysctlCpuinfo { idletime: cx.xen.sched.idle_ns(CpuId(cpu), now) };
        guest::write_at(&cx.xen.m, g.info.addr(), cpu.into(), &info).map_err(fault)?;
    }
    call.put(&cx.xen.m, &g)
}

/// Free memory whose addresses need at least and at most so many bits.
pub(super) fn availheap<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut a: SysctlAvailheap = call.get();
    let frame = |bits: u32, none| match bits {
        0 => none,
        bits => 1u64.checked_shl(bits.saturating_sub(12)).unwrap_or(u64::MAX),
    };
    let (first, end) = (frame(a.min_bitwidth, 0), frame(a.max_bitwidth, u64::MAX));
    let alloc = &cx.xen.frames.alloc;
    let free = match (a.node, first, end) {
        (node @ 0.., ..) => free_of(cx.xen, node as u32, first, end),
        (_, 0, u64::MAX) => alloc.free_pages(),
        _ => alloc.free_within(first, end),
    };
    a.avail_bytes = free << 12;
    call.put(&cx.xen.m, &a)
}
