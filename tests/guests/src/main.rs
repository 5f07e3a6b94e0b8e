//! The tiny guest: a PV kernel that asks the hypervisor questions and prints the answers.
//!
//! It is booted as dom0 (some groups in another domain, too), by Debian's Xen and by Xenolith:
//! `qemu-system-x86_64 -kernel HYPERVISOR -initrd "tiny-guest group=events" …`. The command line's
//! `group=` (a comma-separated list, default `all`) selects what is asked. Each check prints one line
//! by `console_io` (on its PV console, where it is not dom0):
//!
//! ```text
//! TG <group>.<check>: <answer>
//! ```
//!
//! The answer is an errno, a value or an observed effect; what belongs to the machine (frame numbers,
//! sizes) is printed as a relation, so that the lines of two hypervisors can be compared literally.
//! The last line is `TG done`, after which the guest powers the machine off. A trap that no check
//! expected prints `TG unexpected …` and ends the run.
//!
//! `KNOWN_DIFFERENCES.md` beside this crate lists the checks whose answers differ by intent. It is a
//! Markdown table; of each row whose first cell is a check's name in backquotes, the cells are:
//! check | Debian's answer | Xenolith's answer | reason | demonstration. The answers stand in
//! backquotes, without the `TG <check>: ` before them; `*` stands for any answer. A difference that
//! is not listed, a listed one that does not show, and a check that only one side printed all fail
//! the comparison.
#![no_std]
#![no_main]

mod boot;
mod console;
mod groups;
mod hypercall;
mod mm;
mod print;
mod smp;
mod trace;
mod trap;

use abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};

use crate::print::say_raw;

/// A frame number in the hole below 4 GiB, with memory on both sides: the machine is made so.
const HOLE: u64 = 0x80000;

/// Called by `boot`'s entry code on the guest's own stack.
extern "C" fn guest_main() -> ! {
    trap::install();
    mm::map_shared_info();
    let selected = boot::selected_groups();
    for &(name, run) in groups::ALL {
        if selected.is_none_or(|list| list.split(',').any(|one| one == name || one == "all")) {
            run();
        }
    }
    for &(name, run) in groups::ON_REQUEST {
        if selected.is_some_and(|list| list.split(',').any(|one| one == name)) {
            run();
        }
    }
    say_raw(format_args!("TG done\n"));
    console::drain();
    hypercall::shutdown(SHUTDOWN_POWEROFF)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    say_raw(format_args!("TG unexpected panic: {info}\n"));
    hypercall::shutdown(SHUTDOWN_CRASH)
}
