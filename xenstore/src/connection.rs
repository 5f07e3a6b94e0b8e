//! One client's side: bytes that came and are not yet a whole message, bytes that wait to go.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use crate::DomId;
use crate::kept::{Kept, Reader, Writer, kept};
use crate::path::Path;
use crate::transaction::Transaction;
use crate::watch::Token;

/// Bytes waiting to go, beyond which a client's requests wait as well.
pub const BACKLOG: usize = 64 << 10;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A program in dom0, by a Unix socket.
    Socket,
    /// A domain, by its ring.
    Domain(DomId),
}

impl Peer {
    /// The domain that its requests are from.
    pub fn domid(self) -> DomId {
        match self {
            Self::Socket => 0,
            Self::Domain(domid) => domid,
        }
    }
}

impl Kept for Peer {
    fn keep(&self, to: &mut Writer) {
        match *self {
            Self::Socket => None,
            Self::Domain(domid) => Some(domid),
        }
        .keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Some(Option::find(from)?.map_or(Self::Socket, Self::Domain))
    }
}

/// A connection's state.
pub struct Connection {
    pub peer: Peer,
    /// Bytes received of which no whole message was made yet, or whose turn has not come.
    pub(crate) inbox: Vec<u8>,
    pub(crate) out: Outbox,
    pub(crate) transactions: BTreeMap<u32, Transaction>,
    pub(crate) last_transaction: u32,
    pub(crate) watches: BTreeSet<(Path, Token)>,
    /// The answer to its last request needs something from outside first.
    pub(crate) waiting: bool,
    /// It broke the protocol; nothing it sends is looked at.
    pub(crate) ended: bool,
}

kept!(Connection { peer, inbox, out, transactions, last_transaction, watches, waiting, ended });

impl Connection {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            inbox: Vec::new(),
            out: Outbox::default(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
            watches: BTreeSet::new(),
            waiting: false,
            ended: false,
        }
    }

    /// Whether its next request may be looked at.
    pub fn may_ask(&self) -> bool {
        !self.waiting && !self.ended && self.out.len() < BACKLOG
    }

    /// Whether it broke the protocol.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Messages, or what is left of the first, in the order they are to go.
    pub fn output(&self) -> impl Iterator<Item = &[u8]> {
        self.out.messages()
    }

    /// Bytes that wait to go.
    pub fn waiting_output(&self) -> usize {
        self.out.len()
    }

    /// An id that no open transaction has; never 0.
    pub(crate) fn new_transaction_id(&mut self) -> u32 {
        loop {
            self.last_transaction = self.last_transaction.wrapping_add(1);
            if self.last_transaction != 0 && !self.transactions.contains_key(&self.last_transaction) {
                return self.last_transaction;
            }
        }
    }
}

/// Messages that wait to go. An event that waits is not put there twice.
#[derive(Default)]
pub(crate) struct Outbox {
    messages: VecDeque<Arc<[u8]>>,
    /// Those of them that are events of which nothing has gone.
    events: HashSet<Arc<[u8]>>,
    /// Bytes of the first that have gone.
    gone: usize,
    len: usize,
}

impl Kept for Outbox {
    fn keep(&self, to: &mut Writer) {
        self.gone.keep(to);
        (self.messages.len() as u32).keep(to);
        for (at, message) in self.messages.iter().enumerate() {
            // An event that has begun to go is none that waits, even where the same waits behind it.
            let waits = (at > 0 || self.gone == 0) && self.events.contains(message);
            waits.keep(to);
            message.keep(to);
        }
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        let mut out = Self { gone: Kept::find(from)?, ..Self::default() };
        for _ in 0..u32::find(from)? {
            let (waits, message) = <(bool, Arc<[u8]>)>::find(from)?;
            if waits {
                out.events.insert(message.clone());
            }
            out.len += message.len();
            out.messages.push_back(message);
        }
        out.len = out.len.checked_sub(out.gone)?;
        Some(out)
    }
}

impl Outbox {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Undelivered events.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    pub fn reply(&mut self, message: Vec<u8>) {
        self.len += message.len();
        self.messages.push_back(message.into());
    }

    /// Whether the event was not waiting already.
    pub fn event(&mut self, message: Vec<u8>) -> bool {
        let message: Arc<[u8]> = message.into();
        let new = self.events.insert(message.clone());
        if new {
            self.len += message.len();
            self.messages.push_back(message);
        }
        new
    }

    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.messages.front().map(|message| &message[self.gone..]);
        first.into_iter().chain(self.messages.iter().skip(1).map(|message| &message[..]))
    }

    /// `count` bytes have gone, at most [`Self::len`].
    pub fn sent(&mut self, mut count: usize) {
        self.len -= count;
        while let Some(first) = self.messages.front() {
            if count > 0 && self.gone == 0 {
                self.events.remove(first);
            }
            let left = first.len() - self.gone;
            if count < left {
                self.gone += count;
                return;
            }
            count -= left;
            self.gone = 0;
            self.messages.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(out: &Outbox) -> Vec<u8> {
        out.messages().flatten().copied().collect()
    }

    #[test]
    fn bytes_go_in_order_however_they_are_cut() {
        for step in 1..12 {
            let mut out = Outbox::default();
            out.reply(b"abcd".to_vec());
            out.event(b"ef".to_vec());
            out.reply(b"ghijk".to_vec());
            let mut gone = Vec::new();
            while out.len() > 0 {
                let now = step.min(out.len());
                gone.extend_from_slice(&bytes(&out)[..now]);
                out.sent(now);
                assert_eq!(out.len(), bytes(&out).len());
            }
            assert_eq!(gone, b"abcdefghijk", "{step}");
        }
    }

    #[test]
    fn an_event_waits_once_until_its_first_byte_has_gone() {
        let mut out = Outbox::default();
        assert!(out.event(b"ab".to_vec()));
        assert!(!out.event(b"ab".to_vec()));
        assert_eq!(out.events(), 1);
        out.sent(1);
        assert!(out.event(b"ab".to_vec()), "the client has begun to read the first");
        out.sent(1);
        assert_eq!(bytes(&out), b"ab");
        out.sent(2);
        assert_eq!((out.events(), out.len()), (0, 0));
    }
}
