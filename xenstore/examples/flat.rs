//! What an operation costs with one guest's tree and few watches, and with a thousand guests' and ten
//! thousand: `cargo run --release -p xenstore --example flat`.
//!
//! Each line is the best of many rounds, in nanoseconds of one operation, and the ratio of the two. The
//! two stores take turns, so that what else the machine does meets both.

use std::time::Instant;

use abi::io::xs_wire as xs;
use xenstore::{ConnId, Peer, Quotas, Store, wire};

const GUESTS: usize = 1000;
const WATCHES: usize = 10_000;
const ROUNDS: usize = 300;
/// Operations of a round.
const EACH: usize = 50;

struct Bed {
    store: Store,
    tools: ConnId,
}

impl Bed {
    fn new(guests: usize) -> Self {
        let mut store = Store::new(Quotas::default(), None);
        let tools = store.connect(Peer::Socket);
        let mut bed = Self { store, tools };
        for guest in 1..=guests {
            for node in
                ["name", "memory/target", "device/vif/0/state", "device/vbd/51712/state", "control/shutdown"]
            {
                bed.write(0, &format!("/local/domain/{guest}/{node}"));
                bed.write(0, &format!("/local/domain/0/backend/vif/{guest}/0/{node}"));
                bed.write(0, &format!("/libxl/{guest}/{node}"));
            }
        }
        let watcher = bed.store.connect(Peer::Socket);
        bed.ask(watcher, xs::XS_WATCH, 0, "/local/domain/1/device\0one\0");
        bed
    }

    fn ask(&mut self, conn: ConnId, type_: u32, tx: u32, payload: &str) -> Vec<u8> {
        self.store.input(conn, &wire::encode(type_, 1, tx, &[payload.as_bytes()]));
        for ready in self.store.take_ready() {
            if ready != conn {
                let waiting = self.store.connection(ready).expect("connected").waiting_output();
                self.store.sent(ready, waiting);
            }
        }
        let connection = self.store.connection(conn).expect("connected");
        let answer = connection.output().next().expect("an answer").to_vec();
        let waiting = connection.waiting_output();
        self.store.sent(conn, waiting);
        answer
    }

    fn write(&mut self, tx: u32, path: &str) {
        self.ask(self.tools, xs::XS_WRITE, tx, &format!("{path}\0value"));
    }

    /// The operation of this name, once.
    fn operation(&mut self, name: &str, round: usize) {
        let home = "/local/domain/1";
        match name {
            "read" => drop(self.ask(self.tools, xs::XS_READ, 0, &format!("{home}/device/vif/0/state\0"))),
            "write" => self.write(0, &format!("{home}/memory/target")),
            "write, one watch" => self.write(0, &format!("{home}/device/vif/0/state")),
            "make and remove" => {
                self.write(0, &format!("/local/domain/0/backend/vif/x{round}/0"));
                let gone = format!("/local/domain/0/backend/vif/x{round}\0");
                self.ask(self.tools, xs::XS_RM, 0, &gone);
            }
            "watch and unwatch" => {
                let watch = format!("{home}/control\0bench\0");
                self.ask(self.tools, xs::XS_WATCH, 0, &watch);
                self.ask(self.tools, xs::XS_UNWATCH, 0, &watch);
            }
            _ => {
                let started = self.ask(self.tools, xs::XS_TRANSACTION_START, 0, "\0");
                let id = String::from_utf8_lossy(&started[wire::HEAD..started.len() - 1]).into_owned();
                let id = id.parse().expect("a transaction's number");
                self.ask(self.tools, xs::XS_READ, id, &format!("{home}/memory/target\0"));
                self.write(id, &format!("{home}/memory/target"));
                self.ask(self.tools, xs::XS_TRANSACTION_END, id, "T\0");
            }
        }
    }

    fn round(&mut self, name: &str) -> f64 {
        let began = Instant::now();
        (0..EACH).for_each(|round| self.operation(name, round));
        began.elapsed().as_nanos() as f64 / EACH as f64
    }
}

fn main() {
    let mut small = Bed::new(1);
    // As many watches for the measured guest: what the others have must not matter.
    let mut large = Bed::new(GUESTS);
    let watcher = large.store.connect(Peer::Socket);
    for watch in 0..WATCHES {
        let guest = 2 + watch % (GUESTS - 1);
        large.ask(watcher, xs::XS_WATCH, 0, &format!("/local/domain/{guest}/device\0{watch}\0"));
    }
    println!("{:20} {:>10} {:>14} {:>7}", "ns", "1 guest", "1,000 guests", "ratio");
    for name in
        ["read", "write", "write, one watch", "make and remove", "watch and unwatch", "read-modify-write"]
    {
        let (mut few, mut many) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            few = few.min(small.round(name));
            many = many.min(large.round(name));
        }
        println!("{name:20} {few:10.0} {many:14.0} {:7.2}", many / few);
    }
}
