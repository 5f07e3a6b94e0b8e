//! `nodes`: which processors and memory are close to each other, on a machine with several nodes.

use abi::domctl::*;
use abi::sysctl::*;
use abi::xen::*;

use super::platform::pair;
use super::power::sysctl;
use crate::hypercall::{addr, call};
use crate::print::ok;
use crate::say;

pub fn run() {
    let (answer, p) = sysctl(XEN_SYSCTL_PHYSINFO, &[]);
    // Of `SysctlPhysinfo`: after threads, cores and the number of CPUs and the last one.
    say!("nodes.physinfo", "{answer} nodes={}", p[2] as u32);
    cpus();
    let (answer, p) = sysctl(XEN_SYSCTL_NUMAINFO, &[]);
    say!("nodes.count", "{answer} {}", p[0] as u32);
    for room in [0, 1, 2, 3, 64] {
        memory(room);
    }
    for node in [-1i32, 0, 1, 2, 63] {
        let (answer, p) = sysctl(XEN_SYSCTL_AVAILHEAP, &[0, u64::from(node as u32), 0]);
        say!(format_args!("nodes.heap-{node}"), "{answer} free={}", p[2] > 0);
    }
    affinity();
}

fn cpus() {
    let mut list = [SysctlCputopo { core: 0x55, socket: 0x55, node: 0x55 }; 4];
    let (answer, p) = sysctl(XEN_SYSCTL_CPUTOPOINFO, &[4, addr(&mut list)]);
    say!("nodes.cpus", "{answer} {} {:?}", p[0] as u32, list.each_ref().map(|c| c.node));
}

fn memory(room: u64) {
    let mut memory = [SysctlMeminfo { memsize: 0x55, memfree: 0x55 }; 4];
    let mut distances = [0x55u32; 9];
    let (answer, p) = sysctl(XEN_SYSCTL_NUMAINFO, &[room, addr(&mut memory), addr(&mut distances)]);
    // Debian's Xen counts addresses from a node's first to its last, holes included.
    let sound = memory.each_ref().map(|m| {
        (m.memsize != 0x55).then_some(m.memsize > 256 << 20 && m.memfree <= m.memsize && m.memfree > 0)
    });
    say!(format_args!("nodes.memory-{room}"), "{answer} {} {sound:?} {distances:?}", p[0] as u32);
}

/// domctl's argument.
#[repr(C)]
struct Domctl {
    header: DomctlHeader,
    payload: [u64; DOMCTL_PAYLOAD_SIZE / 8],
}

fn affinity() {
    let ask = |cmd, nodes: &mut u64| {
        let header =
            DomctlHeader { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain: 0, _pad: [0; 3] };
        let mut arg = Domctl { header, payload: [0; _] };
        (arg.payload[0], arg.payload[1]) = (addr(nodes), pair(64, 0));
        call(HYPERVISOR_DOMCTL, [addr(&mut arg), 0, 0, 0])
    };
    let get = |name| {
        let mut nodes = 0;
        let answer = ask(XEN_DOMCTL_GETNODEAFFINITY, &mut nodes);
        say!(format_args!("nodes.affinity-{name}"), "{answer} {}", ok(nodes != 0));
        nodes
    };
    get("first");
    for mut nodes in [2u64, 0, 1 << 40, 1 << 40 | 1] {
        let answer = ask(XEN_DOMCTL_SETNODEAFFINITY, &mut nodes);
        let now = get("then");
        say!(format_args!("nodes.affinity-{nodes:#x}"), "{answer} {:#x}", now & 3);
    }
}
