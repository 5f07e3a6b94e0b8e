//! Dispatch: one match from hypercall number to handler. The table of `ARCHITECTURE.md` mirrors it.

use crate::machine::Machine;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::xen::*;

/// Runs hypercall `nr` with `args` (RDI, RSI, RDX, R10, R8, R9).
pub fn dispatch<M: Machine>(cx: &mut Cx<'_, M>, nr: u32, args: &[u64; 6]) -> HcResult {
    let _ = (cx, args);
    match nr {
        _ => Err(Errno::ENOSYS.into()),
    }
}
