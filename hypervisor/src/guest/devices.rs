//! `hypercore`'s devices on this machine: ports, configuration space, interrupt routes.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::Errno;
use hypercore::ids::{CpuId, Irq};
use hypercore::io::pci::Bdf;
use hypercore::machine::{Devices, Polarity, Trigger};

use super::machine::Bare;
use crate::apic::ioapic::{self, Wiring};
use crate::cpu::instr::{inb, inl, inw, outb, outl, outw};
use crate::irq::{self, IrqError};
use crate::sync::Mutex;
use crate::time::rtc;

const PCI_ADDRESS: u16 = 0xcf8;
const PCI_DATA: u16 = 0xcfc;

/// Guards the pair of configuration ports.
static PCI_PORTS: Mutex<()> = Mutex::new(());

/// Pins whose wiring dom0 has told, and how: two bits each (known, level) and one for active low, 21 pins a word.
static WIRING: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
const PINS_A_WORD: u32 = 21;

fn told_wiring(gsi: u32) -> Option<Wiring> {
    let word = WIRING.get((gsi / PINS_A_WORD) as usize)?.load(Relaxed);
    let bits = word >> (gsi % PINS_A_WORD * 3) & 7;
    (bits & 1 != 0).then_some(Wiring { level: bits & 2 != 0, active_low: bits & 4 != 0 })
}

fn wiring(gsi: u32) -> Wiring {
    told_wiring(gsi).unwrap_or_else(|| ioapic::firmware_wiring(gsi))
}

fn errno(e: IrqError) -> Errno {
    match e {
        IrqError::NoSuchIrq | IrqError::NoSuchCpu => Errno::EINVAL,
        IrqError::InUse => Errno::EBUSY,
        IrqError::NoVector => Errno::ENOSPC,
    }
}

fn address(bdf: Bdf, reg: u16) -> u32 {
    // Offsets above 255 by AMD's extension of mechanism 1 are not used.
    0x8000_0000 | u32::from(bdf.bus) << 16 | u32::from(bdf.devfn) << 8 | u32::from(reg & 0xfc)
}

/// Where a configuration register that the ports do not reach is mapped, if a memory-mapped window has it.
fn window(bdf: Bdf, reg: u16, bytes: u8) -> Option<u64> {
    let inside = reg < 0x1000 && reg.is_multiple_of(bytes.into());
    let w = crate::boot::acpi()?
        .mcfg
        .iter()
        .find(|w| inside && w.segment == bdf.segment && (w.first_bus..=w.last_bus).contains(&bdf.bus))?;
    let device = u64::from(bdf.bus) << 20 | u64::from(bdf.devfn) << 12;
    crate::mm::mmio::map_shared(w.base + device + u64::from(reg))
}

