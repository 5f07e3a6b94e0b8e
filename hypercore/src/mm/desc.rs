//! Segment descriptors of a PV guest: its GDT and LDT pages, and `update_descriptor`.
//!
//! A page a CPU may have loaded is typed as a descriptor page: no guest can write it, and every descriptor in
//! it was checked. The type is given up only after the windows show it no more.

use super::lock::Exclusive;
use super::types::{get_descriptors, get_writable, put_descriptors};
use super::{R, walk, why};
use crate::domain::Domain;
use crate::frame::FrameRef;
use crate::frame::record::{B, FrameType};
use crate::guest;
use crate::ids::Mfn;
use crate::machine::{Frames, Machine};
use crate::refusal::fault;
use crate::refuse;
use crate::vcpu::Vcpu;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::arch_x86::{FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE};
use arrayvec::ArrayVec;
use x86::pte::{ENTRIES, Pte, canonical};

// A descriptor's bits (Intel SDM vol. 3A 3.4.5).
const PRESENT: u64 = 1 << 47;
const DPL: u64 = 3 << 45;
const CODE_OR_DATA: u64 = 1 << 44;
const TYPE: u64 = 0xf << 40;
const CALL_GATE: u64 = 0xc << 40;

/// Pages of an LDT.
const LDT_PAGES: usize = 16;
/// Descriptors of an LDT.
const LDT_MAX: u64 = 8192;

/// GDT and LDT of a vCPU. Each frame named here holds an existence reference and a descriptor type count.
#[derive(Default)]
pub struct Descriptors {
    gdt: ArrayVec<Mfn, FIRST_RESERVED_GDT_PAGE>,
    gdt_entries: u32,
    ldt_base: u64,
    ldt_entries: u32,
    /// LDT pages that were used, typed on their first fault.
    ldt: [Option<Mfn>; LDT_PAGES],
}

/// What a CPU loads with a vCPU: for the context switch, and `getvcpucontext`.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub gdt: ArrayVec<Mfn, FIRST_RESERVED_GDT_PAGE>,
    pub gdt_entries: u32,
    pub ldt_base: u64,
    pub ldt_entries: u32,
    pub ldt: [Option<Mfn>; LDT_PAGES],
}

impl super::VcpuMm {
    /// What is to be in the CPU's descriptor windows while the vCPU runs.
    pub fn descriptors(&self) -> Loaded {
        let d = self.desc.lock();
        Loaded {
            gdt: d.gdt.clone(),
            gdt_entries: d.gdt_entries,
            ldt_base: d.ldt_base,
            ldt_entries: d.ldt_entries,
            ldt: d.ldt,
        }
    }
}

/// A descriptor as it may stand in a page. Code and data are forced to ring 3; a call gate to ring 0, so that nobody
/// can call through it. EINVAL for every other system descriptor.
pub fn check(d: u64) -> Result<u64, Errno> {
    if d & PRESENT == 0 || (d & (CODE_OR_DATA | TYPE) == 0) {
        // Faults when used; type 0 is never valid.
        return Ok(d);
    }
    match (d & CODE_OR_DATA, d & TYPE) {
        (0, CALL_GATE) => Ok(d & !DPL),
        (0, _) => Err(Errno::EINVAL),
        _ => Ok(d | DPL),
    }
}

/// Checks a page that nobody else can write, adjusting what it holds. On a refusal, changes nothing and says which
/// descriptor it was.
pub(super) fn check_page<M: Frames>(m: &M, f: &Exclusive<'_>) -> Result<(), usize> {
    for i in 0..ENTRIES {
        check(m.load(f, i * 8)).map_err(|_| i)?;
    }
    for i in 0..ENTRIES {
        let old = m.load(f, i * 8);
        let new = check(old).map_err(|_| i)?;
        if new != old {
            m.store(f, i * 8, new);
        }
    }
    Ok(())
}

