//! [`Gate`]: the way to the hypervisor, and the memory in which it finds arguments.

use abi::Errno;

/// Memory that the hypervisor reads and writes while a call runs. It stands still: no page of it is ever absent.
pub trait Memory: Send {
    /// Where the hypervisor finds it.
    fn address(&self) -> u64;
    /// Bytes.
    fn len(&self) -> usize;
    /// Copies out of it; `at` and the length are inside.
    fn read(&self, at: usize, to: &mut [u8]);
    /// Copies into it; `at` and the length are inside.
    fn write(&mut self, at: usize, from: &[u8]);

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
}
