//! All that a daemon's next life must know, and the entries of the journal that lead to it.
//!
//! A [`State`] is a [`Store`], where the daemon has each connection ([`Link`]), and what it has not carried out yet. It changes
//! by [`State::apply`] alone, and the same entries always lead to the same state: what was written down before it was
//! applied can be applied again by another life, behind a snapshot ([`State::snapshot`]) or from the beginning.

use std::collections::{BTreeMap, VecDeque};

use crate::connection::Peer;
use crate::control::Update;
use crate::domains::Introduction;
use crate::error::Result;
pub use crate::kept::VERSION;
use crate::kept::{Kept, Reader, Writer, kept};
use crate::ring::Place;
use crate::store::{Effect, Store};
use crate::{ConnId, DomId};

/// Where the daemon has a connection's other end. Numbers of descriptors are as long-lived as what they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// `untaken`: bytes that came and are still in the socket, as its beginning. `feed`: the file that answers are sent
    /// from, of which `sent` bytes have been.
    Socket { socket: i32, untaken: u32, feed: i32, sent: u64 },
    /// `channel`: the event channels' device by which `port` is bound.
    Ring { channel: i32, port: u32, gfn: u64, place: Place },
}

/// What moves a [`State`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A program in dom0 has connected.
    Connect(Link),
    /// Bytes came.
    Input {
        conn: ConnId,
        bytes: &'a [u8],
    },
    /// So many bytes that came have been taken out of their socket.
    Took {
        conn: ConnId,
        count: u32,
    },
    /// So many bytes of a connection's output have gone.
    Sent {
        conn: ConnId,
        count: u32,
    },
    Disconnect {
        conn: ConnId,
    },
    /// Dom0's own kernel, whose port is `port`.
    First {
        port: u32,
        link: Link,
    },
    /// What became of an introduction that was asked for; `link` where it is one now.
    Introduced {
        asked: Introduction,
        result: Result<()>,
        link: Option<Link>,
    },
    /// A guest's ring is given up, for another takes its place.
    Cut {
        conn: ConnId,
    },
    /// A guest begins anew with its ring.
    Restart {
        conn: ConnId,
    },
    /// A guest has broken its ring.
    End {
        conn: ConnId,
    },
    ShutDown {
        domid: DomId,
    },
    Gone {
        domid: DomId,
    },
    /// What became of a live update; refused with these words.
    Updated {
        asked: Update,
        refusal: Option<String>,
    },
    /// The first of [`State::outstanding`] has been carried out.
    Done,
    /// Whether lines about messages are wanted.
    Log {
        on: bool,
    },
}

/// See the [module](self).
pub struct State {
    pub store: Store,
    links: BTreeMap<ConnId, Link>,
    /// What the store asked for and the daemon has not carried out.
    outstanding: VecDeque<Effect>,
    /// Whether lines about messages are wanted.
    logging: bool,
}

impl State {
    pub fn new(store: Store) -> Self {
        Self { store, links: BTreeMap::new(), outstanding: VecDeque::new(), logging: false }
    }

    /// The state that [`State::snapshot`] has written. `None` where it was another version's.
    pub fn restore(snapshot: &[u8]) -> Option<Self> {
        let mut from = Reader::new(snapshot);
        if u32::find(&mut from)? != VERSION {
            return None;
        }
        let state = Self {
            store: Kept::find(&mut from)?,
            links: Kept::find(&mut from)?,
            outstanding: Vec::find(&mut from)?.into(),
            logging: Kept::find(&mut from)?,
        };
        (from.len() == 0).then_some(state)
    }

    pub fn snapshot(&self) -> Vec<u8> {
        let mut to = Writer::new(self.store.has_snapshots());
        VERSION.keep(&mut to);
        self.store.keep(&mut to);
        self.links.keep(&mut to);
        self.outstanding.iter().cloned().collect::<Vec<_>>().keep(&mut to);
        self.logging.keep(&mut to);
        to.bytes
    }

