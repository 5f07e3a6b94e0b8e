//! getdomaininfolist.

use super::{Call, OpResult};
use crate::domctl::info;
use crate::guest;
use crate::ids::DomId;
use crate::machine::Machine;
use crate::xen::Cx;
use abi::Errno;
use abi::sysctl::SysctlGetdomaininfolist;

/// As many domains from `first_domain` on as there is room for.
pub(super) fn list<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut l: SysctlGetdomaininfolist = call.get();
    let mut n = 0;
    let mut next = DomId(l.first_domain);
    while n < l.max_domains {
        let Some(dom) = cx.xen.domains.at_or_above(next) else { break };
        next = DomId(dom.id.0 + 1);
        let info = info::describe(cx.xen, &dom);
        guest::write_at(&cx.xen.m, l.buffer.addr(), n.into(), &info).map_err(|_| Errno::EFAULT)?;
        n += 1;
    }
    l.num_domains = n;
    call.put(&cx.xen.m, &l)
}
