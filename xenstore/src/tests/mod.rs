//! The store as its clients see it: messages in, messages out.

mod domains;
mod hostile;
mod kept;
mod model;
mod quotas;
mod requests;
mod transactions;
mod watches;

use abi::io::xs_wire as xs;

use crate::wire::{self, Message};
use crate::{ConnId, DomId, Effect, Introduction, Peer, Quotas, Store};

/// An answer's payload without its last nul, or the name of an error.
type Answer = Result<String, String>;

struct World {
    store: Store,
    /// A program in dom0.
    dom0: ConnId,
}

impl World {
    fn new() -> Self {
        Self::with(Quotas::default())
    }

    fn with(quotas: Quotas) -> Self {
        let mut store = Store::new(quotas, None);
        let dom0 = store.connect(Peer::Socket);
        Self { store, dom0 }
    }

    /// A guest, with its home as the toolstack makes it.
    fn guest(&mut self, domid: DomId) -> ConnId {
        let home = format!("/local/domain/{domid}");
        self.ok(self.dom0, xs::XS_MKDIR, 0, &[&home]);
        self.ok(self.dom0, xs::XS_SET_PERMS, 0, &[&home, &format!("n{domid}")]);
        self.introduce(domid)
    }

    fn introduce(&mut self, domid: DomId) -> ConnId {
        self.send(self.dom0, xs::XS_INTRODUCE, 0, format!("{domid}\0{}\0{}\0", 100, 7).as_bytes());
        let asked = self.introductions();
        let [asked] = asked[..] else { panic!("one introduction, not {asked:?}") };
        let conn = self.store.introduced(&asked, Ok(())).expect("it is introduced now");
        let answer = self.answer(self.dom0);
        assert_eq!(answer, Ok("OK".into()));
        conn
    }

    fn introductions(&mut self) -> Vec<Introduction> {
        let effects = self.store.take_effects().into_iter();
        effects.filter_map(|e| if let Effect::Introduce(asked) = e { Some(asked) } else { None }).collect()
    }

    fn send(&mut self, conn: ConnId, type_: u32, tx: u32, payload: &[u8]) {
        self.store.input(conn, &wire::encode(type_, 77, tx, &[payload]));
    }

    /// The messages that wait for a client, which takes them.
    fn take(&mut self, conn: ConnId) -> Vec<(u32, Vec<u8>)> {
        let bytes: Vec<u8> = self.store.connection(conn).unwrap().output().flatten().copied().collect();
        self.store.sent(conn, bytes.len());
        let mut messages = Vec::new();
        let mut rest = &bytes[..];
        while let Some(message) = Message::first(rest).unwrap() {
            messages.push((message.head.type_, message.payload.to_vec()));
            rest = &rest[message.len()..];
        }
        assert!(rest.is_empty(), "messages are whole");
        messages
    }

    /// The one answer that waits; events before and behind it are dropped.
    fn answer(&mut self, conn: ConnId) -> Answer {
        let mut answers = self.take(conn);
        answers.retain(|(type_, _)| *type_ != xs::XS_WATCH_EVENT);
        let [(type_, payload)] = &answers[..] else { panic!("one answer, not {answers:?}") };
        let text = String::from_utf8_lossy(payload);
        let text = text.strip_suffix('\0').unwrap_or(&text).to_owned();
        if *type_ == xs::XS_ERROR { Err(text) } else { Ok(text) }
    }

    /// One request of strings, each with its nul.
    fn ask(&mut self, conn: ConnId, type_: u32, tx: u32, strings: &[&str]) -> Answer {
        let payload: String = strings.iter().flat_map(|string| [*string, "\0"]).collect();
        self.send(conn, type_, tx, payload.as_bytes());
        self.answer(conn)
    }

    fn ok(&mut self, conn: ConnId, type_: u32, tx: u32, strings: &[&str]) -> String {
        self.ask(conn, type_, tx, strings).unwrap_or_else(|error| panic!("{strings:?}: {error}"))
    }

    fn write(&mut self, conn: ConnId, tx: u32, path: &str, value: &str) -> Answer {
        self.send(conn, xs::XS_WRITE, tx, format!("{path}\0{value}").as_bytes());
        self.answer(conn)
    }

    fn read(&mut self, conn: ConnId, tx: u32, path: &str) -> Answer {
        self.ask(conn, xs::XS_READ, tx, &[path])
    }

    fn perms(&mut self, path: &str, perms: &[&str]) {
        self.ok(self.dom0, xs::XS_SET_PERMS, 0, &[&[path], perms].concat());
    }

    fn start(&mut self, conn: ConnId) -> u32 {
        self.ok(conn, xs::XS_TRANSACTION_START, 0, &[""]).parse().unwrap()
    }

    fn commit(&mut self, conn: ConnId, tx: u32) -> Answer {
        self.ask(conn, xs::XS_TRANSACTION_END, tx, &["T"])
    }

    /// The events that wait for a client, as `path token`.
    fn events(&mut self, conn: ConnId) -> Vec<String> {
        let messages = self.take(conn).into_iter();
        let events = messages.filter(|(type_, _)| *type_ == xs::XS_WATCH_EVENT);
        events
            .map(|(_, payload)| String::from_utf8(payload).unwrap().replace('\0', " ").trim().into())
            .collect()
    }

    /// The store agrees with itself.
    fn check(&self) {
        self.store.check().expect("the store's counts are right");
    }
}

fn refused(error: &str) -> Answer {
    Err(error.into())
}
