//! `mmu_update`, `update_va_mapping` and `update_va_mapping_otherdomain` (public header xen.h).

use super::lock::TableLock;
use super::types::get_writable;
use super::update::set_entry;
use super::{Fail, Pt, R, mmuext, walk, why};
use crate::domain::Domain;
use crate::frame::FrameRef;
use crate::guest;
use crate::ids::{DomId, Mfn};
use crate::machine::Machine;
use crate::refusal::fault;
use crate::refuse;
use crate::within;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::xen::*;
use alloc::sync::Arc;
use x86::pte::Pte;

/// A domain an argument names: the caller, or another one, kept alive.
pub(super) enum Whose<'a> {
    Caller(&'a Domain),
    Other(Arc<Domain>),
}

impl core::ops::Deref for Whose<'_> {
    type Target = Domain;
    #[inline]
    fn deref(&self) -> &Domain {
        match self {
            Whose::Caller(d) => d,
            Whose::Other(d) => d,
        }
    }
}

impl<'a> Whose<'a> {
    #[inline]
    pub(super) fn decode<M: Machine>(cx: &Cx<'a, M>, id: u16) -> Result<Self, Errno> {
        if id == DOMID_SELF || id == cx.dom.id.0 {
            return Ok(Whose::Caller(cx.dom));
        }
        Ok(Whose::Other(cx.domain_for_control(id)?))
    }
}

/// The domains a foreign-domain argument names.
struct Foreign<'a> {
    /// Owner of the tables.
    tables: Whose<'a>,
    /// Owner of mapped frames, or [`DomId::IO`].
    pages: DomId,
    /// Whose right to device memory counts.
    io_of: Whose<'a>,
}

impl<'a> Foreign<'a> {
    /// The caller's own tables and frames.
    fn own<M: Machine>(cx: &Cx<'a, M>) -> Self {
        Self { tables: Whose::Caller(cx.dom), pages: cx.dom.id, io_of: Whose::Caller(cx.dom) }
    }

    /// From the argument of `mmu_update`: pages in bits 0..16, tables + 1 (or 0: the caller's) in bits 16..32.
    #[inline]
    fn decode<M: Machine>(cx: &Cx<'a, M>, arg: u64) -> Result<Self, Errno> {
        if arg == u64::from(DOMID_SELF) && cx.dom.is_alive() {
            Ok(Self::own(cx))
        } else {
            Self::other(cx, arg)
        }
    }

    #[inline(never)]
    fn other<M: Machine>(cx: &Cx<'a, M>, arg: u64) -> Result<Self, Errno> {
        let (pages, tables) = (arg as u16, (arg >> 16) as u16);
        let tables = match tables {
            0 => Whose::Caller(cx.dom),
            // The field names no domain by relation.
            n if n - 1 == DOMID_SELF => {
                return Err(refuse!(cx.xen, Errno::ESRCH, "whose tables is not said by DOMID_SELF"));
            }
            n => Whose::decode(cx, n - 1)?,
        };
        let (pages, io_of) = match DomId(pages) {
            DomId::IO => (DomId::IO, Whose::Caller(cx.dom)),
            DomId::XEN => {
                cx.must_be_privileged()?;
                (DomId::XEN, Whose::Caller(cx.dom))
            }
            // The caller is DOMID_SELF here, never its number.
            id if id == cx.dom.id => {
                return Err(refuse!(
                    cx.xen,
                    Errno::ESRCH,
                    "the caller is DOMID_SELF here, not domain {}",
                    id.0
                ));
            }
            DomId(n) => {
                let d = Whose::decode(cx, n)?;
                (d.id, d)
            }
        };
        for d in [&tables, &io_of] {
            if !d.is_alive() {
                return Err(why::dying(cx.xen, Errno::ESRCH, d.id));
            }
        }
        Ok(Self { tables, pages, io_of })
    }

    fn pt<'b, M: Machine>(&'b self, cx: &Cx<'b, M>) -> Pt<'b, M> {
        Pt { xen: cx.xen, dom: &self.tables, page_owner: self.pages, io_of: &self.io_of }
    }
}

/// Elements between two looks at whether others wait.
const PREEMPT_EVERY: u32 = 16;

/// A batch of page-table writes and M2P updates. Commits a prefix and stores its length at `pdone`.
#[inline]
pub fn mmu_update<M: Machine>(
    cx: &mut Cx<'_, M>,
    ureqs: u64,
    count: u64,
    pdone: u64,
    foreigndom: u64,
) -> HcResult {
    // What kernels ask for most.
    let plain = count as u32 == 1 && pdone == 0 && foreigndom == u64::from(DOMID_SELF);
    if !plain || !cx.dom.is_alive() {
        return several(cx, ureqs, count as u32, pdone, foreigndom);
    }
    match alone(cx, ureqs) {
        Ok(()) => Ok(0),
        Err(e) => unfinished(cx, e, ureqs, (0, 1), pdone, foreigndom),
    }
}

