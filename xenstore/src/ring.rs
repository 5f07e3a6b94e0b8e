//! A guest's ring: the page of `struct xenstore_domain_interface`, as a stream of bytes each way.
//!
//! The guest can write all of the page at any time; who makes its indexes disagree with this side's loses its own
//! connection.

use std::mem::offset_of;
use std::ops::Deref;
use std::sync::atomic::Ordering;

use abi::io::xs_wire::{self as xs, XENSTORE_RING_SIZE, XenstoreDomainInterface as Interface};
use xenctl::Mapping;
use xenctl::ring::ByteRing;

/// From the guest.
const REQUESTS: ByteRing = ByteRing {
    at: offset_of!(Interface, req),
    size: XENSTORE_RING_SIZE,
    cons: offset_of!(Interface, req_cons),
    prod: offset_of!(Interface, req_prod),
};

/// To the guest.
const RESPONSES: ByteRing = ByteRing {
    at: offset_of!(Interface, rsp),
    size: XENSTORE_RING_SIZE,
    cons: offset_of!(Interface, rsp_cons),
    prod: offset_of!(Interface, rsp_prod),
};

/// The indexes do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// How far this side is in both directions: its own indexes, whatever the page says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Of requests: those before have been taken.
    pub cons: u32,
    /// Of responses: those before have been sent.
    pub prod: u32,
}

impl Place {
    /// Where a ring stands that a daemon takes over.
    pub fn of(page: &Mapping) -> Self {
        Self { cons: REQUESTS.indexes(page).0, prod: RESPONSES.indexes(page).1 }
    }
}

/// One page as a ring.
pub struct Ring<P>(pub P);

impl<P: Deref<Target = Mapping>> Ring<P> {
    /// Says what this side can do. Before anything else.
    pub fn begin(&self) {
        let features = xs::XENSTORE_SERVER_FEATURE_RECONNECTION | xs::XENSTORE_SERVER_FEATURE_ERROR;
        self.0.word(offset_of!(Interface, server_features)).store(features, Ordering::SeqCst);
        self.fail(xs::XENSTORE_ERROR_NONE);
    }

    /// Whether the guest wants to begin anew. Then nothing else of the page counts.
    pub fn wants_reconnection(&self) -> bool {
        self.0.word(offset_of!(Interface, connection)).load(Ordering::SeqCst) == xs::XENSTORE_RECONNECT
    }

    /// Empties both directions, which begin at [`Place::default`] then, and tells the guest that it may begin.
    pub fn reconnect(&self) {
        for ring in [REQUESTS, RESPONSES] {
            ring.took(&self.0, 0);
            ring.put(&self.0, 0);
        }
        self.fail(xs::XENSTORE_ERROR_NONE);
        self.0.word(offset_of!(Interface, connection)).store(xs::XENSTORE_CONNECTED, Ordering::SeqCst);
    }

    /// Why the connection is over (`XENSTORE_ERROR_*`).
    pub fn fail(&self, error: u32) {
        self.0.word(offset_of!(Interface, error)).store(error, Ordering::SeqCst);
    }

    /// Bytes that the guest has sent. They stay in the ring until [`Self::tell`].
    pub fn received(&self, place: Place) -> Result<Vec<u8>, Broken> {
        let mut bytes = vec![0; REQUESTS.ready(&self.0, place.cons).ok_or(Broken)?];
        REQUESTS.copy_out(&self.0, place.cons, &mut bytes);
        Ok(bytes)
    }

    /// Puts in what there is room for, and answers how many bytes that were. The guest sees none of them before
    /// [`Self::tell`].
    pub fn put(&self, place: Place, bytes: &[u8]) -> Result<usize, Broken> {
        let count = bytes.len().min(RESPONSES.room(&self.0, place.prod).ok_or(Broken)?);
        RESPONSES.copy_in(&self.0, place.prod, &bytes[..count]);
        Ok(count)
    }

    /// Tells the guest how far this side is.
    pub fn tell(&self, place: Place) {
        REQUESTS.took(&self.0, place.cons);
        RESPONSES.put(&self.0, place.prod);
    }
}

