//! LZMA: the decoder that LZMA2 (in xz) and the older `.lzma` files share.
//!
//! Probabilities are 11-bit; a range decoder turns them and the input into bits; bits select
//! literals, matches and one of four recent distances. The output is the dictionary.

use super::{ImageError, Output, table};
use crate::dom0::error::{array_at, u32_at};

const FORMAT: &str = "lzma";
const ONE: u16 = 1 << 11;
const HALF: u16 = ONE / 2;
const STATES: usize = 12;
const POS_STATES: usize = 16;

/// The range decoder. Reading past the end yields zeros and is noticed by [`Range::overrun`].
pub(super) struct Range<'a> {
    input: &'a [u8],
    pos: usize,
    range: u32,
    code: u32,
}

impl<'a> Range<'a> {
    /// Starts at the five bytes every range-coded run begins with.
    pub(super) fn new(input: &'a [u8]) -> Result<Range<'a>, ImageError> {
        let first: [u8; 5] = array_at(input, 0, "lzma range coder")?;
        if first[0] != 0 {
            return Err(ImageError::Corrupt { format: FORMAT, what: "bad first byte of a run", at: 0 });
        }
        let code = u32::from_be_bytes([first[1], first[2], first[3], first[4]]);
        Ok(Range { input, pos: 5, range: !0, code })
    }

    /// More was read than there was.
    pub(super) fn overrun(&self) -> bool {
        self.pos > self.input.len()
    }

    /// The run ended exactly where its input does.
    pub(super) fn finished(&mut self) -> bool {
        self.normalize();
        self.pos == self.input.len() && self.code == 0
    }

    #[inline(always)]
    fn normalize(&mut self) {
        if self.range < 1 << 24 {
            self.range <<= 8;
            let byte = self.input.get(self.pos).copied().unwrap_or(0);
            self.code = (self.code << 8) | u32::from(byte);
            self.pos += 1;
        }
    }

    #[inline(always)]
    fn bit(&mut self, prob: &mut u16) -> usize {
        self.normalize();
        let bound = (self.range >> 11) * u32::from(*prob);
        if self.code < bound {
            self.range = bound;
            *prob += (ONE - *prob) >> 5;
            0
        } else {
            self.range -= bound;
            self.code -= bound;
            *prob -= *prob >> 5;
            1
        }
    }

    /// A symbol of `bits` bits, highest first; the tree's root is at 1.
    #[inline(always)]
    fn tree<const N: usize>(&mut self, probs: &mut [u16; N], bits: u32) -> usize {
        let mut symbol = 1;
        for _ in 0..bits {
            symbol = (symbol << 1) | self.bit(&mut probs[symbol & (N - 1)]);
        }
        symbol - (1 << bits)
    }

    /// A symbol of `bits` bits, lowest first.
    #[inline]
    fn reverse(&mut self, probs: &mut [u16], base: usize, bits: u32) -> u32 {
        let (mut node, mut value) = (1, 0);
        for i in 0..bits {
            let bit = match probs.get_mut(base + node) {
                Some(prob) => self.bit(prob),
                None => 0,
            };
            node = (node << 1) | bit;
            value |= (bit as u32) << i;
        }
        value
    }

    /// `bits` bits that no probability belongs to.
    #[inline]
    fn direct(&mut self, bits: u32) -> u32 {
        let mut value = 0;
        for _ in 0..bits {
            self.normalize();
            self.range >>= 1;
            let bit = u32::from(self.code >= self.range);
            self.code -= self.range & bit.wrapping_neg();
            value = (value << 1) | bit;
        }
        value
    }
}

/// The lengths of matches: 2..=9, 10..=17 or 18..=273.
struct Lengths {
    choice: [u16; 2],
    low: [[u16; 8]; POS_STATES],
    mid: [[u16; 8]; POS_STATES],
    high: [u16; 256],
}

impl Lengths {
    const RESET: Lengths = Lengths {
        choice: [HALF; 2],
        low: [[HALF; 8]; POS_STATES],
        mid: [[HALF; 8]; POS_STATES],
        high: [HALF; 256],
    };

