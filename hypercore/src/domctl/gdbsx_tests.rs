//! A debugger in the first domain, on a guest with tables of its own.

use super::*;
use crate::event::bind::bind_virq;
use crate::event::{level2, poll_check};
use crate::sched::stop_for_debugger;
use crate::testing::kernel::BASE;
use crate::testing::{Kernel, World};
use crate::traps::inject;
use crate::traps::inject::vector::{BP, DB};
use crate::traps::rflags::TF;
use abi::xen::{HYPERVISOR_DOMCTL, VIRQ_DEBUGGER};
use std::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The debugger's argument and its buffer are pages 0 and 1 of its own.
struct Bed {
    w: World,
    tool: Kernel,
    guest: Kernel,
}

fn bed() -> Bed {
    let w = World::new(1024, 2);
    let (tool, guest) = (w.domain(0, 1).boot(8), w.domain(5, 2).boot(8));
    Bed { w, tool, guest }
}

impl Bed {
    fn call<T: IntoBytes + Immutable>(&self, cmd: u32, payload: &T) -> Result<(), Errno> {
        self.call_on(5, cmd, payload)
    }

    fn call_on<T: IntoBytes + Immutable>(&self, domain: u16, cmd: u32, payload: &T) -> Result<(), Errno> {
        let header = DomctlHeader {
            cmd,
            interface_version: XEN_DOMCTL_INTERFACE_VERSION,
            domain,
            ..Default::default()
        };
        assert!(self.tool.write(0, BASE, header.as_bytes()));
        assert!(self.tool.write(0, BASE + DOMCTL_PAYLOAD_OFFSET as u64, payload.as_bytes()));
        self.tool.hypercall(0, HYPERVISOR_DOMCTL, [BASE, 0, 0, 0, 0, 0]).map(drop)
    }

    fn answer<T: FromBytes>(&self) -> T {
        let at = BASE + DOMCTL_PAYLOAD_OFFSET as u64;
        let words: Vec<u64> =
            (0..size_of::<T>().div_ceil(8) as u64).map(|i| self.tool.read(0, at + i * 8).unwrap()).collect();
        T::read_from_prefix(words.as_bytes()).unwrap().0
    }

    fn memio(&self, gva: u64, len: u32, write: bool) -> Result<(), Errno> {
        let io = DomctlGdbsxMemio {
            gva,
            uva: self.tool.va(1),
            len,
            gwr: write.into(),
            remain: 9,
            ..Default::default()
        };
        self.call(XEN_DOMCTL_GDBSX_GUESTMEMIO, &io)
    }

    fn status(&self) -> (u8, u32, u32) {
        self.call(XEN_DOMCTL_GDBSX_DOMSTATUS, &DomctlGdbsxDomstatus::default()).unwrap();
        let s: DomctlGdbsxDomstatus = self.answer();
        (s.paused, s.vcpu_id, s.vcpu_ev)
    }

    fn hold(&self, vcpu: u32, held: bool) -> Result<(), Errno> {
        let cmd = if held { XEN_DOMCTL_GDBSX_PAUSEVCPU } else { XEN_DOMCTL_GDBSX_UNPAUSEVCPU };
        self.call(cmd, &DomctlGdbsxPauseunpVcpu { vcpu })
    }
}

