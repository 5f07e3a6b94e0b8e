//! `vcpu_op` (public header vcpu.h): what a guest does with its own vCPUs.

use crate::guest;
use crate::ids::{Mfn, VcpuId};
use crate::machine::Machine;
use crate::mm::Fail;
use crate::sched;
use crate::time;
use crate::traps::context;
use crate::vcpu::{Vcpu, pause};
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::sched::SHUTDOWN_POWEROFF;
use abi::vcpu::*;
use abi::xen::HYPERVISOR_VCPU_OP;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::*;

/// `vcpu_op(cmd, vcpu, arg)`. ENOENT: no such vCPU.
pub fn vcpu_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, id: u32, arg: u64) -> HcResult {
    let v = cx.dom.vcpu(VcpuId(id)).ok_or(Errno::ENOENT)?;
    let m = &cx.xen.m;
    let own = v.id == cx.vcpu.id;
    match cmd {
        VCPUOP_INITIALISE => return initialise(cx, &v, arg),
        VCPUOP_UP => {
            if !v.initialised.load(Acquire) {
                return Err(Errno::EINVAL.into());
            }
            sched::bring_up(cx.xen, &v)?;
        }
        VCPUOP_DOWN => down(cx, &v),
        VCPUOP_IS_UP => return Ok(u64::from(v.pause_flags.load(Acquire) & pause::DOWN == 0)),
        VCPUOP_GET_RUNSTATE_INFO => guest::write(m, arg, &sched::runstate(cx.xen, &v))?,
        VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA => {
            let r: VcpuRegisterRunstateMemoryArea = guest::read(m, arg)?;
            area_ok::<VcpuRunstateInfo>(r.addr.addr())?;
            v.sched.runstate_area.store(r.addr.addr(), Relaxed);
            // A first value, also for a vCPU that does not run: by the caller's tables, as the ABI has it.
            time::runstate::write_runstate(cx.xen, cx.dom, &v)?;
        }
        VCPUOP_SET_PERIODIC_TIMER => {
            let p: VcpuSetPeriodicTimer = guest::read(m, arg)?;
            if p.period_ns < time::MIN_PERIOD {
                return Err(Errno::EINVAL.into());
            }
            time::set_periodic(cx.xen, &v, p.period_ns)?;
        }
        VCPUOP_STOP_PERIODIC_TIMER => time::set_periodic(cx.xen, &v, 0)?,
        VCPUOP_SET_SINGLESHOT_TIMER | VCPUOP_STOP_SINGLESHOT_TIMER if !own => {
            return Err(Errno::EINVAL.into());
        }
        VCPUOP_SET_SINGLESHOT_TIMER => {
            let t: VcpuSetSingleshotTimer = guest::read(m, arg)?;
            // A time in the past fires at once, whatever the flags: `VCPU_SSHOTTMR_future` has no effect.
            time::set_singleshot(cx.xen, &v, Some(t.timeout_abs_ns))?;
        }
        VCPUOP_STOP_SINGLESHOT_TIMER => time::set_singleshot(cx.xen, &v, None)?,
        VCPUOP_REGISTER_VCPU_INFO => {
            let r: VcpuRegisterVcpuInfo = guest::read(m, arg)?;
            crate::event::register_vcpu_info(cx.xen, cx.dom, &v, Mfn(r.mfn), r.offset)?;
            // The new place has no clock yet, and events that came meanwhile are due there.
            time::clock::force_vcpu_time(cx.xen, &v);
            sched::vcpu_kick(cx.xen, &v);
        }
        VCPUOP_SEND_NMI => {
            if arg != 0 {
                return Err(Errno::EINVAL.into());
            }
            send_nmi(cx.xen, &v);
        }
        // Only for vCPUs that are pinned for good, which none is.
        VCPUOP_GET_PHYSID => return Err(Errno::EINVAL.into()),
        VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA => {
            let r: VcpuRegisterTimeMemoryArea = guest::read(m, arg)?;
            area_ok::<abi::xen::VcpuTimeInfo>(r.addr.addr())?;
            v.time.time_area.store(r.addr.addr(), Relaxed);
            time::runstate::write_time(cx.xen, &v)?;
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

/// Makes an NMI pending for `v` (`VCPUOP_send_nmi`, `sendtrigger`); delivered on its way into the guest.
pub fn send_nmi<M: Machine>(xen: &crate::xen::Xen<M>, v: &Arc<Vcpu>) {
    if !v.sched.nmi_pending.swap(true, AcqRel) {
        sched::vcpu_kick(xen, v);
    }
}

fn area_ok<T>(addr: u64) -> Result<(), Errno> {
    if guest::range_ok(addr, size_of::<T>()) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// EEXIST: initialised already. EINVAL: it has no vcpu_info, or the context is not one.
fn initialise<M: Machine>(cx: &mut Cx<'_, M>, v: &Arc<Vcpu>, arg: u64) -> HcResult {
    if !v.events.info.exists() {
        return Err(Errno::EINVAL.into());
    }
    let ctx = context::GuestContext::read(&cx.xen.m, arg)?;
    let dom = cx.dom.clone();
    // A tool that holds this lock may wait for the calling vCPU to leave its CPU: never wait for it here.
    let Some(_serial) = dom.domctl.try_lock() else {
        return cx.restart(HYPERVISOR_VCPU_OP, [VCPUOP_INITIALISE.into(), v.id.0.into(), arg]);
    };
    if v.initialised.load(Acquire) {
        return Err(Errno::EEXIST.into());
    }
    match context::set(cx.xen, &dom, v, &ctx) {
        Ok(()) => Ok(0),
        Err(Fail::Again) => {
            let args = [VCPUOP_INITIALISE.into(), v.id.0.into(), arg];
            cx.restart(HYPERVISOR_VCPU_OP, args)
        }
        Err(Fail::Errno(e)) => Err(e.into()),
    }
}

/// The last one to go down takes the domain with it.
fn down<M: Machine>(cx: &mut Cx<'_, M>, v: &Arc<Vcpu>) {
    let mut others = false;
    cx.dom.for_each_vcpu(|o| {
        others |= o.id != v.id && o.pause_flags.load(Acquire) & pause::DOWN == 0;
    });
    if !others {
        sched::domain_shutdown(cx.xen, cx.dom, SHUTDOWN_POWEROFF);
        return;
    }
    v.pause_flags.fetch_or(pause::DOWN, SeqCst);
    sched::sleep(cx.xen, v);
}
