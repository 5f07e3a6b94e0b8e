//! The state, written down before it is changed: a snapshot and every entry since, in memory that outlives the process.
//!
//! One word of the region says where both begin, how long they are and whether the last entry's bytes are still being taken
//! from their socket. It is stored once an entry stands there whole: before that nothing has happened.

use std::io;

use anyhow::{Context, Result};
use keeper::{Came, Life, intake};
use xenstore::state::{Entry, INPUT_HEAD, Link, State, input_head};
use xenstore::wire::MESSAGE_MAX;
use xenstore::{ConnId, Store};

/// Words of the region: the one above; descriptors, one more than they are; steps taken, for tests.
const CURRENT: usize = 0;
pub const LISTENER: usize = 8;
pub const EXCEPTIONS: usize = 16;
const STEPS: usize = 24;
/// Where the first snapshot may begin. Snapshots begin at multiples of it.
const UNIT: usize = 4096;
/// Bytes of entries after which a snapshot is taken: at least so many, and as often what the snapshot has.
const JOURNAL: usize = 256 << 10;
const OFTEN: usize = 4;
/// Bytes that are received at once.
const RECEIVED: usize = 2 * MESSAGE_MAX;

/// Kills this process at every so many of its steps, where tests say so.
const DIES: &str = "XENSTORED_DIES_EVERY";

pub struct Memory {
    pub life: Life,
    pub state: State,
    /// In the region: where the snapshot is, where the entries behind it begin and end.
    base: usize,
    entries: usize,
    end: usize,
    scratch: Vec<u8>,
    dies: u64,
}

impl Memory {
    /// What the life before left, or a new `store`.
    pub fn new(life: Life, store: impl FnOnce() -> Store) -> Result<Self> {
        let dies = match std::env::var(DIES) {
            Ok(steps) if cfg!(debug_assertions) => steps.parse().context(DIES)?,
            _ => 0,
        };
        let current = if life.region.len() < UNIT { 0 } else { life.region.published(CURRENT) };
        let state = State::new(store());
        let mut memory = Self { life, state, base: 0, entries: 0, end: 0, scratch: Vec::new(), dies };
        if current == 0 {
            memory.snapshot().context("memory for the state")?;
            return Ok(memory);
        }
        memory.base = (current >> 40) as usize * UNIT;
        memory.end = memory.base + (current << 24 >> 25) as usize;
        memory.restore().context("the state of the life before cannot be read")?;
        memory.settle(current & 1 == 1)?;
        Ok(memory)
    }

    /// The snapshot, and the entries behind it once more.
    fn restore(&mut self) -> Option<()> {
        let kept = self.life.region.bytes().get(self.base..self.end)?;
        let (len, kept) = kept.split_first_chunk()?;
        let (snapshot, mut entries) = kept.split_at_checked(u64::from_le_bytes(*len) as usize)?;
        self.state = State::restore(snapshot)?;
        self.entries = self.end - entries.len();
        while let Some((entry, len)) = Entry::first(entries) {
            self.state.apply(&entry);
            entries = &entries[len..];
        }
        // What they said about messages was for the life before.
        drop(self.state.store.take_trace());
        entries.is_empty().then_some(())
    }

    /// The last input is taken from its socket, where that was not over; of all others nothing has been looked at.
    fn settle(&mut self, taking: bool) -> Result<()> {
        if taking {
            let mut rest = &self.life.region.bytes()[self.entries..self.end];
            let mut last = None;
            while let Some((entry, len)) = Entry::first(rest) {
                last = if let Entry::Input { conn, .. } = entry { Some(conn) } else { None };
                rest = &rest[len..];
            }
            let link = last.and_then(|conn| self.state.link(conn));
            if let Some(&Link::Socket { socket, .. }) = link
                && let Some(socket) = self.life.borrow(socket)
            {
                intake::finish(socket).context("taking what was received")?;
            }
        }
        self.publish(false);
        Ok(())
    }

