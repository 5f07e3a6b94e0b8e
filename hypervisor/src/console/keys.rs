//! Debug keys: what the hypervisor shows when asked from its console or by `xl debug-keys`.

use crate::console::always;
use crate::cpu::instr;
use crate::{hooks, mm, panic, percpu, power, time, watchdog};

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
];

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

fn registers() {
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    always(format_args!("*** Dumping CPU{} host state: ***", percpu::this().id));
    always(format_args!("cr0: {:016x}   cr4: {:016x}", instr::read_cr0(), instr::read_cr4()));
    always(format_args!("cr3: {:016x}   cr2: {:016x}", instr::read_cr3(), instr::read_cr2()));
    always(format_args!("Xen call trace:"));
    panic::backtrace(0, rbp, |at| match crate::symbols::find(at) {
        Some(s) => always(format_args!("   [<{at:016x}>] {}+{:#x}", s.name, at - s.address)),
        None => always(format_args!("   [<{at:016x}>] ?")),
    });
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
    let sound = if time::tsc_is_sound() { "agree" } else { "do not agree" };
    always(format_args!("TSCs {sound}: greatest warp {} ticks", time::max_warp()));
}

fn crash() {
    panic!("Crash requested by debug key");
}
