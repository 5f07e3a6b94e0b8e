//! Scheduling of real vCPUs on the host's machine.

use super::*;
use crate::hypercall::dispatch;
use crate::ids::{Port, VcpuId};
use crate::machine::Frames;
use crate::machine::HostShutdown;
use crate::testing::{Guest, HostMachine, Scratch, World, machine::set_cpu};
use crate::time;
use crate::vcpu::pause;
use crate::xen::Stop;
use abi::event_channel::*;
use abi::sched::*;
use abi::vcpu::*;
use abi::xen::*;
use runq::{MAX_SLICE, RATE_LIMIT};

const MS: u64 = 1_000_000;

/// A domain whose vCPUs are up, off their CPUs and known to the scheduler.
pub(super) fn domain(w: &World, id: u16, vcpus: u32) -> Guest {
    let g = w.domain(id, vcpus);
    g.dom.for_each_vcpu(|v| {
        v.running.store(false, SeqCst);
        add_vcpu(w.xen, v).unwrap();
        bring_up(w.xen, v).unwrap();
        assert_eq!(v.time.period_ns(), 10 * MS, "every vCPU starts with a tick");
        time::set_periodic(w.xen, v, 0).unwrap();
    });
    unpause_domain(w.xen, &g.dom);
    g
}

pub(super) fn vcpu(g: &Guest, n: u32) -> Arc<Vcpu> {
    g.dom.vcpu(VcpuId(n)).unwrap()
}

fn clock(xen: &Xen<HostMachine>, ns: u64) -> u64 {
    xen.m.clock_ns.fetch_add(ns, SeqCst) + ns
}

/// `cpu` passes its exit path: timers, scheduling, the switch.
pub(super) fn exit_path(xen: &'static Xen<HostMachine>, cpu: u32) -> Option<Arc<Vcpu>> {
    set_cpu(cpu);
    let now = xen.m.clock_ns.load(SeqCst);
    time::expired(xen, CpuId(cpu), now);
    if !need_resched(xen, CpuId(cpu)) {
        return xen.sched.current(CpuId(cpu));
    }
    let n = schedule(xen, CpuId(cpu), now);
    time::rearm(xen);
    if let (Some(p), false) =
        (&n.prev, n.vcpu.as_ref().zip(n.prev.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)))
    {
        context_saved(xen, p);
    }
    n.vcpu
}

fn is(v: &Option<Arc<Vcpu>>, w: &Arc<Vcpu>) -> bool {
    v.as_ref().is_some_and(|v| Arc::ptr_eq(v, w))
}

pub(super) fn op(g: &Guest, v: u32, cmd: u32, arg: u64) -> Result<u64, Errno> {
    g.call(v, |cx| dispatch(cx, HYPERVISOR_SCHED_OP, &[cmd.into(), arg, 0, 0, 0, 0])).map_err(|s| match s {
        Stop::Errno(e) => e,
        Stop::Continue => panic!("goes on later"),
    })
}

#[test]
fn a_vcpu_blocks_and_an_event_wakes_it() {
    let w = World::new(512, 1);
    let g = domain(&w, 1, 1);
    let v = vcpu(&g, 0);
    assert!(is(&exit_path(w.xen, 0), &v));
    assert!(v.running.load(SeqCst));
    assert_eq!(op(&g, 0, SCHEDOP_BLOCK, 0), Ok(0));
    clock(w.xen, 5 * MS);
    assert!(exit_path(w.xen, 0).is_none());
    assert!(!v.running.load(SeqCst));
    clock(w.xen, 7 * MS);
    let port = crate::event::bind::bind_ipi(w.xen, &g.dom, VcpuId(0)).unwrap();
    crate::event::send(w.xen, &g.dom, port).unwrap();
    assert!(is(&exit_path(w.xen, 0), &v));
    let r = runstate(w.xen, &v);
    assert_eq!(
        (r.state, r.time[RUNSTATE_RUNNING as usize], r.time[RUNSTATE_BLOCKED as usize]),
        (0, 5 * MS, 7 * MS)
    );
    let now = w.xen.m.clock_ns.load(SeqCst);
    assert_eq!(
        w.xen.sched.idle(CpuId(0), now),
        (7 * MS + 1_000_000_000, 2),
        "at first, and while it was blocked"
    );
    // With an event pending, it does not block at all.
    assert_eq!(op(&g, 0, SCHEDOP_BLOCK, 0), Ok(0));
    assert!(is(&exit_path(w.xen, 0), &v));
}