#[inline(never)]
fn several<M: Machine>(
    cx: &mut Cx<'_, M>,
    ureqs: u64,
    mut count: u32,
    pdone: u64,
    foreigndom: u64,
) -> HcResult {
    let mut before = 0u32;
    if count & MMU_UPDATE_PREEMPTED != 0 {
        count &= !MMU_UPDATE_PREEMPTED;
        if pdone != 0 {
            before = guest::read(&cx.xen.m, pdone).map_err(|at| fault(cx.xen, at))?;
        }
    }
    let foreign = Foreign::decode(cx, foreigndom)?;
    let mut done = 0;
    let result = batch(cx, &foreign, ureqs, count, &mut done);
    if pdone != 0 {
        guest::write(&cx.xen.m, pdone, &before.wrapping_add(done)).map_err(|at| fault(cx.xen, at))?;
    }
    match result {
        Ok(()) => Ok(0),
        Err(e) => unfinished(cx, e, ureqs, (done, count), pdone, foreigndom),
    }
}

/// The answer to requests of which `done` of `count` are done.
#[cold]
fn unfinished<M: Machine>(
    cx: &mut Cx<'_, M>,
    why: Fail,
    ureqs: u64,
    (done, count): (u32, u32),
    pdone: u64,
    foreigndom: u64,
) -> HcResult {
    match why {
        Fail::Errno(e) => Err(within!(cx.xen, e, "request {} of {}", done, count).into()),
        Fail::Again => {
            let rest = guest::element::<MmuUpdate>(ureqs, u64::from(done)).map_err(|at| fault(cx.xen, at))?;
            let left = u64::from((count - done) | MMU_UPDATE_PREEMPTED);
            cx.restart(HYPERVISOR_MMU_UPDATE, [rest, left, pdone, foreigndom])
        }
    }
}

/// The only request of a kernel about its own tables and frames.
#[inline]
fn alone<M: Machine>(cx: &Cx<'_, M>, ureqs: u64) -> R<()> {
    let foreign = Foreign::own(cx);
    let pt = foreign.pt(cx);
    cx.dom.mm.finish_deferred(cx.xen, cx.dom.id)?;
    let req: MmuUpdate = guest::read_at(&cx.xen.m, ureqs, 0).map_err(|at| why::fault(cx.xen, at))?;
    let Some(to) = Write::decode(&pt, &req)? else { return Ok(()) };
    if let Some(lock) = to.lock(&pt)? {
        set_entry(&pt, &lock, to.index, to.new, to.keep_ad)?;
    }
    Ok(())
}

fn batch<M: Machine>(cx: &Cx<'_, M>, foreign: &Foreign<'_>, ureqs: u64, count: u32, done: &mut u32) -> R<()> {
    let pt = foreign.pt(cx);
    foreign.tables.mm.finish_deferred(cx.xen, foreign.tables.id)?;
    // The table of the last write stays locked for the next one: batches walk tables in order.
    let mut last: Option<TableLock<'_, M>> = None;
    while *done < count {
        if *done % PREEMPT_EVERY == PREEMPT_EVERY - 1 && cx.xen.m.preempt_point() {
            return Err(Fail::Again);
        }
        let req: MmuUpdate =
            guest::read_at(&cx.xen.m, ureqs, u64::from(*done)).map_err(|at| why::fault(cx.xen, at))?;
        one(&pt, &mut last, &req)?;
        *done += 1;
    }
    Ok(())
}

fn one<'a, M: Machine>(pt: &Pt<'a, M>, last: &mut Option<TableLock<'a, M>>, req: &MmuUpdate) -> R<()> {
    let Some(to) = Write::decode(pt, req)? else { return Ok(()) };
    if last.as_ref().is_none_or(|l| l.mfn() != to.table) {
        *last = None;
        *last = to.lock(pt)?;
    }
    match last {
        Some(lock) => set_entry(pt, lock, to.index, to.new, to.keep_ad),
        None => Ok(()),
    }
}

/// A request to write an entry of a table.
struct Write {
    table: Mfn,
    index: usize,
    new: Pte,
    keep_ad: bool,
}

