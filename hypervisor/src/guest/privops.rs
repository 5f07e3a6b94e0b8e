//! Privileged instructions of guests: what `hypercore::emulate` needs, from the vCPU and this CPU.

use core::sync::atomic::Ordering;

use hypercore::calls::registers::{self, CR4_DE, CR4_GUEST, CR4_OSXSAVE, CR4_TSD};
use hypercore::dom0::hypercall_page;
use hypercore::domain::Domain;
use hypercore::emulate::decode::Segment;
use hypercore::emulate::privileged::{self, Outcome, PrivOps, Stop};
use hypercore::emulate::ptwr;
use hypercore::guest;
use hypercore::ids::Mfn;
use hypercore::io::ports;
use hypercore::machine::{Cpus, Frames};
use hypercore::mm::ptwr::Tables;
use hypercore::mm::types::get_writable;
use hypercore::policy::Feature;
use hypercore::policy::cpuid::{CpuidContext, TscLeaves};
use hypercore::policy::msr::{self, MsrContext, ReadMsr, WriteMsr};
use hypercore::time::TscScale;
use hypercore::traps::bounce::Undeliverable;
use hypercore::traps::inject::{self, vector};
use hypercore::xen::Cx;
use hypercore::xstate;
use x86::regs::GuestRegs;

use super::machine::Bare;
use super::segments;
use crate::cpu::{features, instr};

const CR0_TS: u64 = 1 << 3;
/// CR0 as a PV guest sees it, but for TS: protection, paging and the numeric coprocessor are on.
const CR0: u64 = 0x8005_0033;
/// CR4 bits it sees set whatever it writes: PSE, PAE, MCE, PGE, OSFXSR, OSXMMEXCPT.
const CR4_FIXED: u64 = 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 10;
const LONGEST_INSTRUCTION: usize = 15;
const PF_FETCH: u32 = 1 << 4;
const PF_USER: u32 = 1 << 2;
const PF_WRITE: u32 = 1 << 1;

struct Ops<'a, 'b> {
    cx: &'a mut Cx<'b, Bare>,
}

impl Ops<'_, '_> {
    fn msr_context(&self) -> MsrContext {
        MsrContext {
            hardware_domain: self.cx.dom.privileged,
            boot_vcpu: self.cx.vcpu.id.0 == 0,
            cpuid_faulting: false,
        }
    }
}

