//! Waits, and does what there is to do.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use keeper::{Life, Signal, background};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use toolstack::store::Client;
use toolstack::watch::Watcher;
use xenctl::{DomId, Xen};

use crate::guest::{self, Guest};
use crate::hypervisor::{self, Hypervisor};
use crate::options::Options;
use crate::record::{self, FIRST, Record, Word};

/// Everything of a life but the life itself.
pub struct Daemon {
    options: Options,
    xen: Xen,
    store: Client,
    watcher: Watcher,
    hypervisor: Option<Hypervisor>,
    guests: Vec<Guest>,
    /// Domains whose console is watched.
    watched: Vec<DomId>,
}

impl Daemon {
    /// Finds everything again that the lives before had, or begins.
    ///
    /// # Errors
    /// What keeps the daemon from working at all.
    pub fn new(life: &mut Life, options: Options) -> Result<Self> {
        if life.region.len() < FIRST {
            life.region.resize(FIRST)?;
        }
        let mut known = vec![hypervisor::number(&life.region)];
        let mut slots = Vec::new();
        for slot in 0..record::slots(&life.region) {
            let record = Record::new(&mut life.region, slot);
            if record.get::<u64>(Word::Domain) != 0 {
                slots.push(slot);
                known.extend(guest::numbers(&record));
            }
        }
        // Connections with the store, mappings, logs: they are made anew.
        drop(life.strangers(&known));
        let mut store = Client::open()?;
        let mut watcher = Watcher::open()?;
        watcher.watch("@introduceDomain", "domains")?;
        watcher.watch("@releaseDomain", "domains")?;
        let hypervisor = options.log.hypervisor().then(|| Hypervisor::open(life, &options)).transpose();
        let hypervisor = hypervisor.context("the hypervisor's log")?;
        let mut guests = Vec::new();
        for slot in slots {
            match Guest::again(life, slot, &mut store, &options) {
                Ok(guest) => guests.push(guest),
                Err(error) => {
                    eprintln!("xenconsoled: a console is given up: {error:#}");
                    Record::new(&mut life.region, slot).clear();
                }
            }
        }
        let watched = Vec::new();
        Ok(Self { options, xen: Xen::open()?, store, watcher, hypervisor, guests, watched })
    }

