//! `xen/xen.h`: hypercall numbers, virtual interrupts, page-table commands, shared pages, start_info.
//!
//! Arguments of a 64-bit guest's hypercall: rdi, rsi, rdx, r10, r8, r9; number in rax, result in rax.

use crate::GuestHandle;
use crate::arch_x86::{ArchSharedInfo, ArchVcpuInfo, LEGACY_MAX_VCPUS};

// Hypercall numbers (guest → hypervisor, in eax).
pub const HYPERVISOR_SET_TRAP_TABLE: u32 = 0;
pub const HYPERVISOR_MMU_UPDATE: u32 = 1;
pub const HYPERVISOR_SET_GDT: u32 = 2;
pub const HYPERVISOR_STACK_SWITCH: u32 = 3;
pub const HYPERVISOR_SET_CALLBACKS: u32 = 4;
pub const HYPERVISOR_FPU_TASKSWITCH: u32 = 5;
pub const HYPERVISOR_SCHED_OP_COMPAT: u32 = 6;
pub const HYPERVISOR_PLATFORM_OP: u32 = 7;
pub const HYPERVISOR_SET_DEBUGREG: u32 = 8;
pub const HYPERVISOR_GET_DEBUGREG: u32 = 9;
pub const HYPERVISOR_UPDATE_DESCRIPTOR: u32 = 10;
pub const HYPERVISOR_MEMORY_OP: u32 = 12;
pub const HYPERVISOR_MULTICALL: u32 = 13;
pub const HYPERVISOR_UPDATE_VA_MAPPING: u32 = 14;
pub const HYPERVISOR_SET_TIMER_OP: u32 = 15;
pub const HYPERVISOR_EVENT_CHANNEL_OP_COMPAT: u32 = 16;
pub const HYPERVISOR_XEN_VERSION: u32 = 17;
pub const HYPERVISOR_CONSOLE_IO: u32 = 18;
pub const HYPERVISOR_PHYSDEV_OP_COMPAT: u32 = 19;
pub const HYPERVISOR_GRANT_TABLE_OP: u32 = 20;
pub const HYPERVISOR_VM_ASSIST: u32 = 21;
pub const HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN: u32 = 22;
pub const HYPERVISOR_IRET: u32 = 23;
pub const HYPERVISOR_VCPU_OP: u32 = 24;
pub const HYPERVISOR_SET_SEGMENT_BASE: u32 = 25;
pub const HYPERVISOR_MMUEXT_OP: u32 = 26;
pub const HYPERVISOR_XSM_OP: u32 = 27;
pub const HYPERVISOR_NMI_OP: u32 = 28;
pub const HYPERVISOR_SCHED_OP: u32 = 29;
pub const HYPERVISOR_CALLBACK_OP: u32 = 30;
pub const HYPERVISOR_XENOPROF_OP: u32 = 31;
pub const HYPERVISOR_EVENT_CHANNEL_OP: u32 = 32;
pub const HYPERVISOR_PHYSDEV_OP: u32 = 33;
pub const HYPERVISOR_HVM_OP: u32 = 34;
pub const HYPERVISOR_SYSCTL: u32 = 35;
pub const HYPERVISOR_DOMCTL: u32 = 36;
pub const HYPERVISOR_KEXEC_OP: u32 = 37;
pub const HYPERVISOR_TMEM_OP: u32 = 38;
pub const HYPERVISOR_ARGO_OP: u32 = 39;
pub const HYPERVISOR_XENPMU_OP: u32 = 40;
pub const HYPERVISOR_DM_OP: u32 = 41;
pub const HYPERVISOR_HYPFS_OP: u32 = 42;
pub const HYPERVISOR_ARCH_0: u32 = 48;
pub const HYPERVISOR_ARCH_1: u32 = 49;
pub const HYPERVISOR_ARCH_2: u32 = 50;
pub const HYPERVISOR_ARCH_3: u32 = 51;
pub const HYPERVISOR_ARCH_4: u32 = 52;
pub const HYPERVISOR_ARCH_5: u32 = 53;
pub const HYPERVISOR_ARCH_6: u32 = 54;
pub const HYPERVISOR_ARCH_7: u32 = 55;
/// `mca`: machine-check interface (`xen-mca.h`).
pub const HYPERVISOR_MCA: u32 = HYPERVISOR_ARCH_0;

