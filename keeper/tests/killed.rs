//! A daemon's processes are killed, at random moments and between any two steps: its clients notice nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const TALLY: &str = env!("CARGO_BIN_EXE_tally");
const PATIENCE: Duration = Duration::from_secs(60);

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
    let mut daemon = Daemon::start("killed", &[]);
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
        let _ = daemon.first.try_wait();
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
    daemon.end(0);
}

#[test]
fn nobody_notices_at_which_step_it_was() {
    // Prime, and more than the life after a death needs to go on.
    let daemon = Daemon::start("steps", &["101"]);
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
    daemon.end(0);
}

#[test]
fn who_asks_either_to_leave_is_heard() {
    for asked in 0..2 {
        let daemon = Daemon::start(&format!("leaves-{asked}"), &[]);
        ready(&daemon.folder, 1);
        talk(&mut connect(&daemon.folder), 1, 5);
        daemon.end(asked);
    }
}

/// A daemon that does not outlive its test, however that ends.
struct Daemon {
    folder: PathBuf,
    first: Child,
}

impl Daemon {
    fn start(name: &str, steps: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("keeper-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(TALLY);
        command.arg(&folder).args(steps);
        // Whoever reads this test's output waits until all who could write to it have gone.
        let first = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { folder, first }
    }

    /// Asks one of the two to leave, again where it was just being replaced: both go.
    fn end(mut self, asked: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let alive = self.alive();
            if alive.is_empty() {
                break;
            }
            let (_, pids) = ready(&self.folder, 1);
            let _ = kill_process(pids[asked], Signal::TERM);
            assert!(Instant::now() < until, "{alive:?} stay");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its processes, whatever life they are of: those that have its folder in their command line.
    fn alive(&mut self) -> Vec<Pid> {
        let _ = self.first.try_wait();
        let folder = self.folder.to_str().unwrap();
        let named = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let entry = entry.unwrap();
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let ours = String::from_utf8_lossy(&line).split('\0').any(|word| word == folder);
            entry.file_name().to_str()?.parse().ok().filter(|_| ours).and_then(Pid::from_raw)
        });
        named.collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let alive = self.alive();
            if alive.is_empty() || Instant::now() > until {
                break;
            }
            for pid in alive {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
