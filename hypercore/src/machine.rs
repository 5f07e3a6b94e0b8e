//! The seam: what the logic asks of the hardware, in narrow traits.
//!
//! On the machine the implementation is a zero-sized type that inlines away; on the host
//! ([`crate::host`]) it is a vector of atomics, a software page walk and a simulated clock.

use crate::cpumask::CpuMask;
use crate::frame::{CanRead, CanWrite};
use crate::ids::{CpuId, DomId, Irq, Mfn};
use crate::io::pci::Bdf;
use crate::vcpu::VcpuPrivate;
use abi::Errno;
use zerocopy::IntoBytes;

/// Words that are looked at together: a line of the processor's cache.
pub const LINE: usize = 8;

/// Access to the contents of machine frames. Every method takes a proof that the caller may touch the frame.
/// Offsets are bytes within the frame; words are 8 bytes and aligned (an implementation may panic otherwise:
/// offsets never come from a guest unchecked).
pub trait Frames {
    fn load(&self, f: &impl CanRead, offset: usize) -> u64;
    /// The OR of the [`LINE`] words from `first` (of the frame's 512, a multiple of [`LINE`]), each loaded once.
    fn load_line(&self, f: &impl CanRead, first: usize) -> u64 {
        (first..first + LINE).fold(0, |or, i| or | self.load(f, i * 8))
    }
    fn store(&self, f: &impl CanWrite, offset: usize, value: u64);
    /// Stores one byte; those beside it may change at the same time.
    fn store_byte(&self, f: &impl CanWrite, offset: usize, value: u8);
    /// `Ok(old)` if the word was `old` and is now `new`, else `Err(actual)`.
    fn compare_exchange(&self, f: &impl CanWrite, offset: usize, old: u64, new: u64) -> Result<u64, u64>;
    /// Bulk copies; not atomic with respect to a guest that writes at the same time.
    fn read(&self, f: &impl CanRead, offset: usize, dst: &mut [u8]);
    fn write(&self, f: &impl CanWrite, offset: usize, src: &[u8]);
    fn zero(&self, f: &impl CanWrite);
    /// Sets the machine-to-physical entry of `mfn` (u64::MAX: none). The table is guest-readable, hypervisor-owned.
    fn set_m2p(&self, mfn: Mfn, pfn: u64);
    fn get_m2p(&self, mfn: Mfn) -> u64;
}

/// A guest address could not be accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestFault {
    /// First address that failed.
    pub va: u64,
}

/// Copies to and from virtual addresses of the running vCPU (its loaded page tables, with user-mode rights).
/// Callers go through [`crate::guest`], which range-checks against the hypervisor's area first.
pub trait GuestVa {
    fn copy_from_guest(&self, dst: &mut [u8], va: u64) -> Result<(), GuestFault>;
    fn copy_to_guest(&self, va: u64, src: &[u8]) -> Result<(), GuestFault>;
    /// As [`Self::copy_from_guest`], for a few words.
    fn load_words<const N: usize>(&self, va: u64) -> Result<[u64; N], GuestFault> {
        let mut words = [0; N];
        self.copy_from_guest(words.as_mut_bytes(), va)?;
        Ok(words)
    }
    /// As [`Self::copy_to_guest`], for a few words.
    fn store_words<const N: usize>(&self, va: u64, words: [u64; N]) -> Result<(), GuestFault> {
        self.copy_to_guest(va, words.as_bytes())
    }
    /// Switches the running vCPU between guest-kernel and guest-user mode: loads the tables rooted at `l4`
    /// (which the vCPU's `mm` state holds typed) and its GS base; returns the GS base it had.
    fn switch_mode(&self, l4: Mfn, gs_base: u64) -> u64;
    /// Loads the tables rooted at `l4` on this CPU before it returns; the caller drops its reference to the
    /// tables loaded before only then.
    fn load_root(&self, l4: Mfn);
    /// This CPU's GDT window shows `frames` (read-only), and nothing past them, when this returns.
    fn load_gdt(&self, frames: &[Mfn]);
    /// This CPU's LDT window is empty and `entries` long (0: no LDT) when this returns.
    fn load_ldt(&self, entries: u32);
    /// Shows `frame` (read-only) as page `index` (0..16) of this CPU's LDT window.
    fn map_ldt_page(&self, index: usize, frame: Mfn);
}

