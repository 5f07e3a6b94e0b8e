//! `sysctl`: what there is on the machine, its domains, the hypervisor's messages.

use abi::Errno;
use abi::GuestHandle;
use abi::domctl::DomctlGetdomaininfo;
use abi::physdev::PhysdevPciDevice;
use abi::sysctl::*;
use abi::xen::HYPERVISOR_SYSCTL;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::DomId;
use crate::call::{Command, Xen};
use crate::error::{Error, Result};

/// Domains asked for at a time.
const DOMAINS: u32 = 256;
/// Bytes that the console ring has at most, unless an answer fills them.
const CONSOLE: u32 = 64 << 10;

impl Xen {
    /// A `sysctl`: the header, and the command's structure in its union.
    pub(crate) fn sysctl<T: FromBytes + IntoBytes + Immutable>(
        &self,
        doing: impl FnOnce() -> String,
        cmd: u32,
        payload: &mut T,
    ) -> Result<()> {
        const { assert!(size_of::<T>() <= SYSCTL_PAYLOAD_SIZE) };
        let header = SysctlHeader { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION };
        let mut argument = [0u8; SYSCTL_SIZE];
        argument[..SYSCTL_PAYLOAD_OFFSET].copy_from_slice(header.as_bytes());
        let place = SYSCTL_PAYLOAD_OFFSET..SYSCTL_PAYLOAD_OFFSET + size_of::<T>();
        argument[place.clone()].copy_from_slice(payload.as_bytes());
        let result = self.call(doing, HYPERVISOR_SYSCTL, Command::Argument(cmd), &mut argument);
        payload.as_mut_bytes().copy_from_slice(&argument[place]);
        result.map(drop)
    }

    /// Processors, memory, abilities.
    pub fn physinfo(&self) -> Result<SysctlPhysinfo> {
        let mut info = SysctlPhysinfo::default();
        self.sysctl(|| "asking for the machine's size".into(), XEN_SYSCTL_PHYSINFO, &mut info)?;
        Ok(info)
    }

    /// `XEN_SCHEDULER_*` of new pools.
    pub fn default_scheduler(&self) -> Result<u32> {
        let mut id = SysctlSchedId::default();
        self.sysctl(|| "asking for the scheduler".into(), XEN_SYSCTL_SCHED_ID, &mut id)?;
        Ok(id.sched_id)
    }

    /// All domains from number `first` on, in order.
    pub fn domains(&self, first: DomId) -> Result<Vec<DomctlGetdomaininfo>> {
        let mut room = self.buffer(DOMAINS as usize * size_of::<DomctlGetdomaininfo>())?;
        let (mut all, mut first) = (Vec::new(), first.0);
        loop {
            room.clear(DOMAINS as usize * size_of::<DomctlGetdomaininfo>());
            let mut ask = SysctlGetdomaininfolist {
                first_domain: first,
                max_domains: DOMAINS,
                buffer: GuestHandle::new(room.address()),
                ..Default::default()
            };
            self.sysctl(|| "listing domains".into(), XEN_SYSCTL_GETDOMAININFOLIST, &mut ask)?;
            let count = ask.num_domains.min(DOMAINS);
            all.extend(room.list::<DomctlGetdomaininfo>(count as usize));
            match all.last() {
                Some(last) if count == DOMAINS => first = last.domain + 1,
                _ => return Ok(all),
            }
        }
    }

    /// One domain, `None` if there is no such one.
    pub fn domain(&self, id: DomId) -> Result<Option<DomctlGetdomaininfo>> {
        let mut room = self.buffer(size_of::<DomctlGetdomaininfo>())?;
        room.clear(size_of::<DomctlGetdomaininfo>());
        let mut ask = SysctlGetdomaininfolist {
            first_domain: id.0,
            max_domains: 1,
            buffer: GuestHandle::new(room.address()),
            ..Default::default()
        };
        self.sysctl(|| format!("looking for domain {id}"), XEN_SYSCTL_GETDOMAININFOLIST, &mut ask)?;
        let found = room.list::<DomctlGetdomaininfo>(ask.num_domains.min(1) as usize).pop();
        Ok(found.filter(|d| d.domain == id.0))
    }

    /// The hypervisor's messages from the byte `index` of all that it ever wrote, as many as are still there and have room, and
    /// the index behind them.
    pub fn console_from(&self, index: u32) -> Result<(Vec<u8>, u32)> {
        let buffer = self.buffer(CONSOLE as usize)?;
        let mut ask = SysctlReadconsole {
            incremental: 1,
            index,
            buffer: GuestHandle::new(buffer.address()),
            count: CONSOLE,
            ..Default::default()
        };
        self.sysctl(|| "reading the hypervisor's messages".into(), XEN_SYSCTL_READCONSOLE, &mut ask)?;
        let mut bytes = vec![0; ask.count.min(CONSOLE) as usize];
        buffer.read(0, &mut bytes);
        Ok((bytes, ask.index))
    }

