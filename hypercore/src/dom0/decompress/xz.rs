//! The xz container: stream and block headers, LZMA2's chunks, the x86 branch filter, checks.

use super::lzma::{Lzma, Range};
use super::{ImageError, Output, bcj, crc};
use crate::dom0::error::{array_at, bytes_at, u32_at};

const FORMAT: &str = "xz";
const FILTER_X86: u64 = 4;
const FILTER_LZMA2: u64 = 0x21;

fn corrupt(what: &'static str, at: usize) -> ImageError {
    ImageError::Corrupt { format: FORMAT, what, at: at as u64 }
}

/// A variable-length number: seven bits a byte, lowest first.
fn number(bytes: &[u8], at: &mut usize) -> Result<u64, ImageError> {
    let mut value = 0u64;
    for i in 0..9 {
        let [byte] = array_at(bytes, *at as u64, "xz number")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(corrupt("a number is too long", *at))
}

/// A block's header: whether the x86 filter is on. `header` is without its CRC.
fn block_header(header: &[u8], at: usize) -> Result<bool, ImageError> {
    let flags = header[1];
    let mut i = 2;
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            number(header, &mut i)?;
        }
    }
    let filters = usize::from(flags & 3) + 1;
    let mut x86 = false;
    for n in 0..filters {
        let id = number(header, &mut i)?;
        let size = number(header, &mut i)?;
        match (id, size, n + 1 == filters) {
            (FILTER_X86, 0, false) if !x86 => x86 = true,
            (FILTER_LZMA2, 1, true) => i += 1,
            _ => return Err(ImageError::Unsupported { what: "xz filter", found: id }),
        }
    }
    if flags & 0x3c != 0 {
        return Err(corrupt("reserved bits in a block header", at));
    }
    Ok(x86)
}

/// Unpacks LZMA2 chunks from `at` to their end marker; returns where that ends.
fn lzma2(payload: &[u8], mut at: usize, out: &mut Output<'_>) -> Result<usize, ImageError> {
    let mut lzma: Option<Lzma> = None;
    let mut origin = None;
    // Whether the decoder was reset since the dictionary was: required before the first LZMA chunk.
    let mut ready = false;
    loop {
        let [control] = array_at(payload, at as u64, "xz chunk")?;
        let start = at;
        at += 1;
        if control == 0 {
            return Ok(at);
        }
        if control == 1 || control >= 0xe0 {
            origin = Some(out.pos);
            ready = false;
        }
        let Some(origin) = origin else { return Err(corrupt("no dictionary reset at the start", start)) };
        let size: [u8; 2] = array_at(payload, at as u64, "xz chunk size")?;
        at += 2;
        let size = usize::from(u16::from_be_bytes(size)) + 1;
        if control < 0x80 {
            if control > 2 {
                return Err(corrupt("bad chunk type", start));
            }
            out.append(bytes_at(payload, at as u64, size as u64, "xz chunk")?)?;
            at += size;
            continue;
        }
        let size = size + (usize::from(control & 0x1f) << 16);
        let packed: [u8; 2] = array_at(payload, at as u64, "xz chunk size")?;
        at += 2;
        let packed = usize::from(u16::from_be_bytes(packed)) + 1;
        if control >= 0xc0 {
            let [props] = array_at(payload, at as u64, "xz chunk properties")?;
            at += 1;
            match &mut lzma {
                Some(lzma) => {
                    lzma.set_props(props)?;
                    lzma.reset();
                }
                None => lzma = Some(Lzma::new(props)?),
            }
            ready = true;
        }
        let Some(lzma) = &mut lzma else {
            return Err(corrupt("no properties before the first chunk", start));
        };
        if control & 0xe0 == 0xa0 {
            lzma.reset();
            ready = true;
        }
        if !ready {
            return Err(corrupt("no state reset after a dictionary reset", start));
        }
        let mut rc = Range::new(bytes_at(payload, at as u64, packed as u64, "xz chunk")?)?;
        let limit = out.pos + size;
        if limit > out.buf.len() {
            return Err(out.full());
        }
        if !lzma.run(&mut rc, out, origin, limit)? || !rc.finished() {
            return Err(corrupt("a chunk does not end where it says", start));
        }
        at += packed;
    }
}

pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    let flags: [u8; 2] = array_at(payload, 6, "xz stream header")?;
    if u32_at(payload, 8, "xz stream header")? != crc::crc32(&flags) {
        return Err(corrupt("CRC-32 of the stream header does not match", 6));
    }
    let check_len = match flags {
        [0, 0] => 0,
        [0, 1] => 4,
        [0, 4] => 8,
        _ => {
            return Err(ImageError::Unsupported {
                what: "xz check type",
                found: u64::from(u16::from_be_bytes(flags)),
            });
        }
    };
    let mut out = Output::new(out, FORMAT);
    let mut at = 12usize;
    loop {
        let [size] = array_at(payload, at as u64, "xz block header")?;
        if size == 0 {
            // The index: nothing in it is needed to unpack from the beginning to the end.
            return Ok(out.pos);
        }
        let header_len = usize::from(size) * 4;
        let header = bytes_at(payload, at as u64, header_len as u64, "xz block header")?;
        if u32_at(payload, (at + header_len) as u64, "xz block header")? != crc::crc32(header) {
            return Err(corrupt("CRC-32 of a block header does not match", at));
        }
        let x86 = block_header(header, at)?;
        let begin = at + header_len + 4;
        let first = out.pos;
        let end = lzma2(payload, begin, &mut out)?;
        let check_at = begin + (end - begin).next_multiple_of(4);
        let unpacked = &mut out.buf[first..out.pos];
        if x86 {
            bcj::x86_decode(unpacked);
        }
        let sound = match check_len {
            4 => u32_at(payload, check_at as u64, "xz check")? == crc::crc32(unpacked),
            8 => u64::from_le_bytes(array_at(payload, check_at as u64, "xz check")?) == crc::crc64(unpacked),
            _ => true,
        };
        if !sound {
            return Err(corrupt("the check of a block does not match", check_at));
        }
        at = check_at + check_len;
    }
}
