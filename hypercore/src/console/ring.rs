//! The message ring behind `xl dmesg`, with the semantics of `XEN_SYSCTL_readconsole` (public/sysctl.h).
//!
//! Positions are 32-bit counts of all bytes ever written, so a reader that comes back with the position it
//! was given last continues there, also after a wrap.

/// A ring over storage whose length is a power of two.
#[derive(Debug)]
pub struct Ring<S> {
    storage: S,
    /// Oldest byte kept (and not cleared).
    start: u32,
    /// Next byte to write.
    end: u32,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Ring<S> {
    /// An empty ring; the length of `storage` must be a power of two.
    pub const fn new(storage: S) -> Self {
        Ring { storage, start: 0, end: 0 }
    }

    fn mask(&self) -> u32 {
        self.storage.as_ref().len() as u32 - 1
    }

    /// Bytes the ring can hold.
    pub fn capacity(&self) -> u32 {
        self.storage.as_ref().len() as u32
    }

    /// Appends `bytes`, overwriting the oldest.
    pub fn write(&mut self, bytes: &[u8]) {
        let mask = self.mask();
        for &b in bytes {
            self.storage.as_mut()[(self.end & mask) as usize] = b;
            self.end = self.end.wrapping_add(1);
            if self.end.wrapping_sub(self.start) > mask + 1 {
                self.start = self.end.wrapping_sub(mask + 1);
            }
        }
    }

    /// Where a read begins: at `from` when the reader continues (`incremental`) and that is still kept, else
    /// at the oldest byte.
    pub fn first(&self, incremental: bool, from: u32) -> u32 {
        if incremental && from.wrapping_sub(self.start) <= self.end.wrapping_sub(self.start) {
            from
        } else {
            self.start
        }
    }

    /// Copies from position `at` into `out`; the number of bytes. The reader's next position is `at` plus that.
    pub fn read(&self, at: u32, out: &mut [u8]) -> usize {
        if at.wrapping_sub(self.start) > self.end.wrapping_sub(self.start) {
            return 0;
        }
        let len = (self.end.wrapping_sub(at) as usize).min(out.len());
        for (i, b) in out[..len].iter_mut().enumerate() {
            *b = self.storage.as_ref()[(at.wrapping_add(i as u32) & self.mask()) as usize];
        }
        len
    }

    /// Forgets everything before position `upto`.
    pub fn clear(&mut self, upto: u32) {
        if upto.wrapping_sub(self.start) <= self.end.wrapping_sub(self.start) {
            self.start = upto;
        }
    }

    /// Moves the content into larger storage (as `conring_size=` asks for).
    pub fn replace<T: AsRef<[u8]> + AsMut<[u8]>>(&self, storage: T) -> Ring<T> {
        let mut new = Ring { storage, start: self.start, end: self.start };
        let mut at = self.start;
        let mut chunk = [0; 64];
        loop {
            match self.read(at, &mut chunk) {
                0 => return new,
                n => {
                    new.write(&chunk[..n]);
                    at = at.wrapping_add(n as u32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(r: &Ring<[u8; 8]>, at: u32) -> ([u8; 8], usize) {
        let mut out = [0; 8];
        let n = r.read(at, &mut out);
        (out, n)
    }

    #[test]
    fn keeps_the_newest() {
        let mut r = Ring::new([0u8; 8]);
        r.write(b"abcdefghij");
        let at = r.first(false, 0);
        assert_eq!(at, 2);
        assert_eq!(text(&r, at), (*b"cdefghij", 8));
    }

    #[test]
    fn an_incremental_reader_continues() {
        let mut r = Ring::new([0u8; 8]);
        r.write(b"abc");
        let next = r.first(true, 0) + 3;
        assert_eq!(r.read(next, &mut [0; 4]), 0);
        r.write(b"de");
        let at = r.first(true, next);
        let mut out = [0; 8];
        assert_eq!(r.read(at, &mut out), 2);
        assert_eq!(&out[..2], b"de");
    }

    #[test]
    fn a_reader_left_behind_or_lying_starts_at_the_oldest() {
        let mut r = Ring::new([0u8; 8]);
        r.write(b"abcdefghijkl");
        assert_eq!(r.first(true, 1), 4);
        assert_eq!(r.first(true, 1000), 4);
        assert_eq!(r.read(1000, &mut [0; 8]), 0);
    }

    #[test]
    fn clearing_forgets_and_positions_wrap() {
        let mut r = Ring { storage: [0u8; 8], start: u32::MAX - 1, end: u32::MAX - 1 };
        r.write(b"wxyz");
        assert_eq!(text(&r, r.first(false, 0)).1, 4);
        r.clear(u32::MAX.wrapping_add(2));
        assert_eq!(text(&r, r.first(false, 0)).0[..1], *b"z");
    }

    #[test]
    fn growing_keeps_content_and_positions() {
        let mut r = Ring::new([0u8; 8]);
        r.write(b"abcdefghij");
        let big = r.replace([0u8; 32]);
        let mut out = [0; 32];
        assert_eq!(big.first(true, 5), 5);
        assert_eq!(big.read(5, &mut out), 5);
        assert_eq!(&out[..5], b"fghij");
    }
}
