//! The state, written down before it is changed: a snapshot and every entry since, in memory that outlives the process.
//!
//! One word of the region says where both begin and how long they are. It is stored once an entry stands there whole: before
//! that nothing has happened.

use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use keeper::intake::{self, Seen};
use keeper::{Came, Life};
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
pub const RECEIVED: usize = 2 * MESSAGE_MAX;
/// Bytes that stay in a socket at the most.
const TAKEN: u32 = 2048;

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
        memory.end = memory.base + (current << 24 >> 24) as usize;
        memory.restore().context("the state of the life before cannot be read")?;
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
        self.publish();
        self.step();
        Ok(self.state.apply(entry))
    }

    /// Receives from a socket, and does what that asks for.
    ///
    /// # Errors
    /// Where there is no memory for it; a socket that cannot be read has ended.
    pub fn receive(&mut self, conn: ConnId, socket: impl AsFd) -> Result<Seen> {
        self.room(INPUT_HEAD + RECEIVED)?;
        let at = self.end + INPUT_HEAD;
        let into = &mut self.life.region.bytes_mut()[at..at + RECEIVED];
        let seen = intake::look(&socket, into).unwrap_or(Seen { came: Came::Ended, len: 0 });
        if seen.came != Came::Some {
            return Ok(seen);
        }
        self.step();
        let head = input_head(conn, seen.len);
        self.life.region.bytes_mut()[self.end..at].copy_from_slice(&head);
        self.end = at + seen.len;
        self.publish();
        self.step();
        self.state.apply(&Entry::Input { conn, bytes: &self.life.region.bytes()[at..self.end] });
        if self.untaken(conn) > TAKEN {
            self.take(conn, socket)?;
        }
        Ok(seen)
    }

    /// Takes what has come out of its socket, where it was only looked at.
    ///
    /// # Errors
    /// As for the entry that says so.
    pub fn take(&mut self, conn: ConnId, socket: impl AsFd) -> Result<()> {
        let count = self.untaken(conn);
        if count > 0 && intake::take(socket, count as usize).is_ok() {
            self.step();
            self.apply(&Entry::Took { conn, count })?;
        }
        Ok(())
    }

    fn untaken(&self, conn: ConnId) -> u32 {
        match self.state.link(conn) {
            Some(&Link::Socket { untaken, .. }) => untaken,
            _ => 0,
        }
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
        self.publish();
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

    fn publish(&mut self) {
        let (base, len) = ((self.base / UNIT) as u64, (self.end - self.base) as u64);
        self.life.region.publish(CURRENT, base << 40 | len);
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
