//! `xen/physdev.h`: physdev_op, what a domain with hardware asks about interrupts and PCI.

use crate::GuestHandle;

// physdev_op commands.
pub const PHYSDEVOP_IRQ_UNMASK_NOTIFY: u32 = 4;
pub const PHYSDEVOP_IRQ_STATUS_QUERY: u32 = 5;
pub const PHYSDEVOP_SET_IOPL: u32 = 6;
pub const PHYSDEVOP_SET_IOBITMAP: u32 = 7;
pub const PHYSDEVOP_APIC_READ: u32 = 8;
pub const PHYSDEVOP_APIC_WRITE: u32 = 9;
pub const PHYSDEVOP_ALLOC_IRQ_VECTOR: u32 = 10;
pub const PHYSDEVOP_FREE_IRQ_VECTOR: u32 = 11;
pub const PHYSDEVOP_EOI: u32 = 12;
pub const PHYSDEVOP_MAP_PIRQ: u32 = 13;
pub const PHYSDEVOP_UNMAP_PIRQ: u32 = 14;
pub const PHYSDEVOP_MANAGE_PCI_ADD: u32 = 15;
pub const PHYSDEVOP_MANAGE_PCI_REMOVE: u32 = 16;
/// Registers the page of "needs EOI" bits and turns every unmask into an EOI.
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V1: u32 = 17;
pub const PHYSDEVOP_RESTORE_MSI: u32 = 19;
pub const PHYSDEVOP_MANAGE_PCI_ADD_EXT: u32 = 20;
pub const PHYSDEVOP_SETUP_GSI: u32 = 21;
pub const PHYSDEVOP_GET_FREE_PIRQ: u32 = 23;
pub const PHYSDEVOP_PCI_MMCFG_RESERVED: u32 = 24;
pub const PHYSDEVOP_PCI_DEVICE_ADD: u32 = 25;
pub const PHYSDEVOP_PCI_DEVICE_REMOVE: u32 = 26;
pub const PHYSDEVOP_RESTORE_MSI_EXT: u32 = 27;
/// Registers the page of "needs EOI" bits; EOIs stay explicit.
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V2: u32 = 28;
pub const PHYSDEVOP_DBGP_OP: u32 = 29;
pub const PHYSDEVOP_PREPARE_MSIX: u32 = 30;
pub const PHYSDEVOP_RELEASE_MSIX: u32 = 31;

// PhysdevIrqStatusQuery::flags.
pub const XENIRQSTAT_NEEDS_EOI: u32 = 1 << 0;
pub const XENIRQSTAT_SHARED: u32 = 1 << 1;

// PhysdevMapPirq::type_.
pub const MAP_PIRQ_TYPE_MSI: i32 = 0;
pub const MAP_PIRQ_TYPE_GSI: i32 = 1;
pub const MAP_PIRQ_TYPE_UNKNOWN: i32 = 2;
pub const MAP_PIRQ_TYPE_MSI_SEG: i32 = 3;
pub const MAP_PIRQ_TYPE_MULTI_MSI: i32 = 4;

/// PhysdevPciMmcfgReserved::flags: firmware reserves the range.
pub const XEN_PCI_MMCFG_RESERVED: u32 = 1;

// PhysdevPciDeviceAdd::flags.
pub const XEN_PCI_DEV_EXTFN: u32 = 1;
pub const XEN_PCI_DEV_VIRTFN: u32 = 2;
/// `optarr[0]` holds the proximity domain.
pub const XEN_PCI_DEV_PXM: u32 = 4;

pub const PHYSDEVOP_DBGP_RESET_PREPARE: u8 = 1;
pub const PHYSDEVOP_DBGP_RESET_DONE: u8 = 2;
pub const PHYSDEVOP_DBGP_BUS_UNKNOWN: u8 = 0;
pub const PHYSDEVOP_DBGP_BUS_PCI: u8 = 1;

