//! Unpacking of the kernel, straight into the memory it is read from afterwards.
//!
//! Every format unpacks into the output slice and uses what it has already written there as its
//! dictionary: there is no second copy and no window buffer, however large a window (128 MiB in
//! Debian's zstd kernels) the compressor was allowed. Integrity checks a format carries are verified.

mod bcj;
mod bzip2;
mod crc;
mod gzip;
mod lz4;
mod lzma;
mod xz;
mod zstd;
mod zstd_tables;

use super::error::ImageError;

/// Unpacks `payload`, whatever of gzip, bzip2, xz, lzma, zstd and lz4 it is, and returns how many bytes of
/// `out` it filled.
///
/// # Errors
/// A payload that does not fit `out`, is damaged or is in another format.
pub fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, ImageError> {
    match payload {
        [0x1f, 0x8b, ..] => gzip::decompress(payload, out),
        [b'B', b'Z', b'h', ..] => bzip2::decompress(payload, out),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => xz::decompress(payload, out),
        [0x5d, 0, 0, ..] => lzma::decompress_alone(payload, out),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::decompress(payload, out),
        [0x02, 0x21, 0x4c, 0x18, ..] => lz4::decompress(payload, out),
        [0x89, b'L', b'Z', b'O', ..] => Err(ImageError::Text {
            what: "the kernel's compression",
            found: super::error::Excerpt::of(b"LZO"),
            expected: "gzip, bzip2, xz, lzma, zstd or lz4",
        }),
        [a, b, c, d, ..] => Err(ImageError::Unsupported {
            what: "compression of the kernel with magic",
            found: u64::from(u32::from_be_bytes([*a, *b, *c, *d])),
        }),
        _ => Err(ImageError::Truncated { what: "compressed kernel", need: 4, have: payload.len() as u64 }),
    }
}

/// A growing position in the output: the part that is written is the dictionary.
struct Output<'a> {
    buf: &'a mut [u8],
    pos: usize,
    format: &'static str,
}

impl<'a> Output<'a> {
    fn new(buf: &'a mut [u8], format: &'static str) -> Output<'a> {
        Output { buf, pos: 0, format }
    }

    fn full(&self) -> ImageError {
        ImageError::Corrupt {
            format: self.format,
            what: "it is longer than its stated size",
            at: self.pos as u64,
        }
    }

    #[inline]
    fn push(&mut self, byte: u8) -> Result<(), ImageError> {
        match self.buf.get_mut(self.pos) {
            Some(to) => {
                *to = byte;
                self.pos += 1;
                Ok(())
            }
            None => Err(self.full()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let full = self.full();
        let to = self.buf[self.pos..].get_mut(..bytes.len()).ok_or(full)?;
        to.copy_from_slice(bytes);
        self.pos += bytes.len();
        Ok(())
    }

    fn fill(&mut self, byte: u8, len: usize) -> Result<(), ImageError> {
        let full = self.full();
        self.buf[self.pos..].get_mut(..len).ok_or(full)?.fill(byte);
        self.pos += len;
        Ok(())
    }

    /// Copies `len` bytes from `distance` back; the ranges may overlap, which repeats them.
    #[inline]
    fn repeat(&mut self, distance: usize, len: usize) -> Result<(), ImageError> {
        if distance == 0 || distance > self.pos {
            return Err(ImageError::Corrupt {
                format: self.format,
                what: "a match reaches before the beginning",
                at: self.pos as u64,
            });
        }
        if len > self.buf.len() - self.pos {
            return Err(self.full());
        }
        let (from, end) = (self.pos - distance, self.pos + len);
        if distance >= len {
            let (done, rest) = self.buf.split_at_mut(self.pos);
            let (source, to) = (&done[from..from + len], &mut rest[..len]);
            if len <= 32 {
                for (to, from) in to.iter_mut().zip(source) {
                    *to = *from;
                }
            } else {
                to.copy_from_slice(source);
            }
        } else {
            let window = &mut self.buf[from..end];
            for i in distance..window.len() {
                window[i] = window[i - distance];
            }
        }
        self.pos = end;
        Ok(())
    }
}

/// A zeroed vector of `len` elements, or the error that says for what there was no memory.
fn table<T: Clone>(zero: T, len: usize, what: &'static str) -> Result<alloc::vec::Vec<T>, ImageError> {
    let mut table = alloc::vec::Vec::new();
    table.try_reserve_exact(len).map_err(|_| ImageError::NoMemory { what })?;
    table.resize(len, zero);
    Ok(table)
}

#[cfg(test)]
mod tests;
