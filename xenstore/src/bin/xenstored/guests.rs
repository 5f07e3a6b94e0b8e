//! Everything of Xen that the daemon has: rings, event channels, and which domains are still there.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use abi::domctl::{XEN_DOMINF_DYING, XEN_DOMINF_SHUTDOWN};
use abi::grant_table::GNTTAB_RESERVED_XENSTORE;
use abi::io::xs_wire as xs;
use abi::xen::VIRQ_DOM_EXC;
use anyhow::{Context, Result};
use rustix::event::epoll::{self, EventData, EventFlags};
use xenctl::{DomId, EventChannels, Port, SharedPage, StorePage, Xen};

use xenstore::ring::{Broken, Place, Ring};
use xenstore::state::{Entry, Link};
use xenstore::turn::Service;
use xenstore::{ConnId, Connection, Error, Introduction};

use crate::memory::{EXCEPTIONS, Memory};

/// A guest's ring, and the device by which its channel is bound: closed, it gives the channel back.
struct Guest {
    ring: Ring<SharedPage>,
    channel: EventChannels,
    port: Port,
}

pub struct Guests {
    xen: Xen,
    /// Has an event when a domain shuts down, crashes or is gone.
    pub exceptions: EventChannels,
    epoll: OwnedFd,
    guests: HashMap<ConnId, Guest>,
    /// Those whose rings are to be looked at again before anything is waited for.
    pub again: BTreeSet<ConnId>,
}

impl Guests {
    /// Opens Xen's devices, but for what an earlier life had open. What that recorded is in `memory`.
    pub fn new(memory: &mut Memory, epoll: OwnedFd) -> Result<Self> {
        let number = memory.recorded(EXCEPTIONS);
        let exceptions = match memory.life.inherit(number) {
            Some(channel) => channel.into(),
            None => {
                let channel = open()?;
                channel.bind_virq(VIRQ_DOM_EXC)?;
                memory.record(EXCEPTIONS, channel.as_raw_fd());
                channel
            }
        };
        Ok(Self { xen: Xen::open()?, exceptions, epoll, guests: HashMap::new(), again: BTreeSet::new() })
    }

    /// Goes on with the guests of the life before; begins with dom0's kernel.
    pub fn begin(&mut self, memory: &mut Memory) -> Result<()> {
        let links: Vec<_> = memory.state.links().map(|(conn, link)| (conn, *link)).collect();
        for (conn, link) in links {
            if let Link::Ring { channel, port, gfn, place } = link
                && let Err(error) = self.again(memory, conn, channel, Port(port), gfn, place)
            {
                crate::server::print_to_log(&format!("a guest is not heard any more: {error:#}"));
            }
        }
        if memory.state.store.domain(0).is_none() {
            let (page, remote) = StorePage::open()?;
            let channel = open()?;
            let port = channel.bind_interdomain(DomId(0), remote).context("the channel of dom0's kernel")?;
            let guest = Guest { ring: Ring(SharedPage::Own(page)), channel, port };
            let entry = Entry::First { port: remote, link: guest.link(0) };
            let conn = memory.apply(&entry)?.expect("a connection of its own");
            self.insert(memory, conn, guest)?;
        }
        self.look_at_domains(memory)
    }

    fn again(
        &mut self,
        memory: &mut Memory,
        conn: ConnId,
        channel: i32,
        port: Port,
        gfn: u64,
        place: Place,
    ) -> Result<()> {
        let channel = memory.life.inherit(channel).context("its channel is not open")?;
        let connection = memory.state.store.connection(conn).context("it has no connection")?;
        let (domid, ended) = (connection.peer.domid(), connection.has_ended());
        let page = match domid {
            0 => SharedPage::Own(StorePage::open()?.0),
            _ => SharedPage::of(DomId(domid), GNTTAB_RESERVED_XENSTORE, gfn)?,
        };
        let guest = Guest { ring: Ring(page), channel: channel.into(), port };
        if domid != 0 && !ended {
            guest.ring.begin();
        }
        if !guest.ring.wants_reconnection() {
            guest.ring.tell(place);
        }
        let _ = guest.channel.unmask(port);
        self.insert(memory, conn, guest)
    }

    /// A guest wants something.
    pub fn event(&mut self, memory: &mut Memory, conn: ConnId) -> Result<()> {
        let Some(guest) = self.guests.get(&conn) else { return Ok(()) };
        // Before the ring is looked at: what comes later is told again.
        for port in guest.channel.pending()? {
            // The port may have gone with its guest just now.
            let _ = guest.channel.unmask(port);
        }
        self.serve(memory, conn)
    }

    /// A domain shut down, crashed or is gone.
    pub fn exception(&mut self, memory: &mut Memory) -> Result<()> {
        for port in self.exceptions.pending()? {
            self.exceptions.unmask(port)?;
        }
        self.look_at_domains(memory)
    }

    /// Moves bytes in both directions, as far as they go; the guest's next event goes on with the rest.
    pub fn serve(&mut self, memory: &mut Memory, conn: ConnId) -> Result<()> {
        let Some(guest) = self.guests.get(&conn) else { return Ok(()) };
        if guest.ring.wants_reconnection() {
            memory.apply(&Entry::Restart { conn })?;
            guest.ring.reconnect();
            guest.notify();
        }
        match guest.ring.turn(&mut Serving { memory, conn })? {
            Ok(turn) => {
                if turn.moved {
                    guest.notify();
                }
                if turn.more {
                    self.again.insert(conn);
                }
            }
            Err(Broken) => {
                guest.ring.fail(xs::XENSTORE_ERROR_RINGIDX);
                memory.apply(&Entry::End { conn })?;
            }
        }
        Ok(())
    }

