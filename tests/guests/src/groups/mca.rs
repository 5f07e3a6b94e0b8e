//! `mca`: the `mca` hypercall of dom0: errors that wait (none do), the processors, what may be injected.

use abi::xen::HYPERVISOR_MCA;
use abi::xen_mca::*;

use crate::boot::c_str;
use crate::hypercall::{addr, call};
use crate::mm::{self, Page};
use crate::say;

const V: u32 = XEN_MCA_INTERFACE_VERSION;
/// No frame is mapped there.
const NOWHERE: u64 = 0x1000_0000_0000;

pub fn run() {
    say!("mca.version", "{}", mca(XEN_MC_FETCH, V - 1, &[]).0);
    say!("mca.unknown", "{}", mca(99, V, &[]).0);
    say!("mca.nowhere", "{}", call(HYPERVISOR_MCA, [NOWHERE, 0, 0, 0]));
    fetch();
    processors();
    say!("mca.notify", "{}", mca(XEN_MC_NOTIFYDOMAIN, V, &[0]).0);
    say!("mca.inject-none", "{}", mca(XEN_MC_MSRINJECT, V, &[0, 0]).0);
    say!("mca.inject-odd", "{}", mca(XEN_MC_MSRINJECT, V, &[0, 1]).0);
    say!("mca.inject-absent", "{}", mca(XEN_MC_MSRINJECT, V, &[99, 1]).0);
    say!("mca.inject-many", "{}", mca(XEN_MC_MSRINJECT, V, &[0, 9]).0);
    say!("mca.mce-absent", "{}", mca(XEN_MC_MCEINJECT, V, &[99]).0);
    let mut none = 0u64;
    say!("mca.inject-v2-bad", "{}", mca(XEN_MC_INJECT_V2, V, &[0x77, addr(&mut none), 64]).0);
    say!("mca.inject-v2-none", "{}", mca(XEN_MC_INJECT_V2, V, &[0, addr(&mut none), 64]).0);
}

#[repr(C)]
struct Argument {
    header: McHeader,
    payload: [u64; (MC_SIZE - MC_PAYLOAD_OFFSET) / 8],
}

/// The answer, and the payload after it.
fn mca(cmd: u32, version: u32, words: &[u64]) -> (i64, [u64; (MC_SIZE - MC_PAYLOAD_OFFSET) / 8]) {
    let mut arg = Argument { header: McHeader { cmd, interface_version: version }, payload: [0; _] };
    arg.payload[..words.len()].copy_from_slice(words);
    let answer = call(HYPERVISOR_MCA, [addr(&mut arg), 0, 0, 0]);
    (answer, arg.payload)
}

fn fetch() {
    let mut info = McInfo::default();
    let at = addr(&mut info);
    for (name, flags) in [
        ("nonurgent", XEN_MC_NONURGENT),
        ("urgent", XEN_MC_URGENT),
        ("none", 0),
        ("both", XEN_MC_URGENT | XEN_MC_NONURGENT),
        ("ack", XEN_MC_NONURGENT | XEN_MC_ACK),
        ("odd", 0x80),
    ] {
        let (answer, p) = mca(XEN_MC_FETCH, V, &[flags.into(), 0, at]);
        let (flags, id) = (p[0] as u32, p[1]);
        say!(
            format_args!("mca.fetch-{name}"),
            "{answer} flags={flags:#x} id={id} entries={}",
            info.mi_nentries
        );
    }
    let (answer, p) = mca(XEN_MC_FETCH, V, &[XEN_MC_NONURGENT.into(), 0, 0]);
    say!("mca.fetch-null", "{answer} flags={:#x}", p[0] as u32);
}

/// Room for fewer than there are is not asked about: Debian's Xen then writes past its own buffer and dies.
fn processors() {
    let (answer, p) = mca(XEN_MC_PHYSCPUINFO, V, &[0, 0]);
    say!("mca.cpus", "{answer} {}", p[0] as u32);
    let page = Page::new();
    let (answer, p) = mca(XEN_MC_PHYSCPUINFO, V, &[8, page.va()]);
    say!("mca.cpus-list", "{answer} {}", p[0] as u32);
    for i in 0..2 {
        processor(i, page.va() + i * size_of::<McinfoLogicalCpu>() as u64);
    }
}

/// What `struct mcinfo_logical_cpu` at `at` says.
fn processor(i: u64, at: u64) {
    let bytes =
        |from: u64, n: u64| (0..n).fold(0u32, |v, k| v | u32::from(mm::read8(at + from + k)) << (8 * k));
    let word = |from: u64| bytes(from, 4);
    say!(
        format_args!("mca.cpu-{i}"),
        "cpu={} chip={} core={} thread={} apic={} cluster={}",
        word(0),
        word(4),
        bytes(8, 2),
        bytes(10, 2),
        word(12),
        word(16)
    );
    say!(format_args!("mca.cpu-{i}-counts"), "cores={} active={} threads={}", word(20), word(24), word(28));
    say!(
        format_args!("mca.cpu-{i}-model"),
        "level={:#x} family={:#x} vendor={} model={:#x} step={:#x}",
        word(32),
        word(36),
        word(40),
        word(44),
        word(48)
    );
    let mut letters = [0; 64];
    for (name, from, len) in [("vendor", 52, 16), ("brand", 68, 64)] {
        let letters = &mut letters[..len];
        for (to, k) in letters.iter_mut().zip(from..) {
            *to = mm::read8(at + k);
        }
        say!(format_args!("mca.cpu-{i}-{name}"), "{:?}", c_str(letters));
    }
    for k in 0..7u64 {
        say!(format_args!("mca.cpu-{i}-caps-{k}"), "{:#x}", word(132 + 4 * k));
    }
    say!(format_args!("mca.cpu-{i}-cache"), "{} align={}", word(160), word(164));
    say!(
        format_args!("mca.cpu-{i}-msrs"),
        "{}: {:#x}={:#x} {:#x}={:#x}",
        word(168),
        word(176),
        word(184),
        word(192),
        word(200)
    );
}
