//! [`Bar`]: how far something is that takes more than a second, for a person at a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Before this nobody wonders.
const QUIET: Duration = Duration::from_secs(1);
/// Nobody reads faster.
const EVERY: Duration = Duration::from_millis(100);
const WIDTH: u64 = 40;

/// A line on the terminal, gone when it is dropped.
pub struct Bar {
    what: &'static str,
    began: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Bar {
    pub fn new(what: &'static str) -> Self {
        Self { what, began: Instant::now(), shown: None, terminal: std::io::stderr().is_terminal() }
    }

    /// Pages of 4 KiB done, of how many; 0 where nobody knows.
    pub fn pages(&mut self, done: u64, all: u64) {
        let due = match self.shown {
            None => self.began.elapsed() >= QUIET,
            Some(last) => last.elapsed() >= EVERY,
        };
        if self.terminal && due {
            self.shown = Some(Instant::now());
            // Who reads may be gone.
            let _ = write!(std::io::stderr(), "\r{}\x1b[K", line(self.what, done, all));
        }
    }
}

fn line(what: &str, done: u64, all: u64) -> String {
    let mib = |pages: u64| pages >> 8;
    if all == 0 {
        return format!("{what} {} MiB", mib(done));
    }
    let full = (done.min(all) * WIDTH / all) as usize;
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(WIDTH as usize - full));
    format!("{what} [{bar}] {}/{} MiB", mib(done), mib(all))
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_bar_fills() {
        assert_eq!(line("saving", 0, 1024), format!("saving [{}] 0/4 MiB", "-".repeat(40)));
        let half = format!("saving [{}{}] 2/4 MiB", "#".repeat(20), "-".repeat(20));
        assert_eq!(line("saving", 512, 1024), half);
        assert!(line("saving", 9999, 1024).contains(&"#".repeat(40)));
        assert_eq!(line("restoring", 512, 0), "restoring 2 MiB");
    }
}
