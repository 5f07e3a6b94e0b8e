//! The other processors: their start.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hypercore::boot::acpi::{Cpu, Tables};
use hypercore::boot::cpus::{self, Unused};

use crate::boot::trampoline;
use crate::cpu::gdt::GdtPage;
use crate::cpu::{self, features, gdt, idt};
use crate::layout::{MAX_CPUS, PAGE};
use crate::mm::percpu_map::{self, Stacks};
use crate::mm::{paging, phys_to_virt, take_pages};
use crate::percpu::{self, PerCpu};
use crate::{apic, hooks, time};

/// How long a CPU may take to start.
const START_NS: u64 = 1_000_000_000;
/// Pause between INIT and STARTUP: only processors before x86-64 needed the 10 ms of the manual.
const INIT_NS: u64 = 100_000;

/// Gives the boot processor its final stacks and windows; goes on at `next` on the new stack.
pub fn move_bsp(next: extern "C" fn() -> !) -> ! {
    let stacks = percpu_map::create(0, &gdt::BSP_GDT).expect("no memory for the boot processor's stacks");
    // SAFETY: the stacks are mapped and this CPU's; the window shows the page of descriptors in use.
    unsafe {
        percpu::this().set_stacks(guest_frame_top(stacks.main), stacks.ist);
        gdt::load_window(gdt::gdt_window(0));
        core::arch::asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "push 0",
            "push 0",
            "jmp {next}",
            stack = in(reg) stacks.main - 64,
            next = in(reg) next,
            options(noreturn),
        )
    }
}

/// Where the processor begins to push when it enters from a guest: room above for the four data selectors that
/// end the ABI's `cpu_user_regs`.
pub const fn guest_frame_top(stack_top: u64) -> u64 {
    stack_top - 32
}

/// Starts every enabled processor of the firmware's list, up to `limit` CPUs.
pub fn start_all(tables: &Tables, limit: u32) {
    // What a CPU that did not start would have used: the next one's, for it gets the same number.
    let mut spare = None;
    cpus::start_all(
        &tables.cpus,
        percpu::this().apic_id,
        limit.min(MAX_CPUS as u32),
        apic::local::is_x2apic(),
        |id, entry| {
            let area = match spare.take() {
                Some(area) => area,
                None => Area::new(id)?,
            };
            area.assign(id, entry);
            start(id, entry, &area).inspect_err(|_| {
                // Should it be running after all, it stops and waits for a start that never comes.
                apic::local::send_init(entry.apic_id);
                spare = Some(area);
            })
        },
        |entry, why| {
            let apic_id = entry.apic_id;
            match why {
                Unused::Limit => crate::warning!("CPU with APIC id {apic_id:#x} not used (maxcpus)"),
                Unused::NeedsX2apic => {
                    crate::warning!("CPU with APIC id {apic_id:#x} needs x2APIC mode, not used")
                }
                Unused::Failed(id, why) => {
                    crate::error!("CPU{id} (APIC id {apic_id:#x}) did not start: {why}")
                }
            }
        },
    );
    if time::max_warp() != 0 {
        crate::warning!("TSC warp between CPUs: {} ticks", time::max_warp());
    }
}

/// What a CPU has to itself before it starts.
struct Area {
    record: *mut PerCpu,
    page: *mut GdtPage,
    stacks: Stacks,
}

impl Area {
    /// For CPU `id`.
    fn new(id: u32) -> Result<Area, &'static str> {
        const NO_MEMORY: &str = "out of memory";
        let record_pages = (core::mem::size_of::<PerCpu>() as u64).div_ceil(PAGE);
        let record = phys_to_virt(take_pages(record_pages, 1).ok_or(NO_MEMORY)?) as *mut PerCpu;
        let page = phys_to_virt(take_pages(1, 1).ok_or(NO_MEMORY)?) as *mut GdtPage;
        let stacks = percpu_map::create(id, page).map_err(|_| NO_MEMORY)?;
        Ok(Area { record, page, stacks })
    }

    /// Makes it the processor's that is to be CPU `id`, the number it was made for.
    fn assign(&self, id: u32, entry: &Cpu) {
        // SAFETY: pages of the right size and alignment, kept for ever; no CPU of this number runs, as one that failed
        // to start is held in INIT.
        unsafe {
            self.record.write(PerCpu::new(id, entry.apic_id, entry.acpi_id));
            self.page.write(GdtPage::new());
            percpu::install(self.record, self.page);
            (*self.record).set_stacks(guest_frame_top(self.stacks.main), self.stacks.ist);
        }
    }
}

fn start(id: u32, entry: &Cpu, area: &Area) -> Result<(), &'static str> {
    WARP_STATE.store(0, Ordering::Release);
    let page = trampoline::prepare(area.stacks.main - 64, ap_entry, id);
    let shared = percpu::shared(id).ok_or("no record")?;
    apic::local::send_init(entry.apic_id);
    time::spin_ns(INIT_NS);
    let deadline = time::now_ns() + START_NS;
    for _ in 0..2 {
        apic::local::send_startup(entry.apic_id, page);
        let patience = time::now_ns() + 10_000_000;
        while WARP_STATE.load(Ordering::Acquire) == 0 && time::now_ns() < patience {
            cpu::relax();
        }
        if WARP_STATE.load(Ordering::Acquire) != 0 {
            break;
        }
    }
    while WARP_STATE.load(Ordering::Acquire) == 0 {
        if time::now_ns() > deadline {
            return Err("no sign of life");
        }
        cpu::relax();
    }
    warp_test();
    while !shared.online.load(Ordering::Acquire) {
        if time::now_ns() > deadline + START_NS {
            return Err("stuck in its start");
        }
        cpu::relax();
    }
    percpu::count_in(id);
    Ok(())
}

/// First Rust code of an application processor, on its own stack.
extern "C" fn ap_entry(id: u32) -> ! {
    features::enable();
    // SAFETY: the template maps all that is in use; `id` is this CPU's.
    unsafe {
        cpu::instr::write_cr3(paging::template());
        percpu::enter(id);
        gdt::load_window(gdt::gdt_window(id));
    }
    idt::load();
    apic::local::enable();
    apic::local::timer_enable();
    WARP_STATE.store(1, Ordering::Release);
    warp_test();
    percpu::this().shared().online.store(true, Ordering::Release);
    hooks::ap_main()
}

// ---- TSC warp ----

/// 0: nobody started; 1: the new CPU waits; 2: both run the test.
static WARP_STATE: AtomicU32 = AtomicU32::new(0);
static WARP_LAST: AtomicU64 = AtomicU64::new(0);
static WARP_LOCK: spin::Mutex<()> = spin::Mutex::new(());
const WARP_ROUNDS: u32 = 10_000;

/// Two CPUs take turns in reading their TSCs under a lock; one that reads less than the other did before it is
/// behind.
fn warp_test() {
    if percpu::this().id == 0 {
        WARP_LAST.store(0, Ordering::Relaxed);
        WARP_STATE.store(2, Ordering::Release);
    } else {
        while WARP_STATE.load(Ordering::Acquire) != 2 {
            core::hint::spin_loop();
        }
    }
    for _ in 0..WARP_ROUNDS {
        let _turn = WARP_LOCK.lock();
        let last = WARP_LAST.load(Ordering::Relaxed);
        let now = cpu::instr::rdtsc();
        WARP_LAST.store(now, Ordering::Relaxed);
        if now < last {
            time::note_warp(last - now);
        }
    }
}
