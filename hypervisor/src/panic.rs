//! The end: what a hypervisor bug prints before the machine restarts.
//!
//! Registers, a backtrace by frame pointers with function names, and the current domain. No lock is waited
//! for; other CPUs are stopped by NMI.

use core::fmt::Arguments;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use hypercore::mca::bank::Logout;

use crate::boot::entry::boot_stack;
use crate::boot::options;
use crate::console;
use crate::cpu::{self, instr};
use crate::mm::percpu_map;
use crate::trap::{Frame, entry};
use crate::{apic, hooks, percpu, power, symbols, time};

const NOBODY: u32 = u32::MAX;
/// The CPU that ends the run; the others stop on NMI.
static ENDING: AtomicU32 = AtomicU32::new(NOBODY);

/// Seconds that a panic stays on the screen before the restart.
const REBOOT_AFTER_S: u64 = 5;

#[panic_handler]
fn rust_panic(info: &PanicInfo) -> ! {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    match info.location() {
        Some(at) => die(format_args!("{}, at {}:{}", info.message(), at.file(), at.line()), None, 0, rbp),
        None => die(format_args!("{}", info.message()), None, 0, rbp),
    }
}

/// An exception that nothing in the hypervisor expects.
pub fn on_exception(frame: &Frame, cr2: u64) -> ! {
    let name = exception_name(frame.entry_vector);
    die(
        format_args!(
            "FATAL TRAP: vector = {} ({name}), error code {:04x}",
            frame.entry_vector, frame.error_code
        ),
        Some((frame, cr2)),
        frame.rip,
        frame.rbp,
    )
}

/// A machine check, with what was read out, after which nothing can be relied on. It may have come to all CPUs at once:
/// one of them ends the run.
pub fn on_machine_check(frame: &Frame, l: &Logout, why: &str) -> ! {
    if !begin_end() {
        stop_here(frame);
    }
    let line = |text: Arguments| console::emergency(format_args!("(XEN) {text}\n"));
    line(format_args!("machine check: MCG_STATUS {:016x}", l.gstatus));
    for b in &l.banks {
        line(format_args!(
            "machine check: bank {}: status {:016x}, address {:016x}, misc {:016x}",
            b.number, b.status, b.addr, b.misc
        ));
    }
    finish(format_args!("FATAL MACHINE CHECK: {why}"), Some((frame, instr::read_cr2())), frame.rip, frame.rbp)
}

/// The watchdog found this CPU stuck where `frame` says.
pub fn on_stuck(frame: &Frame) -> ! {
    die(
        format_args!("FATAL: the watchdog finds CPU{} stuck", percpu::this().id),
        Some((frame, instr::read_cr2())),
        frame.rip,
        frame.rbp,
    )
}

