//! Records: how both layers of a saved guest are cut into pieces.
//!
//! A record is its kind and the length of its body, 32 bits each, the body, and zeroes up to a multiple of 8 bytes. Both
//! `libxl-migration-stream` and `libxc-migration-stream` of Xen's documentation have it so.

use std::io::{self, Read, Write};

use abi::Errno;
use xenctl::{Error, Result};

/// Records with this bit may be passed over by who does not know them.
pub const OPTIONAL: u32 = 1 << 31;
/// Bytes beyond which a record's length is not believed: stock tools write less.
const MOST: u32 = 128 << 20;

/// A record as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub kind: u32,
    pub body: Vec<u8>,
}

/// What a file that is none is refused with.
pub fn damaged(why: impl Into<String>) -> Error {
    Error::new("reading a saved guest", Errno::EINVAL).because(why)
}

fn failed(e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => damaged("the file ends before its end"),
        _ => Error::os("reading a saved guest", e),
    }
}

/// Writes bytes.
pub fn put(to: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes).map_err(|e| Error::os("writing a saved guest", &e))
}

/// Reads a fixed number of bytes.
pub fn get<const N: usize>(from: &mut dyn Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(|e| failed(&e))?;
    Ok(bytes)
}

/// Reads `count` bytes. Room is made for them as they come: a length is believed only once they are there.
pub fn get_many(from: &mut dyn Read, count: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let got = from.take(count).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    if (got as u64) < count {
        return Err(failed(&io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// Writes a record whose body is these parts together.
pub fn put_record(to: &mut dyn Write, kind: u32, parts: &[&[u8]]) -> Result<()> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    put(to, &kind.to_le_bytes())?;
    put(to, &(length as u32).to_le_bytes())?;
    for part in parts {
        put(to, part)?;
    }
    put(to, &[0; 7][..length.next_multiple_of(8) - length])
}

/// Reads a record.
///
/// # Errors
/// A length that cannot be, or a file that ends.
pub fn get_record(from: &mut dyn Read) -> Result<Raw> {
    let kind = u32::from_le_bytes(get(from)?);
    let length = u32::from_le_bytes(get(from)?);
    if length > MOST {
        return Err(damaged(format!("record {kind:#x} is said to have {length} bytes")));
    }
    let mut body = get_many(from, u64::from(length).next_multiple_of(8))?;
    body.truncate(length as usize);
    Ok(Raw { kind, body })
}

/// A little-endian word of a body; 0 behind its end.
pub fn word(body: &[u8], at: usize) -> u64 {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// As [`word`], of 32 bits.
pub fn half(body: &[u8], at: usize) -> u32 {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_padded() {
        let mut file = Vec::new();
        put_record(&mut file, 7, &[b"abc", b"de"]).unwrap();
        put_record(&mut file, 8, &[]).unwrap();
        assert_eq!(file, b"\x07\0\0\0\x05\0\0\0abcde\0\0\0\x08\0\0\0\0\0\0\0");
        let from = &mut &file[..];
        assert_eq!(get_record(from).unwrap(), Raw { kind: 7, body: b"abcde".to_vec() });
        assert_eq!(get_record(from).unwrap(), Raw { kind: 8, body: vec![] });
        assert!(get_record(from).unwrap_err().to_string().contains("ends before its end"));
        assert!(get_record(&mut &file[..14]).is_err(), "without its padding");
    }

    #[test]
    fn lengths_are_not_believed() {
        let huge = [1u32, u32::MAX].map(u32::to_le_bytes).concat();
        assert!(get_record(&mut &huge[..]).unwrap_err().to_string().contains("4294967295 bytes"));
        let large = [1u32, MOST].map(u32::to_le_bytes).concat();
        assert!(get_record(&mut &large[..]).unwrap_err().to_string().contains("ends before"));
    }
}
