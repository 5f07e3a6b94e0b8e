//! What stands around the guest in a file of `xl save`: the configuration it was made from, and the outer stream.
//!
//! The head is 32 bytes of magic and four 32-bit words in the byte order of the machine: 0x01020304, flags that a reader
//! must know, flags that it need not, and the bytes of the optional data that follow. Those begin with the length of the
//! configuration, which is JSON. Then `libxl-migration-stream` of Xen's documentation begins, which for a PV guest holds
//! nothing but the inner stream ([`super::image`]).

use std::io::{Read, Write};

use xenctl::Result;

use super::wire::{OPTIONAL, damaged, get, get_many, get_record, half, put, put_record};

const MAGIC: &[u8; 32] = b"Xen saved domain, xl format\n \0 \r";
const BYTE_ORDER: u32 = 0x0102_0304;
/// The configuration is JSON, and not an xl.cfg file.
const JSON: u32 = 1 << 0;
/// The stream is of version 2.
const STREAM_V2: u32 = 1 << 1;
/// Bytes beyond which a configuration is not believed.
const MOST_CONFIG: u32 = 16 << 20;

const IDENT: &[u8; 8] = b"LibxlFmt";
const VERSION: u32 = 2;
const BIG_ENDIAN: u32 = 1 << 0;
const LEGACY: u32 = 1 << 1;

const END: u32 = 0;
const LIBXC_CONTEXT: u32 = 1;
const EMULATOR_XENSTORE_DATA: u32 = 2;
const EMULATOR_CONTEXT: u32 = 3;
const CHECKPOINT_END: u32 = 4;

/// Writes all that stands before the inner stream.
pub fn begin(to: &mut dyn Write, config: &str) -> Result<()> {
    // With the zero that ends it, as stock tools write it.
    let text = [config.trim_end_matches('\0').as_bytes(), b"\0"].concat();
    put(to, MAGIC)?;
    for word in [BYTE_ORDER, JSON | STREAM_V2, 0, text.len() as u32 + 4, text.len() as u32] {
        put(to, &word.to_le_bytes())?;
    }
    put(to, &text)?;
    put(to, IDENT)?;
    put(to, &[VERSION, 0].map(u32::to_be_bytes).concat())?;
    put_record(to, LIBXC_CONTEXT, &[])
}

/// Writes what stands behind it.
pub fn end(to: &mut dyn Write) -> Result<()> {
    put_record(to, END, &[])
}

/// Reads up to the inner stream; the configuration's text.
///
/// # Errors
/// A file that is none of `xl save`, or has something that is not known here.
pub fn open(from: &mut dyn Read) -> Result<String> {
    if get::<32>(from)? != *MAGIC {
        return Err(damaged("it does not begin as a file of `xl save`"));
    }
    let head: [u8; 16] = get(from)?;
    let [order, mandatory, _optional, length] = [0, 4, 8, 12].map(|at| half(&head, at));
    if order != BYTE_ORDER {
        return Err(damaged("it was saved on a machine of another byte order"));
    }
    if mandatory & !(JSON | STREAM_V2) != 0 {
        return Err(damaged(format!("its flags {mandatory:#x} are not known here")));
    }
    if mandatory != JSON | STREAM_V2 {
        return Err(damaged("it was saved by tools older than Xen 4.6"));
    }
    if !(4..=MOST_CONFIG).contains(&length) {
        return Err(damaged(format!("its configuration is said to have {length} bytes")));
    }
    let data = get_many(from, length.into())?;
    let text = (data[4..].get(..half(&data, 0) as usize))
        .ok_or_else(|| damaged("its configuration is longer than the room for it"))?;
    let text = String::from_utf8(text.to_vec());
    let text = text.map_err(|_| damaged("its configuration is no text"))?;
    stream(from)?;
    match record(from)? {
        LIBXC_CONTEXT => Ok(text.trim_end_matches('\0').to_owned()),
        kind => Err(unexpected(kind)),
    }
}

