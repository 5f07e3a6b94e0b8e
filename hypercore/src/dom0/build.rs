//! Carries out a [`Plan`]: memory, contents, page tables, domain, first vCPU.
//!
//! Everything is written as plain memory of the domain. Then its root table is validated and pinned by
//! the same code that serves a guest's own pin: the builder's tables are trusted no more than a guest's.
//! An error means that the machine stops, so nothing is taken back.

use abi::Errno;
use abi::arch_x86::LEGACY_MAX_VCPUS;
use abi::arch_x86::{FLAT_KERNEL_CS, FLAT_KERNEL_DS, FLAT_KERNEL_SS};
use abi::platform::XEN_PROCESSOR_PM_CX;
use abi::xen::{
    Dom0VgaConsoleInfo, MAX_GUEST_CMDLINE, SIF_INITDOMAIN, SIF_PM_MASK, SIF_PRIVILEGED, StartInfo, VcpuInfo,
};
use alloc::sync::Arc;
use core::fmt;
use core::mem::offset_of;
use x86::regs::GuestRegs;
use zerocopy::IntoBytes;

use super::contents::{self, OFFERED, Target};
use super::elf::Elf;
use super::error::ImageError;
use super::hypercall_page;
use super::layout::{Plan, Request};
use super::memory::{self, Memory};
use super::notes::Notes;
use crate::boot::cmdline::Dom0Mem;
use crate::domain::{Domain, NewDomain};
use crate::ids::{DomId, Mfn, Pfn, VcpuId};
use crate::lifecycle;
use crate::machine::Machine;
use crate::mm;
use crate::xen::Xen;

/// Frames left to the hypervisor for the domain's own structures, whatever `dom0_mem` says.
const OVERHEAD: u64 = 1024;

/// What dom0 is made of.
#[derive(Clone, Copy, Debug)]
pub struct Dom0<'a> {
    /// The unpacked kernel.
    pub elf: &'a [u8],
    pub initrd: Option<&'a [u8]>,
    pub cmdline: &'a str,
    pub mem: Dom0Mem,
    pub vcpus: u32,
    /// The display, as firmware left it.
    pub vga: Option<Dom0VgaConsoleInfo>,
}

/// Why there is no dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    Image(ImageError),
    NoMemory { what: &'static str },
    CommandLine { len: usize },
    Refused { what: &'static str, errno: Errno },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Image(error @ ImageError::NoRoom { .. }) => {
                write!(f, "dom0's kernel: {error} (raise dom0_mem)")
            }
            BuildError::Image(error) => write!(f, "dom0's kernel: {error}"),
            BuildError::NoMemory { what } => write!(f, "no memory for {what}"),
            BuildError::CommandLine { len } => {
                write!(
                    f,
                    "dom0's command line has {len} bytes, at most {} are possible",
                    MAX_GUEST_CMDLINE - 1
                )
            }
            BuildError::Refused { what, errno } => write!(f, "{what} was refused: {errno:?}"),
        }
    }
}

impl From<ImageError> for BuildError {
    fn from(error: ImageError) -> BuildError {
        BuildError::Image(error)
    }
}

/// Makes dom0, paused, and puts it into the table of domains.
pub fn build<M: Machine>(xen: &'static Xen<M>, spec: &Dom0<'_>) -> Result<Arc<Domain>, BuildError> {
    if spec.cmdline.len() >= MAX_GUEST_CMDLINE {
        return Err(BuildError::CommandLine { len: spec.cmdline.len() });
    }
    let elf = Elf::parse(spec.elf)?;
    let notes = Notes::read(&elf)?;
    notes.check_pv_dom0(OFFERED)?;

    let free = xen.frames.alloc.free_pages().saturating_sub(OVERHEAD);
    let (nr_pages, max_pages) = memory::size(&spec.mem, free);
    let initrd_len = spec.initrd.map(|initrd| initrd.len() as u64);
    let plan = Plan::new(&elf, &notes, Request { nr_pages, initrd_len, rings: false })?;
    let dom = create(xen, spec)?;
    dom.memory.set_max_pages(u32::try_from(max_pages).unwrap_or(u32::MAX));
    let memory = Memory::take(xen, &dom, nr_pages).map_err(refused("dom0's memory"))?;

    let fresh = Fresh { xen, memory: &memory };
    fill(&fresh, &elf, &plan, dom.shared_info.frame().mfn(), spec)
        .map_err(refused("writing to dom0's memory"))?;
    crate::time::update_wallclock(xen, &dom);
    start_vcpu(xen, &dom, &plan, &memory)?;
    Ok(dom)
}

fn refused(what: &'static str) -> impl Fn(Errno) -> BuildError + Copy {
    move |errno| BuildError::Refused { what, errno }
}

