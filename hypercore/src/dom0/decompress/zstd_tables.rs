//! zstd's entropy tables (RFC 8878, section 4): finite-state (FSE) and Huffman, and the bits they read.

use super::{ImageError, table};

pub(super) const FORMAT: &str = "zstd";

pub(super) fn corrupt(what: &'static str) -> ImageError {
    ImageError::Corrupt { format: FORMAT, what, at: 0 }
}

/// Reads bits from the end of a slice towards its beginning.
pub(super) struct Backward<'a> {
    data: &'a [u8],
    /// Bits still unread; negative once more was taken than there was.
    left: isize,
}

impl<'a> Backward<'a> {
    /// Starts below the last byte's highest set bit, which marks the end.
    pub(super) fn new(data: &'a [u8]) -> Result<Backward<'a>, ImageError> {
        match data.last() {
            Some(last) if *last != 0 => {
                let left = data.len() as isize * 8 - 1 - last.leading_zeros() as isize;
                Ok(Backward { data, left })
            }
            _ => Err(corrupt("a bit stream has no end mark")),
        }
    }

    pub(super) fn left(&self) -> isize {
        self.left
    }

    /// The `n` (up to 56) bits above bit position `at`; bits below the beginning are zeros.
    #[inline(always)]
    fn window(&self, at: isize, n: u32) -> u64 {
        if at < 0 {
            let missing = at.unsigned_abs();
            if missing >= n as usize {
                return 0;
            }
            return self.window(0, n - missing as u32) << missing;
        }
        let byte = at as usize / 8;
        let word = match self.data[byte.min(self.data.len())..].first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => {
                let mut word = [0; 8];
                for (to, from) in word.iter_mut().zip(self.data.iter().skip(byte)) {
                    *to = *from;
                }
                u64::from_le_bytes(word)
            }
        };
        (word >> (at as u32 % 8)) & ((1 << n) - 1)
    }

    /// The next `n` (up to 56) bits without taking them.
    #[inline(always)]
    pub(super) fn peek(&self, n: u32) -> u64 {
        self.window(self.left - n as isize, n)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, n: u32) {
        self.left -= n as isize;
    }

    /// Takes `n` (up to 56) bits.
    #[inline(always)]
    pub(super) fn take(&mut self, n: u32) -> u64 {
        let bits = self.peek(n);
        self.skip(n);
        bits
    }
}

/// Reads bits from the beginning of a slice, lowest first.
struct Forward<'a> {
    data: &'a [u8],
    at: usize,
}

impl Forward<'_> {
    fn take(&mut self, n: u32) -> u32 {
        let mut value = 0;
        for i in 0..n {
            let byte = self.data.get(self.at / 8).copied().unwrap_or(0);
            value |= u32::from(byte >> (self.at % 8) & 1) << i;
            self.at += 1;
        }
        value
    }
}

/// One state of an FSE decoder.
#[derive(Clone, Copy, Default)]
pub(super) struct State {
    pub(super) symbol: u8,
    bits: u8,
    base: u16,
}

/// An FSE decoding table of `1 << log` states.
pub(super) struct Fse {
    states: alloc::vec::Vec<State>,
    log: u32,
}

impl Fse {
    pub(super) const EMPTY: Fse = Fse { states: alloc::vec::Vec::new(), log: 0 };

