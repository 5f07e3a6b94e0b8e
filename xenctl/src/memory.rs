//! `memory_op`: what tools ask of memory.

use abi::memory::*;
use abi::xen::HYPERVISOR_MEMORY_OP;

use crate::call::{Command, Xen};
use crate::error::Result;

impl Xen {
    fn sharing(&self, cmd: u32) -> Result<u64> {
        let doing = || "asking how much memory is shared".into();
        self.call(doing, HYPERVISOR_MEMORY_OP, Command::Register(cmd), &mut [0u8; 0])
    }

    /// Pages that sharing has made free.
    pub fn sharing_freed_pages(&self) -> Result<u64> {
        self.sharing(XENMEM_GET_SHARING_FREED_PAGES)
    }

    /// Pages that several domains share.
    pub fn sharing_used_pages(&self) -> Result<u64> {
        self.sharing(XENMEM_GET_SHARING_SHARED_PAGES)
    }
}