impl Write {
    /// `None`: it was of the other kind, and is done.
    #[inline(always)]
    fn decode<M: Machine>(pt: &Pt<'_, M>, req: &MmuUpdate) -> R<Option<Self>> {
        let (cmd, ptr) = (req.ptr & 7, req.ptr & !7);
        if cmd > MMU_PT_UPDATE_NO_TRANSLATE {
            return Err(refuse!(pt.xen, Errno::ENOSYS, "there is no kind {} of request", cmd).into());
        }
        let table = Mfn(ptr >> 12);
        if cmd == MMU_MACHPHYS_UPDATE {
            set_m2p(pt, table, req.val)?;
            return Ok(None);
        }
        let index = (ptr & 0xfff) as usize / 8;
        Ok(Some(Self { table, index, new: Pte(req.val), keep_ad: cmd == MMU_PT_UPDATE_PRESERVE_AD }))
    }

    /// The table, locked. `None`: it is memory that the guest could write itself, and is written.
    #[inline(always)]
    fn lock<'a, M: Machine>(&self, pt: &Pt<'a, M>) -> R<Option<TableLock<'a, M>>> {
        let none = || why::not_owned(pt.xen, Errno::EINVAL, self.table, pt.dom.id);
        let f = pt.xen.frames.get(self.table, pt.dom.id).ok_or_else(none)?;
        match TableLock::new(pt, f)? {
            Ok(lock) => Ok(Some(lock)),
            Err(f) => {
                self.to_memory(pt, f)?;
                Ok(None)
            }
        }
    }

    #[inline(never)]
    fn to_memory<M: Machine>(&self, pt: &Pt<'_, M>, f: FrameRef) -> R<()> {
        let w = get_writable(pt.xen, f)?;
        pt.xen.m.store(&w, self.index * 8, self.new.0);
        Ok(())
    }
}

#[inline(never)]
fn set_m2p<M: Machine>(pt: &Pt<'_, M>, mfn: Mfn, pfn: u64) -> R<()> {
    let owner = if pt.page_owner.is_real() { pt.page_owner } else { pt.dom.id };
    let f = pt.xen.frames.get(mfn, owner).ok_or_else(|| why::not_owned(pt.xen, Errno::EINVAL, mfn, owner))?;
    pt.xen.m.set_m2p(f.mfn(), pfn);
    Ok(())
}

/// Writes the level-1 entry that maps `va`, then flushes as `flags` (`UVMF_*`) say.
pub fn update_va_mapping<M: Machine>(cx: &mut Cx<'_, M>, va: u64, val: u64, flags: u64) -> HcResult {
    let foreign = Foreign::own(cx);
    match update_va(cx, &foreign, va, val, flags) {
        Ok(()) => Ok(0),
        Err(Fail::Errno(e)) => Err(e.into()),
        Err(Fail::Again) => cx.restart(HYPERVISOR_UPDATE_VA_MAPPING, [va, val, flags]),
    }
}

/// The same with a frame of another domain.
pub fn update_va_mapping_otherdomain<M: Machine>(
    cx: &mut Cx<'_, M>,
    va: u64,
    val: u64,
    flags: u64,
    domid: u64,
) -> HcResult {
    let foreign = Foreign::decode(cx, u64::from(domid as u16))?;
    match update_va(cx, &foreign, va, val, flags) {
        Ok(()) => Ok(0),
        Err(Fail::Errno(e)) => Err(e.into()),
        Err(Fail::Again) => cx.restart(HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN, [va, val, flags, domid]),
    }
}

fn update_va<M: Machine>(cx: &Cx<'_, M>, foreign: &Foreign<'_>, va: u64, val: u64, flags: u64) -> R<()> {
    let pt = foreign.pt(cx);
    cx.dom.mm.finish_deferred(cx.xen, cx.dom.id)?;
    let root = cx.vcpu.mm.cr3_to_load(cx.vp.kernel_mode);
    let no_table =
        || refuse!(cx.xen, Errno::EINVAL, "no level-1 table of the domain's maps address {:x}", va);
    let (f, index) = walk::find_l1(cx.xen, cx.dom, root, va).ok_or_else(no_table)?;
    let lock = TableLock::new(&pt, f)?.map_err(|_| no_table())?;
    if lock.level() != 1 {
        return Err(no_table().into());
    }
    set_entry(&pt, &lock, index, Pte(val), false)?;
    drop(lock);
    match flags & UVMF_FLUSHTYPE_MASK {
        UVMF_TLB_FLUSH => mmuext::flush_targets(cx, flags & !UVMF_FLUSHTYPE_MASK, None),
        UVMF_INVLPG => mmuext::flush_targets(cx, flags & !UVMF_FLUSHTYPE_MASK, Some(va)),
        _ => Ok(()),
    }
}
