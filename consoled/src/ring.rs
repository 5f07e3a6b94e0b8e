//! The page that a guest and its console share (`struct xencons_interface`), seen from the daemon.
//!
//! The guest is not trusted: its indexes are read once for each decision, and what makes no sense moves nothing.

use std::mem::offset_of;

use abi::io::console::{XENCONS_IN_SIZE, XENCONS_OUT_SIZE, XenconsInterface};

/// Memory that another domain writes at the same time.
pub trait Page {
    fn load(&self, at: usize) -> u32;
    /// Everything written before is seen by who sees this.
    fn store(&self, at: usize, value: u32);
    fn read(&self, at: usize, bytes: &mut [u8]);
    fn write(&self, at: usize, bytes: &[u8]);
}

const IN: usize = offset_of!(XenconsInterface, in_);
const OUT: usize = offset_of!(XenconsInterface, out);
const IN_CONS: usize = offset_of!(XenconsInterface, in_cons);
const IN_PROD: usize = offset_of!(XenconsInterface, in_prod);
const OUT_CONS: usize = offset_of!(XenconsInterface, out_cons);
const OUT_PROD: usize = offset_of!(XenconsInterface, out_prod);

/// Where the daemon is in both rings: free-running, as in the page.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    pub out_cons: u32,
    pub in_prod: u32,
}

/// What the page says about it.
pub fn place(page: &impl Page) -> Place {
    Place { out_cons: page.load(OUT_CONS), in_prod: page.load(IN_PROD) }
}

/// Tells the guest how far the daemon is.
pub fn tell(page: &impl Page, place: Place) {
    page.store(OUT_CONS, place.out_cons);
    page.store(IN_PROD, place.in_prod);
}

/// Bytes of output that the guest has ready behind `cons`; none where its index makes no sense.
pub fn ready(page: &impl Page, cons: u32) -> usize {
    let len = page.load(OUT_PROD).wrapping_sub(cons) as usize;
    if len > XENCONS_OUT_SIZE { 0 } else { len }
}

/// Copies output from `cons` on; at most as many bytes as are [`ready`].
pub fn copy_out(page: &impl Page, cons: u32, bytes: &mut [u8]) {
    in_turn(cons, XENCONS_OUT_SIZE, bytes.len(), |at, from, to| page.read(OUT + at, &mut bytes[from..to]));
}

/// Bytes that the guest has room for behind `prod`; none where its index makes no sense.
pub fn room(page: &impl Page, prod: u32) -> usize {
    XENCONS_IN_SIZE.saturating_sub(prod.wrapping_sub(page.load(IN_CONS)) as usize)
}

/// Copies input to `prod` and behind; at most as many bytes as there is [`room`] for.
pub fn copy_in(page: &impl Page, prod: u32, bytes: &[u8]) {
    in_turn(prod, XENCONS_IN_SIZE, bytes.len(), |at, from, to| page.write(IN + at, &bytes[from..to]));
}

/// The two pieces of a stretch of a ring: place in the ring, and from where to where in the bytes.
fn in_turn(index: u32, size: usize, len: usize, mut piece: impl FnMut(usize, usize, usize)) {
    let at = index as usize % size;
    let first = len.min(size - at);
    piece(at, 0, first);
    if first < len {
        piece(0, first, len);
    }
}

#[cfg(test)]
pub mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A page of this process.
    pub struct Paper(RefCell<Vec<u8>>);

    impl Paper {
        pub fn new() -> Self {
            Self(RefCell::new(vec![0; 4096]))
        }

        /// The guest writes: how many bytes found room.
        pub fn guest_says(&self, bytes: &[u8]) -> usize {
            let prod = self.load(OUT_PROD);
            let len = bytes.len().min(XENCONS_OUT_SIZE - prod.wrapping_sub(self.load(OUT_CONS)) as usize);
            in_turn(prod, XENCONS_OUT_SIZE, len, |at, from, to| self.write(OUT + at, &bytes[from..to]));
            self.store(OUT_PROD, prod.wrapping_add(len as u32));
            len
        }

        /// The guest reads what it was given.
        pub fn guest_hears(&self) -> Vec<u8> {
            let cons = self.load(IN_CONS);
            let mut bytes = vec![0; self.load(IN_PROD).wrapping_sub(cons) as usize];
            let len = bytes.len();
            in_turn(cons, XENCONS_IN_SIZE, len, |at, from, to| self.read(IN + at, &mut bytes[from..to]));
            self.store(IN_CONS, cons.wrapping_add(len as u32));
            bytes
        }

        pub fn starts_at(&self, index: u32) {
            for at in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD] {
                self.store(at, index);
            }
        }

        pub fn claims_to_have_said(&self, prod: u32) {
            self.store(OUT_PROD, prod);
        }
    }

    impl Page for Paper {
        fn load(&self, at: usize) -> u32 {
            u32::from_le_bytes(self.0.borrow()[at..at + 4].try_into().unwrap())
        }

        fn store(&self, at: usize, value: u32) {
            self.write(at, &value.to_le_bytes());
        }

        fn read(&self, at: usize, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0.borrow()[at..at + bytes.len()]);
        }

        fn write(&self, at: usize, bytes: &[u8]) {
            self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    #[test]
    fn both_ways_round_the_end_of_a_ring_and_of_the_numbers() {
        let page = Paper::new();
        page.starts_at(u32::MAX - 700);
        let mut place = place(&page);
        for round in 0..10_u8 {
            let said = vec![round; 1500];
            assert_eq!(page.guest_says(&said), 1500);
            let mut heard = vec![0; ready(&page, place.out_cons)];
            copy_out(&page, place.out_cons, &mut heard);
            assert_eq!(heard, said);
            place.out_cons = place.out_cons.wrapping_add(1500);
            assert_eq!(room(&page, place.in_prod), 1024);
            copy_in(&page, place.in_prod, &[round; 900]);
            place.in_prod = place.in_prod.wrapping_add(900);
            tell(&page, place);
            assert_eq!(room(&page, place.in_prod), 124);
            assert_eq!(page.guest_hears(), vec![round; 900]);
        }
    }

    #[test]
    fn indexes_that_make_no_sense_move_nothing() {
        let page = Paper::new();
        page.claims_to_have_said(2048);
        assert_eq!(ready(&page, 0), 2048);
        page.claims_to_have_said(2049);
        assert_eq!(ready(&page, 0), 0);
        page.store(IN_CONS, 1);
        assert_eq!(room(&page, 0), 0);
    }
}
