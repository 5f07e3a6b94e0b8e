//! Dispatch, batches, and the table of calls against what is answered.

use super::*;
use crate::hypercall_table::{HYPERCALLS, State};
use crate::testing::{Guest, Scratch, World};
use abi::arch_x86::TrapInfo;
use abi::version::XENVER_VERSION;
use core::sync::atomic::Ordering::*;
use std::string::String;
use std::vec::Vec;

fn guest() -> Guest {
    World::new(512, 1).domain(0, 1)
}

/// Runs a call as the machine does, until its answer stands in RAX.
fn run(g: &Guest, nr: u32, args: [u64; 6]) -> (u64, u32) {
    let mut regs = x86::regs::GuestRegs { rax: nr.into(), rip: 0x1002, ..Default::default() };
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
    for restarts in 0..10_000 {
        g.call(0, |cx| {
            *cx.regs = regs;
            let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
            let r = dispatch(cx, regs.rax as u32, &args);
            finish(cx, r);
            regs = *cx.regs;
        });
        if regs.rip == 0x1002 {
            return (regs.rax, restarts);
        }
        assert_eq!(regs.rip, 0x1000, "back at the instruction");
        regs.rip += 2;
    }
    panic!("never ends");
}

fn entry(op: u32, args: [u64; 6]) -> MulticallEntry {
    MulticallEntry { op: op.into(), result: 0x5555, args }
}

fn errno(e: Errno) -> u64 {
    e.to_ret()
}

#[test]
fn absent_calls_answer_as_the_table_says_and_served_ones_exist() {
    // Calls whose first argument is the operation.
    const BY_ARGUMENT: [u32; 9] = [
        HYPERVISOR_MEMORY_OP,
        HYPERVISOR_XEN_VERSION,
        HYPERVISOR_EVENT_CHANNEL_OP,
        HYPERVISOR_GRANT_TABLE_OP,
        HYPERVISOR_PHYSDEV_OP,
        HYPERVISOR_CALLBACK_OP,
        HYPERVISOR_NMI_OP,
        HYPERVISOR_SCHED_OP,
        HYPERVISOR_VCPU_OP,
    ];
    for r in HYPERCALLS {
        let args = match r.op {
            Some(op) if BY_ARGUMENT.contains(&r.nr) => [op.into(), 0, 0, 0, 0, 0],
            // The number is in the argument's memory: those tables are held by their own tests.
            Some(_) => continue,
            None => [u64::MAX; 6],
        };
        if r.nr == HYPERVISOR_IRET || matches!(r.name, "SCHEDOP_shutdown" | "VCPUOP_down") {
            continue;
        }
        let g = guest();
        let _scratch = Scratch::new(g.xen);
        let mut vp = None;
        let got = g.call(0, |cx| {
            let r = dispatch(cx, r.nr, &args);
            vp = cx.restart.take();
            answer(r)
        });
        match (r.state, r.op) {
            (State::Absent(e), _) => assert_eq!(got, Some(errno(e)), "{}", r.name),
            (State::Served, Some(_)) => assert_ne!(got, Some(errno(Errno::ENOSYS)), "{}", r.name),
            // A served call may refuse operation ~0 that way.
            (State::Served, None) => {}
        }
    }
}

#[test]
fn absent_commands_of_the_tools_calls_answer_as_the_table_says() {
    let g = guest();
    let mut s = Scratch::new(g.xen);
    let at = s.room(256);
    for r in HYPERCALLS {
        let (Some(op), State::Absent(e)) = (r.op, r.state) else { continue };
        let version = match r.nr {
            HYPERVISOR_DOMCTL => abi::domctl::XEN_DOMCTL_INTERFACE_VERSION,
            HYPERVISOR_SYSCTL => abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION,
            HYPERVISOR_PLATFORM_OP => abi::platform::XENPF_INTERFACE_VERSION,
            HYPERVISOR_MCA => abi::xen_mca::XEN_MCA_INTERFACE_VERSION,
            _ => continue,
        };
        s.set(at, &[0u64; 32]);
        s.set(at, &[op, version]);
        assert_eq!(run(&g, r.nr, [at, 0, 0, 0, 0, 0]).0, errno(e), "{}", r.name);
    }
}

#[test]
fn the_table_is_in_order_and_whole() {
    let key = |r: &crate::hypercall_table::Row| (r.nr, r.op.map_or(0, |o| u64::from(o) + 1));
    assert!(HYPERCALLS.windows(2).all(|w| key(&w[0]) < key(&w[1])));
    let mut text = String::new();
    crate::hypercall_table::render(&mut text).unwrap();
    assert_eq!(text.lines().count(), HYPERCALLS.iter().filter(|r| r.op.is_none()).count() + 2);
    assert!(text.contains("| 29 sched_op | served | yield, block, "));
    assert!(text.contains(" LIVEPATCH_op (ENOSYS)"));
}

#[test]
fn unknown_numbers_are_enosys() {
    let g = guest();
    for nr in [11, 43, 49, 64, 1 << 20, u32::MAX] {
        assert_eq!(run(&g, nr, [0; 6]).0, errno(Errno::ENOSYS));
    }
}