    /// Does what an entry says. A connection that begins with it is answered.
    pub fn apply(&mut self, entry: &Entry<'_>) -> Option<ConnId> {
        let began = match *entry {
            Entry::Updated { ref asked, ref refusal } => {
                if matches!(self.outstanding.front(), Some(Effect::Update(first)) if first == asked) {
                    self.outstanding.pop_front();
                }
                self.store.updated(asked, refusal.as_deref());
                None
            }
            Entry::Connect(link) => {
                let conn = self.store.connect(Peer::Socket);
                self.links.insert(conn, link);
                Some(conn)
            }
            Entry::Input { conn, bytes } => {
                match self.links.get_mut(&conn) {
                    Some(Link::Socket { untaken, .. }) => *untaken += bytes.len() as u32,
                    Some(Link::Ring { place, .. }) => {
                        place.cons = place.cons.wrapping_add(bytes.len() as u32)
                    }
                    None => {}
                }
                self.store.input(conn, bytes);
                None
            }
            Entry::Took { conn, count } => {
                if let Some(Link::Socket { untaken, .. }) = self.links.get_mut(&conn) {
                    *untaken -= count;
                }
                None
            }
            Entry::Sent { conn, count } => {
                match self.links.get_mut(&conn) {
                    Some(Link::Socket { sent, .. }) => *sent += u64::from(count),
                    Some(Link::Ring { place, .. }) => place.prod = place.prod.wrapping_add(count),
                    None => {}
                }
                self.store.sent(conn, count as usize);
                None
            }
            Entry::Disconnect { conn } => {
                self.store.disconnect(conn);
                self.links.remove(&conn);
                None
            }
            Entry::First { port, link } => {
                let conn = self.store.introduce_first(0, 0, port);
                self.links.insert(conn, link);
                Some(conn)
            }
            Entry::Introduced { asked, result, link } => {
                // The answer is what was outstanding: no other entry says that it was carried out.
                if self.outstanding.front() == Some(&Effect::Introduce(asked)) {
                    self.outstanding.pop_front();
                }
                let conn = self.store.introduced(&asked, result);
                if let (Some(conn), Some(link)) = (conn, link) {
                    self.links.insert(conn, link);
                }
                conn
            }
            Entry::Cut { conn } => {
                self.links.remove(&conn);
                None
            }
            Entry::Restart { conn } => {
                self.store.restart(conn);
                if let Some(Link::Ring { place, .. }) = self.links.get_mut(&conn) {
                    *place = Place::default();
                }
                None
            }
            Entry::End { conn } => {
                self.store.end(conn);
                None
            }
            Entry::ShutDown { domid } => {
                self.store.domain_shut_down(domid);
                None
            }
            Entry::Gone { domid } => {
                self.store.domain_gone(domid);
                None
            }
            Entry::Done => {
                self.outstanding.pop_front();
                None
            }
            Entry::Log { on } => {
                self.logging = on;
                None
            }
        };
        for effect in self.store.take_effects() {
            if let Effect::Release { conn, .. } = effect {
                self.links.remove(&conn);
            }
            self.outstanding.push_back(effect);
        }
        began
    }

    pub fn link(&self, conn: ConnId) -> Option<&Link> {
        self.links.get(&conn)
    }

    pub fn links(&self) -> impl Iterator<Item = (ConnId, &Link)> {
        self.links.iter().map(|(&conn, link)| (conn, link))
    }

    /// What is to be carried out next; [`Entry::Done`] says that it was, or [`Entry::Introduced`].
    pub fn outstanding(&self) -> Option<&Effect> {
        self.outstanding.front()
    }

    pub fn is_logging(&self) -> bool {
        self.logging
    }
}

kept!(Place { cons, prod });