/// What to shoot down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// All non-global translations.
    Tlb,
    /// All translations, global ones included.
    TlbGlobal,
    /// One guest page address.
    Page(u64),
    /// Write back and invalidate caches.
    Cache,
    /// All translations, and a CPU that idles on a guest's tables leaves them.
    LeaveLazy,
}

/// CPUs, time and interrupts.
pub trait Cpus {
    /// The CPU this runs on.
    fn cpu(&self) -> CpuId;
    /// System time in ns since boot; monotonic across CPUs.
    fn now(&self) -> u64;
    /// Raw time-stamp counter of this CPU.
    fn tsc(&self) -> u64;
    /// [`Self::tsc`] and [`Self::now`] of the same moment: a guest computes the one from the other, so they
    /// should come from one reading.
    fn tsc_and_now(&self) -> (u64, u64) {
        (self.tsc(), self.now())
    }
    /// Programs this CPU's one-shot timer (absolute ns; `u64::MAX` stops it).
    fn set_timer(&self, deadline_ns: u64);
    /// RDTSC of the vCPU that runs on this CPU traps from now on: its domain's counter is emulated.
    fn trap_rdtsc(&self);
    /// Makes `cpu` pass through its guest-exit path (or leave idle) soon.
    fn kick(&self, cpu: CpuId);
    /// Shoots down translations on `cpus` and returns when done (the calling CPU included if in the set; CPUs
    /// that are not online are left out).
    fn flush(&self, cpus: &CpuMask, what: Flush);
    /// [`Self::flush`] on the calling CPU alone.
    fn flush_local(&self, what: Flush) {
        self.flush(&CpuMask::single(self.cpu()), what);
    }
    /// How many of the shortest steps (a count that goes up or down) make up one that is worth a
    /// [`Self::preempt_point`].
    const LOOK_EVERY: u32 = 32;
    /// Lets pending interrupts in for a moment; true if this CPU has work that should not wait.
    fn preempt_point(&self) -> bool;
    fn irq_mask(&self, irq: Irq);
    fn irq_unmask(&self, irq: Irq);
    /// Ends a level-triggered interrupt that was left in service.
    fn irq_eoi(&self, irq: Irq);
}

/// How a pin tells of an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    Edge,
    Level,
}

/// Which voltage means *active*.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polarity {
    High,
    Low,
}

