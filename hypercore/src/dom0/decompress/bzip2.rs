//! bzip2 (its format has no standard; the description is "BZIP2: Format Specification", J. Wilkinson): blocks of
//! run lengths, the Burrows-Wheeler transform, move-to-front and Huffman codes.

use alloc::vec::Vec;

use super::{ImageError, Output, crc, table};

const FORMAT: &str = "bzip2";
const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;
/// Symbols that are coded by one table before the next selector counts.
const GROUP: usize = 50;
const MAX_CODE: usize = 20;

/// Bits, the most significant first.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    buffer: u64,
    have: u32,
}

impl Bits<'_> {
    /// The next `count` bits, at most 32.
    #[inline]
    fn take(&mut self, count: u32) -> Result<u32, ImageError> {
        while self.have < count {
            let byte = *self.data.get(self.at).ok_or(self.bad("it ends too early"))?;
            self.buffer = self.buffer << 8 | u64::from(byte);
            (self.at, self.have) = (self.at + 1, self.have + 8);
        }
        self.have -= count;
        Ok((self.buffer >> self.have & ((1 << count) - 1)) as u32)
    }

    fn take48(&mut self) -> Result<u64, ImageError> {
        Ok(u64::from(self.take(24)?) << 24 | u64::from(self.take(24)?))
    }

    fn bad(&self, what: &'static str) -> ImageError {
        ImageError::Corrupt { format: FORMAT, what, at: self.at as u64 }
    }
}

/// A canonical Huffman code.
struct Code {
    /// The last code of each length, or -1.
    limit: [i32; MAX_CODE + 2],
    /// What to take off a code of each length to get its place in `symbols`.
    base: [i32; MAX_CODE + 2],
    symbols: [u16; 258],
    shortest: u32,
}

impl Code {
    fn new(lengths: &[u8]) -> Code {
        let mut code = Code { limit: [-1; 22], base: [0; 22], symbols: [0; 258], shortest: 20 };
        let (mut next, mut placed) = (0i32, 0usize);
        for len in 1..=MAX_CODE {
            let before = placed;
            for (symbol, _) in lengths.iter().enumerate().filter(|l| usize::from(*l.1) == len) {
                code.symbols[placed] = symbol as u16;
                placed += 1;
            }
            code.base[len] = next - before as i32;
            if placed > before {
                code.shortest = code.shortest.min(len as u32);
                next += (placed - before) as i32;
                code.limit[len] = next - 1;
            }
            next <<= 1;
        }
        code
    }

    #[inline]
    fn read(&self, bits: &mut Bits<'_>) -> Result<u16, ImageError> {
        let mut len = self.shortest as usize;
        let mut found = bits.take(self.shortest)? as i32;
        while found > self.limit[len] {
            if len == MAX_CODE {
                return Err(bits.bad("a code that stands for nothing"));
            }
            len += 1;
            found = found << 1 | bits.take(1)? as i32;
        }
        let place = found - self.base[len];
        let symbol = usize::try_from(place).ok().and_then(|place| self.symbols.get(place));
        symbol.copied().ok_or(bits.bad("a code that stands for nothing"))
    }
}

pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    let mut bits = Bits { data: payload, at: 4, buffer: 0, have: 0 };
    let level = payload.get(3).copied().unwrap_or(0);
    if !(b'1'..=b'9').contains(&level) {
        return Err(ImageError::Field {
            what: "bzip2 block size",
            found: level.into(),
            expected: "a digit from 1 to 9",
        });
    }
    let mut block = table(0u32, usize::from(level - b'0') * 100_000, "bzip2 block")?;
    let mut out = Output::new(out, FORMAT);
    let mut whole = 0u32;
    loop {
        let magic = bits.take48()?;
        let crc = bits.take(16)? << 16 | bits.take(16)?;
        match magic {
            BLOCK => {
                let from = out.pos;
                let (len, origin) = read_block(&mut bits, &mut block)?;
                write_block(&bits, &mut block[..len], origin, &mut out)?;
                if crc::crc32_msb(&out.buf[from..out.pos]) != crc {
                    return Err(bits.bad("the CRC of a block does not match"));
                }
                whole = whole.rotate_left(1) ^ crc;
            }
            END if crc == whole => return Ok(out.pos),
            END => return Err(bits.bad("the CRC of the whole does not match")),
            _ => return Err(bits.bad("neither a block nor the end")),
        }
    }
}

