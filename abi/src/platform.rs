//! `xen/platform.h`: platform_op, what dom0 does to the machine it runs on.
//!
//! A call's argument is a [`PlatformOpHeader`] and, at [`PLATFORM_OP_PAYLOAD_OFFSET`], the command's
//! structure inside a union of [`PLATFORM_OP_PAYLOAD_SIZE`] bytes.

use crate::GuestHandle;

pub const XENPF_INTERFACE_VERSION: u32 = 0x0300_0001;

/// Bytes of `struct xen_platform_op`.
pub const PLATFORM_OP_SIZE: usize = 136;
/// Where the command's structure begins.
pub const PLATFORM_OP_PAYLOAD_OFFSET: usize = 8;
/// Bytes of the union.
pub const PLATFORM_OP_PAYLOAD_SIZE: usize = 128;

// Commands (`PlatformOpHeader::cmd`).
pub const XENPF_SETTIME32: u32 = 17;
pub const XENPF_ADD_MEMTYPE: u32 = 31;
pub const XENPF_DEL_MEMTYPE: u32 = 32;
pub const XENPF_READ_MEMTYPE: u32 = 33;
pub const XENPF_MICROCODE_UPDATE: u32 = 35;
pub const XENPF_PLATFORM_QUIRK: u32 = 39;
pub const XENPF_GET_CPU_VERSION: u32 = 48;
pub const XENPF_EFI_RUNTIME_CALL: u32 = 49;
pub const XENPF_FIRMWARE_INFO: u32 = 50;
pub const XENPF_ENTER_ACPI_SLEEP: u32 = 51;
pub const XENPF_CHANGE_FREQ: u32 = 52;
pub const XENPF_GETIDLETIME: u32 = 53;
pub const XENPF_SET_PROCESSOR_PMINFO: u32 = 54;
pub const XENPF_GET_CPUINFO: u32 = 55;
pub const XENPF_CPU_ONLINE: u32 = 56;
pub const XENPF_CPU_OFFLINE: u32 = 57;
pub const XENPF_CPU_HOTADD: u32 = 58;
pub const XENPF_MEM_HOTADD: u32 = 59;
pub const XENPF_CORE_PARKING: u32 = 60;
pub const XENPF_RESOURCE_OP: u32 = 61;
pub const XENPF_SETTIME64: u32 = 62;
pub const XENPF_GET_SYMBOL: u32 = 63;

// XenpfPlatformQuirk::quirk_id.
pub const QUIRK_NOIRQBALANCING: u32 = 1;
pub const QUIRK_IOAPIC_BAD_REGSEL: u32 = 2;
pub const QUIRK_IOAPIC_GOOD_REGSEL: u32 = 3;

// XenpfFirmwareInfo::type_.
/// EDD information of a BIOS disk.
pub const XEN_FW_DISK_INFO: u32 = 1;
pub const XEN_FW_DISK_MBR_SIGNATURE: u32 = 2;
/// EDID from the VESA BIOS.
pub const XEN_FW_VBEDDC_INFO: u32 = 3;
pub const XEN_FW_EFI_INFO: u32 = 4;
pub const XEN_FW_KBD_SHIFT_FLAGS: u32 = 5;
// XenpfFirmwareInfo::index of EFI information.
pub const XEN_FW_EFI_VERSION: u32 = 0;
pub const XEN_FW_EFI_CONFIG_TABLE: u32 = 1;
pub const XEN_FW_EFI_VENDOR: u32 = 2;
pub const XEN_FW_EFI_MEM_INFO: u32 = 3;
pub const XEN_FW_EFI_RT_VERSION: u32 = 4;
pub const XEN_FW_EFI_PCI_ROM: u32 = 5;
pub const XEN_FW_EFI_APPLE_PROPERTIES: u32 = 6;

/// XenpfEnterAcpiSleep::flags: the values are for the extended sleep registers.
pub const XENPF_ACPI_SLEEP_EXTENDED: u32 = 1;