#[test]
fn memory_is_read_and_written_across_pages_and_tables_are_safe() {
    let b = bed();
    let text: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    let at = b.guest.va(2) - 500;
    assert!(b.guest.write(0, at, &text));
    assert_eq!(b.memio(at, 1000, false), Ok(()));
    assert_eq!(b.answer::<DomctlGdbsxMemio>().remain, 0);
    for i in (0..1000).step_by(8) {
        assert_eq!(b.tool.read(0, b.tool.va(1) + i), b.guest.read(0, at + i));
    }
    assert!(b.tool.write(0, b.tool.va(1), b"another text"));
    assert_eq!(b.memio(at + 3, 12, true), Ok(()));
    assert_eq!(b.guest.read(0, at + 3), Some(u64::from_le_bytes(*b"another ")));
    // A table is mapped behind the data pages, read-only.
    let table = b.guest.va(8);
    assert_eq!(b.memio(table, 8, false), Ok(()));
    assert_eq!(b.memio(table, 8, true), Err(Errno::EFAULT));
    for nowhere in [0, BASE - 8, 0x8000_0000_0000, u64::MAX - 3] {
        assert_eq!(b.memio(nowhere, 8, false), Err(Errno::EFAULT), "{nowhere:x}");
        assert_eq!(b.answer::<DomctlGdbsxMemio>().remain, 8, "{nowhere:x}");
    }
    // As far as there is something.
    let end = (8..64).map(|i| b.guest.va(i)).find(|&va| b.guest.read(0, va).is_none()).unwrap();
    assert_eq!(b.memio(end - 300, 1000, false), Err(Errno::EFAULT));
    assert_eq!(b.answer::<DomctlGdbsxMemio>().remain, 700);
    assert_eq!(b.memio(at, 0, false), Ok(()));
    assert_eq!(b.memio(at, u32::MAX, false), Err(Errno::EINVAL));
    let directory = DomctlGdbsxMemio { gva: at, uva: b.tool.va(1), len: 8, pgd3val: 1, ..Default::default() };
    assert_eq!(b.call(XEN_DOMCTL_GDBSX_GUESTMEMIO, &directory), Err(Errno::EINVAL));
    // The tool's buffer is not there; its own memory is no guest's; a domain without tables has no addresses.
    let io = |uva| DomctlGdbsxMemio { gva: at, uva, len: 8, ..Default::default() };
    assert_eq!(b.call(XEN_DOMCTL_GDBSX_GUESTMEMIO, &io(0)), Err(Errno::EFAULT));
    assert_eq!(b.call_on(0, XEN_DOMCTL_GDBSX_GUESTMEMIO, &io(b.tool.va(1))), Err(Errno::EINVAL));
    b.w.domain(6, 1);
    assert_eq!(b.call_on(6, XEN_DOMCTL_GDBSX_GUESTMEMIO, &io(b.tool.va(1))), Err(Errno::EFAULT));
    b.w.check("after the debugger");
}

#[test]
fn a_breakpoint_in_the_kernel_stops_the_domain_and_is_told_once() {
    let b = bed();
    let xen = b.tool.guest.xen;
    let port = bind_virq(xen, &b.tool.guest.dom, VIRQ_DEBUGGER, VcpuId(0)).unwrap();
    let rang = || {
        let pending = poll_check(xen, &b.tool.guest.dom, port).unwrap();
        level2::clear_pending(&xen.m, &b.tool.guest.dom, port);
        pending
    };
    let hit = |v, vector, kernel| {
        b.guest.enter(v);
        b.guest.guest.call(v, |cx| {
            cx.vp.kernel_mode = kernel;
            stop_for_debugger(cx, vector)
        })
    };
    let pauses = &b.guest.guest.dom.controller_pauses;
    assert!(!hit(1, BP, true), "nobody is attached");
    b.call(XEN_DOMCTL_SETDEBUGGING, &DomctlSetdebugging { enable: 1 }).unwrap();
    assert!(!hit(1, BP, false) && !hit(1, DB, false), "user mode's are the guest's");
    let before = pauses.load(SeqCst);
    assert!(hit(1, BP, true));
    assert_eq!((pauses.load(SeqCst), rang()), (before + 1, false));
    assert_eq!(b.status(), (1, 1, 3));
    assert_eq!(b.status(), (1, u32::MAX, 0));
    // A single step: the debugger looks at the domain alone.
    assert!(hit(1, DB, true));
    assert_eq!((pauses.load(SeqCst), rang()), (before + 2, true));
    assert_eq!(b.status(), (1, u32::MAX, 0));
    for _ in 0..2 {
        b.call(XEN_DOMCTL_UNPAUSEDOMAIN, &0u64).unwrap();
    }
    assert_eq!(pauses.load(SeqCst), before);
    b.call(XEN_DOMCTL_SETDEBUGGING, &DomctlSetdebugging::default()).unwrap();
    assert!(!hit(1, BP, true));
}

