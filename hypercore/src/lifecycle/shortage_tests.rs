//! A domain is created as tools do it, and each allocation on the way fails once: the call says ENOMEM, what was done
//! before stays whole, and nothing is left when the domain goes.

use crate::hypercall::dispatch;
use crate::ids::DomId;
use crate::testing::world::check;
use crate::testing::{Guest, Scratch, World, shortage};
use crate::xen::{Cx, Stop};
use abi::arch_x86::{VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext};
use abi::domctl::*;
use abi::event_channel::*;
use abi::memory::*;
use abi::xen::*;
use abi::{Errno, GuestHandle};
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;
use zerocopy::{Immutable, IntoBytes};

/// Frames of the new domain.
const FRAMES: u64 = 24;
/// Ports it gets: more than one allocation's worth.
const PORTS: u32 = 70;

struct Bed {
    dom0: Guest,
    s: Scratch,
    domctl: u64,
    arg: u64,
    list: u64,
    context: u64,
    /// The domain under creation, and its first frame.
    id: u16,
    first: u64,
}

/// What may not differ once the domain is gone.
#[derive(Debug, PartialEq)]
struct Counts {
    free: u64,
    promised: u64,
    domains: Vec<u16>,
    ports: Vec<String>,
}

impl Bed {
    fn new() -> Self {
        let w = World::new(1024, 2);
        let dom0 = w.domain(0, 1);
        dom0.dom.io.ports.write().add(0, 0xffff).expect("memory for a range");
        let mut s = Scratch::new(w.xen);
        let (domctl, arg, list) = (s.room(DOMCTL_SIZE), s.room(256), s.room(FRAMES as usize * 8));
        let context = s.room(size_of::<VcpuGuestContext>());
        Self { dom0, s, domctl, arg, list, context, id: 0, first: 0 }
    }

    fn counts(&self) -> Counts {
        let xen = self.dom0.xen;
        let mut ports = Vec::new();
        crate::event::life::dump(xen, &self.dom0.dom, |line| ports.push(line.to_string()));
        Counts {
            free: xen.frames.alloc.free_pages(),
            promised: xen.frames.alloc.outstanding(),
            domains: xen.domains.all().map(|d| d.id.0).collect(),
            ports,
        }
    }

    fn call(&self, nr: u32, args: [u64; 6]) -> Result<u64, Errno> {
        let (mut nr, mut args) = (nr, args);
        loop {
            let go = |cx: &mut Cx<'_, _>| (dispatch(cx, nr, &args), cx.restart.take());
            match self.dom0.call(0, go) {
                (Ok(v), _) => return Ok(v),
                (Err(Stop::Errno(e)), _) => return Err(e),
                (Err(Stop::Continue), again) => {
                    let again = again.expect("how to go on");
                    (nr, args) = (again.nr, again.args);
                }
            }
        }
    }

    fn domctl<T: IntoBytes + Immutable>(&self, cmd: u32, payload: &T) -> Result<u64, Errno> {
        let interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        self.s.set(self.domctl, &[0u8; DOMCTL_SIZE]);
        self.s.set(self.domctl, &DomctlHeader { cmd, interface_version, domain: self.id, _pad: [0; 3] });
        self.s.set(self.domctl + DOMCTL_PAYLOAD_OFFSET as u64, payload);
        self.call(HYPERVISOR_DOMCTL, [self.domctl, 0, 0, 0, 0, 0])
    }

    fn memory<T: IntoBytes + Immutable>(&self, op: u32, payload: &T) -> Result<u64, Errno> {
        self.s.set(self.arg, payload);
        self.call(HYPERVISOR_MEMORY_OP, [op.into(), self.arg, 0, 0, 0, 0])
    }

    fn event<T: IntoBytes + Immutable>(&self, op: u32, payload: &T) -> Result<u64, Errno> {
        self.s.set(self.arg, payload);
        self.call(HYPERVISOR_EVENT_CHANNEL_OP, [op.into(), self.arg, 0, 0, 0, 0])
    }

