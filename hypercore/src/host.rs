//! What the boot code found out about this machine, fixed from then on.

use crate::cpumask::CpuMask;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;

/// Facts about the machine. Filled by the `hypervisor` crate before dom0 is built.
pub struct HostInfo {
    pub online: CpuMask,
    pub nr_cpus: u32,
    /// Per CPU: (APIC id, core id, socket id).
    pub topology: Vec<(u32, u32, u32)>,
    /// Which memory and processors are close to each other.
    pub nodes: crate::numa::Nodes,
    pub tsc_khz: u32,
    /// TSCs agreed across CPUs when these started, and with the platform timer since: guests may read them.
    pub tsc_sound: AtomicBool,
    /// The same, and the processor says that they run at a constant rate.
    pub tsc_stable: AtomicBool,
    /// Wall-clock seconds and nanoseconds at system time 0.
    pub boot_wallclock: crate::sync::Mutex<(u64, u32)>,
    /// Frames of RAM the firmware reported.
    pub total_pages: u64,
    /// Firmware's memory map as (start, length, e820 type).
    pub e820: Vec<(u64, u64, u32)>,
    /// Shift, lock and control keys as the BIOS had them at the start (its data area, 40:17); `None`: no BIOS.
    pub kbd_shift_flags: Option<u8>,
    /// MCG_CAP of the boot processor (Intel SDM vol. 3, 16.3.1.1); 0: no machine-check banks.
    pub mcg_cap: u64,
    /// Windows of PCI configuration space that the firmware lists.
    pub mcfg: Vec<crate::boot::acpi::Mcfg>,
    /// The linker's identification of the image (the note `NT_GNU_BUILD_ID`); empty: none.
    pub build_id: &'static [u8],
    /// Machine address and bytes of the hypervisor's image.
    pub image: (u64, u64),
    /// Hypervisor's command line.
    pub cmdline: String,
    /// Supported XCR0 bits and the size of their XSAVE image.
    pub xcr0_mask: u64,
    pub xsave_size: u32,
    /// CPU policies: the processor's, and what guests may see of it.
    pub policies: crate::policy::SystemPolicies,
    /// What domains may have of grants.
    pub grants: crate::grant::Limits,
    /// PML4 slots 256..=271 as every L4 gets them.
    pub hv_l4: [u64; 16],
}
