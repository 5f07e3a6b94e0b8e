//! A daemon's processes are killed, at random moments and between any two steps: its clients notice nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const TALLY: &str = env!("CARGO_BIN_EXE_tally");
const PATIENCE: Duration = Duration::from_secs(60);

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("keeper-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The life's number and its two processes, once it is at least `life`.
fn ready(folder: &Path, life: u64) -> (u64, [Pid; 2]) {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = fs::read_to_string(folder.join("pids")) {
            let words: Vec<u64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
            if words[0] >= life {
                return (words[0], [words[1], words[2]].map(|pid| Pid::from_raw(pid as i32).unwrap()));
            }
        }
        assert!(Instant::now() < until, "life {life} does not begin");
        thread::yield_now();
    }
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
    let folder = folder("killed");
    let mut first = Command::new(TALLY).arg(&folder).stdin(Stdio::null()).spawn().unwrap();
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
        let _ = first.try_wait();
    }
    let (_, pids) = ready(&folder, life);
    for pid in pids {
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap();
        assert_eq!(name, "tally\n", "whoever looks for the daemon finds it");
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    end(&folder, pids, &mut first);
}

#[test]
fn nobody_notices_at_which_step_it_was() {
    // Prime, and more than the life after a death needs to go on.
    let folder = folder("steps");
    let mut first = Command::new(TALLY).arg(&folder).arg("101").stdin(Stdio::null()).spawn().unwrap();
    ready(&folder, 1);
    let mut long = connect(&folder);
    for round in 0..300 {
        talk(&mut long, 2 * round + 1, 2 * round + 3);
        if round % 10 == 0 {
            talk(&mut connect(&folder), 1, 4);
        }
    }
    let (life, pids) = ready(&folder, 20);
    assert!(life >= 20);
    end(&folder, pids, &mut first);
}

#[test]
fn who_asks_either_to_leave_is_heard() {
    for asked in 0..2 {
        let folder = folder(&format!("leaves-{asked}"));
        let mut first = Command::new(TALLY).arg(&folder).stdin(Stdio::null()).spawn().unwrap();
        let (_, mut pids) = ready(&folder, 1);
        talk(&mut connect(&folder), 1, 5);
        pids.rotate_left(asked);
        end(&folder, pids, &mut first);
    }
}

/// Asks the first to leave: both go.
fn end(folder: &Path, pids: [Pid; 2], first: &mut std::process::Child) {
    kill_process(pids[0], Signal::TERM).unwrap();
    let until = Instant::now() + PATIENCE;
    for pid in pids {
        while test_kill_process(pid).is_ok() {
            let _ = first.try_wait();
            let zombie = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
                .is_ok_and(|stat| stat.contains(") Z "));
            if zombie {
                break;
            }
            assert!(Instant::now() < until, "process {pid:?} stays");
            thread::yield_now();
        }
    }
    fs::remove_dir_all(folder).unwrap();
}