#[test]
fn vcpus_of_two_domains_take_turns_and_the_timer_is_set_for_it() {
    let w = World::new(512, 1);
    let (a, b) = (domain(&w, 1, 1), domain(&w, 2, 1));
    let mut turns = [0; 2];
    let mut last = exit_path(w.xen, 0).unwrap();
    for _ in 0..1000 {
        let deadline = w.xen.m.this_cpu().timer;
        let now = w.xen.m.clock_ns.load(SeqCst);
        assert!(deadline > now && deadline <= now + MAX_SLICE, "{deadline} {now}");
        w.xen.m.clock_ns.store(deadline, SeqCst);
        let v = exit_path(w.xen, 0).unwrap();
        if !Arc::ptr_eq(&v, &last) {
            turns[usize::from(v.domain().unwrap().id.0) - 1] += 1;
        }
        last = v;
    }
    assert!(turns[0] > 400 && turns[1] > 400, "{turns:?}");
    let (ta, tb) = (cpu_time(w.xen, &vcpu(&a, 0)), cpu_time(w.xen, &vcpu(&b, 0)));
    assert!(ta.abs_diff(tb) <= MAX_SLICE, "{ta} {tb}");
    set_params(w.xen, &a.dom, 0, 0).unwrap_err();
}

#[test]
fn a_capped_domain_gets_its_share_of_a_cpu_and_leaves_the_rest_idle() {
    let w = World::new(512, 1);
    let a = domain(&w, 1, 2);
    set_params(w.xen, &a.dom, 256, 30).unwrap();
    let begin = w.xen.m.clock_ns.load(SeqCst);
    let until = |end: u64| {
        while w.xen.m.clock_ns.load(SeqCst) < end {
            exit_path(w.xen, 0);
            let deadline = w.xen.m.this_cpu().timer;
            assert!(deadline > w.xen.m.clock_ns.load(SeqCst));
            w.xen.m.clock_ns.store(deadline.min(end), SeqCst);
        }
        exit_path(w.xen, 0);
    };
    until(begin + 1000 * MS);
    let total = || (0..2).map(|n| cpu_time(w.xen, &vcpu(&a, n))).sum::<u64>();
    assert!(total().abs_diff(300 * MS) <= 4 * MS, "{}", total());
    let parked = (0..2).filter(|n| runstate(w.xen, &vcpu(&a, *n)).state == RUNSTATE_RUNNABLE).count();
    assert!(parked > 0, "who waits for the budget is runnable, not blocked");
    let before = total();
    set_params(w.xen, &a.dom, 256, 0).unwrap();
    until(begin + 1100 * MS);
    assert!(total() - before >= 99 * MS, "no cap, all of it");
    // Its end takes the cap along.
    set_params(w.xen, &a.dom, 256, 30).unwrap();
    until(begin + 1150 * MS);
    pause_domain(w.xen, &a.dom);
    exit_path(w.xen, 0);
    remove_domain(w.xen, &a.dom);
    assert!(w.xen.sched.queue.lock().add_cap().is_ok_and(|c| c == 0), "its place is free again");
}

