//! Of group `platform`: physdev_op, ports, and pages of devices.

use abi::physdev::*;
use abi::xen::*;

use super::allow_io;
use crate::hypercall::{addr, call, update_va_mapping};
use crate::mm::{self, DATA, Page, READ};
use crate::{probe, say};

pub fn run() {
    devices();
    ports();
    device_pages();
}

fn devices() {
    let physdev = |cmd: u32, arg| call(HYPERVISOR_PHYSDEV_OP, [cmd.into(), arg, 0, 0]);
    for (name, what, bus) in
        [("prepare", 1, 0), ("done", 2, 0), ("pci", 1, 1), ("unknown", 9, 0), ("bus", 1, 9)]
    {
        let mut dbgp = PhysdevDbgpOp { op: what, bus, ..Default::default() };
        say!(format_args!("platform.dbgp-{name}"), "{}", physdev(PHYSDEVOP_DBGP_OP, addr(&mut dbgp)));
    }
    let mut apic = PhysdevApic { apic_physbase: 0xfec0_0000, reg: 1, value: 0x55 };
    say!("platform.apic-read", "{} {:#x}", physdev(PHYSDEVOP_APIC_READ, addr(&mut apic)), apic.value);
    let mut apic = PhysdevApic { apic_physbase: 0xfec0_1000, reg: 1, value: 0x55 };
    say!("platform.apic-read-absent", "{}", physdev(PHYSDEVOP_APIC_READ, addr(&mut apic)));
    let mut apic = PhysdevApic { apic_physbase: 0xfec0_1000, reg: 1, value: 0x55 };
    say!("platform.apic-write-absent", "{}", physdev(PHYSDEVOP_APIC_WRITE, addr(&mut apic)));
    let mut apic = PhysdevApic { apic_physbase: 0xfec0_0000, reg: 0x10 + 2 * 20, value: 0x1_0000 };
    say!("platform.apic-write", "{}", physdev(PHYSDEVOP_APIC_WRITE, addr(&mut apic)));
    let mut irq = PhysdevIrq { irq: 20, vector: 0 };
    let answer = physdev(PHYSDEVOP_ALLOC_IRQ_VECTOR, addr(&mut irq));
    say!("platform.irq-vector", "{answer} {}", irq.vector);
    let mut irq = PhysdevIrq { irq: 5000, vector: 0 };
    say!("platform.irq-vector-absent", "{}", physdev(PHYSDEVOP_ALLOC_IRQ_VECTOR, addr(&mut irq)));
    let mut mmcfg = PhysdevPciMmcfgReserved {
        address: 0xb000_0000,
        segment: 0,
        start_bus: 0,
        end_bus: 255,
        flags: XEN_PCI_MMCFG_RESERVED,
    };
    say!("platform.mmcfg", "{}", physdev(PHYSDEVOP_PCI_MMCFG_RESERVED, addr(&mut mmcfg)));
    mmcfg.address = 0x9000_0000;
    say!("platform.mmcfg-elsewhere", "{}", physdev(PHYSDEVOP_PCI_MMCFG_RESERVED, addr(&mut mmcfg)));
    for (name, devfn) in [("there", 0u8), ("absent", 0x58)] {
        let mut device = PhysdevPciDeviceAdd { devfn, ..Default::default() };
        let add = physdev(PHYSDEVOP_PCI_DEVICE_ADD, addr(&mut device));
        let mut msix = PhysdevPciDevice { seg: 0, bus: 0, devfn };
        // PREPARE_MSIX for a device without MSI-X is not asked about: Debian's Xen reads the wrong register.
        let restore = physdev(PHYSDEVOP_RESTORE_MSI_EXT, addr(&mut msix));
        say!(format_args!("platform.pci-{name}"), "add={add} restore={restore}");
    }
    let mut gsi = PhysdevSetupGsi { gsi: 5000, ..Default::default() };
    say!("platform.gsi-absent", "{}", physdev(PHYSDEVOP_SETUP_GSI, addr(&mut gsi)));
    let mut gsi = PhysdevSetupGsi { gsi: -1, ..Default::default() };
    say!("platform.gsi-negative", "{}", physdev(PHYSDEVOP_SETUP_GSI, addr(&mut gsi)));
    let page = Page::new();
    for (name, cmd) in [("v1", PHYSDEVOP_PIRQ_EOI_GMFN_V1), ("v2", PHYSDEVOP_PIRQ_EOI_GMFN_V2)] {
        let mut eoi = PhysdevPirqEoiGmfn { gmfn: 1 << 38 };
        say!(format_args!("platform.eoi-page-{name}-absent"), "{}", physdev(cmd, addr(&mut eoi)));
        let mut eoi = PhysdevPirqEoiGmfn { gmfn: page.mfn() };
        say!(format_args!("platform.eoi-page-{name}"), "{}", physdev(cmd, addr(&mut eoi)));
    }
}

