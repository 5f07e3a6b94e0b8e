//! Drives a machine by its serial console: waits for text with a time limit, types, runs commands.
//!
//! Nothing here sleeps for a fixed time to let the machine get on: every step waits for its event. All
//! that the machine writes goes to a log under `target/logs` as well.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use regex::Regex;

/// What nobody waits for: seen, the boot is over.
const FATAL: &str = r"(?:Kernel panic - not syncing|\(XEN\) Panic on CPU|\(XEN\) .*(?:hypervisor panic|Xenolith panic|FATAL)|initramfs: (?:no disk|cannot mount)|You are in emergency mode).*\n";

/// Hardware receive queues are short and a line typed faster than it is read loses characters: we type this
/// much, then wait for its echo.
const CHUNK: usize = 12;

/// QEMU says this of a dozen features of each CPU model, at every start.
pub const TCG_WARNING: &str = "warning: TCG doesn't support requested feature";

/// A running machine.
pub struct Session {
    child: Child,
    stdin: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// Everything written so far, escape sequences removed.
    text: String,
    /// Up to here it has been waited for.
    cursor: usize,
    filter: Filter,
    fatal: Regex,
    started: Instant,
    log: PathBuf,
    commands: u32,
}

impl Session {
    /// Starts QEMU with its serial port on pipes.
    pub fn start(mut command: Command, log: &Path) -> Result<Session> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log.with_extension("qemu"))?)
            .spawn()
            .with_context(|| format!("starting `{}`", crate::proc::shown(&command)))?;
        let stdin = child.stdin.take().context("QEMU's standard input")?;
        let mut stdout = child.stdout.take().context("QEMU's standard output")?;
        let mut file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if file.write_all(&bytes[..count]).is_err() || send.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Session {
            child,
            stdin,
            output,
            text: String::new(),
            cursor: 0,
            filter: Filter::default(),
            fatal: Regex::new(FATAL)?,
            started: Instant::now(),
            log: log.to_owned(),
            commands: 0,
        })
    }

    /// Time since the machine was switched on.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until the pattern appears after what was waited for before; answers its groups.
    pub fn wait(&mut self, pattern: &str, limit: Duration) -> Result<Vec<String>> {
        let regex = Regex::new(pattern)?;
        let deadline = Instant::now() + limit;
        // Patterns are within a line: what was searched once, up to its last line, need not be again.
        let mut from = self.cursor;
        loop {
            if let Some(found) = regex.captures(&self.text[from..]) {
                let end = found.get(0).map_or(0, |whole| whole.end());
                let groups = found.iter().map(|g| g.map_or("", |g| g.as_str()).to_owned()).collect();
                self.cursor = from + end;
                return Ok(groups);
            }
            if let Some(fatal) = self.fatal.find(&self.text[from..]) {
                let line = fatal.as_str().trim().to_owned();
                self.drain(Duration::from_secs(2));
                bail!("{line}\n  while waiting for /{pattern}/\n{}", self.tail());
            }
            from = self.text[from..].rfind('\n').map_or(from, |newline| from + newline + 1);
            match self.receive(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("/{pattern}/ did not appear within {} s\n{}", limit.as_secs(), self.tail())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let said = std::fs::read_to_string(self.log.with_extension("qemu")).unwrap_or_default();
                    let said: String = said.lines().filter(|l| !l.contains(TCG_WARNING)).collect();
                    bail!("QEMU ended while waiting for /{pattern}/ {said}\n{}", self.tail())
                }
            }
        }
    }

    /// Types text, at the speed it is echoed.
    pub fn send(&mut self, text: &str) -> Result<()> {
        for chunk in text.as_bytes().chunks(CHUNK) {
            let before = self.text.len();
            self.stdin.write_all(chunk)?;
            self.stdin.flush()?;
            // No echo at a password prompt: then the short limit lets us go on.
            let deadline = Instant::now() + Duration::from_millis(700);
            while self.text.len() < before + chunk.len() && self.receive(deadline).is_ok() {}
        }
        Ok(())
    }

    /// Logs in as root at a getty that stands at, or will come to, its prompt.
    pub fn login(&mut self, hostname: &str, password: &str, limit: Duration) -> Result<()> {
        self.wait(&format!("{hostname} login: "), limit)?;
        self.send("root\n")?;
        self.wait("Password: ", limit)?;
        self.send(&format!("{password}\n"))?;
        self.wait(&format!(r"root@{hostname}:[^\n]*# "), limit)?;
        Ok(())
    }

    /// Runs a shell command; answers its exit code and what it printed.
    pub fn command(&mut self, line: &str, limit: Duration) -> Result<(i32, String)> {
        self.commands += 1;
        let n = self.commands;
        // The typed line holds quotes between the marks and the number, so its echo is not taken for the answer.
        self.send(&format!("echo '<'{n}'<'; {line}; echo '>'{n}:$?'>'\n"))?;
        self.wait(&format!("(?m)^<{n}<$"), limit)?;
        let start = self.cursor;
        let found =
            self.wait(&format!(r">{n}:(\d+)>"), limit).with_context(|| format!("running `{line}`"))?;
        let output = self.text[start..self.cursor - found[0].len()].trim().to_owned();
        Ok((found[1].parse()?, output))
    }

    /// Runs a command that must succeed.
    pub fn must(&mut self, line: &str, limit: Duration) -> Result<String> {
        match self.command(line, limit)? {
            (0, output) => Ok(output),
            (code, output) => bail!("`{line}` ended with {code}:\n{output}"),
        }
    }

    /// Waits until QEMU ends by itself, as it does at power-off.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.receive(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("QEMU did not end within {} s\n{}", limit.as_secs(), self.tail())
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    /// Everything the console showed so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Connects this terminal with the machine until it ends or `quit` is typed.
    pub fn hand_over(mut self, quit: u8) -> Result<()> {
        let _raw = RawTerminal::enter()?;
        let (keys_send, keys) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = std::io::stdin().read(&mut bytes) {
                if keys_send.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut screen = std::io::stdout();
        loop {
            match self.output.recv_timeout(Duration::from_millis(10)) {
                Ok(bytes) => {
                    screen.write_all(&bytes)?;
                    screen.flush()?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            for typed in keys.try_iter() {
                if typed.contains(&quit) {
                    return Ok(());
                }
                self.stdin.write_all(&typed)?;
                self.stdin.flush()?;
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let bytes = self.output.recv_timeout(left)?;
        self.filter.push(&bytes, &mut self.text);
        Ok(())
    }

    fn drain(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.receive(deadline).is_ok() {}
    }

    fn tail(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let last = lines[lines.len().saturating_sub(25)..].join("\n    ");
        format!("  the console's last lines (all of it: {}):\n    {last}", self.log.display())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Removes carriage returns and terminal escape sequences, which may be split over reads.
#[derive(Default)]
struct Filter {
    state: State,
    partial: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    Sequence,
}

impl Filter {
    fn push(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, 0x1b) => State::Escape,
                (State::Text, b'\r' | 0) => State::Text,
                (State::Text, _) => {
                    self.partial.push(byte);
                    State::Text
                }
                (State::Escape, b'[') => State::Sequence,
                (State::Escape, _) => State::Text,
                (State::Sequence, 0x40..=0x7e) => State::Text,
                (State::Sequence, _) => State::Sequence,
            };
        }
        let whole = match std::str::from_utf8(&self.partial) {
            Ok(_) => self.partial.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.partial.len(),
        };
        let rest = self.partial.split_off(whole);
        text.push_str(&String::from_utf8_lossy(&self.partial));
        self.partial = rest;
    }
}

/// The terminal passes every key on while this lives.
struct RawTerminal {
    saved: String,
}

impl RawTerminal {
    fn enter() -> Result<RawTerminal> {
        let saved = stty(&["-g"])?;
        stty(&["raw", "-echo"])?;
        Ok(RawTerminal { saved: saved.trim().to_owned() })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = stty(&[&self.saved]);
    }
}

fn stty(args: &[&str]) -> Result<String> {
    let output = Command::new("stty").args(args).stdin(Stdio::inherit()).output().context("running stty")?;
    if !output.status.success() {
        bail!("standard input is not a terminal; `cargo xtask demo --check` needs none");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Filter, Session};

    fn session(script: &str) -> Session {
        let log =
            std::env::temp_dir().join(format!("xtask-expect-{}-{}.log", std::process::id(), script.len()));
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        let session = Session::start(command, &log).unwrap();
        std::fs::remove_file(&log).unwrap();
        std::fs::remove_file(log.with_extension("qemu")).unwrap();
        session
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn waits_in_order_and_names_what_is_missing() {
        let mut session = session("echo one; echo two; read line; echo got $line; read line");
        session.wait("two", LIMIT).unwrap();
        session.send("hello\n").unwrap();
        assert_eq!(session.wait(r"got (\w+)", LIMIT).unwrap()[1], "hello");
        let error = session.wait("one", Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("/one/ did not appear"), "{error}");
    }

    #[test]
    fn a_panic_ends_the_wait() {
        let mut session = session("echo 'Kernel panic - not syncing: no init'; read line");
        let error = session.wait("login:", LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("Kernel panic - not syncing: no init"), "{error}");
    }

    #[test]
    fn commands_answer_code_and_output() {
        let mut session = session("exec sh -c 'while read line; do echo \"$line\"; eval \"$line\"; done'");
        let (code, output) = session.command("echo abc; false", LIMIT).unwrap();
        assert_eq!((code, output.as_str()), (1, "abc"));
        assert!(session.must("false", LIMIT).is_err());
    }

    #[test]
    fn escape_sequences_are_removed_across_reads() {
        let mut text = String::new();
        let mut filter = Filter::default();
        filter.push(b"a\x1b[3", &mut text);
        filter.push(b"1mb\r\n\xc3", &mut text);
        filter.push(b"\xa4", &mut text);
        assert_eq!(text, "ab\nä");
    }

    #[test]
    fn what_ends_a_boot_is_a_whole_line() {
        let fatal = regex::Regex::new(super::FATAL).unwrap();
        assert!(!fatal.is_match("(XEN) Panic on CPU"), "who waits for the rest must see it first");
        assert!(fatal.is_match("(XEN) Panic on CPU 0:\r\n"));
        assert!(fatal.is_match("[ 1.0] Kernel panic - not syncing: VFS\n"));
    }
}
