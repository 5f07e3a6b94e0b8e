//! `hypercore`'s view of the machine: zero-sized, all state lives elsewhere.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};

use hypercore::cpumask::CpuMask;
use hypercore::frame::{CanRead, CanWrite};
use hypercore::ids::{CpuId, Irq, Mfn};
use hypercore::log::Level;
use hypercore::machine::{Cpus, Flush, Frames, GuestFault, GuestVa, Machine};

use super::{segments, switch};
use crate::layout::{DIRECT_MAP, PAGE};
use crate::mm::tables;

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

/// Address of byte `offset` of frame `mfn` in the direct map.
#[inline]
fn at(mfn: Mfn, offset: usize) -> u64 {
    debug_assert!(offset < PAGE as usize);
    DIRECT_MAP + (mfn.0 << 12) + (offset as u64 & (PAGE - 1))
}

#[inline]
fn word(mfn: Mfn, offset: usize) -> &'static AtomicU64 {
    // SAFETY: proofs exist only for frames of RAM, all of which the direct map maps for ever; the address is
    // aligned, within the frame, and accessed only by atomics and raw copies, never as `&T`.
    unsafe { &*((at(mfn, offset) & !7) as *const AtomicU64) }
}

impl Frames for Bare {
    #[inline]
    fn load(&self, f: &impl CanRead, offset: usize) -> u64 {
        word(f.mfn(), offset).load(SeqCst)
    }
    #[inline(always)]
    fn load_line(&self, f: &impl CanRead, first: usize) -> u64 {
        let line = at(f.mfn(), first * 8) & !63;
        let or: u64;
        // SAFETY: as for `word`; an aligned line does not cross the frame's end. The compiler would load each word of an
        // atomic line by an instruction of its own.
        unsafe {
            core::arch::asm!(
                "mov {or}, [{line}]",
                "or {or}, [{line} + 8]",
                "or {or}, [{line} + 16]",
                "or {or}, [{line} + 24]",
                "or {or}, [{line} + 32]",
                "or {or}, [{line} + 40]",
                "or {or}, [{line} + 48]",
                "or {or}, [{line} + 56]",
                line = in(reg) line,
                or = out(reg) or,
                options(readonly, nostack),
            );
        }
        or
    }
    #[inline]
    fn store(&self, f: &impl CanWrite, offset: usize, value: u64) {
        // Release is what x86 stores are; nothing here needs a full barrier after a plain store.
        word(f.mfn(), offset).store(value, core::sync::atomic::Ordering::Release);
    }
    #[inline]
    fn store_byte(&self, f: &impl CanWrite, offset: usize, value: u8) {
        // SAFETY: as for `word`; a byte needs no alignment.
        let byte = unsafe { &*(at(f.mfn(), offset) as *const AtomicU8) };
        byte.store(value, core::sync::atomic::Ordering::Release);
    }
    #[inline]
    fn compare_exchange(&self, f: &impl CanWrite, offset: usize, old: u64, new: u64) -> Result<u64, u64> {
        word(f.mfn(), offset).compare_exchange(old, new, SeqCst, SeqCst)
    }
    fn read(&self, f: &impl CanRead, offset: usize, dst: &mut [u8]) {
        assert!(offset + dst.len() <= PAGE as usize);
        // SAFETY: the range lies in one frame of RAM (proof); guest writes at the same time may tear, which
        // callers allow for.
        unsafe {
            core::ptr::copy_nonoverlapping(at(f.mfn(), offset) as *const u8, dst.as_mut_ptr(), dst.len())
        }
    }
    fn write(&self, f: &impl CanWrite, offset: usize, src: &[u8]) {
        assert!(offset + src.len() <= PAGE as usize);
        // SAFETY: as in `read`; the proof says that no table is overwritten.
        unsafe { core::ptr::copy_nonoverlapping(src.as_ptr(), at(f.mfn(), offset) as *mut u8, src.len()) }
    }
    fn zero(&self, f: &impl CanWrite) {
        // SAFETY: as in `write`.
        unsafe { core::ptr::write_bytes(at(f.mfn(), 0) as *mut u8, 0, PAGE as usize) }
    }
    #[inline]
    fn set_m2p(&self, mfn: Mfn, pfn: u64) {
        tables::set_m2p(mfn.0, pfn);
    }
    #[inline]
    fn get_m2p(&self, mfn: Mfn) -> u64 {
        tables::m2p(mfn.0)
    }
}

