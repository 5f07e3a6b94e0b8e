//! A guest's console from its first appearance in the store until the guest has gone.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use abi::grant_table::GNTTAB_RESERVED_CONSOLE;
use anyhow::{Context, Result, anyhow};
use keeper::{Inlet, Life, Outlet, Region};
use toolstack::names;
use toolstack::store::Client;
use xenctl::{DomId, EventChannels, Port, SharedPage};

use crate::console::{Console, Turn};
use crate::log::Log;
use crate::options::{Options, Overflow};
use crate::record::{self, BACKLOG, Record, Word};
use crate::stamp;
use crate::terminal::Terminal;

/// So many turns in a row of a guest that never stops to write; then it waits until a [`WINDOW`] is over.
const TURNS: u32 = 64;
const WINDOW: Duration = Duration::from_millis(100);

/// What the store says of a console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    pub port: u32,
    frame: u64,
    limit: usize,
}

/// Where the store has it.
pub fn path(domain: DomId) -> String {
    format!("/local/domain/{domain}/console")
}

/// What the store says of the domain's console: `None` where there is none yet, or another program has it.
///
/// # Errors
/// Those of the store.
pub fn wanted(store: &mut Client, domain: DomId) -> xenctl::Result<Option<Wanted>> {
    let path = path(domain);
    if store.text(&format!("{path}/type"))?.is_some_and(|kind| kind != "xenconsoled") {
        return Ok(None);
    }
    let mut number = |name: &str| -> xenctl::Result<Option<i64>> {
        Ok(store.text(&format!("{path}/{name}"))?.and_then(|text| text.trim().parse().ok()))
    };
    let (Some(port), Some(frame)) = (number("port")?, number("ring-ref")?) else { return Ok(None) };
    let limit = number("limit")?.filter(|&limit| limit > 0);
    let limit = limit.map_or(BACKLOG, |limit| usize::try_from(limit).unwrap_or(BACKLOG));
    let (Ok(port @ 1..), frame) = (u32::try_from(port), frame as u64) else { return Ok(None) };
    Ok(Some(Wanted { port, frame, limit }))
}

/// A guest's console at work.
pub struct Guest {
    pub domain: DomId,
    pub wanted: Wanted,
    pub console: Console<SharedPage>,
    pub channel: EventChannels,
    port: Port,
    /// The last turn found the terminal full.
    pub full: bool,
    /// There is more to do before anything is waited for.
    pub more: bool,
    window: Instant,
    turns: u32,
}

impl Guest {
    /// Takes a console on: a slot, a terminal, the guest's page and its event channel.
    ///
    /// # Errors
    /// As the system calls; nothing of it stays then.
    pub fn attach(life: &mut Life, domain: DomId, wanted: Wanted, log: Option<Log>) -> Result<Self> {
        let slot = free(&mut life.region)?;
        let page = SharedPage::of(domain, GNTTAB_RESERVED_CONSOLE, wanted.frame)?;
        let channel = EventChannels::open()?;
        channel.set_nonblocking(true)?;
        let port = channel.bind_interdomain(domain, wanted.port)?;
        let (terminal, outlet, inlet) = (Terminal::open()?, Outlet::new()?, Inlet::new()?);
        let mut record = Record::new(&mut life.region, slot);
        let [from, into] = outlet.numbers();
        let [inlet_from, inlet_into] = inlet.numbers();
        for (word, number) in [
            (Word::Channel, channel.as_raw_fd()),
            (Word::Master, terminal.master.as_raw_fd()),
            (Word::Slave, terminal.slave.as_raw_fd()),
            (Word::Outlet, from),
            (Word::OutletInto, into),
            (Word::Inlet, inlet_from),
            (Word::InletInto, inlet_into),
        ] {
            record.set(word, number as u64 + 1);
        }
        record.set(Word::Port, port.0);
        let console = Console { page, slot, terminal, outlet, inlet, log, limit: wanted.limit };
        console.begin(&mut life.region);
        Record::new(&mut life.region, slot).set(Word::Domain, u64::from(domain.0) + 1);
        Ok(Self::working(domain, wanted, console, channel, port))
    }