/// References for a list of GDT frames.
fn take<M: Machine>(xen: &Xen<M>, dom: &Domain, mfn: Mfn) -> R<FrameRef> {
    let f = xen.frames.get(mfn, dom.id).ok_or_else(|| why::not_owned(xen, Errno::EINVAL, mfn, dom.id))?;
    get_descriptors(xen, &f)?;
    Ok(f)
}

fn give_back<M: Machine>(xen: &Xen<M>, frames: impl IntoIterator<Item = Mfn>) {
    for mfn in frames {
        put_descriptors(xen, xen.frames.adopt(mfn));
    }
}

/// `HYPERVISOR_set_gdt`: `entries` descriptors in the frames listed at `frames`.
pub fn set_gdt<M: Machine>(cx: &mut Cx<'_, M>, frames: u64, entries: u64) -> HcResult {
    let entries = entries as u32;
    if entries as usize > FIRST_RESERVED_GDT_ENTRY {
        return Err(too_long(cx.xen, entries).into());
    }
    let mut list = [0u64; FIRST_RESERVED_GDT_PAGE];
    let n = (entries as usize).div_ceil(ENTRIES);
    for (i, mfn) in list[..n].iter_mut().enumerate() {
        *mfn = guest::read_at(&cx.xen.m, frames, i as u64).map_err(|at| fault(cx.xen, at))?;
    }
    let old = exchange_gdt(cx.xen, cx.dom, cx.vcpu, &list[..n], entries)?;
    cx.xen.m.load_gdt(&cx.vcpu.mm.descriptors().gdt);
    give_back(cx.xen, old);
    Ok(0)
}

#[cold]
fn too_long<M: Machine>(xen: &Xen<M>, entries: u32) -> Errno {
    let most = FIRST_RESERVED_GDT_ENTRY;
    refuse!(
        xen,
        Errno::EINVAL,
        "a GDT of {} descriptors; {} can be, with a frame for each 512",
        entries,
        most
    )
}

/// The same for a vCPU that does not run (`setvcpucontext`, `VCPUOP_initialise`).
pub fn set_vcpu_gdt<M: Machine>(
    xen: &Xen<M>,
    dom: &Domain,
    v: &Vcpu,
    frames: &[u64],
    entries: u32,
) -> Result<(), Errno> {
    if entries as usize > FIRST_RESERVED_GDT_ENTRY || frames.len() < (entries as usize).div_ceil(ENTRIES) {
        return Err(too_long(xen, entries));
    }
    let old = exchange_gdt(xen, dom, v, &frames[..(entries as usize).div_ceil(ENTRIES)], entries)?;
    give_back(xen, old);
    Ok(())
}

/// Takes the new GDT's references, or none, and puts it in place; answers the old one's frames.
fn exchange_gdt<M: Machine>(
    xen: &Xen<M>,
    dom: &Domain,
    v: &Vcpu,
    list: &[u64],
    entries: u32,
) -> Result<ArrayVec<Mfn, FIRST_RESERVED_GDT_PAGE>, Errno> {
    if !dom.is_alive() {
        return Err(why::dying(xen, Errno::EINVAL, dom.id));
    }
    let mut new: ArrayVec<Mfn, FIRST_RESERVED_GDT_PAGE> = ArrayVec::new();
    for mfn in list {
        match take(xen, dom, Mfn(*mfn)) {
            Ok(f) => new.push(f.into_raw()),
            Err(e) => {
                give_back(xen, new);
                return Err(e.errno());
            }
        }
    }
    let mut d = v.mm.desc.lock();
    d.gdt_entries = entries;
    Ok(core::mem::replace(&mut d.gdt, new))
}

/// `MMUEXT_SET_LDT`: `entries` descriptors from page-aligned address `base`. Pages are typed when first used.
pub(super) fn set_ldt<M: Machine>(cx: &mut Cx<'_, M>, base: u64, entries: u64) -> R<()> {
    check_ldt(cx.xen, base, entries)?;
    let old = exchange_ldt(cx.vcpu, base, entries as u32);
    cx.xen.m.load_ldt(entries as u32);
    give_back(cx.xen, old.into_iter().flatten());
    Ok(())
}

