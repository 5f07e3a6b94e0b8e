//! What a debugger of guests' kernels asks (`gdbsx`): memory by guest addresses, single vCPUs held, who has stopped.

use super::{Call, DONE, OpResult, not_self, vcpu_of};
use crate::domain::Domain;
use crate::guest;
use crate::ids::{Mfn, VcpuId};
use crate::machine::Machine;
use crate::mm::types::get_writable;
use crate::mm::walk;
use crate::refuse;
use crate::sched;
use crate::xen::Cx;
use abi::Errno;
use abi::domctl::*;
use core::sync::atomic::Ordering::*;

/// Bytes copied at once.
const PIECE: usize = 256;
/// Bytes of one call: it is not interrupted.
const MOST: u32 = 1 << 20;

/// Reads or writes memory of the domain at the addresses of its kernel (that of its first vCPU).
///
/// EINVAL: the caller itself, too much at once, or a page directory of the tool's own, which is for 32-bit guests.
/// EFAULT: not all of it is there, or (to write) it is something else than ordinary memory; the tool is told how much
/// is left. `gdbsx` looks at that alone.
pub(super) fn guest_memio<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    not_self(cx, dom)?;
    let mut io: DomctlGdbsxMemio = call.get();
    if io.len > MOST {
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} bytes at once, {} may be", io.len, MOST));
    }
    if io.pgd3val != 0 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "page directory {:x}: the guest has 64 bits", io.pgd3val));
    }
    let none = || refuse!(cx.xen, Errno::EFAULT, "the domain has no first vCPU");
    let root = dom.vcpu(VcpuId(0)).ok_or_else(none)?.mm.cr3_to_load(true);
    let mut done = 0;
    let result = loop {
        let at = io.gva.wrapping_add(done.into());
        let in_page = 4096 - (at % 4096) as usize;
        let n = PIECE.min(in_page).min((io.len - done) as usize);
        if n == 0 {
            break DONE;
        }
        match piece(cx, dom, root, at, io.uva.wrapping_add(done.into()), n, io.gwr != 0) {
            Ok(()) => done += n as u32,
            Err(e) => break Err(e),
        }
    };
    io.remain = io.len - done;
    call.put(&cx.xen.m, &io)?;
    result
}

/// `n` bytes within one page of the guest, to the tool's or from there.
fn piece<M: Machine>(
    cx: &Cx<'_, M>,
    dom: &Domain,
    root: Mfn,
    at: u64,
    tool: u64,
    n: usize,
    write: bool,
) -> Result<(), Errno> {
    let (xen, m) = (cx.xen, &cx.xen.m);
    let none = || refuse!(xen, Errno::EFAULT, "the guest has no memory of its own at {:x}", at);
    let pte = walk::translate(xen, dom, root, at).ok_or_else(none)?;
    let frame = xen.frames.get(Mfn(pte.mfn()), dom.id).ok_or_else(none)?;
    let offset = (at % 4096) as usize;
    let mut bytes = [0; PIECE];
    let bytes = &mut bytes[..n];
    let fault = |_| refuse!(xen, Errno::EFAULT, "the tool's buffer at {:x} cannot be accessed", tool);
    if write {
        guest::read_bytes(m, tool, bytes).map_err(fault)?;
        let busy = |_| refuse!(xen, Errno::EFAULT, "the guest's page at {:x} is no ordinary memory", at);
        let frame = get_writable(xen, frame).map_err(busy)?;
        m.write(&frame, offset, bytes);
    } else {
        m.read(&frame, offset, bytes);
        guest::write_bytes(m, tool, bytes).map_err(fault)?;
    }
    Ok(())
}

/// Holds a vCPU, once more, whatever happens to the domain's pauses, or takes one such hold back.
///
/// EBUSY: tools do not pause the domain. EINVAL: no such vCPU, it is not held, or the caller's own domain, whose vCPUs
/// it would wait for. EOVERFLOW: too often.
pub(super) fn hold<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call, held: bool) -> OpResult {
    if !dom.paused_by_controller() {
        return Err(refuse!(cx.xen, Errno::EBUSY, "no tool pauses domain {}", dom.id.0));
    }
    not_self(cx, dom)?;
    let n = call.get::<DomctlGdbsxPauseunpVcpu>().vcpu;
    let v = vcpu_of(cx, dom, n).map_err(|_| Errno::EINVAL)?;
    let turn = |n: u32| match held {
        true => n.checked_add(1).filter(|&n| n <= i32::MAX as u32),
        false => n.checked_sub(1),
    };
    v.held.fetch_update(SeqCst, SeqCst, turn).map_err(|_| match held {
        true => refuse!(cx.xen, Errno::EOVERFLOW, "vCPU {} is held too often", n),
        false => refuse!(cx.xen, Errno::EINVAL, "vCPU {} is not held", n),
    })?;
    if held {
        sched::vcpu_pause_sync(cx.xen, &v);
    } else {
        sched::vcpu_unpause(cx.xen, &v);
    }
    DONE
}

/// Whether tools pause the domain, and then one vCPU that stopped at a breakpoint, which is told once.
pub(super) fn status<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut s = DomctlGdbsxDomstatus { vcpu_id: u32::MAX, ..call.get() };
    s.paused = dom.paused_by_controller().into();
    if s.paused != 0 {
        for v in (0..dom.max_vcpus).filter_map(|n| dom.vcpu(VcpuId(n))) {
            let vector = v.stopped_by.swap(0, AcqRel);
            if vector != 0 {
                (s.vcpu_id, s.vcpu_ev) = (v.id.0, vector);
                break;
            }
        }
    }
    call.put(&cx.xen.m, &s)?;
    DONE
}

#[cfg(test)]
#[path = "gdbsx_tests.rs"]
mod tests;
