//! Copies that a guest wants at addresses of its own: runstate (`VCPUOP_register_runstate_memory_area`) and
//! clock (`VCPUOP_register_vcpu_time_memory_area`).
//!
//! The addresses are the kernel's, so they are written only while the vCPU runs in guest-kernel mode: after a
//! switch to it, or when it next enters that mode ([`refresh_stale`]).

use super::clock;
use crate::domain::Domain;
use crate::guest;
use crate::machine::{GuestFault, Machine};
use crate::vcpu::Vcpu;
use crate::xen::{Cx, Xen};
use abi::vcpu::{VcpuRunstateInfo, XEN_RUNSTATE_UPDATE};
use abi::xen::{VMASST_TYPE_RUNSTATE_UPDATE_FLAG, VcpuTimeInfo};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering::*, fence};
use zerocopy::IntoBytes;

const RUNSTATE: u32 = 1 << 0;
const TIME: u32 = 1 << 1;
const COUNTER: u32 = 1 << 2;

/// Which copies are behind.
#[derive(Debug, Default)]
pub struct Stale(AtomicU32);

impl Stale {
    pub(super) fn mark_time(&self) {
        self.0.fetch_or(TIME, Relaxed);
    }

    /// The domain reads another counter from now on.
    pub(super) fn mark_counter(&self) {
        self.0.fetch_or(COUNTER, Relaxed);
    }
}

/// The vCPU has just been switched to, which changed its runstate. The machine calls it after
/// [`super::update_vcpu_time`], with the vCPU's tables loaded.
pub fn update_area<M: Machine>(cx: &mut Cx<'_, M>) {
    cx.vcpu.time.areas.0.fetch_or(RUNSTATE, Relaxed);
    if cx.vp.kernel_mode {
        refresh_stale(cx.xen, cx.dom, cx.vcpu);
    }
}

/// Whether [`refresh_stale`] has anything to do: one load, for the path into guest-kernel mode.
#[inline]
pub fn is_stale(v: &Vcpu) -> bool {
    v.time.areas.0.load(Relaxed) != 0
}

/// Writes the copies that are behind. The vCPU runs here, in guest-kernel mode.
pub fn refresh_stale<M: Machine>(xen: &Xen<M>, dom: &Domain, v: &Vcpu) {
    let mut stale = v.time.areas.0.swap(0, Relaxed);
    if stale & COUNTER != 0 {
        xen.m.trap_rdtsc();
        super::clock::force_vcpu_time(xen, v);
        stale |= v.time.areas.0.swap(0, Relaxed);
    }
    // A fault means the guest unmapped its area: it misses this update, as the ABI has it.
    if stale & RUNSTATE != 0 {
        let _ = write_runstate(xen, dom, v);
    }
    if stale & TIME != 0 {
        let _ = write_time(xen, v);
    }
}

/// Writes the registered runstate, with the update flag around it if the guest asked for that.
pub fn write_runstate<M: Machine>(xen: &Xen<M>, dom: &Domain, v: &Vcpu) -> Result<(), GuestFault> {
    let at = v.sched.runstate_area.load(Relaxed);
    if at == 0 {
        return Ok(());
    }
    let Some(mut info) = crate::sched::runstate_at_entry(xen, v) else { return Ok(()) };
    let flagged = dom.vm_assist.load(Relaxed) & 1 << VMASST_TYPE_RUNSTATE_UPDATE_FLAG != 0;
    let entry_time = guest::element::<u8>(at, offset_of!(VcpuRunstateInfo, state_entry_time) as u64)?;
    let settled = info.state_entry_time;
    if flagged {
        info.state_entry_time |= XEN_RUNSTATE_UPDATE;
        guest::write(&xen.m, entry_time, &info.state_entry_time)?;
        fence(Release);
    }
    guest::write(&xen.m, at, &info)?;
    if flagged {
        fence(Release);
        guest::write(&xen.m, entry_time, &settled)?;
    }
    Ok(())
}

/// Writes the registered copy of the clock, its version odd meanwhile.
pub fn write_time<M: Machine>(xen: &Xen<M>, v: &Vcpu) -> Result<(), GuestFault> {
    let at = v.time.time_area.load(Relaxed);
    if at == 0 {
        return Ok(());
    }
    let info: VcpuTimeInfo = clock::read_clock(xen, v);
    guest::write(&xen.m, at, &info.version.wrapping_sub(1))?;
    fence(Release);
    let rest = offset_of!(VcpuTimeInfo, pad0);
    guest::write_bytes(&xen.m, guest::element::<u8>(at, rest as u64)?, &info.as_bytes()[rest..])?;
    fence(Release);
    guest::write(&xen.m, at, &info.version)
}
