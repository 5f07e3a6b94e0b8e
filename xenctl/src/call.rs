//! [`Xen`]: one hypercall with its argument, and the reason when it is refused.
//!
//! A call goes out as the first entry of a multicall whose second asks for the reason (`abi::xenolith`), so that nothing
//! comes between the two. A Xen answers the second with ENOSYS, and the error has no reason then. Multicall entries also
//! carry 64-bit answers, which the device's own answer has no room for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use abi::Errno;
use abi::xen::{HYPERVISOR_MULTICALL, MulticallEntry};
use abi::xenolith::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::DomId;
use crate::error::{Error, Result};
use crate::gate::{Gate, Memory};
use crate::linux::Privcmd;

pub(crate) const PAGE: usize = 4096;
/// Pages kept for the next call.
const KEPT: usize = 8;

/// Where things stand in a call's page: the two entries, the reason, the argument.
const WHY_AT: usize = 2 * size_of::<MulticallEntry>();
const ARGUMENT_AT: usize = WHY_AT + size_of::<XenolithWhy>();

/// The hypervisor, as a privileged domain's tools reach it.
pub struct Xen {
    gate: Box<dyn Gate>,
    spare: Mutex<Vec<Box<dyn Memory>>>,
}

/// How a call is told what to do.
#[derive(Clone, Copy)]
pub(crate) enum Command {
    /// By its first register; the argument's address is the second, null if the argument is empty.
    Register(u32),
    /// By the argument, whose address is the only register.
    Argument(u32),
    /// By the argument, a list of one element, which concerns `domain`.
    Batch { number: u32, domain: DomId },
}

impl Xen {
    /// Of the domain that runs this program.
    pub fn open() -> Result<Self> {
        Ok(Self::through(Privcmd::open()?))
    }

    /// As reached through `gate`.
    pub fn through(gate: impl Gate + 'static) -> Self {
        Self { gate: Box::new(gate), spare: Mutex::default() }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Box<dyn Memory>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames of `domain`, one page after the other: all of them, or none.
    pub fn frames(&self, domain: DomId, frames: &[u64], writable: bool) -> Result<Box<dyn Memory>> {
        self.gate.frames(domain, frames, writable)
    }

    /// Page `first` of the domain's grant table of version 1, which need not be there yet.
    pub fn grant_table(&self, domain: DomId, first: u32) -> Result<Box<dyn Memory>> {
        self.gate.grant_table(domain, first)
    }

    /// Memory for what a call reads or writes beside its argument: at least `bytes` bytes. What is in it is left from
    /// earlier calls.
    pub fn buffer(&self, bytes: usize) -> Result<Buffer<'_>> {
        let kept = if bytes <= PAGE { self.spare().pop() } else { None };
        let memory = match kept {
            Some(memory) => memory,
            None => {
                let failed = |e| Error::new(format!("making room for a hypercall's {bytes} bytes"), e);
                self.gate.memory(bytes.max(1)).map_err(failed)?
            }
        };
        Ok(Buffer { xen: self, memory: Some(memory) })
    }

    /// A call whose argument is `argument`, which is what the hypervisor left there afterwards. Answers the call's result.
    pub(crate) fn call<T>(
        &self,
        doing: impl FnOnce() -> String,
        op: u32,
        command: Command,
        argument: &mut T,
    ) -> Result<u64>
    where
        T: FromBytes + IntoBytes + Immutable + ?Sized,
    {
        match self.try_call(op, command, argument) {
            Ok(answer) => Ok(answer),
            Err(mut error) => {
                error.doing = doing();
                Err(error)
            }
        }
    }

