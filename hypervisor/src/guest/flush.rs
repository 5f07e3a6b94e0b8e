//! Translation shoot-down between CPUs.
//!
//! A requester sets bits and takes a ticket per target, interrupts the targets, and waits until each has
//! acknowledged its ticket. While it waits it serves requests to itself, as does every CPU that waits for a
//! lock: interrupts are off in the hypervisor.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use hypercore::cpumask::CpuMask;
use hypercore::ids::{CpuId, Mfn};
use hypercore::machine::Flush;

use crate::cpu::instr::{invlpg, read_cr3, read_cr4, write_cr3, write_cr4};
use crate::layout::MAX_CPUS;

const TLB: u32 = 1;
const GLOBAL: u32 = 2;
const CACHE: u32 = 4;
const LEAVE: u32 = 8;
const PAGE: u32 = 16;
const CR4_PGE: u64 = 1 << 7;

/// No address of a page.
const NO_PAGE: u64 = 1;

struct Request {
    bits: AtomicU32,
    /// The address that [`PAGE`] is about. There is room for one: who finds it taken asks for everything.
    page: AtomicU64,
    tickets: AtomicU64,
    served: AtomicU64,
}

static REQUESTS: [Request; MAX_CPUS] = [const {
    Request {
        bits: AtomicU32::new(0),
        page: AtomicU64::new(NO_PAGE),
        tickets: AtomicU64::new(0),
        served: AtomicU64::new(0),
    }
}; MAX_CPUS];

impl Request {
    /// Asks for `what`; the ticket that will then be served.
    fn post(&self, what: Flush) -> u64 {
        let bits = match what {
            Flush::Page(va) => match self.page.compare_exchange(NO_PAGE, va & !0xfff, AcqRel, Relaxed) {
                Ok(_) => PAGE,
                Err(_) => TLB,
            },
            other => bits_of(other),
        };
        self.bits.fetch_or(bits, AcqRel);
        self.tickets.fetch_add(1, AcqRel) + 1
    }

    /// Takes what was asked for: bits, and the page if it is only one.
    fn take(&self) -> (u32, Option<u64>) {
        let bits = self.bits.swap(0, AcqRel);
        if bits & PAGE == 0 {
            return (bits, None);
        }
        // Whoever set the bit had stored the address before.
        let page = self.page.swap(NO_PAGE, AcqRel);
        if bits & (TLB | GLOBAL) != 0 { (bits, None) } else { (bits, Some(page)) }
    }
}

fn bits_of(what: Flush) -> u32 {
    match what {
        Flush::Tlb | Flush::Page(_) => TLB,
        Flush::TlbGlobal => TLB | GLOBAL,
        Flush::Cache => CACHE,
        Flush::LeaveLazy => TLB | LEAVE,
    }
}

fn act(bits: u32) {
    if bits & LEAVE != 0 {
        super::switch::leave_lazy();
    }
    if bits & GLOBAL != 0 {
        let cr4 = read_cr4();
        // SAFETY: PGE off and on again drops all translations and changes nothing else.
        unsafe {
            write_cr4(cr4 & !CR4_PGE);
            write_cr4(cr4);
        }
    } else if bits & TLB != 0 {
        // SAFETY: reloading the same root only drops translations.
        unsafe { write_cr3(read_cr3()) };
    }
    if bits & CACHE != 0 {
        // SAFETY: WBINVD loses nothing; it is only slow.
        unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
    }
}

/// Does what others ask of this CPU. Called by the flush interrupt and by every spin.
pub fn serve() {
    let me = &REQUESTS[crate::percpu::this().id as usize];
    let ticket = me.tickets.load(Acquire);
    if me.served.load(Relaxed) == ticket {
        return;
    }
    let (bits, page) = me.take();
    if let Some(va) = page {
        invlpg(va);
    }
    act(bits);
    me.served.store(ticket, Release);
}

/// Flushes this CPU.
#[inline]
pub fn here(what: Flush) {
    match what {
        Flush::Page(va) => invlpg(va),
        other => act(bits_of(other)),
    }
}

/// Shoots down on `cpus` and returns when all have done so.
pub fn shoot_down(cpus: &CpuMask, what: Flush) {
    let me = CpuId(crate::percpu::this().id);
    // By far the most are about this CPU alone, and the list of tickets is long.
    if *cpus == CpuMask::single(me) {
        return here(what);
    }
    let mut waiting: [u64; MAX_CPUS] = [0; MAX_CPUS];
    let count = crate::percpu::count();
    for cpu in cpus.iter().filter(|c| *c != me && c.0 < count) {
        let r = &REQUESTS[cpu.0 as usize];
        waiting[cpu.0 as usize] = r.post(what);
        crate::apic::send_ipi(cpu.0, crate::trap::vector::FLUSH);
    }
    if cpus.contains(me) {
        here(what);
    }
    for cpu in cpus.iter().filter(|c| *c != me && c.0 < count) {
        while REQUESTS[cpu.0 as usize].served.load(Acquire) < waiting[cpu.0 as usize] {
            crate::cpu::relax();
        }
    }
}

/// Loads the tables rooted at `l4` on this CPU, and remembers what that flushed.
#[inline(always)]
pub fn load_root(l4: Mfn) {
    let me = CpuId(crate::percpu::this().id);
    // SAFETY: who has guests' tables to load runs after boot has made the global state.
    let tlb = &unsafe { super::XEN.get_unchecked() }.frames.tlb;
    let tick = tlb.natural();
    tlb.runs_on(me, l4);
    // SAFETY: callers hold `l4` as a validated L4 (or it is the hypervisor's own), whose hypervisor slots map
    // what runs now.
    unsafe { write_cr3(l4.0 << 12) };
    tlb.flushed(me, tick);
}

/// Loads the hypervisor's own tables: from here on nobody need interrupt this CPU to flush what guests change.
pub fn leave_guests() {
    let me = CpuId(crate::percpu::this().id);
    let tlb = &super::xen().frames.tlb;
    let tick = tlb.natural();
    // SAFETY: the template maps all of the hypervisor, and no guest runs here.
    unsafe { write_cr3(crate::mm::paging::template()) };
    tlb.flushed(me, tick);
    tlb.runs_nowhere(me);
}
