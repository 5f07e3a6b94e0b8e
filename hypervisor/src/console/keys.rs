//! Debug keys: what the hypervisor shows when asked from its console or by `xl debug-keys`.

use crate::apic::ioapic;
use crate::console::{always, read_ring, write_raw};
use crate::cpu::instr;
use crate::trap::Frame;
use crate::{hooks, irq, mm, panic, percpu, power, snapshot, time, watchdog};

/// A key, what it does in a few words, and the doing.
pub struct Key {
    pub key: u8,
    pub text: &'static str,
    pub act: fn(),
}

/// Keys of the platform; [`hooks::DEBUG_KEYS`] has the others.
const PLATFORM: &[Key] = &[
    Key { key: b'h', text: "show this message", act: help },
    Key { key: b'd', text: "dump registers", act: registers },
    Key { key: b'm', text: "memory info", act: memory },
    Key { key: b'R', text: "reboot machine", act: power::reboot_now_key },
    Key { key: b't', text: "display multi-cpu clock info", act: clock },
    Key { key: b'C', text: "trigger a crashdump", act: crash },
    Key { key: b'i', text: "dump interrupt bindings", act: interrupts },
    Key { key: b'z', text: "dump IOAPIC info", act: ioapics },
    Key { key: b'n', text: "NMI statistics", act: nmis },
    Key { key: b'w', text: "synchronously dump console ring buffer (dmesg)", act: ring },
    Key { key: b'*', text: "print all diagnostics", act: diagnostics },
];

/// Keys that do more than show, or show it all again.
const NOT_SHOWN: &[u8] = b"hRCAw*";

fn all() -> impl Iterator<Item = &'static Key> {
    PLATFORM.iter().chain(hooks::DEBUG_KEYS)
}

/// Acts on `key`; unknown ones do nothing.
pub fn press(key: u8) {
    if let Some(k) = all().find(|k| k.key == key) {
        if key != b'h' {
            always(format_args!("'{}' pressed -> {}", char::from(key), k.text));
        }
        // A serial line takes its time for a list of all there is.
        watchdog::without(k.act);
    }
}

fn help() {
    always(format_args!("'h' pressed -> showing installed handlers"));
    for k in all() {
        always(format_args!(" key '{}' (ascii '{:02x}') => {}", char::from(k.key), k.key, k.text));
    }
}

/// The registers of code that was interrupted.
pub fn show(r: &Frame) {
    always(format_args!("RIP:    {:04x}:[<{:016x}>]", r.cs, r.rip));
    always(format_args!("RFLAGS: {:016x}   rsp: {:016x}   ss: {:04x}", r.rflags, r.rsp, r.ss));
    always(format_args!("rax: {:016x}   rbx: {:016x}   rcx: {:016x}", r.rax, r.rbx, r.rcx));
    always(format_args!("rdx: {:016x}   rsi: {:016x}   rdi: {:016x}", r.rdx, r.rsi, r.rdi));
    always(format_args!("rbp: {:016x}   r8:  {:016x}   r9:  {:016x}", r.rbp, r.r8, r.r9));
    always(format_args!("r10: {:016x}   r11: {:016x}   r12: {:016x}", r.r10, r.r11, r.r12));
    always(format_args!("r13: {:016x}   r14: {:016x}   r15: {:016x}", r.r13, r.r14, r.r15));
}

fn registers() {
    own_registers();
    snapshot::others(|cpu, frame| match frame {
        None => always(format_args!("*** CPU{cpu} does not answer ***")),
        Some(r) if r.cs & 3 == 3 => {
            always(format_args!("*** Dumping CPU{cpu} guest state: ***"));
            show(r);
        }
        Some(r) => {
            always(format_args!("*** Dumping CPU{cpu} host state: ***"));
            show(r);
            always(format_args!("Xen call trace:"));
            trace(r.rip);
        }
    });
}

fn trace(at: u64) {
    match crate::symbols::find(at) {
        Some(s) => always(format_args!("   [<{at:016x}>] {}+{:#x}", s.name, at - s.address)),
        None => always(format_args!("   [<{at:016x}>] ?")),
    }
}

fn interrupts() {
    always(format_args!("IRQ information:"));
    irq::dump(always, hooks::irq_owner);
}

fn ioapics() {
    ioapic::dump(always);
}

fn nmis() {
    always(format_args!("CPU\tNMI"));
    for cpu in 0..percpu::count() {
        let count = percpu::shared(cpu).map_or(0, |s| s.nmis.load(core::sync::atomic::Ordering::Relaxed));
        always(format_args!("{cpu:3}\t{count}"));
    }
}

/// The ring once more, for somebody who was not there when it was written.
fn ring() {
    let mut show = |_, bytes: &[u8]| {
        write_raw(bytes);
        true
    };
    read_ring(false, 0, u32::MAX, &mut show);
}

/// All that only show something.
fn diagnostics() {
    for k in all().filter(|k| !NOT_SHOWN.contains(&k.key)) {
        always(format_args!("[{}: {}]", char::from(k.key), k.text));
        (k.act)();
    }
}

fn own_registers() {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    always(format_args!("*** Dumping CPU{} host state: ***", percpu::this().id));
    always(format_args!("cr0: {:016x}   cr4: {:016x}", instr::read_cr0(), instr::read_cr4()));
    always(format_args!("cr3: {:016x}   cr2: {:016x}", instr::read_cr3(), instr::read_cr2()));
    always(format_args!("Xen call trace:"));
    panic::backtrace(0, rbp, trace);
}

fn memory() {
    always(format_args!("Physical memory information:"));
    always(format_args!("    RAM: {} kB", mm::ram().total() >> 10));
    let heap = mm::heap::usage();
    always(format_args!(
        "    Xen heap: {} kB in pages; {} kB in small objects, {} kB free; {} kB beyond the reserve",
        heap.pages >> 10,
        heap.small >> 10,
        heap.free >> 10,
        heap.chunks >> 10
    ));
}

fn clock() {
    let s = time::scale();
    always(format_args!(
        "System time: {} ns; TSC {} kHz, APIC timer {} kHz",
        time::now_ns(),
        s.tsc_khz,
        s.apic_khz
    ));
    if let Some((system, platform)) = time::clocks() {
        always(format_args!("Platform timer: {platform} ns, {} ns behind", system as i64 - platform as i64));
    }
    let sound = if time::tsc_is_sound() { "sound" } else { "not sound" };
    always(format_args!("TSCs at the CPUs' start: {sound}, greatest warp {} ticks", time::max_warp()));
}

fn crash() {
    panic!("Crash requested by debug key");
}
