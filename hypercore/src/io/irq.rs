//! Physical interrupts and the guests' names for them.
//!
//! A guest knows an interrupt by its PIRQ: for dom0's pins the GSI's own number, for messages a number above.
//! `PHYSDEVOP_map_pirq` makes the connection, `EVTCHNOP_bind_pirq` gives it a port and lets it fire.
//! A pin whose level stays up is held masked by the platform from its arrival until the guest's EOI.

use super::msi::{self, MsiKind};
use super::pci::Bdf;
use crate::domain::Domain;
use crate::fallible::SmallMap;
use crate::frame::{CanRead, WritableRef};
use crate::ids::{CpuId, DomId, Irq, Mfn, Port, VcpuId};
use crate::machine::Machine;
use crate::sync::Mutex;
use crate::xen::Xen;
use abi::Errno;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A device's vector behind a PIRQ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsiSource {
    pub bdf: Bdf,
    pub entry: u32,
    pub kind: MsiKind,
}

/// One PIRQ of a domain.
#[derive(Clone, Copy, Debug)]
pub struct Pirq {
    pub irq: Irq,
    pub msi: Option<MsiSource>,
    /// Port it is bound to.
    pub port: Option<Port>,
    /// The guest has to say EOI after each.
    pub needs_eoi: bool,
    /// Delivered, not ended yet.
    pub in_service: bool,
}

/// The page a guest looks at to learn which of its PIRQs need an EOI: one bit each (`PHYSDEVOP_pirq_eoi_gmfn`).
struct EoiPage {
    frame: WritableRef,
    /// An EOI unmasks the PIRQ's port as well (the call's first version).
    unmasks: bool,
}

/// A domain's PIRQs.
#[derive(Default)]
pub struct DomainPirqs {
    map: SmallMap<u32, Pirq>,
    eoi_page: Option<EoiPage>,
}

impl DomainPirqs {
    pub const fn new() -> Self {
        Self { map: SmallMap::new(), eoi_page: None }
    }
    /// Frame of the page with the bits, if there is one.
    pub fn eoi_page(&self) -> Option<Mfn> {
        self.eoi_page.as_ref().map(|p| p.frame.mfn())
    }
    /// Shows on the page whether a bound PIRQ needs an EOI.
    fn show<M: Machine>(&self, m: &M, pirq: u32, needs_eoi: bool) {
        if let Some(page) = &self.eoi_page
            && pirq < PAGE_BITS
        {
            let (at, bit) = (pirq as usize / 64 * 8, 1 << (pirq % 64));
            let word = m.load(&page.frame, at);
            m.store(&page.frame, at, if needs_eoi { word | bit } else { word & !bit });
        }
    }
    pub fn get(&self, pirq: u32) -> Option<Pirq> {
        self.map.get(pirq).copied()
    }
    pub fn get_mut(&mut self, pirq: u32) -> Option<&mut Pirq> {
        self.map.get_mut(pirq)
    }
    /// ENOMEM.
    pub fn insert(&mut self, pirq: u32, p: Pirq) -> Result<(), Errno> {
        self.map.insert(pirq, p)
    }
    pub fn remove(&mut self, pirq: u32) -> Option<Pirq> {
        self.map.remove(pirq)
    }
    /// The first number in use at or above `from`.
    pub fn next(&self, from: u32) -> Option<u32> {
        self.map.iter().map(|(n, _)| *n).find(|n| *n >= from)
    }
    /// PIRQ of this device vector.
    pub fn find_msi(&self, bdf: Bdf, entry: u32) -> Option<u32> {
        self.map
            .iter()
            .find(|(_, p)| p.msi.is_some_and(|m| m.bdf == bdf && m.entry == entry))
            .map(|(n, _)| *n)
    }
    /// A number at or above `from` that is not in use.
    pub fn free_number(&self, from: u32, limit: u32) -> Option<u32> {
        (from..limit).find(|n| self.map.get(*n).is_none())
    }
}

/// Bits of a page.
const PAGE_BITS: u32 = 4096 * 8;

