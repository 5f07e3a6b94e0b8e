//! [`HostMachine`].

use crate::cpumask::CpuMask;
use crate::frame::{CanRead, CanWrite, FrameTable};
use crate::ids::{CpuId, DomId, Irq, Mfn};
use crate::log::Level;
use crate::machine::{Cpus, Flush, Frames, GuestFault, GuestVa, Machine};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::vec::Vec;
use x86::pte::{Pte, index};

std::thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
}

/// This thread is CPU `n` from now on.
pub fn set_cpu(n: u32) {
    CPU.with(|c| c.set(n));
}

type FrameWords = Box<[AtomicU64; 512]>;

/// A translation a CPU has cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached {
    pub mfn: Mfn,
    pub writable: bool,
    /// Whose frame it was when it was cached.
    pub owner: Option<DomId>,
}

/// What one simulated CPU has loaded.
#[derive(Default)]
pub struct HostCpu {
    pub root: Option<Mfn>,
    /// No vCPU runs here: `root` is left from the last one.
    pub idle: bool,
    /// Translation cache: page address -> leaf.
    pub tlb: HashMap<u64, Cached>,
    pub gs_base: u64,
    pub timer: u64,
    pub gdt: Vec<Mfn>,
    pub ldt_entries: u32,
    pub ldt: HashMap<usize, Mfn>,
}

/// The machine on the host.
pub struct HostMachine {
    frames: Vec<OnceLock<FrameWords>>,
    m2p: Vec<AtomicU64>,
    table: &'static FrameTable,
    pub cpus: Vec<Mutex<HostCpu>>,
    /// Nanoseconds; tests move it.
    pub clock_ns: AtomicU64,
    /// RDTSC was made to trap so often.
    pub rdtsc_traps: AtomicU32,
    /// What the platform timer shows; `u64::MAX`: there is none.
    pub platform_ns: AtomicU64,
    pub kicks: Mutex<Vec<CpuId>>,
    pub flushes: Mutex<Vec<(CpuMask, Flush)>>,
    pub masked: Mutex<Vec<(Irq, bool)>>,
    pub eois: Mutex<Vec<Irq>>,
    pub log: Mutex<Vec<std::string::String>>,
    /// Every n-th `preempt_point` says yes; 0: none.
    pub preempt_every: AtomicU32,
    preempt_count: AtomicU32,
    pub devices: super::devices::HostDevices,
    /// Shoot-downs do nothing while this is set: for tests that must see a stale translation.
    pub lose_flushes: core::sync::atomic::AtomicBool,
}

impl HostMachine {
    pub fn new(table: &'static FrameTable, nr_cpus: u32) -> Self {
        let n = table.max_mfn().0 as usize;
        Self {
            frames: (0..n).map(|_| OnceLock::new()).collect(),
            m2p: (0..n).map(|_| AtomicU64::new(u64::MAX)).collect(),
            table,
            cpus: (0..nr_cpus).map(|_| Mutex::default()).collect(),
            clock_ns: AtomicU64::new(1_000_000_000),
            rdtsc_traps: AtomicU32::new(0),
            platform_ns: AtomicU64::new(0),
            kicks: Mutex::default(),
            flushes: Mutex::default(),
            masked: Mutex::default(),
            eois: Mutex::default(),
            log: Mutex::default(),
            preempt_every: AtomicU32::new(0),
            preempt_count: AtomicU32::new(0),
            devices: Default::default(),
            lose_flushes: core::sync::atomic::AtomicBool::new(false),
        }
    }

    fn words(&self, mfn: Mfn) -> &[AtomicU64; 512] {
        self.frames[mfn.0 as usize].get_or_init(|| Box::new([const { AtomicU64::new(0) }; 512]))
    }

    /// Any word of memory, as a debugger sees it.
    pub fn debug_load(&self, mfn: Mfn, word: usize) -> u64 {
        self.words(mfn)[word].load(SeqCst)
    }

