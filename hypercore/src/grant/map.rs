//! `GNTTABOP_map_grant_ref`.

use super::Status;
use super::entry::{pin, unpin};
use super::maptrack::{Mapping, Place};
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::Machine;
use crate::mm::grants::Near;
use crate::refuse;
use crate::xen::Cx;
use abi::grant_table::*;

/// Does one element and fills in its results.
pub fn map<'a, M: Machine>(cx: &mut Cx<'a, M>, near: &mut Near<'a, M>, op: &mut GnttabMapGrantRef) {
    match try_map(cx, near, op) {
        Ok((handle, mfn)) => {
            op.status = GNTST_OKAY;
            op.handle = handle;
            op.dev_bus_addr = mfn.0 << 12;
        }
        Err(status) => op.status = status,
    }
}

fn try_map<'a, M: Machine>(
    cx: &mut Cx<'a, M>,
    near: &mut Near<'a, M>,
    op: &GnttabMapGrantRef,
) -> Result<(u32, Mfn), Status> {
    let (host, device) = (op.flags & GNTMAP_HOST_MAP != 0, op.flags & GNTMAP_DEVICE_MAP != 0);
    if !host && !device {
        let e = GNTST_BAD_GNTREF;
        return Err(refuse!(cx.xen, e, "flags {:x}: neither a host nor a device mapping", op.flags));
    }
    let none = || refuse!(cx.xen, GNTST_BAD_DOMAIN, "there is no domain {}", op.dom);
    let granter = cx.xen.domains.get(DomId(op.dom)).ok_or_else(none)?;
    // A dying domain gains no mapping. One that starts to die now is torn down only after this call.
    if !cx.dom.is_alive() {
        return Err(refuse!(cx.xen, GNTST_GENERAL_ERROR, "the caller is being destroyed"));
    }
    let full = || {
        let e = GNTST_NO_DEVICE_SPACE;
        let most = cx.dom.grants.maptrack.limit();
        refuse!(cx.xen, e, "all {} mappings the domain may hold are there, or the heap is full", most)
    };
    let handle = cx.dom.grants.maptrack.take().ok_or_else(full)?;
    let made = make(cx, near, op, granter, host, device);
    match made {
        Ok(mapping) => {
            let mfn = mapping.pin.mfn();
            cx.dom.grants.maptrack.set(handle, mapping);
            Ok((handle, mfn))
        }
        Err(status) => {
            cx.dom.grants.maptrack.give(handle);
            Err(status)
        }
    }
}

/// Pins the entry, and maps its frame where the guest wants it.
fn make<'a, M: Machine>(
    cx: &mut Cx<'a, M>,
    near: &mut Near<'a, M>,
    op: &GnttabMapGrantRef,
    granter: alloc::sync::Arc<crate::domain::Domain>,
    host: bool,
    device: bool,
) -> Result<Mapping, Status> {
    let gref = GrantRef(op.ref_);
    let write = op.flags & GNTMAP_READONLY == 0;
    let pin = pin(cx.xen, &granter, gref, cx.dom, write)?;
    let host = host.then_some(if op.flags & GNTMAP_CONTAINS_PTE != 0 {
        Place::Pte(op.host_addr)
    } else {
        Place::Va(op.host_addr)
    });
    if let Some(place) = host
        && let Err(status) = super::host::install(cx, near, place, &pin, op.flags)
    {
        drop(pin);
        unpin(cx.xen, &granter, gref, write);
        return Err(status);
    }
    Ok(Mapping { granter, gref, host, device, pin })
}
