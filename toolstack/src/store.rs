//! [`Client`]: the store, by its socket or by the kernel's device.
//!
//! The protocol is that of `xen/io/xs_wire.h`: a request, then its answer, and between them what is told of watches.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use abi::Errno;
use abi::io::xs_wire::*;
use xenctl::{DomId, Error, Result};
use xenstore::wire::{self, Message};

/// Where the store listens in its own domain, and how the kernel passes requests on elsewhere.
pub(crate) const SOCKETS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];
const DEVICE: &str = "/dev/xen/xenbus";
/// How often a transaction is tried before whoever disturbs it is to blame.
const TRIES: u32 = 1000;

/// How often a node is looked at where nothing tells of changes in time.
const LOOK: Duration = Duration::from_millis(10);
/// Names the watch of [`Client::wait`], the only one there is.
const TOKEN: &[u8] = b"wait\0";

/// What requests are written to, and answers read from.
pub trait Stream: Read + Write + Send {
    /// Makes reads end with `WouldBlock` or `TimedOut` after this time; false where that cannot be.
    fn limit(&mut self, time: Option<Duration>) -> io::Result<bool>;
}

impl Stream for UnixStream {
    fn limit(&mut self, time: Option<Duration>) -> io::Result<bool> {
        self.set_read_timeout(time).map(|()| true)
    }
}

/// The kernel's device: its reads have no time limit.
impl Stream for File {
    fn limit(&mut self, _time: Option<Duration>) -> io::Result<bool> {
        Ok(false)
    }
}

/// What came from a store and is no whole message yet.
#[derive(Default)]
pub(crate) struct Incoming(Vec<u8>);