#[test]
fn pausing_takes_it_off_and_counts() {
    let w = World::new(512, 2);
    let g = domain(&w, 1, 1);
    let v = vcpu(&g, 0);
    assert!(is(&exit_path(w.xen, 0), &v));
    set_cpu(1);
    w.xen.m.kicks.lock().unwrap().clear();
    pause_domain(w.xen, &g.dom);
    pause_domain(w.xen, &g.dom);
    assert_eq!(*w.xen.m.kicks.lock().unwrap(), [CpuId(0)]);
    assert!(exit_path(w.xen, 0).is_none());
    assert_eq!(runstate(w.xen, &v).state, RUNSTATE_OFFLINE);
    unpause_domain(w.xen, &g.dom);
    assert!(exit_path(w.xen, 0).is_none() && exit_path(w.xen, 1).is_none());
    unpause_domain(w.xen, &g.dom);
    vcpu_pause(w.xen, &v);
    assert!(exit_path(w.xen, 0).is_none() && exit_path(w.xen, 1).is_none());
    vcpu_unpause(w.xen, &v);
    let ran = [exit_path(w.xen, 0), exit_path(w.xen, 1)];
    assert_eq!(ran.iter().filter(|r| is(r, &v)).count(), 1);
    // And when it is off its CPU, the waiting forms return at once.
    op(&g, 0, SCHEDOP_BLOCK, 0).unwrap();
    exit_path(w.xen, 0);
    exit_path(w.xen, 1);
    pause_domain_sync(w.xen, &g.dom);
}

#[test]
fn polling_ends_by_the_port_the_timeout_or_an_upcall() {
    let w = World::new(512, 1);
    let g = domain(&w, 1, 1);
    let v = vcpu(&g, 0);
    exit_path(w.xen, 0);
    let mut s = Scratch::new(w.xen);
    let one = crate::event::bind::bind_ipi(w.xen, &g.dom, VcpuId(0)).unwrap();
    let two = crate::event::bind::bind_ipi(w.xen, &g.dom, VcpuId(0)).unwrap();
    // A kernel polls masked ports: an unmasked one would end the wait by its upcall.
    w.xen.m.store(&g.dom.shared_info, core::mem::offset_of!(SharedInfo, evtchn_mask), u64::MAX);
    let poll = |s: &mut Scratch, ports: &[Port], timeout| {
        let list: Vec<u32> = ports.iter().map(|p| p.0).collect();
        let at = s.put(&list[..]);
        let p = SchedPoll {
            ports: abi::GuestHandle::new(at),
            nr_ports: list.len() as u32,
            timeout,
            ..Default::default()
        };
        let at = s.put(&p);
        op(&g, 0, SCHEDOP_POLL, at)
    };
    let polling = || v.pause_flags.load(SeqCst) & pause::POLL != 0;

    assert_eq!(poll(&mut s, &[one], 0), Ok(0));
    assert!(exit_path(w.xen, 0).is_none() && polling());
    crate::event::send(w.xen, &g.dom, two).unwrap();
    assert!(polling(), "another port does not end it");
    crate::event::send(w.xen, &g.dom, one).unwrap();
    assert!(is(&exit_path(w.xen, 0), &v) && !polling());
    // Pending already: no wait.
    assert_eq!(poll(&mut s, &[one, two], 0), Ok(0));
    assert!(!polling());

    let three = crate::event::bind::bind_ipi(w.xen, &g.dom, VcpuId(0)).unwrap();
    let at = w.xen.m.clock_ns.load(SeqCst) + 3 * MS;
    assert_eq!(poll(&mut s, &[three], at), Ok(0));
    assert!(exit_path(w.xen, 0).is_none() && polling());
    assert_eq!(w.xen.m.this_cpu().timer, at);
    clock(w.xen, 3 * MS);
    assert!(is(&exit_path(w.xen, 0), &v) && !polling());
    assert_eq!(g.dom.sched.pollers.load(SeqCst), 0);

    assert_eq!(poll(&mut s, &[Port(999)], 0), Err(Errno::EINVAL));
    let many: Vec<Port> = (0..129).map(|_| three).collect();
    assert_eq!(poll(&mut s, &many, 0), Err(Errno::EINVAL));
    assert!(!polling());
}

