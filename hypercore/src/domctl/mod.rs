//! `domctl`: what a toolstack does to a domain.
//!
//! - This file: one call in memory ([`Call`]), decoded by interface version, and the dispatch.
//! - [`create`]: createdomain, max_vcpus, destroydomain; [`info`]: getdomaininfo, getvcpuinfo.
//! - [`life`]: pause, resume, handle, debugging; [`vcpu`]: contexts and affinity; [`policy`]: CPU policy.
//! - [`access`]: ports, device memory and interrupts; [`pages`]: max_mem, page types, hypercall page.
//! - [`state`]: extended FPU state and MSRs; [`gdbsx`]: what a debugger of guests' kernels needs.
//! - [`bitmap`]: bitmaps as tools pass them.

pub mod access;
pub mod bitmap;
pub mod create;
pub mod gdbsx;
pub mod info;
pub mod life;
pub mod pages;
pub mod policy;
pub mod state;
#[cfg(test)]
mod tests;
pub mod vcpu;

use crate::domain::Domain;
use crate::guest;
use crate::ids::DomId;
use crate::lifecycle;
use crate::machine::{GuestFault, Machine};
use crate::refuse;
use crate::vcpu::Vcpu;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::domctl::*;
use abi::xen::HYPERVISOR_DOMCTL;
use alloc::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Which layout a tool speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// Xen 4.17's tools.
    V15,
    /// Xen 4.20's tools.
    V17,
}

impl Version {
    /// EACCES: not served.
    pub fn decode(n: u32) -> Result<Self, Errno> {
        match n {
            XEN_DOMCTL_INTERFACE_VERSION => Ok(Self::V15),
            XEN_DOMCTL_INTERFACE_VERSION_V17 => Ok(Self::V17),
            _ => Err(Errno::EACCES),
        }
    }
}

/// One `struct xen_domctl`, copied in once.
pub struct Call {
    at: u64,
    pub header: DomctlHeader,
    pub version: Version,
    payload: [u8; DOMCTL_PAYLOAD_SIZE],
}

impl Call {
    fn read<M: Machine>(xen: &Xen<M>, at: u64) -> Result<Self, Errno> {
        let fault = |_: GuestFault| refuse!(xen, Errno::EFAULT, "the argument at {:x} cannot be read", at);
        let mut bytes = [0; DOMCTL_SIZE];
        guest::read_bytes(&xen.m, at, &mut bytes).map_err(fault)?;
        let (header, _) = DomctlHeader::read_from_prefix(&bytes).map_err(|_| Errno::EFAULT)?;
        let mut payload = [0; DOMCTL_PAYLOAD_SIZE];
        payload.copy_from_slice(&bytes[DOMCTL_PAYLOAD_OFFSET..]);
        xen.refusals.begin(xen.m.cpu(), header.cmd);
        let version = Version::decode(header.interface_version).map_err(|e| {
            let words = header.interface_version;
            refuse!(
                xen,
                e,
                "interface version {:x} is not served, {:x} is",
                words,
                XEN_DOMCTL_INTERFACE_VERSION
            )
        })?;
        Ok(Self { at, header, version, payload })
    }

    /// The command's structure.
    pub fn get<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= DOMCTL_PAYLOAD_SIZE) };
        let mut t = T::new_zeroed();
        t.as_mut_bytes().copy_from_slice(&self.payload[..size_of::<T>()]);
        t
    }

    /// Writes the command's structure back.
    pub fn put<M: Machine, T: IntoBytes + Immutable>(&self, m: &M, t: &T) -> Result<(), Errno> {
        guest::write(m, self.at + DOMCTL_PAYLOAD_OFFSET as u64, t).map_err(|_| Errno::EFAULT)
    }

    /// Writes the header back with another domain.
    fn put_domain<M: Machine>(&self, xen: &Xen<M>, id: DomId) -> Result<(), Errno> {
        let header = DomctlHeader { domain: id.0, ..self.header };
        let at = self.at;
        let fault = |_| refuse!(xen, Errno::EFAULT, "the domain's number cannot be written to {:x}", at);
        guest::write(&xen.m, at, &header).map_err(fault)
    }

    /// Undoes [`Self::put_domain`], as far as the tool still lets it.
    fn put_back<M: Machine>(&self, xen: &Xen<M>) {
        let _ = guest::write(&xen.m, self.at, &self.header);
    }
}

