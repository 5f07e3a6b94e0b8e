//! `trace`: where `HYPERVISOR_iret` leads, from good frames and from bad ones.

use abi::arch_x86::{FLAT_USER_SS, VGCF_IN_SYSCALL};
use abi::callback::{CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKTYPE_FAILSAFE, CallbackRegister};
use abi::xen::*;

use super::events;
use super::trace::run_and_say;
use super::trace_user::{self, STACK_TOP};
use crate::hypercall::{call, op};
use crate::mm;
use crate::trace::*;

/// `struct iret_context`, but for the registers that every frame has alike.
#[derive(Clone, Copy)]
pub struct Return {
    pub flags: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Where the frame stands on the kernel's stack.
const FRAME: u64 = 0xe00;
const RAX_BACK: u64 = 0xaaaa_0000_aaaa_0001;
const RCX_BACK: u64 = 0xcccc_0000_cccc_0002;
const R11_BACK: u64 = 0xbbbb_0000_bbbb_0003;

/// Registers for a return with this frame, and what they are compared with there.
pub fn case(ret: &Return, regs: Regs, masked: u8) -> Case {
    clear_stacks();
    let at = stack().va() + FRAME;
    let frame = [RAX_BACK, R11_BACK, RCX_BACK, ret.flags, ret.rip, ret.cs, ret.rflags, ret.rsp, ret.ss];
    for (i, word) in frame.into_iter().enumerate() {
        mm::write(at + 8 * i as u64, word);
    }
    let was = regs.with(&[(RAX, RAX_BACK), (RCX, RCX_BACK), (R11, R11_BACK), (RSP, ret.rsp)]);
    let regs = regs.with(&[(RAX, HYPERVISOR_IRET.into()), (RSP, at)]).flags(0x202);
    Case { regs, was, target: hypercall(), mem: 0, user: 0, frame: 0, masked, task_switched: false }
}

fn returns(name: &str, ret: &Return, masked: u8) -> Trace {
    let case = Case { user: ret.rip, ..case(ret, Regs::pattern(), masked) };
    let found = resume(&case);
    found.say(Name::new(format_args!("iret-{name}")).as_str());
    found
}

pub fn run() {
    let kernel =
        Return { flags: 0, rip: landing(), cs: 0xe030, rflags: 0x202, rsp: stack().va() + 0xd08, ss: 0xe02b };
    let user = Return {
        flags: 0,
        rip: trace_user::landing(),
        cs: 0xe033,
        rflags: 0x202,
        rsp: STACK_TOP - 0x18,
        ss: FLAT_USER_SS.into(),
    };
    good("kernel", kernel);
    good("user", user);
    for (name, cs) in
        [("rpl1", 0xe031), ("rpl2", 0xe032), ("bits-above", 0x1_0000_e030), ("mask-saved", 0xff_0000_e030)]
    {
        returns(Name::new(format_args!("kernel-{name}")).as_str(), &Return { cs, ..kernel }, 1);
    }
    bad("kernel", kernel, 0);
    bad("user", user, 3);
    returns("user-code32", &Return { cs: 0xe023, rip: trace_user::landing32(), ..user }, 1);
    returns(
        "user-code32-in-syscall",
        &Return { cs: 0xe023, flags: VGCF_IN_SYSCALL, rip: trace_user::landing32(), ..user },
        1,
    );
    failsafe(kernel, user);
    events_on_return(kernel, user);
}

fn good(side: &str, to: Return) {
    let named = |name: &str, ret: &Return, masked| {
        returns(Name::new(format_args!("{side}-{name}")).as_str(), ret, masked);
    };
    named("plain", &to, 1);
    named("unmasks", &Return { rflags: 0x202, ..to }, 1);
    named("masks", &Return { rflags: 2, ..to }, 0);
    named("in-syscall", &Return { flags: VGCF_IN_SYSCALL, ..to }, 1);
    named("in-syscall-masks", &Return { flags: VGCF_IN_SYSCALL, rflags: 2, ..to }, 0);
    named("in-syscall-flags", &Return { flags: VGCF_IN_SYSCALL, rflags: 0x24_0ed7, ..to }, 1);
    named("flags-other", &Return { flags: !VGCF_IN_SYSCALL, ..to }, 1);
    for (name, rflags) in [
        ("status", 0xad7u64),
        ("direction", 0x602),
        ("step", 0x302),
        ("iopl", 0x3202),
        ("resume", 0x1_0202),
        ("alignment", 0x4_0202),
        ("vif-vip", 0x18_0202),
        ("vm", 0x2_0202),
        ("id", 0x20_0202),
        ("reserved", 0x822a),
        ("high", 0xffff_ffff_0000_0202),
    ] {
        named(name, &Return { rflags, ..to }, 1);
    }
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
}

/// `rpl` keeps the frame the kernel's (0) or user mode's (3).
fn bad(side: &str, to: Return, rpl: u64) {
    for (name, ret) in [
        ("cs-absent", Return { cs: 0x1238 | rpl, ..to }),
        ("cs-null", Return { cs: rpl, ..to }),
        ("cs-data", Return { cs: 0xe028 | rpl, ..to }),
        ("cs-hypervisor", Return { cs: 0xe008 | rpl, ..to }),
        ("cs-ldt", Return { cs: 0xc | rpl, ..to }),
        ("cs-high", Return { cs: 0xfff8 | rpl, ..to }),
        ("ss-absent", Return { ss: 0x1238 | rpl, ..to }),
        ("ss-null", Return { ss: 0, ..to }),
        ("ss-null-rpl3", Return { ss: 3, ..to }),
        ("ss-code", Return { ss: 0xe030 | rpl, ..to }),
        ("ss-hypervisor", Return { ss: 0xe010 | rpl, ..to }),
        ("ss-rpl0", Return { ss: 0xe028, ..to }),
        ("rip-noncanonical", Return { rip: 0x8000_0000_0000, ..to }),
        ("rip-noncanonical-high", Return { rip: 0x8012_3456_789a_bcde, ..to }),
        ("rip-noncanonical-in-syscall", Return { rip: 0x8000_0000_0000, flags: VGCF_IN_SYSCALL, ..to }),
        ("rip-hypervisor", Return { rip: 0xffff_8300_0000_0000, ..to }),
        ("rip-hypervisor-in-syscall", Return { rip: 0xffff_8300_0000_0000, flags: VGCF_IN_SYSCALL, ..to }),
        ("rip-unmapped", Return { rip: 0x1000, ..to }),
        ("rip-unmapped-in-syscall", Return { rip: 0x1000, flags: VGCF_IN_SYSCALL, ..to }),
        ("rsp-misaligned", Return { rsp: to.rsp + 3, ..to }),
    ] {
        let found = returns(Name::new(format_args!("{side}-{name}")).as_str(), &ret, 1);
        if found.after.vector == FAILSAFE {
            // The handler repairs the frame and returns again.
            let s = found.after.gpr[RSP];
            mm::write(s + 8 * 7, to.cs);
            mm::write(s + 8 * 10, to.ss);
            let back = resume(&found.back(Some(to.rip)));
            back.say(Name::new(format_args!("iret-{side}-{name}-back")).as_str());
        }
    }
}

fn failsafe(kernel: Return, user: Return) {
    let mut register = CallbackRegister {
        type_: CALLBACKTYPE_FAILSAFE,
        flags: CALLBACKF_MASK_EVENTS,
        _pad0: 0,
        address: stub(FAILSAFE),
    };
    for (name, flags) in [("masking", CALLBACKF_MASK_EVENTS), ("open", 0)] {
        register.flags = flags;
        op(HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &mut register);
        for (side, to) in [("kernel", kernel), ("user", user)] {
            for rflags in [2u64, 0x202, 0x24_0ed7] {
                let ret = Return { rip: 0x8000_0000_0000, rflags, ..to };
                returns(Name::new(format_args!("failsafe-{side}-{name}-{rflags:x}")).as_str(), &ret, 1);
            }
        }
    }
}

/// An event that waits is delivered where the return unmasks, with the state returned to in its frame.
fn events_on_return(kernel: Return, user: Return) {
    let (_, port) = events::bind_ipi(0);
    events::set_mask(port, false);
    for (name, to) in [("kernel", kernel), ("user", user)] {
        for (flags, rflags) in [("masked", 2), ("unmasked", 0x202), ("all", 0x24_0ed7), ("step", 0x302)] {
            events::send(port);
            let name = Name::new(format_args!("event-{name}-{flags}"));
            let ret = Return { rflags, ..to };
            let upcall = returns(name.as_str(), &ret, 1);
            events::clear();
            if upcall.after.vector == EVENT {
                resume(&upcall.back(None))
                    .say(Name::new(format_args!("iret-{}-back", name.as_str())).as_str());
            }
        }
        events::send(port);
        let ret = Return { flags: VGCF_IN_SYSCALL, ..to };
        returns(Name::new(format_args!("event-{name}-in-syscall")).as_str(), &ret, 1);
        // To a frame that cannot be returned to.
        events::clear();
        events::send(port);
        let ret = Return { rip: 0x8000_0000_0000, ..to };
        returns(Name::new(format_args!("event-{name}-bad")).as_str(), &ret, 1);
        events::clear();
    }
    call(HYPERVISOR_SET_DEBUGREG, [6, 0, 0, 0]);
    events::close(port);
    run_and_say("iret-over", &Case { target: landing(), ..case(&kernel, Regs::pattern(), 1) });
}