    /// State of the CPU this thread is.
    pub fn this_cpu(&self) -> std::sync::MutexGuard<'_, HostCpu> {
        self.cpus[self.cpu().0 as usize].lock().unwrap()
    }

    /// What hardware does for one access of user mode: cached translation, else a walk that sets accessed and
    /// dirty bits.
    fn translate(&self, cpu: &mut HostCpu, va: u64, write: bool) -> Option<Mfn> {
        let page = va & !0xfff;
        if let Some(c) = cpu.tlb.get(&page)
            && (c.writable || !write)
        {
            return Some(c.mfn);
        }
        let mut table = cpu.root?;
        let mut writable = true;
        for level in (1..=4u8).rev() {
            if table.0 as usize >= self.frames.len() {
                return None;
            }
            let word = &self.words(table)[index(va, level)];
            let pte = Pte(word.load(SeqCst));
            if !pte.has(Pte::PRESENT | Pte::USER) {
                return None;
            }
            writable &= pte.has(Pte::RW);
            if write && !writable {
                return None;
            }
            let dirty = if level == 1 && write { Pte::DIRTY } else { 0 };
            word.fetch_or(Pte::ACCESSED | dirty, SeqCst);
            table = Mfn(pte.mfn());
        }
        if table.0 as usize >= self.frames.len() {
            return None;
        }
        let owner = self.table.peek(table).map(|(a, _)| a.owner());
        cpu.tlb.insert(page, Cached { mfn: table, writable: writable && write, owner });
        Some(table)
    }

    /// Copies `len` bytes page by page.
    fn pages(
        &self,
        va: u64,
        len: usize,
        write: bool,
        mut f: impl FnMut(Mfn, usize, usize, usize),
    ) -> Result<(), GuestFault> {
        let mut done = 0;
        while done < len {
            let at = va.wrapping_add(done as u64);
            let offset = (at & 0xfff) as usize;
            let n = (4096 - offset).min(len - done);
            // A flush waits until the access is over, as it does for an instruction.
            let mut cpu = self.this_cpu();
            let mfn = self.translate(&mut cpu, at, write).ok_or(GuestFault { va: at })?;
            f(mfn, offset, done, n);
            drop(cpu);
            done += n;
        }
        Ok(())
    }

    fn read_raw(&self, mfn: Mfn, offset: usize, dst: &mut [u8]) {
        let w = self.words(mfn);
        for (i, b) in dst.iter_mut().enumerate() {
            let at = offset + i;
            *b = (w[at / 8].load(SeqCst) >> (at % 8 * 8)) as u8;
        }
    }

    fn write_raw(&self, mfn: Mfn, offset: usize, src: &[u8]) {
        let w = self.words(mfn);
        let mut i = 0;
        while i < src.len() {
            let at = offset + i;
            if at.is_multiple_of(8) && src.len() - i >= 8 {
                let mut word = [0; 8];
                word.copy_from_slice(&src[i..i + 8]);
                w[at / 8].store(u64::from_le_bytes(word), SeqCst);
                i += 8;
            } else {
                let shift = at % 8 * 8;
                w[at / 8]
                    .fetch_update(SeqCst, SeqCst, |v| Some(v & !(0xff << shift) | u64::from(src[i]) << shift))
                    .ok();
                i += 1;
            }
        }
    }

    /// Every cached translation of every CPU.
    pub fn cached(&self) -> Vec<(CpuId, u64, Cached)> {
        let mut all = Vec::new();
        for (n, c) in self.cpus.iter().enumerate() {
            let c = c.lock().unwrap();
            all.extend(c.tlb.iter().map(|(va, e)| (CpuId(n as u32), *va, *e)));
        }
        all
    }
}

impl Frames for HostMachine {
    fn load(&self, f: &impl CanRead, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8));
        self.words(f.mfn())[offset / 8].load(SeqCst)
    }
    fn store(&self, f: &impl CanWrite, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8));
        self.words(f.mfn())[offset / 8].store(value, SeqCst);
    }
    fn store_byte(&self, f: &impl CanWrite, offset: usize, value: u8) {
        let shift = offset % 8 * 8;
        let put = |w: u64| Some(w & !(0xff << shift) | u64::from(value) << shift);
        let _ = self.words(f.mfn())[offset / 8].fetch_update(SeqCst, SeqCst, put);
    }
    fn compare_exchange(&self, f: &impl CanWrite, offset: usize, old: u64, new: u64) -> Result<u64, u64> {
        assert!(offset.is_multiple_of(8));
        self.words(f.mfn())[offset / 8].compare_exchange(old, new, SeqCst, SeqCst)
    }
    fn read(&self, f: &impl CanRead, offset: usize, dst: &mut [u8]) {
        self.read_raw(f.mfn(), offset, dst);
    }
    fn write(&self, f: &impl CanWrite, offset: usize, src: &[u8]) {
        self.write_raw(f.mfn(), offset, src);
    }
    fn zero(&self, f: &impl CanWrite) {
        self.words(f.mfn()).iter().for_each(|w| w.store(0, SeqCst));
    }
    fn set_m2p(&self, mfn: Mfn, pfn: u64) {
        self.m2p[mfn.0 as usize].store(pfn, SeqCst);
    }
    fn get_m2p(&self, mfn: Mfn) -> u64 {
        self.m2p.get(mfn.0 as usize).map_or(u64::MAX, |e| e.load(SeqCst))
    }
}

