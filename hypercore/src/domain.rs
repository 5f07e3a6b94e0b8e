//! Domains: identity, life, and the state each subsystem keeps in them.

use crate::cpumask::AtomicCpuMask;
use crate::event::DomainEvents;
use crate::fallible::{filled, shared};
use crate::frame::HvFrame;
use crate::grant::DomainGrants;
use crate::ids::{DomId, VcpuId};
use crate::io::DomainIo;
use crate::memory::DomainMemory;
use crate::mm::DomainMm;
use crate::nospec;
use crate::policy::DomainPolicy;
use crate::sched::DomainSched;
use crate::sync::{Mutex, RwLock};
use crate::time::DomainTime;
use crate::vcpu::Vcpu;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

/// Where a domain is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum Dying {
    #[default]
    Alive = 0,
    /// Being torn down: gains no reference, mapping, port or pin.
    Dying = 1,
    /// Torn down; still there because others hold references to its frames.
    Dead = 2,
}

/// One domain. Shared between CPUs as `Arc<Domain>`; an `Arc` is the domain reference.
pub struct Domain {
    pub id: DomId,
    /// uuid the tools gave it.
    pub handle: Mutex<[u8; 16]>,
    /// May do anything to any domain (dom0).
    pub privileged: bool,
    /// `XEN_DOMCTL_CDF_*` flags it was created with.
    pub create_flags: u32,
    pub ssidref: u32,
    /// Serialises domctls that change the domain.
    pub domctl: Mutex<()>,
    dying: AtomicU32,
    /// Shut itself down (or crashed); `shutdown_code` says why.
    pub shut_down: AtomicBool,
    pub shutdown_code: AtomicU32,
    /// Port of its own that is sent to when it suspends; 0: none.
    pub suspend_port: AtomicU32,
    /// Nesting count of `pausedomain` (tools' pauses and the hypervisor's own together).
    pub pause_count: AtomicU32,
    /// How often tools have paused it beyond unpausing it; a new domain begins with 1.
    pub controller_pauses: AtomicU32,
    /// Emulated devices (none for PV) and MSR strictness, as the tool asked for them.
    pub arch_config: Mutex<abi::arch_x86::ArchDomainconfig>,
    /// A tool has let it run once: its CPU policy no longer changes.
    pub has_run: AtomicBool,
    /// A debugger is attached (`XEN_DOMCTL_setdebugging`).
    pub debugged: AtomicBool,
    /// Nodes its memory should come from (bit n: node n); 0: nobody said.
    pub node_affinity: AtomicU32,
    /// CPUs that may hold translations of this domain's tables.
    pub dirty_cpus: AtomicCpuMask,
    vcpus: RwLock<Vec<Option<Arc<Vcpu>>>>,
    pub max_vcpus: u32,
    /// `struct shared_info`, one frame.
    pub shared_info: HvFrame,
    pub mm: DomainMm,
    pub memory: DomainMemory,
    pub events: DomainEvents,
    pub grants: DomainGrants,
    pub sched: DomainSched,
    pub time: DomainTime,
    pub policy: DomainPolicy,
    pub io: DomainIo,
    /// `vm_assist` types that are on (bit n = `VMASST_TYPE_n`).
    pub vm_assist: AtomicU64,
}

/// What creation needs to know before any subsystem state exists.
pub struct NewDomain {
    pub id: DomId,
    pub handle: [u8; 16],
    pub privileged: bool,
    pub create_flags: u32,
    pub ssidref: u32,
    /// Number of its CPU pool.
    pub cpupool: u32,
    pub max_vcpus: u32,
    pub max_evtchn_port: u32,
    pub max_grant_frames: u32,
    pub max_maptrack_frames: u32,
    pub grant_version_max: u32,
}

impl Domain {
    /// Whether the guest has switched on assist `kind` (`VMASST_TYPE_*`).
    pub fn assisted(&self, kind: u32) -> bool {
        self.vm_assist.load(Relaxed) & 1 << kind != 0
    }

    /// Assembles a domain without vCPUs or memory; it starts paused by the controller. ENOMEM.
    pub fn new(n: &NewDomain, shared_info: HvFrame, policy: DomainPolicy) -> Result<Arc<Self>, abi::Errno> {
        let vcpus = filled(n.max_vcpus as usize, || None)?;
        shared(Self {
            id: n.id,
            handle: Mutex::new(n.handle),
            privileged: n.privileged,
            create_flags: n.create_flags,
            ssidref: n.ssidref,
            domctl: Mutex::new(()),
            dying: AtomicU32::new(0),
            shut_down: AtomicBool::new(false),
            shutdown_code: AtomicU32::new(u32::MAX),
            suspend_port: AtomicU32::new(0),
            pause_count: AtomicU32::new(1),
            controller_pauses: AtomicU32::new(1),
            arch_config: Mutex::default(),
            has_run: AtomicBool::new(false),
            debugged: AtomicBool::new(false),
            node_affinity: AtomicU32::new(0),
            dirty_cpus: AtomicCpuMask::default(),
            vcpus: RwLock::new(vcpus),
            max_vcpus: n.max_vcpus,
            shared_info,
            mm: DomainMm::new(),
            memory: DomainMemory::new(),
            events: DomainEvents::new(n)?,
            grants: DomainGrants::new(n)?,
            sched: DomainSched::new(),
            time: DomainTime::new(),
            policy,
            io: DomainIo::new(),
            vm_assist: AtomicU64::new(0),
        })
    }

    pub fn vcpu(&self, id: VcpuId) -> Option<Arc<Vcpu>> {
        nospec::get(&self.vcpus.read(), id.0 as usize)?.clone()
    }

    /// Runs `f` on every vCPU there is, in id order.
    pub fn for_each_vcpu(&self, mut f: impl FnMut(&Arc<Vcpu>)) {
        for v in self.vcpus.read().iter().flatten() {
            f(v);
        }
    }

    pub(crate) fn install_vcpu(&self, v: Arc<Vcpu>) {
        let i = v.id.0 as usize;
        if let Some(slot) = self.vcpus.write().get_mut(i) {
            *slot = Some(v);
        }
    }

    /// At the very end of destruction: breaks the domain <-> vCPU cycle.
    pub(crate) fn drop_vcpus(&self) {
        self.vcpus.write().clear();
    }

    /// Paused by the tools (`XEN_DOMINF_paused`).
    pub fn paused_by_controller(&self) -> bool {
        self.controller_pauses.load(Acquire) != 0
    }

    pub fn dying(&self) -> Dying {
        match self.dying.load(Acquire) {
            0 => Dying::Alive,
            1 => Dying::Dying,
            _ => Dying::Dead,
        }
    }

    pub fn is_alive(&self) -> bool {
        self.dying() == Dying::Alive
    }

    pub(crate) fn set_dying(&self, d: Dying) {
        self.dying.store(d as u32, Release);
    }
}

impl core::fmt::Debug for Domain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.id)
    }
}
