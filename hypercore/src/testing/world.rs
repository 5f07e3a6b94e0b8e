//! A small hypervisor on the host: [`World`], and PV guests with page tables in it.

use super::machine::{HostMachine, set_cpu};
use crate::boot::affinity::{Affinity, Memory};
use crate::cpumask::CpuMask;
use crate::domain::{Domain, NewDomain};
use crate::domains::DomainTable;
use crate::frame::alloc::FrameAllocator;
use crate::frame::record::{B, FrameState};
use crate::frame::table::OWNED_LEN;
use crate::frame::{FrameRecord, FrameTable, FrameType, HvFrame};
use crate::host::HostInfo;
use crate::ids::{CpuId, DomId, Mfn, VcpuId};
use crate::mm::audit::audit;
use crate::numa::Nodes;
use crate::policy::{Capabilities, DomainPolicy, SystemPolicies};
use crate::vcpu::{Vcpu, VcpuPrivate};
use crate::xen::{Cx, Xen};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;
use x86::regs::GuestRegs;

/// First frame of RAM; below it everything is reserved, as a machine's first megabyte partly is.
pub const FIRST_RAM: u64 = 16;

/// What CPUID answers there: XSAVE with the legacy components, FPU, and nothing else.
fn processor(leaf: u32, subleaf: u32) -> [u32; 4] {
    match (leaf, subleaf) {
        (0, _) => [0xd, 0, 0, 0],
        (1, _) => [0, 0, 1 << 26, 1],
        (0xd, 0) => [3, 576, 576, 0],
        _ => [0; 4],
    }
}

/// A hypervisor without domains.
pub struct World {
    pub xen: &'static Xen<HostMachine>,
}

impl World {
    /// `frames` frames of memory and `cpus` CPUs.
    pub fn new(frames: u64, cpus: u32) -> Self {
        Self::make(frames, cpus, Default::default(), Default::default())
    }

    /// The same, with other limits of grants.
    pub fn with_grants(frames: u64, cpus: u32, grants: crate::grant::Limits) -> Self {
        Self::make(frames, cpus, grants, Default::default())
    }

    /// The same, on two CPUs with a node each, the second with the memory from frame `bound` on.
    pub fn with_two_nodes(frames: u64, bound: u64) -> Self {
        let memory = |start, end, domain| Memory { start: start << 12, end: end << 12, domain };
        let mut tables = Affinity::default();
        tables.cpus.extend([(0, 0), (1, 1)]);
        tables.memory.extend([memory(0, bound, 0), memory(bound, frames, 1)]);
        let nodes = Nodes::new(&tables, [(FIRST_RAM << 12, frames << 12)].into_iter());
        Self::make(frames, 2, Default::default(), nodes.expect("all memory is at a node"))
    }

    fn make(frames: u64, cpus: u32, grants: crate::grant::Limits, nodes: Nodes) -> Self {
        let records: &'static [FrameRecord] =
            Box::leak((0..frames).map(|_| FrameRecord::default()).collect::<Vec<_>>().into_boxed_slice());
        let owned: &'static [AtomicU32] =
            Box::leak((0..OWNED_LEN).map(|_| AtomicU32::new(0)).collect::<Vec<_>>().into_boxed_slice());
        let table: &'static FrameTable =
            Box::leak(Box::new(FrameTable::new(records, owned, FrameAllocator::new(frames))));
        table.give(Mfn(FIRST_RAM), frames - FIRST_RAM, false);
        let host = HostInfo {
            online: CpuMask::first(cpus as usize),
            nr_cpus: cpus,
            topology: (0..cpus).map(|c| (c, c, 0)).collect(),
            nodes,
            tsc_khz: 1_000_000,
            tsc_sound: AtomicBool::new(true),
            tsc_stable: AtomicBool::new(true),
            boot_wallclock: crate::sync::Mutex::new((0, 0)),
            total_pages: frames - FIRST_RAM,
            e820: std::vec![(FIRST_RAM << 12, (frames - FIRST_RAM) << 12, 1)],
            kbd_shift_flags: Some(0x20),
            mcg_cap: 0x100_010a,
            mcfg: std::vec![crate::boot::acpi::Mcfg {
                base: 0xe000_0000,
                segment: 0,
                first_bus: 0,
                last_bus: 0
            }],
            build_id: &[0x5a; 20],
            image: (0x20_0000, 0x12_3000),
            cmdline: Default::default(),
            xcr0_mask: 3,
            xsave_size: 576,
            policies: SystemPolicies::new(processor, &Capabilities { xcr0: 3, ..Default::default() }),
            grants,
            hv_l4: core::array::from_fn(|i| (0x1000 * (i as u64 + 1)) | 0x8000_0000_0000_0003),
        };
        let xen = Box::leak(Box::new(Xen {
            m: HostMachine::new(table, cpus),
            frames: table,
            domains: DomainTable::default(),
            sched: crate::sched::Scheduler::new(cpus as usize),
            timers: crate::time::Timers::new(cpus as usize),
            virq_handlers: Default::default(),
            irqs: Default::default(),
            read_only: Default::default(),
            host,
            power: Default::default(),
            clock_watch: Default::default(),
            refusals: crate::refusal::Refusals::new(cpus as usize),
            mca: Default::default(),
        }));
        Self { xen }
    }

