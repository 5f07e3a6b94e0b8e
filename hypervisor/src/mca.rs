//! Machine checks on this CPU: its registers, and the exception.
//!
//! The handler takes no lock: what it read out waits in a slot of the CPU's until the way to a guest, where dom0 is told.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::xen_mca::MC_FLAG_MCE;
use hypercore::ids::CpuId;
use hypercore::mca::bank::{self, Bank, Logout, MAX_BANKS, MSR_MCG_CAP, MSR_MCG_STATUS, Verdict, Wanted};

use crate::cpu::instr::{rdmsr_checked, rdtsc, wrmsr_checked};
use crate::guest::exit;
use crate::layout::MAX_CPUS;
use crate::trap::Frame;
use crate::{apic, panic, percpu};

const MSR_MCG_CTL: u32 = 0x17b;
/// MCG_CAP: there is an MCG_CTL.
const CTL_P: u64 = 1 << 8;
/// CPUID leaf 1, edx: the exception, and its banks.
const CPUID_MCE_MCA: u32 = 1 << 7 | 1 << 14;

/// MCG_CAP of this CPU; 0 without machine-check banks.
pub fn capabilities() -> u64 {
    let has = core::arch::x86_64::__cpuid(1).edx & CPUID_MCE_MCA == CPUID_MCE_MCA;
    if has { rdmsr_checked(MSR_MCG_CAP).unwrap_or(0) } else { 0 }
}

/// Switches reporting on, on this CPU, and has its banks looked at from now on.
pub fn start() {
    if capabilities() & CTL_P != 0 {
        write(MSR_MCG_CTL, u64::MAX);
    }
    hypercore::mca::start(crate::guest::xen(), CpuId(percpu::this().id));
}

/// A register of this CPU's banks; 0 where there is none.
pub fn read(msr: u32) -> u64 {
    rdmsr_checked(msr).unwrap_or(0)
}

/// Writes a register of this CPU's banks, where there is one.
pub fn write(msr: u32, value: u64) {
    // SAFETY: the registers of machine checks say what is reported; they change nothing that the hypervisor uses.
    unsafe { wrmsr_checked(msr, value) };
}

/// What a handler read out, until [`report`].
struct Slot {
    /// [`EMPTY`], or bits of the others.
    state: AtomicU32,
    gstatus: AtomicU64,
    tsc: AtomicU64,
    /// Number, status, address and miscellany; a status of 0 ends them.
    banks: [[AtomicU64; 4]; MAX_BANKS],
}

const EMPTY: u32 = 0;
const FULL: u32 = 1;
/// A guest ran.
const IN_GUEST: u32 = 2;
/// It cannot go on.
const CRASH: u32 = 4;

static SLOTS: [Slot; MAX_CPUS] = [const {
    Slot {
        state: AtomicU32::new(EMPTY),
        gstatus: AtomicU64::new(0),
        tsc: AtomicU64::new(0),
        banks: [const { [const { AtomicU64::new(0) }; 4] }; MAX_BANKS],
    }
}; MAX_CPUS];

impl Slot {
    fn put(&self, l: &Logout, state: u32) {
        self.gstatus.store(l.gstatus, Ordering::Relaxed);
        self.tsc.store(l.tsc, Ordering::Relaxed);
        for (i, words) in self.banks.iter().enumerate() {
            let b = l.banks.get(i).copied().unwrap_or_default();
            for (to, value) in words.iter().zip([b.number.into(), b.status, b.addr, b.misc]) {
                to.store(value, Ordering::Relaxed);
            }
        }
        self.state.store(state, Ordering::Release);
    }

    fn take(&self) -> Option<(Logout, u32)> {
        let state = self.state.load(Ordering::Acquire);
        if state == EMPTY {
            return None;
        }
        let bank = |words: &[AtomicU64; 4]| {
            let [number, status, addr, misc] = words.each_ref().map(|w| w.load(Ordering::Relaxed));
            Bank { number: number as u16, status, addr, misc }
        };
        let banks = self.banks.iter().map(bank).take_while(|b| b.status != 0).collect();
        let (gstatus, tsc) = (self.gstatus.load(Ordering::Relaxed), self.tsc.load(Ordering::Relaxed));
        self.state.store(EMPTY, Ordering::Release);
        Some((Logout { gstatus, tsc, banks }, state))
    }
}

fn slot() -> &'static Slot {
    &SLOTS[percpu::this().id as usize]
}

/// The exception. Returns when whoever was interrupted may go on for now.
pub fn arrived(frame: &Frame) {
    let (cap, gstatus) = (capabilities(), read(MSR_MCG_STATUS));
    let banks = bank::read_out(cap, Wanted::of_exception(cap, gstatus), read, write);
    let l = Logout { gstatus, tsc: rdtsc(), banks };
    let in_guest = frame.cs & 3 == 3;
    let crash = match bank::judge(&l, cap, in_guest) {
        Verdict::Continue => 0,
        Verdict::CrashGuest => CRASH,
        Verdict::Fatal(why) => panic::on_machine_check(frame, &l, why),
    };
    let state = FULL | crash | if in_guest { IN_GUEST } else { 0 };
    let slot = slot();
    // One that nobody has told of yet is kept; this one's consequence is not lost.
    if slot.state.load(Ordering::Relaxed) == EMPTY {
        slot.put(&l, state);
    } else {
        slot.state.fetch_or(state, Ordering::Relaxed);
    }
    write(MSR_MCG_STATUS, 0);
    exit::later(exit::MACHINE_CHECK);
    apic::interrupt_self(crate::trap::vector::WAKE);
}

/// Tells dom0 what [`arrived`] kept, and crashes the domain that cannot go on.
pub fn report() {
    let Some((l, state)) = slot().take() else { return };
    let xen = crate::guest::xen();
    // SAFETY: only looked at.
    let current = unsafe { crate::guest::this().current() }.as_ref().filter(|_| state & IN_GUEST != 0);
    let running = current.map(|c| (c.dom.id, c.vcpu.id));
    hypercore::mca::report(xen, CpuId(percpu::this().id), &l, MC_FLAG_MCE, running);
    if let Some(c) = current.filter(|_| state & CRASH != 0) {
        hypercore::sched::domain_crash(
            xen,
            &c.dom,
            format_args!("an uncorrected machine check while it ran"),
        );
    }
}
