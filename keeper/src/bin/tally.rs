//! The smallest daemon that must not lose anything: what `tests/killed.rs` kills.
//!
//! A client sends numbers of 8 bytes, each one more than the one before, beginning at 1, and gets each back. A number that is
//! not the next one ends the connection. `tally FOLDER`: its socket is `FOLDER/socket`; `FOLDER/pids` has the life's number
//! and the two processes'.
//!
//! `tally FOLDER N` kills itself at every Nth of its steps, of which there is one between any two things that it does.
//!
//! A record of the region for each connection: its descriptor, its outlet's two, the last number, how much of the answer has
//! been put into the outlet, and what is being done just now.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use keeper::{Life, Outlet, Passed, Region};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};
use rustix::process::{Signal, getpid, kill_process};

/// Words of a record.
const CLIENT: usize = 0;
const OUTLET: usize = 1;
const LAST: usize = 3;
/// Bytes of all answers that are in the outlet or beyond, times [`ENDED`]; while more are being put, plus one more than the
/// outlet held before. One word, for it must change at once.
const PUT: usize = 4;
const ENDED: u64 = 1 << 20;
/// What is received; `u64::MAX` before.
const SLOT: usize = 5;
const WORDS: usize = 6;

/// A number is never sent as this.
const NOTHING: u64 = u64::MAX;

/// Words before the records: the listener, and the steps taken by all lives.
const LISTENER: usize = 0;
const STEPS: usize = 8;
const HEAD: usize = 16;

struct Records<'a>(&'a mut Region, u64);

impl Records<'_> {
    fn get(&self, record: usize, word: usize) -> u64 {
        self.0.published(HEAD + 8 * (record * WORDS + word))
    }

    fn set(&mut self, record: usize, word: usize, value: u64) {
        self.step();
        self.0.publish(HEAD + 8 * (record * WORDS + word), value);
        self.step();
    }

    fn number(&self, record: usize, word: usize) -> RawFd {
        self.get(record, word) as RawFd - 1
    }

    /// Perhaps the last one of this life.
    fn step(&mut self) {
        let step = self.0.published(STEPS) + 1;
        self.0.publish(STEPS, step);
        if self.1 != 0 && step.is_multiple_of(self.1) {
            kill_process(getpid(), Signal::KILL).expect("to kill itself");
        }
    }

    fn count(&self) -> usize {
        (self.0.len() - HEAD) / 8 / WORDS
    }
}

struct Client {
    record: usize,
    socket: OwnedFd,
    outlet: Outlet,
}

fn main() -> io::Result<()> {
    let folder = std::env::args().nth(1).expect("tally FOLDER");
    let folder = Path::new(&folder);
    let kill = std::env::args().nth(2).map_or(0, |steps| steps.parse().expect("a number of steps"));
    let mut life = Life::begin("tally")?;
    if life.region.is_empty() {
        life.region.resize(HEAD + 8 * 64 * WORDS)?;
    }
    let listener = match life.region.published(LISTENER) {
        0 => {
            let listener = OwnedFd::from(UnixListener::bind(folder.join("socket"))?);
            life.region.publish(LISTENER, listener.as_raw_fd() as u64 + 1);
            listener
        }
        number => life.inherit(number as RawFd - 1).expect("the listener of the life before"),
    };
    let mut clients = find_again(&mut life, &listener, kill)?;
    life.settled();
    let ready = format!("{} {} {}", life.number(), std::process::id(), keeper_pid(&life)?);
    fs::write(folder.join("new"), ready)?;
    fs::rename(folder.join("new"), folder.join("pids"))?;
    loop {
        let mut waiting = vec![
            PollFd::from_borrowed_fd(life.keeper(), PollFlags::IN),
            PollFd::new(life.signals(), PollFlags::IN),
            PollFd::new(&listener, PollFlags::IN),
        ];
        waiting.extend(clients.iter().map(|client| PollFd::new(&client.socket, PollFlags::IN)));
        if poll(&mut waiting, None) == Err(Errno::INTR) {
            continue;
        }
        let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        if ready[0] {
            return Err(life.again(None));
        }
        if ready[1] && life.signals().next()?.is_some() {
            life.end(0);
        }
        let mut records = Records(&mut life.region, kill);
        let mut at = 3;
        clients.retain(|client| {
            at += 1;
            !ready[at - 1] || serve(&mut records, client)
        });
        if ready[2]
            && let Ok(socket) = accept_with(&listener, SocketFlags::CLOEXEC)
        {
            records.step();
            clients.push(enter(&mut records, socket)?);
        }
    }
}

