//! A guest's console: output from its ring to the terminal and the log, input from the terminal to its ring.
//!
//! Output is taken from the guest as soon as it is there, so that a guest never waits for a person. What the terminal does not
//! take is kept in the slot, the newest of it. Each step leaves the slot such that the next life goes on behind it:
//! the guest's indexes follow the slot's, never the other way round.

use std::io;
use std::ops::Deref;

use keeper::{Inlet, Outlet, Passed, Region};
use xenctl::Mapping;

use crate::log::Log;
use crate::record::{BACKLOG, Given, INPUT, Logged, Record, Shown, Word, step};
use crate::ring::{IN, OUT};
use crate::terminal::Terminal;

/// Bytes that go into the pipe to the terminal at once.
const CHUNK: usize = 4096;

/// A console at work.
pub struct Console<P> {
    pub page: P,
    pub slot: usize,
    pub terminal: Terminal,
    pub outlet: Outlet,
    pub inlet: Inlet,
    pub log: Option<Log>,
    /// Bytes kept for a terminal that nobody reads, at most [`BACKLOG`].
    pub limit: usize,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Turn {
    /// The guest waits to hear that its ring has changed.
    pub notify: bool,
    /// The terminal takes no more for now.
    pub full: bool,
    /// More could be done at once.
    pub more: bool,
}

impl<P: Deref<Target = Mapping>> Console<P> {
    /// Begins with a guest's ring as it is.
    pub fn begin(&self, region: &mut Region) {
        let mut record = Record::new(region, self.slot);
        let ((out_cons, _), (_, in_prod)) = (OUT.indexes(&self.page), IN.indexes(&self.page));
        record.set(Word::Taken, out_cons);
        record.set(Word::Shown, Shown { position: out_cons, putting: 0 });
        record.set(Word::Logged, Logged { position: out_cons, writing: 0 });
        record.set(Word::Given, Given { in_prod, from: 0, to: 0 });
    }

    /// Finishes what the life before was doing.
    ///
    /// # Errors
    /// As the system calls that ask for it.
    pub fn settle(&mut self, region: &mut Region) -> io::Result<()> {
        let mut record = Record::new(region, self.slot);
        let shown: Shown = record.get(Word::Shown);
        if shown.putting != 0 {
            let put = self.outlet.held()? as u32 - (shown.putting - 1);
            record.set(Word::Shown, Shown { position: shown.position.wrapping_add(put), putting: 0 });
        }
        let logged: Logged = record.get(Word::Logged);
        if logged.writing != 0 {
            let before: u64 = record.get(Word::LogLen);
            let wrote = self.log.as_ref().map_or(Ok(before), Log::len)? != before;
            let done = if wrote { logged.writing } else { 0 };
            record.set(Word::Logged, Logged { position: logged.position.wrapping_add(done), writing: 0 });
        }
        let hearing: u64 = record.get(Word::Hearing);
        if hearing != 0 {
            let heard = hearing - 1 - self.inlet.held()? as u64;
            let given: Given = record.get(Word::Given);
            record.set(Word::Given, Given { from: 0, to: heard as u16, ..given });
            record.set(Word::Hearing, 0_u64);
        }
        self.tell(&record);
        Ok(())
    }

    /// Whether input could be taken from the terminal: none is on its way.
    pub fn hears(&self, region: &mut Region) -> bool {
        let given: Given = Record::new(region, self.slot).get(Word::Given);
        given.from == given.to
    }

    /// Does once what can be done. With `wait` the guest waits where the terminal is too far behind; else the oldest output is
    /// dropped.
    ///
    /// # Errors
    /// As the system calls used; the console can go on after them.
    pub fn turn(&mut self, region: &mut Region, wait: bool, now: &dyn Fn() -> String) -> io::Result<Turn> {
        let mut record = Record::new(region, self.slot);
        let took = self.take(&mut record, wait);
        let logged = self.write_log(&mut record, now);
        let full = self.show(&mut record)?;
        let gave = self.give(&mut record)?;
        logged?;
        Ok(Turn { notify: took || gave, full, more: took || gave })
    }

