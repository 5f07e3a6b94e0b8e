//! `domctl`: what a tool does to one domain.

use abi::GuestHandle;
use abi::domctl::*;
use abi::sched::{SCHEDOP_REMOTE_SHUTDOWN, SchedRemoteShutdown};
use abi::xen::{HYPERVISOR_DOMCTL, HYPERVISOR_SCHED_OP, XenctlBitmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::DomId;
use crate::call::{Command, Xen};
use crate::cpus::Cpus;
use crate::error::Result;

/// Where a vCPU may run, and where it would rather.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    pub hard: Cpus,
    pub soft: Cpus,
}

impl Xen {
    /// A `domctl`: the header, and the command's structure in its union.
    pub(crate) fn domctl<T: FromBytes + IntoBytes + Immutable>(
        &self,
        doing: impl FnOnce() -> String,
        cmd: u32,
        domain: DomId,
        payload: &mut T,
    ) -> Result<()> {
        const { assert!(size_of::<T>() <= DOMCTL_PAYLOAD_SIZE) };
        let header = DomctlHeader {
            cmd,
            interface_version: XEN_DOMCTL_INTERFACE_VERSION,
            domain: domain.0,
            ..Default::default()
        };
        let mut argument = [0u8; DOMCTL_SIZE];
        argument[..DOMCTL_PAYLOAD_OFFSET].copy_from_slice(header.as_bytes());
        let place = DOMCTL_PAYLOAD_OFFSET..DOMCTL_PAYLOAD_OFFSET + size_of::<T>();
        argument[place.clone()].copy_from_slice(payload.as_bytes());
        let result = self.call(doing, HYPERVISOR_DOMCTL, Command::Argument(cmd), &mut argument);
        payload.as_mut_bytes().copy_from_slice(&argument[place]);
        result.map(drop)
    }

    pub fn pause(&self, domain: DomId) -> Result<()> {
        let doing = || format!("pausing domain {domain}");
        self.domctl(doing, XEN_DOMCTL_PAUSEDOMAIN, domain, &mut [0u8; 0])
    }

    pub fn unpause(&self, domain: DomId) -> Result<()> {
        let doing = || format!("unpausing domain {domain}");
        self.domctl(doing, XEN_DOMCTL_UNPAUSEDOMAIN, domain, &mut [0u8; 0])
    }

    /// Ends it. It is gone when nobody has its memory mapped any more, which may be later.
    pub fn destroy(&self, domain: DomId) -> Result<()> {
        let doing = || format!("destroying domain {domain}");
        self.domctl(doing, XEN_DOMCTL_DESTROYDOMAIN, domain, &mut [0u8; 0])
    }

    /// Marks it as shut down, for a reason of `SHUTDOWN_*`.
    pub fn shutdown(&self, domain: DomId, reason: u32) -> Result<()> {
        let doing = || format!("shutting domain {domain} down for reason {reason}");
        let mut argument = SchedRemoteShutdown { domain_id: domain.0, reason, ..Default::default() };
        let command = Command::Register(SCHEDOP_REMOTE_SHUTDOWN);
        self.call(doing, HYPERVISOR_SCHED_OP, command, &mut argument).map(drop)
    }

    /// The most memory it may have, in KiB.
    pub fn set_max_memory(&self, domain: DomId, kib: u64) -> Result<()> {
        let doing = || format!("limiting domain {domain} to {kib} KiB of memory");
        self.domctl(doing, XEN_DOMCTL_MAX_MEM, domain, &mut DomctlMaxMem { max_memkb: kib })
    }

    /// Whether it runs, where, and for how long it has.
    pub fn vcpu(&self, domain: DomId, vcpu: u32) -> Result<DomctlGetvcpuinfo> {
        let doing = || format!("looking at vCPU {vcpu} of domain {domain}");
        let mut info = DomctlGetvcpuinfo { vcpu, ..Default::default() };
        self.domctl(doing, XEN_DOMCTL_GETVCPUINFO, domain, &mut info)?;
        Ok(info)
    }

