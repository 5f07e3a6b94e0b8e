//! The store's state, and what moves it: bytes from clients, and what happened to domains.
//!
//! It does no I/O and knows no clock. The same inputs in the same order give the same state and the
//! same outputs, which is what lets a daemon that died be continued by another.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::io::xs_wire as xs;

use crate::connection::{Connection, Peer};
use crate::control::Update;
use crate::domains::Introduction;
use crate::error::{Error, Result};
use crate::kept::{Kept, Reader, Writer, kept};
use crate::ops::{Change, Op, Outcome, Work};
use crate::path::Path;
use crate::perms::{Access, Caller, Perms};
use crate::quota::{Delta, Owned, Quotas};
use crate::tree::{Node, Tree};
use crate::watch::{Token, Watch, Watches};
use crate::wire::{self, Message};
use crate::{ConnId, DomId};

/// Fires when a domain becomes known to the store.
pub const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Fires when a domain shuts down, crashes, is released or is gone.
pub const RELEASE_DOMAIN: &str = "@releaseDomain";

/// What the store asks of whoever does its I/O, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Map the ring of a domain and bind its event channel, then tell by [`Store::introduced`]. The
    /// connection that asked waits for that.
    Introduce(Introduction),
    /// Stop talking to a domain: its connection is gone.
    Release { conn: ConnId, domid: DomId },
    /// The connection broke the protocol: close it.
    End { conn: ConnId },
    /// The connection asked for the log to be switched.
    Log { on: bool },
    /// A line for the system's log.
    Print { text: String },
    /// Another program is to take the daemon's place, and tell by [`Store::updated`]. The connection that asked waits.
    Update(Update),
}

/// A domain that has been introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    pub conn: ConnId,
    /// Where its ring is.
    pub gfn: u64,
    /// Its end of the event channel.
    pub port: u32,
    /// Its end was announced by `@releaseDomain` already.
    pub shut_down: bool,
    /// See [`Caller::target`].
    pub target: Option<DomId>,
}

kept!(Domain { conn, gfn, port, shut_down, target });

impl Kept for Effect {
    fn keep(&self, to: &mut Writer) {
        match self {
            Self::Introduce(asked) => (0u8, *asked).keep(to),
            Self::Release { conn, domid } => (1u8, (*conn, *domid)).keep(to),
            Self::End { conn } => (2u8, *conn).keep(to),
            Self::Log { on } => (3u8, *on).keep(to),
            Self::Print { text } => (4u8, text.clone()).keep(to),
            Self::Update(asked) => (5u8, asked.clone()).keep(to),
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some(match u8::find(from)? {
            0 => Self::Introduce(Kept::find(from)?),
            1 => Self::Release { conn: Kept::find(from)?, domid: Kept::find(from)? },
            2 => Self::End { conn: Kept::find(from)? },
            3 => Self::Log { on: Kept::find(from)? },
            4 => Self::Print { text: Kept::find(from)? },
            5 => Self::Update(Kept::find(from)?),
            _ => return None,
        })
    }
}

/// The whole of it.
pub struct Store {
    pub(crate) tree: Tree,
    /// Who may see the special events, by their path.
    pub(crate) special: BTreeMap<Path, Arc<Perms>>,
    pub(crate) generation: u64,
    pub(crate) quotas: Quotas,
    pub(crate) owned: Owned,
    pub(crate) connections: BTreeMap<ConnId, Connection>,
    pub(crate) last_conn: ConnId,
    pub(crate) domains: BTreeMap<DomId, Domain>,
    pub(crate) watches: Watches,
    /// A domain beside dom0 that may do everything.
    privileged: Option<DomId>,
    /// The program that a live update names.
    pub(crate) update: Option<String>,
    effects: Vec<Effect>,
    /// Connections that have output which [`Store::take_ready`] has not told of.
    ready: Vec<ConnId>,
    /// Lines about messages, while they are wanted.
    trace: Option<Vec<String>>,
}

impl Store {
    /// A store with the nodes that every store has. `privileged`: a domain beside dom0 that may do
    /// everything.
    pub fn new(quotas: Quotas, privileged: Option<DomId>) -> Self {
        let perms = Arc::new(Perms::owned(0, Access::NONE));
        let mut tree = Tree::new(Node::new("", [].into(), perms.clone(), 0));
        tree.create(&Path::known("/tool/xenstored"), [].into(), &perms, 0);
        let special = [INTRODUCE_DOMAIN, RELEASE_DOMAIN].map(|name| (Path::known(name), perms.clone()));
        Self {
            tree,
            special: special.into(),
            generation: 0,
            quotas,
            owned: Owned::default(),
            connections: BTreeMap::new(),
            last_conn: 0,
            domains: BTreeMap::new(),
            watches: Watches::default(),
            privileged,
            update: None,
            effects: Vec::new(),
            ready: Vec::new(),
            trace: None,
        }
    }

    /// A new client's connection. Numbers are not used again.
    pub fn connect(&mut self, peer: Peer) -> ConnId {
        self.last_conn += 1;
        self.connections.insert(self.last_conn, Connection::new(peer));
        self.last_conn
    }