impl Devices for Bare {
    fn port_read(&self, port: u16, bytes: u8) -> u32 {
        // SAFETY: the domain owns the device (`hypercore::io::ports` has looked): reading is its affair.
        unsafe {
            match bytes {
                1 => inb(port).into(),
                2 => inw(port).into(),
                _ => inl(port),
            }
        }
    }
    fn port_write(&self, port: u16, bytes: u8, value: u32) {
        // SAFETY: as in `port_read`. Without an IOMMU dom0 could have a device write anywhere; it is trusted with
        // its hardware.
        unsafe {
            match bytes {
                1 => outb(port, value as u8),
                2 => outw(port, value as u16),
                _ => outl(port, value),
            }
        }
    }
    fn cmos_read(&self, index: u8) -> u8 {
        rtc::read_register(index)
    }
    fn cmos_write(&self, index: u8, value: u8) {
        rtc::write_register(index, value);
    }
    fn pci_cfg_read(&self, bdf: Bdf, reg: u16, bytes: u8) -> u32 {
        if bdf.segment != 0 || reg > 0xff {
            let ones = u32::MAX >> (32 - 8 * u32::from(bytes));
            // SAFETY: configuration reads are harmless; the register is inside the mapped page and aligned.
            return window(bdf, reg, bytes).map_or(ones, |va| unsafe {
                match bytes {
                    1 => (va as *const u8).read_volatile().into(),
                    2 => (va as *const u16).read_volatile().into(),
                    _ => (va as *const u32).read_volatile(),
                }
            });
        }
        let _guard = PCI_PORTS.lock();
        // SAFETY: configuration reads are harmless, and the lock keeps address and data together.
        unsafe {
            outl(PCI_ADDRESS, address(bdf, reg));
            match bytes {
                1 => inb(PCI_DATA + (reg & 3)).into(),
                2 => inw(PCI_DATA + (reg & 2)).into(),
                _ => inl(PCI_DATA),
            }
        }
    }
    fn pci_cfg_write(&self, bdf: Bdf, reg: u16, bytes: u8, value: u32) {
        if bdf.segment != 0 || reg > 0xff {
            if let Some(va) = window(bdf, reg, bytes) {
                // SAFETY: dom0 drives its devices; the register is inside the mapped page and aligned.
                unsafe {
                    match bytes {
                        1 => (va as *mut u8).write_volatile(value as u8),
                        2 => (va as *mut u16).write_volatile(value as u16),
                        _ => (va as *mut u32).write_volatile(value),
                    }
                }
            }
            return;
        }
        let _guard = PCI_PORTS.lock();
        // SAFETY: dom0 drives its devices; the hypervisor's own writes are to message interrupts' registers.
        unsafe {
            outl(PCI_ADDRESS, address(bdf, reg));
            match bytes {
                1 => outb(PCI_DATA + (reg & 3), value as u8),
                2 => outw(PCI_DATA + (reg & 2), value as u16),
                _ => outl(PCI_DATA, value),
            }
        }
    }
    fn mmio_write32(&self, phys: u64, value: u32) -> Option<()> {
        let va = crate::mm::mmio::map_shared(phys)?;
        // SAFETY: a register of a message-interrupt table that `hypercore::io::msi` located in the device's own
        // memory, mapped uncached.
        unsafe { (va as *mut u32).write_volatile(value) };
        Some(())
    }
    fn nr_gsis(&self) -> u32 {
        ioapic::nr_gsis()
    }
    fn gsi_exists(&self, gsi: u32) -> bool {
        gsi < ioapic::nr_gsis()
    }
    fn gsi_setup(&self, irq: Irq, trigger: Trigger, polarity: Polarity) -> Result<(), Errno> {
        if crate::console::is_console_irq(irq.0) {
            // The hypervisor's own: dom0's ACPI may name it, which changes nothing.
            return Ok(());
        }
        let word = WIRING.get((irq.0 / PINS_A_WORD) as usize).ok_or(Errno::EINVAL)?;
        let mut bits = 1;
        if trigger == Trigger::Level {
            bits |= 2;
        }
        if polarity == Polarity::Low {
            bits |= 4;
        }
        let at = irq.0 % PINS_A_WORD * 3;
        let _ = word.fetch_update(Relaxed, Relaxed, |w| Some(w & !(7 << at) | bits << at));
        Ok(())
    }
    fn gsi_trigger(&self, irq: Irq) -> Trigger {
        if wiring(irq.0).level { Trigger::Level } else { Trigger::Edge }
    }
    fn ioapic_read(&self, base: u64, reg: u32) -> Option<u32> {
        ioapic::read_register(base, reg)
    }
    fn ioapic_gsi(&self, base: u64, pin: u32) -> Option<u32> {
        ioapic::pin_gsi(base, pin)
    }
    fn irq_start_gsi(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno> {
        irq::bind_gsi(irq.0, cpu.0, wiring(irq.0)).map(drop).map_err(errno)
    }
    fn irq_start_msi(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno> {
        irq::bind_msi(irq.0, cpu.0).map(drop).map_err(errno)
    }
    fn irq_stop(&self, irq: Irq) {
        irq::unbind(irq.0);
    }
    fn irq_set_affinity(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno> {
        irq::set_affinity(irq.0, cpu.0).map_err(errno)
    }
    fn msi_alloc(&self) -> Option<Irq> {
        irq::alloc_msi().map(Irq)
    }
    fn msi_free(&self, irq: Irq) {
        irq::free_msi(irq.0);
    }
    fn msi_message(&self, irq: Irq) -> Option<(u64, u32)> {
        irq::msi_message(irq.0)
    }
}
