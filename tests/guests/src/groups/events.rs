//! `events`: ports, bindings, delivery, polling, then the FIFO layout.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::GuestHandle;
use abi::event_channel::*;
use abi::sched::{SCHEDOP_BLOCK, SCHEDOP_POLL, SchedPoll};
use abi::xen::*;

use crate::hypercall::{call, op};
use crate::mm::{self, Page, read, read8, write, write8};
use crate::trap::UPCALLS;
use crate::{say, shared, vcpu};

fn evtchn<T>(cmd: u32, arg: &mut T) -> i64 {
    op(HYPERVISOR_EVENT_CHANNEL_OP, cmd, arg)
}

/// Words of `evtchn_pending` as the last upcall found them, 2-level layout.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// The event callback's body: acknowledges everything, 2-level.
pub fn upcall() {
    write8(vcpu!(evtchn_upcall_pending), 0);
    write(vcpu!(evtchn_pending_sel), 0);
    SEEN.store(read(shared!(evtchn_pending)), Ordering::Relaxed);
    let mask = read(shared!(evtchn_mask));
    write(shared!(evtchn_pending), read(shared!(evtchn_pending)) & mask);
}

/// Unmasks upcalls and, as a guest must, takes what waited meanwhile.
pub fn enable() {
    write8(vcpu!(evtchn_upcall_mask), 0);
    if read8(vcpu!(evtchn_upcall_pending)) != 0 {
        // Any hypercall delivers it on the way back.
        call(HYPERVISOR_XEN_VERSION, [0; 4]);
    }
}

pub fn disable() {
    write8(vcpu!(evtchn_upcall_mask), 1);
}

/// pending bit, mask bit, upcall pending, selector.
fn state(port: u32) -> (u64, u64, u8, u64) {
    let bit = |va| read(va + 8 * u64::from(port / 64)) >> (port % 64) & 1;
    (
        bit(shared!(evtchn_pending)),
        bit(shared!(evtchn_mask)),
        read8(vcpu!(evtchn_upcall_pending)),
        read(vcpu!(evtchn_pending_sel)),
    )
}

pub fn clear() {
    write8(vcpu!(evtchn_upcall_pending), 0);
    write(vcpu!(evtchn_pending_sel), 0);
    for word in 0..64 {
        write(shared!(evtchn_pending) + 8 * word, 0);
    }
}

pub fn set_mask(port: u32, masked: bool) {
    let va = shared!(evtchn_mask) + 8 * u64::from(port / 64);
    let bit = 1 << (port % 64);
    write(va, if masked { read(va) | bit } else { read(va) & !bit });
}

pub fn send(port: u32) -> i64 {
    evtchn(EVTCHNOP_SEND, &mut EvtchnSend { port })
}

pub fn close(port: u32) -> i64 {
    evtchn(EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

fn status(dom: u16, port: u32) -> (i64, EvtchnStatus) {
    let mut arg = EvtchnStatus { dom, port, ..Default::default() };
    (evtchn(EVTCHNOP_STATUS, &mut arg), arg)
}

fn say_status(name: &str, port: u32) {
    let (answer, s) = status(DOMID_SELF, port);
    let arm = match s.status {
        EVTCHNSTAT_UNBOUND => [s.u[0] & 0xffff, 0],
        EVTCHNSTAT_INTERDOMAIN => [s.u[0] & 0xffff, s.u[1]],
        EVTCHNSTAT_PIRQ | EVTCHNSTAT_VIRQ => [s.u[0], 0],
        _ => [0, 0],
    };
    say!(format_args!("events.status-{name}"), "{answer} status={} vcpu={} {arm:?}", s.status, s.vcpu);
}

pub fn alloc_unbound(remote_dom: u16) -> (i64, u32) {
    let mut arg = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom, port: 0 };
    (evtchn(EVTCHNOP_ALLOC_UNBOUND, &mut arg), arg.port)
}

fn bind_interdomain(remote_dom: u16, remote_port: u32) -> (i64, u32) {
    let mut arg = EvtchnBindInterdomain { remote_dom, _pad0: 0, remote_port, local_port: 0 };
    (evtchn(EVTCHNOP_BIND_INTERDOMAIN, &mut arg), arg.local_port)
}

pub fn bind_virq(virq: u32, vcpu: u32) -> (i64, u32) {
    let mut arg = EvtchnBindVirq { virq, vcpu, port: 0 };
    (evtchn(EVTCHNOP_BIND_VIRQ, &mut arg), arg.port)
}

pub fn bind_ipi(vcpu: u32) -> (i64, u32) {
    let mut arg = EvtchnBindIpi { vcpu, port: 0 };
    (evtchn(EVTCHNOP_BIND_IPI, &mut arg), arg.port)
}

fn poll(ports: &mut [u32], timeout: u64) -> i64 {
    let handle = GuestHandle::new(ports.as_mut_ptr() as u64);
    let mut arg = SchedPoll { ports: handle, nr_ports: ports.len() as u32, _pad0: 0, timeout };
    op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut arg)
}