    /// The client is gone, and with it its watches and open transactions.
    pub fn disconnect(&mut self, conn: ConnId) {
        self.reset(conn);
        self.connections.remove(&conn);
    }

    pub fn connection(&self, conn: ConnId) -> Option<&Connection> {
        self.connections.get(&conn)
    }

    pub fn domain(&self, domid: DomId) -> Option<&Domain> {
        self.domains.get(&domid)
    }

    pub fn domains(&self) -> impl Iterator<Item = (DomId, &Domain)> {
        self.domains.iter().map(|(&domid, domain)| (domid, domain))
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether the tree may share nodes with an earlier one, which somebody still holds.
    pub(crate) fn has_snapshots(&self) -> bool {
        self.connections.values().any(|connection| !connection.transactions.is_empty())
    }

    /// What was asked for since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Connections that got output since the last call; one may be named twice, or be gone.
    pub fn take_ready(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.ready)
    }

    /// Whether lines about messages are wanted.
    pub fn trace(&mut self, on: bool) {
        self.trace = on.then(Vec::new);
    }

    /// A line for each message since the last call: direction, connection, type, transaction, payload.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn traced(&mut self, direction: &str, conn: ConnId, message: &[u8]) {
        if let (Some(lines), Ok(Some(message))) = (&mut self.trace, Message::first(message)) {
            let (type_, tx) = (message.head.type_, message.head.tx_id);
            lines.push(format!("{direction} {conn} {type_} {tx} ({})", message.payload.escape_ascii()));
        }
    }

    /// Bytes from a client. Whole messages are answered while [`Connection::may_ask`]; whoever feeds
    /// more than that only fills the connection's memory.
    pub fn input(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let mut inbox = std::mem::take(&mut connection.inbox);
        // Mostly a message comes whole, into an empty inbox, and is read where it lies.
        if inbox.is_empty() {
            let used = self.requests(conn, bytes);
            inbox.extend_from_slice(&bytes[used..]);
        } else {
            inbox.extend_from_slice(bytes);
            let used = self.requests(conn, &inbox);
            inbox.drain(..used);
        }
        if let Some(connection) = self.connections.get_mut(&conn).filter(|connection| !connection.ended) {
            connection.inbox = inbox;
        }
    }

