//! [`Watcher`]: a connection to the store that is told what changes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use abi::Errno;
use abi::io::xs_wire::*;
use xenctl::{Error, Result};
use xenstore::wire;

use crate::store::{Incoming, SOCKETS};

/// What is told of when a domain ends, shuts down or goes.
pub const RELEASE: &str = "@releaseDomain";

/// Something has changed at or below `path`; or the watch has just begun.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    pub path: String,
    pub token: String,
}

/// Watches, and what they have told. Readable when there may be more to tell.
pub struct Watcher {
    stream: UnixStream,
    incoming: Incoming,
    told: VecDeque<Event>,
}

impl Watcher {
    /// To the store of this machine.
    ///
    /// # Errors
    /// Where none listens.
    pub fn open() -> Result<Self> {
        let connected = SOCKETS.iter().find_map(|path| UnixStream::connect(path).ok());
        let stream = connected.ok_or_else(|| {
            Error::new(format!("connecting to the store at {}", SOCKETS[0]), Errno::ENOENT)
                .because("is xenstored running, and are we root?")
        })?;
        Ok(Self::over(stream))
    }

    pub fn over(stream: UnixStream) -> Self {
        Self { stream, incoming: Incoming::default(), told: VecDeque::new() }
    }

    /// Begins to watch `path`: what is told of it has `token`.
    ///
    /// # Errors
    /// As XS_WATCH, and those of the connection.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<()> {
        self.ask(XS_WATCH, path, token)
    }

    /// Ends a watch.
    ///
    /// # Errors
    /// As XS_UNWATCH, and those of the connection.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<()> {
        self.ask(XS_UNWATCH, path, token)
    }

    fn ask(&mut self, type_: u32, path: &str, token: &str) -> Result<()> {
        let doing = || format!("watching {path}");
        let failed = |e: io::Error| Error::os(doing(), &e);
        let payload = [path.as_bytes(), b"\0", token.as_bytes(), b"\0"].concat();
        if payload.len() > XENSTORE_PAYLOAD_MAX {
            return Err(Error::new(doing(), Errno::E2BIG));
        }
        self.stream.set_nonblocking(false).map_err(failed)?;
        self.stream.write_all(&wire::encode(type_, 0, 0, &[&payload])).map_err(failed)?;
        loop {
            match self.message().map_err(failed)? {
                Some((XS_ERROR, answer)) => return Err(Error::new(doing(), crate::store::errno(&answer))),
                Some((answered, _)) if answered == type_ => return Ok(()),
                _ => {}
            }
        }
    }

    /// What has changed, if anything has by now.
    ///
    /// # Errors
    /// Those of the connection; `UnexpectedEof` where the store has gone.
    pub fn event(&mut self) -> io::Result<Option<Event>> {
        self.stream.set_nonblocking(true)?;
        while self.told.is_empty() {
            match self.message() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                other => other?,
            };
        }
        Ok(self.told.pop_front())
    }

    /// The next change, waited for.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn wait(&mut self) -> io::Result<Event> {
        self.stream.set_nonblocking(false)?;
        loop {
            if let Some(event) = self.told.pop_front() {
                return Ok(event);
            }
            self.message()?;
        }
    }

    /// The next message; an event is put aside, and answered as `None`.
    fn message(&mut self) -> io::Result<Option<(u32, Vec<u8>)>> {
        let (head, payload) = self.incoming.next(&mut self.stream)?;
        if head.type_ != XS_WATCH_EVENT {
            return Ok(Some((head.type_, payload)));
        }
        let mut words = payload.split(|&byte| byte == 0);
        let mut word = || String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        self.told.push_back(Event { path: word(), token: word() });
        Ok(None)
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use xenstore::wire::HEAD;

    use super::*;

    fn message(type_: u32, payload: &[u8]) -> Vec<u8> {
        wire::encode(type_, 0, 0, &[payload])
    }

    #[test]
    fn events_wait_while_a_request_is_answered_and_come_in_pieces() {
        let (ours, mut store) = UnixStream::pair().unwrap();
        let mut watcher = Watcher::over(ours);
        let event = message(XS_WATCH_EVENT, b"/a/b\0one\0");
        store.write_all(&event).unwrap();
        store.write_all(&message(XS_WATCH, b"OK\0")).unwrap();
        store.write_all(&event[..20]).unwrap();
        watcher.watch("/a", "one").unwrap();
        let mut asked = [0; HEAD + 7];
        store.read_exact(&mut asked).unwrap();
        assert_eq!(&asked[HEAD..], b"/a\0one\0");
        let told = Event { path: "/a/b".into(), token: "one".into() };
        assert_eq!(watcher.event().unwrap(), Some(told.clone()));
        assert_eq!(watcher.event().unwrap(), None);
        store.write_all(&event[20..]).unwrap();
        assert_eq!(watcher.event().unwrap(), Some(told));
        store.write_all(&message(XS_ERROR, b"EEXIST\0")).unwrap();
        assert_eq!(watcher.watch("/a", "one").unwrap_err().errno, Errno::EEXIST);
        assert_eq!(watcher.watch("/a", &"t".repeat(4096)).unwrap_err().errno, Errno::E2BIG);
        // With nothing unread it ends, and is not reset.
        store.read_exact(&mut asked).unwrap();
        drop(store);
        assert_eq!(watcher.event().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
