//! `kexec`: what a hypervisor answers that was given no memory for a crash kernel.

use abi::GuestHandle;
use abi::kexec::*;
use abi::xen::HYPERVISOR_KEXEC_OP;

use crate::hypercall::{addr, call, op};
use crate::say;

/// An address nobody maps.
const NOWHERE: u64 = 0x1000_0000_0000;
/// ELF's number of the architecture.
const X86_64: u16 = 62;

pub fn run() {
    // Before anything is unloaded: Debian's Xen answers 1 and 0 in turn from then on.
    for type_ in [KEXEC_TYPE_DEFAULT, KEXEC_TYPE_CRASH, 2] {
        let mut kind = KexecStatus { type_ };
        say!(
            format_args!("kexec.status-{type_}"),
            "{}",
            op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_STATUS, &mut kind)
        );
    }
    for cmd in 0..7 {
        say!(format_args!("kexec.nowhere-{cmd}"), "{}", call(HYPERVISOR_KEXEC_OP, [cmd, NOWHERE, 0, 0]));
    }
    ranges();
    loads();
    kinds();
}

fn ranges() {
    for range in -1..8 {
        for nr in [-1, 0, 1, 2, 1 << 20] {
            let mut r = KexecRange { range, nr, size: 0x55, start: 0x55 };
            let answer = op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_GET_RANGE, &mut r);
            let there = (r.size != 0x55 && r.start != 0x55).then_some(r.size > 0 && r.start > 0);
            say!(format_args!("kexec.range-{range}-{nr}"), "{answer} there={there:?}");
        }
    }
}

fn loads() {
    let mut data = [0u8; 64];
    let buf = GuestHandle::new(data.as_mut_ptr() as u64);
    let segment = |dest_maddr, dest_size, buf_size| KexecSegment { buf, buf_size, dest_maddr, dest_size };
    let cases: &[(&str, u8, u16, &[KexecSegment])] = &[
        ("crash", KEXEC_TYPE_CRASH, X86_64, &[]),
        ("crash-segment", KEXEC_TYPE_CRASH, X86_64, &[segment(0x100_0000, 0x1000, 64)]),
        ("crash-odd", KEXEC_TYPE_CRASH, X86_64, &[segment(0x100_0001, 0x1000, 64)]),
        ("crash-large", KEXEC_TYPE_CRASH, X86_64, &[segment(0x100_0000, 0x1000, 0x2000)]),
        ("crash-386", KEXEC_TYPE_CRASH, 3, &[]),
        ("crash-arm", KEXEC_TYPE_CRASH, 183, &[]),
        ("default-odd", KEXEC_TYPE_DEFAULT, X86_64, &[segment(0x100_0001, 0x1000, 64)]),
        ("default-large", KEXEC_TYPE_DEFAULT, X86_64, &[segment(0x100_0000, 0x1000, 0x2000)]),
        ("default-arm", KEXEC_TYPE_DEFAULT, 183, &[]),
        ("default", KEXEC_TYPE_DEFAULT, X86_64, &[]),
        ("kind", 99, X86_64, &[]),
    ];
    for &(name, type_, arch, segments) in cases {
        let mut list = [KexecSegment::default(); 1];
        list[..segments.len()].copy_from_slice(segments);
        let mut load = KexecLoad {
            type_,
            _pad: 0,
            arch,
            nr_segments: segments.len() as u32,
            segments: GuestHandle::new(addr(&mut list)),
            entry_maddr: 0x100_0000,
        };
        let answer = op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_LOAD, &mut load);
        say!(format_args!("kexec.load-{name}"), "{answer}");
        let mut kind = KexecUnload { type_ };
        op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_UNLOAD, &mut kind);
    }
    for nr_segments in [1, 15, 16, 17, 1000] {
        let mut load = KexecLoad {
            type_: KEXEC_TYPE_CRASH,
            _pad: 0,
            arch: X86_64,
            nr_segments,
            segments: GuestHandle::new(NOWHERE),
            entry_maddr: 0,
        };
        let answer = op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_LOAD, &mut load);
        say!(format_args!("kexec.load-nowhere-{nr_segments}"), "{answer}");
    }
    for type_ in [0u32, 1, 99] {
        let mut words = [0u64; 64];
        words[0] = type_.into();
        let answer = call(HYPERVISOR_KEXEC_OP, [KEXEC_CMD_KEXEC_LOAD_V1.into(), addr(&mut words), 0, 0]);
        say!(format_args!("kexec.load-1-{type_}"), "{answer}");
        let answer = call(HYPERVISOR_KEXEC_OP, [KEXEC_CMD_KEXEC_UNLOAD_V1.into(), addr(&mut words), 0, 0]);
        say!(format_args!("kexec.unload-1-{type_}"), "{answer}");
    }
}

fn kinds() {
    for type_ in [KEXEC_TYPE_DEFAULT, KEXEC_TYPE_CRASH, 2, 99] {
        let mut kind = KexecUnload { type_ };
        say!(
            format_args!("kexec.unload-{type_}"),
            "{}",
            op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC_UNLOAD, &mut kind)
        );
        let mut exec = KexecExec { type_: type_.into() };
        say!(format_args!("kexec.exec-{type_}"), "{}", op(HYPERVISOR_KEXEC_OP, KEXEC_CMD_KEXEC, &mut exec));
    }
}
