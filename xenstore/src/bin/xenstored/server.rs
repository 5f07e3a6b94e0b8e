//! Waits for sockets and rings, and moves bytes between them and the store.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use keeper::intake::{self, Seen};
use keeper::{Came, Feed, Life, Signal};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{Shutdown, SocketType, shutdown, sockopt};

use xenstore::state::{Entry, Link};
use xenstore::{ConnId, Effect, Store};

use crate::guests::Guests;
use crate::listen;
use crate::memory::{EXCEPTIONS, LISTENER, Memory, RECEIVED};
use crate::options::Options;
use crate::update;

/// What a readiness is of: numbers that no connection has.
const LISTENS: u64 = u64::MAX;
const EXCEPTION: u64 = u64::MAX - 1;
const KEEPER: u64 = u64::MAX - 2;
const SIGNALS: u64 = u64::MAX - 3;

/// Where `xenstore-control log on` writes without `--trace-file`.
const TRACE: &str = "/var/log/xen/xenstored-trace.log";

/// Messages sent in one system call.
const BATCH: usize = 16;

struct Client {
    socket: UnixStream,
    feed: Feed,
    /// What is waited for: bytes that come, and room for ours while there are some.
    waits: EventFlags,
    /// More may have come than was looked at, of which nobody tells again.
    more: bool,
}

/// Waiting for bytes that come: each time they do, for those that were looked at are still there.
const COMING: EventFlags = EventFlags::IN.union(EventFlags::ET);

pub struct Server {
    memory: Memory,
    epoll: OwnedFd,
    listener: UnixListener,
    clients: HashMap<ConnId, Client>,
    /// Those whose turn comes again before anything is waited for.
    again: BTreeSet<ConnId>,
    guests: Option<Guests>,
    trace: PathBuf,
    trace_file: Option<File>,
}

