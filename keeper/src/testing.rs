//! A daemon under test: found by its folder, killed, and gone with its test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No step of a test takes that long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon that does not outlive its test, however that ends.
pub struct Daemon {
    /// Its own, removed at the end. It stands in the environment of its processes.
    pub folder: PathBuf,
    first: Child,
}

impl Daemon {
    /// Starts what `command` makes of the folder.
    pub fn start(name: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = std::env::temp_dir().join(format!("keeper-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut command = command(&folder);
        // Whoever reads this test's output waits until all who could write to it have gone.
        command.env("KEEPER_TEST", &folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let first = command.spawn().expect("the daemon's program");
        Self { folder, first }
    }

    /// Its processes, whatever life they are of.
    pub fn alive(&mut self) -> Vec<Pid> {
        // Where the first one is, or was, this test's own child.
        let _ = self.first.try_wait();
        let wanted = format!("KEEPER_TEST={}", self.folder.display());
        let wanted = wanted.as_bytes();
        let named = fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
            let variables = fs::read(entry.path().join("environ")).unwrap_or_default();
            let ours = variables.split(|b| *b == 0).any(|one| one == wanted);
            entry.file_name().to_str()?.parse().ok().filter(|_| ours).and_then(Pid::from_raw)
        });
        named.collect()
    }

    /// Asks one of its processes to leave, again where it was just being replaced: all go.
    ///
    /// # Panics
    /// Where they stay.
    pub fn end(mut self, asked: impl Fn(&[Pid]) -> Pid) {
        let until = Instant::now() + PATIENCE;
        loop {
            let alive = self.alive();
            if alive.is_empty() {
                break;
            }
            let _ = kill_process(asked(&alive), Signal::TERM);
            assert!(Instant::now() < until, "{alive:?} stay");
            thread::sleep(Duration::from_millis(5));
        }
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

/// Waits until `done` answers something.
///
/// # Panics
/// Where it does not within [`PATIENCE`].
pub fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = done() {
            return answer;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        thread::yield_now();
    }
}
