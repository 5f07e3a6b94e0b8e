//! From a running platform to a running dom0: the global state, dom0 itself, all CPUs into the guest loop.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::Errno;
use hypercore::boot::bundle;
use hypercore::boot::cmdline::Options;
use hypercore::boot::info::{BootInfo, Module};
use hypercore::boot::video;
use hypercore::cpumask::CpuMask;
use hypercore::dom0::build::{Dom0, build};
use hypercore::dom0::bzimage::{self, Kernel};
use hypercore::domain::Domain;
use hypercore::event::VirqHandlers;
use hypercore::frame::alloc::FrameAllocator;
use hypercore::frame::table::{FrameTable, OWNED_LEN};
use hypercore::grant::Limits;
use hypercore::host::HostInfo;
use hypercore::ids::{CpuId, Mfn};
use hypercore::io::ranges::RangeSet;
use hypercore::numa::Nodes;
use hypercore::policy::cpu_policy::Vendor;
use hypercore::policy::{Capabilities, SystemPolicies};
use hypercore::sched::Scheduler;
use hypercore::sync::Mutex;
use hypercore::time::Timers;
use hypercore::xen::Xen;

use crate::cpu::features;
use crate::guest::machine::Bare;
use crate::guest::{self, XEN};
use crate::layout::PAGE;
use crate::{boot, console, mm, percpu, time};

/// Set once CPUs may run guests.
static GO: AtomicBool = AtomicBool::new(false);

/// The boot processor's part.
pub fn main(info: &'static BootInfo) -> ! {
    hypercore::sync::set_relax_hook(crate::cpu::serve_others);
    let Some(options) = boot::options::get() else { crate::cpu::halt_forever() };
    let xen = XEN.call_once(|| make(info, options.grants));
    let dom0 = match dom0(xen, info, options) {
        Ok(dom0) => dom0,
        Err(what) => panic!("Could not construct domain 0: {what}"),
    };
    if let Err(e) = own_hardware(xen, &dom0) {
        panic!("Could not give domain 0 its hardware: {e:?}");
    }
    if let Some(ns) = options.rate_limit_ns {
        hypercore::sched::set_every_rate_limit(xen, ns);
    }
    if options.dom0_vcpus_pin {
        pin(xen, &dom0);
    }
    if options.watchdog {
        crate::watchdog::start(options.watchdog_timeout);
    }
    console::give_to_dom0(options);
    if let Err(e) = hypercore::sched::state::controller_unpause(xen, &dom0) {
        panic!("Could not start domain 0: {e:?}");
    }
    hypercore::time::platform::start(xen);
    GO.store(true, Ordering::Release);
    enter()
}

/// An application processor's part: waits for the boot processor, then runs guests.
pub fn ap_main() -> ! {
    while !GO.load(Ordering::Acquire) {
        crate::cpu::relax();
    }
    enter()
}

fn enter() -> ! {
    guest::entry::init_cpu();
    // No guest has run here: these are the hypervisor's own tables, loaded anew so that the clock of flushes knows.
    guest::flush::load_root(Mfn(mm::paging::template() >> 12));
    crate::mca::start();
    guest::entry::run()
}

fn leak<T>(n: usize, f: impl FnMut() -> T) -> &'static [T] {
    let mut v = Vec::new();
    v.resize_with(n, f);
    v.leak()
}

/// Frames the hypervisor takes for itself from the allocator, and gives back.
const PAGES: mm::PageSource = mm::PageSource {
    take: |count, align| Some(guest::xen().frames.take_own(&Bare, count, align)?.0 * PAGE),
    give: |phys, count| guest::xen().frames.give(Mfn(phys / PAGE), count, true),
};

