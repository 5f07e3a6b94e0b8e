//! [`ByteRing`]: a stream of bytes in a page that a guest shares, as consoles and the store have them.
//!
//! The guest is not trusted. This side's index is its own, never what the page says; the other side's is read once for each
//! decision, and one that makes no sense moves nothing.

use std::sync::atomic::Ordering;

use crate::Mapping;

/// Where a ring is in its page. Indexes run freely.
#[derive(Clone, Copy, Debug)]
pub struct ByteRing {
    /// Of its bytes.
    pub at: usize,
    /// Bytes; a power of two.
    pub size: usize,
    /// Where the index of the side that takes bytes out is, and that of the side that puts them in.
    pub cons: usize,
    pub prod: usize,
}

impl ByteRing {
    /// Bytes that are there for this side, which has taken all before `cons`.
    pub fn ready(&self, page: &Mapping, cons: u32) -> Option<usize> {
        let len = page.word(self.prod).load(Ordering::SeqCst).wrapping_sub(cons) as usize;
        (len <= self.size).then_some(len)
    }

    /// Bytes that this side, which has put in all before `prod`, has room for.
    pub fn room(&self, page: &Mapping, prod: u32) -> Option<usize> {
        let used = prod.wrapping_sub(page.word(self.cons).load(Ordering::SeqCst)) as usize;
        self.size.checked_sub(used)
    }

    /// Copies bytes from `cons` on; at most as many as are [`Self::ready`].
    pub fn copy_out(&self, page: &Mapping, cons: u32, bytes: &mut [u8]) {
        let (start, first) = self.pieces(cons, bytes.len());
        page.read(self.at + start, &mut bytes[..first]);
        page.read(self.at, &mut bytes[first..]);
    }

    /// Copies bytes to `prod` and behind; at most as many as there is [`Self::room`] for.
    pub fn copy_in(&self, page: &Mapping, prod: u32, bytes: &[u8]) {
        let (start, first) = self.pieces(prod, bytes.len());
        page.write(self.at + start, &bytes[..first]);
        page.write(self.at, &bytes[first..]);
    }

    /// Tells the other side how far this one has taken bytes out.
    pub fn took(&self, page: &Mapping, cons: u32) {
        page.word(self.cons).store(cons, Ordering::SeqCst);
    }

    /// Tells the other side how far this one has put bytes in. They are there before it can see that.
    pub fn put(&self, page: &Mapping, prod: u32) {
        page.word(self.prod).store(prod, Ordering::SeqCst);
    }

    /// What the page says of both: where the sides are.
    pub fn indexes(&self, page: &Mapping) -> (u32, u32) {
        (page.word(self.cons).load(Ordering::SeqCst), page.word(self.prod).load(Ordering::SeqCst))
    }

    /// Where an index is in the ring, and how many of `len` bytes come before the ring's end.
    fn pieces(&self, index: u32, len: usize) -> (usize, usize) {
        let start = index as usize % self.size;
        (start, len.min(self.size - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: ByteRing = ByteRing { at: 100, size: 1024, cons: 0, prod: 4 };

    #[test]
    fn bytes_come_round_the_end_of_the_ring_and_of_the_numbers() {
        let page = Mapping::anonymous(1).unwrap();
        let (mut cons, mut prod) = (u32::MAX - 700, u32::MAX - 700);
        RING.took(&page, cons);
        RING.put(&page, prod);
        for round in 0..10_u8 {
            assert_eq!(RING.room(&page, prod), Some(1024));
            RING.copy_in(&page, prod, &[round; 900]);
            prod = prod.wrapping_add(900);
            RING.put(&page, prod);
            assert_eq!((RING.ready(&page, cons), RING.room(&page, prod)), (Some(900), Some(124)));
            let mut bytes = [0; 900];
            RING.copy_out(&page, cons, &mut bytes);
            assert_eq!(bytes, [round; 900]);
            cons = cons.wrapping_add(900);
            RING.took(&page, cons);
            assert_eq!(RING.indexes(&page), (cons, prod));
        }
    }

    #[test]
    fn indexes_that_make_no_sense_move_nothing() {
        let page = Mapping::anonymous(1).unwrap();
        RING.put(&page, 1024);
        assert_eq!(RING.ready(&page, 0), Some(1024));
        RING.put(&page, 1025);
        assert_eq!(RING.ready(&page, 0), None);
        RING.took(&page, 1);
        assert_eq!(RING.room(&page, 0), None);
    }
}