fn stream(from: &mut dyn Read) -> Result<()> {
    let head: [u8; 16] = get(from)?;
    if head[..8] != *IDENT {
        return Err(damaged("what follows the configuration is no stream of libxl's"));
    }
    let [version, options] = [8, 12].map(|at| half(&head, at).swap_bytes());
    if version != VERSION || options & !(BIG_ENDIAN | LEGACY) != 0 {
        return Err(damaged(format!("version {version} with options {options:#x} is not known here")));
    }
    match options & BIG_ENDIAN {
        0 => Ok(()),
        _ => Err(damaged("it was saved on a machine of another byte order")),
    }
}

/// The next record that has to be known.
fn record(from: &mut dyn Read) -> Result<u32> {
    loop {
        let record = get_record(from)?;
        if record.kind & OPTIONAL == 0 {
            return Ok(record.kind);
        }
    }
}

fn unexpected(kind: u32) -> xenctl::Error {
    match kind {
        EMULATOR_XENSTORE_DATA | EMULATOR_CONTEXT => damaged("it has a device model: it is no PV guest"),
        END => damaged("there is no guest in it"),
        LIBXC_CONTEXT | CHECKPOINT_END => damaged("a record of the outer stream is out of its place"),
        _ => damaged(format!("record {kind:#x} of the outer stream is not known here")),
    }
}

/// Reads what stands behind the inner stream.
///
/// # Errors
/// Anything but the end.
pub fn close(from: &mut dyn Read) -> Result<()> {
    match record(from)? {
        END => Ok(()),
        kind => Err(unexpected(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut file = Vec::new();
        begin(&mut file, "{}\0").unwrap();
        end(&mut file).unwrap();
        file
    }

    #[test]
    fn a_file_is_as_stock_tools_write_it() {
        let file = written();
        assert_eq!(&file[..32], MAGIC);
        let words = [0x0102_0304u32, 3, 0, 7, 3].map(u32::to_le_bytes).concat();
        assert_eq!(file[32..52], words);
        assert_eq!(&file[52..55], b"{}\0");
        assert_eq!(file[55..71], *b"LibxlFmt\0\0\0\x02\0\0\0\0");
        assert_eq!(file[71..], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let from = &mut &file[..];
        assert_eq!(open(from).unwrap(), "{}");
        close(from).unwrap();
        assert!(from.is_empty());
    }

    #[test]
    fn a_file_that_is_none_says_why() {
        let said = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut file = written();
            change(&mut file);
            let from = &mut &file[..];
            open(from).and_then(|_| close(from)).unwrap_err().to_string()
        };
        let set = |at: usize, bytes: &'static [u8]| {
            move |file: &mut Vec<u8>| file[at..at + bytes.len()].copy_from_slice(bytes)
        };
        for (change, words) in [
            (&set(0, b"Qemu") as &dyn Fn(&mut Vec<u8>), "does not begin as a file"),
            (&set(32, &[1, 2, 3, 4]), "another byte order"),
            (&set(36, &[7]), "flags 0x7"),
            (&set(36, &[1]), "older than Xen 4.6"),
            (&set(44, &[3, 0, 0, 0]), "is said to have 3 bytes"),
            (&set(44, &[0, 0, 0, 0xff]), "is said to have 4278190080 bytes"),
            (&set(48, &[9]), "longer than the room"),
            (&set(52, &[0xff]), "is no text"),
            (&set(55, b"X"), "no stream of libxl's"),
            (&set(66, &[3]), "version 3"),
            (&set(70, &[4]), "options 0x4"),
            (&set(70, &[1]), "another byte order"),
            (&set(71, &[0]), "no guest in it"),
            (&set(71, &[3]), "no PV guest"),
            (&set(71, &[9]), "record 0x9"),
            (&set(79, &[1]), "out of its place"),
            (&|file: &mut Vec<u8>| file.truncate(80), "ends before its end"),
        ] {
            assert!(said(change).contains(words), "{}", said(change));
        }
        for length in 0..written().len() {
            let file = written();
            let from = &mut &file[..length];
            assert!(open(from).and_then(|_| close(from)).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_may_be_passed_over_is() {
        let mut file = Vec::new();
        begin(&mut file, "{}").unwrap();
        put_record(&mut file, OPTIONAL | 5, &[b"whatever"]).unwrap();
        end(&mut file).unwrap();
        let from = &mut &file[..];
        open(from).unwrap();
        close(from).unwrap();
    }
}
