//! How many requests a second a store answers: `cargo run --release -p xenstore --example load [SOCKET]`.
//!
//! For 1, 10 and 50 clients of the store that listens at SOCKET (that of this machine by default): reads, writes and
//! transactions that read and write one node, of each client its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use abi::io::xs_wire as xs;
use anyhow::{Context, Result, ensure};
use xenstore::wire::{self, HEAD, MESSAGE_MAX, Message};

const EACH: Duration = Duration::from_secs(1);

struct Client {
    socket: UnixStream,
    node: String,
}

impl Client {
    fn ask(&mut self, type_: u32, tx: u32, payload: &[&[u8]]) -> Result<Vec<u8>> {
        self.socket.write_all(&wire::encode(type_, 1, tx, payload))?;
        let mut bytes = [0; MESSAGE_MAX];
        let mut len = 0;
        loop {
            let count = self.socket.read(&mut bytes[len..])?;
            ensure!(count > 0, "the store has gone");
            len += count;
            if let Ok(Some(message)) = Message::first(&bytes[..len]) {
                let error = String::from_utf8_lossy(&bytes[HEAD..len]);
                ensure!(message.head.type_ == type_, "request {type_} is answered {error}");
                return Ok(message.payload.to_vec());
            }
        }
    }

    fn node(&self) -> Vec<u8> {
        format!("{}\0", self.node).into_bytes()
    }

    fn read(&mut self, tx: u32) -> Result<()> {
        let node = self.node();
        self.ask(xs::XS_READ, tx, &[&node]).map(drop)
    }

    fn write(&mut self, tx: u32) -> Result<()> {
        let node = self.node();
        self.ask(xs::XS_WRITE, tx, &[&node, b"value"]).map(drop)
    }

    fn transaction(&mut self) -> Result<u32> {
        let id = self.ask(xs::XS_TRANSACTION_START, 0, &[b"\0"])?;
        let id = String::from_utf8_lossy(&id).trim_end_matches('\0').parse()?;
        self.read(id)?;
        self.write(id)?;
        match self.ask(xs::XS_TRANSACTION_END, id, &[b"T\0"]) {
            Ok(_) => Ok(1),
            Err(error) if error.to_string().ends_with("EAGAIN\0") => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// How many of them took place.
    fn once(&mut self, what: &str) -> Result<u32> {
        match what {
            "reads" => self.read(0).map(|()| 1),
            "writes" => self.write(0).map(|()| 1),
            _ => self.transaction(),
        }
    }
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or("/run/xenstored/socket".into());
    println!("{:>8} {:>12} {:>12} {:>12}", "clients", "reads/s", "writes/s", "commits/s");
    for clients in [1, 10, 50] {
        print!("{clients:>8}");
        for what in ["reads", "writes", "commits"] {
            print!(" {:>12.0}", rate(&path, clients, what)?);
        }
        println!();
    }
    Ok(())
}

fn rate(path: &str, clients: u32, what: &'static str) -> Result<f64> {
    let working = (0..clients).map(|number| {
        let socket = UnixStream::connect(path).with_context(|| format!("connecting to {path}"))?;
        let mut client = Client { socket, node: format!("/load/{number}/node") };
        client.write(0)?;
        Ok(thread::spawn(move || -> Result<u32> {
            let (began, mut done) = (Instant::now(), 0);
            while began.elapsed() < EACH {
                done += client.once(what)?;
            }
            Ok(done)
        }))
    });
    let working: Vec<_> = working.collect::<Result<_>>()?;
    let mut all = 0;
    for client in working {
        all += client.join().expect("a client")?;
    }
    Ok(f64::from(all) / EACH.as_secs_f64())
}
