//! max_mem, getpageframeinfo3, hypercall_init, set_address_size.

use super::{Call, DONE, OpResult, Outcome, not_self};
use crate::dom0::hypercall_page;
use crate::domain::Domain;
use crate::frame::record::B;
use crate::guest;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::mm;
use crate::refuse;
use crate::xen::Cx;
use abi::Errno;
use abi::domctl::*;

/// Most frames asked about in one call.
const MAX_INFO: u64 = 1024;

pub(super) fn max_mem(dom: &Domain, call: &Call) -> OpResult {
    let m: DomctlMaxMem = call.get();
    dom.memory.set_max_pages(u32::try_from(m.max_memkb >> 2).unwrap_or(u32::MAX));
    DONE
}

/// What each frame of a list is used as. E2BIG: more than 1024.
pub(super) fn get_page_frame_info<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let fault = |_| Errno::EFAULT;
    let p: DomctlGetpageframeinfo3 = call.get();
    if p.num > MAX_INFO {
        return Err(refuse!(cx.xen, Errno::E2BIG, "{} frames, at most {} at once", p.num, MAX_INFO));
    }
    let m = &cx.xen.m;
    for i in 0..p.num {
        let mfn: u64 = guest::read_at(m, p.array.addr(), i).map_err(fault)?;
        let kind = match cx.xen.frames.get(Mfn(mfn), dom.id) {
            None => XEN_DOMCTL_PFINFO_XTAB,
            Some(f) => cx.xen.frames.peek(f.mfn()).map_or(XEN_DOMCTL_PFINFO_XTAB, |(_, b)| kind(b)),
        };
        guest::write_at(m, p.array.addr(), i, &u64::from(kind)).map_err(fault)?;
    }
    DONE
}

fn kind(b: B) -> u32 {
    let table = match b.kind().level() {
        Some(level) if b.count() != 0 => u32::from(level) << XEN_DOMCTL_PFINFO_LTAB_SHIFT,
        _ => XEN_DOMCTL_PFINFO_NOTAB,
    };
    table | if b.has(B::PINNED) { XEN_DOMCTL_PFINFO_LPINTAB } else { 0 }
}

/// Fills a page of the guest with stubs for each hypercall. EACCES: not a writable frame of the domain.
pub(super) fn hypercall_init<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let h: DomctlHypercallInit = call.get();
    let frame = cx
        .xen
        .frames
        .get(Mfn(h.gmfn), dom.id)
        .ok_or_else(|| refuse!(cx.xen, Errno::EACCES, "frame {:x} is not the domain's", h.gmfn))?;
    let page = match mm::types::get_writable(cx.xen, frame) {
        Ok(page) => page,
        Err(mm::Fail::Again) => return Ok(Outcome::Again),
        Err(mm::Fail::Errno(_)) => {
            return Err(refuse!(cx.xen, Errno::EACCES, "frame {:x} is a table: it is not written", h.gmfn));
        }
    };
    cx.xen.m.write(&page, 0, &hypercall_page::contents());
    DONE
}

/// 64-bit PV is all there is: EOPNOTSUPP for 32.
pub(super) fn set_address_size<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let a: DomctlAddressSize = call.get();
    not_self(cx, dom)?;
    match a.size {
        64 => DONE,
        32 => Err(refuse!(cx.xen, Errno::EOPNOTSUPP, "32-bit PV is not built in")),
        size => Err(refuse!(cx.xen, Errno::EINVAL, "an address has 64 bits, not {}", size)),
    }
}
