//! What of the hardware a domain may touch: irq, iomem and ioport permission. A caller gives only what it has.

use super::{Call, DONE, OpResult, Outcome};
use crate::domain::Domain;
use crate::ids::Mfn;
use crate::io::ranges::RangeSet;
use crate::machine::Machine;
use crate::mm::{self, Fail};
use crate::refuse;
use crate::sync::RwLock;
use crate::xen::{Cx, Xen};
use abi::Errno;
use abi::domctl::*;

/// Machine frames an address can name.
const MAX_FRAME: u64 = 1 << 40;

/// Gives or takes `first..=last`. EPERM: the caller has not got it itself.
fn change<M: Machine>(
    xen: &Xen<M>,
    caller: &RwLock<RangeSet>,
    target: &RwLock<RangeSet>,
    first: u64,
    last: u64,
    allow: bool,
) -> OpResult {
    if !caller.read().contains_range(first, last) {
        return Err(refuse!(
            xen,
            Errno::EPERM,
            "the caller itself may not touch all of {:x} to {:x}",
            first,
            last
        ));
    }
    let mut set = target.write();
    if allow {
        set.add(first, last)?
    } else {
        set.remove(first, last)?
    }
    DONE
}

pub(super) fn irq<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let p: DomctlIrqPermission = call.get();
    let irq = u64::from(p.pirq);
    let gsis = cx.xen.m.nr_gsis();
    if p.pirq >= gsis {
        return Err(refuse!(cx.xen, Errno::EINVAL, "interrupt {} of a machine with {}", p.pirq, gsis));
    }
    change(cx.xen, &cx.dom.io.irqs, &dom.io.irqs, irq, irq, p.allow_access != 0)
}

/// EINVAL: no or impossible frames. A right taken away ends the mappings there are.
pub(super) fn iomem<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let p: DomctlIomemPermission = call.get();
    let (first, n) = (p.first_mfn, p.nr_mfns);
    let last = match first.checked_add(n).and_then(|end| end.checked_sub(1)) {
        Some(last) if n != 0 && last < MAX_FRAME => last,
        _ => return Err(refuse!(cx.xen, Errno::EINVAL, "{} frames from {:x} on cannot be", n, first)),
    };
    if p.allow_access != 0 {
        return change(cx.xen, &cx.dom.io.iomem, &dom.io.iomem, p.first_mfn, last, true);
    }
    dom.io.iomem.write().remove(p.first_mfn, last)?;
    match mm::iomem::revoke(cx.xen, dom, Mfn(p.first_mfn), Mfn(last)) {
        Ok(()) => DONE,
        Err(Fail::Again) => Ok(Outcome::Again),
        Err(Fail::Errno(e)) => Err(e),
    }
}

pub(super) fn ioport<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let p: DomctlIoportPermission = call.get();
    let (first, n) = (u64::from(p.first_port), u64::from(p.nr_ports));
    if n == 0 {
        return DONE;
    }
    if first + n > 0x1_0000 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} ports from {:x} on: there are 65536", n, first));
    }
    change(cx.xen, &cx.dom.io.ports, &dom.io.ports, first, first + n - 1, p.allow_access != 0)
}