/// This CPU ends the run. `false`: it is at it already, or another one is.
pub fn begin_end() -> bool {
    ENDING.compare_exchange(NOBODY, percpu::this().id, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Which CPU ends the run, if one does.
pub fn ending() -> Option<u32> {
    Some(ENDING.load(Ordering::Acquire)).filter(|&cpu| cpu != NOBODY)
}

/// The NMI that stops a CPU while another one dies.
pub fn stop_here(_frame: &Frame) -> ! {
    cpu::halt_forever()
}

fn die(what: Arguments, frame: Option<(&Frame, u64)>, rip: u64, rbp: u64) -> ! {
    if !begin_end() {
        // Dying once more while dying: say so if that still works, and stop.
        console::emergency(format_args!("\n(XEN) ... and again: {what}\n"));
        power::reboot_now();
    }
    finish(what, frame, rip, rbp)
}

/// What [`begin_end`] began.
fn finish(what: Arguments, frame: Option<(&Frame, u64)>, rip: u64, rbp: u64) -> ! {
    apic::send_nmi_to_others();
    console::emergency(format_args!("\n"));
    let line = |text: Arguments| console::emergency(format_args!("(XEN) {text}\n"));
    if let Some((f, cr2)) = frame {
        registers(f, cr2);
    }
    line(format_args!("Xen call trace:"));
    backtrace(rip, rbp, trace_line);
    line(format_args!(""));
    line(format_args!("****************************************"));
    line(format_args!("Panic on CPU {}:", percpu::this().id));
    line(format_args!("{what}"));
    hooks::describe_current(&mut |text| console::emergency(format_args!("(XEN) {text}\n")));
    line(format_args!("****************************************"));
    if options::never_reboot() {
        line(format_args!("Manual reset required ('noreboot' specified)"));
        cpu::halt_forever();
    }
    line(format_args!("Reboot in {REBOOT_AFTER_S} seconds..."));
    time::delay_ns(REBOOT_AFTER_S * 1_000_000_000);
    power::reboot_now()
}

fn trace_line(at: u64) {
    match symbols::find(at) {
        Some(s) => {
            console::emergency(format_args!("(XEN)    [<{at:016x}>] {}+{:#x}\n", s.name, at - s.address))
        }
        None => console::emergency(format_args!("(XEN)    [<{at:016x}>] ?\n")),
    }
}

/// Prints all registers of an interrupted hypervisor.
fn registers(f: &Frame, cr2: u64) {
    let line = |text: Arguments| console::emergency(format_args!("(XEN) {text}\n"));
    line(format_args!("----[ Xenolith-4.17  x86_64 ]----"));
    line(format_args!("CPU:    {}", percpu::this().id));
    let place = symbols::find(f.rip);
    line(format_args!("RIP:    {:04x}:[<{:016x}>] {}", f.cs, f.rip, place.map_or("?", |s| s.name)));
    line(format_args!("RFLAGS: {:016x}", f.rflags));
    line(format_args!("rax: {:016x}   rbx: {:016x}   rcx: {:016x}", f.rax, f.rbx, f.rcx));
    line(format_args!("rdx: {:016x}   rsi: {:016x}   rdi: {:016x}", f.rdx, f.rsi, f.rdi));
    line(format_args!("rbp: {:016x}   rsp: {:016x}   r8:  {:016x}", f.rbp, f.rsp, f.r8));
    line(format_args!("r9:  {:016x}   r10: {:016x}   r11: {:016x}", f.r9, f.r10, f.r11));
    line(format_args!("r12: {:016x}   r13: {:016x}   r14: {:016x}", f.r12, f.r13, f.r14));
    line(format_args!(
        "r15: {:016x}   cr0: {:016x}   cr4: {:016x}",
        f.r15,
        instr::read_cr0(),
        instr::read_cr4()
    ));
    line(format_args!("cr3: {:016x}   cr2: {cr2:016x}", instr::read_cr3()));
    line(format_args!("ss: {:04x}   cs: {:04x}", f.ss, f.cs));
}

/// Calls `each` with `rip` (unless 0) and the return addresses of the frames that start at `rbp`, as far as they lie
/// in one stack of the hypervisor.
pub fn backtrace(rip: u64, mut rbp: u64, mut each: impl FnMut(u64)) {
    if rip != 0 {
        each(rip);
    }
    let Some((bottom, top)) = percpu_map::stack_of(rbp).or_else(|| boot_stack(rbp)) else { return };
    for _ in 0..64 {
        if rbp < bottom || rbp + 16 > top || !rbp.is_multiple_of(8) {
            return;
        }
        // SAFETY: both words are within a mapped stack; at worst they are no frame and end the walk.
        let (next, back) = unsafe { (*(rbp as *const u64), *((rbp + 8) as *const u64)) };
        if back == 0 {
            return;
        }
        each(back);
        if let Some(at) = entry::interrupted_frame(back, rbp)
            && at + core::mem::size_of::<Frame>() as u64 <= top
        {
            // SAFETY: within the stack, and built by the entry code.
            each(unsafe { (*(at as *const Frame)).rip });
        }
        if next <= rbp {
            return;
        }
        rbp = next;
    }
}

/// The architecture's short name of an exception.
pub fn exception_name(vector: u32) -> &'static str {
    const NAMES: [&str; 22] = [
        "#DE",
        "#DB",
        "NMI",
        "#BP",
        "#OF",
        "#BR",
        "#UD",
        "#NM",
        "#DF",
        "coprocessor overrun",
        "#TS",
        "#NP",
        "#SS",
        "#GP",
        "#PF",
        "reserved",
        "#MF",
        "#AC",
        "#MC",
        "#XM",
        "#VE",
        "#CP",
    ];
    NAMES.get(vector as usize).copied().unwrap_or("unknown")
}