    /// The steps from nothing to a domain that could run. What is done already is not done again.
    fn step(&mut self, step: usize) -> Result<(), Errno> {
        match step {
            0 => {
                let create = DomctlCreatedomain {
                    max_vcpus: 2,
                    max_evtchn_port: 1023,
                    max_grant_frames: 4,
                    max_maptrack_frames: 8,
                    grant_opts: 2,
                    ..Default::default()
                };
                self.domctl(XEN_DOMCTL_CREATEDOMAIN, &create)?;
                self.id = self.s.get::<DomctlHeader>(self.domctl).domain;
            }
            1 => _ = self.domctl(XEN_DOMCTL_MAX_VCPUS, &DomctlMaxVcpus { max: 2 })?,
            2 => _ = self.domctl(XEN_DOMCTL_MAX_MEM, &DomctlMaxMem { max_memkb: FRAMES * 4 })?,
            3 => {
                let claim = MemoryReservation { nr_extents: FRAMES, domid: self.id, ..Default::default() };
                self.memory(XENMEM_CLAIM_PAGES, &claim)?;
            }
            4 => self.populate()?,
            5 => {
                let permission = DomctlIoportPermission {
                    first_port: 8,
                    nr_ports: 4,
                    allow_access: 1,
                    ..Default::default()
                };
                self.domctl(XEN_DOMCTL_IOPORT_PERMISSION, &permission)?;
            }
            6 => {
                for frame in [0, 2] {
                    let ask = MemAcquireResource {
                        domid: self.id,
                        type_: XENMEM_RESOURCE_GRANT_TABLE,
                        id: XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
                        nr_frames: 1,
                        frame,
                        frame_list: GuestHandle::new(self.list),
                        ..Default::default()
                    };
                    self.memory(XENMEM_ACQUIRE_RESOURCE, &ask)?;
                }
            }
            7 => {
                let dom = self.dom0.xen.domains.get(DomId(self.id)).expect("the domain");
                while dom.events.ports.next_taken(PORTS).is_none() {
                    self.event(
                        EVTCHNOP_ALLOC_UNBOUND,
                        &EvtchnAllocUnbound { dom: self.id, remote_dom: 0, port: 0 },
                    )?;
                }
            }
            8 => {
                let bind =
                    EvtchnBindInterdomain { remote_dom: self.id, remote_port: 1, ..Default::default() };
                self.event(EVTCHNOP_BIND_INTERDOMAIN, &bind)?;
            }
            9 => {
                let map = ForeignMemoryMap {
                    domid: self.id,
                    map: MemoryMap {
                        nr_entries: 2,
                        buffer: GuestHandle::new(self.list),
                        ..Default::default()
                    },
                    ..Default::default()
                };
                self.memory(XENMEM_SET_MEMORY_MAP, &map)?;
            }
            10 => {
                let mut c = VcpuGuestContext { flags: VGCF_IN_KERNEL | VGCF_ONLINE, ..Default::default() };
                c.ctrlreg[3] = self.first << 12;
                self.s.set(self.context, &c);
                let arg =
                    DomctlVcpucontext { vcpu: 0, ctxt: GuestHandle::new(self.context), ..Default::default() };
                self.domctl(XEN_DOMCTL_SETVCPUCONTEXT, &arg)?;
            }
            _ => {
                let order = MemoryReservation { domid: self.id, ..Default::default() };
                self.memory(XENMEM_CLAIM_PAGES, &order)?;
            }
        }
        Ok(())
    }