fn create<M: Machine>(xen: &'static Xen<M>, spec: &Dom0<'_>) -> Result<Arc<Domain>, BuildError> {
    let new = NewDomain {
        id: DomId::DOM0,
        handle: [0; 16],
        privileged: true,
        create_flags: 0,
        ssidref: 0,
        max_vcpus: spec.vcpus,
        cpupool: 0,
        max_evtchn_port: u32::MAX,
        max_grant_frames: xen.host.grants.frames,
        max_maptrack_frames: xen.host.grants.maptrack_frames,
        grant_version_max: xen.host.grants.version,
    };
    let policy = xen.host.policies.dom0();
    let dom = lifecycle::create_domain(xen, &new, policy).map_err(refused("dom0's creation"))?;
    lifecycle::create_vcpus(xen, &dom).map_err(refused("a vCPU of dom0"))?;
    // As tools do for other domains: no upcall until the kernel asks for them.
    for i in 0..LEGACY_MAX_VCPUS {
        xen.m.write(
            &dom.shared_info,
            i * size_of::<VcpuInfo>() + offset_of!(VcpuInfo, evtchn_upcall_mask),
            &[1],
        );
    }
    Ok(dom)
}

/// The domain's memory, as it is before any of it is a table.
struct Fresh<'a, M: Machine> {
    xen: &'static Xen<M>,
    memory: &'a Memory,
}

impl<M: Machine> Target for Fresh<'_, M> {
    type Error = Errno;

    fn mfn(&self, pfn: Pfn) -> Mfn {
        self.memory.mfn(pfn)
    }

    fn write(&self, at: u64, data: &[u8]) -> Result<(), Errno> {
        self.memory.write(self.xen, at, data)
    }
}

/// All that the kernel finds there.
fn fill<M: Machine>(
    target: &Fresh<'_, M>,
    elf: &Elf<'_>,
    plan: &Plan,
    shared_info: Mfn,
    spec: &Dom0<'_>,
) -> Result<(), Errno> {
    contents::kernel(target, elf, plan)?;
    if let Some(va) = plan.hypercall_page {
        target.write(va - plan.region.va, &hypercall_page::contents())?;
    }
    contents::initrd(target, plan, spec.initrd.unwrap_or_default())?;
    let extents = target.memory.extents().iter();
    contents::p2m(target, plan, extents.flat_map(|extent| extent.mfn.0..extent.mfn.0 + extent.pages))?;
    let mut si = contents::start_info(plan, shared_info, spec.cmdline);
    si.flags |= SIF_PRIVILEGED | SIF_INITDOMAIN | XEN_PROCESSOR_PM_CX << SIF_PM_MASK.trailing_zeros();
    let at = plan.start_info - plan.region.va;
    // Behind it, in the same page, what dom0 is told of the display.
    if let Some(vga) = &spec.vga {
        si.set_console_dom0(size_of::<StartInfo>() as u32, size_of_val(vga) as u32);
        target.write(at + size_of::<StartInfo>() as u64, vga.as_bytes())?;
    }
    target.write(at, si.as_bytes())?;
    contents::tables(target, plan)
}

fn start_vcpu<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    plan: &Plan,
    memory: &Memory,
) -> Result<(), BuildError> {
    let root = memory.mfn(plan.tables[0].pfn);
    let vcpu = dom.vcpu(VcpuId(0)).ok_or(BuildError::NoMemory { what: "vCPU 0" })?;
    // Pinned as well, as a guest expects of the tables it finds: Linux unpins them when it has its own.
    mm::pin_l4(xen, dom, root).map_err(refused("the validation of dom0's page tables"))?;
    mm::base::set_cr3(xen, dom, &vcpu, true, Some(root)).map_err(|e| refused("dom0's CR3")(e.errno()))?;
    let regs = GuestRegs {
        rip: plan.entry,
        rsp: plan.stack_end,
        rsi: plan.start_info,
        rflags: contents::RFLAGS,
        cs: FLAT_KERNEL_CS,
        ss: FLAT_KERNEL_SS,
        ..GuestRegs::default()
    };
    let done = vcpu.with_private(|vp| {
        vp.regs = regs;
        vp.kernel_mode = true;
        (vp.ds, vp.es, vp.fs, vp.gs) = (FLAT_KERNEL_DS, FLAT_KERNEL_DS, FLAT_KERNEL_DS, FLAT_KERNEL_DS);
    });
    done.ok_or(refused("setting vCPU 0's registers")(Errno::EBUSY))?;
    vcpu.initialised.store(true, core::sync::atomic::Ordering::Release);
    // It runs once the domain is unpaused.
    crate::sched::bring_up(xen, &vcpu).map_err(refused("bringing vCPU 0 up"))
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