// Virtual interrupts. "per vCPU" ones are bound once for each vCPU, "global" ones once a domain.
/// Timebase update and expired timer; per vCPU.
pub const VIRQ_TIMER: u32 = 0;
/// A debug dump is requested; per vCPU.
pub const VIRQ_DEBUG: u32 = 1;
/// Bytes were received on the emergency console; global, dom0.
pub const VIRQ_CONSOLE: u32 = 2;
/// A domain changed in a way a manager cares for (it died); global, dom0.
pub const VIRQ_DOM_EXC: u32 = 3;
/// Trace buffers have records; global, dom0.
pub const VIRQ_TBUF: u32 = 4;
/// A domain has paused for debugging; global, dom0.
pub const VIRQ_DEBUGGER: u32 = 6;
/// XenOProf has new samples; per vCPU.
pub const VIRQ_XENOPROF: u32 = 7;
/// Bytes were added to the hypervisor's console ring; global, dom0.
pub const VIRQ_CON_RING: u32 = 8;
/// A physical CPU changed state; global, dom0.
pub const VIRQ_PCPU_STATE: u32 = 9;
/// A memory event has occurred; global, dom0.
pub const VIRQ_MEM_EVENT: u32 = 10;
/// Argo has a message for the domain; global.
pub const VIRQ_ARGO: u32 = 11;
/// The heap is low on memory; global, dom0.
pub const VIRQ_ENOMEM: u32 = 12;
/// A performance-counter interrupt; per vCPU.
pub const VIRQ_XENPMU: u32 = 13;
pub const VIRQ_ARCH_0: u32 = 16;
pub const VIRQ_ARCH_1: u32 = 17;
pub const VIRQ_ARCH_2: u32 = 18;
pub const VIRQ_ARCH_3: u32 = 19;
pub const VIRQ_ARCH_4: u32 = 20;
pub const VIRQ_ARCH_5: u32 = 21;
pub const VIRQ_ARCH_6: u32 = 22;
pub const VIRQ_ARCH_7: u32 = 23;
/// A machine check was logged (`xen-mca.h`); global, dom0.
pub const VIRQ_MCA: u32 = VIRQ_ARCH_0;
pub const NR_VIRQS: u32 = 24;

// mmu_update commands: the low two bits of `MmuUpdate::ptr`.
/// Checked `*ptr = val`; `ptr` is a machine address.
pub const MMU_NORMAL_PT_UPDATE: u64 = 0;
/// `ptr` is the machine address of the frame whose M2P entry becomes `val`.
pub const MMU_MACHPHYS_UPDATE: u64 = 1;
/// As the normal update, keeping the entry's accessed and dirty bits atomically.
pub const MMU_PT_UPDATE_PRESERVE_AD: u64 = 2;
/// As the normal update, but `val` is never translated from a guest frame number.
pub const MMU_PT_UPDATE_NO_TRANSLATE: u64 = 3;
/// Set in the count (and returned in it) when a call was preempted and continues.
/// Not in a public header: it only travels between the hypervisor and itself, in guest registers.
pub const MMU_UPDATE_PREEMPTED: u32 = 1 << 31;

// mmuext_op commands (`MmuextOp::cmd`).
pub const MMUEXT_PIN_L1_TABLE: u32 = 0;
pub const MMUEXT_PIN_L2_TABLE: u32 = 1;
pub const MMUEXT_PIN_L3_TABLE: u32 = 2;
pub const MMUEXT_PIN_L4_TABLE: u32 = 3;
pub const MMUEXT_UNPIN_TABLE: u32 = 4;
pub const MMUEXT_NEW_BASEPTR: u32 = 5;
pub const MMUEXT_TLB_FLUSH_LOCAL: u32 = 6;
pub const MMUEXT_INVLPG_LOCAL: u32 = 7;
pub const MMUEXT_TLB_FLUSH_MULTI: u32 = 8;
pub const MMUEXT_INVLPG_MULTI: u32 = 9;
pub const MMUEXT_TLB_FLUSH_ALL: u32 = 10;
pub const MMUEXT_INVLPG_ALL: u32 = 11;
pub const MMUEXT_FLUSH_CACHE: u32 = 12;
pub const MMUEXT_SET_LDT: u32 = 13;
pub const MMUEXT_NEW_USER_BASEPTR: u32 = 15;
pub const MMUEXT_CLEAR_PAGE: u32 = 16;
pub const MMUEXT_COPY_PAGE: u32 = 17;
pub const MMUEXT_FLUSH_CACHE_GLOBAL: u32 = 18;
pub const MMUEXT_MARK_SUPER: u32 = 19;
pub const MMUEXT_UNMARK_SUPER: u32 = 20;