    /// A table that always yields `symbol`.
    pub(super) fn rle(&mut self, symbol: u8) -> Result<(), ImageError> {
        self.states = table(State { symbol, bits: 0, base: 0 }, 1, "zstd tables")?;
        self.log = 0;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Spreads `counts` (-1: less than one) over `1 << log` states.
    pub(super) fn build(&mut self, counts: &[i16], log: u32) -> Result<(), ImageError> {
        let size = 1usize << log;
        self.states.clear();
        self.states.try_reserve(size).map_err(|_| ImageError::NoMemory { what: "zstd tables" })?;
        self.states.resize(size, State::default());
        self.log = log;
        let mut next = [0u16; 256];
        let mut high = size;
        for (symbol, count) in counts.iter().enumerate() {
            if *count == -1 {
                high -= 1;
                self.states[high].symbol = symbol as u8;
                next[symbol] = 1;
            } else {
                next[symbol] = *count as u16;
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut at = 0;
        for (symbol, count) in counts.iter().enumerate() {
            for _ in 0..(*count).max(0) {
                self.states[at].symbol = symbol as u8;
                loop {
                    at = (at + step) & (size - 1);
                    if at < high {
                        break;
                    }
                }
            }
        }
        if at != 0 {
            return Err(corrupt("the counts of a table do not fill it"));
        }
        for state in &mut self.states {
            let slot = &mut next[usize::from(state.symbol)];
            let n = *slot;
            *slot += 1;
            let bits = log - n.ilog2();
            state.bits = bits as u8;
            state.base = (u32::from(n) << bits).wrapping_sub(size as u32) as u16;
        }
        Ok(())
    }

    /// Reads a table's description; returns how many bytes it took.
    pub(super) fn read(&mut self, data: &[u8], max_log: u32, max_symbol: usize) -> Result<usize, ImageError> {
        let mut bits = Forward { data, at: 0 };
        let log = bits.take(4) + 5;
        if log > max_log {
            return Err(corrupt("a table's accuracy is too high"));
        }
        let mut counts = [0i16; 256];
        let mut symbols = 0;
        let mut remaining = (1i32 << log) + 1;
        let mut threshold = 1i32 << log;
        let mut width = log + 1;
        while remaining > 1 {
            if symbols > max_symbol {
                return Err(corrupt("a table has too many symbols"));
            }
            let max = 2 * threshold - 1 - remaining;
            let low = bits.take(width - 1) as i32;
            let mut value = low;
            if low >= max {
                if bits.take(1) == 1 {
                    value += threshold;
                }
                if value >= threshold {
                    value -= max;
                }
            }
            let count = value - 1;
            remaining -= count.abs();
            counts[symbols] = count as i16;
            symbols += 1;
            if count == 0 {
                loop {
                    let zeros = bits.take(2) as usize;
                    symbols += zeros;
                    if symbols > max_symbol + 1 {
                        return Err(corrupt("a table has too many symbols"));
                    }
                    if zeros != 3 {
                        break;
                    }
                }
            }
            while remaining < threshold {
                width -= 1;
                threshold >>= 1;
            }
        }
        let used = bits.at.div_ceil(8);
        if remaining != 1 || used > data.len() {
            return Err(corrupt("bad table description"));
        }
        self.build(&counts[..symbols], log)?;
        Ok(used)
    }

    #[inline]
    pub(super) fn start(&self, bits: &mut Backward<'_>) -> State {
        let at = bits.take(self.log) as usize;
        self.states.get(at).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn next(&self, state: State, bits: &mut Backward<'_>) -> State {
        let at = usize::from(state.base) + bits.take(u32::from(state.bits)) as usize;
        self.states.get(at).copied().unwrap_or_default()
    }
}

/// A Huffman decoding table over `max_bits` peeked bits.
pub(super) struct Huffman {
    /// Symbol and length of the code that the bits begin with.
    codes: alloc::vec::Vec<(u8, u8)>,
    max_bits: u32,
}

impl Huffman {
    pub(super) const EMPTY: Huffman = Huffman { codes: alloc::vec::Vec::new(), max_bits: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Reads a tree's description; returns how many bytes it took.
    pub(super) fn read(&mut self, data: &[u8]) -> Result<usize, ImageError> {
        let Some((&head, rest)) = data.split_first() else { return Err(corrupt("no Huffman tree")) };
        let mut weights = [0u8; 256];
        let (count, used);
        if head >= 128 {
            count = usize::from(head) - 127;
            used = count.div_ceil(2);
            let packed = rest.get(..used).ok_or(corrupt("a Huffman tree ends early"))?;
            for (i, weight) in weights[..count].iter_mut().enumerate() {
                *weight = if i % 2 == 0 { packed[i / 2] >> 4 } else { packed[i / 2] & 15 };
            }
        } else {
            used = usize::from(head);
            let packed = rest.get(..used).ok_or(corrupt("a Huffman tree ends early"))?;
            let mut fse = Fse::EMPTY;
            let at = fse.read(packed, 6, 255)?;
            count = read_weights(&fse, &packed[at..], &mut weights)?;
        }
        self.build(&mut weights, count)?;
        Ok(used + 1)
    }

    /// Builds the table; the weight of the last symbol is what the others leave.
    fn build(&mut self, weights: &mut [u8; 256], count: usize) -> Result<(), ImageError> {
        let sum: u32 = weights[..count].iter().filter(|w| **w > 0).map(|w| 1u32 << (w - 1).min(15)).sum();
        if sum == 0 || sum >= 1 << 11 {
            return Err(corrupt("bad Huffman weights"));
        }
        let max_bits = sum.ilog2() + 1;
        let left = (1u32 << max_bits) - sum;
        if !left.is_power_of_two() || count > 255 {
            return Err(corrupt("Huffman weights do not add up"));
        }
        weights[count] = left.ilog2() as u8 + 1;
        self.codes.clear();
        self.codes.try_reserve(1 << max_bits).map_err(|_| ImageError::NoMemory { what: "zstd tables" })?;
        for weight in 1..=max_bits as u8 {
            for (symbol, _) in weights[..=count].iter().enumerate().filter(|(_, w)| **w == weight) {
                let entry = (symbol as u8, max_bits as u8 + 1 - weight);
                self.codes.resize(self.codes.len() + (1 << (weight - 1)), entry);
            }
        }
        self.max_bits = max_bits;
        if self.codes.len() != 1 << max_bits {
            return Err(corrupt("Huffman weights do not add up"));
        }
        Ok(())
    }

    /// Fills `out` with the symbols of one stream, which they must use up.
    pub(super) fn decode(&self, data: &[u8], out: &mut [u8]) -> Result<(), ImageError> {
        let mut bits = Backward::new(data)?;
        for to in out {
            let (symbol, len) = self.codes[bits.peek(self.max_bits) as usize];
            *to = symbol;
            bits.skip(u32::from(len));
        }
        if bits.left() != 0 { Err(corrupt("a Huffman stream does not end where it says")) } else { Ok(()) }
    }
}

/// Huffman weights, themselves FSE-coded by two states that take turns.
fn read_weights(fse: &Fse, data: &[u8], weights: &mut [u8; 256]) -> Result<usize, ImageError> {
    let mut bits = Backward::new(data)?;
    let mut states = [fse.start(&mut bits), fse.start(&mut bits)];
    let mut count = 0;
    loop {
        for turn in 0..2 {
            if count >= 254 {
                return Err(corrupt("too many Huffman weights"));
            }
            weights[count] = states[turn].symbol;
            count += 1;
            states[turn] = fse.next(states[turn], &mut bits);
            if bits.left() < 0 {
                weights[count] = states[1 - turn].symbol;
                return Ok(count + 1);
            }
        }
    }
}