/// The same for a vCPU that does not run.
pub fn set_vcpu_ldt<M: Machine>(xen: &Xen<M>, v: &Vcpu, base: u64, entries: u64) -> Result<(), Errno> {
    check_ldt(xen, base, entries)?;
    let old = exchange_ldt(v, base, entries as u32);
    give_back(xen, old.into_iter().flatten());
    Ok(())
}

fn check_ldt<M: Machine>(xen: &Xen<M>, base: u64, entries: u64) -> Result<(), Errno> {
    let bad = base & 0xfff != 0 || entries > LDT_MAX || !guest::range_ok(base, entries as usize * 8);
    if entries != 0 && (bad || !canonical(base)) {
        let e = Errno::EINVAL;
        return Err(refuse!(xen, e, "no LDT can be at {:x} with {} descriptors", base, entries));
    }
    Ok(())
}

fn exchange_ldt(v: &Vcpu, base: u64, entries: u32) -> [Option<Mfn>; LDT_PAGES] {
    let mut d = v.mm.desc.lock();
    d.ldt_base = base;
    d.ldt_entries = entries;
    core::mem::take(&mut d.ldt)
}

/// A fault at `offset` of the running vCPU's LDT window: types the guest's page there and shows it. False: the
/// guest has no such page, and gets its fault.
pub fn ldt_fault<M: Machine>(cx: &mut Cx<'_, M>, offset: u64) -> bool {
    let page = (offset >> 12) as usize;
    let (base, entries) = {
        let d = cx.vcpu.mm.desc.lock();
        (d.ldt_base, u64::from(d.ldt_entries))
    };
    if page >= LDT_PAGES || offset >= entries * 8 {
        return false;
    }
    let Some(root) = cx.vcpu.mm.kernel_cr3() else { return false };
    let Some(pte) = walk::translate(cx.xen, cx.dom, root, base + ((page as u64) << 12)) else { return false };
    let Ok(f) = take(cx.xen, cx.dom, Mfn(pte.mfn())) else { return false };
    let mfn = f.into_raw();
    let known = {
        let mut d = cx.vcpu.mm.desc.lock();
        d.ldt[page].replace(mfn)
    };
    cx.xen.m.map_ldt_page(page, mfn);
    give_back(cx.xen, known);
    true
}

/// `HYPERVISOR_update_descriptor`: writes one checked descriptor at machine address `ma`.
pub fn update_descriptor<M: Machine>(cx: &mut Cx<'_, M>, ma: u64, desc: u64) -> HcResult {
    if ma & 7 != 0 || ma & !Pte::ADDR & !0xfff != 0 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "no descriptor is at machine address {:x}", ma).into());
    }
    let kind = |e| refuse!(cx.xen, e, "descriptor {:x} is of no kind guests may have", desc);
    let desc = check(desc).map_err(kind)?;
    let (mfn, offset) = (Mfn(ma >> 12), (ma & 0xfff) as usize);
    let none = || why::not_owned(cx.xen, Errno::EINVAL, mfn, cx.dom.id);
    let f = cx.xen.frames.get(mfn, cx.dom.id).ok_or_else(none)?;
    let in_use = cx
        .xen
        .frames
        .peek(mfn)
        .is_some_and(|(_, b)| b.kind() == FrameType::SegDesc && b.has(B::VALIDATED) && b.count() > 0);
    if in_use && get_descriptors(cx.xen, &f).is_ok() {
        cx.xen.m.store(&Exclusive(&f), offset, desc);
        put_descriptors(cx.xen, f);
    } else {
        cx.xen.m.store(&get_writable(cx.xen, f)?, offset, desc);
    }
    Ok(0)
}

/// Ends what a vCPU that will not run again holds.
pub(super) fn drop_all<M: Machine>(xen: &Xen<M>, v: &Vcpu) {
    let d = core::mem::take(&mut *v.mm.desc.lock());
    give_back(xen, d.gdt);
    give_back(xen, d.ldt.into_iter().flatten());
}