/// Devices, which dom0 drives and the hypervisor guards. What may be touched is decided by [`crate::io`].
pub trait Devices {
    /// IN and OUT of 1, 2 or 4 bytes.
    fn port_read(&self, port: u16, bytes: u8) -> u32;
    fn port_write(&self, port: u16, bytes: u8, value: u32);
    /// CMOS register `index`; index and data are accessed under one lock.
    fn cmos_read(&self, index: u8) -> u8;
    fn cmos_write(&self, index: u8, value: u8);
    /// PCI configuration space: 1, 2 or 4 bytes at `reg` (ones where there is no device).
    fn pci_cfg_read(&self, bdf: Bdf, reg: u16, bytes: u8) -> u32;
    fn pci_cfg_write(&self, bdf: Bdf, reg: u16, bytes: u8, value: u32);
    /// Writes a device register; `None` if it cannot be mapped.
    fn mmio_write32(&self, phys: u64, value: u32) -> Option<()>;
    fn nr_gsis(&self) -> u32;
    fn gsi_exists(&self, gsi: u32) -> bool;
    /// How dom0 says a pin is wired; EBUSY once it is in use.
    fn gsi_setup(&self, irq: Irq, trigger: Trigger, polarity: Polarity) -> Result<(), Errno>;
    fn gsi_trigger(&self, irq: Irq) -> Trigger;
    /// Register `reg` of the IOAPIC at `base`.
    fn ioapic_read(&self, base: u64, reg: u32) -> Option<u32>;
    /// Number of pin `pin` of the IOAPIC at `base`.
    fn ioapic_gsi(&self, base: u64, pin: u32) -> Option<u32>;
    /// Routes an interrupt to `cpu`, masked.
    fn irq_start_gsi(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno>;
    fn irq_start_msi(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno>;
    fn irq_stop(&self, irq: Irq);
    /// Sends a started interrupt to `cpu`; a message's device must then be told its new [`Self::msi_message`].
    fn irq_set_affinity(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno>;
    /// A number for a message-signalled interrupt.
    fn msi_alloc(&self) -> Option<Irq>;
    fn msi_free(&self, irq: Irq);
    /// Address and data that raise a started one.
    fn msi_message(&self, irq: Irq) -> Option<(u64, u32)>;
}

/// Why the whole machine goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostShutdown {
    /// The first domain stopped without ACPI's help.
    Halt,
    Reboot,
    /// The first domain crashed: reboot, unless `noreboot`.
    Crash,
    /// Its watchdog fired: as for a crash.
    Watchdog,
}

/// The console, what tools ask of the machine, and its end.
pub trait Platform {
    /// Takes the machine down. Should it return, the first domain is stopped like any other.
    fn host_shutdown(&self, why: HostShutdown);
    /// Text of a domain (`CONSOLEIO_write`): the first one's verbatim, others' by whole lines with their
    /// number before it.
    fn console_write(&self, dom: DomId, text: &[u8]);
    /// Typed characters that wait for the first domain; how many were put into `out`.
    fn console_read(&self, out: &mut [u8]) -> usize;
    /// Loads a segment base or (`SEGBASE_GS_USER_SEL`) the user GS selector of the running vCPU, and saves it
    /// in its private state. The value is canonical.
    fn set_segment_base(&self, vp: &mut VcpuPrivate, which: u32, value: u64);
    /// The message ring: copies from position `index` where the reader continues (`incremental`) and that is still
    /// kept, else from its oldest byte; the position of the first byte copied and how many.
    fn messages_read(&self, _incremental: bool, index: u32, _out: &mut [u8]) -> (u32, usize) {
        (index, 0)
    }
    /// Forgets messages before position `upto`.
    fn messages_clear(&self, _upto: u32) {}
    /// Somebody asks for what a debug key does.
    fn debug_key(&self, _key: u8) {}
    /// ACPI's S5, with the values for the PM1a and PM1b control registers (`extended`: for the sleep control
    /// register). ENODEV: there is no such register. Should it return `Ok`, the machine is about to be off.
    fn power_off(&self, _pm1a: u16, _pm1b: u16, _extended: bool) -> Result<(), Errno> {
        Err(Errno::ENODEV)
    }
    /// System time, and what it would be by the platform timer since this was asked first, at one moment. `None`: it does
    /// not keep running. Called more often than it wraps.
    fn clocks(&self) -> Option<(u64, u64)> {
        None
    }
    /// ACPI's number of a CPU, where the firmware gives one.
    fn acpi_id(&self, _cpu: CpuId) -> Option<u32> {
        None
    }
    /// A machine-check register (IA32_MCG_* and IA32_MCi_*) of this CPU; 0 where there is none.
    fn mca_read(&self, _msr: u32) -> u64 {
        0
    }
    fn mca_write(&self, _msr: u32, _value: u64) {}
    /// First frame of the n-th 2 MiB of the machine-to-physical table, where there is one.
    fn m2p_piece(&self, _n: u64) -> Option<Mfn> {
        None
    }
    /// The hypervisor's n-th symbol; as much of its name as fits goes into `name`.
    fn symbol(&self, _n: u32, _name: &mut [u8]) -> Option<crate::platform_op::Symbol> {
        None
    }
    /// The running vCPU's debug registers, virtual CR0.TS and I/O permission are now as its private state
    /// says.
    fn reload(&self, vp: &VcpuPrivate, what: Reload);
}

/// What of a running vCPU's private state changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reload {
    /// `debugreg`.
    Debug,
    /// `cr0.TS`: the next FPU instruction faults, or not.
    TaskSwitched,
}

/// All of them, plus a place for text.
pub trait Machine: Frames + GuestVa + Cpus + Devices + Platform + Send + Sync + 'static {
    /// One line for the hypervisor's log; `level` as [`crate::log::Level`].
    fn log(&self, level: crate::log::Level, line: core::fmt::Arguments<'_>);
}
