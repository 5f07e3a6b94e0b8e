//! Port I/O of PV guests.
//!
//! All of a guest's IN and OUT trap. What its domain has no right to reads as ones and swallows writes, as
//! an empty bus does. PCI configuration mechanism 1 and the CMOS share an index register between domains and the
//! hypervisor, so the index is kept per domain and each data access does both steps under a lock.

use super::pci::{Bdf, cfg_read, cfg_write};
use crate::domain::Domain;
use crate::machine::Machine;
use crate::traps::nmi::CONTROL_PORT;
use crate::xen::Xen;
use core::sync::atomic::Ordering::*;

const PCI_ADDRESS: u16 = 0xcf8;
const PCI_DATA: u16 = 0xcfc;
const CMOS_INDEX: u16 = 0x70;
const CMOS_DATA: u16 = 0x71;

fn ones(bytes: u8) -> u32 {
    u32::MAX >> (32 - 8 * u32::from(bytes))
}

/// Device and register offset an access to the data ports means, if the address register enables one.
fn pci_target(cf8: u32, port: u16) -> Option<(Bdf, u16)> {
    (cf8 & 0x8000_0000 != 0)
        .then(|| (Bdf::new(0, (cf8 >> 16) as u8, (cf8 >> 8) as u8), (cf8 & 0xfc) as u16 | (port & 3)))
}

/// IN of 1, 2 or 4 bytes.
pub fn read<M: Machine>(xen: &Xen<M>, dom: &Domain, port: u16, bytes: u8) -> u32 {
    match port {
        PCI_ADDRESS if bytes == 4 => return dom.io.cf8.load(Relaxed),
        PCI_DATA..=0xcff if u32::from(port & 3) + u32::from(bytes) <= 4 => {
            return match pci_target(dom.io.cf8.load(Relaxed), port) {
                Some((bdf, reg)) if dom.privileged => cfg_read(xen, bdf, reg, bytes),
                _ => ones(bytes),
            };
        }
        CMOS_INDEX if bytes == 1 => return u32::from(dom.io.cmos_index.load(Relaxed)),
        CMOS_DATA if bytes == 1 && dom.io.ports_allowed(CMOS_DATA, 1) => {
            return u32::from(xen.m.cmos_read(dom.io.cmos_index.load(Relaxed) & 0x7f));
        }
        // It is the hypervisor's, but reading it changes nothing, and ones would tell of failures that are not there.
        CONTROL_PORT if bytes == 1 && dom.privileged => return xen.m.port_read(CONTROL_PORT, 1),
        _ => {}
    }
    if dom.io.ports_allowed(port, bytes) { xen.m.port_read(port, bytes) } else { ones(bytes) }
}

/// OUT of 1, 2 or 4 bytes.
pub fn write<M: Machine>(xen: &Xen<M>, dom: &Domain, port: u16, bytes: u8, value: u32) {
    match port {
        PCI_ADDRESS if bytes == 4 => return dom.io.cf8.store(value, Relaxed),
        PCI_DATA..=0xcff if u32::from(port & 3) + u32::from(bytes) <= 4 => {
            if let Some((bdf, reg)) = pci_target(dom.io.cf8.load(Relaxed), port)
                && dom.privileged
            {
                cfg_write(xen, bdf, reg, bytes, value);
            }
            return;
        }
        CMOS_INDEX if bytes == 1 => return dom.io.cmos_index.store(value as u8, Relaxed),
        CMOS_DATA if bytes == 1 && dom.io.ports_allowed(CMOS_DATA, 1) => {
            return xen.m.cmos_write(dom.io.cmos_index.load(Relaxed) & 0x7f, value as u8);
        }
        _ => {}
    }
    if dom.io.ports_allowed(port, bytes) {
        xen.m.port_write(port, bytes, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn the_control_port_is_read_by_dom0_alone_and_written_by_nobody() {
        let w = World::new(256, 1);
        let (dom0, other) = (w.domain(0, 1), w.domain(1, 1));
        let real = |value| w.xen.m.devices.ports.lock().unwrap().insert(CONTROL_PORT, value);
        real(0x31);
        assert_eq!(read(w.xen, &dom0.dom, CONTROL_PORT, 1), 0x31);
        assert_eq!(read(w.xen, &other.dom, CONTROL_PORT, 1), 0xff);
        write(w.xen, &dom0.dom, CONTROL_PORT, 1, 0xc);
        assert_eq!(real(0), Some(0x31));
    }
}
