//! Instructions of the hypervisor that may fault, and where each then goes on.
//!
//! Assembly that touches guest memory or guest-chosen registers adds `.quad fault, fixup` to section
//! `.ex_table` ([`asm_ex_table!`](crate::asm_ex_table)). The fixup finds registers and flags as they were at
//! the fault.

use super::Frame;

/// Assembly that says: if the instruction at label `$at` faults, go on at label `$fixup`.
#[macro_export]
macro_rules! asm_ex_table {
    ($at:literal, $fixup:literal) => {
        concat!(".pushsection .ex_table, \"a\"\n.quad ", $at, ", ", $fixup, "\n.popsection\n")
    };
}

/// Sends the interrupted code to its fixup, if the instruction has one.
pub fn fix_up(frame: &mut Frame) -> bool {
    unsafe extern "C" {
        static __ex_table_start: [u64; 2];
        static __ex_table_end: [u64; 2];
    }
    let (start, end) = (&raw const __ex_table_start, &raw const __ex_table_end);
    // SAFETY: the linker puts the table's pairs, and nothing else, between these two.
    let table = unsafe { core::slice::from_raw_parts(start, end.offset_from(start) as usize) };
    match table.iter().find(|entry| entry[0] == frame.rip) {
        Some(entry) => {
            frame.rip = entry[1];
            true
        }
        None => false,
    }
}
