//! `physdev_op` (public header physdev.h): what a domain that owns hardware asks of the hypervisor.

use super::irq::{self, MsiSource, Pirq};
use super::msi;
use super::pci::Bdf;
use crate::boot::acpi::Mcfg;
use crate::guest;
use crate::ids::Irq;
use crate::machine::{Machine, Polarity, Trigger};
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::physdev::*;

/// PIRQs of one domain are below this.
const PIRQ_LIMIT: u32 = 1024;
/// First register of an IOAPIC's table of pins.
const IOAPIC_TABLE: u32 = 0x10;

/// `physdev_op(cmd, arg)`.
pub fn physdev_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    let m = &cx.xen.m;
    match cmd {
        PHYSDEVOP_EOI => {
            let op: PhysdevEoi = guest::read(m, arg)?;
            irq::pirq_eoi(cx.xen, cx.dom, op.irq)?;
            Ok(0)
        }
        PHYSDEVOP_IRQ_STATUS_QUERY => {
            let mut op: PhysdevIrqStatusQuery = guest::read(m, arg)?;
            // Whether an EOI is needed depends on the trigger mode; an edge needs none.
            let needs_eoi = match cx.dom.io.pirqs.lock().get(op.irq) {
                Some(p) => p.needs_eoi,
                None if op.irq < PIRQ_LIMIT => true,
                None => return Err(Errno::EINVAL.into()),
            };
            op.flags = if needs_eoi { XENIRQSTAT_NEEDS_EOI } else { 0 };
            guest::write(m, arg, &op)?;
            Ok(0)
        }
        PHYSDEVOP_MAP_PIRQ => map_pirq(cx, arg),
        PHYSDEVOP_UNMAP_PIRQ => {
            let op: PhysdevUnmapPirq = guest::read(m, arg)?;
            let dom = cx.domain_for_control(op.domid)?;
            let pirq = u32::try_from(op.pirq).map_err(|_| Errno::EINVAL)?;
            irq::unmap(cx.xen, &dom, pirq)?;
            Ok(0)
        }
        PHYSDEVOP_SETUP_GSI => {
            cx.must_be_privileged()?;
            let op: PhysdevSetupGsi = guest::read(m, arg)?;
            if op.gsi < 0 || !m.gsi_exists(op.gsi as u32) {
                return Err(Errno::EINVAL.into());
            }
            let trigger = if op.triggering != 0 { Trigger::Level } else { Trigger::Edge };
            let polarity = if op.polarity != 0 { Polarity::Low } else { Polarity::High };
            m.gsi_setup(Irq(op.gsi as u32), trigger, polarity)?;
            Ok(0)
        }
        PHYSDEVOP_SET_IOPL => {
            let op: PhysdevSetIopl = guest::read(m, arg)?;
            if op.iopl > 3 {
                return Err(Errno::EINVAL.into());
            }
            cx.vp.iopl = op.iopl as u8;
            Ok(0)
        }
        PHYSDEVOP_SET_IOBITMAP => {
            let op: PhysdevSetIobitmap = guest::read(m, arg)?;
            if op.nr_ports > 65536 || !guest::range_ok(op.bitmap.addr(), op.nr_ports.div_ceil(8) as usize) {
                return Err(Errno::EINVAL.into());
            }
            cx.vp.iobitmap = op.bitmap.addr();
            cx.vp.iobitmap_ports = op.nr_ports;
            Ok(0)
        }
        PHYSDEVOP_APIC_READ => {
            cx.must_be_privileged()?;
            let mut op: PhysdevApic = guest::read(m, arg)?;
            op.value = m.ioapic_read(op.apic_physbase, op.reg).ok_or(Errno::EINVAL)?;
            guest::write(m, arg, &op)?;
            Ok(0)
        }
        PHYSDEVOP_APIC_WRITE => {
            cx.must_be_privileged()?;
            let op: PhysdevApic = guest::read(m, arg)?;
            apic_write(m, &op)?;
            Ok(0)
        }
        PHYSDEVOP_ALLOC_IRQ_VECTOR => {
            cx.must_be_privileged()?;
            let mut op: PhysdevIrq = guest::read(m, arg)?;
            if !m.gsi_exists(op.irq) {
                return Err(Errno::EINVAL.into());
            }
            // The vector is ours to choose; what the guest is told has no use but as a PIRQ.
            map_gsi(cx, op.irq)?;
            op.vector = op.irq;
            guest::write(m, arg, &op)?;
            Ok(0)
        }
        PHYSDEVOP_GET_FREE_PIRQ => {
            let mut op: PhysdevGetFreePirq = guest::read(m, arg)?;
            let first = if op.type_ == MAP_PIRQ_TYPE_GSI { 16 } else { m.nr_gsis() };
            op.pirq = cx.dom.io.pirqs.lock().free_number(first, PIRQ_LIMIT).ok_or(Errno::ENOSPC)?;
            guest::write(m, arg, &op)?;
            Ok(0)
        }
        PHYSDEVOP_MANAGE_PCI_ADD
        | PHYSDEVOP_MANAGE_PCI_ADD_EXT
        | PHYSDEVOP_MANAGE_PCI_REMOVE
        | PHYSDEVOP_PCI_DEVICE_ADD
        | PHYSDEVOP_PCI_DEVICE_REMOVE
        | PHYSDEVOP_PREPARE_MSIX
        | PHYSDEVOP_RELEASE_MSIX => pci_device(cx, cmd, arg),
        PHYSDEVOP_PCI_MMCFG_RESERVED => {
            cx.must_be_privileged()?;
            let op: PhysdevPciMmcfgReserved = guest::read(m, arg)?;
            reserved(&cx.xen.host.mcfg, &op)?;
            Ok(0)
        }
        PHYSDEVOP_RESTORE_MSI => {
            cx.must_be_privileged()?;
            let op: PhysdevRestoreMsi = guest::read(m, arg)?;
            restore(cx, Bdf::new(0, op.bus, op.devfn))
        }
        PHYSDEVOP_RESTORE_MSI_EXT => {
            cx.must_be_privileged()?;
            let op: PhysdevPciDevice = guest::read(m, arg)?;
            restore(cx, Bdf::new(op.seg, op.bus, op.devfn))
        }
        PHYSDEVOP_PIRQ_EOI_GMFN_V1 | PHYSDEVOP_PIRQ_EOI_GMFN_V2 => {
            let op: PhysdevPirqEoiGmfn = guest::read(m, arg)?;
            irq::set_eoi_page(cx.xen, cx.dom, op.gmfn, cmd == PHYSDEVOP_PIRQ_EOI_GMFN_V1)?;
            Ok(0)
        }
        PHYSDEVOP_DBGP_OP => {
            cx.must_be_privileged()?;
            // Dom0 is about to reset a USB debug port: the hypervisor's console uses none that would suffer.
            let _: PhysdevDbgpOp = guest::read(m, arg)?;
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// An entry of an IOAPIC's table (Intel 82093AA, 3.2.4), low word: dom0 says how the pin is wired. Vector, target and
/// mask are the hypervisor's: it keeps a pin masked until somebody has bound it. EINVAL: no such pin, a register that
/// is not dom0's, or not an interrupt of the ordinary kind. EBUSY: the pin is in use.
fn apic_write<M: Machine>(m: &M, op: &PhysdevApic) -> Result<(), Errno> {
    let of_table = op.reg.checked_sub(IOAPIC_TABLE).filter(|r| r % 2 == 0).ok_or(Errno::EINVAL)?;
    let gsi = m.ioapic_gsi(op.apic_physbase, of_table / 2).ok_or(Errno::EINVAL)?;
    // Delivery mode: fixed, or to the CPU of the lowest priority.
    if op.value >> 8 & 7 > 1 {
        return Err(Errno::EINVAL);
    }
    let trigger = if op.value & 1 << 15 != 0 { Trigger::Level } else { Trigger::Edge };
    let polarity = if op.value & 1 << 13 != 0 { Polarity::Low } else { Polarity::High };
    m.gsi_setup(Irq(gsi), trigger, polarity)
}

/// Dom0 has found this window of configuration space reserved. EIO: the firmware's tables have it elsewhere; ENODEV:
/// they have none for these buses.
fn reserved(known: &[Mcfg], op: &PhysdevPciMmcfgReserved) -> Result<(), Errno> {
    let of_buses =
        |w: &&Mcfg| w.segment == op.segment && w.first_bus <= op.start_bus && op.end_bus <= w.last_bus;
    let window = known.iter().find(of_buses).ok_or(Errno::ENODEV)?;
    if window.base == op.address { Ok(()) } else { Err(Errno::EIO) }
}

/// Registration of devices: without an IOMMU there is nothing to set up, but the device must exist.
fn pci_device<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    cx.must_be_privileged()?;
    let m = &cx.xen.m;
    let bdf = match cmd {
        PHYSDEVOP_MANAGE_PCI_ADD | PHYSDEVOP_MANAGE_PCI_REMOVE | PHYSDEVOP_MANAGE_PCI_ADD_EXT => {
            let op: PhysdevManagePci = guest::read(m, arg)?;
            Bdf::new(0, op.bus, op.devfn)
        }
        _ => {
            // Every structure of these commands begins with segment, bus, devfn.
            let op: PhysdevPciDevice = guest::read(m, arg)?;
            Bdf::new(op.seg, op.bus, op.devfn)
        }
    };
    let removing = matches!(cmd, PHYSDEVOP_MANAGE_PCI_REMOVE | PHYSDEVOP_PCI_DEVICE_REMOVE);
    if !removing && super::pci::cfg_read(cx.xen, bdf, 0, 2) == 0xffff {
        return Err(Errno::ENODEV.into());
    }
    // Dom0 is about to give the device to another domain, or has it back: meanwhile it leaves the messages alone too.
    if matches!(cmd, PHYSDEVOP_PREPARE_MSIX | PHYSDEVOP_RELEASE_MSIX) {
        for (at, bytes) in msi::tables(cx.xen, bdf)? {
            match cmd {
                PHYSDEVOP_PREPARE_MSIX => cx.xen.read_only.add(at, bytes)?,
                _ => cx.xen.read_only.remove(at, bytes)?,
            }
        }
    }
    Ok(0)
}

fn restore<M: Machine>(cx: &mut Cx<'_, M>, bdf: Bdf) -> HcResult {
    let mut from = 0;
    loop {
        let next = cx.dom.io.pirqs.lock().next(from);
        let Some(n) = next else { break };
        from = n + 1;
        let found = cx.dom.io.pirqs.lock().get(n);
        if let Some(Pirq { irq, msi: Some(s), port: Some(_), .. }) = found
            && s.bdf == bdf
        {
            msi::restore(cx.xen, bdf, s.kind, irq)?;
        }
    }
    Ok(0)
}

/// Makes sure PIRQ `gsi` means that pin.
fn map_gsi<M: Machine>(cx: &Cx<'_, M>, gsi: u32) -> Result<u32, Errno> {
    if !cx.dom.io.irq_allowed(gsi) {
        return Err(Errno::EPERM);
    }
    let mut pirqs = cx.dom.io.pirqs.lock();
    if pirqs.get(gsi).is_none() {
        let needs_eoi = cx.xen.m.gsi_trigger(Irq(gsi)) == Trigger::Level;
        pirqs.insert(gsi, Pirq { irq: Irq(gsi), msi: None, port: None, needs_eoi, in_service: false })?;
    }
    Ok(gsi)
}

fn map_pirq<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let m = &cx.xen.m;
    let mut op: PhysdevMapPirq = guest::read(m, arg)?;
    let dom = cx.domain_for_control(op.domid)?;
    cx.must_be_privileged()?;
    if dom.id != cx.dom.id {
        // Giving devices to other domains needs an IOMMU.
        return Err(Errno::EOPNOTSUPP.into());
    }
    match op.type_ {
        MAP_PIRQ_TYPE_GSI => {
            let gsi = u32::try_from(op.index).ok().filter(|g| m.gsi_exists(*g)).ok_or(Errno::EINVAL)?;
            op.pirq = map_gsi(cx, gsi)? as i32;
        }
        MAP_PIRQ_TYPE_MSI | MAP_PIRQ_TYPE_MSI_SEG => {
            let segment = if op.type_ == MAP_PIRQ_TYPE_MSI_SEG { (op.bus >> 16) as u16 } else { 0 };
            let bdf = Bdf::new(segment, op.bus as u8, op.devfn as u8);
            let entry = u32::from(op.entry_nr as u16);
            let kind = msi::locate(cx.xen, bdf, entry, op.table_base)?;
            let mut pirqs = dom.io.pirqs.lock();
            if pirqs.find_msi(bdf, entry).is_some() {
                return Err(Errno::EBUSY.into());
            }
            let number = match u32::try_from(op.pirq) {
                Ok(n) if n >= PIRQ_LIMIT => return Err(Errno::EINVAL.into()),
                Ok(n) if pirqs.get(n).is_none() => n,
                Ok(_) => return Err(Errno::EEXIST.into()),
                Err(_) => pirqs.free_number(m.nr_gsis(), PIRQ_LIMIT).ok_or(Errno::ENOSPC)?,
            };
            let irq = m.msi_alloc().ok_or(Errno::ENOSPC)?;
            let source = MsiSource { bdf, entry, kind };
            let p = Pirq { irq, msi: Some(source), port: None, needs_eoi: false, in_service: false };
            pirqs.insert(number, p).inspect_err(|_| m.msi_free(irq))?;
            op.pirq = number as i32;
        }
        // Several vectors of one MSI capability need interrupt remapping.
        MAP_PIRQ_TYPE_MULTI_MSI => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    guest::write(m, arg, &op)?;
    Ok(0)
}

#[cfg(test)]
#[path = "physdev_tests.rs"]
mod tests;