    /// `count` bytes of the connection's output have gone; requests that waited for that go on.
    pub fn sent(&mut self, conn: ConnId, count: usize) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let could = connection.may_ask();
        connection.out.sent(count);
        if !could {
            self.input(conn, &[]);
        }
    }

    /// Answers the whole messages in `bytes`, and tells how many bytes they were.
    fn requests(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let mut used = 0;
        while self.connections.get(&conn).is_some_and(Connection::may_ask) {
            match Message::first(&bytes[used..]) {
                Ok(Some(message)) => {
                    self.traced("IN", conn, &bytes[used..]);
                    used += message.len();
                    self.request(conn, message);
                }
                Ok(None) => break,
                Err(wire::TooLong) => {
                    self.end(conn);
                    break;
                }
            }
        }
        used
    }

    /// The connection is over, by its own fault: what it had is dropped, but what it has asked for
    /// properly is still answered. [`Store::restart`] makes it usable again.
    pub fn end(&mut self, conn: ConnId) {
        self.reset(conn);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.ended = true;
            self.effects.push(Effect::End { conn });
        }
    }

    /// Drops a connection's watches and open transactions.
    pub(crate) fn reset(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.transactions.clear();
        for (path, token) in std::mem::take(&mut connection.watches) {
            self.watches.remove(conn, &token, &path).expect("a connection's watches are all there");
        }
    }

    /// Who a connection's requests are from.
    pub(crate) fn caller(&self, conn: ConnId) -> Caller {
        let peer = self.connections[&conn].peer;
        self.caller_of(peer)
    }

    fn caller_of(&self, peer: Peer) -> Caller {
        let domid = peer.domid();
        Caller {
            domid,
            target: self.domains.get(&domid).and_then(|domain| domain.target),
            privileged: domid == 0 || self.privileged == Some(domid),
        }
    }

    pub(crate) fn push_effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Puts an answer into a connection's output.
    pub(crate) fn answer(&mut self, conn: ConnId, head: &xs::XsdSockmsg, answer: Result<Vec<u8>>) {
        let reply = match answer {
            Ok(payload) => wire::reply(head, &payload),
            Err(error) => wire::refusal(head, error),
        };
        self.traced("OUT", conn, &reply);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.out.reply(reply);
            self.ready.push(conn);
        }
    }

    /// Does `op`, in a transaction unless `tx` is 0.
    pub(crate) fn perform(&mut self, conn: ConnId, tx: u32, op: &Op) -> Result<Outcome> {
        let caller = self.caller(conn);
        if tx != 0 {
            let connection = self.connections.get_mut(&conn).expect("it made a request");
            let transaction = connection.transactions.get_mut(&tx).ok_or(Error::ENOENT)?;
            return transaction.perform(&caller, op, &mut self.generation, &self.quotas, &self.owned);
        }
        let mut delta = Delta::default();
        let mut changes = Vec::new();
        let outcome = Work {
            tree: &mut self.tree,
            generation: &mut self.generation,
            quotas: &self.quotas,
            owned: &self.owned,
            delta: &mut delta,
            changes: &mut changes,
        }
        .perform(&caller, op);
        self.owned.apply(&delta);
        self.fire_all(&changes);
        outcome
    }

    /// Ends a transaction; with `commit` its changes are made, or it is `EAGAIN`.
    pub(crate) fn end_transaction(&mut self, conn: ConnId, tx: u32, commit: bool) -> Result<()> {
        let caller = self.caller(conn);
        let connection = self.connections.get_mut(&conn).expect("it made a request");
        let transaction = connection.transactions.remove(&tx).ok_or(Error::ENOENT)?;
        if commit {
            let generation = &mut self.generation;
            let done = transaction.commit(&caller, &self.tree, generation, &self.quotas, &self.owned)?;
            self.tree = done.tree;
            self.owned.apply(&done.delta);
            self.fire_all(&done.changes);
        }
        Ok(())
    }

    pub(crate) fn fire_all(&mut self, changes: &[Change]) {
        for change in changes {
            self.fire(change);
        }
    }

    /// Tells those who watch, as far as they may know of it: who could read the node before, or can
    /// now.
    fn fire(&mut self, change: &Change) {
        let mut events = Vec::new();
        self.watches.matching(&change.path, |conn, token, watch| {
            events.push((conn, token.clone(), watch.clone(), change.path.clone()));
        });
        let perms = [&change.before, &change.after];
        events.retain(|(conn, ..)| {
            let caller = self.caller(*conn);
            perms.iter().any(|perms| perms.as_ref().is_some_and(|perms| perms.access(&caller).read))
        });
        if let Some(removed) = &change.removed {
            self.watches.removed(&change.path, removed, |conn, token, watch, perms| {
                if perms.access(&self.caller(conn)).read {
                    events.push((conn, token.clone(), watch.clone(), watch.path.clone()));
                }
            });
        }
        for (conn, token, watch, path) in events {
            self.event(conn, &token, &watch, &path);
        }
    }

    /// Tells those who watch a special path and may.
    pub(crate) fn fire_special(&mut self, name: &str) {
        let path = Path::known(name);
        let perms = self.special.get(&path).cloned();
        let change = Change { path, before: perms.clone(), after: perms, removed: None };
        self.fire(&change);
    }

    /// Queues one event. A guest that does not read its events gets one for all of a watch, instead
    /// of as many as there are nodes below it: its own memory is what it may fill.
    pub(crate) fn event(&mut self, conn: ConnId, token: &Token, watch: &Watch, path: &Path) {
        let full = !self.caller(conn).privileged
            && self.connections[&conn].out.events() >= self.quotas.events as usize;
        let too_long = path.as_str().len() - watch.implied + token.len() + 2 > xs::XENSTORE_PAYLOAD_MAX;
        let path = if full || too_long { &watch.path } else { path };
        let name = &path.as_str().as_bytes()[watch.implied..];
        let event = wire::encode(xs::XS_WATCH_EVENT, 0, 0, &[name, b"\0", token, b"\0"]);
        self.traced("EVENT", conn, &event);
        let connection = self.connections.get_mut(&conn).expect("watches go with their connection");
        if connection.out.event(event) {
            self.ready.push(conn);
        }
    }
}

/// All of it but the lines about messages. Watches are kept with their connections.
impl Kept for Store {
    fn keep(&self, to: &mut Writer) {
        self.tree.keep(to);
        self.special.keep(to);
        self.generation.keep(to);
        self.quotas.keep(to);
        self.owned.keep(to);
        self.connections.keep(to);
        for (&conn, connection) in &self.connections {
            for (path, token) in &connection.watches {
                let watch =
                    self.watches.get(conn, token, path).expect("a connection's watches are all there");
                watch.keep(to);
            }
        }
        self.last_conn.keep(to);
        self.domains.keep(to);
        self.privileged.keep(to);
        self.update.keep(to);
        self.effects.keep(to);
        self.ready.keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        let mut store = Self {
            tree: Kept::find(from)?,
            special: Kept::find(from)?,
            generation: Kept::find(from)?,
            quotas: Kept::find(from)?,
            owned: Kept::find(from)?,
            connections: Kept::find(from)?,
            ..Self::new(Quotas::default(), None)
        };
        for (&conn, connection) in &store.connections {
            for (_, token) in &connection.watches {
                store.watches.add(conn, token.clone(), Kept::find(from)?).ok()?;
            }
        }
        store.last_conn = Kept::find(from)?;
        store.domains = Kept::find(from)?;
        store.privileged = Kept::find(from)?;
        store.update = Kept::find(from)?;
        store.effects = Kept::find(from)?;
        store.ready = Kept::find(from)?;
        Some(store)
    }
}
