//! The life of a domain, as a tool in dom0 makes it: by hypercalls alone, without `xl`.

use abi::domctl::*;
use abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use abi::xen::{HYPERVISOR_DOMCTL, HYPERVISOR_MEMORY_OP};

use crate::Timed;
use crate::sys;
use crate::xen::{Argument, Privcmd};

/// A domain of this size, and the order of the extents it is populated by.
const FRAMES: u64 = 16 << 20 >> 12;
const ORDER: u32 = 9;

/// What `xl` asks for.
fn createdomain() -> DomctlCreatedomain {
    DomctlCreatedomain {
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: 1,
        ..DomctlCreatedomain::default()
    }
}

/// domctl's argument: header and union.
fn argument(cmd: u32, domain: u16, payload: &[u8]) -> Argument {
    let mut argument = Argument::new();
    let header =
        DomctlHeader { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain, ..Default::default() };
    argument.put(0, &header);
    argument.bytes()[DOMCTL_PAYLOAD_OFFSET..][..payload.len()].copy_from_slice(payload);
    argument
}

/// Hypercalls that make and end domains; what fails ends the program.
struct Tool {
    privcmd: Privcmd,
}

impl Tool {
    fn domctl(&self, argument: &mut Argument) {
        while self.privcmd.call(HYPERVISOR_DOMCTL, [argument.address(), 0, 0, 0, 0]) != 0 {
            // A destruction is done in parts.
            if std::io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN) {
                sys::die("domctl");
            }
        }
    }

    fn create(&self, argument: &mut Argument) -> u16 {
        // The hypervisor takes a free number, and tells it in the header.
        let header = DomctlHeader { domain: 0, ..argument.get(0) };
        argument.put(0, &header);
        self.domctl(argument);
        argument.get::<DomctlHeader>(0).domain
    }

    fn destroy(&self, domain: u16) {
        self.domctl(&mut argument(XEN_DOMCTL_DESTROYDOMAIN, domain, &[]));
    }

    fn give_memory(&self, domain: u16) {
        self.domctl(&mut argument(XEN_DOMCTL_MAX_VCPUS, domain, &1u32.to_le_bytes()));
        self.domctl(&mut argument(XEN_DOMCTL_MAX_MEM, domain, &(FRAMES * 4 + 1024).to_le_bytes()));
        let extents = FRAMES >> ORDER;
        let mut list = Argument::new();
        (0..extents).for_each(|n| list.put(n as usize * 8, &(n << ORDER)));
        let mut reservation = Argument::new();
        reservation.put(
            0,
            &MemoryReservation {
                extent_start: abi::GuestHandle::new(list.address()),
                nr_extents: extents,
                extent_order: ORDER,
                domid: domain,
                ..Default::default()
            },
        );
        let args = [XENMEM_POPULATE_PHYSMAP.into(), reservation.address(), 0, 0, 0];
        if i64::from(self.privcmd.call(HYPERVISOR_MEMORY_OP, args)) != extents as i64 {
            sys::die("populating a domain");
        }
    }
}

fn tool() -> Option<(Tool, Argument)> {
    let tool = Tool { privcmd: Privcmd::open()? };
    let mut argument = argument(XEN_DOMCTL_CREATEDOMAIN, 0, zerocopy::IntoBytes::as_bytes(&createdomain()));
    // Only dom0 may.
    let answer = tool.privcmd.call(HYPERVISOR_DOMCTL, [argument.address(), 0, 0, 0, 0]);
    if answer != 0 {
        return None;
    }
    tool.destroy(argument.get::<DomctlHeader>(0).domain);
    Some((tool, argument))
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = sys::now_ns();
    work();
    sys::now_ns() - start
}

/// createdomain: no vCPU and no memory yet.
pub fn create() -> Option<Timed> {
    let (tool, mut argument) = tool()?;
    Some(Box::new(move |times| {
        let once = |_| {
            let mut domain = 0;
            let ns = timed(|| domain = tool.create(&mut argument));
            tool.destroy(domain);
            ns
        };
        (0..times).map(once).sum()
    }))
}

/// destroydomain of such a one.
pub fn destroy() -> Option<Timed> {
    let (tool, mut argument) = tool()?;
    Some(Box::new(move |times| {
        let once = |_| {
            let domain = tool.create(&mut argument);
            timed(|| tool.destroy(domain))
        };
        (0..times).map(once).sum()
    }))
}

/// createdomain, a vCPU, and 16 MiB.
pub fn create_16_mib() -> Option<Timed> {
    let (tool, mut argument) = tool()?;
    Some(Box::new(move |times| {
        let once = |_| {
            let mut domain = 0;
            let ns = timed(|| {
                domain = tool.create(&mut argument);
                tool.give_memory(domain);
            });
            tool.destroy(domain);
            ns
        };
        (0..times).map(once).sum()
    }))
}

/// destroydomain of such a one, until the call answers that it is done.
pub fn destroy_16_mib() -> Option<Timed> {
    let (tool, mut argument) = tool()?;
    Some(Box::new(move |times| {
        let once = |_| {
            let domain = tool.create(&mut argument);
            tool.give_memory(domain);
            timed(|| tool.destroy(domain))
        };
        (0..times).map(once).sum()
    }))
}
