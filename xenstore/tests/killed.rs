//! The daemon's processes are killed, at random moments and between any two steps: no client notices more than a delay.

mod client;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use abi::io::xs_wire as xs;
use client::{ask, ask_in, connect, daemon, receive};
use keeper::testing::{Daemon, wait};
use rustix::process::{Signal, kill_process};

const KILLS: u64 = 200;

/// What tells lives apart: each puts a new file there once it works. One that is held has a number of its own.
struct Life(File);

impl PartialEq for Life {
    fn eq(&self, other: &Self) -> bool {
        let number = |life: &Life| life.0.metadata().unwrap().ino();
        number(self) == number(other)
    }
}

fn life(folder: &Path) -> Option<Life> {
    File::open(folder.join("pid")).ok().map(Life)
}

fn write(socket: &mut UnixStream, path: &str, value: &str) {
    let written = ask(socket, xs::XS_WRITE, format!("{path}\0{value}").as_bytes());
    assert_eq!(written, (xs::XS_WRITE, b"OK\0".to_vec()));
}

fn read(socket: &mut UnixStream, tx: u32, path: &str) -> String {
    let (type_, value) = ask_in(socket, tx, xs::XS_READ, format!("{path}\0").as_bytes());
    assert_eq!(type_, xs::XS_READ, "{path}: {value:?}");
    String::from_utf8(value).unwrap()
}

/// Begins a transaction.
fn start(socket: &mut UnixStream) -> u32 {
    let (type_, id) = ask(socket, xs::XS_TRANSACTION_START, b"\0");
    assert_eq!(type_, xs::XS_TRANSACTION_START);
    String::from_utf8(id).unwrap().trim_end_matches('\0').parse().unwrap()
}

/// Ends one; whether it took place.
fn commit(socket: &mut UnixStream, tx: u32) -> bool {
    match ask_in(socket, tx, xs::XS_TRANSACTION_END, b"T\0") {
        (xs::XS_TRANSACTION_END, ok) if ok == b"OK\0" => true,
        (xs::XS_ERROR, error) if error == b"EAGAIN\0" => false,
        other => panic!("{other:?}"),
    }
}

/// One more in a node that others count in too; whether it took place.
fn count(socket: &mut UnixStream, path: &str) -> bool {
    let tx = start(socket);
    let value: u64 = read(socket, tx, path).parse().unwrap();
    let written = ask_in(socket, tx, xs::XS_WRITE, format!("{path}\0{}", value + 1).as_bytes());
    assert_eq!(written.0, xs::XS_WRITE);
    commit(socket, tx)
}