impl Server {
    /// Begins, or goes on where the life before was.
    pub fn new(life: Life, options: &Options) -> Result<Self> {
        let mut memory = Memory::new(life, || Store::new(options.quotas.clone(), options.privileged))?;
        let known = [memory.recorded(LISTENER), memory.recorded(EXCEPTIONS)];
        let linked = memory.state.links().flat_map(|(_, link)| match *link {
            Link::Socket { socket, feed, .. } => [socket, feed],
            Link::Ring { channel, .. } => [channel, -1],
        });
        let known: Vec<i32> = known.into_iter().chain(linked).collect();
        let strangers = memory.life.strangers(&known);
        let new = memory.life.number() == 1;
        // What was just accepted is a client; all else was just opened, or given up.
        let accepted: Vec<_> = strangers.into_iter().filter(|fd| !new && is_client(fd)).collect();

        let listener = match memory.life.inherit(known[0]) {
            Some(listener) => listener.into(),
            None => listen::listen()?,
        };
        memory.record(LISTENER, listener.as_raw_fd());
        listener.set_nonblocking(true).context("the socket")?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("making an epoll descriptor")?;
        let guests = match options.no_domain_init {
            true => None,
            false => Some(Guests::new(&mut memory, epoll.try_clone().context("sharing a descriptor")?)?),
        };
        let add = |fd: std::os::fd::BorrowedFd<'_>, data| {
            epoll::add(&epoll, fd, EventData::new_u64(data), EventFlags::IN)
                .context("waiting for a descriptor")
        };
        add(listener.as_fd(), LISTENS)?;
        add(memory.life.keeper(), KEEPER)?;
        add(memory.life.signals().as_fd(), SIGNALS)?;
        if let Some(guests) = &guests {
            add(guests.exceptions.as_fd(), EXCEPTION)?;
        }
        let trace = options.trace_file.clone().unwrap_or_else(|| TRACE.into());
        let (clients, again) = (HashMap::new(), BTreeSet::new());
        let mut server = Self { memory, epoll, listener, clients, again, guests, trace, trace_file: None };
        if new && options.trace_file.is_some() {
            server.memory.apply(&Entry::Log { on: true })?;
        }
        server.log(server.memory.state.is_logging())?;
        server.find_again()?;
        if let Some(guests) = &mut server.guests {
            guests.begin(&mut server.memory)?;
        }
        for socket in accepted {
            server.enter(socket.into())?;
        }
        server.settle()?;
        Ok(server)
    }

    /// The clients of the life before.
    fn find_again(&mut self) -> Result<()> {
        let links: Vec<_> = self.memory.state.links().map(|(conn, link)| (conn, *link)).collect();
        for (conn, link) in links {
            let Link::Socket { socket, untaken, feed, sent } = link else { continue };
            let life = &mut self.memory.life;
            let (socket, feed) = (life.inherit(socket), Feed::inherit(life, feed));
            let (Some(socket), Some(feed)) = (socket, feed) else {
                self.memory.apply(&Entry::Disconnect { conn })?;
                continue;
            };
            // What had been sent when the life before ended, and was not written down.
            let more = feed.sent() - sent;
            let left = intake::settle(&socket, untaken as usize).context("a client's socket")?;
            if left < untaken as usize {
                self.memory.apply(&Entry::Took { conn, count: untaken - left as u32 })?;
            }
            self.wait_for(conn, socket.into(), feed)?;
            if more > 0 {
                self.memory.apply(&Entry::Sent { conn, count: more as u32 })?;
            }
            self.flush(conn)?;
        }
        Ok(())
    }

    /// Serves until somebody asks the daemon to leave.
    ///
    /// # Errors
    /// What the next life may do better: a system call failed that should not, the keeper could not be replaced.
    pub fn run(&mut self) -> Result<()> {
        self.memory.life.settled();
        let mut events = Vec::with_capacity(64);
        loop {
            if let Some(guests) = &mut self.guests {
                self.again.append(&mut guests.again);
            }
            let pause = (!self.again.is_empty()).then(Timespec::default);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), pause.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for clients"),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    KEEPER => {
                        let error = self.memory.life.again(None);
                        return Err(error).context("the keeper has gone, and cannot be replaced");
                    }
                    SIGNALS => {
                        while let Some(signal) = self.memory.life.signals().next()? {
                            match signal {
                                Signal::Terminate => return Ok(()),
                                Signal::Hangup => self.log(self.memory.state.is_logging())?,
                            }
                        }
                    }
                    LISTENS => self.accept()?,
                    EXCEPTION => {
                        if let Some(guests) = &mut self.guests {
                            guests.exception(&mut self.memory)?;
                        }
                    }
                    conn if self.clients.contains_key(&conn) => self.receive(conn)?,
                    conn => {
                        if let Some(guests) = &mut self.guests {
                            guests.event(&mut self.memory, conn)?;
                        }
                    }
                }
                self.settle()?;
            }
            for conn in std::mem::take(&mut self.again) {
                self.receive(conn)?;
                self.settle()?;
            }
            self.memory.tidy()?;
        }
    }

    /// Ends the daemon.
    pub fn end(mut self) -> ! {
        for (&conn, client) in &self.clients {
            // Else its client would be told of a reset instead of the end.
            let _ = self.memory.take(conn, &client.socket);
        }
        self.memory.life.end(0)
    }

    fn accept(&mut self) -> Result<()> {
        // A client that went before it was accepted, or no descriptor left, is not this daemon's end.
        while let Ok((socket, _)) = self.listener.accept() {
            self.memory.step();
            self.enter(socket)?;
        }
        Ok(())
    }

    /// A client has connected.
    fn enter(&mut self, socket: UnixStream) -> Result<()> {
        let feed = Feed::new().and_then(|feed| {
            socket.set_nonblocking(true)?;
            intake::begin(&socket)?;
            Ok(feed)
        });
        // Without a descriptor for it, it is turned away.
        let Ok(feed) = feed else { return Ok(()) };
        self.memory.step();
        let (number, feed_number) = (socket.as_raw_fd(), feed.number());
        let link = Link::Socket { socket: number, untaken: 0, feed: feed_number, sent: 0 };
        let conn = self.memory.apply(&Entry::Connect(link))?.expect("a connection of its own");
        self.wait_for(conn, socket, feed)
    }

    fn wait_for(&mut self, conn: ConnId, socket: UnixStream, feed: Feed) -> Result<()> {
        let waits = COMING;
        let added = epoll::add(&self.epoll, &socket, EventData::new_u64(conn), waits);
        self.clients.insert(conn, Client { socket, feed, waits, more: false });
        if added.is_err() { self.close(conn) } else { Ok(()) }
    }

    fn receive(&mut self, conn: ConnId) -> Result<()> {
        let Some(client) = self.clients.get_mut(&conn) else { return self.flush(conn) };
        client.more = true;
        if self.memory.state.store.connection(conn).is_some_and(|connection| connection.may_ask()) {
            let Seen { came, len } = self.memory.receive(conn, &client.socket)?;
            if came == Came::Ended {
                return self.close(conn);
            }
            client.more = len == RECEIVED;
            if came == Came::Some && !client.more {
                // What is to be said to that is flushed with all else.
                return Ok(());
            }
        }
        self.flush(conn)
    }

    fn close(&mut self, conn: ConnId) -> Result<()> {
        let Some(client) = self.clients.remove(&conn) else { return Ok(()) };
        self.memory.take(conn, &client.socket)?;
        // Should the next life find it and know of none, it is over at once.
        let _ = shutdown(&client.socket, Shutdown::Both);
        self.memory.step();
        self.memory.apply(&Entry::Disconnect { conn }).map(drop)
    }

    /// Does what the store asks for, and sends what it has, until it wants nothing more.
    fn settle(&mut self) -> Result<()> {
        loop {
            // A line is there before whoever it is about can have the answer.
            for line in self.memory.state.store.take_trace() {
                if let Some(file) = &mut self.trace_file {
                    // A log that is full must not stop the store.
                    let _ = writeln!(file, "{line}");
                }
            }
            let ready = self.memory.state.store.take_ready();
            for &conn in &ready {
                self.flush(conn)?;
            }
            match self.memory.state.outstanding().cloned() {
                Some(effect) => self.carry_out(effect)?,
                None if ready.is_empty() => return Ok(()),
                None => {}
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<()> {
        self.memory.step();
        match effect {
            Effect::Introduce(asked) => {
                return match &mut self.guests {
                    Some(guests) => guests.introduce(&mut self.memory, asked),
                    None => {
                        let result = Err(xenstore::Error::ENOSYS);
                        self.memory.apply(&Entry::Introduced { asked, result, link: None }).map(drop)
                    }
                };
            }
            Effect::Release { conn, .. } => {
                if let Some(guests) = &mut self.guests {
                    guests.release(conn);
                }
            }
            Effect::End { conn } => match (&mut self.guests, self.clients.contains_key(&conn)) {
                (_, true) => {
                    self.flush(conn)?;
                    self.close(conn)?;
                }
                (Some(guests), false) => guests.end(&mut self.memory, conn)?,
                (None, false) => {}
            },
            Effect::Log { on } => {
                self.memory.apply(&Entry::Log { on })?;
                if let Err(error) = self.log(on) {
                    print_to_log(&format!("{error:#}"));
                }
            }
            Effect::Print { text } => print_to_log(&text),
            Effect::Update(asked) => {
                let refusal = update::update(&self.memory, Path::new(&asked.file));
                let refusal = refusal.err().map(|error| format!("{error:#}"));
                return self.memory.apply(&Entry::Updated { asked, refusal }).map(drop);
            }
        }
        self.memory.apply(&Entry::Done).map(drop)
    }

    fn log(&mut self, on: bool) -> Result<()> {
        self.trace_file = match on {
            true => Some(append(&self.trace)?),
            false => None,
        };
        self.memory.state.store.trace(on);
        Ok(())
    }

    /// Sends what a connection has, as far as it takes it.
    fn flush(&mut self, conn: ConnId) -> Result<()> {
        let Some(client) = self.clients.get_mut(&conn) else {
            return match &mut self.guests {
                Some(guests) => guests.serve(&mut self.memory, conn),
                None => Ok(()),
            };
        };
        loop {
            let Some(connection) = self.memory.state.store.connection(conn) else { return Ok(()) };
            if connection.waiting_output() == 0 {
                break;
            }
            let messages: Vec<IoSlice<'_>> = connection.output().take(BATCH).map(IoSlice::new).collect();
            match client.feed.send(&client.socket, &messages) {
                Ok(0) => break,
                Ok(count) => {
                    drop(messages);
                    self.memory.step();
                    self.memory.apply(&Entry::Sent { conn, count: count as u32 })?;
                }
                Err(_) => return self.close(conn),
            }
        }
        let Some(connection) = self.memory.state.store.connection(conn) else { return Ok(()) };
        if client.more && connection.may_ask() {
            self.again.insert(conn);
        }
        let mut waits = COMING;
        waits.set(EventFlags::OUT, connection.waiting_output() > 0);
        if waits != client.waits {
            client.waits = waits;
            if epoll::modify(&self.epoll, &client.socket, EventData::new_u64(conn), waits).is_err() {
                return self.close(conn);
            }
        }
        Ok(())
    }
}

/// Whether this is a connection with a client, among what the life before did not record.
fn is_client(fd: &OwnedFd) -> bool {
    sockopt::socket_type(fd) == Ok(SocketType::STREAM) && sockopt::socket_acceptconn(fd) == Ok(false)
}

fn append(path: &Path) -> Result<File> {
    let file = File::options().append(true).create(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

/// A line for the system's log; for standard error where there is none.
pub fn print_to_log(text: &str) {
    let line = format!("<30>xenstored: {text}");
    let logged = UnixDatagram::unbound().and_then(|socket| socket.send_to(line.as_bytes(), "/dev/log"));
    if logged.is_err() {
        eprintln!("xenstored: {text}");
    }
}
