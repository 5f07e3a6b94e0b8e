//! The network between two machines: round trips of a datagram, and streams both ways; and how a guest tells dom0's
//! program what else to answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::partner::{self, Offer};
use crate::sys;

/// Of the datagrams that come back and of the streams.
const PORT: u16 = 7100;
/// What one iteration of a stream moves.
const MIB: usize = 1 << 20;
/// What one system call moves.
const CHUNK: usize = 128 << 10;
/// A lost datagram ends the measurement instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first word of a request: a stream, which way; how many MiB follows.
const TO_SERVER: u32 = 1;
const FROM_SERVER: u32 = 2;
/// Answers events at a port; the grant follows.
const EVENTS: u32 = 3;

/// Where the other program serves, if it does.
fn peer() -> Option<String> {
    std::env::var("XEN_BENCH_PEER").ok()
}

fn need<T, E>(result: Result<T, E>, doing: &str) -> T {
    result.unwrap_or_else(|_| sys::die(doing))
}

/// Answers the operations below, until it is killed.
pub fn serve() -> ! {
    let any = (Ipv4Addr::UNSPECIFIED, PORT);
    let datagrams = need(UdpSocket::bind(any), "binding the port of the datagrams");
    let streams = need(TcpListener::bind(any), "binding the port of the streams");
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            if let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
                // One that cannot be sent back is as good as lost.
                let _ = datagrams.send_to(&buffer[..length], from);
            }
        }
    });
    println!("xen-bench: serving");
    for stream in streams.incoming().flatten() {
        std::thread::spawn(move || {
            // The other side has ended.
            let _ = serve_stream(stream);
        });
    }
    sys::die("waiting for streams")
}

fn serve_stream(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let [way, what] = [read_word(&mut stream)?, read_word(&mut stream)?];
        let mut left = what as usize * MIB;
        match way {
            TO_SERVER => {
                while left > 0 {
                    let want = left.min(CHUNK);
                    match stream.read(&mut buffer[..want])? {
                        0 => return Err(ErrorKind::UnexpectedEof.into()),
                        got => left -= got,
                    }
                }
                stream.write_all(&[1])?;
            }
            FROM_SERVER => {
                while left > 0 {
                    stream.write_all(&buffer)?;
                    left -= CHUNK;
                }
            }
            EVENTS => {
                let offer = Offer { port: what, grant: read_word(&mut stream)? };
                stream.write_all(&[partner::answer(offer).into()])?;
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

fn read_word(stream: &mut TcpStream) -> std::io::Result<u32> {
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    Ok(u32::from_le_bytes(word))
}

/// A small datagram to the other machine and back.
pub fn udp_round_trip() -> Option<Box<dyn FnMut(u64)>> {
    let peer = peer()?;
    let socket = need(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)), "making a socket");
    need(socket.connect((peer.as_str(), PORT)), "connecting for datagrams");
    need(socket.set_read_timeout(Some(PATIENCE)), "limiting the wait");
    Some(Box::new(move |times| {
        let mut datagram = [0; 32];
        for _ in 0..times {
            need(socket.send(&datagram), "sending a datagram");
            need(socket.recv(&mut datagram), "waiting for a datagram");
        }
    }))
}

fn connect() -> Option<TcpStream> {
    let stream = need(TcpStream::connect((peer()?.as_str(), PORT)), "connecting for a stream");
    need(stream.set_nodelay(true), "setting up a stream");
    Some(stream)
}

fn command(stream: &mut TcpStream, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    need(stream.write_all(&bytes), "asking the other program");
}

/// An event to dom0's program and one back.
pub fn event_round_trip() -> Option<Box<dyn FnMut(u64)>> {
    let mut stream = connect()?;
    partner::round_trip(false, |offer| offer_events(&mut stream, offer))
}

/// The same, and in between dom0's program copies a page out of this domain and back.
pub fn grant_copy_round_trip() -> Option<Box<dyn FnMut(u64)>> {
    let mut stream = connect()?;
    partner::round_trip(true, |offer| offer_events(&mut stream, offer))
}

fn offer_events(stream: &mut TcpStream, offer: Offer) -> bool {
    command(stream, &[EVENTS, offer.port, offer.grant]);
    let mut answer = [0];
    need(stream.read_exact(&mut answer), "offering an event channel");
    answer == [1]
}

/// Bytes to the other machine, until it has read all.
pub fn tcp_send() -> Option<Box<dyn FnMut(u64)>> {
    let mut stream = connect()?;
    let buffer = vec![0; CHUNK];
    Some(Box::new(move |times| {
        command(&mut stream, &[TO_SERVER, times as u32]);
        for _ in 0..times as usize * MIB / CHUNK {
            need(stream.write_all(&buffer), "sending a stream");
        }
        need(stream.read_exact(&mut [0]), "waiting for the end of a stream");
    }))
}

/// Bytes from the other machine.
pub fn tcp_receive() -> Option<Box<dyn FnMut(u64)>> {
    let mut stream = connect()?;
    let mut buffer = vec![0; CHUNK];
    Some(Box::new(move |times| {
        command(&mut stream, &[FROM_SERVER, times as u32]);
        let mut left = times as usize * MIB;
        while left > 0 {
            let want = left.min(CHUNK);
            match stream.read(&mut buffer[..want]) {
                Ok(got @ 1..) => left -= got,
                _ => sys::die("receiving a stream"),
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_go_both_ways_on_one_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        std::thread::spawn(move || serve_stream(accepted));
        for _ in 0..2 {
            let mut one = vec![7; MIB];
            command(&mut stream, &[TO_SERVER, 1]);
            stream.write_all(&one).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            command(&mut stream, &[FROM_SERVER, 1]);
            one.fill(0);
            stream.read_exact(&mut one).unwrap();
            assert!(one.iter().all(|byte| *byte == 7), "what it has in its buffer is what it was sent");
        }
    }
}