pub fn run() {
    disable();
    clear();
    let (local, remote) = pair();
    delivery(local, remote);
    polling(local, remote);
    virqs();
    ipis();
    refusals();
    closing(local, remote);
    fifo();
}

fn pair() -> (u32, u32) {
    let (answer, local) = alloc_unbound(DOMID_SELF);
    say!("events.alloc", "{answer} port={local}");
    say_status("unbound", local);
    say!("events.send-unbound", "{}", send(local));
    say!("events.alloc-absent-remote", "{:?}", alloc_unbound(500).0);
    let mut arg = EvtchnAllocUnbound { dom: 500, remote_dom: 0, port: 0 };
    say!("events.alloc-absent-dom", "{}", evtchn(EVTCHNOP_ALLOC_UNBOUND, &mut arg));
    let (answer, remote) = bind_interdomain(DOMID_SELF, local);
    say!("events.bind", "{answer} port={remote} {:?} {:?}", state(local), state(remote));
    clear();
    say_status("local", local);
    say_status("remote", remote);
    say!("events.bind-again", "{}", bind_interdomain(DOMID_SELF, local).0);
    say!("events.bind-closed", "{}", bind_interdomain(DOMID_SELF, 200).0);
    say!("events.bind-port-0", "{}", bind_interdomain(DOMID_SELF, 0).0);
    say!("events.bind-big-port", "{}", bind_interdomain(DOMID_SELF, 1 << 20).0);
    say!("events.bind-absent-dom", "{}", bind_interdomain(500, 1).0);
    (local, remote)
}

fn delivery(local: u32, remote: u32) {
    say!("events.send", "{} local={:?} remote={:?}", send(remote), state(local), state(remote));
    say!("events.send-again", "{} local={:?}", send(remote), state(local));
    clear();
    set_mask(local, true);
    say!("events.send-masked", "{} local={:?}", send(remote), state(local));
    say!(
        "events.unmask",
        "{} local={:?}",
        evtchn(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port: local }),
        state(local)
    );
    clear();
    set_mask(local, true);
    say!(
        "events.unmask-nothing",
        "{} local={:?}",
        evtchn(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port: local }),
        state(local)
    );
    clear();
    let before = UPCALLS.load(Ordering::Relaxed);
    send(remote);
    say!("events.upcall-disabled", "{} {:?}", UPCALLS.load(Ordering::Relaxed) - before, state(local));
    enable();
    let seen = SEEN.load(Ordering::Relaxed) == 1 << local;
    say!(
        "events.upcall-on-enable",
        "{} seen={seen} {:?}",
        UPCALLS.load(Ordering::Relaxed) - before,
        state(local)
    );
    say!("events.mask-after-upcall", "{}", read8(vcpu!(evtchn_upcall_mask)));
    send(remote);
    say!("events.upcall", "{} {:?}", UPCALLS.load(Ordering::Relaxed) - before, state(local));
    set_mask(local, true);
    send(remote);
    say!("events.upcall-port-masked", "{} {:?}", UPCALLS.load(Ordering::Relaxed) - before, state(local));
    set_mask(local, false);
    disable();
    clear();
    send(remote);
    let answer = call(HYPERVISOR_SCHED_OP, [SCHEDOP_BLOCK.into(), 0, 0, 0]);
    say!(
        "events.block",
        "{answer} upcalls={} mask={}",
        UPCALLS.load(Ordering::Relaxed) - before,
        read8(vcpu!(evtchn_upcall_mask))
    );
    disable();
    clear();
}

fn polling(local: u32, remote: u32) {
    send(remote);
    say!("events.poll-pending", "{} {:?}", poll(&mut [local], 0), state(local));
    clear();
    let now = read(vcpu!(time.system_time));
    say!("events.poll-timeout", "{}", poll(&mut [local], now + 2_000_000_000));
    say!("events.poll-past", "{}", poll(&mut [local], 1));
    say!("events.poll-big-port", "{}", poll(&mut [1 << 20], now + 3_000_000_000));
    say!("events.poll-many", "{}", poll(&mut [local; 129], now + 3_000_000_000));
    say!("events.poll-closed-port", "{}", poll(&mut [300], read(vcpu!(time.system_time)) + 2_000_000_000));
    let mut arg = SchedPoll {
        nr_ports: 1,
        ports: GuestHandle::new(0x1000_0000_0000),
        timeout: 1,
        ..Default::default()
    };
    say!("events.poll-nowhere", "{}", op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut arg));
    clear();
}

