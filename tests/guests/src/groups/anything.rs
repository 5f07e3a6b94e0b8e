//! `anything`: any hypercall with any arguments, `calls=` of them from `seed=` on the command line. Not a part of `all`.
//!
//! What it points to is mostly memory of its own with words that may mean something to a call, so that many a call gets
//! past its first checks. Nobody minds what is answered: the hypervisor, and whoever works beside this domain, must not
//! notice. Most runs end early, by something that the domain does to itself.

use abi::xen::*;

use crate::boot::number;
use crate::mm::{self, DATA, Page, READ, TABLE};
use crate::{probe, say};

/// Pages that arguments stand in, are made of, and are mapped at.
const PAGES: usize = 24;
/// Calls between two lines on the console.
const LINE: u64 = 500;

/// They take a list of operations.
const LISTS: [u32; 3] = [HYPERVISOR_MULTICALL, HYPERVISOR_MMU_UPDATE, HYPERVISOR_MMUEXT_OP];
/// A command, and a structure.
const WITH_COMMAND: [u32; 6] = [
    HYPERVISOR_MEMORY_OP,
    HYPERVISOR_EVENT_CHANNEL_OP,
    HYPERVISOR_GRANT_TABLE_OP,
    HYPERVISOR_VCPU_OP,
    HYPERVISOR_PHYSDEV_OP,
    HYPERVISOR_XEN_VERSION,
];
/// Few domains live on after one of them.
const FATAL: [u32; 9] = [
    HYPERVISOR_SET_TRAP_TABLE,
    HYPERVISOR_SET_GDT,
    HYPERVISOR_STACK_SWITCH,
    HYPERVISOR_SET_CALLBACKS,
    HYPERVISOR_SCHED_OP_COMPAT,
    HYPERVISOR_SET_DEBUGREG,
    HYPERVISOR_IRET,
    HYPERVISOR_SCHED_OP,
    HYPERVISOR_CALLBACK_OP,
];

struct Any {
    state: u64,
    pages: [&'static Page; PAGES],
}

pub fn run() {
    let (seed, calls) = (number("seed").unwrap_or(1), number("calls").unwrap_or(LINE));
    let mut any = Any { state: seed | 1, pages: core::array::from_fn(|_| Page::new()) };
    let mut succeeded = 0u64;
    for made in 1..=calls {
        succeeded += u64::from(any.call() >= 0);
        if made.is_multiple_of(LINE) || made == calls {
            say!("anything.calls", "made={made} succeeded={succeeded}");
        }
    }
}

impl Any {
    /// xorshift64*
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 8) % n
    }

    fn page(&mut self) -> &'static Page {
        self.pages[self.below(PAGES as u64) as usize]
    }

    /// A word that may mean something.
    fn word(&mut self) -> u64 {
        match self.below(16) {
            0..3 => self.below(4),
            3 => self.below(64),
            4 | 5 => self.page().va() + self.below(512) * 8,
            6 => self.page().mfn(),
            7 => self.page().maddr() | [DATA, READ, TABLE][self.below(3) as usize],
            8 => {
                // Its entry in the level-1 table.
                let va = self.page().va();
                mm::entry_maddr(va, 1).unwrap_or(0) | self.below(4)
            }
            9 => [DOMID_SELF, DOMID_IO, DOMID_XEN, 0, 1, 2, 3][self.below(7) as usize].into(),
            // Somebody else's frame.
            10 => self.below(1 << 20),
            11 => 0xffff_8000_0000_0000 | self.next() >> 17,
            12 => mm::l4_mfn(),
            13 => 1 << self.below(64),
            14 => 0,
            _ => self.next(),
        }
    }

    /// Of a hypercall. What ends or stops the domain, or takes its handlers away, is rare.
    fn number(&mut self) -> u32 {
        let number = match self.below(8) {
            0 | 1 => self.below(128) as u32,
            2 | 3 => LISTS[self.below(LISTS.len() as u64) as usize],
            _ => WITH_COMMAND[self.below(WITH_COMMAND.len() as u64) as usize],
        };
        if FATAL.contains(&number) && self.below(500) != 0 { HYPERVISOR_XEN_VERSION } else { number }
    }

    fn call(&mut self) -> i64 {
        let number = self.number();
        let argument = self.page();
        let at = argument.va();
        let mut args = [(); 6].map(|()| self.word());
        if LISTS.contains(&number) {
            (args[0], args[1]) = (at, self.below(3));
        } else if number == HYPERVISOR_VCPU_OP {
            (args[0], args[1], args[2]) = (3 + self.below(13), self.below(2), at);
        } else if WITH_COMMAND.contains(&number) {
            (args[0], args[1], args[2]) = (self.below(32), at, self.below(3));
        }
        // What stands where arguments point to. The page may have been taken away: then the store traps.
        let mut words = [(); 16].map(|()| self.word());
        if number == HYPERVISOR_MULTICALL {
            for entry in words.chunks_mut(8) {
                entry[0] = self.number().into();
            }
        }
        // SAFETY: the pool's pages belong to checks.
        let stored = unsafe {
            probe!(["rep movsq"], inout("rcx") 16u64 => _, inout("rsi") words.as_ptr() => _, inout("rdi") at => _)
        };
        if stored.0.is_some() {
            argument.map(DATA);
        }
        syscall(number, args)
    }
}

/// Whatever the call does to the way back is a trap that nobody minds.
fn syscall(number: u32, args: [u64; 6]) -> i64 {
    let answer: i64;
    // SAFETY: as in `hypercall::raw`; what the call does to the domain is the domain's own affair.
    let trapped = unsafe {
        probe!(
            ["syscall"],
            inout("rax") u64::from(number) => answer,
            inout("rdi") args[0] => _,
            inout("rsi") args[1] => _,
            inout("rdx") args[2] => _,
            inout("r10") args[3] => _,
            inout("r8") args[4] => _,
            inout("r9") args[5] => _,
            lateout("rcx") _,
        )
    };
    if trapped.0.is_some() { -1 } else { answer }
}
