//! The machine: processors, memory, nodes. There is one node.

use super::{Call, OpResult};
use crate::guest;
use crate::ids::CpuId;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::physdev::PhysdevPciDevice;
use abi::sysctl::*;

/// Distance of a node to itself, as ACPI's SLIT counts.
const LOCAL_DISTANCE: u32 = 10;
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
        nr_nodes: 1,
        max_node_id: 0,
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
        for (i, &(_, core, socket)) in (0..).zip(&all[..n as usize]) {
            let online = cx.xen.host.online.contains(CpuId(i as u32));
            let entry = if online {
                SysctlCputopo { core, socket, node: 0 }
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
    let mut n: SysctlNumainfo = call.get();
    let asks = n.meminfo.is_null() && n.distance.is_null();
    if n.num_nodes > 0 && !asks {
        let xen = cx.xen;
        let info = SysctlMeminfo {
            memsize: xen.host.total_pages << 12,
            memfree: xen.frames.alloc.free_pages() << 12,
        };
        if !n.meminfo.is_null() {
            guest::write(&xen.m, n.meminfo.addr(), &info).map_err(fault)?;
        }
        if !n.distance.is_null() {
            guest::write(&xen.m, n.distance.addr(), &LOCAL_DISTANCE).map_err(fault)?;
        }
    }
    n.num_nodes = if asks { 1 } else { n.num_nodes.min(1) };
    call.put(&cx.xen.m, &n)
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
        (1.., ..) => 0,
        (_, 0, u64::MAX) => alloc.free_pages(),
        _ => alloc.free_within(first, end),
    };
    a.avail_bytes = free << 12;
    call.put(&cx.xen.m, &a)
}