fn in8(port: u16) -> u8 {
    let value: u32;
    // SAFETY: a port whose reading changes nothing.
    unsafe { probe!(["in al, dx"], inout("eax") 0x55 => value, in("edx") u32::from(port)) };
    value as u8
}

fn out8(port: u16, value: u8) {
    // SAFETY: the index of the CMOS memory.
    unsafe { probe!(["out dx, al"], in("eax") u32::from(value), in("edx") u32::from(port)) };
}

fn in32(port: u16) -> u32 {
    let value: u32;
    // SAFETY: as in `in8`.
    unsafe { probe!(["in eax, dx"], inout("eax") 0x55 => value, in("edx") u32::from(port)) };
    value
}

fn out32(port: u16, value: u32) {
    // SAFETY: the address of configuration space.
    unsafe { probe!(["out dx, eax"], in("eax") value, in("edx") u32::from(port)) };
}

fn ports() {
    allow_io(1);
    out8(0x70, 0x0d);
    say!("platform.cmos-index", "{:#x}", in8(0x70));
    say!("platform.cmos-valid", "{:#x}", in8(0x71));
    out8(0x70, 0x8d);
    say!("platform.cmos-index-nmi", "{:#x}", in8(0x70));
    out32(0xcf8, 0x8000_0000);
    say!("platform.cf8", "{:#x} host-bridge={:#x}", in32(0xcf8), in32(0xcfc));
    say!("platform.cf8-bytes", "{:#x} {:#x}", in8(0xcfc), in8(0xcfe));
    out32(0xcf8, 0);
    say!("platform.cf8-off", "{:#x}", in32(0xcfc));
    out32(0xcf8, 0x8000_f800);
    say!("platform.cf8-isa-bridge", "{:#x}", in32(0xcfc));
    out32(0xcf8, 0x8000_5800);
    say!("platform.cf8-absent", "{:#x}", in32(0xcfc));
    out32(0xcf8, 0x8000_0000);
    say!("platform.port-61", "{:#x}", in8(0x61) & 0xcc);
    allow_io(0);
}

fn device_pages() {
    let page = Page::new();
    for (name, at) in [
        ("hpet", 0xfed0_0000u64),
        ("bios", 0xf_0000),
        ("ebda", 0x9_f000),
        ("first", 0x1000),
        ("zero", 0),
        ("ht", 0xfd_0000_0000),
        ("tpm", 0xfed4_0000),
        ("below-4g", 0xffff_f000),
        ("mmconfig-last", 0xbfff_f000),
        ("msi-last", 0xfeef_f000),
        ("behind-msi", 0xfef0_0000),
    ] {
        for (how, flags) in [("rw", DATA), ("ro", READ)] {
            let answer = update_va_mapping(page.va(), at | flags, UVMF_INVLPG);
            let found = mm::entry(page.va(), 1) & 0x7b;
            say!(format_args!("platform.map-{name}-{how}"), "{answer} flags={found:#x}");
            assert!(page.map(DATA) == 0);
        }
    }
    // Writes to what is mapped read-only: to configuration space they are carried out, else swallowed.
    for (name, at, offset) in [
        ("mmconfig", 0xb000_0000u64, 0x3cu64),
        ("mmconfig-isa", 0xb00f_8000, 0x3c),
        ("ioapic", 0xfec0_0000, 0),
        ("bios", 0xf_0000, 0),
    ] {
        let mapped = update_va_mapping(page.va(), at | DATA | 0x18, UVMF_INVLPG);
        let va = page.va() + offset;
        let before: u32;
        let after: u32;
        // SAFETY: the page is the pool's; what it maps is a device's register that takes any value.
        let (read, written, again) = unsafe {
            (
                probe!(["mov eax, [rdx]"], inout("eax") 0 => before, in("rdx") va),
                probe!(["mov byte ptr [rdx], 0x0b"], in("rdx") va),
                probe!(["mov eax, [rdx]"], inout("eax") 0 => after, in("rdx") va),
            )
        };
        say!(
            format_args!("platform.write-{name}"),
            "{mapped} read={read} write={written} read={again} changed={}",
            before != after
        );
        // SAFETY: as above.
        unsafe { probe!(["mov [rdx], al"], in("rdx") va, in("eax") before) };
        assert!(page.map(DATA) == 0);
    }
}
