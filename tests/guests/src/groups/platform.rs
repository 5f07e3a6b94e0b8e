//! `platform`: what dom0 asks of the machine: platform_op, firmware, the display, performance counters. Device pages,
//! ports and interrupts are in [`super::hardware`].

use abi::platform::*;
use abi::pmu::*;
use abi::xen::*;

use super::hardware;
use crate::boot::start_info;
use crate::hypercall::{addr, call, op};
use crate::mm;
use crate::print::ok;
use crate::say;

pub fn run() {
    display();
    platform_op();
    firmware();
    counters();
    hardware::run();
}

fn display() {
    let info = start_info();
    let (offset, size) = info.console_dom0();
    let flags = info.flags;
    say!("platform.sif-pm", "{:#x}", flags >> 8 & 0xff);
    if size == 0 {
        say!("platform.vga-type", "none");
        return;
    }
    let at = core::ptr::from_ref(info) as u64 + u64::from(offset);
    let half = |n: u64| u16::from(mm::read8(at + 4 + 2 * n)) | u16::from(mm::read8(at + 5 + 2 * n)) << 8;
    say!("platform.vga-type", "{:#x}", mm::read8(at));
    say!("platform.vga-text", "font={} cursor-x={} rows={} columns={}", half(0), half(1), half(3), half(4));
    say!("platform.vga-cursor", "{}", ok(half(2) <= half(3)));
}

/// platform_op's argument.
#[repr(C)]
struct Op {
    header: PlatformOpHeader,
    payload: [u64; PLATFORM_OP_PAYLOAD_SIZE / 8],
}

pub(super) fn ask(cmd: u32, words: &[u64]) -> (i64, [u64; 16]) {
    let header = PlatformOpHeader { cmd, interface_version: XENPF_INTERFACE_VERSION };
    let mut arg = Op { header, payload: [0; _] };
    arg.payload[..words.len()].copy_from_slice(words);
    let answer = call(HYPERVISOR_PLATFORM_OP, [addr(&mut arg), 0, 0, 0]);
    (answer, arg.payload)
}

pub(super) fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn platform_op() {
    for (name, cmd, words) in [
        ("settime-mbz", XENPF_SETTIME64, &[1_700_000_000, pair(0, 1), 0][..]),
        ("add-memtype", XENPF_ADD_MEMTYPE, &[0xa0, 1, 0]),
        ("add-memtype-bad", XENPF_ADD_MEMTYPE, &[0xa0, 1, 77]),
        ("del-memtype", XENPF_DEL_MEMTYPE, &[pair(0, 99)]),
        ("read-memtype-bad", XENPF_READ_MEMTYPE, &[99]),
        ("quirk-irqbalance", XENPF_PLATFORM_QUIRK, &[QUIRK_NOIRQBALANCING as u64]),
        ("quirk-good-regsel", XENPF_PLATFORM_QUIRK, &[QUIRK_IOAPIC_GOOD_REGSEL as u64]),
        ("quirk-unknown", XENPF_PLATFORM_QUIRK, &[99]),
        ("efi-call", XENPF_EFI_RUNTIME_CALL, &[pair(1, 0)]),
        ("sleep-0", XENPF_ENTER_ACPI_SLEEP, &[0]),
        ("sleep-6", XENPF_ENTER_ACPI_SLEEP, &[pair(0, 6)]),
        ("sleep-flags", XENPF_ENTER_ACPI_SLEEP, &[pair(0, 5), 2]),
        ("change-freq", XENPF_CHANGE_FREQ, &[pair(1, 0), 1_000_000_000]),
        ("change-freq-cpu", XENPF_CHANGE_FREQ, &[pair(0, 99), 1_000_000_000]),
        ("change-freq-zero", XENPF_CHANGE_FREQ, &[pair(0, 0), 0]),
        ("cpu-online-absent", XENPF_CPU_ONLINE, &[99]),
        ("cpu-online-self", XENPF_CPU_ONLINE, &[0]),
        ("cpu-offline-absent", XENPF_CPU_OFFLINE, &[99]),
        ("cpu-offline-boot", XENPF_CPU_OFFLINE, &[0]),
        ("cpu-hotadd-bad", XENPF_CPU_HOTADD, &[pair(!0, !0), 0]),
        ("mem-hotadd-empty", XENPF_MEM_HOTADD, &[0x100000, 0x100000, 0]),
        ("mem-hotadd-backwards", XENPF_MEM_HOTADD, &[0x200000, 0x100000, 0]),
        ("mem-hotadd-ram", XENPF_MEM_HOTADD, &[0x1000, 0x2000, 0]),
        ("parking-get", XENPF_CORE_PARKING, &[2]),
        ("parking-bad", XENPF_CORE_PARKING, &[9]),
        ("resource-none", XENPF_RESOURCE_OP, &[0, 0]),
        ("resource-absent", XENPF_RESOURCE_OP, &[pair(1, 99), 0]),
        ("unknown-64", 64, &[0]),
        ("unknown-16", 16, &[0]),
    ] {
        say!(format_args!("platform.{name}"), "{}", ask(cmd, words).0);
    }
    let (answer, p) = ask(XENPF_CORE_PARKING, &[2]);
    say!("platform.parking", "{answer} {}", p[0] >> 32);
    let (answer, p) = ask(XENPF_GET_CPUINFO, &[1]);
    say!(
        "platform.cpuinfo",
        "{answer} last={} flags={} apic={} acpi={}",
        p[0] >> 32,
        p[1] as u32,
        p[1] >> 32,
        p[2] as u32
    );
    let (answer, p) = ask(XENPF_GET_CPUINFO, &[99]);
    say!("platform.cpuinfo-absent", "{answer} last={} flags={}", p[0] >> 32, p[1] as u32);
    let (answer, p) = ask(XENPF_GET_CPU_VERSION, &[1]);
    say!("platform.cpu-version", "{answer} last={} {:x?}", p[0] >> 32, &p[1..4]);
    let (answer, p) = ask(XENPF_GET_CPU_VERSION, &[99]);
    say!("platform.cpu-version-absent", "{answer} last={} {:x?}", p[0] >> 32, &p[1..4]);
    let (mut mask, mut times) = ([0xffu8; 8], [0x55u64; 8]);
    let (answer, p) = ask(XENPF_GETIDLETIME, &[addr(&mut mask), 8, addr(&mut times), 0]);
    say!(
        "platform.idletime",
        "{answer} mask={:x?} first={} second={} third={:#x} now={}",
        mask[0],
        ok(times[0] != 0x55 && times[0] < p[3]),
        ok(times[1] > 1_000_000 && times[1] <= p[3]),
        times[2],
        ok(p[3] > 1_000_000)
    );
    let mut mask = [0u8; 8];
    let (answer, p) = ask(XENPF_GETIDLETIME, &[addr(&mut mask), 8, addr(&mut times), 0]);
    say!("platform.idletime-none", "{answer} mask={:x?} now={}", mask[0], ok(p[3] > 1_000_000));
    let mut name = [0x5au8; 64];
    let (answer, p) = ask(XENPF_GET_SYMBOL, &[pair(64, 0), addr(&mut name), 0, 0]);
    let length = p[0] as u32 as usize;
    say!(
        "platform.symbol",
        "{answer} length={} next={} text={} type={}",
        ok((2..=64).contains(&length) && name[length - 1] == 0 && name[0] > b' '),
        p[0] >> 32,
        ok(p[2] >> 47 != 0),
        ok((p[3] as u8).is_ascii_alphabetic())
    );
    let (answer, p) = ask(XENPF_GET_SYMBOL, &[pair(64, 50_000_000), addr(&mut name), 0, 0]);
    say!("platform.symbol-past-end", "{answer} length={} next={}", p[0] as u32, ok(p[0] >> 32 == 50_000_000));
}