    /// On a machine of `cpus` CPUs.
    pub fn affinity(&self, domain: DomId, vcpu: u32, cpus: usize) -> Result<Affinity> {
        let doing = || format!("asking where vCPU {vcpu} of domain {domain} may run");
        let bytes = cpus.div_ceil(8);
        let mut maps = self.buffer(2 * bytes)?;
        maps.clear(2 * bytes);
        let mut argument = affinity(vcpu, maps.address(), bytes);
        argument.flags = XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT;
        self.domctl(doing, XEN_DOMCTL_GETVCPUAFFINITY, domain, &mut argument)?;
        let [hard, soft] = [0, bytes].map(|at| {
            let mut map = vec![0; bytes];
            maps.read(at, &mut map);
            Cpus::from_bytes(map)
        });
        Ok(Affinity { hard, soft })
    }

    /// Changes what is given. `force` overrides a pinning of the guest's own. Answers what is in force then, hard before
    /// soft; of what was not given, nothing.
    pub fn set_affinity(
        &self,
        domain: DomId,
        vcpu: u32,
        hard: Option<&Cpus>,
        soft: Option<&Cpus>,
        force: bool,
    ) -> Result<[Option<Cpus>; 2]> {
        let doing = || {
            let part = |name, cpus: Option<&Cpus>| cpus.map(|c| format!(" {name} {c}")).unwrap_or_default();
            let (hard, soft) = (part("to CPUs", hard), part("with a preference for CPUs", soft));
            format!("pinning vCPU {vcpu} of domain {domain}{hard}{soft}")
        };
        let bytes = [hard, soft].iter().flatten().map(|c| c.as_bytes().len()).max().unwrap_or(0);
        let mut maps = self.buffer(2 * bytes)?;
        maps.clear(2 * bytes);
        let mut argument = affinity(vcpu, maps.address(), bytes);
        if force {
            argument.flags |= XEN_VCPUAFFINITY_FORCE;
        }
        let both = [(hard, XEN_VCPUAFFINITY_HARD), (soft, XEN_VCPUAFFINITY_SOFT)];
        for (n, (cpus, flag)) in both.iter().enumerate() {
            if let Some(cpus) = cpus {
                maps.write(n * bytes, cpus.as_bytes());
                argument.flags |= flag;
            }
        }
        self.domctl(doing, XEN_DOMCTL_SETVCPUAFFINITY, domain, &mut argument)?;
        let mut n = 0;
        Ok(both.map(|(given, _)| {
            let mut map = vec![0; bytes];
            maps.read(n * bytes, &mut map);
            n += 1;
            given.map(|_| Cpus::from_bytes(map))
        }))
    }

    /// Nodes its memory is to come from, of at most `nodes`.
    pub fn node_affinity(&self, domain: DomId, nodes: usize) -> Result<Cpus> {
        let doing = || format!("asking where the memory of domain {domain} comes from");
        let bytes = nodes.div_ceil(8);
        let mut map = self.buffer(bytes)?;
        map.clear(bytes);
        let mut argument = DomctlNodeaffinity { nodemap: bitmap(map.address(), bytes) };
        self.domctl(doing, XEN_DOMCTL_GETNODEAFFINITY, domain, &mut argument)?;
        let mut nodes = vec![0; bytes];
        map.read(0, &mut nodes);
        Ok(Cpus::from_bytes(nodes))
    }

    /// A signal of `XEN_DOMCTL_SENDTRIGGER_*` to a vCPU.
    pub fn trigger(&self, domain: DomId, trigger: u32, vcpu: u32) -> Result<()> {
        let doing = || format!("sending trigger {trigger} to vCPU {vcpu} of domain {domain}");
        self.domctl(doing, XEN_DOMCTL_SENDTRIGGER, domain, &mut DomctlSendtrigger { trigger, vcpu })
    }
}

fn bitmap(at: u64, bytes: usize) -> XenctlBitmap {
    XenctlBitmap { bitmap: GuestHandle::new(at), nr_bits: bytes as u32 * 8, _pad0: 0 }
}

/// Two maps that follow each other at `at`.
fn affinity(vcpu: u32, at: u64, bytes: usize) -> DomctlVcpuaffinity {
    DomctlVcpuaffinity {
        vcpu,
        cpumap_hard: bitmap(at, bytes),
        cpumap_soft: bitmap(at + bytes as u64, bytes),
        ..Default::default()
    }
}