impl Kept for Link {
    fn keep(&self, to: &mut Writer) {
        match *self {
            Self::Socket { socket, untaken, feed, sent } => {
                0u8.keep(to);
                ((socket, untaken), (feed, sent)).keep(to);
            }
            Self::Ring { channel, port, gfn, place } => {
                1u8.keep(to);
                ((channel, port), (gfn, place)).keep(to);
            }
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some(match u8::find(from)? {
            0 => {
                let ((socket, untaken), (feed, sent)) = Kept::find(from)?;
                Self::Socket { socket, untaken, feed, sent }
            }
            1 => {
                let ((channel, port), (gfn, place)) = Kept::find(from)?;
                Self::Ring { channel, port, gfn, place }
            }
            _ => return None,
        })
    }
}

/// Bytes of an [`Entry::Input`] before its own.
pub const INPUT_HEAD: usize = 1 + 8 + 4;

/// The beginning of an [`Entry::Input`], for who has its bytes behind it already.
pub fn input_head(conn: ConnId, len: usize) -> [u8; INPUT_HEAD] {
    let mut head = [0; INPUT_HEAD];
    head[1..9].copy_from_slice(&conn.to_le_bytes());
    head[9..].copy_from_slice(&(len as u32).to_le_bytes());
    head
}

impl<'a> Entry<'a> {
    /// Behind what is in `bytes`.
    pub fn write(&self, bytes: Vec<u8>) -> Vec<u8> {
        let mut to = Writer::behind(bytes);
        let to = &mut to;
        match self {
            Self::Input { conn, bytes } => {
                to.bytes.extend_from_slice(&input_head(*conn, bytes.len()));
                to.bytes.extend_from_slice(bytes);
            }
            Self::Connect(link) => (1u8, *link).keep(to),
            Self::Sent { conn, count } => (2u8, (*conn, *count)).keep(to),
            Self::Disconnect { conn } => (3u8, *conn).keep(to),
            Self::First { port, link } => (4u8, (*port, *link)).keep(to),
            Self::Introduced { asked, result, link } => (5u8, (*asked, (*result, *link))).keep(to),
            Self::Cut { conn } => (6u8, *conn).keep(to),
            Self::Restart { conn } => (7u8, *conn).keep(to),
            Self::End { conn } => (8u8, *conn).keep(to),
            Self::ShutDown { domid } => (9u8, *domid).keep(to),
            Self::Gone { domid } => (10u8, *domid).keep(to),
            Self::Done => 11u8.keep(to),
            Self::Log { on } => (12u8, *on).keep(to),
            Self::Took { conn, count } => (14u8, (*conn, *count)).keep(to),
            Self::Updated { asked, refusal } => (13u8, (asked.clone(), refusal.clone())).keep(to),
        }
        std::mem::take(&mut to.bytes)
    }

    /// The entry that `bytes` begin with, and how many bytes it is. `None` where there is none.
    pub fn first(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut from = Reader::new(bytes);
        let entry = match u8::find(&mut from)? {
            0 => {
                let (conn, len) = (u64::find(&mut from)?, u32::find(&mut from)?);
                Self::Input { conn, bytes: from.take(len as usize)? }
            }
            1 => Self::Connect(Kept::find(&mut from)?),
            2 => {
                let (conn, count) = Kept::find(&mut from)?;
                Self::Sent { conn, count }
            }
            3 => Self::Disconnect { conn: Kept::find(&mut from)? },
            4 => {
                let (port, link) = Kept::find(&mut from)?;
                Self::First { port, link }
            }
            5 => {
                let (asked, (result, link)) = Kept::find(&mut from)?;
                Self::Introduced { asked, result, link }
            }
            6 => Self::Cut { conn: Kept::find(&mut from)? },
            7 => Self::Restart { conn: Kept::find(&mut from)? },
            8 => Self::End { conn: Kept::find(&mut from)? },
            9 => Self::ShutDown { domid: Kept::find(&mut from)? },
            10 => Self::Gone { domid: Kept::find(&mut from)? },
            11 => Self::Done,
            12 => Self::Log { on: Kept::find(&mut from)? },
            13 => {
                let (asked, refusal) = Kept::find(&mut from)?;
                Self::Updated { asked, refusal }
            }
            14 => {
                let (conn, count) = Kept::find(&mut from)?;
                Self::Took { conn, count }
            }
            _ => return None,
        };
        Some((entry, bytes.len() - from.len()))
    }
}
