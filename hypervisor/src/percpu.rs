//! What each CPU has for itself, reached by GS while in the hypervisor.
//!
//! [`this`] is the running CPU's own record; its `Cell`s are safe to change because nobody else sees them
//! (interrupts are off, NMI handlers keep away). Other CPUs see only [`Shared`], by [`shared`].
//! The offsets of the first fields are known to the entry code ([`offset`]).

use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use hypercore::watchdog::Watch;

use crate::cpu::gdt::{BSP_GDT, GdtPage, Tss, set_tss};
use crate::cpu::instr::wrmsr;
use crate::guest::CpuGuest;
use crate::layout::MAX_CPUS;

const MSR_GS_BASE: u32 = 0xc000_0101;

/// Offsets from GS that assembly uses.
pub mod offset {
    use super::PerCpu;
    /// The record's own address.
    pub const THIS: usize = core::mem::offset_of!(PerCpu, this);
    /// A place to put the guest's stack pointer at system call entry.
    pub const SCRATCH: usize = core::mem::offset_of!(PerCpu, scratch);
    /// A second such place.
    pub const SCRATCH2: usize = core::mem::offset_of!(PerCpu, scratch2);
    /// The stack for entries from guests: the same as the TSS's.
    pub const RSP0: usize = core::mem::offset_of!(PerCpu, rsp0);
    /// What the CPU has loaded for guests.
    pub const GUEST: usize = core::mem::offset_of!(PerCpu, guest);
}

/// One CPU's own record.
#[repr(C, align(64))]
pub struct PerCpu {
    this: *const PerCpu,
    pub scratch: Cell<u64>,
    pub scratch2: Cell<u64>,
    rsp0: Cell<u64>,
    guest: &'static CpuGuest,
    /// Index, dense from 0.
    pub id: u32,
    /// Local APIC identifier.
    pub apic_id: u32,
    /// The processor's UID in the firmware's tables.
    pub acpi_id: u32,
    tss: UnsafeCell<Tss>,
    gdt: Cell<*mut [u64; 512]>,
    /// When [`crate::hooks::timer`] is to be called; `u64::MAX`: not at all.
    pub timer_deadline_ns: Cell<u64>,
    /// When the console is to be polled by this CPU; `u64::MAX`: not at all.
    pub poll_at_ns: Cell<u64>,
    shared: Shared,
}

/// What other CPUs may see and change.
#[derive(Default)]
pub struct Shared {
    /// The CPU has finished its start.
    pub online: AtomicBool,
    /// Local APIC identifier, for sending it interrupts.
    pub apic_id: AtomicU32,
    /// It is halted in idle (or about to halt): work for it needs an interrupt.
    pub idle: AtomicBool,
    /// NMIs that came.
    pub nmis: AtomicU32,
    /// What the watchdog has seen of it.
    pub watch: Watch,
}

/// An early stack for the boot processor's NMI, #DF and #MC.
#[repr(C, align(4096))]
struct EarlyStack(UnsafeCell<[u64; 1024]>);

// SAFETY: used by the boot processor alone, until its real stacks are mapped.
unsafe impl Sync for EarlyStack {}

static EARLY_IST: EarlyStack = EarlyStack(UnsafeCell::new([0; 1024]));

struct Bsp(UnsafeCell<PerCpu>);

// SAFETY: only the boot processor reaches its `Cell`s; `Shared` is made of atomics.
unsafe impl Sync for Bsp {}

static BSP: Bsp = Bsp(UnsafeCell::new(PerCpu::new(0, 0, 0)));

static TABLE: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
static COUNT: AtomicU32 = AtomicU32::new(1);

impl PerCpu {
    /// A record that is not installed yet.
    pub const fn new(id: u32, apic_id: u32, acpi_id: u32) -> Self {
        PerCpu {
            this: core::ptr::null(),
            scratch: Cell::new(0),
            scratch2: Cell::new(0),
            rsp0: Cell::new(0),
            guest: crate::guest::slot(id),
            id,
            apic_id,
            acpi_id,
            tss: UnsafeCell::new(Tss::new()),
            gdt: Cell::new(core::ptr::null_mut()),
            timer_deadline_ns: Cell::new(u64::MAX),
            poll_at_ns: Cell::new(u64::MAX),
            shared: Shared {
                online: AtomicBool::new(false),
                apic_id: AtomicU32::new(apic_id),
                idle: AtomicBool::new(false),
                nmis: AtomicU32::new(0),
                watch: Watch::new(),
            },
        }
    }

    /// Where this CPU's stack for entries from guests ends.
    pub fn rsp0(&self) -> u64 {
        self.rsp0.get()
    }