    /// Writes an entry down and does what it says.
    ///
    /// # Errors
    /// Where there is no memory for it; nothing has happened then.
    pub fn apply(&mut self, entry: &Entry<'_>) -> Result<Option<ConnId>> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let bytes = entry.write(bytes);
        self.room(bytes.len())?;
        self.life.region.bytes_mut()[self.end..self.end + bytes.len()].copy_from_slice(&bytes);
        self.end += bytes.len();
        self.scratch = bytes;
        self.step();
        self.publish(false);
        self.step();
        Ok(self.state.apply(entry))
    }

    /// Receives from a socket, and does what that asks for.
    ///
    /// # Errors
    /// Where there is no memory for it; a socket that cannot be read has ended.
    pub fn receive(&mut self, conn: ConnId, socket: impl std::os::fd::AsFd) -> Result<Came> {
        self.room(INPUT_HEAD + RECEIVED)?;
        let at = self.end + INPUT_HEAD;
        let into = &mut self.life.region.bytes_mut()[at..at + RECEIVED];
        let seen = match intake::look(&socket, into) {
            Ok(seen) if seen.came == Came::Some => seen,
            Ok(seen) => return Ok(seen.came),
            Err(_) => return Ok(Came::Ended),
        };
        self.step();
        let head = input_head(conn, seen.len);
        self.life.region.bytes_mut()[self.end..at].copy_from_slice(&head);
        self.end = at + seen.len;
        self.publish(true);
        self.step();
        let took = intake::take(&socket, seen.len);
        self.step();
        self.publish(false);
        self.step();
        self.state.apply(&Entry::Input { conn, bytes: &self.life.region.bytes()[at..self.end] });
        Ok(if took.is_ok() { Came::Some } else { Came::Ended })
    }

    /// Takes a snapshot where there have been enough entries since the last one.
    ///
    /// # Errors
    /// Where there is no memory for it; the last one and its entries stay.
    pub fn tidy(&mut self) -> Result<()> {
        let snapshot = self.entries - self.base;
        if self.end - self.entries > JOURNAL.max(OFTEN * snapshot) {
            self.snapshot().context("memory for a snapshot")?;
        }
        Ok(())
    }

    /// In the room before what there is, if it fits there, or else behind it.
    fn snapshot(&mut self) -> io::Result<()> {
        let snapshot = self.state.snapshot();
        let need = 8 + snapshot.len() + JOURNAL.max(OFTEN * snapshot.len());
        let first = self.base >= UNIT + need || self.base == 0;
        let base = if first { UNIT } else { self.end.next_multiple_of(UNIT) };
        let region = &mut self.life.region;
        if region.len() < base + need {
            region.resize((base + need).next_multiple_of(UNIT))?;
        }
        let bytes = &mut region.bytes_mut()[base..];
        bytes[..8].copy_from_slice(&(snapshot.len() as u64).to_le_bytes());
        bytes[8..8 + snapshot.len()].copy_from_slice(&snapshot);
        self.base = base;
        self.entries = base + 8 + snapshot.len();
        self.end = self.entries;
        self.step();
        self.publish(false);
        self.step();
        let region = &mut self.life.region;
        if first && region.len() > 2 * (base + need) {
            region.resize((base + need).next_multiple_of(UNIT))?;
        }
        Ok(())
    }

    fn room(&mut self, bytes: usize) -> Result<()> {
        let region = &mut self.life.region;
        if region.len() < self.end + bytes {
            region.resize(self.end + bytes + JOURNAL).context("memory for what is received")?;
        }
        Ok(())
    }

    fn publish(&mut self, taking: bool) {
        let (base, len) = ((self.base / UNIT) as u64, (self.end - self.base) as u64);
        self.life.region.publish(CURRENT, base << 40 | len << 1 | u64::from(taking));
    }

    /// A descriptor that is recorded under a word; 0 where none is.
    pub fn recorded(&mut self, word: usize) -> i32 {
        self.life.region.published(word) as i32 - 1
    }

    pub fn record(&mut self, word: usize, number: i32) {
        self.life.region.publish(word, number as u64 + 1);
    }

    /// Between any two things that are done: perhaps the last one of this life.
    pub fn step(&mut self) {
        if cfg!(debug_assertions) && self.dies != 0 {
            let steps = self.life.region.published(STEPS) + 1;
            self.life.region.publish(STEPS, steps);
            if steps.is_multiple_of(self.dies) {
                let _ =
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
        }
    }
}