/// Who gets each physical interrupt: (domain, its PIRQ).
pub struct Irqs {
    bound: Mutex<SmallMap<Irq, (Arc<Domain>, u32)>>,
    /// They stay on the CPU they are on (`QUIRK_NOIRQBALANCING`).
    fixed: AtomicBool,
}

impl Default for Irqs {
    fn default() -> Self {
        Self { bound: Mutex::new(SmallMap::new()), fixed: AtomicBool::new(false) }
    }
}

impl Irqs {
    pub fn owner(&self, irq: Irq) -> Option<(DomId, u32)> {
        self.bound.lock().get(irq).map(|(d, p)| (d.id, *p))
    }
    /// From now on no interrupt is moved to another CPU.
    pub fn fix(&self) {
        self.fixed.store(true, Relaxed);
    }
}

/// Interrupt `irq` arrived on this CPU. Called with interrupts off and no lock held.
pub fn irq_fired<M: Machine>(xen: &'static Xen<M>, irq: Irq) {
    let Some((dom, pirq)) = xen.irqs.bound.lock().get(irq).map(|(d, p)| (d.clone(), *p)) else {
        // Nobody's: a level would come back at once, so it stays masked.
        xen.m.irq_mask(irq);
        return;
    };
    if let Some(p) = dom.io.pirqs.lock().get_mut(pirq) {
        p.in_service = true;
    }
    crate::event::send_pirq(xen, &dom, pirq);
}

/// Connects a mapped PIRQ to `port` and lets it through (`EVTCHNOP_bind_pirq`). EBUSY: another domain has the
/// interrupt. Sharing between domains is not offered, whether or not the guest would.
pub fn pirq_bind<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    pirq: u32,
    port: Port,
    _share: bool,
) -> Result<(), Errno> {
    let p = {
        let mut pirqs = dom.io.pirqs.lock();
        let p = pirqs.get_mut(pirq).ok_or(Errno::EINVAL)?;
        if p.port.is_some() {
            return Err(Errno::EEXIST);
        }
        p.port = Some(port);
        *p
    };
    let mut result = connect(xen, dom, pirq, &p);
    let mut pirqs = dom.io.pirqs.lock();
    let ours = pirqs.get_mut(pirq).filter(|p| p.port == Some(port));
    match (&result, ours) {
        (Ok(()), Some(p)) => {
            let needs_eoi = p.needs_eoi;
            pirqs.show(&xen.m, pirq, needs_eoi);
        }
        (Err(_), Some(p)) => p.port = None,
        // Another vCPU has unmapped it meanwhile, perhaps before there was anything to disconnect.
        (Ok(()), None) => {
            drop(pirqs);
            if xen.irqs.owner(p.irq) == Some((dom.id, pirq)) {
                disconnect(xen, &p);
            }
            result = Err(Errno::EINVAL);
        }
        (Err(_), None) => {}
    }
    result
}

fn connect<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, pirq: u32, p: &Pirq) -> Result<(), Errno> {
    {
        let mut bound = xen.irqs.bound.lock();
        if bound.get(p.irq).is_some() {
            return Err(Errno::EBUSY);
        }
        bound.insert(p.irq, (dom.clone(), pirq))?;
    }
    let cpu = CpuId(0);
    let started = match p.msi {
        None => xen.m.irq_start_gsi(p.irq, cpu),
        Some(m) => xen.m.irq_start_msi(p.irq, cpu).and_then(|()| {
            let (addr, data) = xen.m.msi_message(p.irq).ok_or(Errno::EINVAL)?;
            msi::enable(xen, m.bdf, m.kind, addr, data)?;
            msi::set_mask(xen, m.bdf, m.kind, false);
            Ok(())
        }),
    };
    if let Err(e) = started {
        xen.irqs.bound.lock().remove(p.irq);
        return Err(e);
    }
    xen.m.irq_unmask(p.irq);
    Ok(())
}

/// The port of a PIRQ closes: it fires no more.
pub fn pirq_unbind<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, pirq: u32) {
    let p = {
        let mut pirqs = dom.io.pirqs.lock();
        let Some(p) = pirqs.get_mut(pirq) else { return };
        p.port = None;
        p.in_service = false;
        let p = *p;
        pirqs.show(&xen.m, pirq, false);
        p
    };
    disconnect(xen, &p);
}

