//! Running guests on this CPU: the way in, the way out, and the switch between vCPUs.
//!
//! - [`entry`]: SYSCALL entry, the return to guests, the first entry of a CPU.
//! - [`exit`]: what is done before each return: timers, scheduling, events.
//! - [`switch`]: context switch.
//! - [`traps`]: exceptions of guests.
//! - [`va`]: copies to and from guest addresses.
//! - [`flush`]: translation shoot-down between CPUs.
//! - [`nmi`]: NMIs that are dom0's.
//! - [`machine`]: `hypercore`'s traits on this machine.

pub mod debugreg;
pub mod devices;
pub mod entry;
pub mod exit;
pub mod flush;
pub mod fpu;
pub mod idle;
pub mod keys;
pub mod machine;
pub mod nmi;
pub mod platform;
pub mod privops;
pub mod report;
pub mod segments;
pub mod switch;
pub mod traps;
pub mod va;

use alloc::sync::Arc;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::AtomicU32;

use hypercore::domain::Domain;
use hypercore::fallible::One;
use hypercore::ids::Mfn;
use hypercore::sched::CpuSched;
use hypercore::vcpu::{Vcpu, VcpuPrivate};
use hypercore::xen::{Cx, Xen};
use x86::regs::GuestRegs;

use crate::layout::MAX_CPUS;
use machine::Bare;

/// The hypervisor's global state, once boot has made it.
pub static XEN: spin::Once<Xen<Bare>> = spin::Once::new();

/// The global state. Only after boot has made it.
#[inline]
pub fn xen() -> &'static Xen<Bare> {
    XEN.get().expect("guest code runs only after boot has made the global state")
}

/// The vCPU this CPU runs, with its private state checked out.
pub struct Current {
    pub vcpu: Arc<Vcpu>,
    pub dom: Arc<Domain>,
    pub vp: One<VcpuPrivate>,
}

/// What this CPU has loaded for guests.
pub struct CpuGuest {
    current: UnsafeCell<Option<Current>>,
    /// Whether `current` holds a vCPU: for a flush served while somebody works on it.
    pub occupied: Cell<bool>,
    /// Domain whose `dirty_cpus` holds this CPU because its tables are (or were, lazily) loaded.
    pub lazy: UnsafeCell<Option<Arc<Domain>>>,
    /// Frames the GDT window shows now (0: none).
    pub gdt: Cell<[Mfn; 14]>,
    /// LDT window pages that are filled, as bits.
    pub ldt_filled: Cell<u32>,
    /// The guest switched to had selectors that its tables no longer have.
    pub bad_selectors: Cell<bool>,
    /// CR0.TS as loaded.
    pub ts: Cell<bool>,
    /// What is to be done before the return to a guest: bits of [`exit`].
    pub due: AtomicU32,
    /// What other CPUs ask the scheduler of this one; none before it runs guests.
    pub sched: Cell<Option<&'static CpuSched>>,
}

struct Slots([CpuGuest; MAX_CPUS]);

// SAFETY: element n is touched by CPU n alone, with interrupts off; NMI handlers touch nothing but `due`.
unsafe impl Sync for Slots {}

// SAFETY: as for `Slots`.
unsafe impl Sync for CpuGuest {}

static SLOTS: Slots = Slots(
    [const {
        CpuGuest {
            current: UnsafeCell::new(None),
            occupied: Cell::new(false),
            lazy: UnsafeCell::new(None),
            gdt: Cell::new([Mfn(0); 14]),
            ldt_filled: Cell::new(0),
            bad_selectors: Cell::new(false),
            ts: Cell::new(false),
            due: AtomicU32::new(0),
            sched: Cell::new(None),
        }
    }; MAX_CPUS],
);

/// This CPU's guest state.
#[inline]
pub fn this() -> &'static CpuGuest {
    crate::percpu::guest()
}

/// CPU `id`'s guest state, for its record.
pub const fn slot(id: u32) -> &'static CpuGuest {
    &SLOTS.0[id as usize]
}

impl CpuGuest {
    /// The current vCPU's slot.
    ///
    /// # Safety
    /// No other reference from this function is alive on this CPU (the entry code calls down one path only,
    /// and handlers of nested interrupts do not touch it).
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the slot is a cell that only this CPU touches")]
    pub unsafe fn current(&self) -> &mut Option<Current> {
        // SAFETY: by this function's contract and `Slots`' one-CPU rule.
        unsafe { &mut *self.current.get() }
    }
}

/// Runs `f` in the context of the current vCPU; `None` when this CPU idles.
#[inline(always)]
pub fn with_cx<R>(regs: &mut GuestRegs, f: impl FnOnce(&mut Cx<'_, Bare>) -> R) -> Option<R> {
    // SAFETY: `f` gets the only reference; nothing under it calls `current` again on this CPU.
    let cur = unsafe { this().current() }.as_mut()?;
    // SAFETY: vCPUs run only after boot has made the global state.
    let xen = unsafe { XEN.get_unchecked() };
    let mut cx = Cx { xen, vcpu: &cur.vcpu, dom: &cur.dom, vp: &mut cur.vp, regs, restart: None };
    Some(f(&mut cx))
}

/// Numbers of the running domain and vCPU, for a CPU that dies.
pub fn name_current() -> Option<(u16, u32)> {
    // SAFETY: only this CPU writes the slot, and it is busy dying.
    let cur = unsafe { (*this().current.get()).as_ref() }?;
    Some((cur.dom.id.0, cur.vcpu.id.0))
}
