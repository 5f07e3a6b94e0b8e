//! CR3s of a vCPU, and the rest of its memory-management state.
//!
//! The machine-to-physical table is the guest kernel's to read, not its user mode's. An L4 has its slot blank until
//! it becomes a kernel's root, and keeps it from then on; under `VMASST_TYPE_m2p_strict` it has it from the start, and
//! loses it when it becomes a user mode's (public header xen.h).

use super::desc::Descriptors;
use super::lock::TableLock;
use super::types::{get_table, put_table};
use super::{Pt, R, tlb, why};
use crate::domain::Domain;
use crate::frame::FrameRef;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::sync::Mutex;
use crate::vcpu::Vcpu;
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::xen::VMASST_TYPE_M2P_STRICT;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use x86::pte::{HV_L4_FIRST, Pte};

const NONE: u64 = u64::MAX;
/// Slot of an L4 that shows guests the machine-to-physical table.
pub(super) const M2P_SLOT: usize = HV_L4_FIRST;

/// Memory-management state of a vCPU: shared, for the audit and the tools look at it.
pub struct VcpuMm {
    /// L4s of the guest's kernel and of its user mode; each holds both counts of its frame.
    kernel_l4: AtomicU64,
    user_l4: AtomicU64,
    /// The tables changed while the vCPU was not the one running: load them before it does.
    pub reload: AtomicBool,
    pub(super) desc: Mutex<Descriptors>,
}

impl Default for VcpuMm {
    fn default() -> Self {
        Self::new()
    }
}

impl VcpuMm {
    pub fn new() -> Self {
        Self {
            kernel_l4: AtomicU64::new(NONE),
            user_l4: AtomicU64::new(NONE),
            reload: AtomicBool::new(false),
            desc: Mutex::new(Descriptors::default()),
        }
    }

    fn slot(&self, kernel: bool) -> &AtomicU64 {
        if kernel { &self.kernel_l4 } else { &self.user_l4 }
    }

    /// Root of the kernel's tables.
    pub fn kernel_cr3(&self) -> Option<Mfn> {
        Some(Mfn(self.kernel_l4.load(Acquire))).filter(|m| m.0 != NONE)
    }

    /// Root of the user mode, if it has its own.
    pub fn user_cr3(&self) -> Option<Mfn> {
        Some(Mfn(self.user_l4.load(Acquire))).filter(|m| m.0 != NONE)
    }

    /// Root to load for guest-kernel or guest-user mode; the kernel's where user mode has none. A vCPU that was
    /// brought up has one.
    pub fn cr3_to_load(&self, kernel: bool) -> Mfn {
        let root = if kernel { None } else { self.user_cr3() };
        root.or_else(|| self.kernel_cr3()).unwrap_or(Mfn(NONE))
    }

    /// Makes `mfn` (holding both counts) the root of one mode; answers the former one, whose counts the caller ends
    /// once no CPU has it loaded.
    fn exchange(&self, kernel: bool, mfn: Option<Mfn>) -> Option<Mfn> {
        let old = self.slot(kernel).swap(mfn.map_or(NONE, |m| m.0), AcqRel);
        (old != NONE).then_some(Mfn(old))
    }
}

/// Whether the domain wants the machine-to-physical table hidden from whatever its user mode runs on.
pub(super) fn m2p_strict(dom: &Domain) -> bool {
    dom.vm_assist.load(Relaxed) & 1 << VMASST_TYPE_M2P_STRICT != 0
}

