//! Messages: a 16-byte head (`struct xsd_sockmsg`) and up to 4096 bytes of payload, both ways.
//! Nothing here knows what a payload means, except how its strings are separated.

use abi::io::xs_wire::{self as xs, XENSTORE_PAYLOAD_MAX, XsdSockmsg};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{Error, Result};

/// Bytes of a message's head.
pub const HEAD: usize = size_of::<XsdSockmsg>();
/// Bytes of the longest message.
pub const MESSAGE_MAX: usize = HEAD + XENSTORE_PAYLOAD_MAX;

/// A client announced more than `XENSTORE_PAYLOAD_MAX` bytes. Where its next message would begin
/// cannot be known: the connection is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// One whole message, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub head: XsdSockmsg,
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message that `bytes` begins with; `None` while it is not whole.
    pub fn first(bytes: &'a [u8]) -> std::result::Result<Option<Self>, TooLong> {
        let Ok((head, rest)) = XsdSockmsg::read_from_prefix(bytes) else { return Ok(None) };
        let len = head.len as usize;
        if len > XENSTORE_PAYLOAD_MAX {
            return Err(TooLong);
        }
        Ok(rest.get(..len).map(|payload| Self { head, payload }))
    }

    /// Bytes of the whole message.
    pub fn len(&self) -> usize {
        HEAD + self.payload.len()
    }

    /// Never: a message has its head at least.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A message's bytes. `parts` together are the payload, at most `XENSTORE_PAYLOAD_MAX` bytes.
pub fn encode(type_: u32, req_id: u32, tx_id: u32, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    assert!(len <= XENSTORE_PAYLOAD_MAX, "the caller has limited the payload");
    let mut bytes = Vec::with_capacity(HEAD + len);
    bytes.extend_from_slice(XsdSockmsg { type_, req_id, tx_id, len: len as u32 }.as_bytes());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// The answer to `request` with its type, or `E2BIG` where the payload would be too long.
pub fn reply(request: &XsdSockmsg, payload: &[u8]) -> Vec<u8> {
    if payload.len() > XENSTORE_PAYLOAD_MAX {
        return refusal(request, Error::E2BIG);
    }
    encode(request.type_, request.req_id, request.tx_id, &[payload])
}

/// The answer to `request` that refuses it.
pub fn refusal(request: &XsdSockmsg, error: Error) -> Vec<u8> {
    encode(xs::XS_ERROR, request.req_id, request.tx_id, &[error.name().as_bytes(), b"\0"])
}

/// Takes a payload apart: strings that end with a nul, and perhaps bytes after them.
#[derive(Clone, Copy)]
pub struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// The next string. `EINVAL` where no nul follows, or it is not UTF-8 (no path, number or
    /// token of a sane client is anything but ASCII).
    pub fn string(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::EINVAL)
    }

    /// The next string where it may be any bytes but nul. `EINVAL` where no nul follows.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(Error::EINVAL)?;
        let (string, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        Ok(string)
    }

    /// The next string as a decimal number.
    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        self.string()?.parse().map_err(|_| Error::EINVAL)
    }

    /// Whatever follows the strings taken so far.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_seen_only_once_it_is_whole() {
        let bytes = encode(xs::XS_READ, 7, 9, &[b"/tool", b"\0"]);
        for cut in 0..bytes.len() {
            assert!(Message::first(&bytes[..cut]).unwrap().is_none(), "{cut} bytes");
        }
        let both = [bytes.clone(), bytes.clone()].concat();
        let message = Message::first(&both).unwrap().unwrap();
        assert_eq!((message.head.req_id, message.head.tx_id, message.payload), (7, 9, &b"/tool\0"[..]));
        assert_eq!(message.len(), bytes.len());
    }

    #[test]
    fn a_payload_too_long_is_known_from_the_head_alone() {
        let mut bytes = encode(xs::XS_WRITE, 1, 0, &[]);
        bytes[12..].copy_from_slice(&(XENSTORE_PAYLOAD_MAX as u32 + 1).to_le_bytes());
        assert_eq!(Message::first(&bytes).unwrap_err(), TooLong);
    }

    #[test]
    fn strings_end_with_a_nul() {
        let mut strings = Strings::new(b"a\0\x30\x37\0rest");
        assert_eq!(strings.string(), Ok("a"));
        assert_eq!(strings.number::<u16>(), Ok(7));
        assert_eq!(strings.rest(), b"rest");
        assert_eq!(strings.string(), Err(Error::EINVAL));
        assert_eq!(Strings::new(b"\xff\0").string(), Err(Error::EINVAL));
    }
}
