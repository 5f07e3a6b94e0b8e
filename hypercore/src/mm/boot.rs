//! What domain builders need: a root for a vCPU out of tables they wrote.

use super::{Fail, Pt, R, base, pin};
use crate::domain::Domain;
use crate::ids::Mfn;
use crate::machine::Machine;
use crate::vcpu::Vcpu;
use crate::xen::Xen;
use abi::Errno;

/// Repeats what can be interrupted, for callers that nothing waits for.
fn to_the_end<T>(mut f: impl FnMut() -> R<T>) -> Result<T, Errno> {
    loop {
        match f() {
            Ok(t) => return Ok(t),
            Err(Fail::Again) => {}
            Err(Fail::Errno(e)) => return Err(e),
        }
    }
}

/// Pins a domain's L4, validating the whole tree.
pub fn pin_l4<M: Machine>(xen: &Xen<M>, dom: &Domain, mfn: Mfn) -> Result<(), Errno> {
    let pt = Pt::own(xen, dom);
    to_the_end(|| pin(&pt, mfn, 4))
}

/// Makes `root`, the builder's L4, pinned and the kernel tables of a vCPU that has not run.
pub fn set_root<M: Machine>(xen: &Xen<M>, dom: &Domain, v: &Vcpu, root: Mfn) -> Result<(), Errno> {
    pin_l4(xen, dom, root)?;
    to_the_end(|| base::set_cr3(xen, dom, v, true, Some(root)))
}