    #[inline]
    fn decode(&mut self, rc: &mut Range<'_>, pos_state: usize) -> usize {
        if rc.bit(&mut self.choice[0]) == 0 {
            2 + rc.tree(&mut self.low[pos_state & 15], 3)
        } else if rc.bit(&mut self.choice[1]) == 0 {
            10 + rc.tree(&mut self.mid[pos_state & 15], 3)
        } else {
            18 + rc.tree(&mut self.high, 8)
        }
    }
}

/// Everything the decoder remembers between two symbols.
pub(super) struct Lzma {
    /// 0x300 probabilities for each context of literals.
    literal: alloc::vec::Vec<[u16; 0x300]>,
    state: usize,
    reps: [u32; 4],
    lc: u32,
    lp_mask: usize,
    pb_mask: usize,
    is_match: [[u16; POS_STATES]; STATES],
    is_rep: [u16; STATES],
    is_rep0: [u16; STATES],
    is_rep1: [u16; STATES],
    is_rep2: [u16; STATES],
    is_rep0_long: [[u16; POS_STATES]; STATES],
    slot: [[u16; 64]; 4],
    special: [u16; 128],
    align: [u16; 16],
    len: Lengths,
    rep_len: Lengths,
}

impl Lzma {
    /// A decoder with `props` = (pb * 5 + lp) * 9 + lc.
    pub(super) fn new(props: u8) -> Result<Lzma, ImageError> {
        let mut lzma = Lzma {
            literal: table([HALF; 0x300], 16, "lzma probabilities")?,
            state: 0,
            reps: [0; 4],
            lc: 0,
            lp_mask: 0,
            pb_mask: 0,
            is_match: [[HALF; POS_STATES]; STATES],
            is_rep: [HALF; STATES],
            is_rep0: [HALF; STATES],
            is_rep1: [HALF; STATES],
            is_rep2: [HALF; STATES],
            is_rep0_long: [[HALF; POS_STATES]; STATES],
            slot: [[HALF; 64]; 4],
            special: [HALF; 128],
            align: [HALF; 16],
            len: Lengths::RESET,
            rep_len: Lengths::RESET,
        };
        lzma.set_props(props)?;
        Ok(lzma)
    }

    /// Changes the numbers of context bits.
    pub(super) fn set_props(&mut self, props: u8) -> Result<(), ImageError> {
        let (lc, lp, pb) = (props % 9, props / 9 % 5, props / 45);
        if pb > 4 || lc + lp > 4 {
            return Err(ImageError::Unsupported { what: "lzma properties", found: u64::from(props) });
        }
        self.lc = u32::from(lc);
        self.lp_mask = (1 << lp) - 1;
        self.pb_mask = (1 << pb) - 1;
        Ok(())
    }

    /// Forgets everything learnt.
    pub(super) fn reset(&mut self) {
        self.literal.fill([HALF; 0x300]);
        self.state = 0;
        self.reps = [0; 4];
        self.is_match = [[HALF; POS_STATES]; STATES];
        self.is_rep = [HALF; STATES];
        self.is_rep0 = [HALF; STATES];
        self.is_rep1 = [HALF; STATES];
        self.is_rep2 = [HALF; STATES];
        self.is_rep0_long = [[HALF; POS_STATES]; STATES];
        self.slot = [[HALF; 64]; 4];
        self.special = [HALF; 128];
        self.align = [HALF; 16];
        self.len = Lengths::RESET;
        self.rep_len = Lengths::RESET;
    }

    /// Decodes until the output has reached `limit`; `false` says an end marker came first.
    ///
    /// `origin` is where in the output the dictionary began.
    pub(super) fn run(
        &mut self,
        rc: &mut Range<'_>,
        out: &mut Output<'_>,
        origin: usize,
        limit: usize,
    ) -> Result<bool, ImageError> {
        while out.pos < limit {
            let pos_state = (out.pos - origin) & self.pb_mask & 15;
            let state = self.state;
            if rc.bit(&mut self.is_match[state][pos_state]) == 0 {
                self.literal(rc, out, origin)?;
                continue;
            }
            let len;
            if rc.bit(&mut self.is_rep[state]) == 0 {
                self.reps = [0, self.reps[0], self.reps[1], self.reps[2]];
                self.state = if state < 7 { 7 } else { 10 };
                len = self.len.decode(rc, pos_state);
                self.reps[0] = self.distance(rc, len);
                if self.reps[0] == u32::MAX {
                    return Ok(false);
                }
            } else {
                if rc.bit(&mut self.is_rep0[state]) == 0 {
                    if rc.bit(&mut self.is_rep0_long[state][pos_state]) == 0 {
                        self.state = if state < 7 { 9 } else { 11 };
                        self.copy(out, origin, 1, limit)?;
                        continue;
                    }
                } else if rc.bit(&mut self.is_rep1[state]) == 0 {
                    self.reps.swap(0, 1);
                } else if rc.bit(&mut self.is_rep2[state]) == 0 {
                    self.reps[..3].rotate_right(1);
                } else {
                    self.reps.rotate_right(1);
                }
                self.state = if state < 7 { 8 } else { 11 };
                len = self.rep_len.decode(rc, pos_state);
            }
            if rc.overrun() {
                return Err(ImageError::Corrupt {
                    format: FORMAT,
                    what: "input ends early",
                    at: rc.pos as u64,
                });
            }
            self.copy(out, origin, len, limit)?;
        }
        Ok(true)
    }