fn disconnect<M: Machine>(xen: &Xen<M>, p: &Pirq) {
    if let Some(m) = p.msi {
        msi::disable(xen, m.bdf, m.kind);
    }
    xen.m.irq_mask(p.irq);
    xen.m.irq_stop(p.irq);
    xen.irqs.bound.lock().remove(p.irq);
}

/// Events of the PIRQ go to `vcpu` from now on: the interrupt follows it to its CPU.
pub fn pirq_set_vcpu<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, pirq: u32, vcpu: VcpuId) {
    if xen.irqs.fixed.load(Relaxed) {
        return;
    }
    let found = dom.io.pirqs.lock().get(pirq);
    let (Some(p), Some(v)) = (found, dom.vcpu(vcpu)) else { return };
    if p.port.is_none() || xen.m.irq_set_affinity(p.irq, v.processor()).is_err() {
        return;
    }
    if let (Some(s), Some((addr, data))) = (p.msi, xen.m.msi_message(p.irq)) {
        // A device that cannot take the new message keeps the old one, whose vector is still ours.
        let _ = msi::enable(xen, s.bdf, s.kind, addr, data);
        msi::set_mask(xen, s.bdf, s.kind, false);
    }
}

/// From now on frame `gfn` of the domain's tells which PIRQs need an EOI. EINVAL: not its to write; EBUSY: it
/// has named one before.
pub fn set_eoi_page<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Domain,
    gfn: u64,
    unmasks: bool,
) -> Result<(), Errno> {
    let frame = crate::event::writable_frame(xen, dom, gfn).ok_or(Errno::EINVAL)?;
    let mut pirqs = dom.io.pirqs.lock();
    if !dom.is_alive() {
        return Err(Errno::EINVAL);
    }
    if pirqs.eoi_page.is_some() {
        return Err(Errno::EBUSY);
    }
    xen.m.zero(&frame);
    pirqs.eoi_page = Some(EoiPage { frame, unmasks });
    for (pirq, p) in pirqs.map.iter().filter(|(_, p)| p.port.is_some()) {
        pirqs.show(&xen.m, *pirq, p.needs_eoi);
    }
    Ok(())
}

/// The guest is done with one arrival (`PHYSDEVOP_eoi`).
pub fn pirq_eoi<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, pirq: u32) -> Result<(), Errno> {
    let (irq, unmasks) = {
        let mut pirqs = dom.io.pirqs.lock();
        let unmasks = pirqs.eoi_page.as_ref().is_some_and(|p| p.unmasks);
        let p = pirqs.get_mut(pirq).ok_or(Errno::EINVAL)?;
        let port = p.port.ok_or(Errno::EINVAL)?;
        p.in_service = false;
        (p.irq, unmasks.then_some(port))
    };
    if let Some(port) = unmasks {
        crate::event::unmask_port(xen, dom, port)?;
    }
    xen.m.irq_eoi(irq);
    Ok(())
}

/// Undoes a mapping: unbinds it and gives a message's number back.
pub fn unmap<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>, pirq: u32) -> Result<(), Errno> {
    let p = dom.io.pirqs.lock().get(pirq).ok_or(Errno::EINVAL)?;
    if p.port.is_some() {
        pirq_unbind(xen, dom, pirq);
    }
    dom.io.pirqs.lock().remove(pirq);
    if p.msi.is_some() {
        xen.m.msi_free(p.irq);
    }
    Ok(())
}

/// Releases every PIRQ of a dying domain, and its page of bits.
pub fn teardown<M: Machine>(xen: &'static Xen<M>, dom: &Arc<Domain>) {
    let page = dom.io.pirqs.lock().eoi_page.take();
    drop(page);
    loop {
        // Not under the lock: unmapping takes it.
        let next = dom.io.pirqs.lock().next(0);
        let Some(n) = next else { return };
        let _ = unmap(xen, dom, n);
    }
}