fn virqs() {
    let (answer, port) = bind_virq(VIRQ_CONSOLE, 0);
    say!("events.virq", "{answer} port={port}");
    say_status("virq", port);
    say!("events.virq-again", "{}", bind_virq(VIRQ_CONSOLE, 0).0);
    say!("events.virq-send", "{}", send(port));
    say!("events.virq-bind-vcpu", "{}", evtchn(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu: 0 }));
    say!(
        "events.virq-bind-absent-vcpu",
        "{}",
        evtchn(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu: 5000 })
    );
    say!("events.virq-close", "{}", close(port));
    let (answer, again) = bind_virq(VIRQ_CONSOLE, 0);
    say!("events.virq-rebind", "{answer} same={}", again == port);
    close(again);
    let (answer, timer) = bind_virq(VIRQ_TIMER, 0);
    say!("events.virq-timer", "{answer}");
    say!(
        "events.virq-timer-bind-vcpu",
        "{}",
        evtchn(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port: timer, vcpu: 0 })
    );
    close(timer);
    for virq in [5, 12, 14, 15, 16, 17, NR_VIRQS, 1000, !0] {
        let (answer, port) = bind_virq(virq, 0);
        say!(format_args!("events.virq-{virq}"), "{answer}");
        if answer == 0 {
            close(port);
        }
    }
    say!("events.virq-timer-absent-vcpu", "{}", bind_virq(VIRQ_TIMER, 5000).0);
    say!("events.virq-global-other-vcpu", "{}", bind_virq(VIRQ_CONSOLE, 1).0);
    clear();
}

fn ipis() {
    let (answer, port) = bind_ipi(0);
    say!("events.ipi", "{answer} port={port}");
    say_status("ipi", port);
    say!("events.ipi-send", "{} {:?}", send(port), state(port));
    clear();
    say!("events.ipi-bind-vcpu", "{}", evtchn(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu: 0 }));
    say!("events.ipi-close", "{}", close(port));
    say!("events.ipi-absent-vcpu", "{}", bind_ipi(5000).0);
}

fn refusals() {
    for (name, port) in
        [("0", 0), ("closed", 200), ("4095", 4095), ("4096", 4096), ("big", 1 << 20), ("minus-1", !0)]
    {
        let (answer, s) = status(DOMID_SELF, port);
        say!(
            format_args!("events.port-{name}"),
            "send={} close={} unmask={} bind-vcpu={} status={answer} {}",
            send(port),
            close(port),
            evtchn(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port }),
            evtchn(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu: 0 }),
            s.status,
        );
    }
    clear();
    say!("events.status-absent-dom", "{}", status(500, 1).0);
    let mut arg = EvtchnBindPirq { pirq: 1_000_000, flags: 0, port: 0 };
    say!("events.pirq-absent", "{}", evtchn(EVTCHNOP_BIND_PIRQ, &mut arg));
    let mut arg = EvtchnBindPirq { pirq: 0, flags: 0, port: 0 };
    say!("events.pirq-0", "{}", evtchn(EVTCHNOP_BIND_PIRQ, &mut arg));
    say!(
        "events.priority-2-level",
        "{}",
        evtchn(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port: 1, priority: 3 })
    );
    say!(
        "events.expand-2-level",
        "{}",
        evtchn(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: Page::new().mfn() })
    );
    say!("events.reset-absent", "{}", evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom: 500 }));
    say!(
        "events.nowhere",
        "{}",
        call(HYPERVISOR_EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), 0x1000_0000_0000, 0, 0])
    );
}

fn closing(local: u32, remote: u32) {
    send(remote);
    say!("events.close", "{} {:?}", close(local), state(local));
    say_status("closed", local);
    say_status("widowed", remote);
    clear();
    say!("events.send-widowed", "{} {:?}", send(remote), state(local));
    say!("events.close-widowed", "{}", close(remote));
    let (answer, port) = alloc_unbound(DOMID_SELF);
    say!("events.alloc-lowest", "{answer} same={}", port == local);
    say!("events.reset", "{}", evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom: DOMID_SELF }));
    say_status("after-reset", port);
    clear();
}