    fn copy(&self, out: &mut Output<'_>, origin: usize, len: usize, limit: usize) -> Result<(), ImageError> {
        let distance = self.reps[0] as usize + 1;
        if distance > out.pos - origin || len > limit - out.pos {
            return Err(ImageError::Corrupt {
                format: FORMAT,
                what: "a match leaves the dictionary or its chunk",
                at: out.pos as u64,
            });
        }
        out.repeat(distance, len)
    }

    #[inline(always)]
    fn literal(&mut self, rc: &mut Range<'_>, out: &mut Output<'_>, origin: usize) -> Result<(), ImageError> {
        let pos = out.pos;
        let previous = if pos > origin { usize::from(out.buf[pos - 1]) } else { 0 };
        let context = (((pos - origin) & self.lp_mask) << self.lc) + (previous >> (8 - self.lc));
        let probs = &mut self.literal[context & 15];
        let mut symbol = 1;
        if self.state >= 7 {
            // After a match: the byte that would have continued it steers until it differs.
            let distance = self.reps[0] as usize + 1;
            let mut matched = if distance <= pos - origin { usize::from(out.buf[pos - distance]) } else { 0 };
            let mut offset = 0x100;
            while symbol < 0x100 {
                matched <<= 1;
                let steer = matched & offset;
                let bit = rc.bit(&mut probs[(offset + steer + symbol).min(0x2ff)]);
                symbol = (symbol << 1) | bit;
                offset &= if bit == 1 { steer } else { !steer };
            }
        } else {
            while symbol < 0x100 {
                symbol = (symbol << 1) | rc.bit(&mut probs[symbol & 0xff]);
            }
        }
        self.state = match self.state {
            0..4 => 0,
            4..10 => self.state - 3,
            _ => self.state - 6,
        };
        out.push(symbol as u8)
    }

    #[inline]
    fn distance(&mut self, rc: &mut Range<'_>, len: usize) -> u32 {
        let slot = rc.tree(&mut self.slot[(len - 2).min(3)], 6) as u32;
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) - 1;
        let base = (2 | (slot & 1)) << bits;
        if slot < 14 {
            // The trees of the middle slots lie one after the other, their roots at base - slot + 1.
            base + rc.reverse(&mut self.special, (base - slot) as usize, bits)
        } else {
            let high = rc.direct(bits - 4) << 4;
            base.wrapping_add(high).wrapping_add(rc.reverse(&mut self.align, 0, 4))
        }
    }
}

/// Unpacks a `.lzma` file: properties, dictionary size, size, one run.
pub(super) fn decompress_alone(payload: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    let [props] = array_at(payload, 0, "lzma properties")?;
    let size = u64::from_le_bytes(array_at(payload, 5, "lzma size")?);
    // The size is unknown (all ones) where the compressor read from a pipe: an end marker ends it.
    let known = size != u64::MAX;
    let _dictionary = u32_at(payload, 1, "lzma dictionary size")?;
    let mut out = Output::new(out, FORMAT);
    let limit = if known { usize::try_from(size).unwrap_or(usize::MAX) } else { usize::MAX };
    if known && limit > out.buf.len() {
        return Err(ImageError::Field {
            what: "lzma size",
            found: size,
            expected: "no more than the image says",
        });
    }
    let mut rc = Range::new(&payload[13..])?;
    let mut lzma = Lzma::new(props)?;
    lzma.run(&mut rc, &mut out, 0, limit)?;
    if rc.overrun() || (known && out.pos != limit) {
        return Err(ImageError::Corrupt { format: FORMAT, what: "input ends early", at: rc.pos as u64 });
    }
    Ok(out.pos)
}
