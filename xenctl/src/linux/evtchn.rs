//! [`EventChannels`]: ports of this domain, by `/dev/xen/evtchn`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{ioc, ioctl, open};
use crate::DomId;
use crate::error::{Error, Result};

/// `struct ioctl_evtchn_bind_virq`, `_bind_unbound_port`, `_unbind`, `_notify`: one word.
#[repr(C)]
struct Word(u32);

/// `struct ioctl_evtchn_bind_interdomain`.
#[repr(C)]
struct BindInterdomain {
    remote_domain: u32,
    remote_port: u32,
}

const IOCTL_EVTCHN_BIND_VIRQ: u32 = ioc::<Word>(b'E', 0);
const IOCTL_EVTCHN_BIND_INTERDOMAIN: u32 = ioc::<BindInterdomain>(b'E', 1);
const IOCTL_EVTCHN_BIND_UNBOUND_PORT: u32 = ioc::<Word>(b'E', 2);
const IOCTL_EVTCHN_UNBIND: u32 = ioc::<Word>(b'E', 3);
const IOCTL_EVTCHN_NOTIFY: u32 = ioc::<Word>(b'E', 4);

/// Number of a port of this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

/// `/dev/xen/evtchn`: ports that are bound by it, and which of them had an event. When it is closed, they are.
pub struct EventChannels {
    device: File,
}

impl EventChannels {
    pub fn open() -> Result<Self> {
        Ok(Self { device: open("evtchn")? })
    }

    fn word(&self, doing: impl FnOnce() -> String, request: u32, word: u32) -> Result<u32> {
        // SAFETY: the structure of each request that comes here is a word.
        unsafe { ioctl(self.as_fd(), request, &mut Word(word)) }.map_err(|e| Error::new(doing(), e))
    }

    /// A port that a virtual interrupt (`VIRQ_*`) arrives at.
    pub fn bind_virq(&self, virq: u32) -> Result<Port> {
        let doing = || format!("binding virtual interrupt {virq}");
        self.word(doing, IOCTL_EVTCHN_BIND_VIRQ, virq).map(Port)
    }

    /// A port that is connected with one that `domain` offers to us. Both ends get an event by that.
    pub fn bind_interdomain(&self, domain: DomId, port: u32) -> Result<Port> {
        let mut bind = BindInterdomain { remote_domain: domain.0.into(), remote_port: port };
        // SAFETY: the request's structure.
        let local = unsafe { ioctl(self.as_fd(), IOCTL_EVTCHN_BIND_INTERDOMAIN, &mut bind) };
        local.map(Port).map_err(|e| Error::new(format!("binding port {port} of domain {domain}"), e))
    }

    /// A port that `domain` may connect with.
    pub fn bind_unbound(&self, domain: DomId) -> Result<Port> {
        let doing = || format!("offering a port to domain {domain}");
        self.word(doing, IOCTL_EVTCHN_BIND_UNBOUND_PORT, domain.0.into()).map(Port)
    }

    pub fn unbind(&self, port: Port) -> Result<()> {
        self.word(|| format!("closing port {}", port.0), IOCTL_EVTCHN_UNBIND, port.0).map(drop)
    }

    /// An event to the other end.
    pub fn notify(&self, port: Port) -> Result<()> {
        self.word(|| format!("sending an event by port {}", port.0), IOCTL_EVTCHN_NOTIFY, port.0).map(drop)
    }

    /// Ports that had an event, at most 256 of them; each is then masked until [`Self::unmask`]. Waits for one, unless
    /// the descriptor does not block ([`Self::set_nonblocking`]): then there may be none.
    pub fn pending(&self) -> Result<Vec<Port>> {
        let mut bytes = [0; 1024];
        match (&self.device).read(&mut bytes) {
            Ok(count) => {
                let words = bytes[..count].chunks_exact(4);
                Ok(words.map(|w| Port(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))).collect())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(e) => Err(Error::os("reading which ports had an event", &e)),
        }
    }

    /// Events of the port are told again.
    pub fn unmask(&self, port: Port) -> Result<()> {
        let told = (&self.device).write_all(&port.0.to_ne_bytes());
        told.map_err(|e| Error::os(format!("unmasking port {}", port.0), &e))
    }

    /// Whether [`Self::pending`] answers at once.
    pub fn set_nonblocking(&self, on: bool) -> Result<()> {
        let fd = self.device.as_raw_fd();
        // SAFETY: flags of our own descriptor.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
        // SAFETY: flags of our own descriptor.
        if flags < 0 || unsafe { libc::fcntl(fd, libc::F_SETFL, flags) } < 0 {
            return Err(Error::os("changing /dev/xen/evtchn's flags", &io::Error::last_os_error()));
        }
        Ok(())
    }
}

/// A device that is open already, with the ports that an earlier program bound by it.
impl From<OwnedFd> for EventChannels {
    fn from(device: OwnedFd) -> Self {
        Self { device: device.into() }
    }
}

/// Readable when a port had an event.
impl AsFd for EventChannels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for EventChannels {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_kernels() {
        assert_eq!(IOCTL_EVTCHN_BIND_VIRQ, 0x0004_4500);
        assert_eq!(IOCTL_EVTCHN_BIND_INTERDOMAIN, 0x0008_4501);
        assert_eq!(IOCTL_EVTCHN_BIND_UNBOUND_PORT, 0x0004_4502);
        assert_eq!(IOCTL_EVTCHN_UNBIND, 0x0004_4503);
        assert_eq!(IOCTL_EVTCHN_NOTIFY, 0x0004_4504);
    }
}
