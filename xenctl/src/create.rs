//! What makes a domain: `domctl`s that only its builder uses, and its ports.

use abi::GuestHandle;
use abi::arch_x86::VcpuGuestContext;
use abi::domctl::*;
use abi::event_channel::{EVTCHNOP_ALLOC_UNBOUND, EvtchnAllocUnbound};
use abi::xen::{HYPERVISOR_DOMCTL, HYPERVISOR_EVENT_CHANNEL_OP, HYPERVISOR_MMUEXT_OP, MmuextOp};
use zerocopy::IntoBytes;

use crate::DomId;
use crate::call::{Command, Xen};
use crate::error::Result;

impl Xen {
    /// A domain without memory and vCPUs, paused; `number` none is the hypervisor's choice.
    pub fn create(&self, number: Option<DomId>, what: &DomctlCreatedomain) -> Result<DomId> {
        let mut argument = [0u8; DOMCTL_SIZE];
        let header = DomctlHeader {
            cmd: XEN_DOMCTL_CREATEDOMAIN,
            interface_version: XEN_DOMCTL_INTERFACE_VERSION,
            domain: number.map_or(0, |n| n.0),
            ..Default::default()
        };
        argument[..DOMCTL_PAYLOAD_OFFSET].copy_from_slice(header.as_bytes());
        argument[DOMCTL_PAYLOAD_OFFSET..][..size_of_val(what)].copy_from_slice(what.as_bytes());
        let doing = || match number {
            Some(n) => format!("creating domain {n}"),
            None => "creating a domain".into(),
        };
        self.call(doing, HYPERVISOR_DOMCTL, Command::Argument(XEN_DOMCTL_CREATEDOMAIN), &mut argument)?;
        let at = std::mem::offset_of!(DomctlHeader, domain);
        Ok(DomId(u16::from_le_bytes([argument[at], argument[at + 1]])))
    }

    /// Gives it the vCPUs that were announced when it was created.
    pub fn create_vcpus(&self, domain: DomId, vcpus: u32) -> Result<()> {
        let doing = || format!("giving domain {domain} {vcpus} vCPUs");
        self.domctl(doing, XEN_DOMCTL_MAX_VCPUS, domain, &mut DomctlMaxVcpus { max: vcpus })
    }

    /// How RDTSC works in it (`TSC_MODE_*`).
    pub fn set_tsc_mode(&self, domain: DomId, mode: u32) -> Result<()> {
        let doing = || format!("giving domain {domain} TSC mode {mode}");
        let mut info = DomctlTscInfo { tsc_mode: mode, ..Default::default() };
        self.domctl(doing, XEN_DOMCTL_SETTSCINFO, domain, &mut info)
    }

    /// How far its wall clock is ahead of the machine's.
    pub fn set_time_offset(&self, domain: DomId, seconds: i64) -> Result<()> {
        let doing = || format!("setting the clock of domain {domain} {seconds} seconds ahead");
        let mut offset = DomctlSettimeoffset { time_offset_seconds: seconds };
        self.domctl(doing, XEN_DOMCTL_SETTIMEOFFSET, domain, &mut offset)
    }

    /// Writes the calls into a page of its memory.
    pub fn write_hypercall_page(&self, domain: DomId, frame: u64) -> Result<()> {
        let doing = || format!("writing the hypercall page of domain {domain}");
        self.domctl(doing, XEN_DOMCTL_HYPERCALL_INIT, domain, &mut DomctlHypercallInit { gmfn: frame })
    }

    /// A vCPU's whole state; it comes up by that, or goes down, as the flags say.
    pub fn set_context(&self, domain: DomId, vcpu: u32, context: &VcpuGuestContext) -> Result<()> {
        let doing = || format!("setting the registers of vCPU {vcpu} of domain {domain}");
        let mut page = self.buffer(size_of_val(context))?;
        page.put(0, context);
        let mut argument = DomctlVcpucontext { vcpu, ctxt: GuestHandle::new(page.address()), _pad0: 0 };
        self.domctl(doing, XEN_DOMCTL_SETVCPUCONTEXT, domain, &mut argument)
    }

    /// A port of `domain` that `remote` may connect with.
    pub fn offer_port(&self, domain: DomId, remote: DomId) -> Result<u32> {
        let doing = || format!("offering a port of domain {domain} to domain {remote}");
        let mut argument = EvtchnAllocUnbound { dom: domain.0, remote_dom: remote.0, port: 0 };
        let command = Command::Register(EVTCHNOP_ALLOC_UNBOUND);
        self.call(doing, HYPERVISOR_EVENT_CHANNEL_OP, command, &mut argument)?;
        Ok(argument.port)
    }

    /// An operation of `MMUEXT_*` on one frame of the domain, as a pin of a page table.
    pub fn pin(&self, domain: DomId, operation: u32, frame: u64) -> Result<()> {
        let doing = || format!("having the page table {frame:#x} of domain {domain} validated");
        let mut argument = MmuextOp { cmd: operation, arg1: frame, ..Default::default() };
        let command = Command::Batch { number: operation, domain };
        self.call(doing, HYPERVISOR_MMUEXT_OP, command, &mut argument).map(drop)
    }
}