fn make(info: &BootInfo, grants: Limits) -> Xen<Bare> {
    let max_mfn = mm::max_mfn();
    let owned = leak(OWNED_LEN, || AtomicU32::new(0));
    let alloc = FrameAllocator::new(max_mfn);
    let frames: &'static FrameTable =
        Box::leak(Box::new(FrameTable::new(mm::tables::frame_records(), owned, alloc)));
    let cpus = percpu::count();
    let f = features::get();
    let can = Capabilities {
        xcr0: f.xcr0,
        fsgsbase: f.fsgsbase,
        tsc_aux: guest::machine::has_tsc_aux(),
        ..Capabilities::default()
    };
    let cpuid = |leaf, subleaf| {
        let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        [r.eax, r.ebx, r.ecx, r.edx]
    };
    let policies = SystemPolicies::new(cpuid, &can);
    let image = mm::paging::image_start();
    let wall = time::wall_at_boot_ns().max(0) as u64;
    let xen = Xen {
        m: Bare,
        frames,
        domains: Default::default(),
        sched: Scheduler::new(cpus as usize),
        timers: Timers::new(cpus as usize),
        virq_handlers: VirqHandlers::new(),
        irqs: Default::default(),
        read_only: Default::default(),
        power: Default::default(),
        clock_watch: Default::default(),
        refusals: hypercore::refusal::Refusals::new(cpus as usize),
        mca: Default::default(),
        host: HostInfo {
            online: CpuMask::first(cpus as usize),
            nr_cpus: cpus,
            topology: (0..cpus).map(|c| percpu::identifiers(c).map_or((c, c, 0), |i| (i.0, c, 0))).collect(),
            nodes: nodes(),
            tsc_khz: time::scale().tsc_khz as u32,
            tsc_sound: AtomicBool::new(time::tsc_is_sound()),
            tsc_stable: AtomicBool::new(f.invariant_tsc && time::tsc_is_sound()),
            boot_wallclock: Mutex::new((wall / 1_000_000_000, (wall % 1_000_000_000) as u32)),
            total_pages: mm::ram().total() / PAGE,
            e820: info.memory.iter().map(|r| (r.start, r.end - r.start, r.kind)).collect(),
            kbd_shift_flags: boot::kbd_shift_flags(),
            mcg_cap: crate::mca::capabilities(),
            mcfg: boot::acpi().map(|t| t.mcfg.to_vec()).unwrap_or_default(),
            build_id: crate::symbols::build_id(),
            image: (image, crate::symbols::end() - image),
            cmdline: String::from(info.command_line.as_str()),
            xcr0_mask: f.xcr0,
            xsave_size: if f.xsave { policies.host.xsave_size(f.xcr0) } else { 512 },
            hv_l4: mm::paging::hypervisor_slots(),
            policies,
            grants,
        },
    };
    // Last, for what is allocated from here on comes from the frames of the finished state.
    for r in mm::hand_over(PAGES).iter() {
        let (first, end) = (r.start.div_ceil(PAGE), r.end / PAGE);
        if first < end {
            frames.give(Mfn(first), end - first, true);
        }
    }
    // Tools of the first domain map the machine-to-physical table.
    for piece in mm::tables::m2p_chunks().filter(|phys| *phys != 0) {
        frames.publish(Mfn(piece / PAGE), mm::tables::CHUNK / PAGE);
    }
    xen
}

/// The nodes that the firmware tells of, if the command line lets it; those it cannot tell of soundly are one.
fn nodes() -> Nodes {
    let tables = boot::acpi().filter(|t| {
        let wanted = boot::options::get().is_some_and(|o| o.numa);
        wanted && !t.affinity.memory.is_empty()
    });
    let Some(tables) = tables else { return Nodes::default() };
    match Nodes::new(&tables.affinity, mm::ram().iter().map(|r| (r.start, r.end))) {
        Ok(nodes) => {
            crate::info!("NUMA: {} nodes", nodes.count());
            nodes
        }
        Err(why) => {
            crate::warning!("NUMA: the firmware's tables are not used: {why:?}");
            Nodes::default()
        }
    }
}

fn module(m: &Module) -> &'static [u8] {
    // SAFETY: the loader put the module there, the range was kept from the allocator, and nobody writes to it.
    unsafe { mm::ram_bytes(m.start, (m.end - m.start) as usize) }
}

/// Hypervisor memory that holds the unpacked kernel while dom0 is built.
struct Unpacked {
    mfn: Mfn,
    order: u32,
}

impl Unpacked {
    fn new(xen: &Xen<Bare>, size: usize) -> Option<Self> {
        let order = (size as u64).div_ceil(PAGE).next_power_of_two().trailing_zeros();
        let (mfn, _) = xen.frames.alloc.alloc(order, u64::MAX)?;
        Some(Self { mfn, order })
    }

    fn bytes(&mut self, size: usize) -> &mut [u8] {
        assert!(size as u64 <= PAGE << self.order);
        // SAFETY: frames fresh from the allocator are nobody else's until `free`, and are in the direct map.
        unsafe { core::slice::from_raw_parts_mut(mm::phys_to_virt(self.mfn.0 * PAGE) as *mut u8, size) }
    }

    fn free(self, xen: &Xen<Bare>) {
        xen.frames.give(self.mfn, 1 << self.order, true);
    }
}