/// The connections that the life before had, and those that it had only just accepted.
fn find_again(life: &mut Life, listener: &OwnedFd, kill: u64) -> io::Result<Vec<Client>> {
    let mut known = vec![listener.as_raw_fd()];
    let records = Records(&mut life.region, kill);
    let mut open = Vec::new();
    for record in 0..records.count() {
        if records.get(record, CLIENT) != 0 {
            let numbers = [records.number(record, OUTLET), records.number(record, OUTLET + 1)];
            open.push((record, records.number(record, CLIENT), numbers));
            known.extend([open[open.len() - 1].1, numbers[0], numbers[1]]);
        }
    }
    let mut clients = Vec::new();
    for (record, socket, numbers) in open {
        let socket = life.inherit(socket).expect("a recorded socket");
        let outlet = Outlet::inherit(life, numbers).expect("a recorded outlet");
        clients.push(Client { record, socket, outlet });
    }
    for stranger in life.strangers(&known) {
        // Pipes among them were an outlet's, and are closed here.
        let path = fs::read_link(format!("/proc/self/fd/{}", stranger.as_raw_fd()))?;
        if path.to_string_lossy().starts_with("socket:") {
            clients.push(enter(&mut Records(&mut life.region, kill), stranger)?);
        }
    }
    let mut records = Records(&mut life.region, kill);
    clients.retain(|client| {
        settle(&mut records, client);
        serve(&mut records, client)
    });
    Ok(clients)
}

fn enter(records: &mut Records, socket: OwnedFd) -> io::Result<Client> {
    let record = (0..records.count()).find(|&record| records.get(record, CLIENT) == 0).expect("64 clients");
    let outlet = Outlet::new()?;
    let numbers = outlet.numbers();
    records.set(record, OUTLET, numbers[0] as u64 + 1);
    records.set(record, OUTLET + 1, numbers[1] as u64 + 1);
    records.set(record, LAST, 0);
    records.set(record, PUT, 0);
    records.set(record, SLOT, NOTHING);
    records.set(record, CLIENT, socket.as_raw_fd() as u64 + 1);
    Ok(Client { record, socket, outlet })
}

/// What the life before was doing when it was killed.
fn settle(records: &mut Records, client: &Client) {
    let record = client.record;
    let (put, held) = (records.get(record, PUT) / ENDED, records.get(record, PUT) % ENDED);
    if held != 0 {
        let more = client.outlet.held().expect("an outlet") as u64 - (held - 1);
        records.set(record, PUT, (put + more) * ENDED);
    }
}

/// Whether the connection goes on.
fn serve(records: &mut Records, client: &Client) -> bool {
    let record = client.record;
    loop {
        // What is not answered whole is, first.
        let (last, put) = (records.get(record, LAST), records.get(record, PUT) / ENDED);
        if put < 8 * last {
            let answer = last.to_le_bytes();
            let from = 8 - (8 * last - put) as usize;
            let held = client.outlet.held().expect("an outlet") as u64;
            records.set(record, PUT, put * ENDED + held + 1);
            let now = client.outlet.put(&answer[from..]).expect("an outlet");
            records.step();
            records.set(record, PUT, (put + now as u64) * ENDED);
        }
        records.step();
        let passed = client.outlet.pass(&client.socket).expect("an outlet");
        records.step();
        match passed {
            Passed::All => {}
            Passed::Full => return true,
            Passed::Closed => return leave(records, client),
        }
        if records.get(record, PUT) / ENDED < 8 * last {
            continue;
        }
        if records.get(record, SLOT) == NOTHING {
            let mut bytes = [0; 8];
            let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            match recv(&client.socket, &mut bytes, peek).map(|(len, _)| len) {
                Ok(8) => {}
                Ok(0) => return leave(records, client),
                Ok(_) | Err(Errno::AGAIN) => return true,
                Err(_) => return leave(records, client),
            }
            let at = HEAD + 8 * (record * WORDS + SLOT);
            let slot = &mut records.0.bytes_mut()[at..at + 8];
            recv(&client.socket, slot, RecvFlags::DONTWAIT).expect("what was peeked at");
            records.step();
        }
        let number = records.get(record, SLOT);
        if number == last + 1 {
            // The one store by which the request is done: before it nothing has happened, after it the answer is due.
            records.set(record, LAST, number);
        } else if number != last {
            return leave(records, client);
        }
        records.set(record, SLOT, NOTHING);
    }
}

fn leave(records: &mut Records, client: &Client) -> bool {
    records.set(client.record, CLIENT, 0);
    false
}

fn keeper_pid(life: &Life) -> io::Result<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", life.keeper().as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd's process");
    pid.trim().parse().map_err(io::Error::other)
}
