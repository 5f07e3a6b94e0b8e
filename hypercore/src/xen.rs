//! The hypervisor's global state, and the context a hypercall runs in.

use crate::domain::Domain;
use crate::domains::DomainTable;
use crate::event::VirqHandlers;
use crate::frame::FrameTable;
use crate::host::HostInfo;
use crate::io::Irqs;
use crate::io::read_only::ReadOnly;
use crate::machine::Machine;
use crate::power::Power;
use crate::refusal::Refusals;
use crate::refuse;
use crate::sched::Scheduler;
use crate::time::Timers;
use crate::vcpu::{Vcpu, VcpuPrivate};
use abi::Errno;
use alloc::sync::Arc;
use x86::regs::GuestRegs;

/// Everything there is one of. `'static` on the machine; leaked in host tests.
pub struct Xen<M: Machine> {
    pub m: M,
    pub frames: &'static FrameTable,
    pub domains: DomainTable,
    pub sched: Scheduler,
    pub timers: Timers,
    pub virq_handlers: VirqHandlers,
    pub irqs: Irqs,
    pub read_only: ReadOnly,
    pub power: Power,
    pub host: HostInfo,
    pub clock_watch: crate::time::platform::ClockWatch,
    pub refusals: Refusals,
    /// Errors that wait for dom0.
    pub mca: crate::mca::telemetry::Telemetry,
}

/// What a hypercall (or trap) handler gets: the hypervisor, the running vCPU, its checked-out private state
/// and its live registers.
pub struct Cx<'a, M: Machine> {
    pub xen: &'static Xen<M>,
    pub vcpu: &'a Arc<Vcpu>,
    pub dom: &'a Arc<Domain>,
    pub vp: &'a mut VcpuPrivate,
    pub regs: &'a mut GuestRegs,
    /// Set by [`Cx::restart`]: the hypercall continues with these arguments.
    pub restart: Option<Restart>,
}

/// A continuation: the same hypercall again with other arguments, kept in guest-visible registers (or in the
/// multicall entry) and treated as hostile when it comes back.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    pub nr: u32,
    pub args: [u64; 6],
    /// How many of `args` the call has. Registers beyond them are the guest's own: its kernel keeps values there over
    /// the call.
    pub count: usize,
}

impl Restart {
    /// `before` as the continuation leaves it: the call's own arguments changed, the others kept.
    pub fn over(&self, before: [u64; 6]) -> [u64; 6] {
        let mut args = before;
        for (to, from) in args.iter_mut().zip(self.args).take(self.count) {
            *to = from;
        }
        args
    }
}

/// Why a handler stops early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    Errno(Errno),
    /// [`Cx::restart`] holds how to go on.
    Continue,
}

impl From<Errno> for Stop {
    fn from(e: Errno) -> Self {
        Stop::Errno(e)
    }
}
impl From<crate::machine::GuestFault> for Stop {
    fn from(_: crate::machine::GuestFault) -> Self {
        Stop::Errno(Errno::EFAULT)
    }
}

/// What a hypercall answers: the value for RAX, or a stop.
pub type HcResult = Result<u64, Stop>;

impl<M: Machine> Cx<'_, M> {
    /// `return cx.restart(nr, args)`: run this hypercall again from `args`, all it takes (six at most), after letting
    /// others in.
    pub fn restart<const N: usize>(&mut self, nr: u32, args: [u64; N]) -> HcResult {
        const { assert!(N <= 6) }
        let mut all = [0; 6];
        all[..N].copy_from_slice(&args);
        self.restart = Some(Restart { nr, args: all, count: N });
        Err(Stop::Continue)
    }

    /// Resolves a domain id argument: `DOMID_SELF` or a number; ESRCH if there is none.
    pub fn domain(&self, id: u16) -> Result<Arc<Domain>, Errno> {
        let id = crate::ids::DomId(id);
        if id == crate::ids::DomId::SELF || id == self.dom.id {
            return Ok(self.dom.clone());
        }
        self.xen.domains.get(id).ok_or_else(|| refuse!(self.xen, Errno::ESRCH, "there is no domain {}", id.0))
    }

    /// As [`Self::domain`], and EPERM unless the caller is privileged over it (or it is the caller).
    pub fn domain_for_control(&self, id: u16) -> Result<Arc<Domain>, Errno> {
        let d = self.domain(id)?;
        if d.id == self.dom.id || self.dom.privileged {
            return Ok(d);
        }
        Err(refuse!(self.xen, Errno::EPERM, "only a privileged domain may do this to domain {}", id))
    }

    /// EPERM unless the caller is privileged.
    pub fn must_be_privileged(&self) -> Result<(), Errno> {
        if self.dom.privileged {
            return Ok(());
        }
        Err(refuse!(self.xen, Errno::EPERM, "only a privileged domain may do this"))
    }
}
