//! What the other CPUs are doing, for debug keys: an NMI copies the registers of whatever it interrupts.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::layout::MAX_CPUS;
use crate::sync::Mutex;
use crate::trap::Frame;
use crate::{apic, percpu, time};

const NONE: u8 = 0;
const WANTED: u8 = 1;
const WRITING: u8 = 2;
const TAKEN: u8 = 3;

/// How long a CPU may take to answer.
const LIMIT_NS: u64 = 100_000_000;

struct Slot {
    state: AtomicU8,
    frame: UnsafeCell<Frame>,
}

// SAFETY: `frame` is the CPU's while `state` is WRITING, and the reader's while it is TAKEN; `state` goes from WANTED to
// WRITING by a compare-exchange of that CPU, to TAKEN by it, and away from there by the reader.
unsafe impl Sync for Slot {}

impl Slot {
    const fn new() -> Self {
        // SAFETY: registers are numbers; zeros are values of them.
        Slot { state: AtomicU8::new(NONE), frame: UnsafeCell::new(unsafe { core::mem::zeroed() }) }
    }
}

static SLOTS: [Slot; MAX_CPUS] = [const { Slot::new() }; MAX_CPUS];
/// One asks at a time.
static ASKING: Mutex<()> = Mutex::new(());

/// In the NMI's handler: whether it came for this. Takes no lock.
pub fn take(frame: &Frame) -> bool {
    let Some(slot) = SLOTS.get(percpu::this().id as usize) else { return false };
    let mine = slot.state.compare_exchange(WANTED, WRITING, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if mine {
        // SAFETY: WRITING: the place is this CPU's.
        unsafe { slot.frame.get().write(*frame) };
        slot.state.store(TAKEN, Ordering::Release);
    }
    mine
}

/// Calls `with` for each other CPU: its number and its registers, `None` if it does not answer an NMI.
pub fn others(mut with: impl FnMut(u32, Option<&Frame>)) {
    let _one = ASKING.lock();
    let own = percpu::this().id;
    let all = || (0..percpu::count()).filter(move |&cpu| cpu != own);
    all().for_each(|cpu| SLOTS[cpu as usize].state.store(WANTED, Ordering::Release));
    apic::send_nmi_to_others();
    let until = time::now_ns() + LIMIT_NS;
    for cpu in all() {
        let state = &SLOTS[cpu as usize].state;
        while state.load(Ordering::Acquire) != TAKEN && time::now_ns() < until {
            crate::cpu::relax();
        }
        let taken = state.load(Ordering::Acquire) == TAKEN;
        // SAFETY: TAKEN: it is ours until we say otherwise.
        with(cpu, taken.then(|| unsafe { &*SLOTS[cpu as usize].frame.get() }));
        let _ = state.compare_exchange(TAKEN, NONE, Ordering::AcqRel, Ordering::Relaxed);
        let _ = state.compare_exchange(WANTED, NONE, Ordering::AcqRel, Ordering::Relaxed);
    }
}