impl GuestVa for Bare {
    #[inline]
    fn copy_from_guest(&self, dst: &mut [u8], va: u64) -> Result<(), GuestFault> {
        super::va::copy_from(dst, va)
    }
    #[inline]
    fn copy_to_guest(&self, va: u64, src: &[u8]) -> Result<(), GuestFault> {
        super::va::copy_to(va, src)
    }
    #[inline]
    fn load_words<const N: usize>(&self, va: u64) -> Result<[u64; N], GuestFault> {
        super::va::load_words(va)
    }
    #[inline]
    fn store_words<const N: usize>(&self, va: u64, words: [u64; N]) -> Result<(), GuestFault> {
        super::va::store_words(va, words)
    }
    #[inline(always)]
    fn switch_mode(&self, l4: Mfn, gs_base: u64) -> u64 {
        super::flush::load_root(l4);
        segments::exchange_gs_base(gs_base)
    }
    fn load_root(&self, l4: Mfn) {
        super::flush::load_root(l4);
    }
    fn load_gdt(&self, frames: &[Mfn]) {
        switch::show_gdt(frames);
    }
    fn load_ldt(&self, entries: u32) {
        switch::clear_ldt(entries);
    }
    fn map_ldt_page(&self, index: usize, frame: Mfn) {
        switch::fill_ldt(index, frame);
    }
}

impl Cpus for Bare {
    #[inline]
    fn cpu(&self) -> CpuId {
        CpuId(crate::percpu::this().id)
    }
    #[inline]
    fn now(&self) -> u64 {
        crate::time::now_ns()
    }
    #[inline]
    fn tsc(&self) -> u64 {
        crate::cpu::instr::rdtsc()
    }
    fn tsc_and_now(&self) -> (u64, u64) {
        let tsc = crate::cpu::instr::rdtsc();
        (tsc, crate::time::tsc_to_ns(tsc))
    }
    fn set_timer(&self, deadline_ns: u64) {
        crate::time::set_timer((deadline_ns != u64::MAX).then_some(deadline_ns));
    }
    fn trap_rdtsc(&self) {
        super::privops::trap_rdtsc();
    }
    fn kick(&self, cpu: CpuId) {
        if cpu.0 != crate::percpu::this().id {
            crate::apic::send_ipi(cpu.0, crate::trap::vector::WAKE);
        }
    }
    fn flush(&self, cpus: &CpuMask, what: Flush) {
        super::flush::shoot_down(cpus, what);
    }
    #[inline]
    fn flush_local(&self, what: Flush) {
        super::flush::here(what);
    }
    fn preempt_point(&self) -> bool {
        // What takes long gets on, even if nobody else wants the CPU.
        crate::percpu::this().shared().watch.pass();
        super::idle::breathe();
        super::exit::has_work()
    }
    fn irq_mask(&self, irq: Irq) {
        crate::irq::mask(irq.0);
    }
    fn irq_unmask(&self, irq: Irq) {
        crate::irq::unmask(irq.0);
    }
    fn irq_eoi(&self, irq: Irq) {
        crate::irq::eoi(irq.0);
    }
}

impl Machine for Bare {
    fn log(&self, level: Level, line: core::fmt::Arguments<'_>) {
        use hypercore::console::level::Level as Own;
        match level {
            Level::Error => crate::console::log(Own::Error, line),
            Level::Warning => crate::console::log(Own::Warning, line),
            Level::Info => crate::console::log(Own::Info, line),
            Level::Debug => crate::console::log(Own::Debug, line),
            Level::GuestError => crate::console::log_guest(Own::Error, line),
            Level::GuestWarning => crate::console::log_guest(Own::Warning, line),
            Level::GuestInfo => crate::console::log_guest(Own::Info, line),
            Level::GuestDebug => crate::console::log_guest(Own::Debug, line),
        }
    }
}

const MSR_TSC_AUX: u32 = 0xc000_0103;

/// Whether the processor has RDTSCP or RDPID.
pub fn has_tsc_aux() -> bool {
    core::arch::x86_64::__cpuid(0x8000_0001).edx & 1 << 27 != 0
}

/// Gives the running guest its TSC_AUX.
pub fn set_tsc_aux(value: u64) {
    if has_tsc_aux_cached() {
        // SAFETY: the register exists; the hypervisor does not use it.
        unsafe { crate::cpu::instr::wrmsr(MSR_TSC_AUX, value) };
    }
}

fn has_tsc_aux_cached() -> bool {
    static HAS: spin::Once<bool> = spin::Once::new();
    *HAS.call_once(has_tsc_aux)
}
