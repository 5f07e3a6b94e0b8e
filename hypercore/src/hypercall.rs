//! Dispatch: one match from hypercall number to handler. The table of `ARCHITECTURE.md` mirrors it.

use crate::machine::Machine;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::xen::*;

/// Runs hypercall `nr` with `args` (RDI, RSI, RDX, R10, R8, R9).
pub fn dispatch<M: Machine>(cx: &mut Cx<'_, M>, nr: u32, args: &[u64; 6]) -> HcResult {
    match nr {
        HYPERVISOR_MEMORY_OP => crate::memory::memory_op(cx, args[0], args[1]),
        HYPERVISOR_EVENT_CHANNEL_OP => crate::event::event_channel_op(cx, args[0], args[1]),
        HYPERVISOR_EVENT_CHANNEL_OP_COMPAT => crate::event::event_channel_op_compat(cx, args[0]),
        _ => Err(Errno::ENOSYS.into()),
    }
}
