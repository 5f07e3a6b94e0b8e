//! [`Gate`]: the way to the hypervisor, the memory in which it finds arguments, and other domains' memory.

use abi::Errno;

use crate::DomId;

/// Memory that others read and write too: the hypervisor while a call runs, or the domain whose it is. It stands still:
/// no page of it is ever absent.
pub trait Memory: Send + Sync {
    /// Where the hypervisor finds it.
    fn address(&self) -> u64;
    /// Bytes.
    fn len(&self) -> usize;
    /// Copies out of it; `at` and the length are inside.
    fn read(&self, at: usize, to: &mut [u8]);
    /// Copies into it; `at` and the length are inside.
    fn write(&self, at: usize, from: &[u8]);

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How hypercalls are made.
pub trait Gate: Send + Sync {
    /// A hypercall; a negative answer as the error.
    fn hypercall(&self, op: u32, args: [u64; 5]) -> Result<u64, Errno>;
    /// At least this many bytes, in whole pages, of zeroes.
    fn memory(&self, bytes: usize) -> Result<Box<dyn Memory>, Errno>;
    /// Frames of another domain.
    fn frames(&self, domain: DomId, frames: &[u64], writable: bool) -> crate::Result<Box<dyn Memory>>;
    /// A page of another domain's grant table.
    fn grant_table(&self, domain: DomId, page: u32) -> crate::Result<Box<dyn Memory>>;
}