// Flags of update_va_mapping, one of each group. With UVMF_MULTI the remaining bits are the guest
// address of a bitmap of vCPUs; a null one means UVMF_LOCAL.
pub const UVMF_NONE: u64 = 0;
pub const UVMF_TLB_FLUSH: u64 = 1;
pub const UVMF_INVLPG: u64 = 2;
pub const UVMF_FLUSHTYPE_MASK: u64 = 3;
pub const UVMF_MULTI: u64 = 0;
pub const UVMF_LOCAL: u64 = 0;
pub const UVMF_ALL: u64 = 1 << 2;

// console_io commands.
pub const CONSOLEIO_WRITE: u32 = 0;
pub const CONSOLEIO_READ: u32 = 1;

// vm_assist commands and types; a type's bit in `VcpuGuestContext::vm_assist` is `1 << type`.
pub const VMASST_CMD_ENABLE: u32 = 0;
pub const VMASST_CMD_DISABLE: u32 = 1;
pub const VMASST_TYPE_4GB_SEGMENTS: u32 = 0;
pub const VMASST_TYPE_4GB_SEGMENTS_NOTIFY: u32 = 1;
pub const VMASST_TYPE_WRITABLE_PAGETABLES: u32 = 2;
pub const VMASST_TYPE_PAE_EXTENDED_CR3: u32 = 3;
pub const VMASST_TYPE_ARCHITECTURAL_IOPL: u32 = 4;
pub const VMASST_TYPE_RUNSTATE_UPDATE_FLAG: u32 = 5;
pub const VMASST_TYPE_M2P_STRICT: u32 = 32;

// Domain ids. Real domains are 0..DOMID_FIRST_RESERVED.
pub const DOMID_FIRST_RESERVED: u16 = 0x7ff0;
/// The calling domain.
pub const DOMID_SELF: u16 = 0x7ff0;
/// Owner of I/O memory: mappings of pages no domain owns.
pub const DOMID_IO: u16 = 0x7ff1;
/// Owner of pages the hypervisor shares (trace buffers, the M2P, xenheap pages).
pub const DOMID_XEN: u16 = 0x7ff2;
/// Owner of shared (copy-on-write) pages.
pub const DOMID_COW: u16 = 0x7ff3;
/// Never a domain.
pub const DOMID_INVALID: u16 = 0x7ff4;
/// The idle vCPUs' domain.
pub const DOMID_IDLE: u16 = 0x7fff;
/// Bits of a domain id.
pub const DOMID_MASK: u16 = 0x7fff;

// VcpuTimeInfo::flags (hypervisor → guest).
/// Time is monotonic across vCPUs.
pub const XEN_PVCLOCK_TSC_STABLE_BIT: u8 = 1 << 0;
pub const XEN_PVCLOCK_GUEST_STOPPED: u8 = 1 << 1;

// StartInfo::flags.
/// The domain is privileged.
pub const SIF_PRIVILEGED: u32 = 1 << 0;
/// The domain is the initial one.
pub const SIF_INITDOMAIN: u32 = 1 << 1;
/// `mod_start` points at a list of multiboot modules.
pub const SIF_MULTIBOOT_MOD: u32 = 1 << 2;
/// `mod_start` is a frame number, not an address.
pub const SIF_MOD_START_PFN: u32 = 1 << 3;
/// The builder offers the p2m in the virtual list of the domain.
pub const SIF_VIRT_P2M_4TOOLS: u32 = 1 << 4;
/// Power-management features, each bit an `XEN_PROCESSOR_PM_*` shifted by 8.
pub const SIF_PM_MASK: u32 = 0xff << 8;

/// Bytes of [`StartInfo::cmd_line`], the terminating zero included.
pub const MAX_GUEST_CMDLINE: usize = 1024;
/// `StartInfo::magic` begins with this, then `-x86_64` and a zero.
pub const START_INFO_MAGIC: &str = "xen-3.0-x86_64";

// DomVgaConsoleInfo::video_type.
pub const XEN_VGATYPE_TEXT_MODE_3: u8 = 0x03;
pub const XEN_VGATYPE_VESA_LFB: u8 = 0x23;
pub const XEN_VGATYPE_EFI_LFB: u8 = 0x70;

/// A domain's UUID, as tools give it.
pub type DomainHandle = [u8; 16];