fn fifo() {
    let (control, array) = (Page::new(), Page::new());
    let init = |control_gfn, offset, vcpu| {
        let mut arg = EvtchnInitControl { control_gfn, offset, vcpu, ..Default::default() };
        let answer = evtchn(EVTCHNOP_INIT_CONTROL, &mut arg);
        (answer, arg.link_bits)
    };
    say!("events.fifo-offset-big", "{:?}", init(control.mfn(), 4090, 0));
    say!("events.fifo-offset-last", "{:?}", init(control.mfn(), 4096 - 64, 0));
    say!("events.fifo-offset-misaligned", "{:?}", init(control.mfn(), 4, 0));
    say!("events.fifo-absent-vcpu", "{:?}", init(control.mfn(), 0, 5000));
    say!("events.fifo-bad-frame", "{:?}", init(1 << 40, 0, 0));
    say!("events.fifo-table-frame", "{:?}", init(mm::l4_mfn(), 0, 0));
    let (_, early) = alloc_unbound(DOMID_SELF);
    say!("events.fifo-init", "{:?}", init(control.mfn(), 0, 0));
    say!("events.fifo-init-again", "{:?}", init(control.mfn(), 0, 0));
    say!("events.fifo-alloc-no-array", "{}", alloc_unbound(DOMID_SELF).0);
    let expand = |array_gfn| evtchn(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn });
    say!("events.fifo-expand-bad-frame", "{}", expand(1 << 40));
    say!("events.fifo-expand", "{}", expand(array.mfn()));
    let event_word = |port: u32| (array.get(port as usize / 2) >> (32 * (port & 1))) as u32;
    let ready = || control.get(0) as u32;
    let head = |queue: usize| (control.get(1 + queue / 2) >> (32 * (queue & 1))) as u32;
    let (answer, first) = alloc_unbound(DOMID_SELF);
    say!("events.fifo-alloc", "{answer} port={first} early={early} {:#x}", event_word(first));
    let (answer, sender) = bind_interdomain(DOMID_SELF, first);
    say!("events.fifo-bind", "{answer} {:#x} ready={:#x} head={}", event_word(first), ready(), head(7));
    let (_, second) = bind_ipi(0);
    let (_, urgent) = bind_ipi(0);
    let priority = |port, priority| evtchn(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority });
    say!("events.fifo-priority", "{}", priority(urgent, 2));
    say!("events.fifo-priority-16", "{}", priority(urgent, 16));
    say!("events.fifo-priority-closed", "{}", priority(900, 2));
    let unmask = |port| evtchn(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port });
    say!("events.fifo-masked-at-birth", "{:#x} {:#x}", event_word(first), event_word(urgent));
    say!("events.fifo-send-masked", "{} {:#x} ready={:#x}", send(sender), event_word(first), ready());
    say!("events.fifo-unmask", "{} {:#x} ready={:#x}", unmask(first), event_word(first), ready());
    say!("events.fifo-unmask-others", "{} {}", unmask(second), unmask(urgent));
    say!("events.fifo-send", "{} {} {}", send(sender), send(second), send(urgent));
    let link = |port| event_word(port) & EVTCHN_FIFO_LINK_MASK;
    say!(
        "events.fifo-queue",
        "ready={:#x} first-head={} urgent-head={}",
        ready(),
        head(7) == first,
        head(2) == urgent
    );
    say!("events.fifo-link", "{} then {}", link(first) == second, link(second));
    say!(
        "events.fifo-words",
        "{:#x} {:#x} {:#x}",
        event_word(first) >> 28,
        event_word(second) >> 28,
        event_word(urgent) >> 28
    );
    say!(
        "events.fifo-upcall-pending",
        "{} sel={:#x}",
        read8(vcpu!(evtchn_upcall_pending)),
        read(vcpu!(evtchn_pending_sel))
    );
    let before = UPCALLS.load(Ordering::Relaxed);
    enable();
    disable();
    say!("events.fifo-upcall", "{}", UPCALLS.load(Ordering::Relaxed) - before);
    say!("events.fifo-close", "{} {:#x}", close(second), event_word(second) >> 28);
    say!("events.fifo-reset", "{}", evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom: DOMID_SELF }));
    write8(vcpu!(evtchn_upcall_pending), 0);
    let (answer, port) = alloc_unbound(DOMID_SELF);
    let (_, sender) = bind_interdomain(DOMID_SELF, port);
    clear();
    send(sender);
    say!("events.fifo-back-to-2-level", "{answer} {:?}", state(port));
}