#[test]
fn nobody_notices_that_either_is_killed() {
    let mut daemon = Daemon::start("store-killed", |folder| daemon(folder, &["-N", "-D"]));
    let folder = daemon.folder.clone();
    let mut first = connect(&folder);
    write(&mut first, "/count", "0");
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let client = |work: fn(&Path, &dyn Fn() -> bool) -> u64| {
        let (folder, over, done) = (folder.clone(), over.clone(), done.clone());
        thread::spawn(move || {
            work(&folder, &|| {
                done.fetch_add(1, Ordering::Relaxed);
                !over.load(Ordering::Relaxed)
            })
        })
    };
    // Counting together: each commit that succeeds took place once, each that conflicts not at all.
    let counts: Vec<_> = (0..2)
        .map(|_| {
            client(|folder, more| {
                let mut socket = connect(folder);
                let mut counted = 0;
                while more() {
                    counted += u64::from(count(&mut socket, "/count"));
                }
                counted
            })
        })
        .collect();
    // Two connections, one of which is told of what the other does: of all, once, in order.
    let watches = client(|folder, more| {
        let (mut writes, mut watches) = (connect(folder), connect(folder));
        assert_eq!(ask(&mut watches, xs::XS_WATCH, b"/told\0t\0").0, xs::XS_WATCH);
        assert_eq!(receive(&mut watches), (xs::XS_WATCH_EVENT, b"/told\0t\0".to_vec()));
        let mut number = 0;
        while more() {
            number += 1;
            write(&mut writes, &format!("/told/{number}"), &"v".repeat(700));
            let event = format!("/told/{number}\0t\0").into_bytes();
            assert_eq!(receive(&mut watches), (xs::XS_WATCH_EVENT, event));
            assert_eq!(ask(&mut writes, xs::XS_RM, format!("/told/{number}\0").as_bytes()).0, xs::XS_RM);
            let event = format!("/told/{number}\0t\0").into_bytes();
            assert_eq!(receive(&mut watches), (xs::XS_WATCH_EVENT, event));
        }
        number
    });
    // Coming and going, with many requests at once; a node is there only for who made it.
    let comes = client(|folder, more| {
        let mut times = 0;
        while more() {
            times += 1;
            let mut socket = connect(folder);
            for number in 0..20 {
                client::send(&mut socket, xs::XS_WRITE, 0, format!("/mine/{number}\0{times}").as_bytes());
            }
            (0..20).for_each(|_| assert_eq!(receive(&mut socket).0, xs::XS_WRITE));
            assert_eq!(read(&mut socket, 0, "/mine/19"), times.to_string());
            // It leaves a transaction open, and a watch.
            start(&mut socket);
            assert_eq!(ask(&mut socket, xs::XS_WATCH, b"/mine\0t\0").0, xs::XS_WATCH);
        }
        times
    });
    // A sequence that looks random and is the same each time.
    let mut seed = 12345_u32;
    for _ in 0..KILLS {
        let now = wait("a life that works", || life(&folder));
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let before = done.load(Ordering::Relaxed);
        for _ in 0..(seed >> 16) % 2000 {
            std::hint::spin_loop();
        }
        wait("clients go on", || {
            let alive = counts.iter().chain([&watches, &comes]).all(|client| !client.is_finished());
            assert!(alive, "a client noticed");
            (done.load(Ordering::Relaxed) >= before + u64::from((seed >> 20) % 8)).then_some(())
        });
        let alive = daemon.alive();
        kill_process(alive[(seed >> 24) as usize % alive.len()], Signal::KILL).unwrap();
        wait("the next life", || {
            daemon.alive();
            life(&folder).filter(|next| *next != now)
        });
    }
    over.store(true, Ordering::Relaxed);
    let counted: u64 = counts.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(watches.join().unwrap() > 0 && comes.join().unwrap() > 0 && counted > 0);
    assert_eq!(read(&mut first, 0, "/count"), counted.to_string(), "on a connection that saw all lives");
    assert_eq!(ask(&mut first, xs::XS_CONTROL, b"check\0"), (xs::XS_CONTROL, b"OK\0".to_vec()));
    let names = daemon.alive().into_iter().map(|pid| {
        fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap().trim_end().to_owned()
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), ["xen-keeper", "xenstored"].map(str::to_owned).into());
    daemon.end(|alive| alive[0]);
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "it has ended");
}

#[test]
fn nobody_notices_at_which_step_it_was() {
    // Prime, and more than the life after a death needs to go on.
    let daemon = Daemon::start("store-steps", |folder| {
        let mut daemon = daemon(folder, &["-N", "-D"]);
        daemon.env("XENSTORED_DIES_EVERY", "101");
        daemon
    });
    let folder = daemon.folder.clone();
    let (mut one, mut two) = (connect(&folder), connect(&folder));
    let first = life(&folder);
    write(&mut one, "/count", "0");
    // Through all lives: a transaction that nobody else disturbs, and a watch.
    let open = start(&mut two);
    assert_eq!(ask_in(&mut two, open, xs::XS_WRITE, b"/open\0yes").0, xs::XS_WRITE);
    assert_eq!(ask(&mut two, xs::XS_WATCH, b"/big\0t\0").0, xs::XS_WATCH);
    assert_eq!(receive(&mut two).0, xs::XS_WATCH_EVENT);
    for round in 1..=150 {
        assert!(count(&mut one, "/count"), "nobody else counts");
        assert_eq!(read(&mut one, 0, "/count"), round.to_string());
        // Enough of them that snapshots are taken.
        write(&mut one, "/big", &format!("{round:03}").repeat(900));
        assert_eq!(receive(&mut two), (xs::XS_WATCH_EVENT, b"/big\0t\0".to_vec()));
        if round % 10 == 0 {
            let mut other = connect(&folder);
            assert_eq!(read(&mut other, 0, "/big").len(), 2700);
            assert_eq!(ask(&mut other, xs::XS_READ, b"/open\0"), (xs::XS_ERROR, b"ENOENT\0".to_vec()));
            // Who breaks the protocol is put out, in whatever life.
            std::io::Write::write_all(&mut other, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0])
                .unwrap();
            assert_eq!(other.read(&mut [0]).unwrap(), 0);
        }
    }
    assert!(life(&folder) != first, "it was killed");
    assert!(commit(&mut two, open), "nobody touched what it knows");
    assert_eq!(read(&mut one, 0, "/open"), "yes");
    assert_eq!(ask(&mut one, xs::XS_CONTROL, b"check\0"), (xs::XS_CONTROL, b"OK\0".to_vec()));
    daemon.end(|alive| alive[0]);
}
