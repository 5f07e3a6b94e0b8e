//! A life that ends: what the next one finds in a snapshot and a journal is what the one before had.

use proptest::prelude::*;

use super::*;
use crate::ring::Place;
use crate::state::{Entry, Link, State};

/// Something that happens to a daemon. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    /// A request: of whom, its type, its transaction, which payload.
    Ask(usize, usize, u32, usize),
    /// A part of a request.
    Half(usize),
    Sent(usize, u32),
    Took(usize),
    Disconnect(usize),
    /// What was asked for is done, or refused.
    Introduced(bool),
    Done,
    Restart(usize),
    End(usize),
    ShutDown(u16),
    Gone(u16),
}

const TYPES: [u32; 14] = [
    xs::XS_READ,
    xs::XS_WRITE,
    xs::XS_DIRECTORY,
    xs::XS_MKDIR,
    xs::XS_RM,
    xs::XS_GET_PERMS,
    xs::XS_SET_PERMS,
    xs::XS_WATCH,
    xs::XS_UNWATCH,
    xs::XS_TRANSACTION_START,
    xs::XS_TRANSACTION_END,
    xs::XS_INTRODUCE,
    xs::XS_RELEASE,
    xs::XS_CONTROL,
];

fn payload(type_: u32, which: usize) -> Vec<u8> {
    let path = ["/a", "/a/b", "/a/b/c", "/d/e", "/local/domain/1/x", "y"][which % 6];
    match type_ {
        xs::XS_WRITE => format!("{path}\0value {which}"),
        xs::XS_SET_PERMS => format!("{path}\0n{}\0r{}\0", which % 3, which % 4),
        xs::XS_WATCH if which.is_multiple_of(5) => format!("{path}\0token\0{}\0", which % 3),
        xs::XS_WATCH | xs::XS_UNWATCH => format!("{path}\0token\0"),
        xs::XS_TRANSACTION_START => "\0".into(),
        xs::XS_TRANSACTION_END => ["T\0", "F\0"][usize::from(which.is_multiple_of(3))].into(),
        xs::XS_INTRODUCE => format!("{}\x00100\0{which}\0", 1 + which % 3),
        xs::XS_RELEASE => format!("{}\0", 1 + which % 3),
        xs::XS_CONTROL => ["print\0line\0", "quota\0set\0nodes\x003\0", "log\0on\0"][which % 3].into(),
        _ => format!("{path}\0"),
    }
    .into_bytes()
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..6usize;
    prop_oneof![
        2 => Just(Step::Connect),
        30 => (who(), 0..TYPES.len(), 0..4u32, 0..30usize).prop_map(|(w, t, x, p)| Step::Ask(w, t, x, p)),
        2 => who().prop_map(Step::Half),
        8 => (who(), 1..200u32).prop_map(|(who, count)| Step::Sent(who, count)),
        2 => who().prop_map(Step::Took),
        1 => who().prop_map(Step::Disconnect),
        3 => any::<bool>().prop_map(Step::Introduced),
        3 => Just(Step::Done),
        1 => who().prop_map(Step::Restart),
        1 => who().prop_map(Step::End),
        1 => (1..4u16).prop_map(Step::ShutDown),
        1 => (1..4u16).prop_map(Step::Gone),
    ]
}

const RING: Link = Link::Ring { channel: 9, port: 3, gfn: 100, place: Place { cons: 7, prod: 0 } };