#[test]
fn timers_fire_where_they_were_set_and_reach_a_blocked_vcpu() {
    let w = World::new(512, 2);
    let g = domain(&w, 1, 1);
    let v = vcpu(&g, 0);
    let bind = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: 0, port: 0 };
    set_cpu(0);
    assert!(is(&exit_path(w.xen, 0), &v));
    let mut s = Scratch::new(w.xen);
    let at = s.put(&bind);
    g.call(0, |cx| dispatch(cx, HYPERVISOR_EVENT_CHANNEL_OP, &[EVTCHNOP_BIND_VIRQ.into(), at, 0, 0, 0, 0]))
        .unwrap();
    let now = w.xen.m.clock_ns.load(SeqCst);
    time::set_timer_op(w.xen, &v, now + 2 * MS).unwrap();
    op(&g, 0, SCHEDOP_BLOCK, 0).unwrap();
    assert!(exit_path(w.xen, 0).is_none());
    assert_eq!(w.xen.m.this_cpu().timer, now + 2 * MS);
    clock(w.xen, 2 * MS - 1);
    assert!(exit_path(w.xen, 0).is_none());
    clock(w.xen, 1);
    assert!(is(&exit_path(w.xen, 0), &v));
    assert!(crate::event::upcall_pending(w.xen, &v));
    // A deadline beyond reason is 100 ms, 0 is none.
    time::set_timer_op(w.xen, &v, u64::MAX).unwrap();
    assert_eq!(w.xen.timers.first(CpuId(0)), now + 102 * MS);
    time::set_timer_op(w.xen, &v, 0).unwrap();
    assert_eq!(w.xen.timers.first(CpuId(0)), u64::MAX);
    // Set anew from another CPU, only the new one stands.
    time::set_singleshot(w.xen, &v, Some(now + 50 * MS)).unwrap();
    set_cpu(1);
    time::set_singleshot(w.xen, &v, Some(now + 60 * MS)).unwrap();
    assert_eq!((w.xen.timers.first(CpuId(0)), w.xen.timers.first(CpuId(1))), (u64::MAX, now + 60 * MS));
    // The periodic one comes again by itself, at multiples.
    time::set_periodic(w.xen, &v, 10 * MS).unwrap();
    let start = w.xen.m.clock_ns.load(SeqCst);
    clock(w.xen, 25 * MS);
    time::expired(w.xen, CpuId(1), start + 25 * MS);
    assert_eq!(w.xen.timers.first(CpuId(1)), start + 30 * MS);
    time::stop_all(w.xen, &v);
    assert_eq!(w.xen.timers.first(CpuId(1)), u64::MAX);
}

#[test]
fn a_domain_shuts_down_once_and_can_be_resumed() {
    let w = World::new(512, 1);
    let (dom0, g) = (domain(&w, 0, 1), domain(&w, 1, 2));
    let mut s = Scratch::new(w.xen);
    let arg = s.put(&SchedShutdown { reason: SHUTDOWN_SUSPEND });
    assert_eq!(op(&g, 0, SCHEDOP_SHUTDOWN_CODE, arg), Ok(0));
    assert!(!g.dom.shut_down.load(SeqCst));
    let crash = s.put(&SchedShutdown { reason: SHUTDOWN_CRASH });
    assert_eq!(op(&g, 0, SCHEDOP_SHUTDOWN, crash), Ok(0));
    assert!(g.dom.shut_down.load(SeqCst));
    assert_eq!(g.dom.shutdown_code.load(SeqCst), SHUTDOWN_SUSPEND, "the first reason counts");
    assert_eq!(g.dom.pause_count.load(SeqCst), 1);
    domain_crash(w.xen, &g.dom, "again");
    assert_eq!(g.dom.pause_count.load(SeqCst), 1);
    shutdown::domain_resume(w.xen, &g.dom);
    assert_eq!((g.dom.pause_count.load(SeqCst), g.dom.shut_down.load(SeqCst)), (0, false));
    assert!(w.xen.m.devices.shutdowns.lock().unwrap().is_empty());

    let remote = s.put(&SchedRemoteShutdown { domain_id: 1, reason: SHUTDOWN_CRASH, ..Default::default() });
    assert_eq!(op(&g, 0, SCHEDOP_REMOTE_SHUTDOWN, remote), Err(Errno::EPERM));
    assert_eq!(op(&dom0, 0, SCHEDOP_REMOTE_SHUTDOWN, remote), Ok(0));
    assert_eq!(g.dom.shutdown_code.load(SeqCst), SHUTDOWN_CRASH);
    let nobody = s.put(&SchedRemoteShutdown { domain_id: 9, reason: 0, ..Default::default() });
    assert_eq!(op(&dom0, 0, SCHEDOP_REMOTE_SHUTDOWN, nobody), Err(Errno::ESRCH));

    let reboot = s.put(&SchedShutdown { reason: SHUTDOWN_REBOOT });
    assert_eq!(op(&dom0, 0, SCHEDOP_SHUTDOWN, reboot), Ok(0));
    assert_eq!(*w.xen.m.devices.shutdowns.lock().unwrap(), [HostShutdown::Reboot]);
}