#[test]
fn a_batch_answers_in_its_entries() {
    let g = guest();
    let mut s = Scratch::new(g.xen);
    let inner = s.put(&[entry(HYPERVISOR_XEN_VERSION, [0; 6])]);
    let list = s.put(&[
        entry(HYPERVISOR_XEN_VERSION, [XENVER_VERSION.into(), 0, 0, 0, 0, 0]),
        entry(127, [0; 6]),
        entry(HYPERVISOR_MULTICALL, [inner, 1, 0, 0, 0, 0]),
        entry(HYPERVISOR_IRET, [0; 6]),
        MulticallEntry { op: 1 << 40 | 17, ..entry(0, [0; 6]) },
        entry(HYPERVISOR_XEN_VERSION, [99, 0, 0, 0, 0, 0]),
    ]);
    assert_eq!(run(&g, HYPERVISOR_MULTICALL, [list, 6, 0, 0, 0, 0]), (0, 0));
    let results: Vec<u64> = s.list::<MulticallEntry>(list, 6).iter().map(|e| e.result).collect();
    let (no, bad) = (errno(Errno::ENOSYS), errno(Errno::EINVAL));
    assert_eq!(results, [4 << 16 | 17, no, bad, no, no, no]);
    assert_eq!(s.get::<MulticallEntry>(inner).result, 0x5555);
    let fault = errno(Errno::EFAULT);
    assert_eq!(run(&g, HYPERVISOR_MULTICALL, [0xffff_8300_0000_0000, 1, 0, 0, 0, 0]).0, fault);
    assert_eq!(run(&g, HYPERVISOR_MULTICALL, [u64::MAX - 63, 2, 0, 0, 0, 0]).0, fault);
    assert_eq!(run(&g, HYPERVISOR_MULTICALL, [0, 0, 0, 0, 0, 0]).0, 0);
}

#[test]
fn a_preempted_batch_goes_on_with_the_rest() {
    let g = guest();
    let mut s = Scratch::new(g.xen);
    let list: Vec<_> = (0..100).map(|_| entry(HYPERVISOR_XEN_VERSION, [0; 6])).collect();
    let at = s.put(&list[..]);
    g.xen.m.preempt_every.store(1, SeqCst);
    let (answer, restarts) = run(&g, HYPERVISOR_MULTICALL, [at, 100, 0, 0, 0, 0]);
    assert_eq!((answer, restarts), (0, 100 / BATCH));
    assert!(s.list::<MulticallEntry>(at, 100).iter().all(|e| e.result == 4 << 16 | 17));
}

/// Linux keeps a pointer in R9 over `grant_table_op`: a call that goes on later leaves what is no argument of its own.
#[test]
fn a_call_that_goes_on_later_keeps_the_other_registers() {
    let g = guest();
    let mut s = Scratch::new(g.xen);
    let list: Vec<_> = (0..100).map(|_| entry(HYPERVISOR_XEN_VERSION, [0; 6])).collect();
    let at = s.put(&list[..]);
    g.xen.m.preempt_every.store(1, SeqCst);
    let mut regs = x86::regs::GuestRegs {
        rdi: at,
        rsi: 100,
        rdx: 0xd,
        r10: 0x10,
        r8: 8,
        r9: 9,
        rbx: 0xb,
        rip: 0x1002,
        ..Default::default()
    };
    g.call(0, |cx| {
        *cx.regs = regs;
        let r = dispatch(cx, HYPERVISOR_MULTICALL, &[at, 100, 0xd, 0x10, 8, 9]);
        finish(cx, r);
        regs = *cx.regs;
    });
    assert_eq!(regs.rip, 0x1000);
    assert!(regs.rdi > at && regs.rsi < 100);
    assert_eq!([regs.rdx, regs.r10, regs.r8, regs.r9, regs.rbx], [0xd, 0x10, 8, 9, 0xb]);
}

#[test]
fn an_entry_that_goes_on_later_is_rewritten() {
    let g = guest();
    let mut s = Scratch::new(g.xen);
    // A trap table longer than what is looked at in one go.
    let trap = |i: usize| TrapInfo { vector: i as u8, address: 0x1000 + i as u64, ..Default::default() };
    let mut traps: Vec<_> = (0..300).map(trap).collect();
    traps.push(TrapInfo::default());
    let table = s.put(&traps[..]);
    let list = s.put(&[
        entry(HYPERVISOR_SET_TRAP_TABLE, [table, 2, 3, 4, 5, 6]),
        entry(HYPERVISOR_XEN_VERSION, [0; 6]),
    ]);
    assert_eq!(run(&g, HYPERVISOR_MULTICALL, [list, 2, 0, 0, 0, 0]), (0, 1));
    let done = s.list::<MulticallEntry>(list, 2);
    assert_eq!((done[0].result, done[1].result), (0, 4 << 16 | 17));
    assert_eq!(done[0].args, [table + 256 * 16, 2, 3, 4, 5, 6]);
    g.call(0, |cx| assert_eq!(cx.vp.traps.table[43].address, 0x1000 + 299));
}