/// The entry that a step is now, if it can be.
fn entry<'a>(state: &State, step: &Step, bytes: &'a mut Vec<u8>) -> Option<Entry<'a>> {
    let conn = |who: usize| {
        let all: Vec<_> = state.links().map(|(conn, _)| conn).collect();
        all.get(who % all.len().max(1)).copied()
    };
    Some(match *step {
        Step::Connect => Entry::Connect(Link::Socket { socket: 5, untaken: 0, feed: 6, sent: 0 }),
        Step::Ask(who, type_, tx, which) => {
            let type_ = TYPES[type_];
            // Most requests are in no transaction, and those that are know its number.
            let tx = if type_ == xs::XS_TRANSACTION_END { tx.max(1) } else { tx.saturating_sub(1) };
            *bytes = wire::encode(type_, 1, tx, &[&payload(type_, which)]);
            Entry::Input { conn: conn(who)?, bytes }
        }
        Step::Half(who) => {
            *bytes = wire::encode(xs::XS_READ, 1, 0, &[b"/a\0"])[..9].to_vec();
            Entry::Input { conn: conn(who)?, bytes }
        }
        Step::Sent(who, count) => {
            let conn = conn(who)?;
            let waiting = state.store.connection(conn)?.waiting_output() as u32;
            Entry::Sent { conn, count: count.min(waiting) }
        }
        Step::Took(who) => {
            let conn = conn(who)?;
            let Some(&Link::Socket { untaken: count, .. }) = state.link(conn) else { return None };
            Entry::Took { conn, count }
        }
        Step::Disconnect(who) => {
            let conn = conn(who)?;
            // A guest's connection goes with its guest.
            matches!(state.link(conn), Some(Link::Socket { .. })).then_some(Entry::Disconnect { conn })?
        }
        Step::Introduced(done) => match *state.outstanding()? {
            Effect::Introduce(asked) if done => Entry::Introduced { asked, result: Ok(()), link: Some(RING) },
            Effect::Introduce(asked) => {
                Entry::Introduced { asked, result: Err(crate::Error::EINVAL), link: None }
            }
            _ => return None,
        },
        Step::Done => match state.outstanding()? {
            Effect::Introduce(_) => return None,
            _ => Entry::Done,
        },
        Step::Restart(who) => Entry::Restart { conn: conn(who)? },
        Step::End(who) => Entry::End { conn: conn(who)? },
        Step::ShutDown(domid) => Entry::ShutDown { domid },
        Step::Gone(domid) => Entry::Gone { domid },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_next_life_goes_on_where_the_last_one_was(steps in prop::collection::vec(step(), 1..150), at: prop::sample::Index) {
        let mut live = State::new(Store::new(Quotas::default(), None));
        live.apply(&Entry::First { port: 1, link: RING });
        let cut = at.index(steps.len());
        let (mut snapshot, mut journal) = (live.snapshot(), Vec::new());
        for (number, step) in steps.iter().enumerate() {
            if number == cut {
                snapshot = live.snapshot();
                journal.clear();
            }
            let mut bytes = Vec::new();
            if let Some(entry) = entry(&live, step, &mut bytes) {
                journal = entry.write(journal);
                live.apply(&entry);
            }
        }
        let mut next = State::restore(&snapshot).unwrap();
        prop_assert_eq!(&next.snapshot(), &snapshot, "what is read is what was written");
        let mut rest = &journal[..];
        while let Some((entry, len)) = Entry::first(rest) {
            next.apply(&entry);
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(next.snapshot(), live.snapshot());
        prop_assert_eq!(next.store.check(), live.store.check());
        prop_assert!(live.store.check().is_ok());
    }
}

/// Nodes that a snapshot of the tree shares with it are shared afterwards: what has not changed is known to be the same.
#[test]
fn a_transaction_goes_on_as_it_was() {
    let mut state = State::new(Store::new(Quotas::default(), None));
    let conn =
        state.apply(&Entry::Connect(Link::Socket { socket: 5, untaken: 0, feed: 6, sent: 0 })).unwrap();
    let ask = |state: &mut State, type_: u32, tx: u32, payload: &[u8]| {
        state.apply(&Entry::Input { conn, bytes: &wire::encode(type_, 1, tx, &[payload]) });
        let output: Vec<u8> = state.store.connection(conn).unwrap().output().flatten().copied().collect();
        state.apply(&Entry::Sent { conn, count: output.len() as u32 });
        output[wire::HEAD..].to_vec()
    };
    for number in 0..100 {
        ask(&mut state, xs::XS_WRITE, 0, format!("/a/{number}\0v").as_bytes());
    }
    let alone = state.snapshot().len();
    ask(&mut state, xs::XS_TRANSACTION_START, 0, b"\0");
    ask(&mut state, xs::XS_READ, 1, b"/a/1\0");
    ask(&mut state, xs::XS_WRITE, 1, b"/a/2\0w");
    let mut next = State::restore(&state.snapshot()).unwrap();
    assert!(next.snapshot().len() < alone + 1000, "100 nodes are there once, and not three times");
    assert_eq!(ask(&mut next, xs::XS_READ, 0, b"/a/2\0"), b"v");
    assert_eq!(ask(&mut next, xs::XS_READ, 1, b"/a/2\0"), b"w");
    assert_eq!(ask(&mut next, xs::XS_TRANSACTION_END, 1, b"T\0"), b"OK\0");
    assert_eq!(ask(&mut next, xs::XS_READ, 0, b"/a/2\0"), b"w");
}

#[test]
fn bytes_that_are_none_are_refused() {
    let snapshot = State::new(Store::new(Quotas::default(), None)).snapshot();
    assert!(State::restore(&snapshot).is_some());
    assert!((0..snapshot.len()).all(|cut| State::restore(&snapshot[..cut]).is_none()));
    let mut other = snapshot;
    other[0] += 1;
    assert!(State::restore(&other).is_none(), "another version's");
    assert_eq!(Entry::first(&[]), None);
    assert_eq!(Entry::first(&[200]), None);
}
