//! Everything of Xen that the daemon has: rings, event channels, and which domains are still there.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use abi::domctl::{XEN_DOMINF_DYING, XEN_DOMINF_SHUTDOWN};
use abi::grant_table::GNTTAB_RESERVED_XENSTORE;
use abi::io::xs_wire as xs;
use abi::xen::VIRQ_DOM_EXC;
use anyhow::{Context, Result};
use xenctl::{DomId, EventChannels, Port, SharedPage, StorePage, Xen};

use xenstore::ring::{Broken, Place, Ring};
use xenstore::{ConnId, Error, Introduction, Store};

struct Guest {
    ring: Ring<SharedPage>,
    place: Place,
    port: Port,
}

pub struct Guests {
    xen: Xen,
    events: EventChannels,
    /// Fires when a domain shuts down, crashes or is gone.
    exceptions: Port,
    guests: HashMap<ConnId, Guest>,
    by_port: HashMap<Port, ConnId>,
}

impl Guests {
    /// Opens Xen's devices.
    pub fn open() -> Result<Self> {
        let events = EventChannels::open()?;
        events.set_nonblocking(true)?;
        let exceptions = events.bind_virq(VIRQ_DOM_EXC)?;
        Ok(Self { xen: Xen::open()?, events, exceptions, guests: HashMap::new(), by_port: HashMap::new() })
    }

    /// Readable when a guest or the hypervisor wants something.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Begins with dom0's kernel, which waits for a first event.
    pub fn begin(&mut self, store: &mut Store) -> Result<()> {
        let (page, remote) = StorePage::open()?;
        let port = self.events.bind_interdomain(DomId(0), remote).context("the channel of dom0's kernel")?;
        let conn = store.introduce_first(0, 0, remote);
        self.insert(conn, Guest::new(SharedPage::Own(page), port));
        self.serve(store, conn);
        self.notify(port);
        Ok(())
    }

    /// Serves who had an event.
    pub fn events(&mut self, store: &mut Store) -> Result<()> {
        for port in self.events.pending()? {
            if port == self.exceptions {
                self.look_at_domains(store)?;
            } else if let Some(&conn) = self.by_port.get(&port) {
                self.serve(store, conn);
            }
            // A guest's port may have gone with it just now.
            if port == self.exceptions || self.by_port.contains_key(&port) {
                self.events.unmask(port)?;
            }
        }
        Ok(())
    }

    /// Moves bytes in both directions, as far as they go; the guest's next event goes on with the rest.
    pub fn serve(&mut self, store: &mut Store, conn: ConnId) {
        let Some(guest) = self.guests.get_mut(&conn) else { return };
        if guest.ring.wants_reconnection() {
            store.restart(conn);
            guest.ring.reconnect();
            guest.place = Place::default();
            let _ = self.events.notify(guest.port);
        }
        let port = guest.port;
        match guest.turn(store, conn) {
            Ok(false) => {}
            Ok(true) => self.notify(port),
            Err(Broken) => {
                guest.ring.fail(xs::XENSTORE_ERROR_RINGIDX);
                store.end(conn);
            }
        }
    }

    /// Maps a guest's ring and tells the store whether that could be done.
    pub fn introduce(&mut self, store: &mut Store, asked: &Introduction) {
        let mapped = self.connect(asked);
        let result = mapped.as_ref().map(drop).map_err(|_| Error::EINVAL);
        if let Err(error) = &mapped {
            crate::server::print_to_log(&format!("introducing domain {}: {error:#}", asked.domid));
        }
        // Introduced again, it has a new page and a new channel; what it had goes first.
        if let Some(old) = store.domain(asked.domid).filter(|_| mapped.is_ok()) {
            self.release(old.conn);
        }
        if let (Some(conn), Ok(guest)) = (store.introduced(asked, result), mapped) {
            guest.ring.begin();
            let port = guest.port;
            self.insert(conn, guest);
            self.serve(store, conn);
            // It may have waited for its store.
            self.notify(port);
        }
    }

    fn connect(&self, asked: &Introduction) -> Result<Guest> {
        let domid = DomId(asked.domid);
        let page = SharedPage::of(domid, GNTTAB_RESERVED_XENSTORE, asked.gfn)?;
        let port = self.events.bind_interdomain(domid, asked.port)?;
        Ok(Guest::new(page, port))
    }

    fn insert(&mut self, conn: ConnId, guest: Guest) {
        self.by_port.insert(guest.port, conn);
        self.guests.insert(conn, guest);
    }

    /// Lets go of a guest's page and channel.
    pub fn release(&mut self, conn: ConnId) {
        if let Some(guest) = self.guests.remove(&conn) {
            self.by_port.remove(&guest.port);
            // A domain that is gone has closed it already.
            let _ = self.events.unbind(guest.port);
        }
    }

    /// A guest broke the protocol: it is told, and may connect anew.
    pub fn end(&mut self, store: &mut Store, conn: ConnId) {
        let Some(guest) = self.guests.get_mut(&conn) else { return };
        // What it had asked for properly is still answered; where its ring is broken, that is all.
        if guest.turn(store, conn).is_ok() {
            guest.ring.fail(xs::XENSTORE_ERROR_PROTO);
        }
        let port = guest.port;
        self.notify(port);
    }

    fn notify(&self, port: Port) {
        // The other end may have gone: then nobody misses it.
        let _ = self.events.notify(port);
    }

    /// Tells the store which of its domains have shut down or are gone.
    fn look_at_domains(&mut self, store: &mut Store) -> Result<()> {
        let known: Vec<u16> = store.domains().map(|(domid, _)| domid).filter(|&domid| domid != 0).collect();
        for domid in known {
            match self.xen.domain(DomId(domid))? {
                None => store.domain_gone(domid),
                Some(info) if info.flags & XEN_DOMINF_DYING != 0 => store.domain_gone(domid),
                Some(info) if info.flags & XEN_DOMINF_SHUTDOWN != 0 => store.domain_shut_down(domid),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl Guest {
    fn new(page: SharedPage, port: Port) -> Self {
        Self { place: Place::of(&page), ring: Ring(page), port }
    }

    /// Sends, receives once, and sends what that answered. Whether the guest must be told.
    fn turn(&mut self, store: &mut Store, conn: ConnId) -> std::result::Result<bool, Broken> {
        let mut moved = self.send(store, conn)?;
        if store.connection(conn).is_some_and(|connection| connection.may_ask()) {
            let bytes = self.ring.received(self.place)?;
            if !bytes.is_empty() {
                store.input(conn, &bytes);
                self.place.cons = self.place.cons.wrapping_add(bytes.len() as u32);
                self.ring.tell(self.place);
                moved = true;
            }
        }
        Ok(self.send(store, conn)? || moved)
    }

    fn send(&mut self, store: &mut Store, conn: ConnId) -> std::result::Result<bool, Broken> {
        let mut moved = false;
        loop {
            let Some(connection) = store.connection(conn) else { return Ok(moved) };
            let Some(message) = connection.output().next() else { return Ok(moved) };
            let count = self.ring.put(self.place, message)?;
            if count == 0 {
                return Ok(moved);
            }
            self.place.prod = self.place.prod.wrapping_add(count as u32);
            self.ring.tell(self.place);
            store.sent(conn, count);
            moved = true;
        }
    }
}
