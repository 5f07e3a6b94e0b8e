//! Waits for sockets and rings, and moves bytes between them and the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use xenstore::{ConnId, Effect, Peer, Store};

use crate::guests::Guests;
use crate::options::Options;

/// What a readiness is of: numbers that no connection has.
const LISTENER: u64 = u64::MAX;
const EVENTS: u64 = u64::MAX - 1;

/// Where `xenstore-control log on` writes without `--trace-file`.
const TRACE: &str = "/var/log/xen/xenstored-trace.log";

/// Messages sent in one system call.
const BATCH: usize = 16;

struct Client {
    socket: UnixStream,
    /// What is waited for: its bytes, room for ours.
    waits: EventFlags,
}

pub struct Server {
    store: Store,
    epoll: OwnedFd,
    listener: UnixListener,
    clients: HashMap<ConnId, Client>,
    guests: Option<Guests>,
    trace: PathBuf,
    trace_file: Option<File>,
}

impl Server {
    pub fn new(options: &Options, listener: UnixListener, guests: Option<Guests>) -> Result<Self> {
        listener.set_nonblocking(true).context("the socket")?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("making an epoll descriptor")?;
        let add = |fd: std::os::fd::BorrowedFd<'_>, data| {
            epoll::add(&epoll, fd, EventData::new_u64(data), EventFlags::IN)
                .context("waiting for a descriptor")
        };
        add(listener.as_fd(), LISTENER)?;
        if let Some(guests) = &guests {
            add(guests.as_fd(), EVENTS)?;
        }
        let store = Store::new(options.quotas.clone(), options.privileged);
        let trace = options.trace_file.clone().unwrap_or_else(|| TRACE.into());
        let mut server =
            Self { store, epoll, listener, clients: HashMap::new(), guests, trace, trace_file: None };
        if options.trace_file.is_some() {
            server.log(true)?;
        }
        if let Some(guests) = &mut server.guests {
            guests.begin(&mut server.store)?;
        }
        Ok(server)
    }

    /// Serves, until a system call fails that should not.
    pub fn run(&mut self) -> Result<()> {
        self.settle();
        let mut events = Vec::with_capacity(64);
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for clients"),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    EVENTS => {
                        if let Some(guests) = &mut self.guests {
                            guests.events(&mut self.store)?;
                        }
                    }
                    conn => self.receive(conn),
                }
                self.settle();
            }
        }
    }

    fn accept(&mut self) {
        // A client that went before it was accepted, or no descriptor left, is not this daemon's end.
        while let Ok((socket, _)) = self.listener.accept() {
            if socket.set_nonblocking(true).is_err() {
                continue;
            }
            let conn = self.store.connect(Peer::Socket);
            let waits = EventFlags::IN;
            if epoll::add(&self.epoll, &socket, EventData::new_u64(conn), waits).is_err() {
                self.store.disconnect(conn);
                continue;
            }
            self.clients.insert(conn, Client { socket, waits });
        }
    }

    fn receive(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if !self.store.connection(conn).is_some_and(|connection| connection.may_ask()) {
            return self.flush(conn);
        }
        let mut bytes = [0; 2 * xenstore::wire::MESSAGE_MAX];
        match client.socket.read(&mut bytes) {
            Ok(0) => self.close(conn),
            Ok(count) => self.store.input(conn, &bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.flush(conn);
            }
            Err(_) => self.close(conn),
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.clients.remove(&conn);
        self.store.disconnect(conn);
    }

    /// Does what the store asks for, and sends what it has, until it wants nothing more.
    fn settle(&mut self) {
        loop {
            // A line is there before whoever it is about can have the answer.
            for line in self.store.take_trace() {
                if let Some(file) = &mut self.trace_file {
                    // A log that is full must not stop the store.
                    let _ = writeln!(file, "{line}");
                }
            }
            let effects = self.store.take_effects();
            let ready = self.store.take_ready();
            if effects.is_empty() && ready.is_empty() {
                break;
            }
            for conn in ready {
                self.flush(conn);
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Introduce(asked) => match &mut self.guests {
                Some(guests) => guests.introduce(&mut self.store, &asked),
                None => drop(self.store.introduced(&asked, Err(xenstore::Error::ENOSYS))),
            },
            Effect::Release { conn, .. } => {
                if let Some(guests) = &mut self.guests {
                    guests.release(conn);
                }
            }
            Effect::End { conn } => match (&mut self.guests, self.clients.contains_key(&conn)) {
                (_, true) => {
                    self.flush(conn);
                    self.close(conn);
                }
                (Some(guests), false) => guests.end(&mut self.store, conn),
                (None, false) => {}
            },
            Effect::Log { on } => {
                if let Err(error) = self.log(on) {
                    print_to_log(&format!("{error:#}"));
                }
            }
            Effect::Print { text } => print_to_log(&text),
        }
    }

    fn log(&mut self, on: bool) -> Result<()> {
        self.trace_file = match on {
            true => Some(append(&self.trace)?),
            false => None,
        };
        self.store.trace(on);
        Ok(())
    }

    /// Sends what a connection has, as far as it takes it.
    fn flush(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get_mut(&conn) else {
            if let Some(guests) = &mut self.guests {
                guests.serve(&mut self.store, conn);
            }
            return;
        };
        loop {
            let Some(connection) = self.store.connection(conn) else { return };
            let waiting = connection.waiting_output();
            if waiting == 0 {
                break;
            }
            let messages: Vec<IoSlice<'_>> = connection.output().take(BATCH).map(IoSlice::new).collect();
            match (&client.socket).write_vectored(&messages) {
                Ok(count) => {
                    drop(messages);
                    self.store.sent(conn, count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(conn),
            }
        }
        let Some(connection) = self.store.connection(conn) else { return };
        let mut waits = EventFlags::empty();
        waits.set(EventFlags::IN, connection.may_ask());
        waits.set(EventFlags::OUT, connection.waiting_output() > 0);
        if waits != client.waits {
            client.waits = waits;
            if epoll::modify(&self.epoll, &client.socket, EventData::new_u64(conn), waits).is_err() {
                self.close(conn);
            }
        }
    }
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
