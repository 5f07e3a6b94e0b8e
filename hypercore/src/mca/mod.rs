//! Machine checks: errors that the processor finds in its caches, buses and memory.
//!
//! Corrected ones are looked for every few seconds ([`poll`]); the others raise an exception whose handler
//! ([`bank::judge`]) ends what cannot go on and leaves the rest to [`report`]. Both are kept ([`telemetry`]) until dom0
//! fetches them by the `mca` hypercall (public header arch-x86/xen-mca.h), and VIRQ_MCA tells it that there is something.

pub mod bank;
mod cpus;
pub mod telemetry;
#[cfg(test)]
mod tests;

use crate::guest;
use crate::ids::{CpuId, DomId, VcpuId};
use crate::machine::Machine;
use crate::time::queue::{Timer, TimerKey};
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::xen::VIRQ_MCA;
use abi::xen_mca::*;
use bank::{Logout, Wanted};
use telemetry::{Place, Urgency, describe};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Time between two looks at a CPU's banks.
pub const PERIOD_NS: u64 = 8_000_000_000;

/// Switches on every source of errors on the calling CPU, takes note of what was left from before the start, and has
/// its banks looked at from now on.
pub fn start<M: Machine>(xen: &'static Xen<M>, cpu: CpuId) {
    let banks = bank::count(xen.host.mcg_cap);
    if banks == 0 {
        return;
    }
    for n in bank::first_to_control(&xen.host)..banks {
        xen.m.mca_write(bank::ctl(n), u64::MAX);
    }
    take(xen, cpu, Wanted::All, MC_FLAG_RESET);
    again(xen, cpu);
}

/// Looks at the banks of the calling CPU, and again later.
pub fn poll<M: Machine>(xen: &'static Xen<M>, cpu: CpuId) {
    take(xen, cpu, Wanted::Silent, MC_FLAG_POLLED);
    again(xen, cpu);
}

fn again<M: Machine>(xen: &'static Xen<M>, cpu: CpuId) {
    let due = xen.m.now() + PERIOD_NS;
    // Should memory be short, this CPU's banks are not looked at any more.
    if xen.timers.insert(cpu, due, TimerKey::machine_check(cpu), Timer::MachineCheck).is_err() {
        crate::log!(xen.m, Warning, "CPU{}: no memory to look for corrected errors", cpu.0);
    }
}

fn take<M: Machine>(xen: &'static Xen<M>, cpu: CpuId, wanted: Wanted, flags: u32) {
    let (read, write) = (|msr| xen.m.mca_read(msr), |msr, value| xen.m.mca_write(msr, value));
    let banks = bank::read_out(xen.host.mcg_cap, wanted, read, write);
    if !banks.is_empty() {
        let gstatus = xen.m.mca_read(bank::MSR_MCG_STATUS);
        report(xen, cpu, &Logout { gstatus, tsc: xen.m.tsc(), banks }, flags, None);
    }
}

/// Keeps what was read out on `cpu` for dom0, tells it, and says so in the log. `flags`: the `MC_FLAG_*` that say how it
/// was found; `running`: the guest that was interrupted.
pub fn report<M: Machine>(
    xen: &'static Xen<M>,
    cpu: CpuId,
    l: &Logout,
    flags: u32,
    running: Option<(DomId, VcpuId)>,
) {
    for b in &l.banks {
        crate::log!(
            xen.m,
            Warning,
            "CPU{}: machine check, bank {}: status {:016x}, address {:016x}, misc {:016x}",
            cpu.0,
            b.number,
            b.status,
            b.addr,
            b.misc
        );
    }
    let lost = l.banks.iter().any(|b| b.status & bank::UC != 0);
    let flags = flags | if lost { MC_FLAG_UNCORRECTABLE } else { MC_FLAG_CORRECTABLE };
    let Some(&place) = xen.host.topology.get(cpu.0 as usize) else { return };
    let urgency = if flags & MC_FLAG_MCE != 0 { Urgency::Now } else { Urgency::Later };
    if xen.mca.add(urgency, describe(xen, &Place { cpu: place, running }, l, flags)) {
        crate::event::send_global_virq(xen, VIRQ_MCA);
    } else {
        crate::log!(
            xen.m,
            Warning,
            "CPU{}: dom0 has too many machine checks to fetch: this one is lost",
            cpu.0
        );
    }
}