/// Builds dom0 from the first two modules, or from the first alone if it holds both kernel and initrd.
fn dom0(xen: &'static Xen<Bare>, info: &BootInfo, options: &Options) -> Result<Arc<Domain>, String> {
    let kernel = info.modules.first().ok_or("the boot loader passed no module, so there is no kernel")?;
    let mut file = module(kernel);
    let mut initrd = info.modules.get(1).map(module);
    if bundle::is_bundle(file) {
        let both = bundle::open(file).ok_or("the archive of kernel and initrd is damaged or empty")?;
        (file, initrd) = (both.kernel, both.initrd.or(initrd));
    }
    console::always(format_args!("*** Building a PV Dom0 ***"));
    let mut cmdline = String::from(kernel.args.as_str());
    if let Some(extra) = options.dom0_extra {
        cmdline.push(' ');
        cmdline.push_str(extra);
    }
    let nr = xen.host.nr_cpus;
    let vcpus = options.dom0_max_vcpus.map_or(nr, |(min, max)| nr.clamp(min, max.max(min)));
    let build_from = |elf: &[u8]| {
        let vga = video::console_info(info.video.as_ref(), console::text_screen());
        let spec = Dom0 { elf, initrd, cmdline: &cmdline, mem: options.dom0_mem, vcpus: vcpus.max(1), vga };
        build(xen, &spec).map_err(|e| format!("{e}"))
    };
    let dom = match bzimage::open(file).map_err(|e| format!("dom0's kernel: {e}"))? {
        Kernel::Elf(elf) => build_from(elf)?,
        Kernel::Compressed(c) => {
            let size = c.size();
            let mut unpacked =
                Unpacked::new(xen, size).ok_or("there is no memory to unpack the kernel in")?;
            c.unpack(unpacked.bytes(size)).map_err(|e| format!("dom0's kernel: {e}"))?;
            let dom = build_from(unpacked.bytes(size))?;
            unpacked.free(xen);
            dom
        }
    };
    // The modules' memory is ordinary from here on, where it is memory at all.
    for r in info.modules.iter().flat_map(|m| mm::ram().overlap(m.start.max(1 << 20), m.end)) {
        let (first, end) = (r.start.div_ceil(PAGE), r.end / PAGE);
        if first < end {
            xen.frames.give(Mfn(first), end - first, true);
        }
    }
    Ok(dom)
}

/// Each vCPU of dom0 runs on the CPU of its number only; of more than there are CPUs, the rest on any.
fn pin(xen: &'static Xen<Bare>, dom: &Domain) {
    dom.for_each_vcpu(|v| {
        let cpu = CpuId(v.id.0);
        if xen.host.online.contains(cpu)
            && let Err(e) = hypercore::sched::set_affinity(xen, v, Some(CpuMask::single(cpu)), None)
        {
            crate::warning!("{v:?} could not be pinned: {e:?}");
        }
    });
}

/// Gives dom0 the hardware: all but what the hypervisor drives itself and RAM that is not dom0's by allocation.
fn own_hardware(xen: &Xen<Bare>, dom: &Domain) -> Result<(), Errno> {
    let mut ports = RangeSet::all();
    // The 8259s, the PIT's first channel and the port that gates its third, the serial console.
    for (first, last) in [(0x20, 0x21), (0xa0, 0xa1), (0x40, 0x43), (0x61, 0x61)] {
        ports.remove(first, last)?;
    }
    if let Some(uart) = console::uart_ports() {
        ports.remove(uart.start.into(), u64::from(uart.end) - 1)?;
    }
    if let Some(t) = boot::acpi()
        && let Some(port) = t.fadt.pm_timer
    {
        // Only reading it is safe for two; dom0 may.
        ports.add(port.into(), u64::from(port) + 3)?;
    }
    *dom.io.ports.write() = ports;

    let mut iomem = RangeSet::all();
    // Addresses the processor has not would be reserved bits of an entry.
    iomem.remove(1 << crate::cpu::features::get().phys_bits >> 12, u64::MAX)?;
    for r in mm::ram().iter() {
        // Below 1 MiB RAM is never allocated: firmware's data live there, and dom0 reads them.
        let (first, end) = ((r.start / PAGE).max(0x100), r.end.div_ceil(PAGE));
        if first < end {
            iomem.remove(first, end - 1)?;
        }
    }
    // Local APIC and message window; on AMD's processors addresses of the HyperTransport fabric.
    iomem.remove(0xfee00, 0xfeeff)?;
    if xen.host.policies.host.vendor() == Vendor::Amd {
        iomem.remove(0xfd_0000_0000 / PAGE, (1 << 40) / PAGE - 1)?;
    }
    // What dom0 may look at, but only the hypervisor writes.
    if let Some(t) = boot::acpi() {
        for io in &t.ioapics {
            xen.read_only.add(io.addr.into(), PAGE)?;
        }
        if let Some(hpet) = t.hpet {
            xen.read_only.add(hpet, PAGE)?;
        }
        for w in &t.mcfg {
            let buses = u64::from(w.last_bus).saturating_sub(w.first_bus.into()) + 1;
            xen.read_only.add(w.base + (u64::from(w.first_bus) << 20), buses << 20)?;
        }
    }
    *dom.io.iomem.write() = iomem;

    // The console's too: dom0's ACPI maps it, and binding it is refused because it is in use.
    let mut irqs = RangeSet::new();
    for gsi in 0..crate::irq::nr_gsis() {
        irqs.add(gsi.into(), gsi.into())?;
    }
    *dom.io.irqs.write() = irqs;
    Ok(())
}