    /// The hypervisor's messages that are still there; `clear` forgets them.
    pub fn console(&self, clear: bool) -> Result<Vec<u8>> {
        let mut room = CONSOLE;
        loop {
            let buffer = self.buffer(room as usize)?;
            let mut ask = SysctlReadconsole {
                // Not before all of it has been read.
                clear: 0,
                buffer: GuestHandle::new(buffer.address()),
                count: room,
                ..Default::default()
            };
            self.sysctl(|| "reading the hypervisor's messages".into(), XEN_SYSCTL_READCONSOLE, &mut ask)?;
            if ask.count >= room {
                room *= 2;
                continue;
            }
            let mut bytes = vec![0; ask.count as usize];
            buffer.read(0, &mut bytes);
            if clear {
                let mut ask = SysctlReadconsole { clear: 1, ..ask };
                ask.count = 0;
                let doing = || "forgetting the hypervisor's messages".into();
                self.sysctl(doing, XEN_SYSCTL_READCONSOLE, &mut ask)?;
            }
            return Ok(bytes);
        }
    }

    /// Types keys at the hypervisor's console.
    pub fn debug_keys(&self, keys: &str) -> Result<()> {
        let mut buffer = self.buffer(keys.len())?;
        buffer.write(0, keys.as_bytes());
        let mut ask = SysctlDebugKeys {
            keys: GuestHandle::new(buffer.address()),
            nr_keys: keys.len() as u32,
            ..Default::default()
        };
        self.sysctl(|| format!("sending debug keys {keys:?}"), XEN_SYSCTL_DEBUG_KEYS, &mut ask)
    }

    /// Core, socket and node of each CPU from 0 on; `XEN_INVALID_*` where there is none.
    pub fn cpu_topology(&self) -> Result<Vec<SysctlCputopo>> {
        let doing = || "asking for the processors' topology".into();
        let mut ask = SysctlCputopoinfo::default();
        self.sysctl(doing, XEN_SYSCTL_CPUTOPOINFO, &mut ask)?;
        let buffer = self.buffer(ask.num_cpus as usize * size_of::<SysctlCputopo>())?;
        let room = ask.num_cpus;
        ask.cputopo = GuestHandle::new(buffer.address());
        self.sysctl(doing, XEN_SYSCTL_CPUTOPOINFO, &mut ask)?;
        Ok(buffer.list(ask.num_cpus.min(room) as usize))
    }

    /// Memory of each node, and its distances to all of them.
    pub fn numa(&self) -> Result<Vec<(SysctlMeminfo, Vec<u32>)>> {
        let doing = || "asking for the machine's nodes".into();
        let mut ask = SysctlNumainfo::default();
        self.sysctl(doing, XEN_SYSCTL_NUMAINFO, &mut ask)?;
        let nodes = ask.num_nodes as usize;
        let memory = self.buffer(nodes * size_of::<SysctlMeminfo>())?;
        let distance = self.buffer(nodes * nodes * 4)?;
        ask.meminfo = GuestHandle::new(memory.address());
        ask.distance = GuestHandle::new(distance.address());
        self.sysctl(doing, XEN_SYSCTL_NUMAINFO, &mut ask)?;
        let nodes = nodes.min(ask.num_nodes as usize);
        let distances: Vec<u32> = distance.list(nodes * nodes);
        let of = |n: usize| distances[n * nodes..(n + 1) * nodes].to_vec();
        Ok(memory.list(nodes).into_iter().enumerate().map(|(n, m)| (m, of(n))).collect())
    }

    /// The node of each device; `XEN_INVALID_*` where there is none.
    pub fn pci_topology(&self, devices: &[PhysdevPciDevice]) -> Result<Vec<u32>> {
        let doing = || "asking for the devices' nodes".into();
        if devices.is_empty() {
            return Err(Error::new(doing(), Errno::ENOENT));
        }
        let mut list = self.buffer(size_of_val(devices))?;
        list.put(0, devices);
        let nodes = self.buffer(devices.len() * 4)?;
        let mut ask = SysctlPcitopoinfo {
            num_devs: devices.len() as u32,
            devs: GuestHandle::new(list.address()),
            nodes: GuestHandle::new(nodes.address()),
            ..Default::default()
        };
        self.sysctl(doing, XEN_SYSCTL_PCITOPOINFO, &mut ask)?;
        Ok(nodes.list(devices.len()))
    }
}