impl Incoming {
    /// The next message: its head and its payload.
    ///
    /// # Errors
    /// As read(2); `UnexpectedEof` where the store has gone, `InvalidData` where it does not keep to the protocol.
    pub fn next(&mut self, stream: &mut impl Read) -> io::Result<(XsdSockmsg, Vec<u8>)> {
        loop {
            let message = Message::first(&self.0);
            if let Some(message) = message.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))? {
                let (head, payload, len) = (message.head, message.payload.to_vec(), message.len());
                self.0.drain(..len);
                return Ok((head, payload));
            }
            let mut more = [0; wire::MESSAGE_MAX];
            match stream.read(&mut more) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.0.extend_from_slice(&more[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A connection.
pub struct Client {
    stream: Box<dyn Stream>,
    incoming: Incoming,
    next: u32,
    /// The transaction that requests belong to, 0 for none.
    transaction: u32,
}

impl Client {
    /// To the store of this machine.
    pub fn open() -> Result<Self> {
        for path in SOCKETS {
            if let Ok(stream) = UnixStream::connect(path) {
                return Ok(Self::over(stream));
            }
        }
        match OpenOptions::new().read(true).write(true).open(DEVICE) {
            Ok(device) => Ok(Self::over(device)),
            Err(e) => Err(Error::os(format!("connecting to the store at {} or {DEVICE}", SOCKETS[0]), &e)
                .because("is xenstored running, and are we root?")),
        }
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), incoming: Incoming::default(), next: 0, transaction: 0 }
    }

    /// A request; the answer's bytes.
    fn ask(&mut self, doing: &dyn Fn() -> String, kind: u32, parts: &[&[u8]]) -> Result<Vec<u8>> {
        if parts.iter().map(|p| p.len()).sum::<usize>() > XENSTORE_PAYLOAD_MAX {
            return Err(Error::new(doing(), Errno::E2BIG));
        }
        self.next = self.next.wrapping_add(1);
        // One write: the device takes a whole request at once.
        let message = wire::encode(kind, self.next, self.transaction, parts);
        let (kind, answer) = self.exchange(&message).map_err(|e| Error::os(doing(), &e))?;
        if kind == XS_ERROR {
            return Err(Error::new(doing(), errno(&answer)));
        }
        Ok(answer)
    }

    fn exchange(&mut self, message: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        self.stream.write_all(message)?;
        self.stream.flush()?;
        loop {
            let (head, answer) = self.incoming.next(&mut self.stream)?;
            if head.type_ != XS_WATCH_EVENT && head.req_id == self.next {
                return Ok((head.type_, answer));
            }
        }
    }

    /// The value, `None` if the node is not there.
    pub fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>> {
        absent(self.ask(&|| format!("reading {path} of the store"), XS_READ, &[path.as_bytes(), b"\0"]))
    }

    /// The value as text.
    pub fn text(&mut self, path: &str) -> Result<Option<String>> {
        Ok(self.read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Names of the node's children, `None` if it is not there.
    pub fn list(&mut self, path: &str) -> Result<Option<Vec<String>>> {
        let doing = || format!("listing {path} of the store");
        match self.ask(&doing, XS_DIRECTORY, &[path.as_bytes(), b"\0"]) {
            Err(e) if e.errno == Errno::E2BIG => self.list_parts(path),
            answer => Ok(absent(answer)?.map(|bytes| names(&bytes))),
        }
    }

    /// More children than one answer has room for, a part at a time; from the beginning if they change.
    fn list_parts(&mut self, path: &str) -> Result<Option<Vec<String>>> {
        let doing = || format!("listing {path} of the store");
        let (mut all, mut generation) = (Vec::new(), Vec::new());
        loop {
            let offset = all.len().to_string();
            let parts = [path.as_bytes(), b"\0", offset.as_bytes(), b"\0"];
            let Some(answer) = absent(self.ask(&doing, XS_DIRECTORY_PART, &parts))? else { return Ok(None) };
            let Some(end) = answer.iter().position(|b| *b == 0) else {
                return Err(Error::new(doing(), Errno::EIO));
            };
            if !all.is_empty() && generation != answer[..end] {
                all.clear();
                continue;
            }
            generation = answer[..end].to_vec();
            let part = &answer[end + 1..];
            // The last part ends with an empty name.
            if let [names_ @ .., 0] = part
                && (names_.is_empty() || names_.ends_with(&[0]))
            {
                all.extend_from_slice(names_);
                return Ok(Some(names(&all)));
            }
            all.extend_from_slice(part);
        }
    }

    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<()> {
        let doing = || format!("writing {path} of the store");
        self.ask(&doing, XS_WRITE, &[path.as_bytes(), b"\0", value]).map(drop)
    }

    /// Who may do what with the node: `n0`, `r7`... The first one is of its owner, and of all that are not named.
    pub fn set_permissions(&mut self, path: &str, permissions: &[String]) -> Result<()> {
        let doing = || format!("setting the permissions of {path} of the store");
        let mut payload = format!("{path}\0");
        permissions.iter().for_each(|one| payload.extend([one, "\0"]));
        self.ask(&doing, XS_SET_PERMS, &[payload.as_bytes()]).map(drop)
    }

    /// Connects the store with a domain: the frame that they share, and the domain's port.
    pub fn introduce(&mut self, domain: DomId, frame: u64, port: u32) -> Result<()> {
        let doing = || format!("introducing domain {domain} to the store");
        let payload = format!("{domain}\0{frame}\0{port}\0");
        self.ask(&doing, XS_INTRODUCE, &[payload.as_bytes()]).map(drop)
    }

    /// Waits until `enough` says so of the node's value, which is looked at now and after every change. False if that
    /// was not before `patience` ended.
    pub fn wait(
        &mut self,
        path: &str,
        patience: Duration,
        mut enough: impl FnMut(Option<&[u8]>) -> bool,
    ) -> Result<bool> {
        if enough(self.read(path)?.as_deref()) {
            return Ok(true);
        }
        let doing = || format!("watching {path} of the store");
        let began = Instant::now();
        self.ask(&doing, XS_WATCH, &[path.as_bytes(), b"\0", TOKEN])?;
        let mut seen = Ok(false);
        while let Ok(false) = seen {
            let Some(left) = patience.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) else {
                break;
            };
            seen = match self.read(path) {
                Ok(value) if enough(value.as_deref()) => Ok(true),
                Ok(_) => self.changed(left).map(|()| false).map_err(|e| Error::os(doing(), &e)),
                Err(e) => Err(e),
            };
        }
        self.ask(&doing, XS_UNWATCH, &[path.as_bytes(), b"\0", TOKEN])?;
        seen
    }

    /// Returns when something is told, at the latest after `limit`.
    fn changed(&mut self, limit: Duration) -> io::Result<()> {
        if !self.stream.limit(Some(limit))? {
            std::thread::sleep(LOOK.min(limit));
            return Ok(());
        }
        let told = self.incoming.next(&mut self.stream);
        self.stream.limit(None)?;
        match told {
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => Ok(()),
            told => told.map(drop),
        }
    }

    /// Removes the node and what is below it; true if it was there.
    pub fn remove(&mut self, path: &str) -> Result<bool> {
        let doing = || format!("removing {path} from the store");
        Ok(absent(self.ask(&doing, XS_RM, &[path.as_bytes(), b"\0"]))?.is_some())
    }

    /// Tells the store that a domain which had stopped runs again.
    pub fn resume(&mut self, domain: DomId) -> Result<()> {
        let doing = || format!("telling the store that domain {domain} goes on");
        self.ask(&doing, XS_RESUME, &[domain.to_string().as_bytes(), b"\0"]).map(drop)
    }

    /// What `work` does, all of it or nothing, and as if nobody else had done anything meanwhile. It may be called more
    /// than once.
    pub fn transaction<R>(&mut self, mut work: impl FnMut(&mut Self) -> Result<R>) -> Result<R> {
        let doing = || "a transaction with the store".to_owned();
        for _ in 0..TRIES {
            let id = self.ask(&doing, XS_TRANSACTION_START, &[b"\0"])?;
            let id = String::from_utf8_lossy(&id).trim_end_matches('\0').parse();
            self.transaction = id.map_err(|_| Error::new(doing(), Errno::EIO))?;
            let result = work(self);
            let end: &[u8] = if result.is_ok() { b"T\0" } else { b"F\0" };
            let ended = self.ask(&doing, XS_TRANSACTION_END, &[end]);
            self.transaction = 0;
            match (result, ended) {
                (Ok(_), Err(e)) if e.errno == Errno::EAGAIN => {}
                (Ok(result), Ok(_)) => return Ok(result),
                (Err(e), _) | (Ok(_), Err(e)) => return Err(e),
            }
        }
        Err(Error::new(doing(), Errno::EAGAIN).because("others change the same nodes all the time"))
    }
}

/// The text of an error answer.
pub(crate) fn errno(answer: &[u8]) -> Errno {
    let name = String::from_utf8_lossy(answer);
    let name = name.trim_end_matches('\0');
    Errno::ALL.iter().copied().find(|e| e.name() == Some(name)).unwrap_or(Errno::EIO)
}

fn names(bytes: &[u8]) -> Vec<String> {
    let parts = bytes.split(|b| *b == 0).filter(|name| !name.is_empty());
    parts.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn absent<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
