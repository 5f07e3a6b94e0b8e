//! lz4's legacy frame, the one Linux compresses kernels with: a magic and blocks of 8 MiB, each
//! preceded by its compressed length. Blocks do not refer to each other.

use super::{ImageError, Output};
use crate::dom0::error::{bytes_at, u32_at};

const FORMAT: &str = "lz4";

/// One byte of `input`, moving on.
fn next(input: &mut &[u8], at: u64) -> Result<u8, ImageError> {
    let (first, rest) =
        input.split_first().ok_or(ImageError::Corrupt { format: FORMAT, what: "a block ends early", at })?;
    *input = rest;
    Ok(*first)
}

/// A length of which `first` is the half byte in the token.
fn length(input: &mut &[u8], first: u8, at: u64) -> Result<usize, ImageError> {
    let mut len = usize::from(first);
    if first == 15 {
        loop {
            let more = next(input, at)?;
            len += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Ok(len)
}

fn block(mut input: &[u8], out: &mut Output<'_>, at: u64) -> Result<(), ImageError> {
    let start = out.pos;
    loop {
        let token = next(&mut input, at)?;
        let literals = length(&mut input, token >> 4, at)?;
        let Some((bytes, rest)) = input.split_at_checked(literals) else {
            return Err(ImageError::Corrupt { format: FORMAT, what: "literals end early", at });
        };
        out.append(bytes)?;
        input = rest;
        if input.is_empty() {
            return Ok(());
        }
        let distance = usize::from(u16::from_le_bytes([next(&mut input, at)?, next(&mut input, at)?]));
        if distance > out.pos - start {
            return Err(ImageError::Corrupt { format: FORMAT, what: "a match leaves its block", at });
        }
        let len = length(&mut input, token & 15, at)? + 4;
        out.repeat(distance, len)?;
    }
}

pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    let mut out = Output::new(out, FORMAT);
    let mut at = 4u64;
    while at < payload.len() as u64 {
        let len = u64::from(u32_at(payload, at, "lz4 block length")?);
        at += 4;
        // A file of several frames repeats the magic; padding of zeros may end it.
        if len == 0x184c_2102 {
            continue;
        }
        if len == 0 {
            break;
        }
        block(bytes_at(payload, at, len, "lz4 block")?, &mut out, at)?;
        at += len;
    }
    Ok(out.pos)
}