    /// Goes on with a console of the life before.
    ///
    /// # Errors
    /// Where something of it has gone: the guest most likely.
    pub fn again(life: &mut Life, slot: usize, store: &mut Client, options: &Options) -> Result<Self> {
        let record = Record::new(&mut life.region, slot);
        let domain = record.get::<u64>(Word::Domain) - 1;
        let domain = DomId(u16::try_from(domain).context("a domain's number")?);
        let port = Port(record.get::<u64>(Word::Port) as u32);
        let numbers = numbers(&record);
        let mut fd = |n: usize| -> Result<OwnedFd> {
            life.inherit(numbers[n]).ok_or_else(|| anyhow!("descriptor {} is not open", numbers[n]))
        };
        let channel = EventChannels::from(fd(0)?);
        let (master, slave) = (fd(1)?, fd(2)?);
        let outlet = Outlet::inherit(life, [numbers[3], numbers[4]]).context("the pipe to the terminal")?;
        let inlet = Inlet::inherit(life, [numbers[5], numbers[6]]).context("the pipe from the terminal")?;
        let terminal = Terminal::of(master, slave)?;
        let wanted = wanted(store, domain)?.context("the store has no console any more")?;
        let log = log(store, domain, options)?;
        let page = SharedPage::of(domain, GNTTAB_RESERVED_CONSOLE, wanted.frame)?;
        let mut console = Console { page, slot, terminal, outlet, inlet, log, limit: wanted.limit };
        console.settle(&mut life.region)?;
        let mut guest = Self::working(domain, wanted, console, channel, port);
        // What was told to the life before may not have been heard by the guest.
        guest.channel.notify(port)?;
        guest.channel.unmask(port)?;
        guest.more = true;
        Ok(guest)
    }

    fn working(
        domain: DomId,
        wanted: Wanted,
        console: Console<SharedPage>,
        channel: EventChannels,
        port: Port,
    ) -> Self {
        let window = Instant::now();
        Self { domain, wanted, console, channel, port, full: false, more: true, window, turns: 0 }
    }

    /// Says in the store where the terminal is.
    ///
    /// # Errors
    /// Those of the store.
    pub fn announce(&self, store: &mut Client) -> xenctl::Result<()> {
        let terminal = self.console.terminal.path.to_string_lossy();
        store.write(&format!("{}/tty", path(self.domain)), terminal.as_bytes())
    }

    /// A turn, unless the guest has had too many: then how long it waits.
    ///
    /// # Errors
    /// As [`Console::turn`].
    pub fn turn(&mut self, region: &mut Region, overflow: Overflow) -> Result<Option<Duration>> {
        if self.window.elapsed() > WINDOW {
            (self.window, self.turns) = (Instant::now(), 0);
        }
        self.turns += 1;
        if self.turns > TURNS {
            return Ok(Some(WINDOW.saturating_sub(self.window.elapsed())));
        }
        // Before the ring is looked at: what comes later is told again.
        for port in self.channel.pending()? {
            self.channel.unmask(port)?;
        }
        let wait = overflow == Overflow::Keep;
        let Turn { notify, full, more } = self.console.turn(region, wait, &stamp::now)?;
        (self.full, self.more) = (full, more);
        if notify {
            self.channel.notify(self.port)?;
        }
        Ok(None)
    }

    /// Gives the terminal back; what is left of the guest's output goes to it first.
    pub fn detach(mut self, region: &mut Region) {
        while let Ok(Turn { more: true, .. }) = self.console.turn(region, false, &stamp::now) {}
        let slot = self.console.slot;
        Record::new(region, slot).clear();
    }
}

/// The descriptors that a slot records: channel, terminal, pipes.
pub fn numbers(record: &Record) -> [RawFd; 7] {
    use Word::{Channel, Inlet, InletInto, Master, Outlet, OutletInto, Slave};
    [Channel, Master, Slave, Outlet, OutletInto, Inlet, InletInto]
        .map(|word| record.get::<u64>(word) as RawFd - 1)
}

fn free(region: &mut Region) -> Result<usize> {
    let slots = record::slots(region);
    if let Some(slot) = (0..slots).find(|&slot| Record::new(region, slot).get::<u64>(Word::Domain) == 0) {
        Record::new(region, slot).clear();
        return Ok(slot);
    }
    region.resize(record::FIRST + (slots + 1) * record::SLOT).context("memory for one more console")?;
    Ok(slots)
}

/// The guest's log, if guests are logged.
///
/// # Errors
/// Those of the store; that a file cannot be opened is said, and then there is none.
pub fn log(store: &mut Client, domain: DomId, options: &Options) -> Result<Option<Log>> {
    if !options.log.guests() {
        return Ok(None);
    }
    let name = names::of_domain(store, domain)?.unwrap_or_else(|| domain.to_string());
    let path = options.log_dir.join(format!("guest-{}.log", name.replace('/', "_")));
    let opened = fs::create_dir_all(&options.log_dir)
        .and_then(|()| Log::open(path.clone(), options.limits(), options.timestamp.guests()));
    match opened {
        Ok(log) => Ok(Some(log.dotted(options.replace_escape))),
        Err(error) => {
            eprintln!("xenconsoled: {} is not written: {error}", path.display());
            Ok(None)
        }
    }
}