/// Makes the machine-to-physical table's slot of an L4 what its use as a root of this mode wants. The caller holds a
/// type count. A slot that goes blank is cached by nobody who loads the root afterwards: guests' translations of
/// the table are not global.
fn settle_m2p<M: Machine>(pt: &Pt<'_, M>, f: &FrameRef, kernel: bool) -> R<()> {
    let want = match (kernel, m2p_strict(pt.dom)) {
        (true, false) => Pte(pt.xen.host.hv_l4[M2P_SLOT - HV_L4_FIRST]),
        (false, true) => Pte(0),
        _ => return Ok(()),
    };
    if Pte(pt.xen.m.load(f, M2P_SLOT * 8)).present() == want.present() {
        return Ok(());
    }
    let own = f.try_clone().ok_or_else(|| why::too_many(pt.xen, f.mfn()))?;
    let not_one = |f| why::not_owned(pt.xen, Errno::EINVAL, FrameRef::mfn(&f), pt.dom.id);
    let lock = TableLock::new(pt, own)?.map_err(not_one)?;
    let mut now = lock.load(M2P_SLOT);
    while now.present() != want.present()
        && let Err(other) = lock.exchange(M2P_SLOT, now, want)
    {
        now = other;
    }
    Ok(())
}

/// Takes both counts for a CR3.
fn take<M: Machine>(xen: &Xen<M>, dom: &Domain, mfn: Mfn, kernel: bool) -> R<()> {
    if !dom.is_alive() {
        return Err(why::dying(xen, Errno::EINVAL, dom.id).into());
    }
    let f = xen.frames.get(mfn, dom.id).ok_or_else(|| why::not_owned(xen, Errno::EINVAL, mfn, dom.id))?;
    let pt = Pt::own(xen, dom);
    get_table(&pt, &f, 4)?;
    let settled = settle_m2p(&pt, &f, kernel);
    let mfn = f.into_raw();
    settled.inspect_err(|_| give_back(xen, dom, Some(mfn)))
}

fn give_back<M: Machine>(xen: &Xen<M>, dom: &Domain, old: Option<Mfn>) {
    if let Some(old) = old
        && put_table(xen, xen.frames.adopt(old)).is_err()
    {
        dom.mm.defer(old);
    }
}

/// Gives a vCPU that does not run its root (`None`: no root), for builders, `setvcpucontext` and
/// `VCPUOP_initialise`.
pub fn set_cr3<M: Machine>(xen: &Xen<M>, dom: &Domain, v: &Vcpu, kernel: bool, mfn: Option<Mfn>) -> R<()> {
    if let Some(mfn) = mfn {
        take(xen, dom, mfn, kernel)?;
    }
    let old = v.mm.exchange(kernel, mfn);
    v.mm.reload.store(true, Release);
    give_back(xen, dom, old);
    Ok(())
}

/// `MMUEXT_NEW_BASEPTR`: the running vCPU's kernel tables.
pub fn new_kernel_base<M: Machine>(cx: &mut Cx<'_, M>, mfn: Mfn) -> R<()> {
    if cx.vcpu.mm.kernel_cr3() == Some(mfn) {
        tlb::flush_local(cx.xen);
        return Ok(());
    }
    take(cx.xen, cx.dom, mfn, true)?;
    let old = cx.vcpu.mm.exchange(true, Some(mfn));
    if cx.vp.kernel_mode {
        cx.xen.m.load_root(mfn);
    }
    give_back(cx.xen, cx.dom, old);
    Ok(())
}

/// `MMUEXT_NEW_USER_BASEPTR`: the tables of its user mode; frame 0: none.
pub(super) fn new_user_base<M: Machine>(cx: &mut Cx<'_, M>, mfn: Mfn) -> R<()> {
    if mfn.0 != 0 && cx.vcpu.mm.user_cr3() == Some(mfn) {
        return Ok(());
    }
    let new = (mfn.0 != 0).then_some(mfn);
    if let Some(mfn) = new {
        take(cx.xen, cx.dom, mfn, false)?;
    }
    let old = cx.vcpu.mm.exchange(false, new);
    if !cx.vp.kernel_mode {
        cx.xen.m.load_root(cx.vcpu.mm.cr3_to_load(false));
    }
    give_back(cx.xen, cx.dom, old);
    Ok(())
}

/// Ends what a vCPU of a dying domain holds. It does not run, and no CPU idles on its tables.
pub(super) fn drop_all<M: Machine>(xen: &Xen<M>, dom: &Domain, v: &Vcpu) {
    for kernel in [false, true] {
        let old = v.mm.exchange(kernel, None);
        give_back(xen, dom, old);
    }
    super::desc::drop_all(xen, v);
}
