//! `xl console`: a guest's console in this terminal, until Ctrl-].

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use abi::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use xenctl::{DomId, Error};

use crate::tools::{Done, Tools, words};

#[derive(clap::Args)]
pub struct Args {
    /// pv, which is all there is of a PV guest's
    #[arg(short = 't')]
    kind: Option<String>,
    /// Which of them
    #[arg(short = 'n', default_value_t = 0)]
    number: u32,
    /// The key that ends it, as ^] or a character
    #[arg(short = 'e', default_value = "^]")]
    escape: String,
    /// A domain, by name or number
    domain: String,
}

/// For how long the daemon may take to open a terminal for a guest.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ctrl-].
const ESCAPE: u8 = 0x1d;

pub fn console(tools: &mut Tools, args: &Args) -> Done {
    let id = tools.domain(&args.domain)?;
    match args.kind.as_deref() {
        None | Some("pv") => {}
        Some("serial") => return words("A PV guest has no serial console"),
        Some(_) => return words("console type supported are: pv, serial"),
    }
    let Some(key) = key(&args.escape) else {
        return words(format!("\"{}\" is no key: write ^] or one character", args.escape));
    };
    show(tools, id, args.number, key)
}

/// As `xl create -c` does.
pub fn attach(tools: &mut Tools, id: DomId) -> Done {
    show(tools, id, 0, ESCAPE)
}

/// `^]`, or a character itself.
fn key(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'^', letter @ b'@'..=b'_'] => Some(letter & 0x1f),
        [b'^', letter @ b'a'..=b'z'] => Some(letter & 0x1f),
        [one] => Some(*one),
        _ => None,
    }
}

fn show(tools: &mut Tools, id: DomId, number: u32, escape: u8) -> Done {
    let home = format!("/local/domain/{id}");
    let path = match number {
        0 => format!("{home}/console/tty"),
        n => format!("{home}/device/console/{n}/tty"),
    };
    let doing = || format!("connecting to the console of domain {id}");
    let mut terminal = String::new();
    let (xen, store) = tools.both()?;
    if xen.domain(id)?.is_none() {
        return words(format!("Domain {id} does not exist"));
    }
    let there = store.wait(&path, PATIENCE, |value| {
        terminal = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        !terminal.is_empty()
    })?;
    if !there {
        let e = Error::new(doing(), Errno::ETIMEDOUT);
        return Err(e.because(format!("nothing opens a terminal ({path}); is xenconsoled running?")).into());
    }
    let tty = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits() as i32)
        .open(&terminal)
        .map_err(|e| Error::os(format!("{}: opening {terminal}", doing()), &e))?;
    if let Ok(mut raw) = tcgetattr(&tty) {
        raw.make_raw();
        tcsetattr(&tty, OptionalActions::Now, &raw).map_err(|e| Error::os(doing(), &e.into()))?;
    }
    let _restored = Raw::begin().map_err(|e| Error::os(doing(), &e))?;
    pass(&tty, escape).map_err(|e| Error::os(doing(), &e).into())
}

/// This terminal as it was, when it is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn begin() -> io::Result<Self> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(&input)?;
        let mut raw = before.clone();
        raw.make_raw();
        // What is typed already is for the guest.
        tcsetattr(&input, OptionalActions::Now, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Passes on what is typed and what is shown, until the key, the end of the input or of the console.
fn pass(mut tty: &std::fs::File, escape: u8) -> io::Result<()> {
    let (input, mut output) = (io::stdin(), io::stdout().lock());
    let mut bytes = [0; 4096];
    loop {
        let mut ready = [(); 2].map(|()| PollFlags::empty());
        {
            let fds = &mut [PollFd::new(&input, PollFlags::IN), PollFd::new(&tty, PollFlags::IN)];
            poll(fds, None)?;
            ready.iter_mut().zip(fds.iter()).for_each(|(to, fd)| *to = fd.revents());
        }
        if !ready[1].is_empty() {
            match tty.read(&mut bytes) {
                // The guest is gone, and its terminal with it.
                Ok(0) => return Ok(()),
                Err(e) if e.raw_os_error() == Some(Errno::EIO.0) => return Ok(()),
                Ok(count) => {
                    output.write_all(&bytes[..count])?;
                    output.flush()?;
                }
                Err(e) => return Err(e),
            }
        }
        if !ready[0].is_empty() {
            // Past the library's buffer, which `poll` knows nothing of.
            let count = rustix::io::read(&input, &mut bytes)?;
            let end = bytes[..count].iter().position(|b| *b == escape);
            tty.write_all(&bytes[..end.unwrap_or(count)])?;
            if end.is_some() || count == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_are_control_or_plain() {
        assert_eq!([key("^]"), key("^a"), key("~"), key("^")], [Some(0x1d), Some(1), Some(b'~'), Some(b'^')]);
        assert_eq!([key(""), key("^1"), key("ab")], [None; 3]);
    }
}