abi_struct! {
    /// `struct physdev_eoi`.
    pub struct PhysdevEoi [4] {
        /// The PIRQ.
        pub irq: u32,
    }

    /// `struct physdev_pirq_eoi_gmfn`.
    pub struct PhysdevPirqEoiGmfn [8] {
        /// The page: one bit a PIRQ, set by the hypervisor when it needs an EOI.
        pub gmfn: u64,
    }

    /// `struct physdev_irq_status_query`.
    pub struct PhysdevIrqStatusQuery [8] {
        pub irq: u32,
        /// Out: `XENIRQSTAT_*`.
        pub flags: u32,
    }

    /// `struct physdev_set_iopl`.
    pub struct PhysdevSetIopl [4] {
        /// 0..=3, of the calling vCPU.
        pub iopl: u32,
    }

    /// `struct physdev_set_iobitmap`.
    pub struct PhysdevSetIobitmap [16] {
        /// One bit a port; a clear bit permits.
        pub bitmap: GuestHandle,
        /// At most 65536.
        pub nr_ports: u32,
        pub _pad0: u32,
    }

    /// `struct physdev_apic`: an IOAPIC register.
    pub struct PhysdevApic [16] {
        pub apic_physbase: u64,
        pub reg: u32,
        /// In for a write, out for a read.
        pub value: u32,
    }

    /// `struct physdev_irq`.
    pub struct PhysdevIrq [8] {
        pub irq: u32,
        /// Out.
        pub vector: u32,
    }

    /// `struct physdev_map_pirq`.
    pub struct PhysdevMapPirq [40] {
        pub domid: u16,
        pub _pad0: u16,
        /// `MAP_PIRQ_TYPE_*`.
        pub type_: i32,
        /// GSI: the GSI. MSI: -1 is any vector.
        pub index: i32,
        /// In: the wanted PIRQ or -1. Out: the PIRQ.
        pub pirq: i32,
        /// MSI: bus, and the segment in bits 16..32 (not for `MAP_PIRQ_TYPE_MSI`).
        pub bus: i32,
        pub devfn: i32,
        /// MSI: 0. MSI-X: the table's entry. Multiple MSI: the count, in and out.
        pub entry_nr: i32,
        pub _pad1: u32,
        /// MSI-X: machine address of the table's BAR; else 0.
        pub table_base: u64,
    }

    /// `struct physdev_unmap_pirq`.
    pub struct PhysdevUnmapPirq [8] {
        pub domid: u16,
        pub _pad0: u16,
        pub pirq: i32,
    }

    /// `struct physdev_manage_pci`.
    pub struct PhysdevManagePci [2] {
        pub bus: u8,
        pub devfn: u8,
    }

    /// `struct physdev_restore_msi`.
    pub struct PhysdevRestoreMsi [2] {
        pub bus: u8,
        pub devfn: u8,
    }

    /// `struct physdev_manage_pci_ext`.
    pub struct PhysdevManagePciExt [16] {
        pub bus: u8,
        pub devfn: u8,
        pub _pad0: u16,
        pub is_extfn: u32,
        pub is_virtfn: u32,
        /// `physfn.bus`.
        pub physfn_bus: u8,
        /// `physfn.devfn`.
        pub physfn_devfn: u8,
        pub _pad1: u16,
    }

    /// `struct physdev_op`: the argument of physdev_op_compat.
    pub struct PhysdevOp [24] {
        pub cmd: u32,
        pub _pad0: u32,
        /// The command's structure.
        pub u: [u64; 2],
    }

    /// `struct physdev_setup_gsi`.
    pub struct PhysdevSetupGsi [8] {
        pub gsi: i32,
        /// 0 edge, 1 level.
        pub triggering: u8,
        /// 0 active high, 1 active low.
        pub polarity: u8,
        pub _pad0: u16,
    }

    /// `struct physdev_get_free_pirq`.
    pub struct PhysdevGetFreePirq [8] {
        /// `MAP_PIRQ_TYPE_*`.
        pub type_: i32,
        /// Out.
        pub pirq: u32,
    }

    /// `struct physdev_pci_mmcfg_reserved`.
    pub struct PhysdevPciMmcfgReserved [16] {
        /// Machine address of bus 0's configuration space.
        pub address: u64,
        pub segment: u16,
        pub start_bus: u8,
        /// Inclusive.
        pub end_bus: u8,
        /// `XEN_PCI_MMCFG_RESERVED`.
        pub flags: u32,
    }

    /// `struct physdev_pci_device_add`; an array of `uint32_t` may follow (see `XEN_PCI_DEV_PXM`).
    pub struct PhysdevPciDeviceAdd [12] {
        pub seg: u16,
        pub bus: u8,
        pub devfn: u8,
        /// `XEN_PCI_DEV_*`.
        pub flags: u32,
        /// `physfn.bus`.
        pub physfn_bus: u8,
        /// `physfn.devfn`.
        pub physfn_devfn: u8,
        pub _pad0: u16,
    }

    /// `struct physdev_pci_device`: remove, restore_msi_ext, prepare_msix, release_msix.
    pub struct PhysdevPciDevice [4] {
        pub seg: u16,
        pub bus: u8,
        pub devfn: u8,
    }

    /// `struct physdev_dbgp_op`: a USB debug port is reset.
    pub struct PhysdevDbgpOp [6] {
        /// `PHYSDEVOP_DBGP_RESET_*`.
        pub op: u8,
        /// `PHYSDEVOP_DBGP_BUS_*`.
        pub bus: u8,
        /// `u.pci`.
        pub pci: PhysdevPciDevice,
    }
}