    fn try_call<T>(&self, op: u32, command: Command, argument: &mut T) -> Result<u64>
    where
        T: FromBytes + IntoBytes + Immutable + ?Sized,
    {
        let bytes = size_of_val(argument);
        let mut page = self.buffer(ARGUMENT_AT + bytes)?;
        let at = page.address();
        let (number, args) = match command {
            // Some commands without an argument insist on none.
            Command::Register(number) if bytes == 0 => (number, [number.into(), 0, 0, 0, 0, 0]),
            Command::Register(number) => (number, [number.into(), at + ARGUMENT_AT as u64, 0, 0, 0, 0]),
            Command::Argument(number) => (number, [at + ARGUMENT_AT as u64, 0, 0, 0, 0, 0]),
            Command::Batch { number, domain } => {
                (number, [at + ARGUMENT_AT as u64, 1, 0, domain.0.into(), 0, 0])
            }
        };
        let why = [XENOLITH_WHY.into(), at + WHY_AT as u64, 0, 0, 0, 0];
        let asked = XenolithWhy { vcpu: XENOLITH_WHY_THIS_VCPU, ..Default::default() };
        let entries = [(op, args), (HYPERVISOR_XENOLITH_OP, why)].map(|(op, args)| MulticallEntry {
            op: op.into(),
            result: 0,
            args,
        });
        page.put(0, &entries);
        page.put(WHY_AT, &asked);
        page.write(ARGUMENT_AT, argument.as_bytes());
        let refused = |e| Error::new("", e);
        self.gate.hypercall(HYPERVISOR_MULTICALL, [at, 2, 0, 0, 0]).map_err(refused)?;
        page.read(ARGUMENT_AT, argument.as_mut_bytes());
        let [call, why]: [MulticallEntry; 2] = page.get(0);
        let Some(errno) = Errno::from_ret(call.result) else { return Ok(call.result) };
        let mut error = Error::new("", errno);
        if why.result == 0 {
            error.why = reason(&page.get(WHY_AT), op, number, errno);
        }
        Err(error)
    }
}

/// The words of a refusal, if it is the one of this call and a reason was noted: refusals that say that a list has
/// ended are not kept, and the latest is an older one then.
fn reason(why: &XenolithWhy, op: u32, command: u32, errno: Errno) -> Option<String> {
    let this = why.hypercall == op && why.command == command && why.error == errno.negated();
    if !this || why.links == 0 {
        return None;
    }
    let end = why.text.iter().position(|b| *b == 0).unwrap_or(why.text.len());
    let text = String::from_utf8_lossy(&why.text[..end]);
    // The call and the errno's name come first.
    text.splitn(3, ": ").nth(2).map(str::to_owned)
}

/// [`Memory`] that goes back to its [`Xen`].
pub struct Buffer<'x> {
    xen: &'x Xen,
    memory: Option<Box<dyn Memory>>,
}

impl Buffer<'_> {
    fn memory(&self) -> &dyn Memory {
        self.memory.as_deref().expect("only dropping takes it")
    }

    pub fn address(&self) -> u64 {
        self.memory().address()
    }

    /// Bytes there is room for: at least as many as were asked for.
    pub fn len(&self) -> usize {
        self.memory().len()
    }

    pub fn is_empty(&self) -> bool {
        self.memory().is_empty()
    }

    pub fn read(&self, at: usize, to: &mut [u8]) {
        self.memory().read(at, to);
    }

    pub fn write(&mut self, at: usize, from: &[u8]) {
        self.memory.as_deref_mut().expect("only dropping takes it").write(at, from);
    }

    pub fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, at: usize, value: &T) {
        self.write(at, value.as_bytes());
    }

    pub fn get<T: FromBytes + IntoBytes>(&self, at: usize) -> T {
        let mut value = T::new_zeroed();
        self.read(at, value.as_mut_bytes());
        value
    }

    /// `count` values from the beginning.
    pub fn list<T: FromBytes + IntoBytes>(&self, count: usize) -> Vec<T> {
        (0..count).map(|n| self.get(n * size_of::<T>())).collect()
    }

    /// Zeroes in the first `bytes` bytes.
    pub fn clear(&mut self, bytes: usize) {
        self.write(0, &vec![0; bytes]);
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take()
            && memory.len() == PAGE
        {
            let mut spare = self.xen.spare();
            if spare.len() < KEPT {
                spare.push(memory);
            }
        }
    }
}