abi_struct! {
    /// `struct mmuext_op`: one extended MMU operation (guest → hypervisor).
    pub struct MmuextOp [24] {
        /// `MMUEXT_*`.
        pub cmd: u32,
        pub _pad0: u32,
        /// `mfn` or `linear_addr`, depending on the command.
        pub arg1: u64,
        /// `nr_ents`, `vcpumask` or `src_mfn`, depending on the command.
        pub arg2: u64,
    }

    /// `struct mmu_update`: one page-table write (guest → hypervisor).
    pub struct MmuUpdate [16] {
        /// Machine address of the entry; the low two bits are the `MMU_*` command.
        pub ptr: u64,
        /// New entry, or new M2P value.
        pub val: u64,
    }

    /// `struct multicall_entry`: one call of a batch (guest → hypervisor; `result` comes back).
    pub struct MulticallEntry [64] {
        /// Hypercall number.
        pub op: u64,
        /// What the call returned, negated errno included.
        pub result: u64,
        pub args: [u64; 6],
    }

    /// `struct vcpu_time_info`: the paravirtual clock of a vCPU (hypervisor → guest).
    /// `ns = system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32)`.
    pub struct VcpuTimeInfo [32] {
        /// Odd while the hypervisor writes.
        pub version: u32,
        pub pad0: u32,
        /// TSC at the last update.
        pub tsc_timestamp: u64,
        /// Nanoseconds since boot at the last update.
        pub system_time: u64,
        /// 32.32 fixed-point ns per (shifted) TSC tick.
        pub tsc_to_system_mul: u32,
        /// Binary shift of the TSC difference; negative shifts right.
        pub tsc_shift: i8,
        /// `XEN_PVCLOCK_*`.
        pub flags: u8,
        pub pad1: [u8; 2],
    }

    /// `struct vcpu_info`: event state and clock of a vCPU (shared memory, both ways).
    pub struct VcpuInfo [64] {
        /// 1 when an event waits to be delivered.
        pub evtchn_upcall_pending: u8,
        /// 1 when the guest does not want upcalls (its interrupt flag, inverted).
        pub evtchn_upcall_mask: u8,
        pub _pad0: [u8; 6],
        /// 2-level events: which words of `SharedInfo::evtchn_pending` to look at.
        pub evtchn_pending_sel: u64,
        pub arch: ArchVcpuInfo,
        pub time: VcpuTimeInfo,
    }

    /// `struct shared_info`: one page a domain (shared memory, both ways).
    pub struct SharedInfo [3136] {
        /// The first 32 vCPUs', until they register one elsewhere.
        pub vcpu_info: [VcpuInfo; LEGACY_MAX_VCPUS],
        /// 2-level events: one bit a port.
        pub evtchn_pending: [u64; 64],
        /// 2-level events: masked ports.
        pub evtchn_mask: [u64; 64],
        /// Wall clock: odd while the hypervisor writes.
        pub wc_version: u32,
        /// Low half of the seconds since 1970 at system time 0.
        pub wc_sec: u32,
        /// Nanoseconds, 0..10^9.
        pub wc_nsec: u32,
        /// High half of the seconds.
        pub wc_sec_hi: u32,
        pub arch: ArchSharedInfo,
    }

    /// `struct start_info`: what a PV kernel finds in rsi at its entry (builder → guest).
    pub struct StartInfo [1168] {
        /// `xen-<version>-<platform>`, zero-terminated.
        pub magic: [u8; 32],
        /// Frames given to the domain.
        pub nr_pages: u64,
        /// Machine address of the shared_info page.
        pub shared_info: u64,
        /// `SIF_*`.
        pub flags: u32,
        pub _pad0: u32,
        /// Machine frame of the xenstore ring.
        pub store_mfn: u64,
        /// Event channel of xenstore.
        pub store_evtchn: u32,
        pub _pad1: u32,
        /// `console.domU.mfn`: machine frame of the console ring. In dom0 see
        /// [`StartInfo::set_console_dom0`].
        pub console_mfn: u64,
        /// `console.domU.evtchn`.
        pub console_evtchn: u32,
        pub _pad2: u32,
        /// Virtual address of the page directory (the L4).
        pub pt_base: u64,
        /// Frames of the boot page tables.
        pub nr_pt_frames: u64,
        /// Virtual address of the list of the domain's machine frames.
        pub mfn_list: u64,
        /// Virtual address (or frame, see `SIF_MOD_START_PFN`) of the initrd.
        pub mod_start: u64,
        /// Bytes of the initrd.
        pub mod_len: u64,
        /// Zero-terminated command line.
        pub cmd_line: [u8; MAX_GUEST_CMDLINE],
        /// First frame of the p2m list when it is mapped outside the initial mapping.
        pub first_p2m_pfn: u64,
        /// Frames of that list.
        pub nr_p2m_frames: u64,
    }

    /// `struct xen_multiboot_mod_list`: a module, with `SIF_MULTIBOOT_MOD` (builder → guest).
    pub struct MultibootModList [16] {
        /// Address of the first byte.
        pub mod_start: u32,
        /// Address of the first byte after.
        pub mod_end: u32,
        /// Address of its zero-terminated command line.
        pub cmdline: u32,
        pub pad: u32,
    }

    /// `struct dom0_vga_console_info`: the display as firmware left it (hypervisor → dom0).
    pub struct Dom0VgaConsoleInfo [40] {
        /// `XEN_VGATYPE_*`.
        pub video_type: u8,
        pub _pad0: [u8; 3],
        /// The bytes of [`VgaTextMode3`] or [`VgaVesaLfb`].
        pub u: [u32; 9],
    }

    /// `dom0_vga_console_info.u.text_mode_3`.
    pub struct VgaTextMode3 [10] {
        /// Pixels.
        pub font_height: u16,
        /// Characters.
        pub cursor_x: u16,
        /// Characters.
        pub cursor_y: u16,
        pub rows: u16,
        pub columns: u16,
    }

    /// `dom0_vga_console_info.u.vesa_lfb`.
    pub struct VgaVesaLfb [36] {
        /// Pixels.
        pub width: u16,
        /// Pixels.
        pub height: u16,
        pub bytes_per_line: u16,
        pub bits_per_pixel: u16,
        /// Low half of the frame buffer's machine address.
        pub lfb_base: u32,
        /// 64 KiB units.
        pub lfb_size: u32,
        pub red_pos: u8,
        pub red_size: u8,
        pub green_pos: u8,
        pub green_size: u8,
        pub blue_pos: u8,
        pub blue_size: u8,
        pub rsvd_pos: u8,
        pub rsvd_size: u8,
        /// VESA capabilities; since interface 0x00030206.
        pub gbl_caps: u32,
        /// VESA mode attributes.
        pub mode_attrs: u16,
        pub pad: u16,
        /// High half of the frame buffer's machine address; since interface 0x00040d00.
        pub ext_lfb_base: u32,
    }

    /// `struct xenctl_bitmap`: a bitmap in a tool's memory (tools → hypervisor and back).
    pub struct XenctlBitmap [16] {
        /// Bytes, least significant bit first.
        pub bitmap: GuestHandle,
        /// Bits of room.
        pub nr_bits: u32,
        pub _pad0: u32,
    }
}

