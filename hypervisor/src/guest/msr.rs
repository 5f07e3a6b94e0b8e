//! Model-specific registers that may not exist.

use core::arch::asm;

use crate::asm_ex_table;

/// Reads `msr`; `None` if that faults.
pub fn read_safe(msr: u32) -> Option<u64> {
    let (low, high, ok): (u32, u32, u32);
    // SAFETY: a fault at 2 goes on at 3 with `ok` still 0; reading changes nothing the hypervisor relies on.
    unsafe {
        asm!(
            "xor {ok:e}, {ok:e}",
            "2: rdmsr",
            "mov {ok:e}, 1",
            "3:",
            asm_ex_table!("2b", "3b"),
            ok = out(reg) ok, in("ecx") msr, out("eax") low, out("edx") high,
            options(nostack)
        );
    }
    (ok != 0).then_some(u64::from(low) | u64::from(high) << 32)
}

/// Writes `msr`; false if that faults. Callers have it from the policy's table: it keeps the hypervisor's state.
pub fn write_safe(msr: u32, value: u64) -> bool {
    let ok: u32;
    // SAFETY: as above; the policy admits only registers without lasting effect.
    unsafe {
        asm!(
            "xor {ok:e}, {ok:e}",
            "2: wrmsr",
            "mov {ok:e}, 1",
            "3:",
            asm_ex_table!("2b", "3b"),
            ok = out(reg) ok, in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack)
        );
    }
    ok != 0
}
