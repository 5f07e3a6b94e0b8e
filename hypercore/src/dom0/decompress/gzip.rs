//! gzip (RFC 1952): the framing here, DEFLATE by `miniz_oxide`, which writes to the output in place.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress as inflate, inflate_flags};

use super::{ImageError, crc};
use crate::dom0::error::{array_at, bytes_at, u16_at, u32_at};

const FORMAT: &str = "gzip";

/// Where DEFLATE's data begins, after the header's optional fields.
fn header_len(payload: &[u8]) -> Result<usize, ImageError> {
    let [method, flags] = array_at(payload, 2, "gzip header")?;
    if method != 8 {
        return Err(ImageError::Field {
            what: "gzip compression method",
            found: u64::from(method),
            expected: "8 (deflate)",
        });
    }
    let mut at = 10usize;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16_at(payload, at as u64, "gzip extra field")?);
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let rest = bytes_at(payload, at as u64, 1, "gzip name").and(Ok(&payload[at..]))?;
            let len = rest.iter().position(|b| *b == 0);
            at +=
                1 + len.ok_or(ImageError::Corrupt { format: FORMAT, what: "endless name", at: at as u64 })?;
        }
    }
    Ok(at + if flags & 2 != 0 { 2 } else { 0 })
}

pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    let start = header_len(payload)?;
    let body = payload.get(start..).ok_or(ImageError::Truncated {
        what: "gzip header",
        need: start as u64,
        have: payload.len() as u64,
    })?;
    let mut state = super::table(DecompressorOxide::new(), 1, "gzip tables")?;
    let (status, used, written) =
        inflate(&mut state[0], body, out, 0, inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF);
    let end = (start + used) as u64;
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => {
            return Err(ImageError::Corrupt {
                format: FORMAT,
                what: "it is longer than its stated size",
                at: end,
            });
        }
        _ => return Err(ImageError::Corrupt { format: FORMAT, what: "bad deflate data", at: end }),
    }
    if u32_at(payload, end, "gzip CRC")? != crc::crc32(&out[..written]) {
        return Err(ImageError::Corrupt { format: FORMAT, what: "CRC-32 does not match", at: end });
    }
    Ok(written)
}
