//! What is kept of each console in the memory that outlives the daemon: a *slot* of words, input on its way, and output.
//!
//! A word is one store: everything that must change together is packed into one.

use keeper::Region;

/// Bytes of output that are kept for a terminal nobody reads. A power of two, for positions run freely.
pub const BACKLOG: usize = 1 << 20;
/// Bytes of input that are on their way to the guest.
pub const INPUT: usize = 1024;
/// Bytes of a slot's words and its input.
const HEAD: usize = 4096;
const INPUT_AT: usize = 2048;
/// Bytes of a slot.
pub const SLOT: usize = HEAD + BACKLOG;
/// Bytes before the first slot.
pub const FIRST: usize = 4096;

/// A word of a slot.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub enum Word {
    /// One more than the domain's number; 0: the slot is free.
    Domain,
    /// The local port of its event channel.
    Port,
    /// Descriptors, one more than they are: the event channels' device, the terminal's two sides, the pipe to it and the pipe from it.
    Channel,
    Master,
    Slave,
    Outlet,
    OutletInto,
    Inlet,
    InletInto,
    /// Position up to which the guest's output is in the backlog.
    Taken,
    /// [`Shown`].
    Shown,
    /// [`Logged`].
    Logged,
    /// Bytes of the log when what [`Logged`] says began.
    LogLen,
    /// [`Given`].
    Given,
    /// While input is taken from the pipe: one more than the pipe held before.
    Hearing,
}

/// Output that the terminal has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shown {
    pub position: u32,
    /// While more is being put into the pipe: one more than the pipe held before.
    pub putting: u32,
}

/// Output that the log has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Logged {
    pub position: u32,
    /// While more is written: how much.
    pub writing: u32,
}

/// Input that the guest has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Given {
    pub in_prod: u32,
    /// Of the slot's input, from where to where it has not been given.
    pub from: u16,
    pub to: u16,
}

impl From<u64> for Shown {
    fn from(word: u64) -> Self {
        Self { position: (word >> 32) as u32, putting: word as u32 }
    }
}

impl From<Shown> for u64 {
    fn from(shown: Shown) -> u64 {
        u64::from(shown.position) << 32 | u64::from(shown.putting)
    }
}

impl From<u64> for Logged {
    fn from(word: u64) -> Self {
        Self { position: (word >> 32) as u32, writing: word as u32 }
    }
}

impl From<Logged> for u64 {
    fn from(logged: Logged) -> u64 {
        u64::from(logged.position) << 32 | u64::from(logged.writing)
    }
}

impl From<u64> for Given {
    fn from(word: u64) -> Self {
        Self { in_prod: (word >> 32) as u32, from: (word >> 16) as u16, to: word as u16 }
    }
}

impl From<Given> for u64 {
    fn from(given: Given) -> u64 {
        u64::from(given.in_prod) << 32 | u64::from(given.from) << 16 | u64::from(given.to)
    }
}

/// One slot of the region.
pub struct Record<'a> {
    region: &'a mut Region,
    base: usize,
}

impl<'a> Record<'a> {
    pub fn new(region: &'a mut Region, slot: usize) -> Self {
        Self { base: FIRST + slot * SLOT, region }
    }

    pub fn get<T: From<u64>>(&self, word: Word) -> T {
        self.region.published(self.base + 8 * word as usize).into()
    }

    pub fn set(&mut self, word: Word, value: impl Into<u64>) {
        step();
        self.region.publish(self.base + 8 * word as usize, value.into());
        step();
    }

    /// Everything of the slot to zero but that it is free, and then that.
    pub fn clear(&mut self) {
        self.set(Word::Domain, 0_u64);
        let base = self.base;
        self.region.bytes_mut()[base..base + INPUT_AT].fill(0);
    }

    pub fn input(&mut self) -> &mut [u8] {
        let at = self.base + INPUT_AT;
        &mut self.region.bytes_mut()[at..at + INPUT]
    }

    /// The backlog from `position` on, up to its end or `len` bytes.
    pub fn backlog(&mut self, position: u32, len: usize) -> &mut [u8] {
        let from = position as usize % BACKLOG;
        let to = BACKLOG.min(from + len);
        let at = self.base + HEAD;
        &mut self.region.bytes_mut()[at + from..at + to]
    }
}

/// The number of slots that a region has.
pub fn slots(region: &Region) -> usize {
    region.len().saturating_sub(FIRST) / SLOT
}

#[cfg(not(test))]
pub fn step() {}

#[cfg(test)]
pub use steps::step;

/// Tests end a life between any two steps.
#[cfg(test)]
pub mod steps {
    use std::cell::Cell;

    thread_local!(static LEFT: Cell<u32> = const { Cell::new(u32::MAX) });

    /// The thread panics at the step after so many.
    pub fn allow(steps: u32) {
        LEFT.set(steps);
    }

    pub fn step() {
        let left = LEFT.get();
        LEFT.set(left.wrapping_sub(1));
        assert!(left != 0, "killed");
    }
}