    /// What other CPUs see of this one.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sets the stacks: for entries from guests, and for the vectors with a stack of their own (tops, 16-byte
    /// aligned; in order NMI, #DF, #MC, #DB).
    ///
    /// # Safety
    /// The stacks are this CPU's alone and mapped for ever.
    pub unsafe fn set_stacks(&self, rsp0: u64, ist: [u64; 4]) {
        self.rsp0.set(rsp0);
        // SAFETY: the TSS is this CPU's; the processor reads it only on entries, which find old or new stacks.
        let tss = unsafe { &mut *self.tss.get() };
        tss.rsp[0] = rsp0;
        for (slot, top) in ist.into_iter().enumerate() {
            // The entry code of these vectors finds this record above its frame: GS may still be a guest's.
            // SAFETY: by this function's contract the words below `top` are writable stack.
            unsafe { ((top - 16) as *mut u64).write(self.this as u64) };
            tss.ist[slot] = top - 16;
        }
    }
}

/// Installs `record` as CPU `id`'s, with `gdt` as its page of descriptors.
///
/// # Safety
/// Both live for ever, are used for nothing else, and no CPU `id` runs yet.
pub unsafe fn install(record: *mut PerCpu, gdt: *const GdtPage) {
    // SAFETY: by this function's contract.
    unsafe {
        (*record).this = record;
        (*record).gdt.set((*gdt).as_ptr());
        set_tss((*gdt).as_ptr(), (*record).tss.get());
        let id = (*record).id;
        TABLE[id as usize].store(record, Ordering::Release);
    }
}

/// Makes `id`'s record the running CPU's, and its descriptors the ones in use.
///
/// # Safety
/// The running CPU is `id`, and its record is installed.
pub unsafe fn enter(id: u32) {
    let record = TABLE[id as usize].load(Ordering::Acquire);
    // SAFETY: installed records live for ever; GS is the hypervisor's while it runs.
    unsafe {
        wrmsr(MSR_GS_BASE, record as u64);
        crate::cpu::gdt::load((*record).gdt.get() as u64);
    }
}

/// The boot processor's record, with a stack for exceptions that come early.
pub fn init_bsp() {
    let stack = EARLY_IST.0.get() as u64 + 8192;
    // SAFETY: first thing at boot, once: statics that nothing else uses.
    unsafe {
        install(BSP.0.get(), &BSP_GDT);
        enter(0);
        this().set_stacks(stack, [stack; 4]);
    }
}

/// The APIC and ACPI identifiers of the boot processor, once known.
pub fn identify_bsp(apic_id: u32, acpi_id: u32) {
    // SAFETY: the boot processor runs alone, and reads these fields through this record only.
    unsafe {
        let bsp = BSP.0.get();
        (&raw mut (*bsp).apic_id).write_volatile(apic_id);
        (&raw mut (*bsp).acpi_id).write_volatile(acpi_id);
        (*bsp).shared.apic_id.store(apic_id, Ordering::Relaxed);
    }
}

/// The running CPU's record. Valid while the caller stays on this CPU, which all hypervisor code does.
#[inline]
pub fn this() -> &'static PerCpu {
    let record: *const PerCpu;
    // SAFETY: GS is the hypervisor's whenever its Rust code runs, and its first word is the record's address.
    unsafe {
        asm!("mov {}, gs:[{off}]", out(reg) record, off = const offset::THIS,
            options(pure, readonly, nostack, preserves_flags));
        &*record
    }
}

/// What the running CPU has loaded for guests. As [`this`].
#[inline]
pub fn guest() -> &'static CpuGuest {
    let guest: *const CpuGuest;
    // SAFETY: as in `this`; the field is a reference.
    unsafe {
        asm!("mov {}, gs:[{off}]", out(reg) guest, off = const offset::GUEST,
            options(pure, readonly, nostack, preserves_flags));
        &*guest
    }
}

/// What may be seen of CPU `id`; `None` if there is no such CPU.
#[inline]
pub fn shared(id: u32) -> Option<&'static Shared> {
    let record = TABLE.get(id as usize)?.load(Ordering::Acquire);
    // SAFETY: installed records live for ever; `Shared` is made of atomics.
    (!record.is_null()).then(|| unsafe { &(*record).shared })
}

/// `id`, APIC and ACPI identifiers of CPU `id`.
pub fn identifiers(id: u32) -> Option<(u32, u32)> {
    let record = TABLE.get(id as usize)?.load(Ordering::Acquire);
    // SAFETY: installed records live for ever; these fields do not change after installation.
    (!record.is_null()).then(|| unsafe { ((*record).apic_id, (*record).acpi_id) })
}

/// Counts CPU `id` in, which runs: CPUs are counted in in the order of their numbers.
pub fn count_in(id: u32) {
    COUNT.store(id + 1, Ordering::Relaxed);
}

/// Number of CPUs that run; their numbers are those below it.
pub fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}
