//! Hypercalls by the `syscall` instruction.

use core::arch::asm;

use abi::sched::{SCHEDOP_SHUTDOWN, SchedShutdown};
use abi::xen::*;

/// Any hypercall, number and arguments as they are. Answers what the hypervisor left in rax.
///
/// Safe to call in the sense of a test: a check that hands over the address of memory it does not
/// own breaks itself, and shows in the log.
pub fn raw(number: u64, args: [u64; 6]) -> i64 {
    let answer: i64;
    // SAFETY: every register that the ABI lets a hypercall change is declared. The assembly may
    // read and write any memory as far as the compiler knows.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            inlateout("rdi") args[0] => _,
            inlateout("rsi") args[1] => _,
            inlateout("rdx") args[2] => _,
            inlateout("r10") args[3] => _,
            inlateout("r8") args[4] => _,
            inlateout("r9") args[5] => _,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    answer
}

pub fn call(number: u32, a: [u64; 4]) -> i64 {
    raw(number.into(), [a[0], a[1], a[2], a[3], 0, 0])
}

/// `op(command, struct)`, the shape of most hypercalls.
pub fn op<T>(number: u32, command: u32, arg: &mut T) -> i64 {
    call(number, [command.into(), addr(arg), 0, 0])
}

/// `op(command, array, count)`: the shape of grant_table_op.
pub fn op_array<T>(number: u32, command: u32, args: &mut [T]) -> i64 {
    call(number, [command.into(), args.as_mut_ptr() as u64, args.len() as u64, 0])
}

/// The guest address of a value, for a field or an argument.
pub fn addr<T>(value: &mut T) -> u64 {
    (&raw mut *value) as u64
}

pub fn update_va_mapping(va: u64, pte: u64, flags: u64) -> i64 {
    call(HYPERVISOR_UPDATE_VA_MAPPING, [va, pte, flags, 0])
}

/// mmu_update for the calling domain; the answer and how many elements were done.
pub fn mmu_update(updates: &mut [MmuUpdate]) -> (i64, u32) {
    let mut done = 0u32;
    let answer = call(
        HYPERVISOR_MMU_UPDATE,
        [updates.as_mut_ptr() as u64, updates.len() as u64, addr(&mut done), DOMID_SELF.into()],
    );
    (answer, done)
}

/// One update; the answer alone.
pub fn mmu_update1(ptr: u64, val: u64) -> i64 {
    mmu_update(&mut [MmuUpdate { ptr, val }]).0
}

/// One mmuext_op for the calling domain.
pub fn mmuext(cmd: u32, arg1: u64, arg2: u64) -> i64 {
    let mut op = MmuextOp { cmd, _pad0: 0, arg1, arg2 };
    call(HYPERVISOR_MMUEXT_OP, [addr(&mut op), 1, 0, DOMID_SELF.into()])
}

pub fn shutdown(reason: u32) -> ! {
    op(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, &mut SchedShutdown { reason });
    loop {
        call(HYPERVISOR_SCHED_OP, [abi::sched::SCHEDOP_YIELD.into(), 0, 0, 0]);
    }
}
