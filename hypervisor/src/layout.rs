//! The hypervisor's virtual address space: PML4 slots 256..=271, the same in every address space
//! (slot 256 is blank where only user mode runs).
//!
//! | address | what | access |
//! |---|---|---|
//! | `M2P_GUEST` (slot 256) | machine-to-physical table | guest kernels read |
//! | `MMIO_BASE` (slot 260) | device registers, uncached | hypervisor |
//! | `PERCPU_BASE` (slot 260) | per CPU: descriptor windows, stacks with guard pages | hypervisor |
//! | `M2P_RW` (slot 261) | the same table, writable | hypervisor |
//! | `IMAGE_OFFSET` (slot 261) | the image, W^X | hypervisor |
//! | `FRAME_TABLE` (slot 261) | 16 bytes per machine frame, only where there is RAM | hypervisor |
//! | `DIRECT_MAP` (slots 262..) | all RAM | hypervisor |

/// First PML4 slot that belongs to the hypervisor.
pub const FIRST_SLOT: usize = 256;
/// Last PML4 slot that belongs to the hypervisor.
pub const LAST_SLOT: usize = 271;
/// First address after the hypervisor's area.
pub const HYPERVISOR_END: u64 = 0xffff_8800_0000_0000;

/// Machine-to-physical table as guests see it (read-only).
pub const M2P_GUEST: u64 = 0xffff_8000_0000_0000;
/// Machine-to-physical table as the hypervisor writes it.
pub const M2P_RW: u64 = 0xffff_82c0_0000_0000;

/// Where [`crate::mm::mmio::map`] puts device registers.
pub const MMIO_BASE: u64 = 0xffff_8200_0000_0000;
/// Size of that area.
pub const MMIO_SIZE: u64 = 1 << 30;

/// Per-CPU areas, one every [`PERCPU_STRIDE`] bytes.
pub const PERCPU_BASE: u64 = 0xffff_8210_0000_0000;
/// One level-1 table per two CPUs.
pub const PERCPU_STRIDE: u64 = 1 << 20;
/// Offset of the GDT window in a per-CPU area: 16 pages, 14 of the guest's, then the hypervisor's own.
pub const GDT_WINDOW: u64 = 0;
/// Offset of the LDT window in a per-CPU area: 16 pages.
pub const LDT_WINDOW: u64 = 0x1_0000;
/// Offset past the main stack's top; the page below its bottom is a guard page, as with the others.
pub const STACK_TOP: u64 = 0x3_0000;
/// Pages of the main stack.
pub const STACK_PAGES: u64 = 15;
/// Offsets past the tops of the stacks of NMI, double fault, machine check and debug exceptions.
pub const IST_TOPS: [u64; 4] = [0x4_0000, 0x5_0000, 0x6_0000, 0x7_0000];
/// Pages of each of these.
pub const IST_PAGES: u64 = 3;

/// Virtual address of a byte of the image minus its physical address.
pub const IMAGE_OFFSET: u64 = 0xffff_82d0_0000_0000;
/// Frame table.
pub const FRAME_TABLE: u64 = 0xffff_82e0_0000_0000;
/// Bytes of a frame table entry.
pub const FRAME_RECORD: u64 = 16;

/// Direct map of all RAM: virtual = physical + this.
pub const DIRECT_MAP: u64 = 0xffff_8300_0000_0000;
/// First address after the direct map's reach (5 TiB).
pub const DIRECT_MAP_END: u64 = HYPERVISOR_END;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// How many CPUs the hypervisor can use.
pub const MAX_CPUS: usize = 128;