// XenpfSetProcessorPminfo::type_.
pub const XEN_PM_CX: u32 = 0;
pub const XEN_PM_PX: u32 = 1;
pub const XEN_PM_TX: u32 = 2;
pub const XEN_PM_PDC: u32 = 3;
// In start_info's `SIF_PM_MASK`: who drives the processors' power states.
pub const XEN_PROCESSOR_PM_CX: u32 = 1;
pub const XEN_PROCESSOR_PM_PX: u32 = 2;
pub const XEN_PROCESSOR_PM_TX: u32 = 4;
// ProcessorPerformance::flags: which fields are given.
pub const XEN_PX_PCT: u32 = 1;
pub const XEN_PX_PSS: u32 = 2;
pub const XEN_PX_PPC: u32 = 4;
pub const XEN_PX_PSD: u32 = 8;
// ProcessorPerformance::shared_type.
pub const XEN_CPUPERF_SHARED_TYPE_HW: u32 = 1;
pub const XEN_CPUPERF_SHARED_TYPE_ALL: u32 = 2;
pub const XEN_CPUPERF_SHARED_TYPE_ANY: u32 = 3;

// XenpfPcpuinfo::flags.
pub const XEN_PCPU_FLAGS_ONLINE: u32 = 1;
/// There is no such CPU.
pub const XEN_PCPU_FLAGS_INVALID: u32 = 2;

// XenpfCoreParking::type_.
pub const XEN_CORE_PARKING_SET: u32 = 1;
pub const XEN_CORE_PARKING_GET: u32 = 2;

// XenpfResourceEntry::u, in.
pub const XEN_RESOURCE_OP_MSR_READ: u32 = 0;
pub const XEN_RESOURCE_OP_MSR_WRITE: u32 = 1;

