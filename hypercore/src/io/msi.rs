//! Message-signalled interrupts: the hypervisor itself programs the device (PCI Local Bus 3.0 6.8), so that a
//! guest never chooses the address and vector a device writes.

use super::pci::{Bdf, CAP_MSI, CAP_MSIX, cfg_read, cfg_write, find_capability, memory_bar};
use crate::ids::Irq;
use crate::machine::Machine;
use crate::xen::Xen;
use abi::Errno;

/// Where an interrupt's message is programmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsiKind {
    /// The MSI capability at this offset.
    Msi { cap: u16 },
    /// Entry of the MSI-X table at this physical address.
    MsiX { cap: u16, entry_phys: u64 },
}

const MSI_64BIT: u32 = 1 << 7;
const MSI_MASKABLE: u32 = 1 << 8;
const MSI_ENABLE: u32 = 1;
const MSIX_ENABLE: u32 = 1 << 15;
const MSIX_MASK_ALL: u32 = 1 << 14;

/// Finds the place for vector `entry` of `bdf`. `table_base` 0: plain MSI; else the physical address of the
/// MSI-X table as the guest sees it (checked against the device's own registers).
pub fn locate<M: Machine>(xen: &Xen<M>, bdf: Bdf, entry: u32, table_base: u64) -> Result<MsiKind, Errno> {
    if table_base == 0 {
        let cap = find_capability(xen, bdf, CAP_MSI).ok_or(Errno::ENODEV)?;
        return if entry == 0 { Ok(MsiKind::Msi { cap }) } else { Err(Errno::EINVAL) };
    }
    let cap = find_capability(xen, bdf, CAP_MSIX).ok_or(Errno::ENODEV)?;
    let entries = (cfg_read(xen, bdf, cap + 2, 2) & 0x7ff) + 1;
    if entry >= entries {
        return Err(Errno::EINVAL);
    }
    let table = cfg_read(xen, bdf, cap + 4, 4);
    let bar = memory_bar(xen, bdf, (table & 7) as u8).ok_or(Errno::ENXIO)?;
    Ok(MsiKind::MsiX { cap, entry_phys: bar + u64::from(table & !7) + u64::from(entry) * 16 })
}

/// Where a device has its MSI-X table and its pending bits: physical address and bytes of each. ENODEV: it has none.
/// ENXIO: its memory is not set up.
pub fn tables<M: Machine>(xen: &Xen<M>, bdf: Bdf) -> Result<[(u64, u64); 2], Errno> {
    let cap = find_capability(xen, bdf, CAP_MSIX).ok_or(Errno::ENODEV)?;
    let entries = u64::from(cfg_read(xen, bdf, cap + 2, 2) & 0x7ff) + 1;
    let place = |at: u16, bytes: u64| {
        let word = cfg_read(xen, bdf, at, 4);
        let bar = memory_bar(xen, bdf, (word & 7) as u8).ok_or(Errno::ENXIO)?;
        Ok((bar + u64::from(word & !7), bytes))
    };
    Ok([place(cap + 4, entries * 16)?, place(cap + 8, entries.div_ceil(64) * 8)?])
}

/// Programs the message and enables the capability. The vector stays masked where the device can mask it.
pub fn enable<M: Machine>(xen: &Xen<M>, bdf: Bdf, kind: MsiKind, addr: u64, data: u32) -> Result<(), Errno> {
    match kind {
        MsiKind::Msi { cap } => {
            let control = cfg_read(xen, bdf, cap + 2, 2);
            cfg_write(xen, bdf, cap + 4, 4, addr as u32);
            let data_at = if control & MSI_64BIT != 0 {
                cfg_write(xen, bdf, cap + 8, 4, (addr >> 32) as u32);
                cap + 12
            } else {
                cap + 8
            };
            cfg_write(xen, bdf, data_at, 2, data);
            // One vector only (bits 6..=4 clear), enabled.
            cfg_write(xen, bdf, cap + 2, 2, control & !0x70 | MSI_ENABLE);
        }
        MsiKind::MsiX { cap, entry_phys } => {
            let control = cfg_read(xen, bdf, cap + 2, 2);
            if control & MSIX_ENABLE == 0 {
                cfg_write(xen, bdf, cap + 2, 2, control | MSIX_ENABLE | MSIX_MASK_ALL);
            }
            let words = [addr as u32, (addr >> 32) as u32, data];
            for (i, w) in words.into_iter().enumerate() {
                xen.m.mmio_write32(entry_phys + i as u64 * 4, w).ok_or(Errno::ENOMEM)?;
            }
            xen.m.mmio_write32(entry_phys + 12, 1).ok_or(Errno::ENOMEM)?;
            cfg_write(xen, bdf, cap + 2, 2, control & !MSIX_MASK_ALL | MSIX_ENABLE);
        }
    }
    Ok(())
}

/// Masks or unmasks one vector at the device, where it can.
pub fn set_mask<M: Machine>(xen: &Xen<M>, bdf: Bdf, kind: MsiKind, masked: bool) {
    match kind {
        MsiKind::Msi { cap } => {
            let control = cfg_read(xen, bdf, cap + 2, 2);
            if control & MSI_MASKABLE != 0 {
                let at = cap + if control & MSI_64BIT != 0 { 16 } else { 12 };
                let bits = cfg_read(xen, bdf, at, 4);
                cfg_write(xen, bdf, at, 4, if masked { bits | 1 } else { bits & !1 });
            }
        }
        MsiKind::MsiX { entry_phys, .. } => {
            xen.m.mmio_write32(entry_phys + 12, u32::from(masked));
        }
    }
}

/// Stops the device from sending this vector.
pub fn disable<M: Machine>(xen: &Xen<M>, bdf: Bdf, kind: MsiKind) {
    match kind {
        MsiKind::Msi { cap } => {
            let control = cfg_read(xen, bdf, cap + 2, 2);
            cfg_write(xen, bdf, cap + 2, 2, control & !MSI_ENABLE);
        }
        MsiKind::MsiX { .. } => set_mask(xen, bdf, kind, true),
    }
}

/// Writes the message of `irq` again, after dom0 has reset the device (`PHYSDEVOP_restore_msi`).
pub fn restore<M: Machine>(xen: &Xen<M>, bdf: Bdf, kind: MsiKind, irq: Irq) -> Result<(), Errno> {
    let (addr, data) = xen.m.msi_message(irq).ok_or(Errno::EINVAL)?;
    enable(xen, bdf, kind, addr, data)?;
    set_mask(xen, bdf, kind, false);
    Ok(())
}
