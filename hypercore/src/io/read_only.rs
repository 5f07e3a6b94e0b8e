//! Device registers that no domain may write, dom0 included: IOAPICs, the HPET, PCI configuration windows, and the
//! message tables of devices that dom0 prepares for others.
//!
//! A mapping that asks for more becomes read-only when it is made. A store through it faults; to a configuration
//! window it is then carried out by the hypervisor, elsewhere it goes nowhere ([`store`]).

use super::pci::{self, Bdf};
use super::ranges::RangeSet;
use crate::boot::acpi::Mcfg;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::sync::RwLock;
use crate::xen::Xen;
use abi::Errno;

/// Frames of such registers.
#[derive(Default)]
pub struct ReadOnly(RwLock<RangeSet>);

impl ReadOnly {
    pub fn contains(&self, mfn: Mfn) -> bool {
        self.0.read().contains(mfn.0)
    }

    /// Adds the frames of `bytes` bytes at physical address `at`. Mappings that exist stay as they are. ENOMEM.
    pub fn add(&self, at: u64, bytes: u64) -> Result<(), Errno> {
        self.0.write().add(at >> 12, (at + bytes.max(1) - 1) >> 12)
    }

    /// Takes them out again. ENOMEM.
    pub fn remove(&self, at: u64, bytes: u64) -> Result<(), Errno> {
        self.0.write().remove(at >> 12, (at + bytes.max(1) - 1) >> 12)
    }
}

/// Device and register that physical address `at` means in one of the configuration windows (PCI Express Base
/// Specification 7.2.2).
pub fn config_target(windows: &[Mcfg], at: u64) -> Option<(Bdf, u16)> {
    windows.iter().find_map(|w| {
        let offset = at.checked_sub(w.base)?;
        let bus = u8::try_from(offset >> 20).ok()?;
        let there = (w.first_bus..=w.last_bus).contains(&bus);
        there.then_some((Bdf::new(w.segment, bus, (offset >> 12) as u8), (offset & 0xfff) as u16))
    })
}

/// A store of `size` (1, 2, 4 or 8) bytes to physical address `at` by a domain that maps it read-only. `None`: these
/// are no such registers.
pub fn store<M: Machine>(xen: &Xen<M>, at: u64, size: u8, value: u64) -> Option<()> {
    if !xen.read_only.contains(Mfn(at >> 12)) {
        return None;
    }
    // Configuration registers take up to four bytes that lie in one word.
    if let Some((bdf, reg)) = config_target(&xen.host.mcfg, at)
        && matches!(size, 1 | 2 | 4)
        && reg & 3 & (u16::from(size) - 1) == 0
    {
        pci::cfg_write(xen, bdf, reg, size, value as u32);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    const WINDOW: Mcfg = Mcfg { base: 0xb000_0000, segment: 2, first_bus: 4, last_bus: 7 };

    #[test]
    fn a_window_begins_at_its_first_bus() {
        let at = |a| config_target(&[WINDOW], a);
        assert_eq!(at(0xb000_0000), None, "bus 0 is not this window's");
        assert_eq!(at(0xb040_0000), Some((Bdf::new(2, 4, 0), 0)));
        assert_eq!(at(0xb07f_f104), Some((Bdf::new(2, 7, 0xff), 0x104)));
        assert_eq!(at(0xb080_0000), None);
        assert_eq!(at(0xafff_ffff), None);
    }

    #[test]
    fn what_was_added_is_taken_out_by_pages() {
        let r = ReadOnly::default();
        r.add(0xfec0_0fff, 2).unwrap();
        assert!(r.contains(Mfn(0xfec00)) && r.contains(Mfn(0xfec01)) && !r.contains(Mfn(0xfec02)));
        r.remove(0xfec0_1000, 1).unwrap();
        assert!(!r.contains(Mfn(0xfec01)));
    }

    #[test]
    fn a_prepared_devices_messages_are_nobodys_to_write() {
        use crate::io::msi;
        let w = World::new(512, 1);
        let device = Bdf::new(0, 3, 0);
        let mut space = std::vec![0u8; 256];
        (space[0], space[1], space[6]) = (0x86, 0x80, 1 << 4);
        // BAR 1 at 0xfe000000; MSI-X at 0x50: 65 entries at 0x2000 of it, pending bits at 0x3000.
        space[0x14..0x18].copy_from_slice(&0xfe00_0000u32.to_le_bytes());
        space[0x34] = 0x50;
        space[0x50..0x5c].copy_from_slice(&[0x11, 0, 64, 0, 1, 0x20, 0, 0, 1, 0x30, 0, 0]);
        w.xen.m.devices.pci.lock().unwrap().insert(device, space);
        assert_eq!(msi::tables(w.xen, device), Ok([(0xfe00_2000, 1040), (0xfe00_3000, 16)]));
        assert_eq!(msi::tables(w.xen, Bdf::new(0, 4, 0)), Err(Errno::ENODEV));
        let k = w.domain(0, 1);
        let mut s = crate::testing::Scratch::new(w.xen);
        let at = s.room(8);
        s.set(at, &[0u8, 0, 3, 0]);
        let ask = |cmd| k.call(0, |cx| crate::io::physdev::physdev_op(cx, cmd, at));
        assert_eq!(ask(abi::physdev::PHYSDEVOP_PREPARE_MSIX), Ok(0));
        assert!(w.xen.read_only.contains(Mfn(0xfe002)) && w.xen.read_only.contains(Mfn(0xfe003)));
        assert_eq!(ask(abi::physdev::PHYSDEVOP_RELEASE_MSIX), Ok(0));
        assert!(!w.xen.read_only.contains(Mfn(0xfe002)));
    }

    #[test]
    fn stores_reach_configuration_registers_only() {
        let w = World::new(64, 1);
        w.xen.read_only.add(0xe000_0000, 1 << 20).unwrap();
        w.xen.read_only.add(0xfec0_0000, 0x1000).unwrap();
        let device = Bdf::new(0, 0, 8);
        w.xen.m.devices.pci.lock().unwrap().insert(device, std::vec![0; 4096]);
        let byte = |reg: usize| w.xen.m.devices.pci.lock().unwrap()[&device][reg];
        assert_eq!(store(w.xen, 0xe000_803c, 1, 0x1234_560b), Some(()));
        assert_eq!((byte(0x3c), byte(0x3d)), (0x0b, 0));
        assert_eq!(store(w.xen, 0xe000_8104, 4, 0x0403_0201), Some(()));
        assert_eq!((byte(0x104), byte(0x107)), (1, 4));
        // Across words, or too wide: swallowed.
        assert_eq!(store(w.xen, 0xe000_8113, 2, !0), Some(()));
        assert_eq!(store(w.xen, 0xe000_8120, 8, !0), Some(()));
        assert_eq!((byte(0x113), byte(0x114), byte(0x120)), (0, 0, 0));
        assert_eq!(store(w.xen, 0xfec0_0000, 4, 1), Some(()), "an IOAPIC's select register");
        assert_eq!(store(w.xen, 0xfec0_1000, 4, 1), None);
        assert!(w.xen.m.devices.mmio.lock().unwrap().is_empty());
    }
}