abi_struct! {
    /// The part of `struct xen_platform_op` before its union (dom0 → hypervisor and back).
    pub struct PlatformOpHeader [8] {
        /// `XENPF_*`.
        pub cmd: u32,
        /// `XENPF_INTERFACE_VERSION`.
        pub interface_version: u32,
    }

    /// `struct xenpf_settime32`: the wall clock at a system time.
    pub struct XenpfSettime32 [16] {
        /// Since 1970.
        pub secs: u32,
        pub nsecs: u32,
        /// Nanoseconds since boot.
        pub system_time: u64,
    }

    /// `struct xenpf_settime64`.
    pub struct XenpfSettime64 [24] {
        /// Since 1970.
        pub secs: u64,
        pub nsecs: u32,
        pub mbz: u32,
        /// Nanoseconds since boot.
        pub system_time: u64,
    }

    /// `struct xenpf_add_memtype`: adds an MTRR.
    pub struct XenpfAddMemtype [32] {
        pub mfn: u64,
        pub nr_mfns: u64,
        /// MTRR type.
        pub type_: u32,
        /// Out.
        pub handle: u32,
        /// Out.
        pub reg: u32,
        pub _pad0: u32,
    }

    /// `struct xenpf_del_memtype`.
    pub struct XenpfDelMemtype [8] {
        pub handle: u32,
        pub reg: u32,
    }

    /// `struct xenpf_read_memtype`: `reg` in, the rest out.
    pub struct XenpfReadMemtype [32] {
        pub reg: u32,
        pub _pad0: u32,
        pub mfn: u64,
        pub nr_mfns: u64,
        pub type_: u32,
        pub _pad1: u32,
    }

    /// `struct xenpf_microcode_update`.
    pub struct XenpfMicrocodeUpdate [16] {
        pub data: GuestHandle,
        /// Bytes.
        pub length: u32,
        pub _pad0: u32,
    }

    /// `struct xenpf_platform_quirk`.
    pub struct XenpfPlatformQuirk [4] {
        /// `QUIRK_*`.
        pub quirk_id: u32,
    }

    /// `struct xenpf_efi_runtime_call`.
    pub struct XenpfEfiRuntimeCall [56] {
        pub function: u32,
        pub misc: u32,
        /// EFI_STATUS, out.
        pub status: u64,
        /// The function's arguments.
        pub u: [u64; 5],
    }

    /// `struct xenpf_firmware_info`.
    pub struct XenpfFirmwareInfo [40] {
        /// `XEN_FW_*`.
        pub type_: u32,
        pub index: u32,
        /// The type's structure, out: [`FwDiskInfo`], [`FwDiskMbrSignature`], [`FwVbeddcInfo`],
        /// the EFI union, or one byte of shift flags.
        pub u: [u64; 4],
    }

    /// `xenpf_firmware_info.u.disk_info`: INT 13h functions 08h, 41h, 48h.
    pub struct FwDiskInfo [16] {
        /// BIOS drive, 0x80 and up.
        pub device: u8,
        pub version: u8,
        pub interface_support: u16,
        pub legacy_max_cylinder: u16,
        pub legacy_max_head: u8,
        pub legacy_sectors_per_track: u8,
        /// EDD parameters; the first two bytes are the length, in and out.
        pub edd_params: GuestHandle,
    }

    /// `xenpf_firmware_info.u.disk_mbr_signature`.
    pub struct FwDiskMbrSignature [8] {
        pub device: u8,
        pub _pad0: [u8; 3],
        pub mbr_signature: u32,
    }

    /// `xenpf_firmware_info.u.vbeddc_info`.
    pub struct FwVbeddcInfo [16] {
        pub capabilities: u8,
        /// Seconds.
        pub edid_transfer_time: u8,
        pub _pad0: [u8; 6],
        /// 128 bytes, out.
        pub edid: GuestHandle,
    }

    /// `struct xenpf_enter_acpi_sleep`.
    pub struct XenpfEnterAcpiSleep [12] {
        /// For PM1a_CNT (or the sleep control register).
        pub val_a: u16,
        /// For PM1b_CNT (or the sleep type).
        pub val_b: u16,
        /// 1..=5.
        pub sleep_state: u32,
        /// `XENPF_ACPI_SLEEP_EXTENDED`.
        pub flags: u32,
    }

    /// `struct xenpf_change_freq`.
    pub struct XenpfChangeFreq [16] {
        pub flags: u32,
        pub cpu: u32,
        /// Hz.
        pub freq: u64,
    }

    /// `struct xenpf_getidletime`.
    pub struct XenpfGetidletime [32] {
        /// CPUs asked about in, known out.
        pub cpumap_bitmap: GuestHandle,
        pub cpumap_nr_cpus: u32,
        pub _pad0: u32,
        /// `uint64_t[]`, nanoseconds, out.
        pub idletime: GuestHandle,
        /// System time, out.
        pub now: u64,
    }

    /// `struct xen_power_register`.
    pub struct PowerRegister [24] {
        pub space_id: u32,
        pub bit_width: u32,
        pub bit_offset: u32,
        pub access_size: u32,
        pub address: u64,
    }

    /// `struct xen_processor_csd`.
    pub struct ProcessorCsd [12] {
        pub domain: u32,
        pub coord_type: u32,
        pub num: u32,
    }

    /// `struct xen_processor_cx`: a C-state.
    pub struct ProcessorCx [48] {
        pub reg: PowerRegister,
        pub type_: u8,
        pub _pad0: [u8; 3],
        /// Microseconds.
        pub latency: u32,
        /// Milliwatts.
        pub power: u32,
        pub dpcnt: u32,
        /// [`ProcessorCsd`]`[dpcnt]`.
        pub dp: GuestHandle,
    }

    /// `struct xen_processor_power`.
    pub struct ProcessorPower [16] {
        /// C-states.
        pub count: u32,
        /// Bits: bm_control, bm_check, has_cst, power_setup_done, bm_rld_set.
        pub flags: u32,
        /// [`ProcessorCx`]`[count]`.
        pub states: GuestHandle,
    }

    /// `struct xen_pct_register`.
    pub struct PctRegister [16] {
        pub descriptor: u8,
        pub _pad0: u8,
        pub length: u16,
        pub space_id: u8,
        pub bit_width: u8,
        pub bit_offset: u8,
        pub reserved: u8,
        pub address: u64,
    }

    /// `struct xen_processor_px`: a P-state.
    pub struct ProcessorPx [48] {
        /// MHz.
        pub core_frequency: u64,
        /// Milliwatts.
        pub power: u64,
        /// Microseconds.
        pub transition_latency: u64,
        /// Microseconds.
        pub bus_master_latency: u64,
        pub control: u64,
        pub status: u64,
    }

    /// `struct xen_psd_package`.
    pub struct PsdPackage [40] {
        pub num_entries: u64,
        pub revision: u64,
        pub domain: u64,
        pub coord_type: u64,
        pub num_processors: u64,
    }

    /// `struct xen_processor_performance`.
    pub struct ProcessorPerformance [104] {
        /// `XEN_PX_*`.
        pub flags: u32,
        /// Highest usable P-state.
        pub platform_limit: u32,
        pub control_register: PctRegister,
        pub status_register: PctRegister,
        pub state_count: u32,
        pub _pad0: u32,
        /// [`ProcessorPx`]`[state_count]`.
        pub states: GuestHandle,
        pub domain_info: PsdPackage,
        /// `XEN_CPUPERF_SHARED_TYPE_*`.
        pub shared_type: u32,
        pub _pad1: u32,
    }

    /// `struct xenpf_set_processor_pminfo`.
    pub struct XenpfSetProcessorPminfo [112] {
        /// ACPI id of the processor.
        pub id: u32,
        /// `XEN_PM_*`.
        pub type_: u32,
        /// [`ProcessorPower`], [`ProcessorPerformance`] or the handle of the _PDC buffer.
        pub u: [u64; 13],
    }

    /// `struct xenpf_pcpuinfo`: `xen_cpuid` in, the rest out.
    pub struct XenpfPcpuinfo [20] {
        /// CPU number.
        pub xen_cpuid: u32,
        /// Highest present CPU.
        pub max_present: u32,
        /// `XEN_PCPU_FLAGS_*`.
        pub flags: u32,
        pub apic_id: u32,
        pub acpi_id: u32,
    }

    /// `struct xenpf_pcpu_version`: `xen_cpuid` in, the rest out.
    pub struct XenpfPcpuVersion [32] {
        pub xen_cpuid: u32,
        pub max_present: u32,
        pub vendor_id: [u8; 12],
        pub family: u32,
        pub model: u32,
        pub stepping: u32,
    }

    /// `struct xenpf_cpu_ol`.
    pub struct XenpfCpuOl [4] {
        pub cpuid: u32,
    }

    /// `struct xenpf_cpu_hotadd`.
    pub struct XenpfCpuHotadd [12] {
        pub apic_id: u32,
        pub acpi_id: u32,
        /// Proximity domain.
        pub pxm: u32,
    }

    /// `struct xenpf_mem_hotadd`.
    pub struct XenpfMemHotadd [24] {
        /// First frame.
        pub spfn: u64,
        /// First frame after.
        pub epfn: u64,
        pub pxm: u32,
        pub flags: u32,
    }

    /// `struct xenpf_core_parking`.
    pub struct XenpfCoreParking [8] {
        /// `XEN_CORE_PARKING_*`.
        pub type_: u32,
        pub idle_nums: u32,
    }

    /// `struct xenpf_resource_entry`.
    pub struct XenpfResourceEntry [24] {
        /// `XEN_RESOURCE_OP_*` in, negated errno out.
        pub u: u32,
        pub rsvd: u32,
        /// MSR.
        pub idx: u64,
        pub val: u64,
    }

    /// `struct xenpf_resource_op`.
    pub struct XenpfResourceOp [16] {
        pub nr_entries: u32,
        pub cpu: u32,
        /// [`XenpfResourceEntry`]`[nr_entries]`.
        pub entries: GuestHandle,
    }

    /// `struct xenpf_symdata`.
    pub struct XenpfSymdata [32] {
        /// Bytes: room in, needed out.
        pub namelen: u32,
        /// Symbol in, the next one out.
        pub symnum: u32,
        /// `char[namelen]`, out.
        pub name: GuestHandle,
        /// Out.
        pub address: u64,
        /// As `nm` prints it, out.
        pub type_: u8,
        pub _pad0: [u8; 7],
    }
}
