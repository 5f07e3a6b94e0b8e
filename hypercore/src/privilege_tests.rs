//! Every operation by every kind of caller.

use super::*;
use crate::hypercall::dispatch;
use crate::hypercall_table::{HYPERCALLS, Row, State};
use crate::testing::{Guest, Scratch, World};
use crate::xen::Stop;
use abi::Errno;
use core::sync::atomic::Ordering::SeqCst;
use std::string::{String, ToString};

const DOM0: u16 = 0;
const SELF: u16 = 5;
const OTHER: u16 = 6;

struct Bed {
    w: World,
    dom0: Guest,
    domu: Guest,
    other: Guest,
    s: Scratch,
}

fn bed() -> Bed {
    let w = World::new(512, 1);
    let s = Scratch::new(w.xen);
    let dom0 = w.domain(DOM0, 1);
    dom0.dom.io.irqs.write().add(0, 255).unwrap();
    // Nothing runs it: who pauses it need not wait.
    let other = w.domain(OTHER, 1);
    other.dom.for_each_vcpu(|v| v.running.store(false, SeqCst));
    Bed { dom0, domu: w.domain(SELF, 1), other, s, w }
}

/// Registers and memory of a call. `dom` goes wherever the structure names a domain to act on.
fn arguments(r: &Row, dom: u16, s: &mut Scratch) -> [u64; 6] {
    let op = r.op.unwrap_or(0);
    let at = s.room(256);
    s.set(at, &[0u64; 32]);
    let word = |offset: u64, s: &Scratch| s.set(at + offset, &dom);
    match r.nr {
        HYPERVISOR_DOMCTL => {
            s.set(at, &[op, abi::domctl::XEN_DOMCTL_INTERFACE_VERSION]);
            word(8, s);
            [at, 0, 0, 0, 0, 0]
        }
        HYPERVISOR_SYSCTL => {
            s.set(at, &[op, abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION]);
            [at, 0, 0, 0, 0, 0]
        }
        HYPERVISOR_PLATFORM_OP => {
            s.set(at, &[op, abi::platform::XENPF_INTERFACE_VERSION]);
            [at, 0, 0, 0, 0, 0]
        }
        HYPERVISOR_MCA => {
            s.set(at, &[op, abi::xen_mca::XEN_MCA_INTERFACE_VERSION]);
            [at, 0, 0, 0, 0, 0]
        }
        // One update of entry 0 of frame 0.
        HYPERVISOR_MMU_UPDATE => [at, 1, 0, dom.into(), 0, 0],
        HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN => [at, 0, 0, dom.into(), 0, 0],
        HYPERVISOR_MMUEXT_OP => {
            s.set(at, &op);
            [at, 1, 0, if dom == SELF { abi::xen::DOMID_SELF.into() } else { dom.into() }, 0, 0]
        }
        HYPERVISOR_GRANT_TABLE_OP => {
            word(if op == GNTTABOP_GET_STATUS_FRAMES { 4 } else { 0 }, s);
            [op.into(), at, 1, 0, 0, 0]
        }
        HYPERVISOR_MEMORY_OP => {
            match op {
                XENMEM_INCREASE_RESERVATION | XENMEM_DECREASE_RESERVATION | XENMEM_POPULATE_PHYSMAP => {
                    s.set(at + 8, &1u64);
                    word(24, s);
                }
                XENMEM_CLAIM_PAGES => word(24, s),
                XENMEM_EXCHANGE => {
                    s.set(at + 8, &1u64);
                    s.set(at + 40, &1u64);
                    word(24, s);
                    word(56, s);
                }
                _ => word(0, s),
            }
            [op.into(), at, 0, 0, 0, 0]
        }
        _ => {
            word(0, s);
            [op.into(), at, 0, 0, 0, 0]
        }
    }
}

/// What a call answered, as an errno; a grant operation's status counts as EPERM where it is GNTST_permission_denied.
fn answer(b: &mut Bed, by: &Guest, r: &Row, dom: u16) -> Result<u64, Errno> {
    let args = arguments(r, dom, &mut b.s);
    let (status_at, denied) = match (r.nr, r.op) {
        (HYPERVISOR_GRANT_TABLE_OP, Some(GNTTABOP_SETUP_TABLE)) => (8, GNTST_PERMISSION_DENIED),
        (HYPERVISOR_GRANT_TABLE_OP, Some(GNTTABOP_QUERY_SIZE)) => (12, GNTST_PERMISSION_DENIED),
        (HYPERVISOR_GRANT_TABLE_OP, Some(GNTTABOP_GET_STATUS_FRAMES)) => (6, GNTST_PERMISSION_DENIED),
        _ => (0, 0),
    };
    let got = by.call(0, |cx| match dispatch(cx, r.nr, &args) {
        Ok(v) => Ok(v),
        Err(Stop::Errno(e)) => Err(e),
        Err(Stop::Continue) => Ok(0),
    });
    if denied != 0 && got.is_ok() && b.s.get::<i16>(args[1] + status_at) == denied {
        return Err(Errno::EPERM);
    }
    // These answer how many extents are done; why not all is kept.
    let counts = [XENMEM_INCREASE_RESERVATION, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP];
    assert!(got != Ok(1) || r.nr != HYPERVISOR_MEMORY_OP || !counts.contains(&r.op.unwrap()), "{}", r.name);
    got
}