#[test]
fn a_step_over_an_emulated_instruction_is_the_debuggers() {
    let b = bed();
    // The guest has no handler: what is its own cannot be delivered.
    let steps = |rflags| {
        b.guest.enter(1);
        b.guest.guest.call(1, |cx| {
            cx.vp.kernel_mode = true;
            cx.vp.debugreg[6] = 0;
            cx.regs.rflags = rflags;
            (inject::stepped(cx).is_ok(), cx.vp.debugreg[6])
        })
    };
    let pauses = &b.guest.guest.dom.controller_pauses;
    let before = pauses.load(SeqCst);
    assert_eq!((steps(0), steps(TF)), ((true, 0), (false, 1 << 14)));
    b.call(XEN_DOMCTL_SETDEBUGGING, &DomctlSetdebugging { enable: 1 }).unwrap();
    assert_eq!((steps(0), pauses.load(SeqCst)), ((true, 0), before));
    assert_eq!((steps(TF), pauses.load(SeqCst)), ((true, 1 << 14), before + 1));
}

#[test]
fn what_runs_is_told_of_no_breakpoint() {
    let b = bed();
    let dom = &b.guest.guest.dom;
    dom.controller_pauses.store(0, SeqCst);
    dom.vcpu(VcpuId(1)).unwrap().stopped_by.store(3, SeqCst);
    assert_eq!(b.status(), (0, u32::MAX, 0));
    dom.controller_pauses.store(1, SeqCst);
    assert_eq!(b.status(), (1, 1, 3));
}

#[test]
fn a_vcpu_is_held_and_let_go_as_often() {
    let b = bed();
    let dom = &b.guest.guest.dom;
    dom.controller_pauses.store(0, SeqCst);
    assert_eq!(b.hold(0, true), Err(Errno::EBUSY), "tools do not pause it");
    // Paused: none of its vCPUs is on a CPU.
    dom.controller_pauses.store(1, SeqCst);
    dom.for_each_vcpu(|v| v.running.store(false, SeqCst));
    let v = dom.vcpu(VcpuId(0)).unwrap();
    let before = v.pause_count.load(SeqCst);
    for nobody in [2, u32::MAX] {
        assert_eq!(b.hold(nobody, true), Err(Errno::EINVAL));
        assert_eq!(b.hold(nobody, false), Err(Errno::EINVAL));
    }
    assert_eq!(b.hold(0, false), Err(Errno::EINVAL), "it is not held");
    assert_eq!((b.hold(0, true), b.hold(0, true)), (Ok(()), Ok(())));
    assert_eq!(v.pause_count.load(SeqCst), before + 2);
    assert_eq!((b.hold(0, false), b.hold(0, false)), (Ok(()), Ok(())));
    assert_eq!((v.pause_count.load(SeqCst), b.hold(0, false)), (before, Err(Errno::EINVAL)));
    v.held.store(i32::MAX as u32, SeqCst);
    assert_eq!(b.hold(0, true), Err(Errno::EOVERFLOW));
    // The caller's own would wait for itself, whether or not it is paused.
    for (paused, answer) in [(0, Errno::EBUSY), (1, Errno::EINVAL)] {
        b.tool.guest.dom.controller_pauses.store(paused, SeqCst);
        let own = DomctlGdbsxPauseunpVcpu { vcpu: 0 };
        assert_eq!(b.call_on(0, XEN_DOMCTL_GDBSX_PAUSEVCPU, &own), Err(answer));
    }
}