/// A ring without a guest.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub struct Paper(pub Mapping);

    impl Deref for Paper {
        type Target = Mapping;

        fn deref(&self) -> &Mapping {
            &self.0
        }
    }

    pub fn ring() -> Ring<Paper> {
        Ring(Paper(Mapping::anonymous(1).unwrap()))
    }

    /// The guest's side of a request.
    pub fn guest_sends(ring: &Ring<Paper>, bytes: &[u8]) {
        let (_, prod) = REQUESTS.indexes(&ring.0);
        REQUESTS.copy_in(&ring.0, prod, bytes);
        REQUESTS.put(&ring.0, prod.wrapping_add(bytes.len() as u32));
    }

    /// The guest takes what it was told.
    pub fn guest_reads(ring: &Ring<Paper>) -> Vec<u8> {
        let (cons, prod) = RESPONSES.indexes(&ring.0);
        let mut bytes = vec![0; RESPONSES.ready(&ring.0, cons).unwrap()];
        RESPONSES.copy_out(&ring.0, cons, &mut bytes);
        RESPONSES.took(&ring.0, prod);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::testing::{guest_sends, ring};

    #[test]
    fn bytes_come_and_go_and_are_seen_when_it_is_told() {
        let ring = ring();
        let mut place = Place { cons: u32::MAX - 700, prod: u32::MAX - 5 };
        ring.tell(place);
        RESPONSES.took(&ring.0, place.prod);
        REQUESTS.put(&ring.0, place.cons);
        assert_eq!(Place::of(&ring.0), place);
        for round in 0..5u8 {
            guest_sends(&ring, &[round; 300]);
            assert_eq!(ring.received(place), Ok(vec![round; 300]));
            place.cons = place.cons.wrapping_add(300);
            ring.tell(place);
            assert_eq!(ring.received(place), Ok(vec![]));
        }
        assert_eq!(ring.put(place, &[7; 1000]), Ok(1000));
        assert_eq!(RESPONSES.ready(&ring.0, place.prod), Some(0), "not told yet");
        let begun = place.prod;
        place.prod = place.prod.wrapping_add(1000);
        ring.tell(place);
        assert_eq!(RESPONSES.ready(&ring.0, begun), Some(1000));
        assert_eq!(ring.put(place, &[8; 1000]), Ok(24), "what there is room for");
        place.prod = place.prod.wrapping_add(24);
        ring.tell(place);
        assert_eq!(ring.put(place, b"more"), Ok(0));
    }

    #[test]
    fn indexes_that_disagree_are_seen_before_anything_is_copied() {
        let ring = ring();
        guest_sends(&ring, &[0; 1024]);
        REQUESTS.put(&ring.0, 1025);
        assert_eq!(ring.received(Place::default()), Err(Broken));
        RESPONSES.took(&ring.0, 1);
        assert_eq!(ring.put(Place::default(), b"x"), Err(Broken));
    }

    #[test]
    fn a_reconnection_empties_both_directions() {
        let ring = ring();
        ring.begin();
        guest_sends(&ring, b"half a mess");
        ring.tell(Place { cons: 0, prod: 6 });
        ring.fail(xs::XENSTORE_ERROR_PROTO);
        assert!(!ring.wants_reconnection());
        ring.0.word(offset_of!(Interface, connection)).store(xs::XENSTORE_RECONNECT, Ordering::SeqCst);
        assert!(ring.wants_reconnection());
        ring.reconnect();
        assert!(!ring.wants_reconnection());
        assert_eq!(ring.received(Place::default()), Ok(vec![]));
        assert_eq!(ring.put(Place::default(), &[0; 2000]), Ok(XENSTORE_RING_SIZE));
        let word = |at| ring.0.word(at).load(Ordering::SeqCst);
        assert_eq!(word(offset_of!(Interface, error)), xs::XENSTORE_ERROR_NONE);
        assert_eq!(word(offset_of!(Interface, server_features)), 3);
    }
}
