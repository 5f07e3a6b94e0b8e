//! Boot: from the loader's hand-over to a running system.
//!
//! The order matters: exceptions first, then the command line and the console, memory, firmware's tables, the
//! final stack, heap, interrupts, clocks, the other CPUs; [`crate::hooks::main`] has the rest.

pub mod entry;
pub mod options;
pub mod trampoline;

use core::cell::UnsafeCell;

use hypercore::boot::acpi::{self, Tables};
use hypercore::boot::cmdline::ClockSource;
use hypercore::boot::info::BootInfo;

use crate::cpu::{features, idt};
use crate::mm::{self, Firmware};
use crate::sync::Once;
use crate::{apic, console, hooks, irq, percpu, smp, symbols, time};

struct Boot(UnsafeCell<BootInfo>);

// SAFETY: written by `start` before anything reads it, and before other CPUs run.
unsafe impl Sync for Boot {}

static BOOT: Boot = Boot(UnsafeCell::new(BootInfo::new()));
static ACPI: Once<Tables> = Once::new();
static KBD_SHIFT_FLAGS: Once<Option<u8>> = Once::new();

/// The firmware's tables; `None` where there are none.
pub fn acpi() -> Option<&'static Tables> {
    ACPI.get()
}

/// [`hypercore::boot::kbd_shift_flags`] as they were at the start.
pub fn kbd_shift_flags() -> Option<u8> {
    KBD_SHIFT_FLAGS.get().copied().flatten()
}

/// What the loader told.
pub fn info() -> &'static BootInfo {
    // SAFETY: `start` has filled it, and nothing changes it any more.
    unsafe { &*BOOT.0.get() }
}

/// First Rust code; `magic` and `info` are what the loader left in eax and ebx.
extern "C" fn start(magic: u32, info: u32) -> ! {
    percpu::init_bsp();
    hypercore::sync::set_relax_hook(crate::cpu::serve_others);
    idt::init();
    idt::load();
    // SAFETY: this is the only writer, and nobody reads yet.
    let failure = hypercore::boot::parse(magic, info, &Firmware, unsafe { &mut *BOOT.0.get() }).err();
    let boot = self::info();
    let line = boot.command_line.as_str();
    options::init(line);
    let Some(options) = options::get() else { crate::cpu::halt_forever() };
    console::init(options);
    console::always(format_args!("Xenolith 4.17.0-xenolith (Xen ABI 4.17)"));
    console::always(format_args!("Bootloader: {} ({})", boot.loader, hypercore::boot::protocol(magic)));
    console::always(format_args!("Command line: {line}"));
    let id = symbols::build_id();
    if !id.is_empty() {
        console::always(format_args!("build-id: {}", hypercore::console::lines::Hex(id)));
    }
    options::report(line);
    if let Some(error) = failure {
        panic!("the boot loader's information (eax {magic:#x}) is unusable: {error:?}");
    }

    features::detect(options.smep, options.smap, options.x2apic);
    features::enable();
    features::patch_smap();
    for r in &boot.memory {
        console::always(format_args!(" [{:016x}, {:016x}] type {}", r.start, r.end - 1, r.kind));
    }
    KBD_SHIFT_FLAGS.call_once(|| hypercore::boot::kbd_shift_flags(&Firmware));
    let root = acpi::find_rsdp(boot.rsdp, &Firmware).ok_or(acpi::AcpiError::NoRsdp);
    match root.and_then(|at| acpi::parse(at, &Firmware)) {
        Ok(tables) => {
            ACPI.call_once(|| tables);
        }
        Err(error) => panic!("no usable ACPI tables ({error:?}): nothing tells of interrupts and processors"),
    }
    mm::init(boot);
    smp::move_bsp(start_on_own_stack)
}

/// The rest, on the boot processor's guarded stack.
extern "C" fn start_on_own_stack() -> ! {
    let (boot, Some(options), Some(tables)) = (info(), options::get(), acpi()) else {
        crate::cpu::halt_forever()
    };
    console::grow_ring(options.conring_size.unwrap_or(32 << 10));
    crate::info!("System RAM: {}MB ({}kB)", mm::ram().total() >> 20, mm::ram().total() >> 10);
    crate::info!("{} symbols for backtraces", symbols::count());

    apic::disable_8259();
    apic::local::detect(tables.local_apic);
    apic::local::enable();
    let own = apic::local::id();
    let acpi_id = tables.cpus.iter().find(|c| c.apic_id == own).map_or(0, |c| c.acpi_id);
    percpu::identify_bsp(own, acpi_id);
    percpu::this().shared().online.store(true, core::sync::atomic::Ordering::Release);
    apic::ioapic::init(tables);
    crate::info!(
        "Interrupts: {} GSIs, APIC mode {}",
        irq::nr_gsis(),
        if apic::local::is_x2apic() { "x2APIC" } else { "xAPIC" }
    );
    if options.apic_verbose {
        apic::ioapic::dump(console::always);
    }
    let pm_timer = tables.fadt.pm_timer.map(|port| (port, tables.fadt.pm_timer_32bit));
    let wanted = |source| options.clock_source == ClockSource::Any || options.clock_source == source;
    time::init(
        pm_timer.filter(|_| wanted(ClockSource::PmTimer)),
        tables.hpet.filter(|_| options.hpet && wanted(ClockSource::Hpet)),
        options.tsc_distrusted,
    );
    console::enable_input();
    smp::start_all(tables, options.maxcpus.unwrap_or(u32::MAX));
    console::always(format_args!("Brought up {} CPUs", percpu::count()));
    hooks::main(boot)
}