    /// Works until somebody asks the daemon to leave.
    ///
    /// # Errors
    /// What the next life may do better: the store has gone, the keeper could not be replaced.
    pub fn work(&mut self, life: &mut Life) -> Result<()> {
        self.domains(life)?;
        if let Some(hypervisor) = &mut self.hypervisor {
            hypervisor.turn(&mut life.region)?;
        }
        loop {
            let pause = self.turns(life);
            let hear: Vec<bool> =
                self.guests.iter().map(|guest| guest.console.hears(&mut life.region)).collect();
            let mut waiting = vec![
                PollFd::from_borrowed_fd(life.keeper(), PollFlags::IN),
                PollFd::new(life.signals(), PollFlags::IN),
                PollFd::new(&self.watcher, PollFlags::IN),
            ];
            waiting.extend(self.hypervisor.iter().map(|log| PollFd::new(&log.channel, PollFlags::IN)));
            let guests_from = waiting.len();
            for (guest, hear) in self.guests.iter().zip(hear) {
                waiting.push(PollFd::new(&guest.channel, PollFlags::IN));
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::OUT, guest.full);
                flags.set(PollFlags::IN, hear);
                waiting.push(PollFd::new(&guest.console.terminal.master, flags));
            }
            let timeout = pause.map(|pause| Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) });
            match poll(&mut waiting, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for consoles"),
            }
            let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
            if ready[0] {
                return Err(life.again(None)).context("the keeper has gone, and cannot be replaced");
            }
            if ready[1] {
                while let Some(signal) = life.signals().next()? {
                    match signal {
                        Signal::Terminate => return Ok(()),
                        Signal::Hangup => self.reopen(),
                    }
                }
            }
            for (guest, ready) in self.guests.iter_mut().zip(ready[guests_from..].chunks(2)) {
                guest.more |= ready[0] || ready[1];
            }
            if ready[2] {
                self.changes(life)?;
            }
            if let Some(hypervisor) = self.hypervisor.as_mut().filter(|_| ready[3])
                && let Err(error) = hypervisor.turn(&mut life.region)
            {
                eprintln!("xenconsoled: the hypervisor's log: {error:#}");
            }
        }
    }

    /// A turn for each guest that has something; how long to wait for more at most.
    fn turns(&mut self, life: &mut Life) -> Option<Duration> {
        let mut pause = None;
        for guest in self.guests.iter_mut().filter(|guest| guest.more) {
            match guest.turn(&mut life.region, self.options.overflow_data) {
                Ok(None) if !guest.more => {}
                Ok(wait) => {
                    let wait = wait.unwrap_or_default();
                    pause = Some(pause.map_or(wait, |least: Duration| least.min(wait)));
                }
                Err(error) => {
                    guest.more = false;
                    eprintln!("xenconsoled: the console of domain {}: {error:#}", guest.domain);
                }
            }
        }
        pause
    }

    /// What the store has told.
    fn changes(&mut self, life: &mut Life) -> Result<()> {
        while let Some(event) = self.watcher.event().context("the store's connection")? {
            match event.token.parse() {
                Ok(number) => self.look(life, DomId(number))?,
                Err(_) => self.domains(life)?,
            }
        }
        Ok(())
    }

    /// Which domains there are: consoles of those that have gone are given up, those of new ones are watched.
    fn domains(&mut self, life: &mut Life) -> Result<()> {
        let all = self.xen.domains(DomId(1))?;
        let living = all.iter().filter(|info| info.flags & abi::domctl::XEN_DOMINF_DYING == 0);
        let alive: Vec<_> = living.map(|info| DomId(info.domain)).collect();
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.guests).into_iter().partition(|guest| alive.contains(&guest.domain));
        self.guests = stay;
        go.into_iter().for_each(|guest| guest.detach(&mut life.region));
        for gone in self.watched.extract_if(.., |domain| !alive.contains(domain)) {
            // The watch goes with the guest's permission to be watched, or here.
            let _ = self.watcher.unwatch(&guest::path(gone), &gone.to_string());
        }
        for domain in alive {
            if !self.watched.contains(&domain) {
                self.watcher.watch(&guest::path(domain), &domain.to_string())?;
                self.watched.push(domain);
            }
        }
        Ok(())
    }

    /// What the store says of a guest's console, and whether it is that already.
    fn look(&mut self, life: &mut Life, domain: DomId) -> Result<()> {
        let wanted = guest::wanted(&mut self.store, domain)?;
        let at = self.guests.iter().position(|guest| guest.domain == domain);
        match (at, wanted) {
            (Some(at), Some(wanted)) if self.guests[at].wanted == wanted => return Ok(()),
            (Some(at), _) => self.guests.swap_remove(at).detach(&mut life.region),
            (None, _) => {}
        }
        let Some(wanted) = wanted.filter(|_| self.watched.contains(&domain)) else { return Ok(()) };
        let log = guest::log(&mut self.store, domain, &self.options)?;
        match Guest::attach(life, domain, wanted, log) {
            Ok(guest) => {
                guest.announce(&mut self.store)?;
                self.guests.push(guest);
            }
            Err(error) => eprintln!("xenconsoled: domain {domain} has no console: {error:#}"),
        }
        Ok(())
    }

    fn reopen(&mut self) {
        let logs = self.guests.iter_mut().filter_map(|guest| guest.console.log.as_mut());
        for log in logs.chain(self.hypervisor.as_mut().map(|hypervisor| &mut hypervisor.log)) {
            if let Err(error) = log.reopen() {
                eprintln!("xenconsoled: {} cannot be opened again: {error}", log.path().display());
            }
        }
    }

    /// Process numbers for who starts and stops the daemon.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_pid_file(&self) -> Result<()> {
        let Some(path) = &self.options.pid_file else { return Ok(()) };
        background::write_pid_file(path).with_context(|| format!("writing {}", path.display()))
    }

    /// The daemon leaves: its file goes.
    pub fn leave(self) {
        if let Some(path) = self.options.pid_file {
            let _ = fs::remove_file(path);
        }
    }
}