    /// From the guest's ring into the backlog.
    fn take(&self, record: &mut Record, wait: bool) -> bool {
        let taken: u64 = record.get(Word::Taken);
        let taken = taken as u32;
        let Some(ready @ 1..) = OUT.ready(&self.page, taken) else { return false };
        // What the terminal has not taken by now, beyond the limit, it never will.
        let shown: Shown = record.get(Word::Shown);
        let kept = taken.wrapping_sub(shown.position) as usize + ready;
        let limit = self.limit.min(BACKLOG);
        if kept > limit {
            if wait {
                return false;
            }
            let lost = (kept - limit) as u32;
            record.set(Word::Shown, Shown { position: shown.position.wrapping_add(lost), putting: 0 });
        }
        let first = record.backlog(taken, ready);
        let len = first.len();
        OUT.copy_out(&self.page, taken, first);
        if len < ready {
            let position = taken.wrapping_add(len as u32);
            OUT.copy_out(&self.page, position, record.backlog(position, ready - len));
        }
        let taken = taken.wrapping_add(ready as u32);
        record.set(Word::Taken, taken);
        self.tell(record);
        true
    }

    fn tell(&self, record: &Record) {
        let (taken, given): (u64, Given) = (record.get(Word::Taken), record.get(Word::Given));
        OUT.took(&self.page, taken as u32);
        IN.put(&self.page, given.in_prod);
        step();
    }

    /// From the backlog into the log.
    fn write_log(&mut self, record: &mut Record, now: &dyn Fn() -> String) -> io::Result<()> {
        let taken: u64 = record.get(Word::Taken);
        loop {
            let Logged { position, .. } = record.get(Word::Logged);
            let len = (taken as u32).wrapping_sub(position) as usize;
            let Some(log) = self.log.as_mut().filter(|_| len > 0) else {
                if len > 0 {
                    record.set(Word::Logged, Logged { position: taken as u32, writing: 0 });
                }
                return Ok(());
            };
            let len = record.backlog(position, len).len();
            let done = Logged { position: position.wrapping_add(len as u32), writing: 0 };
            let wrote = log.prepare().and_then(|()| {
                record.set(Word::LogLen, log.len()?);
                record.set(Word::Logged, Logged { position, writing: len as u32 });
                let wrote = log.write(record.backlog(position, len), now);
                step();
                wrote
            });
            // What cannot be written must not stand in the way of what comes.
            record.set(Word::Logged, done);
            wrote?;
        }
    }

    /// From the backlog to the terminal; whether it is full.
    fn show(&self, record: &mut Record) -> io::Result<bool> {
        loop {
            let passed = self.outlet.pass(&self.terminal.master)?;
            step();
            match passed {
                Passed::All => {}
                Passed::Full => return Ok(true),
                // Nobody has the other side open: as full.
                Passed::Closed => return Ok(true),
            }
            let Shown { position, .. } = record.get(Word::Shown);
            let taken: u64 = record.get(Word::Taken);
            let len = ((taken as u32).wrapping_sub(position) as usize).min(CHUNK);
            if len == 0 {
                return Ok(false);
            }
            let held = self.outlet.held()? as u32;
            record.set(Word::Shown, Shown { position, putting: held + 1 });
            let put = self.outlet.put(record.backlog(position, len))?;
            step();
            record.set(Word::Shown, Shown { position: position.wrapping_add(put as u32), putting: 0 });
        }
    }

    /// From the terminal to the guest's ring; whether there was any.
    fn give(&self, record: &mut Record) -> io::Result<bool> {
        let mut given: Given = record.get(Word::Given);
        if given.from == given.to {
            if self.inlet.held()? == 0 {
                self.inlet.pull(&self.terminal.master, INPUT)?;
                step();
            }
            let held = self.inlet.held()?;
            if held == 0 {
                return Ok(false);
            }
            record.set(Word::Hearing, held as u64 + 1);
            let heard = self.inlet.take(record.input())?;
            step();
            given = Given { from: 0, to: heard as u16, ..given };
            record.set(Word::Given, given);
            record.set(Word::Hearing, 0_u64);
        }
        let room = IN.room(&self.page, given.in_prod).unwrap_or(0).min(usize::from(given.to - given.from));
        if room == 0 {
            return Ok(false);
        }
        let from = usize::from(given.from);
        IN.copy_in(&self.page, given.in_prod, &record.input()[from..from + room]);
        step();
        given.in_prod = given.in_prod.wrapping_add(room as u32);
        given.from += room as u16;
        record.set(Word::Given, given);
        self.tell(record);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