/// What of a domain others could change.
fn digest(b: &Bed, g: &Guest) -> String {
    let info = crate::domctl::info::describe(b.w.xen, &g.dom);
    let mut ports = String::new();
    crate::event::life::dump(b.w.xen, &g.dom, |line| ports += &line.to_string());
    std::format!("{info:?} {ports} {:?}", g.dom.grants.sizes())
}

/// Rows of operations, and calls that have none.
fn served() -> impl Iterator<Item = &'static Row> {
    HYPERCALLS.iter().filter(|r| {
        let has_operations = || HYPERCALLS.iter().any(|o| o.nr == r.nr && o.op.is_some());
        let leaves = r.nr == HYPERVISOR_IRET || matches!(r.name, "SCHEDOP_shutdown" | "VCPUOP_down");
        r.state == State::Served && (r.op.is_some() || !has_operations()) && !leaves
    })
}

#[test]
fn what_is_for_the_privileged_is_refused_to_others_and_to_nobody_else() {
    for r in served().filter(|r| who(r.nr, r.op) == Who::Privileged) {
        let mut b = bed();
        let (domu, dom0) = (b.domu.clone(), b.dom0.clone());
        for dom in [SELF, OTHER, DOM0] {
            let before = [digest(&b, &b.other), digest(&b, &dom0), digest(&b, &domu)];
            let got = answer(&mut b, &domu, r, dom);
            let refused = match (r.nr, r.op) {
                // Its own errno.
                (HYPERVISOR_MMUEXT_OP, Some(MMUEXT_FLUSH_CACHE | MMUEXT_FLUSH_CACHE_GLOBAL))
                    if dom == SELF =>
                {
                    Errno::EACCES
                }
                _ => Errno::EPERM,
            };
            assert_eq!(got, Err(refused), "{} about {dom}", r.name);
            assert_eq!(before, [digest(&b, &b.other), digest(&b, &dom0), digest(&b, &domu)], "{}", r.name);
        }
        // Some end the domain, or the machine: those are not tried.
        if !matches!(r.name, "XEN_DOMCTL_destroydomain" | "XENPF_enter_acpi_sleep") {
            let mut b = bed();
            let dom0 = b.dom0.clone();
            // Only pins mean another domain.
            let dom = if r.nr == HYPERVISOR_MMUEXT_OP { SELF } else { OTHER };
            let got = answer(&mut b, &dom0, r, dom);
            assert_ne!(got, Err(Errno::EPERM), "{} by dom0", r.name);
        }
    }
}

#[test]
fn what_is_about_a_domain_is_refused_about_others() {
    for r in served().filter(|r| who(r.nr, r.op) == Who::Target) {
        for dom in [OTHER, DOM0] {
            let mut b = bed();
            let domu = b.domu.clone();
            let before = [digest(&b, &b.other), digest(&b, &b.dom0)];
            let got = answer(&mut b, &domu, r, dom);
            assert_eq!(got, Err(Errno::EPERM), "{} about {dom}", r.name);
            assert_eq!(before, [digest(&b, &b.other), digest(&b, &b.dom0)], "{}", r.name);
        }
        for (by, dom) in [(SELF, SELF), (DOM0, OTHER)] {
            let mut b = bed();
            let by = if by == SELF { b.domu.clone() } else { b.dom0.clone() };
            let got = answer(&mut b, &by, r, dom);
            assert_ne!(got, Err(Errno::EPERM), "{} by {} about {dom}", r.name, by.dom.id);
        }
    }
}

#[test]
fn what_anyone_may_do_leaves_other_domains_as_they_are() {
    for r in served().filter(|r| who(r.nr, r.op) == Who::Anyone) {
        for dom in [OTHER, DOM0, SELF] {
            let mut b = bed();
            let domu = b.domu.clone();
            let before = [digest(&b, &b.other), digest(&b, &b.dom0)];
            let _ = answer(&mut b, &domu, r, dom);
            assert_eq!(before, [digest(&b, &b.other), digest(&b, &b.dom0)], "{} about {dom}", r.name);
        }
    }
}