#[test]
fn a_watchdog_must_be_fed() {
    let w = World::new(512, 1);
    let g = domain(&w, 1, 1);
    let mut s = Scratch::new(w.xen);
    let mut dog = |id, timeout| {
        let at = s.put(&SchedWatchdog { id, timeout });
        op(&g, 0, SCHEDOP_WATCHDOG, at)
    };
    assert_eq!((dog(0, 5), dog(0, 7), dog(0, 9)), (Ok(1), Ok(2), Err(Errno::ENOSPC)));
    assert_eq!((dog(3, 1), dog(0, 0)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
    assert_eq!(dog(2, 0), Ok(0));
    assert_eq!(dog(2, 1), Err(Errno::EINVAL), "not in use any more");
    clock(w.xen, 4_000 * MS);
    exit_path(w.xen, 0);
    assert_eq!(dog(1, 5), Ok(0));
    clock(w.xen, 4_000 * MS);
    exit_path(w.xen, 0);
    assert!(!g.dom.shut_down.load(SeqCst));
    clock(w.xen, 1_000 * MS);
    exit_path(w.xen, 0);
    assert_eq!(g.dom.shutdown_code.load(SeqCst), SHUTDOWN_WATCHDOG);
}

#[test]
fn affinity_keeps_a_vcpu_where_it_may_run() {
    let w = World::new(512, 4);
    let g = domain(&w, 1, 1);
    let v = vcpu(&g, 0);
    assert_eq!(affinity(w.xen, &v), (CpuMask::ALL, CpuMask::ALL));
    assert_eq!(set_affinity(w.xen, &v, Some(CpuMask::single(CpuId(9))), None), Err(Errno::EINVAL));
    set_affinity(w.xen, &v, Some(CpuMask::single(CpuId(2))), None).unwrap();
    let ran: Vec<_> = (0..4).map(|c| exit_path(w.xen, c).is_some()).collect();
    assert_eq!(ran, [false, false, true, false]);
    assert_eq!(v.processor(), CpuId(2));
    clock(w.xen, RATE_LIMIT);
    set_affinity(w.xen, &v, Some(CpuMask::single(CpuId(1))), None).unwrap();
    assert!(exit_path(w.xen, 2).is_none());
    assert!(is(&exit_path(w.xen, 1), &v));
    // Pinned by the guest itself, as long as it likes.
    g.dom.for_each_vcpu(|v| v.set_processor(CpuId(1)));
    let mut s = Scratch::new(w.xen);
    let at = s.put(&SchedPinOverride { pcpu: 0 });
    assert_eq!(op(&g, 0, SCHEDOP_PIN_OVERRIDE, at), Err(Errno::EPERM));
}

#[test]
fn a_destroyed_domains_vcpus_are_forgotten() {
    let w = World::new(512, 1);
    let g = domain(&w, 1, 2);
    exit_path(w.xen, 0);
    pause_domain(w.xen, &g.dom);
    exit_path(w.xen, 0);
    let weak = Arc::downgrade(&vcpu(&g, 0));
    remove_domain(w.xen, &g.dom);
    g.dom.drop_vcpus();
    assert!(weak.upgrade().is_none());
}
