//! Puts a kernel into a guest's memory and sets the vCPU that begins with it.

use std::convert::Infallible;
use std::thread;

use abi::arch_x86::{
    FLAT_KERNEL_CS, FLAT_KERNEL_DS, FLAT_KERNEL_SS, VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext,
    xen_pfn_to_cr3,
};
use abi::xen::MMUEXT_PIN_L4_TABLE;
use abi::{
    Errno,
    xen::{SharedInfo, StartInfo},
};
use hypercore::dom0::contents::{self, OFFERED, RFLAGS, Target};
use hypercore::dom0::layout::Plan;
use hypercore::ids::{Mfn, Pfn};
use xenctl::{DomId, Error, Memory, Result, Xen};
use zerocopy::{FromZeros, IntoBytes};

use super::boot::Boot;
use super::memory::Pages;
use super::ports::{self, Ends, Ports};

const PAGE: u64 = 4096;

/// Pages of the guest, from `first` on, in this process.
struct Window<'a> {
    first: u64,
    pages: &'a Pages,
    memory: Box<dyn Memory>,
}

impl Target for Window<'_> {
    type Error = Infallible;

    fn mfn(&self, pfn: Pfn) -> Mfn {
        Mfn(self.pages.frames[pfn.0 as usize])
    }

    fn write(&self, at: u64, data: &[u8]) -> std::result::Result<(), Infallible> {
        self.memory.write((at - self.first * PAGE) as usize, data);
        Ok(())
    }
}

/// Makes the domain, which has these pages and its vCPUs, ready to run `boot`. It is still paused.
pub fn start(xen: &Xen, domain: DomId, pages: &Pages, boot: &Boot) -> Result<Ports> {
    let plan = &boot.plan;
    let info = xen.domain(domain)?.ok_or_else(|| gone(domain))?;
    let [store, console] = ports::offer(xen, domain)?;
    let frame = |va: u64| {
        let page = plan.pfn_at(va).and_then(|pfn| pages.frames.get(pfn.0 as usize));
        page.copied().ok_or_else(|| gone(domain))
    };
    let rings = plan.rings.ok_or_else(|| gone(domain))?;
    let ports = Ports {
        store: Ends { frame: frame(rings.store)?, port: store },
        console: Ends { frame: frame(rings.console)?, port: console },
    };
    let mut si = contents::start_info(plan, Mfn(info.shared_info_frame), &boot.cmdline);
    (si.store_mfn, si.store_evtchn) = (ports.store.frame, ports.store.port);
    (si.console_mfn, si.console_evtchn) = (ports.console.frame, ports.console.port);
    fill(xen, domain, pages, boot, &si)?;
    shared_info(xen, domain, info.shared_info_frame)?;
    if let Some(va) = plan.hypercall_page {
        xen.write_hypercall_page(domain, frame(va)?)?;
    }
    ports.grant(xen, domain)?;
    let root = frame(plan.pt_base)?;
    // As the guest expects of the tables it finds. A mapping of ours would stand in the way.
    xen.pin(domain, MMUEXT_PIN_L4_TABLE, root)?;
    xen.set_context(domain, 0, &first_vcpu(plan, root))?;
    Ok(ports)
}

/// Writes all that the guest finds, kernel and initrd at the same time.
fn fill(xen: &Xen, domain: DomId, pages: &Pages, boot: &Boot, si: &StartInfo) -> Result<()> {
    let plan = &boot.plan;
    let first = (plan.kernel_start - plan.region.va) / PAGE;
    let used = &pages.frames[first as usize..plan.used_pages() as usize];
    let window = Window { first, pages, memory: xen.frames(domain, used, true)? };
    let (elf, _) = boot
        .image
        .parse(OFFERED)
        .map_err(|e| Error::new("parsing the kernel", Errno::ENOEXEC).because(e.to_string()))?;
    let rest = || {
        contents::p2m(&window, plan, pages.frames.iter().copied())?;
        contents::tables(&window, plan)
    };
    // A kernel that wants its initrd mapped has it, and the list, inside what is zeroed with the kernel.
    let written = if plan.initrd_va.is_none() && plan.p2m_frames.is_some() {
        thread::scope(|scope| {
            let other = scope.spawn(|| contents::initrd(&window, plan, &boot.initrd));
            let kernel = contents::kernel(&window, &elf, plan);
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(kernel)
        })
    } else {
        contents::kernel(&window, &elf, plan).and_then(|()| contents::initrd(&window, plan, &boot.initrd))
    };
    let at = plan.start_info - plan.region.va;
    match written.and_then(|()| rest()).and_then(|()| window.write(at, si.as_bytes())) {
        Ok(()) => Ok(()),
    }
}

/// Empty, and no vCPU hears of events before it says where: the store's first may come before its first instruction.
fn shared_info(xen: &Xen, domain: DomId, frame: u64) -> Result<()> {
    let mut shared = SharedInfo::new_zeroed();
    shared.vcpu_info.iter_mut().for_each(|vcpu| vcpu.evtchn_upcall_mask = 1);
    xen.frames(domain, &[frame], true)?.write(0, shared.as_bytes());
    Ok(())
}

/// The state that `xen.h` describes above `struct start_info`.
fn first_vcpu(plan: &Plan, root: u64) -> VcpuGuestContext {
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_IN_KERNEL | VGCF_ONLINE;
    let regs = &mut context.user_regs;
    (regs.rip, regs.rsp, regs.rsi) = (plan.entry, plan.stack_end, plan.start_info);
    regs.rflags = RFLAGS;
    (regs.cs, regs.ss) = (FLAT_KERNEL_CS, FLAT_KERNEL_SS);
    (regs.ds, regs.es, regs.fs, regs.gs) = (FLAT_KERNEL_DS, FLAT_KERNEL_DS, FLAT_KERNEL_DS, FLAT_KERNEL_DS);
    (context.kernel_ss, context.kernel_sp) = (FLAT_KERNEL_SS.into(), plan.stack_end);
    context.ctrlreg[3] = xen_pfn_to_cr3(root);
    context
}

fn gone(domain: DomId) -> Error {
    Error::new(format!("building domain {domain}"), Errno::ESRCH)
}