    /// Panics, saying what, if the audit finds a mismatch or a CPU has cached what it may not reach.
    pub fn check(&self, when: &str) {
        check(self.xen, when);
    }

    /// A domain with `vcpus` vCPUs and no memory; vCPU n runs on CPU n modulo the CPUs there are.
    pub fn domain(&self, id: u16, vcpus: u32) -> Guest {
        self.create(&self.describe(id, vcpus))
    }

    /// What a domain may have unless a test says otherwise.
    pub fn describe(&self, id: u16, vcpus: u32) -> NewDomain {
        NewDomain {
            id: DomId(id),
            handle: [id as u8; 16],
            privileged: id == 0,
            create_flags: 0,
            ssidref: 0,
            max_vcpus: vcpus,
            cpupool: 0,
            max_evtchn_port: 1023,
            max_grant_frames: 8,
            max_maptrack_frames: 16,
            grant_version_max: self.xen.host.grants.version,
        }
    }

    /// As [`Self::domain`], as described.
    pub fn create(&self, n: &NewDomain) -> Guest {
        let shared = HvFrame::alloc(&self.xen.m, self.xen.frames, n.id).expect("memory for shared_info");
        let dom = Domain::new(n, shared, DomainPolicy::default()).expect("memory for a domain");
        crate::sched::join_pool(self.xen, &dom, n.cpupool).expect("pool 0");
        self.xen.domains.insert(dom.clone()).expect("a free number");
        for i in 0..n.max_vcpus {
            let v = Vcpu::new(&dom, VcpuId(i)).expect("memory for a vCPU");
            let cpu = CpuId(i % self.xen.host.nr_cpus);
            v.set_processor(cpu);
            v.initialised.store(true, SeqCst);
            v.running.store(true, SeqCst);
            dom.dirty_cpus.insert(cpu);
            dom.install_vcpu(v);
        }
        Guest { xen: self.xen, dom }
    }
}

/// A domain of a [`World`], driven from outside as its kernel would.
#[derive(Clone)]
pub struct Guest {
    pub xen: &'static Xen<HostMachine>,
    pub dom: Arc<Domain>,
}

impl Guest {
    /// A zeroed frame that belongs to the domain.
    pub fn frame(&self) -> Mfn {
        let t = self.xen.frames;
        let (mfn, _) = t.alloc.alloc(0, u64::MAX).expect("a free frame");
        t.settle_free(&self.xen.m, mfn, 1);
        crate::machine::Frames::zero(&self.xen.m, &crate::frame::proof::FreshFrame(mfn));
        self.dom.memory.note_region(mfn).expect("memory for the region map");
        t.assign(mfn, self.dom.id, FrameState::Domain);
        mfn
    }

    /// Runs `f` as a hypercall of vCPU `v` on the CPU it belongs to.
    pub fn call<R>(&self, v: u32, f: impl FnOnce(&mut Cx<'_, HostMachine>) -> R) -> R {
        let vcpu = self.dom.vcpu(VcpuId(v)).expect("a vCPU");
        set_cpu(vcpu.processor().0);
        let mut vp = vcpu.check_out().ok_or(()).or_else(|()| VcpuPrivate::new()).expect("private state");
        let mut regs = GuestRegs::default();
        let r = {
            let mut cx = Cx {
                xen: self.xen,
                vcpu: &vcpu,
                dom: &self.dom,
                vp: &mut vp,
                regs: &mut regs,
                restart: None,
            };
            f(&mut cx)
        };
        vcpu.check_in(vp);
        r
    }
}

/// See [`World::check`].
pub fn check(xen: &'static Xen<HostMachine>, when: &str) {
    let report = audit(xen).expect("memory for the audit");
    assert!(report.is_clean(), "{when}: {report:#x?}");
    for (cpu, va, c) in xen.m.cached() {
        let Some((a, b)) = xen.frames.peek(c.mfn) else { continue };
        match a.state() {
            FrameState::Reserved | FrameState::Free => {}
            _ if Some(a.owner()) != c.owner => {
                panic!(
                    "{when}: {cpu:?} still reaches {} of {:?} at {va:#x}, now {:?}'s",
                    c.mfn,
                    c.owner,
                    a.owner()
                )
            }
            _ if c.writable && !matches!(b.kind(), FrameType::Writable | FrameType::None) => {
                panic!("{when}: {cpu:?} can write {}, a {:?}, at {va:#x}", c.mfn, b.kind())
            }
            _ => {}
        }
    }
    for (n, cpu) in xen.m.cpus.iter().enumerate() {
        let Some(root) = cpu.lock().unwrap().root else { continue };
        if let Some((a, b)) = xen.frames.peek(root) {
            let fine = a.state() == FrameState::Shared || (b.kind() == FrameType::L4 && b.has(B::VALIDATED));
            assert!(fine, "{when}: CPU {n} runs on {root}, which is {b:x?}");
        }
    }
}