    fn populate(&mut self) -> Result<(), Errno> {
        let has = |b: &Self| u64::from(b.dom0.xen.frames.owned(DomId(b.id)));
        let left = FRAMES - has(self);
        let r = MemoryReservation {
            extent_start: GuestHandle::new(self.list),
            nr_extents: left,
            domid: self.id,
            ..Default::default()
        };
        let done = self.memory(XENMEM_POPULATE_PHYSMAP, &r)?;
        assert_eq!(has(self), FRAMES - left + done, "as many as it says");
        if self.first == 0 && done > 0 {
            self.first = self.s.get(self.list);
        }
        // Why the others are not there was kept.
        if done == left { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// What was kept of the last refusal.
    fn explained(&self, before: u64) -> bool {
        let vcpu = self.dom0.dom.vcpu(crate::ids::VcpuId(0)).expect("a vCPU");
        let (made, _, reasons) = vcpu.refusals.lock().latest();
        made > before && reasons > 0
    }

    fn refusals(&self) -> u64 {
        self.dom0.dom.vcpu(crate::ids::VcpuId(0)).expect("a vCPU").refusals.lock().latest().0
    }

    fn destroy(&mut self, when: &str) {
        let dom = self.dom0.xen.domains.get(DomId(self.id)).filter(|d| d.id.0 != 0);
        let mut vcpus = Vec::new();
        if let Some(dom) = &dom {
            dom.for_each_vcpu(|v| vcpus.push(Arc::downgrade(v)));
            self.domctl(XEN_DOMCTL_DESTROYDOMAIN, &0u64).unwrap_or_else(|e| panic!("{when}: {e:?}"));
        }
        let dom = dom.map(|d| Arc::downgrade(&d));
        // Dom0's end of the connection waits for nobody now.
        for port in 1..8 {
            let _ = self.event(EVTCHNOP_CLOSE, &EvtchnClose { port });
        }
        (self.id, self.first) = (0, 0);
        super::reap(self.dom0.xen);
        assert!(dom.is_none_or(|d| d.upgrade().is_none()), "{when}: somebody holds the domain");
        assert!(vcpus.iter().all(|v| v.upgrade().is_none()), "{when}: somebody holds a vCPU");
    }
}

const STEPS: usize = 12;

#[test]
fn every_allocation_of_a_creation_may_fail() {
    let mut b = Bed::new();
    // Once in peace: what dom0 itself keeps is there from now on.
    (0..STEPS).for_each(|s| b.step(s).unwrap());
    b.destroy("in peace");
    let before = b.counts();
    let mut failed_steps = [0; STEPS];
    for n in 0.. {
        let when = std::format!("allocation {n}");
        let refusals = b.refusals();
        shortage::after(n);
        let refused = (0..STEPS).find_map(|s| b.step(s).err().map(|e| (s, e)));
        let Some((step, e)) = refused else {
            assert!(shortage::end(), "{when} failed, and nobody said so");
            break;
        };
        assert!(!shortage::end());
        assert_eq!(e, Errno::ENOMEM, "{when}, step {step}");
        failed_steps[step] += 1;
        check(b.dom0.xen, &when);
        // Reasons are kept of tools' calls, not of those of event channels.
        if ![7, 8].contains(&step) {
            assert!(b.explained(refusals), "{when}, step {step}: why?");
        }
        // The same again goes on from there, every other time.
        if n % 2 == 0 {
            (step..STEPS).for_each(|s| b.step(s).unwrap_or_else(|e| panic!("{when}, again {s}: {e:?}")));
            check(b.dom0.xen, &when);
        }
        b.destroy(&when);
        assert_eq!(b.counts(), before, "{when}, step {step}");
    }
    b.destroy("the last");
    assert_eq!(b.counts(), before);
    // Every step that allocates at all has failed: the domain, vCPUs, frames, ports and so on.
    assert!(failed_steps[0] >= 4 && failed_steps[1] >= 6, "{failed_steps:?}");
    assert!(failed_steps[4] as u64 >= FRAMES && failed_steps[6] >= 4, "{failed_steps:?}");
    for step in [5, 7, 9, 10] {
        assert!(failed_steps[step] > 0, "{failed_steps:?}");
    }
}