impl MmuextOp {
    /// PIN_TABLE, UNPIN_TABLE, NEW_BASEPTR, NEW_USER_BASEPTR, CLEAR_PAGE, COPY_PAGE, (UN)MARK_SUPER.
    pub const fn mfn(&self) -> u64 {
        self.arg1
    }

    /// INVLPG_*, SET_LDT.
    pub const fn linear_addr(&self) -> u64 {
        self.arg1
    }

    /// SET_LDT. An `unsigned int`: the union's other half may hold anything.
    pub const fn nr_ents(&self) -> u32 {
        self.arg2 as u32
    }

    /// TLB_FLUSH_MULTI, INVLPG_MULTI: bitmap of vCPUs.
    pub const fn vcpumask(&self) -> GuestHandle {
        GuestHandle::new(self.arg2)
    }

    /// COPY_PAGE: the frame copied from.
    pub const fn src_mfn(&self) -> u64 {
        self.arg2
    }
}

impl StartInfo {
    /// `console.dom0`: where in the start_info page [`Dom0VgaConsoleInfo`] stands, and its bytes.
    pub fn set_console_dom0(&mut self, info_off: u32, info_size: u32) {
        self.console_mfn = u64::from(info_off) | u64::from(info_size) << 32;
    }

    /// `console.dom0.info_off` and `.info_size`.
    pub const fn console_dom0(&self) -> (u32, u32) {
        (self.console_mfn as u32, (self.console_mfn >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn the_dom0_console_stands_where_the_domu_frame_would() {
        let mut info = StartInfo::default();
        info.set_console_dom0(0x490, 24);
        let at = core::mem::offset_of!(StartInfo, console_mfn);
        assert_eq!(info.as_bytes()[at..at + 8], [0x90, 4, 0, 0, 24, 0, 0, 0]);
        assert_eq!(info.console_dom0(), (0x490, 24));
    }
}