    /// Maps a guest's ring and tells the store whether that could be done.
    pub fn introduce(&mut self, memory: &mut Memory, asked: Introduction) -> Result<()> {
        let mut guest = connect(&asked);
        // Introduced again it may have the same port, which is bound: what it had goes first.
        if let Some(conn) = memory.state.store.domain(asked.domid).map(|domain| domain.conn)
            && guest.is_err()
        {
            memory.apply(&Entry::Cut { conn })?;
            self.release(conn);
            guest = connect(&asked);
        }
        let guest = match guest {
            Ok(guest) => guest,
            Err(error) => {
                crate::server::print_to_log(&format!("introducing domain {}: {error:#}", asked.domid));
                let refused = Entry::Introduced { asked, result: Err(Error::EINVAL), link: None };
                return memory.apply(&refused).map(drop);
            }
        };
        memory.step();
        let link = Some(guest.link(asked.gfn));
        let conn = memory.apply(&Entry::Introduced { asked, result: Ok(()), link })?;
        guest.ring.begin();
        match conn {
            Some(conn) => self.insert(memory, conn, guest),
            None => Ok(()),
        }
    }

    fn insert(&mut self, memory: &mut Memory, conn: ConnId, guest: Guest) -> Result<()> {
        // A kernel that is up before its store begins to use it at the first event; and what a life before was told of,
        // and what it told, may have been lost with it.
        guest.notify();
        epoll::add(&self.epoll, &guest.channel, EventData::new_u64(conn), EventFlags::IN)
            .context("waiting for a guest")?;
        self.guests.insert(conn, guest);
        self.serve(memory, conn)
    }

    /// Lets go of a guest's page and channel.
    pub fn release(&mut self, conn: ConnId) {
        self.guests.remove(&conn);
    }

    /// A guest broke the protocol: it is told, and may connect anew.
    pub fn end(&mut self, memory: &mut Memory, conn: ConnId) -> Result<()> {
        let Some(guest) = self.guests.get(&conn) else { return Ok(()) };
        // What it had asked for properly is still answered; where its ring is broken, that is all.
        if guest.ring.turn(&mut Serving { memory, conn })?.is_ok() {
            guest.ring.fail(xs::XENSTORE_ERROR_PROTO);
        }
        guest.notify();
        Ok(())
    }

    /// Tells the store which of its domains have shut down or are gone.
    fn look_at_domains(&mut self, memory: &mut Memory) -> Result<()> {
        let known = memory.state.store.domains().map(|(domid, _)| domid);
        let known: Vec<u16> = known.filter(|&domid| domid != 0).collect();
        for domid in known {
            let flags = self.xen.domain(DomId(domid))?.map_or(XEN_DOMINF_DYING, |info| info.flags);
            if flags & XEN_DOMINF_DYING != 0 {
                memory.apply(&Entry::Gone { domid })?;
            } else if flags & XEN_DOMINF_SHUTDOWN != 0 {
                memory.apply(&Entry::ShutDown { domid })?;
            }
        }
        Ok(())
    }
}

fn open() -> Result<EventChannels> {
    let channel = EventChannels::open()?;
    channel.set_nonblocking(true)?;
    Ok(channel)
}

fn connect(asked: &Introduction) -> Result<Guest> {
    let domid = DomId(asked.domid);
    let page = SharedPage::of(domid, GNTTAB_RESERVED_XENSTORE, asked.gfn)?;
    let channel = open()?;
    let port = channel.bind_interdomain(domid, asked.port)?;
    Ok(Guest { ring: Ring(page), channel, port })
}

impl Guest {
    fn link(&self, gfn: u64) -> Link {
        let channel = self.channel.as_fd().as_raw_fd();
        Link::Ring { channel, port: self.port.0, gfn, place: Place::of(&self.ring.0) }
    }

    fn notify(&self) {
        // The other end may have gone: then nobody misses it.
        let _ = self.channel.notify(self.port);
    }
}

/// A guest's connection, written down before it is changed.
struct Serving<'a> {
    memory: &'a mut Memory,
    conn: ConnId,
}

impl Serving<'_> {
    fn connection(&self) -> Option<&Connection> {
        self.memory.state.store.connection(self.conn)
    }
}

impl Service for Serving<'_> {
    type Error = anyhow::Error;

    fn place(&self) -> Option<Place> {
        match self.memory.state.link(self.conn) {
            Some(&Link::Ring { place, .. }) => Some(place),
            _ => None,
        }
    }

    fn may_ask(&self) -> bool {
        self.connection().is_some_and(Connection::may_ask)
    }

    fn output(&self) -> Option<&[u8]> {
        self.connection()?.output().next()
    }

    fn came(&mut self, bytes: &[u8]) -> Result<()> {
        self.memory.step();
        self.memory.apply(&Entry::Input { conn: self.conn, bytes }).map(drop)
    }

    fn went(&mut self, count: usize) -> Result<()> {
        self.memory.step();
        self.memory.apply(&Entry::Sent { conn: self.conn, count: count as u32 }).map(drop)
    }
}