/// A call's argument, copied in once.
struct Call {
    at: u64,
    payload: [u8; MC_SIZE - MC_PAYLOAD_OFFSET],
}

impl Call {
    fn get<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= MC_SIZE - MC_PAYLOAD_OFFSET) };
        let mut t = T::new_zeroed();
        t.as_mut_bytes().copy_from_slice(&self.payload[..size_of::<T>()]);
        t
    }

    fn put<M: Machine, T: IntoBytes + Immutable>(&self, m: &M, t: &T) -> Result<(), Errno> {
        guest::write(m, self.at + MC_PAYLOAD_OFFSET as u64, t).map_err(|_| Errno::EFAULT)
    }
}

/// `mca`. EPERM for all but the privileged, EACCES for another interface version.
pub fn mca<M: Machine>(cx: &mut Cx<'_, M>, at: u64) -> HcResult {
    cx.must_be_privileged()?;
    let mut bytes = [0; MC_SIZE];
    guest::read_bytes(&cx.xen.m, at, &mut bytes).map_err(|_| Errno::EFAULT)?;
    let (header, _) = McHeader::read_from_prefix(&bytes).map_err(|_| Errno::EFAULT)?;
    if header.interface_version != XEN_MCA_INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    let mut payload = [0; MC_SIZE - MC_PAYLOAD_OFFSET];
    payload.copy_from_slice(&bytes[MC_PAYLOAD_OFFSET..]);
    let call = Call { at, payload };
    match header.cmd {
        XEN_MC_FETCH => fetch(cx, &call)?,
        XEN_MC_PHYSCPUINFO => cpus::describe(cx, &call)?,
        XEN_MC_MSRINJECT => {
            let op: McMsrinject = call.get();
            let known = cx.xen.host.online.contains(CpuId(op.mcinj_cpunr));
            if !known || op.mcinj_count as usize > op.mcinj_msr.len() {
                return Err(Errno::EINVAL.into());
            }
            let regs = &op.mcinj_msr[..op.mcinj_count as usize];
            if regs.iter().any(|r| !bank::is_register(cx.xen.host.mcg_cap, r.reg)) {
                return Err(Errno::EINVAL.into());
            }
            // Errors come from hardware alone: no register is written.
            if !regs.is_empty() {
                return Err(Errno::EOPNOTSUPP.into());
            }
        }
        XEN_MC_MCEINJECT => {
            let op: McMceinject = call.get();
            let known = cx.xen.host.online.contains(CpuId(op.mceinj_cpunr));
            return Err(if known { Errno::EOPNOTSUPP } else { Errno::EINVAL }.into());
        }
        // No guest is told by itself (notifydomain), and none of the kinds of injection is there.
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// The oldest error of a kind, or its acknowledgement. EINVAL: not one kind, something unknown, or nowhere to put it.
fn fetch<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> Result<(), Errno> {
    let mut op: McFetch = call.get();
    let urgency = match op.flags & !XEN_MC_ACK {
        XEN_MC_NONURGENT => Urgency::Later,
        XEN_MC_URGENT => Urgency::Now,
        _ => return Err(Errno::EINVAL),
    };
    let (m, waiting) = (&cx.xen.m, &cx.xen.mca);
    if op.flags & XEN_MC_ACK != 0 {
        waiting.acknowledge(urgency, op.fetch_id);
        return Ok(());
    }
    if op.data.is_null() {
        return Err(Errno::EINVAL);
    }
    (op.flags, op.fetch_id) = match waiting.oldest(urgency) {
        None => (XEN_MC_NODATA, 0),
        Some((id, info)) => {
            guest::write(m, op.data.addr(), &info).map_err(|_| Errno::EFAULT)?;
            (XEN_MC_OK, id)
        }
    };
    call.put(m, &op)
}