impl PrivOps for Ops<'_, '_> {
    fn kernel_mode(&self) -> bool {
        self.cx.vp.kernel_mode
    }
    fn long_mode(&self) -> bool {
        segments::is_64bit_code(self.cx.regs.cs)
    }
    fn segment_base(&mut self, segment: Segment) -> Result<u64, Stop> {
        Ok(match segment {
            Segment::Fs => segments::fs_base(),
            Segment::Gs => segments::gs_base(),
            _ => 0,
        })
    }
    fn iopl_allows(&self) -> bool {
        self.cx.vp.iopl >= hypercore::traps::inject::ring(self.cx.dom, self.cx.vp.kernel_mode)
    }
    fn bitmap_allows(&mut self, port: u16, bytes: u8) -> bool {
        let (map, ports) = (self.cx.vp.iobitmap, self.cx.vp.iobitmap_ports);
        let end = u32::from(port) + u32::from(bytes);
        if map == 0 || end > ports {
            return false;
        }
        (u32::from(port)..end).all(|p| {
            let byte: Result<u8, _> = guest::read(&self.cx.xen.m, map + u64::from(p / 8));
            byte.is_ok_and(|b| b >> (p % 8) & 1 == 0)
        })
    }
    fn io_read(&mut self, port: u16, bytes: u8) -> Result<u32, Stop> {
        Ok(ports::read(self.cx.xen, self.cx.dom, port, bytes))
    }
    fn io_write(&mut self, port: u16, bytes: u8, value: u32) -> Result<(), Stop> {
        ports::write(self.cx.xen, self.cx.dom, port, bytes, value);
        Ok(())
    }
    fn mem_read(&mut self, va: u64, to: &mut [u8]) -> Result<(), Stop> {
        guest::read_bytes(&self.cx.xen.m, va, to).map_err(|f| Stop::PageFault { va: f.va, error: PF_USER })
    }
    fn mem_write(&mut self, va: u64, from: &[u8]) -> Result<(), Stop> {
        guest::write_bytes(&self.cx.xen.m, va, from)
            .map_err(|f| Stop::PageFault { va: f.va, error: PF_USER | PF_WRITE })
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> Result<[u32; 4], Stop> {
        Ok(cpuid(self.cx, leaf, subleaf))
    }
    fn msr_read(&mut self, msr: u32) -> Result<u64, Stop> {
        let context = self.msr_context();
        match self.cx.dom.policy.with(|p| msr::read(msr, p, &context)) {
            ReadMsr::Value(v) => Ok(v),
            ReadMsr::Tsc => Ok(tsc(self.cx)),
            ReadMsr::FsBase => Ok(segments::fs_base()),
            ReadMsr::GsBase => Ok(segments::gs_base()),
            ReadMsr::KernelGsBase => {
                Ok(if self.cx.vp.kernel_mode { self.cx.vp.gs_base_user } else { self.cx.vp.gs_base_kernel })
            }
            ReadMsr::TscAux => Ok(self.cx.vp.tsc_aux),
            ReadMsr::SpecCtrl => Err(Stop::GP),
            ReadMsr::Host { msr, clear, set } => {
                Ok(instr::rdmsr_checked(msr).ok_or(Stop::GP)? & !clear | set)
            }
            ReadMsr::Fault => Err(Stop::GP),
        }
    }
    fn msr_write(&mut self, msr: u32, value: u64) -> Result<(), Stop> {
        let context = self.msr_context();
        match self.cx.dom.policy.with(|p| msr::write(msr, value, p, &context)) {
            WriteMsr::Ignore => {}
            WriteMsr::FsBase(v) => segments::set_fs_base(v),
            WriteMsr::GsBase(v) => segments::set_gs_base(v),
            WriteMsr::KernelGsBase(v) if self.cx.vp.kernel_mode => self.cx.vp.gs_base_user = v,
            WriteMsr::KernelGsBase(v) => self.cx.vp.gs_base_kernel = v,
            WriteMsr::TscAux(v) => {
                self.cx.vp.tsc_aux = v.into();
                super::machine::set_tsc_aux(v.into());
            }
            WriteMsr::HypercallPage { gfn } => {
                // The guest's own frame, as ordinary memory: what it may write itself.
                let frame = self.cx.xen.frames.get(Mfn(gfn), self.cx.dom.id).ok_or(Stop::GP)?;
                let page = get_writable(self.cx.xen, frame).map_err(|_| Stop::GP)?;
                self.cx.xen.m.write(&page, 0, &hypercall_page::contents());
            }
            WriteMsr::Host { msr, value } => {
                // SAFETY: the policy's table admits only registers that keep the hypervisor's state.
                if !unsafe { instr::wrmsr_checked(msr, value) } {
                    return Err(Stop::GP);
                }
            }
            _ => return Err(Stop::GP),
        }
        Ok(())
    }
    fn cr_read(&mut self, cr: u8) -> Result<u64, Stop> {
        match cr {
            0 => Ok(CR0 | self.cx.vp.cr0 & CR0_TS),
            2 => Ok(hypercore::event::cr2(self.cx.xen, self.cx.vcpu)),
            3 => Ok(self.cx.vcpu.mm.cr3_to_load(self.cx.vp.kernel_mode).0 << 12),
            4 => Ok(CR4_FIXED | self.cx.vp.cr4 & CR4_GUEST),
            _ => Err(Stop::GP),
        }
    }
    fn cr_write(&mut self, cr: u8, value: u64) -> Result<(), Stop> {
        match cr {
            0 if (value ^ CR0) & !CR0_TS == 0 => self.cx.vp.cr0 = value & CR0_TS,
            2 => hypercore::event::set_cr2(self.cx.xen, self.cx.vcpu, value),
            4 => {
                if value & CR4_OSXSAVE != 0 && !self.cx.dom.policy.with(|p| p.has(Feature::XSAVE)) {
                    return Err(Stop::GP);
                }
                self.cx.vp.cr4 = value & CR4_GUEST;
                apply_cr4(self.cx.vp.cr4, self.cx.dom);
            }
            3 => {
                let root = Mfn(value >> 12);
                hypercore::mm::base::new_kernel_base(self.cx, root).map_err(|_| Stop::GP)?;
            }
            _ => return Err(Stop::GP),
        }
        Ok(())
    }
    fn dr_read(&mut self, dr: u8) -> Result<u64, Stop> {
        registers::get_debugreg(self.cx, dr.into()).map_err(|_| Stop::GP)
    }
    fn dr_write(&mut self, dr: u8, value: u64) -> Result<(), Stop> {
        registers::set_debugreg(self.cx, dr.into(), value).map(drop).map_err(|_| Stop::GP)
    }
    fn tsc(&mut self) -> Result<u64, Stop> {
        if !self.cx.vp.kernel_mode && self.cx.vp.cr4 & CR4_TSD != 0 {
            return Err(Stop::GP);
        }
        Ok(tsc(self.cx))
    }
    fn tsc_aux(&mut self) -> Result<u32, Stop> {
        Ok(self.cx.vp.tsc_aux as u32)
    }
    fn pmc(&mut self, _counter: u32) -> Result<u64, Stop> {
        // No performance counters are given to guests.
        Err(Stop::GP)
    }
    fn xsetbv(&mut self, index: u32, value: u64) -> Result<(), Stop> {
        if self.cx.vp.cr4 & CR4_OSXSAVE == 0 {
            return Err(Stop::Fault { vector: vector::UD, error: 0 });
        }
        let may = self.cx.dom.policy.with(|p| p.xstates()) & features::get().xcr0;
        if index != 0 || !xstate::xcr0_valid(value, may) {
            return Err(Stop::GP);
        }
        self.cx.vp.xcr0 = value;
        super::fpu::load_xcr0(value);
        Ok(())
    }
    fn invlpg(&mut self, va: u64) -> Result<(), Stop> {
        if guest::range_ok(va, 1) {
            instr::invlpg(va);
        }
        Ok(())
    }
    fn wbinvd(&mut self) -> Result<(), Stop> {
        if self.cx.dom.privileged {
            // SAFETY: WBINVD loses nothing.
            unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
        }
        Ok(())
    }
    fn clts(&mut self) -> Result<(), Stop> {
        self.cx.vp.cr0 &= !CR0_TS;
        Ok(())
    }
    fn halt(&mut self) -> Result<(), Stop> {
        hypercore::sched::op::block(self.cx).map(drop).map_err(|_| Stop::GP)
    }
}

/// The time-stamp counter as the guest reads it.
fn tsc(cx: &Cx<'_, Bare>) -> u64 {
    if cx.dom.time.tsc_emulated() { cx.dom.time.emulated_tsc(cx.xen.m.now()) } else { instr::rdtsc() }
}

/// CR4 while this guest runs: TSD and DE are its own; RDTSC traps as well where its domain's is emulated.
pub fn apply_cr4(guest: u64, dom: &Domain) {
    let emulated = if dom.time.tsc_emulated() { CR4_TSD } else { 0 };
    let want = features::cr4() | guest & (CR4_TSD | CR4_DE) | emulated;
    if instr::read_cr4() != want {
        // SAFETY: TSD and DE bind ring 3 and debug registers only; all else is the hypervisor's constant.
        unsafe { instr::write_cr4(want) };
    }
}

/// RDTSC traps on this CPU until [`apply_cr4`] decides anew.
pub fn trap_rdtsc() {
    // SAFETY: TSD binds ring 3 only.
    unsafe { instr::write_cr4(instr::read_cr4() | CR4_TSD) };
}

/// CPUID as the running vCPU sees it.
fn cpuid(cx: &Cx<'_, Bare>, leaf: u32, subleaf: u32) -> [u32; 4] {
    let tsc = *cx.dom.time.tsc.lock();
    let guest_khz = if tsc.khz == 0 { cx.xen.host.tsc_khz } else { tsc.khz };
    let scale = TscScale::from_khz(guest_khz.max(1));
    let context = CpuidContext {
        apic_id: cx.vcpu.id.0 as u8,
        // Linux's kernel gives XSAVE up if it does not see this before it sets CR4.
        osxsave: features::get().xsave && (cx.vp.kernel_mode || cx.vp.cr4 & CR4_OSXSAVE != 0),
        mtrr: cx.dom.privileged && cx.vp.kernel_mode && cx.xen.host.policies.host.has(Feature::MTRR),
        xcr0: cx.vp.xcr0,
        machine_address_bits: features::get().phys_bits,
        tsc: TscLeaves {
            emulated: tsc.emulated,
            mode: tsc.mode,
            incarnation: tsc.incarnation,
            host_reliable: cx.xen.host.tsc_stable.load(Ordering::Relaxed),
            guest_khz,
            host_khz: cx.xen.host.tsc_khz,
            mul: scale.mul,
            shift: scale.shift,
            ..TscLeaves::default()
        },
    };
    cx.dom.policy.with(|p| hypercore::policy::cpuid::cpuid(p, leaf, subleaf, &context))
}

/// Bytes at RIP, as many as can be fetched.
fn fetch<'b>(cx: &Cx<'_, Bare>, rip: u64, buf: &'b mut [u8; LONGEST_INSTRUCTION]) -> &'b [u8] {
    let got = match guest::read_bytes(&cx.xen.m, rip, buf) {
        Ok(()) => LONGEST_INSTRUCTION,
        // Up to the end of the page, where the next one cannot be read.
        Err(_) => {
            let rest = ((0x1000 - (rip & 0xfff)) as usize).min(LONGEST_INSTRUCTION);
            if guest::read_bytes(&cx.xen.m, rip, &mut buf[..rest]).is_ok() { rest } else { 0 }
        }
    };
    &buf[..got]
}

/// Emulates on a copy of the registers, which become the guest's if that went well.
fn run(
    cx: &mut Cx<'_, Bare>,
    f: impl FnOnce(&[u8], &mut GuestRegs, &mut Ops<'_, '_>) -> Outcome,
) -> Result<bool, Undeliverable> {
    let mut buf = [0; LONGEST_INSTRUCTION];
    let bytes = fetch(cx, cx.regs.rip, &mut buf);
    let mut regs = *cx.regs;
    let outcome = f(bytes, &mut regs, &mut Ops { cx });
    finish(cx, outcome, regs)
}

fn finish(cx: &mut Cx<'_, Bare>, outcome: Outcome, regs: GuestRegs) -> Result<bool, Undeliverable> {
    match outcome {
        Outcome::Done => {
            *cx.regs = regs;
            inject::stepped(cx)?;
        }
        Outcome::Retry => {}
        Outcome::Fault { vector, error } => {
            *cx.regs = regs;
            inject::exception(cx, vector, error)?;
        }
        Outcome::PageFault { va, error } => {
            *cx.regs = regs;
            inject::page_fault(cx, va, error)?;
        }
        // A jump to a non-canonical address is the processor's #GP already.
        Outcome::FetchFault { va } if (va as i64) << 16 >> 16 != va as i64 => return Ok(false),
        Outcome::FetchFault { va } => inject::page_fault(cx, va, PF_USER | PF_FETCH)?,
        Outcome::Unhandleable => return Ok(false),
    }
    Ok(true)
}

/// After #GP: a privileged instruction? False: deliver the fault.
pub fn emulate(cx: &mut Cx<'_, Bare>) -> Result<bool, Undeliverable> {
    run(cx, |bytes, regs, ops| privileged::emulate(bytes, regs, ops))
}

/// After #UD: CPUID behind Xen's prefix? False: deliver the fault.
pub fn emulate_forced(cx: &mut Cx<'_, Bare>) -> Result<bool, Undeliverable> {
    run(cx, |bytes, regs, ops| privileged::forced_cpuid(bytes, regs, ops))
}

/// After a write fault in the guest's kernel: a write to one of its own level-1 tables? False: deliver it.
pub fn page_table_write(cx: &mut Cx<'_, Bare>, cr2: u64) -> Result<bool, Undeliverable> {
    let mut buf = [0; LONGEST_INSTRUCTION];
    let bytes = fetch(cx, cx.regs.rip, &mut buf);
    let mut regs = *cx.regs;
    // Bases a guest sets with WRFSBASE and WRGSBASE are in the registers, not in the saved state.
    cx.vp.fs_base = segments::fs_base();
    if cx.vp.kernel_mode {
        cx.vp.gs_base_kernel = segments::gs_base()
    }
    let outcome = ptwr::emulate(bytes, &mut regs, cr2, &mut Tables { cx });
    finish(cx, outcome, regs)
}
