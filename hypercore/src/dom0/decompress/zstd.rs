//! Zstandard (RFC 8878): frames, blocks, literals and sequences.

use super::zstd_tables::{Backward, FORMAT, Fse, Huffman, corrupt};
use super::{ImageError, Output, crc, table};
use crate::dom0::error::{array_at, bytes_at, u32_at};

/// The most a block unpacks to.
const BLOCK_MAX: usize = 128 * 1024;

/// Base and number of extra bits of the literal lengths from code 16 on.
const LL: [(u32, u8); 20] = [
    (16, 1),
    (18, 1),
    (20, 1),
    (22, 1),
    (24, 2),
    (28, 2),
    (32, 3),
    (40, 3),
    (48, 4),
    (64, 6),
    (128, 7),
    (256, 8),
    (512, 9),
    (1024, 10),
    (2048, 11),
    (4096, 12),
    (8192, 13),
    (16384, 14),
    (32768, 15),
    (65536, 16),
];
/// Base and number of extra bits of the match lengths from code 32 on.
const ML: [(u32, u8); 21] = [
    (35, 1),
    (37, 1),
    (39, 1),
    (41, 1),
    (43, 2),
    (47, 2),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 5),
    (131, 7),
    (259, 8),
    (515, 9),
    (1027, 10),
    (2051, 11),
    (4099, 12),
    (8195, 13),
    (16387, 14),
    (32771, 15),
    (65539, 16),
];
const LL_DEFAULT: [i16; 36] = [
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1,
    -1, -1,
];
const ML_DEFAULT: [i16; 53] = [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
];
const OF_DEFAULT: [i16; 29] =
    [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1];

/// What stays from block to block.
struct Decoder {
    huffman: Huffman,
    ll: Fse,
    of: Fse,
    ml: Fse,
    recent: [usize; 3],
    literals: alloc::vec::Vec<u8>,
}

pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    let mut out = Output::new(out, FORMAT);
    let mut at = 0u64;
    while at < payload.len() as u64 {
        let magic = u32_at(payload, at, "zstd magic")?;
        if magic & 0xffff_fff0 == 0x184d_2a50 {
            at += 8 + u64::from(u32_at(payload, at + 4, "zstd skippable frame")?);
            continue;
        }
        if magic != 0xfd2f_b528 {
            return Err(corrupt("bad frame magic"));
        }
        at = frame(payload, at + 4, &mut out)?;
    }
    Ok(out.pos)
}

