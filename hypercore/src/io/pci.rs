//! PCI configuration space, shared by dom0 and the hypervisor.

use crate::machine::Machine;
use crate::xen::Xen;

/// Segment, bus, device and function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bdf {
    pub segment: u16,
    pub bus: u8,
    pub devfn: u8,
}

impl Bdf {
    pub const fn new(segment: u16, bus: u8, devfn: u8) -> Self {
        Self { segment, bus, devfn }
    }
}

impl core::fmt::Display for Bdf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.devfn >> 3, self.devfn & 7)
    }
}

pub const CAP_MSI: u8 = 0x05;
pub const CAP_MSIX: u8 = 0x11;

/// Reads 1, 2 or 4 bytes at `reg`; ones where there is no device.
pub fn cfg_read<M: Machine>(xen: &Xen<M>, bdf: Bdf, reg: u16, bytes: u8) -> u32 {
    xen.m.pci_cfg_read(bdf, reg, bytes)
}

pub fn cfg_write<M: Machine>(xen: &Xen<M>, bdf: Bdf, reg: u16, bytes: u8, value: u32) {
    xen.m.pci_cfg_write(bdf, reg, bytes, value);
}

/// Offset of capability `id`; `None` if the device (or the capability) is not there.
pub fn find_capability<M: Machine>(xen: &Xen<M>, bdf: Bdf, id: u8) -> Option<u16> {
    const STATUS_CAP_LIST: u32 = 1 << 4;
    if cfg_read(xen, bdf, 0, 2) == 0xffff || cfg_read(xen, bdf, 6, 2) & STATUS_CAP_LIST == 0 {
        return None;
    }
    let mut at = cfg_read(xen, bdf, 0x34, 1) as u16 & 0xfc;
    // A list of a broken device may be a ring: 48 capabilities fill the space.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        if cfg_read(xen, bdf, at, 1) as u8 == id {
            return Some(at);
        }
        at = cfg_read(xen, bdf, at + 1, 1) as u16 & 0xfc;
    }
    None
}

/// Base address register `index` of a device: physical address of the memory it decodes. `None` for an I/O BAR
/// or one that is not set.
pub fn memory_bar<M: Machine>(xen: &Xen<M>, bdf: Bdf, index: u8) -> Option<u64> {
    if index > 5 {
        return None;
    }
    let reg = 0x10 + u16::from(index) * 4;
    let low = cfg_read(xen, bdf, reg, 4);
    if low & 1 != 0 {
        return None;
    }
    let high = if low & 6 == 4 && index < 5 { cfg_read(xen, bdf, reg + 4, 4) } else { 0 };
    let addr = u64::from(high) << 32 | u64::from(low & !0xf);
    (addr != 0).then_some(addr)
}
