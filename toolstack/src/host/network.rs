//! [`Change`]: what is changed of a network interface of this host, by one message of rtnetlink(7).

use std::fs;
use std::io;

use abi::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use xenctl::{Error, Result};

// Numbers of `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h` and `linux/if.h`.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const RTM_NEWLINK: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
pub const IFF_UP: u32 = 1;
pub const IFF_NOARP: u32 = 1 << 7;
pub const IFF_MULTICAST: u32 = 1 << 12;
/// Bytes of a message's head, and of what follows it in ours.
const HEAD: usize = 16;
const LINK: usize = 16;

/// A number that the kernel tells of an interface.
pub fn number(interface: &str, what: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{interface}/{what}"))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// What an interface is to be; what is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub address: Option<[u8; 6]>,
    pub mtu: Option<u32>,
    pub name: Option<String>,
    /// Number of the bridge that it becomes a port of.
    pub master: Option<u32>,
    /// Flags that are set, and which of them.
    pub flags: u32,
    pub flags_changed: u32,
}

impl Change {
    /// Changes the interface: all of it, or what was possible before the error.
    pub fn of(&self, interface: &str) -> Result<()> {
        let doing = || format!("changing the network interface {interface}");
        let index = number(interface, "ifindex").map_err(|e| Error::os(doing(), &e))?;
        match exchange(&self.message(index)) {
            Ok(0) => Ok(()),
            Ok(refused) => Err(Error::new(doing(), Errno(-refused))),
            Err(e) => Err(Error::os(doing(), &e)),
        }
    }

    fn message(&self, index: u32) -> Vec<u8> {
        let mut body = vec![0; LINK];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body[8..12].copy_from_slice(&self.flags.to_ne_bytes());
        body[12..16].copy_from_slice(&self.flags_changed.to_ne_bytes());
        let name = self.name.as_ref().map(|name| [name.as_bytes(), b"\0"].concat());
        let attributes = [
            (IFLA_ADDRESS, self.address.map(Vec::from)),
            (IFLA_MTU, self.mtu.map(|mtu| mtu.to_ne_bytes().into())),
            (IFLA_IFNAME, name),
            (IFLA_MASTER, self.master.map(|master| master.to_ne_bytes().into())),
        ];
        for (kind, value) in attributes {
            let Some(value) = value else { continue };
            body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(&value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = ((HEAD + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
        message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        message.resize(HEAD, 0);
        message.extend_from_slice(&body);
        message
    }
}

/// Sends a request; the error number that it is acknowledged with, which is 0 or negative.
fn exchange(message: &[u8]) -> io::Result<i32> {
    // Protocol 0 is that of routes and interfaces.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    loop {
        let (count, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
        let word = |at: usize| answer[..count].get(at..).and_then(|rest| rest.first_chunk().copied());
        let kind = answer[..count].get(4..).and_then(|rest| rest.first_chunk().copied());
        if kind.map(u16::from_ne_bytes) == Some(NLMSG_ERROR) {
            return word(HEAD).map(i32::from_ne_bytes).ok_or(io::ErrorKind::InvalidData.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_kernels() {
        let change = Change {
            address: Some([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]),
            mtu: Some(1500),
            master: Some(9),
            flags: IFF_UP,
            flags_changed: IFF_UP | IFF_NOARP,
            name: None,
        };
        let expected = [
            &[68, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0x81, 0, 0, 0],
            &[10, 0, 1, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
            &[8, 0, 4, 0, 0xdc, 5, 0, 0],
            &[8, 0, 10, 0, 9, 0, 0, 0],
        ];
        let mut expected = expected.concat();
        expected[0] = expected.len() as u8;
        assert_eq!(change.message(7), expected);
    }

    #[test]
    fn the_kernel_answers() {
        // Nothing is changed of an interface that is everywhere.
        Change::default().of("lo").unwrap();
        let e = Change::default().of("nosuch0").unwrap_err();
        assert_eq!(e.errno, Errno::ENOENT);
    }
}