/// Reads a block's transformed bytes into `block`; their number, and where the original begins.
fn read_block(bits: &mut Bits<'_>, block: &mut [u32]) -> Result<(usize, usize), ImageError> {
    if bits.take(1)? != 0 {
        return Err(ImageError::Unsupported { what: "bzip2 randomised block, flag", found: 1 });
    }
    let origin = bits.take(24)? as usize;
    let mut front = [0u8; 256];
    let mut used = 0;
    let ranges = bits.take(16)?;
    for range in (0..16).filter(|r| ranges & 0x8000 >> r != 0) {
        let members = bits.take(16)?;
        for member in (0..16).filter(|m| members & 0x8000 >> m != 0) {
            front[used] = range * 16 + member;
            used += 1;
        }
    }
    let (tables, count) = (bits.take(3)? as usize, bits.take(15)? as usize);
    if used == 0 || !(2..=6).contains(&tables) || count == 0 {
        return Err(bits.bad("a block's header"));
    }
    let selectors = read_selectors(bits, tables, count)?;
    let symbols = used + 2;
    let mut codes: Vec<Code> = Vec::new();
    codes.try_reserve_exact(tables).map_err(|_| ImageError::NoMemory { what: "bzip2 tables" })?;
    for _ in 0..tables {
        codes.push(read_code(bits, symbols)?);
    }

    let end = used as u16 + 1;
    let (mut len, mut run, mut weight) = (0usize, 0usize, 1usize);
    for selector in selectors {
        for _ in 0..GROUP {
            let symbol = codes[usize::from(selector)].read(bits)?;
            if symbol <= 1 {
                // A run's length in bijective base 2, the lowest digit first.
                run += weight << symbol;
                weight <<= 1;
                if run > block.len() {
                    return Err(bits.bad("a run is longer than a block"));
                }
                continue;
            }
            if run > 0 {
                let to = block.get_mut(len..len + run).ok_or(bits.bad("a block is too long"))?;
                to.fill(front[0].into());
                (len, run, weight) = (len + run, 0, 1);
            }
            if symbol == end {
                return if origin < len { Ok((len, origin)) } else { Err(bits.bad("a block's origin")) };
            }
            let place = usize::from(symbol) - 1;
            let byte = front[place];
            front.copy_within(..place, 1);
            front[0] = byte;
            *block.get_mut(len).ok_or(bits.bad("a block is too long"))? = byte.into();
            len += 1;
        }
    }
    Err(bits.bad("a block without an end"))
}

/// Which table each group of symbols is coded by.
fn read_selectors(bits: &mut Bits<'_>, tables: usize, count: usize) -> Result<Vec<u8>, ImageError> {
    let mut selectors = table(0u8, count, "bzip2 selectors")?;
    let mut front = [0u8, 1, 2, 3, 4, 5];
    for selector in &mut selectors {
        let mut place = 0;
        while bits.take(1)? != 0 {
            place += 1;
            if place == tables {
                return Err(bits.bad("a selector of no table"));
            }
        }
        front[..=place].rotate_right(1);
        *selector = front[0];
    }
    Ok(selectors)
}

/// A table's code lengths, each told by its difference from the one before.
fn read_code(bits: &mut Bits<'_>, symbols: usize) -> Result<Code, ImageError> {
    let mut lengths = [0u8; 258];
    let mut len = bits.take(5)? as usize;
    for place in &mut lengths[..symbols] {
        while bits.take(1)? != 0 {
            len = if bits.take(1)? == 0 { len + 1 } else { len.wrapping_sub(1) };
            if !(1..=MAX_CODE).contains(&len) {
                return Err(bits.bad("a code's length"));
            }
        }
        if !(1..=MAX_CODE).contains(&len) {
            return Err(bits.bad("a code's length"));
        }
        *place = len as u8;
    }
    Ok(Code::new(&lengths[..symbols]))
}

/// Undoes the transform, which leaves run lengths, and those.
fn write_block(
    bits: &Bits<'_>,
    block: &mut [u32],
    origin: usize,
    out: &mut Output<'_>,
) -> Result<(), ImageError> {
    let mut next = [0usize; 256];
    block.iter().for_each(|b| next[*b as usize & 0xff] += 1);
    let mut sum = 0;
    for n in &mut next {
        (*n, sum) = (sum, sum + *n);
    }
    // Low 8 bits of an element: its byte; above them: which element follows.
    for i in 0..block.len() {
        let byte = block[i] as usize & 0xff;
        block[next[byte]] |= (i as u32) << 8;
        next[byte] += 1;
    }
    let (mut at, mut last, mut same) = (block[origin] >> 8, u32::MAX, 0);
    for _ in 0..block.len() {
        let entry = *block.get(at as usize).ok_or(bits.bad("a block's order"))?;
        let byte = entry & 0xff;
        at = entry >> 8;
        if same == 4 {
            // Four equal bytes are followed by how often that byte comes again.
            out.fill(last as u8, byte as usize)?;
            (last, same) = (u32::MAX, 0);
            continue;
        }
        same = if byte == last { same + 1 } else { 1 };
        last = byte;
        out.push(byte as u8)?;
    }
    Ok(())
}