impl GuestVa for HostMachine {
    fn copy_from_guest(&self, dst: &mut [u8], va: u64) -> Result<(), GuestFault> {
        let len = dst.len();
        self.pages(va, len, false, |mfn, offset, done, n| {
            self.read_raw(mfn, offset, &mut dst[done..done + n])
        })
    }
    fn copy_to_guest(&self, va: u64, src: &[u8]) -> Result<(), GuestFault> {
        self.pages(va, src.len(), true, |mfn, offset, done, n| {
            self.write_raw(mfn, offset, &src[done..done + n])
        })
    }
    fn switch_mode(&self, l4: Mfn, gs_base: u64) -> u64 {
        self.load_root(l4);
        core::mem::replace(&mut self.this_cpu().gs_base, gs_base)
    }
    fn load_root(&self, l4: Mfn) {
        let cpu = self.cpu();
        let t = self.table.tlb.natural();
        self.table.tlb.runs_on(cpu, l4);
        let mut c = self.this_cpu();
        c.root = Some(l4);
        c.idle = false;
        c.tlb.clear();
        drop(c);
        self.table.tlb.flushed(cpu, t);
    }
    fn load_gdt(&self, frames: &[Mfn]) {
        self.this_cpu().gdt = frames.to_vec();
    }
    fn load_ldt(&self, entries: u32) {
        let mut c = self.this_cpu();
        c.ldt_entries = entries;
        c.ldt.clear();
    }
    fn map_ldt_page(&self, index: usize, frame: Mfn) {
        self.this_cpu().ldt.insert(index, frame);
    }
}

impl Cpus for HostMachine {
    /// Tests interrupt at each chance there is.
    const LOOK_EVERY: u32 = 1;
    fn cpu(&self) -> CpuId {
        CpuId(CPU.with(Cell::get))
    }
    fn now(&self) -> u64 {
        self.clock_ns.load(SeqCst)
    }
    fn tsc(&self) -> u64 {
        self.now()
    }
    fn trap_rdtsc(&self) {
        self.rdtsc_traps.fetch_add(1, SeqCst);
    }
    fn set_timer(&self, deadline_ns: u64) {
        self.this_cpu().timer = deadline_ns;
    }
    fn kick(&self, cpu: CpuId) {
        self.kicks.lock().unwrap().push(cpu);
    }
    fn flush(&self, cpus: &CpuMask, what: Flush) {
        let mut log = self.flushes.lock().unwrap();
        log.push((*cpus, what));
        if log.len() > 10_000 {
            log.clear();
        }
        drop(log);
        if self.lose_flushes.load(SeqCst) {
            return;
        }
        let me = self.cpu();
        for (n, c) in self.cpus.iter().enumerate() {
            if !cpus.contains(CpuId(n as u32)) {
                continue;
            }
            let mut c = c.lock().unwrap();
            match what {
                Flush::Page(va) => {
                    c.tlb.remove(&(va & !0xfff));
                }
                Flush::Cache => {}
                Flush::Tlb | Flush::TlbGlobal => c.tlb.clear(),
                Flush::LeaveLazy => {
                    c.tlb.clear();
                    if c.idle || CpuId(n as u32) != me {
                        c.root = None;
                        c.gdt.clear();
                        c.ldt.clear();
                    }
                }
            }
        }
    }
    fn preempt_point(&self) -> bool {
        let every = self.preempt_every.load(Relaxed);
        every != 0 && self.preempt_count.fetch_add(1, Relaxed) % every == every - 1
    }
    fn irq_mask(&self, irq: Irq) {
        self.masked.lock().unwrap().push((irq, true));
    }
    fn irq_unmask(&self, irq: Irq) {
        self.masked.lock().unwrap().push((irq, false));
    }
    fn irq_eoi(&self, irq: Irq) {
        self.eois.lock().unwrap().push(irq);
    }
}

impl Machine for HostMachine {
    fn log(&self, level: Level, line: core::fmt::Arguments<'_>) {
        let mut log = self.log.lock().unwrap();
        log.push(std::format!("{level:?}: {line}"));
        if log.len() > 10_000 {
            log.clear();
        }
    }
}