/// Unpacks the frame whose header is at `at`; returns where it ends.
fn frame(payload: &[u8], mut at: u64, out: &mut Output<'_>) -> Result<u64, ImageError> {
    let [descriptor] = array_at(payload, at, "zstd frame header")?;
    let single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = [u64::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
    if descriptor & 8 != 0 {
        return Err(ImageError::Unsupported { what: "zstd frame descriptor", found: u64::from(descriptor) });
    }
    at += 1 + u64::from(!single);
    for byte in bytes_at(payload, at, dictionary, "zstd dictionary id")? {
        if *byte != 0 {
            return Err(ImageError::Unsupported { what: "zstd dictionary id byte", found: u64::from(*byte) });
        }
    }
    at += dictionary + size;
    let start = out.pos;
    let mut decoder = Decoder {
        huffman: Huffman::EMPTY,
        ll: Fse::EMPTY,
        of: Fse::EMPTY,
        ml: Fse::EMPTY,
        recent: [1, 4, 8],
        literals: table(0, BLOCK_MAX, "zstd literals")?,
    };
    loop {
        let [a, b, c] = array_at(payload, at, "zstd block header")?;
        at += 3;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let len = u64::from(header >> 3);
        let packed = if header >> 1 & 3 == 1 { 1 } else { len };
        let body = bytes_at(payload, at, packed, "zstd block")?;
        match header >> 1 & 3 {
            0 => out.append(body)?,
            1 => out.fill(body[0], len as usize)?,
            2 => decoder.block(body, out, start)?,
            _ => return Err(ImageError::Corrupt { format: FORMAT, what: "reserved block type", at }),
        }
        at += packed;
        if header & 1 != 0 {
            break;
        }
    }
    if descriptor & 4 != 0 {
        if u32_at(payload, at, "zstd checksum")? != crc::xxh64(&out.buf[start..out.pos]) as u32 {
            return Err(ImageError::Corrupt {
                format: FORMAT,
                what: "the content checksum does not match",
                at,
            });
        }
        at += 4;
    }
    Ok(at)
}

impl Decoder {
    fn block(&mut self, body: &[u8], out: &mut Output<'_>, start: usize) -> Result<(), ImageError> {
        let (literals, used) = self.literals(body)?;
        self.sequences(&body[used..], literals, out, start)
    }

    /// Unpacks the literals section; returns how many there are and how long the section is.
    fn literals(&mut self, body: &[u8]) -> Result<(usize, usize), ImageError> {
        let short = corrupt("a block ends in its literals' header");
        let &[head, ..] = body else { return Err(short) };
        let kind = head & 3;
        let format = head >> 2 & 3;
        let field = |len: usize| -> Result<u64, ImageError> {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(body.get(..len).ok_or(short)?);
            Ok(u64::from_le_bytes(bytes))
        };
        if kind < 2 {
            let (header, size) = match format {
                0 | 2 => (1, field(1)? >> 3),
                1 => (2, field(2)? >> 4),
                _ => (3, field(3)? >> 4),
            };
            let size = size as usize;
            let to = self.literals.get_mut(..size).ok_or(corrupt("too many literals"))?;
            let packed = if kind == 0 { size } else { 1 };
            let from = body.get(header..header + packed).ok_or(short)?;
            if kind == 0 {
                to.copy_from_slice(from)
            } else {
                to.fill(from[0])
            }
            return Ok((size, header + packed));
        }
        let (header, width) = [(3, 10), (3, 10), (4, 14), (5, 18)][usize::from(format)];
        let value = field(header)? >> 4;
        let size = (value & ((1 << width) - 1)) as usize;
        let packed = (value >> width & ((1 << width) - 1)) as usize;
        let mut data = body.get(header..header + packed).ok_or(corrupt("literals end early"))?;
        if kind == 2 {
            let used = self.huffman.read(data)?;
            data = data.get(used..).ok_or(corrupt("literals end early"))?;
        } else if self.huffman.is_empty() {
            return Err(corrupt("literals refer to a tree before the first one"));
        }
        let to = self.literals.get_mut(..size).ok_or(corrupt("too many literals"))?;
        if format == 0 {
            self.huffman.decode(data, to)?;
        } else {
            let (&jumps, mut data) = data.split_first_chunk::<6>().ok_or(corrupt("literals end early"))?;
            let mut rest = to;
            let each = size.div_ceil(4);
            for i in 0..4 {
                let (this, len) = match jumps.get(i * 2..i * 2 + 2) {
                    Some(len) => {
                        let (this, others) = rest
                            .split_at_mut_checked(each)
                            .ok_or(corrupt("too few literals for four streams"))?;
                        rest = others;
                        (this, usize::from(u16::from_le_bytes([len[0], len[1]])))
                    }
                    None => (core::mem::take(&mut rest), data.len()),
                };
                let (stream, others) = data.split_at_checked(len).ok_or(corrupt("literals end early"))?;
                data = others;
                self.huffman.decode(stream, this)?;
            }
        }
        Ok((size, header + packed))
    }

    /// Unpacks the sequences section and carries the sequences out.
    fn sequences(
        &mut self,
        data: &[u8],
        literals: usize,
        out: &mut Output<'_>,
        start: usize,
    ) -> Result<(), ImageError> {
        let short = corrupt("a block ends in its sequences' header");
        let (count, mut at) = match *data {
            [b, ..] if b < 128 => (usize::from(b), 1),
            [255, low, high, ..] => (usize::from(u16::from_le_bytes([low, high])) + 0x7f00, 3),
            [b, low, ..] if b < 255 => ((usize::from(b) - 128) * 256 + usize::from(low), 2),
            _ => return Err(short),
        };
        let limit = out.pos + BLOCK_MAX;
        let mut done = 0;
        if count > 0 {
            let modes = *data.get(at).ok_or(short)?;
            at += 1;
            at += mode(&mut self.ll, modes >> 6, &data[at..], (9, 35), &LL_DEFAULT, 6)?;
            at += mode(&mut self.of, modes >> 4 & 3, &data[at..], (8, 31), &OF_DEFAULT, 5)?;
            at += mode(&mut self.ml, modes >> 2 & 3, &data[at..], (9, 52), &ML_DEFAULT, 6)?;
            let mut bits = Backward::new(&data[at..])?;
            let mut ll = self.ll.start(&mut bits);
            let mut of = self.of.start(&mut bits);
            let mut ml = self.ml.start(&mut bits);
            for i in 0..count {
                if of.symbol > 31 {
                    return Err(corrupt("an offset is too far"));
                }
                let offset = (1usize << of.symbol) + bits.take(u32::from(of.symbol)) as usize;
                let match_len = length(ml.symbol, 3, &ML, &mut bits)?;
                let literal_len = length(ll.symbol, 0, &LL, &mut bits)?;
                let distance = self.distance(offset, literal_len)?;
                let run = self.literals[..literals].get(done..done + literal_len);
                out.append(run.ok_or(corrupt("a sequence wants more literals than there are"))?)?;
                done += literal_len;
                if distance > out.pos - start || out.pos + match_len > limit {
                    return Err(corrupt("a match leaves its frame or block"));
                }
                out.repeat(distance, match_len)?;
                if i + 1 < count {
                    ll = self.ll.next(ll, &mut bits);
                    ml = self.ml.next(ml, &mut bits);
                    of = self.of.next(of, &mut bits);
                }
            }
            if bits.left() != 0 {
                return Err(corrupt("sequences do not end where they should"));
            }
        }
        out.append(&self.literals[done..literals])
    }

    /// The distance an offset value means: three recent ones, or a new one.
    fn distance(&mut self, offset: usize, literal_len: usize) -> Result<usize, ImageError> {
        let recent = &mut self.recent;
        let index = if offset > 3 { 3 } else { offset - 1 + usize::from(literal_len == 0) };
        let distance = match index {
            0..3 => recent[index],
            _ if offset > 3 => offset - 3,
            _ => recent[0] - 1,
        };
        if distance == 0 {
            return Err(corrupt("an offset is zero"));
        }
        recent[..=index.min(2)].rotate_right(1);
        recent[0] = distance;
        Ok(distance)
    }
}

/// The length a code means; codes below the table's are the length itself, plus `min`.
#[inline]
fn length(code: u8, min: usize, table: &[(u32, u8)], bits: &mut Backward<'_>) -> Result<usize, ImageError> {
    let direct = if min == 0 { 16 } else { 32 };
    match usize::from(code).checked_sub(direct) {
        None => Ok(usize::from(code) + min),
        Some(i) => {
            let (base, extra) = *table.get(i).ok_or(corrupt("bad length code"))?;
            Ok(base as usize + bits.take(u32::from(extra)) as usize)
        }
    }
}

/// Sets `fse` up as a sequences header's two mode bits say; returns how many bytes it took.
fn mode(
    fse: &mut Fse,
    mode: u8,
    data: &[u8],
    (max_log, max_symbol): (u32, usize),
    default: &[i16],
    default_log: u32,
) -> Result<usize, ImageError> {
    match mode {
        0 => fse.build(default, default_log).map(|()| 0),
        1 => {
            let symbol = *data.first().ok_or(corrupt("a block ends in its sequences' header"))?;
            if usize::from(symbol) > max_symbol {
                return Err(corrupt("bad symbol of a table of one"));
            }
            fse.rle(symbol).map(|()| 1)
        }
        2 => fse.read(data, max_log, max_symbol),
        _ if fse.is_empty() => Err(corrupt("sequences refer to a table before the first one")),
        _ => Ok(0),
    }
}
