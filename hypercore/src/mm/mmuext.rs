//! `mmuext_op` (public header xen.h): pins, base pointers, flushes, descriptor tables, page contents.

use super::mmu_update::Whose;
use super::{Fail, Pt, R, base, desc, pin, tlb, types, why};
use crate::cpumask::CpuMask;
use crate::domain::Domain;
use crate::frame::{FrameRef, WritableRef};
use crate::guest::{self, HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
use crate::ids::{Mfn, VcpuId};
use crate::machine::{Flush, GuestFault, Machine};
use crate::refusal::{self, fault};
use crate::refuse;
use crate::within;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::xen::*;
use abi::xenolith::XENOLITH_WHY_NO_OPERATION;
use x86::pte::canonical;

/// A batch of operations. Commits a prefix and stores its length at `pdone`.
pub fn mmuext_op<M: Machine>(
    cx: &mut Cx<'_, M>,
    uops: u64,
    count: u64,
    pdone: u64,
    foreigndom: u64,
) -> HcResult {
    let (mut count, mut before) = (count as u32, 0u32);
    if count & MMU_UPDATE_PREEMPTED != 0 {
        count &= !MMU_UPDATE_PREEMPTED;
        if pdone != 0 {
            before = guest::read(&cx.xen.m, pdone).map_err(|at| begun(cx, at))?;
        }
    }
    if [DOMID_IO, DOMID_XEN].contains(&(foreigndom as u16)) {
        // These domains exist, but nobody may change their tables: the first operation is refused.
        if count > 0 && pdone != 0 {
            guest::write(&cx.xen.m, pdone, &before).map_err(|at| begun(cx, at))?;
        }
        let none =
            || refuse!(cx.xen, Errno::EPERM, "nobody may change the tables of {:x}", foreigndom as u16);
        return if count > 0 { Err(whole(cx, none()).into()) } else { Ok(0) };
    }
    if foreigndom as u16 == cx.dom.id.0 {
        // The caller is DOMID_SELF here, never its number.
        let e = refuse!(cx.xen, Errno::ESRCH, "the caller is DOMID_SELF here, not domain {}", foreigndom);
        return Err(whole(cx, e).into());
    }
    let whose = Whose::decode(cx, foreigndom as u16).map_err(|e| whole(cx, e))?;
    let mut done = 0;
    let mut result = whose.mm.finish_deferred(cx.xen, whose.id);
    while result.is_ok() && done < count {
        result = if done > 0 && cx.xen.m.preempt_point() {
            Err(Fail::Again)
        } else {
            match guest::read_at(&cx.xen.m, uops, u64::from(done)) {
                Ok(op) => one(cx, &whose, &op).map_err(|e| refusal::of(cx.xen, op.cmd, e)),
                Err(at) => Err(begun(cx, at).into()),
            }
        };
        done += u32::from(result.is_ok());
    }
    if pdone != 0 {
        guest::write(&cx.xen.m, pdone, &before.wrapping_add(done)).map_err(|at| begun(cx, at))?;
    }
    match result {
        Ok(()) => Ok(0),
        Err(Fail::Errno(e)) => Err(within!(cx.xen, e, "operation {} of {}", done, count).into()),
        Err(Fail::Again) => {
            let rest = guest::element::<MmuextOp>(uops, u64::from(done)).map_err(|at| begun(cx, at))?;
            let left = u64::from((count - done) | MMU_UPDATE_PREEMPTED);
            cx.restart(HYPERVISOR_MMUEXT_OP, [rest, left, pdone, foreigndom])
        }
    }
}

/// An error of the batch itself, not of one of its operations.
#[cold]
fn whole<M: Machine>(cx: &Cx<'_, M>, error: Errno) -> Errno {
    refusal::of(cx.xen, XENOLITH_WHY_NO_OPERATION, error)
}

#[cold]
fn begun<M: Machine>(cx: &Cx<'_, M>, at: GuestFault) -> Errno {
    whole(cx, fault(cx.xen, at))
}

fn one<M: Machine>(cx: &mut Cx<'_, M>, whose: &Domain, op: &MmuextOp) -> R<()> {
    let xen = cx.xen;
    let mfn = Mfn(op.arg1);
    // Only pins mean another domain; the rest is about the caller.
    let foreign = whose.id != cx.dom.id;
    if foreign && !matches!(op.cmd, MMUEXT_PIN_L1_TABLE..=MMUEXT_UNPIN_TABLE) {
        let e =
            refuse!(xen, Errno::EPERM, "only pins can be of another domain's tables, here {}'s", whose.id.0);
        return Err(e.into());
    }
    match op.cmd {
        MMUEXT_PIN_L1_TABLE..=MMUEXT_PIN_L4_TABLE => {
            pin::pin(&Pt::own(xen, whose), mfn, (op.cmd - MMUEXT_PIN_L1_TABLE) as u8 + 1)
        }
        MMUEXT_UNPIN_TABLE => pin::unpin(xen, whose.id, mfn),
        MMUEXT_NEW_BASEPTR => base::new_kernel_base(cx, mfn),
        MMUEXT_NEW_USER_BASEPTR => base::new_user_base(cx, mfn),
        MMUEXT_TLB_FLUSH_LOCAL => flush_targets(cx, UVMF_LOCAL, None),
        MMUEXT_INVLPG_LOCAL => flush_targets(cx, UVMF_LOCAL, Some(op.arg1)),
        // The reason is the fault.
        MMUEXT_TLB_FLUSH_MULTI => flush_mask(cx, op.arg2, None).map_err(|_| Errno::EINVAL.into()),
        MMUEXT_INVLPG_MULTI => flush_mask(cx, op.arg2, Some(op.arg1)).map_err(|_| Errno::EINVAL.into()),
        MMUEXT_TLB_FLUSH_ALL => flush_targets(cx, UVMF_ALL, None),
        MMUEXT_INVLPG_ALL => flush_targets(cx, UVMF_ALL, Some(op.arg1)),
        MMUEXT_FLUSH_CACHE | MMUEXT_FLUSH_CACHE_GLOBAL => {
            if !cx.dom.privileged {
                let e =
                    refuse!(xen, Errno::EACCES, "only a domain with hardware of its own may flush caches");
                return Err(e.into());
            }
            let cpus =
                if op.cmd == MMUEXT_FLUSH_CACHE { CpuMask::single(xen.m.cpu()) } else { xen.host.online };
            xen.m.flush(&cpus, Flush::Cache);
            Ok(())
        }
        MMUEXT_SET_LDT => desc::set_ldt(cx, op.arg1, op.arg2),
        MMUEXT_CLEAR_PAGE => {
            xen.m.zero(&writable(cx, mfn)?);
            Ok(())
        }
        MMUEXT_COPY_PAGE => copy_page(cx, mfn, Mfn(op.arg2)),
        MMUEXT_MARK_SUPER | MMUEXT_UNMARK_SUPER => {
            Err(refuse!(xen, Errno::EOPNOTSUPP, "superpages are not served").into())
        }
        _ => Err(refuse!(xen, Errno::ENOSYS, "there is no operation {}", op.cmd).into()),
    }
}

fn writable<M: Machine>(cx: &Cx<'_, M>, mfn: Mfn) -> R<WritableRef> {
    types::get_writable(cx.xen, own(cx, mfn)?)
}

fn own<M: Machine>(cx: &Cx<'_, M>, mfn: Mfn) -> Result<FrameRef, Errno> {
    let none = || why::not_owned(cx.xen, Errno::EINVAL, mfn, cx.dom.id);
    cx.xen.frames.get(mfn, cx.dom.id).ok_or_else(none)
}

fn copy_page<M: Machine>(cx: &Cx<'_, M>, to: Mfn, from: Mfn) -> R<()> {
    let from = own(cx, from)?;
    let to = writable(cx, to)?;
    let mut bytes = [0; 512];
    for offset in (0..4096).step_by(bytes.len()) {
        cx.xen.m.read(&from, offset, &mut bytes);
        cx.xen.m.write(&to, offset, &bytes);
    }
    Ok(())
}

/// Flushes for `UVMF_*` bits without the flush type: local, all of the domain, or the vCPUs of a bitmap. `page`:
/// one address, or everything.
pub(super) fn flush_targets<M: Machine>(cx: &Cx<'_, M>, who: u64, page: Option<u64>) -> R<()> {
    match who {
        UVMF_LOCAL => match page {
            None => tlb::flush_local(cx.xen),
            Some(va) if guest_page(va) => cx.xen.m.flush_local(Flush::Page(va)),
            Some(_) => {}
        },
        UVMF_ALL => flush(cx, &cx.dom.dirty_cpus.load(), page),
        bitmap => return flush_mask(cx, bitmap, page),
    }
    Ok(())
}

/// Flushes the vCPUs in the bitmap at guest address `bitmap`.
fn flush_mask<M: Machine>(cx: &Cx<'_, M>, bitmap: u64, page: Option<u64>) -> R<()> {
    let mut cpus = CpuMask::EMPTY;
    for word in 0..u64::from(cx.dom.max_vcpus.div_ceil(64)) {
        let mut bits: u64 = guest::read_at(&cx.xen.m, bitmap, word).map_err(|at| why::fault(cx.xen, at))?;
        while bits != 0 {
            let id = word as u32 * 64 + bits.trailing_zeros();
            bits &= bits - 1;
            if let Some(v) = cx.dom.vcpu(VcpuId(id)) {
                cpus.insert(v.processor());
            }
        }
    }
    flush(cx, &cpus.and(&cx.dom.dirty_cpus.load()), page);
    Ok(())
}

fn flush<M: Machine>(cx: &Cx<'_, M>, cpus: &CpuMask, page: Option<u64>) {
    match page {
        None if *cpus == CpuMask::single(cx.xen.m.cpu()) => tlb::flush_local(cx.xen),
        None => tlb::flush(cx.xen, cpus),
        Some(va) => {
            if guest_page(va) && !cpus.is_empty() {
                cx.xen.m.flush(cpus, Flush::Page(va));
            }
        }
    }
}

/// Whether a guest can have a page at `va`.
fn guest_page(va: u64) -> bool {
    canonical(va) && !(HYPERVISOR_VIRT_START..HYPERVISOR_VIRT_END).contains(&va)
}