fn firmware() {
    let mut buffer = [0u8; 256];
    let at = addr(&mut buffer);
    for (name, kind, index) in [
        ("disk", XEN_FW_DISK_INFO, 0),
        ("disk-99", XEN_FW_DISK_INFO, 99),
        ("mbr", XEN_FW_DISK_MBR_SIGNATURE, 0),
        ("mbr-99", XEN_FW_DISK_MBR_SIGNATURE, 99),
        ("edid-index", XEN_FW_VBEDDC_INFO, 1),
        ("efi", XEN_FW_EFI_INFO, 0),
        ("efi-rom", XEN_FW_EFI_INFO, XEN_FW_EFI_PCI_ROM),
        ("shift", XEN_FW_KBD_SHIFT_FLAGS, 0),
        ("shift-index", XEN_FW_KBD_SHIFT_FLAGS, 1),
        ("unknown", 99, 0),
    ] {
        let (answer, p) = ask(XENPF_FIRMWARE_INFO, &[pair(kind, index), 0, at, 0]);
        let shown = if kind == XEN_FW_KBD_SHIFT_FLAGS { p[1] as u8 } else { 0 };
        say!(format_args!("platform.firmware-{name}"), "{answer} {shown:#x}");
    }
    let (answer, _) = ask(XENPF_FIRMWARE_INFO, &[pair(XEN_FW_VBEDDC_INFO, 0), 0, at, 0]);
    say!("platform.firmware-edid", "{answer}");
}

fn counters() {
    for (name, cmd) in [
        ("mode-get", XENPMU_MODE_GET),
        ("mode-set", XENPMU_MODE_SET),
        ("feature-get", XENPMU_FEATURE_GET),
        ("feature-set", XENPMU_FEATURE_SET),
        ("init", XENPMU_INIT),
        ("finish", XENPMU_FINISH),
        ("lvtpc", XENPMU_LVTPC_SET),
        ("flush", XENPMU_FLUSH),
        ("unknown", 99),
    ] {
        let mut p =
            PmuParams { version_maj: XENPMU_VER_MAJ, version_min: XENPMU_VER_MIN, ..Default::default() };
        let answer = op(HYPERVISOR_XENPMU_OP, cmd, &mut p);
        say!(format_args!("platform.pmu-{name}"), "{answer}");
    }
}
