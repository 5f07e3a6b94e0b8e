//! A daemon's processes are killed, at random moments and between any two steps: its clients notice nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use keeper::testing::{Daemon, PATIENCE, wait};
use rustix::process::{Pid, Signal, kill_process};

const TALLY: &str = env!("CARGO_BIN_EXE_tally");

/// A tally that kills itself at every so many `steps`.
fn tally(name: &str, steps: &[&str]) -> Daemon {
    Daemon::start(name, |folder| {
        let mut command = Command::new(TALLY);
        command.arg(folder).args(steps);
        command
    })
}

/// Asks the process that does the work, or its keeper, to leave.
fn end(daemon: Daemon, asked: usize) {
    let folder = daemon.folder.clone();
    daemon.end(|_| ready(&folder, 1).1[asked]);
}

/// The life's number and its two processes, once it is at least `life`.
fn ready(folder: &Path, life: u64) -> (u64, [Pid; 2]) {
    wait(&format!("life {life} begins"), || {
        let text = fs::read_to_string(folder.join("pids")).ok()?;
        let words: Vec<u64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
        let pids = || [words[1], words[2]].map(|pid| Pid::from_raw(pid as i32).unwrap());
        (words[0] >= life).then(|| (words[0], pids()))
    })
}

fn connect(folder: &Path) -> UnixStream {
    let socket = UnixStream::connect(folder.join("socket")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Numbers go and come back, each once, in order.
fn talk(socket: &mut UnixStream, from: u64, to: u64) {
    for number in from..to {
        socket.write_all(&number.to_le_bytes()).unwrap();
        let mut answer = [0; 8];
        socket.read_exact(&mut answer).unwrap_or_else(|error| panic!("after {number}: {error}"));
        assert_eq!(u64::from_le_bytes(answer), number);
    }
}

#[test]
fn nobody_notices_that_either_is_killed() {
    let mut daemon = tally("killed", &[]);
    let folder = daemon.folder.clone();
    let (mut life, _) = ready(&folder, 1);
    let over = Arc::new(AtomicBool::new(false));
    let talked = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let (folder, over, talked) = (folder.clone(), over.clone(), talked.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // One keeps its connection for long, the others come and go.
                    let mut socket = connect(&folder);
                    let mut last = 1;
                    while last < [1_000_000, 500, 3][client] && !over.load(Ordering::Relaxed) {
                        talk(&mut socket, last, last + 2);
                        last += 2;
                        talked.fetch_add(2, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    // A sequence that looks random and is the same each time.
    let mut seed = 12345_u32;
    for _ in 0..200 {
        let (now, pids) = ready(&folder, life);
        life = now + 1;
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let before = talked.load(Ordering::Relaxed);
        for _ in 0..(seed >> 16) % 2000 {
            std::hint::spin_loop();
        }
        while talked.load(Ordering::Relaxed) < before + u64::from((seed >> 20) % 8) {
            assert!(clients.iter().all(|client| !client.is_finished()), "a client noticed");
            thread::yield_now();
        }
        kill_process(pids[usize::from((seed >> 24).is_multiple_of(3))], Signal::KILL).unwrap();
        // Where the first process is this test's own child.
        daemon.alive();
    }
    let (_, pids) = ready(&folder, life);
    for (pid, name) in pids.iter().zip(["tally", "xen-keeper"]) {
        let of = |what| fs::read_to_string(format!("/proc/{}/{what}", pid.as_raw_nonzero())).unwrap();
        assert_eq!(of("comm").trim_end(), name, "who looks for the daemon finds its worker alone");
        assert_eq!(of("cmdline").contains("tally"), name == "tally");
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    end(daemon, 0);
}

#[test]
fn nobody_notices_at_which_step_it_was() {
    // Prime, and more than the life after a death needs to go on.
    let daemon = tally("steps", &["101"]);
    let folder = daemon.folder.clone();
    ready(&folder, 1);
    let mut long = connect(&folder);
    for round in 0..300 {
        talk(&mut long, 2 * round + 1, 2 * round + 3);
        if round % 10 == 0 {
            talk(&mut connect(&folder), 1, 4);
        }
    }
    ready(&folder, 20);
    end(daemon, 0);
}

#[test]
fn who_asks_either_to_leave_is_heard() {
    for asked in 0..2 {
        let daemon = tally(&format!("leaves-{asked}"), &[]);
        ready(&daemon.folder, 1);
        talk(&mut connect(&daemon.folder), 1, 5);
        end(daemon, asked);
    }
}