/// What an operation answers: done, or to be called again with the same argument.
pub enum Outcome {
    Done,
    Again,
}

pub type OpResult = Result<Outcome, Errno>;
const DONE: OpResult = Ok(Outcome::Done);

/// `domctl` (public/domctl.h); EPERM for all but the privileged.
pub fn domctl<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    cx.xen.refusals.begin(cx.xen.m.cpu(), 0);
    cx.must_be_privileged()?;
    // Tools must not see zombies for longer than there are any, however busy the CPUs are.
    lifecycle::reap(cx.xen);
    let call = Call::read(cx.xen, arg)?;
    match run(cx, &call)? {
        Outcome::Done => Ok(0),
        Outcome::Again => cx.restart(HYPERVISOR_DOMCTL, [arg]),
    }
}

fn run<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    match call.header.cmd {
        XEN_DOMCTL_CREATEDOMAIN => return create::create(cx, call),
        XEN_DOMCTL_GETDOMAININFO => return info::getdomaininfo(cx, call),
        _ => {}
    }
    // Only numbers: DOMID_SELF is no domain here.
    let id = call.header.domain;
    let none = || refuse!(cx.xen, Errno::ESRCH, "there is no domain {}", id);
    let dom = cx.xen.domains.get(DomId(id)).ok_or_else(none)?;
    let lock = dom.clone();
    // Two tools at one domain take turns; waiting here would hold the CPU.
    let Some(_turn) = lock.domctl.try_lock() else { return Ok(Outcome::Again) };
    match call.header.cmd {
        XEN_DOMCTL_DESTROYDOMAIN => create::destroy(cx, &dom),
        XEN_DOMCTL_MAX_VCPUS => create::max_vcpus(cx, &dom, call),
        XEN_DOMCTL_PAUSEDOMAIN => life::pause(cx, &dom),
        XEN_DOMCTL_UNPAUSEDOMAIN => life::unpause(cx, &dom),
        XEN_DOMCTL_RESUMEDOMAIN => life::resume(cx, &dom),
        XEN_DOMCTL_SETDOMAINHANDLE => life::set_handle(&dom, call),
        XEN_DOMCTL_SUBSCRIBE => life::subscribe(&dom, call),
        XEN_DOMCTL_SET_VIRQ_HANDLER => life::set_virq_handler(cx, &dom, call),
        XEN_DOMCTL_GDBSX_GUESTMEMIO => gdbsx::guest_memio(cx, &dom, call),
        XEN_DOMCTL_GDBSX_PAUSEVCPU => gdbsx::hold(cx, &dom, call, true),
        XEN_DOMCTL_GDBSX_UNPAUSEVCPU => gdbsx::hold(cx, &dom, call, false),
        XEN_DOMCTL_GDBSX_DOMSTATUS => gdbsx::status(cx, &dom, call),
        XEN_DOMCTL_SETDEBUGGING => life::set_debugging(cx, &dom, call),
        XEN_DOMCTL_SETTIMEOFFSET => life::set_time_offset(cx, &dom, call),
        XEN_DOMCTL_SETTSCINFO => life::set_tsc_info(cx, &dom, call),
        XEN_DOMCTL_GETTSCINFO => life::get_tsc_info(cx, &dom, call),
        XEN_DOMCTL_SENDTRIGGER => life::send_trigger(cx, &dom, call),
        XEN_DOMCTL_SCHEDULER_OP => life::scheduler_op(cx, &dom, call),
        XEN_DOMCTL_SETNODEAFFINITY => life::set_node_affinity(cx, &dom, call),
        XEN_DOMCTL_GETNODEAFFINITY => life::get_node_affinity(cx, &dom, call),
        XEN_DOMCTL_GETVCPUINFO => info::getvcpuinfo(cx, &dom, call),
        XEN_DOMCTL_SETVCPUAFFINITY => vcpu::set_affinity(cx, &dom, call),
        XEN_DOMCTL_GETVCPUAFFINITY => vcpu::get_affinity(cx, &dom, call),
        XEN_DOMCTL_SETVCPUCONTEXT => vcpu::set_context(cx, &dom, call),
        XEN_DOMCTL_GETVCPUCONTEXT => vcpu::get_context(cx, &dom, call),
        XEN_DOMCTL_GETVCPUEXTSTATE => state::get_ext(cx, &dom, call),
        XEN_DOMCTL_SETVCPUEXTSTATE => state::set_ext(cx, &dom, call),
        XEN_DOMCTL_GET_VCPU_MSRS => state::get_msrs(cx, &dom, call),
        XEN_DOMCTL_SET_VCPU_MSRS => state::set_msrs(cx, &dom, call),
        XEN_DOMCTL_GET_EXT_VCPUCONTEXT => vcpu::get_ext_context(cx, &dom, call),
        XEN_DOMCTL_SET_EXT_VCPUCONTEXT => vcpu::set_ext_context(cx, &dom, call),
        XEN_DOMCTL_MAX_MEM => pages::max_mem(&dom, call),
        XEN_DOMCTL_GETPAGEFRAMEINFO3 => pages::get_page_frame_info(cx, &dom, call),
        XEN_DOMCTL_HYPERCALL_INIT => pages::hypercall_init(cx, &dom, call),
        XEN_DOMCTL_SET_ADDRESS_SIZE => pages::set_address_size(cx, &dom, call),
        XEN_DOMCTL_GET_ADDRESS_SIZE => {
            call.put(&cx.xen.m, &DomctlAddressSize { size: 64 })?;
            DONE
        }
        XEN_DOMCTL_GET_CPU_POLICY => policy::get(cx, &dom, call),
        XEN_DOMCTL_SET_CPU_POLICY => policy::set(cx, &dom, call),
        XEN_DOMCTL_IRQ_PERMISSION => access::irq(cx, &dom, call),
        XEN_DOMCTL_IOMEM_PERMISSION => access::iomem(cx, &dom, call),
        XEN_DOMCTL_IOPORT_PERMISSION => access::ioport(cx, &dom, call),
        // Log-dirty mode and shadow tables are absent: there is nothing to turn off, on or to ask.
        XEN_DOMCTL_SHADOW_OP => {
            Err(refuse!(cx.xen, Errno::EOPNOTSUPP, "shadow page tables are not built in"))
        }
        cmd => Err(refuse!(cx.xen, Errno::ENOSYS, "command {} is not served", cmd)),
    }
}

/// The vCPU `n` of `dom`. EINVAL: beyond its number. ESRCH: not made yet.
fn vcpu_of<M: Machine>(cx: &Cx<'_, M>, dom: &Domain, n: u32) -> Result<Arc<Vcpu>, Errno> {
    if n >= dom.max_vcpus {
        return Err(refuse!(cx.xen, Errno::EINVAL, "vCPU {} of a domain of {}", n, dom.max_vcpus));
    }
    let none = || refuse!(cx.xen, Errno::ESRCH, "vCPU {} is not made yet: max_vcpus comes first", n);
    dom.vcpu(crate::ids::VcpuId(n)).ok_or_else(none)
}

/// EINVAL if a domain asks it of itself.
fn not_self<M: Machine>(cx: &Cx<'_, M>, dom: &Domain) -> Result<(), Errno> {
    if dom.id != cx.dom.id {
        return Ok(());
    }
    Err(refuse!(cx.xen, Errno::EINVAL, "a domain cannot do this to itself"))
}
