//! A guest's ring: the page of `struct xenstore_domain_interface`, as a stream of bytes each way.
//!
//! The guest can write all of the page at any time. Each index is read once, and what two of them say
//! together is checked before a byte is copied; who makes them disagree loses its own connection.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::io::xs_wire::{self as xs, XENSTORE_RING_SIZE, XenstoreDomainInterface as Interface};

/// A shared page. No reference to its bytes is ever formed.
pub trait Page {
    /// Copies bytes out of it, from byte `at` on.
    fn read(&self, at: usize, to: &mut [u8]);
    /// Copies bytes into it.
    fn write(&self, at: usize, from: &[u8]);
    /// A word that both sides change; `at` is a multiple of 4.
    fn word(&self, at: usize) -> &AtomicU32;
}

/// The indexes do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// One page as a ring. Nothing is kept beside it.
pub struct Ring<P>(pub P);

impl<P: Page> Ring<P> {
    /// Says what this side can do. Before anything else.
    pub fn begin(&self) {
        let features = xs::XENSTORE_SERVER_FEATURE_RECONNECTION | xs::XENSTORE_SERVER_FEATURE_ERROR;
        self.word(offset_of!(Interface, server_features)).store(features, Ordering::SeqCst);
        self.fail(xs::XENSTORE_ERROR_NONE);
    }

    /// Whether the guest wants to begin anew. Then nothing else of the page counts.
    pub fn wants_reconnection(&self) -> bool {
        self.word(offset_of!(Interface, connection)).load(Ordering::SeqCst) == xs::XENSTORE_RECONNECT
    }

    /// Empties both directions and tells the guest that it may begin.
    pub fn reconnect(&self) {
        use xs::XenstoreDomainInterface as I;
        for at in [
            offset_of!(I, req_cons),
            offset_of!(I, req_prod),
            offset_of!(I, rsp_cons),
            offset_of!(I, rsp_prod),
        ] {
            self.word(at).store(0, Ordering::SeqCst);
        }
        self.fail(xs::XENSTORE_ERROR_NONE);
        self.word(offset_of!(I, connection)).store(xs::XENSTORE_CONNECTED, Ordering::SeqCst);
    }

    /// Why the connection is over (`XENSTORE_ERROR_*`).
    pub fn fail(&self, error: u32) {
        self.word(offset_of!(Interface, error)).store(error, Ordering::SeqCst);
    }

    /// Bytes that the guest has sent. They stay in the ring until [`Self::consume`].
    pub fn received(&self) -> Result<Vec<u8>, Broken> {
        let (from, len) = self.indexes(offset_of!(Interface, req_cons), offset_of!(Interface, req_prod))?;
        let mut bytes = vec![0; len];
        let (start, first) = wrapped(from, len);
        self.0.read(offset_of!(Interface, req) + start, &mut bytes[..first]);
        self.0.read(offset_of!(Interface, req), &mut bytes[first..]);
        Ok(bytes)
    }

    /// Gives the room of the first `count` received bytes back.
    pub fn consume(&self, count: usize) {
        let word = self.word(offset_of!(Interface, req_cons));
        let now = word.load(Ordering::SeqCst);
        word.store(now.wrapping_add(count as u32), Ordering::SeqCst);
    }

    /// Sends what there is room for, and tells how many bytes that were.
    pub fn send(&self, bytes: &[u8]) -> Result<usize, Broken> {
        let at = offset_of!(Interface, rsp_prod);
        let (from, used) = self.indexes(offset_of!(Interface, rsp_cons), at)?;
        let count = bytes.len().min(XENSTORE_RING_SIZE - used);
        let prod = from.wrapping_add(used as u32);
        let (start, first) = wrapped(prod, count);
        self.0.write(offset_of!(Interface, rsp) + start, &bytes[..first]);
        self.0.write(offset_of!(Interface, rsp), &bytes[first..count]);
        // The bytes are there before the index says so.
        self.word(at).store(prod.wrapping_add(count as u32), Ordering::SeqCst);
        Ok(count)
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        self.0.word(at)
    }

    /// Where a direction's bytes begin, and how many there are.
    fn indexes(&self, cons: usize, prod: usize) -> Result<(u32, usize), Broken> {
        let cons = self.word(cons).load(Ordering::SeqCst);
        let prod = self.word(prod).load(Ordering::SeqCst);
        let len = prod.wrapping_sub(cons) as usize;
        if len > XENSTORE_RING_SIZE { Err(Broken) } else { Ok((cons, len)) }
    }
}

/// Where an index is in the buffer, and how many of `len` bytes come before the buffer's end.
fn wrapped(index: u32, len: usize) -> (usize, usize) {
    let start = index as usize % XENSTORE_RING_SIZE;
    (start, len.min(XENSTORE_RING_SIZE - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that no other domain has.
    struct Own(Vec<AtomicU32>);

    impl Page for Own {
        fn read(&self, at: usize, to: &mut [u8]) {
            for (at, byte) in (at..).zip(to) {
                *byte = self.0[at / 4].load(Ordering::SeqCst).to_le_bytes()[at % 4];
            }
        }

        fn write(&self, at: usize, from: &[u8]) {
            for (at, &byte) in (at..).zip(from) {
                let mut word = self.0[at / 4].load(Ordering::SeqCst).to_le_bytes();
                word[at % 4] = byte;
                self.0[at / 4].store(u32::from_le_bytes(word), Ordering::SeqCst);
            }
        }

        fn word(&self, at: usize) -> &AtomicU32 {
            &self.0[at / 4]
        }
    }

    fn ring() -> Ring<Own> {
        Ring(Own((0..1024).map(|_| AtomicU32::new(0)).collect()))
    }

    fn set(ring: &Ring<Own>, at: usize, value: u32) {
        ring.word(at).store(value, Ordering::SeqCst);
    }

    /// The guest's side of a request.
    fn guest_sends(ring: &Ring<Own>, bytes: &[u8]) {
        let prod = ring.word(offset_of!(Interface, req_prod)).load(Ordering::SeqCst);
        for (at, &byte) in bytes.iter().enumerate() {
            let index = prod.wrapping_add(at as u32);
            ring.0.write(index as usize % XENSTORE_RING_SIZE, &[byte]);
        }
        set(ring, offset_of!(Interface, req_prod), prod.wrapping_add(bytes.len() as u32));
    }

    #[test]
    fn bytes_come_and_go_across_the_end_of_the_buffer_and_of_the_index() {
        let ring = ring();
        for at in [offset_of!(Interface, req_cons), offset_of!(Interface, req_prod)] {
            set(&ring, at, u32::MAX - 700);
        }
        for at in [offset_of!(Interface, rsp_cons), offset_of!(Interface, rsp_prod)] {
            set(&ring, at, u32::MAX - 5);
        }
        for round in 0..5u8 {
            let bytes = [round; 300];
            guest_sends(&ring, &bytes);
            assert_eq!(ring.received(), Ok(bytes.to_vec()));
            ring.consume(bytes.len());
            assert_eq!(ring.received(), Ok(vec![]));
        }
        assert_eq!(ring.send(&[7; 1000]), Ok(1000));
        assert_eq!(ring.send(&[8; 1000]), Ok(24), "what there is room for");
        let mut last = [0; 1];
        let at = u32::MAX.wrapping_sub(5).wrapping_add(1023) as usize % XENSTORE_RING_SIZE;
        ring.0.read(offset_of!(Interface, rsp) + at, &mut last);
        assert_eq!(last, [8]);
        assert_eq!(ring.send(b"more"), Ok(0));
    }

    #[test]
    fn indexes_that_disagree_are_seen_before_anything_is_copied() {
        let ring = ring();
        set(&ring, offset_of!(Interface, req_prod), 1025);
        assert_eq!(ring.received(), Err(Broken));
        set(&ring, offset_of!(Interface, rsp_cons), 1);
        assert_eq!(ring.send(b"x"), Err(Broken));
    }

    #[test]
    fn a_reconnection_empties_both_directions() {
        let ring = ring();
        ring.begin();
        guest_sends(&ring, b"half a mess");
        ring.send(b"unread").unwrap();
        ring.fail(xs::XENSTORE_ERROR_PROTO);
        assert!(!ring.wants_reconnection());
        set(&ring, offset_of!(Interface, connection), xs::XENSTORE_RECONNECT);
        assert!(ring.wants_reconnection());
        ring.reconnect();
        assert!(!ring.wants_reconnection());
        assert_eq!(ring.received(), Ok(vec![]));
        assert_eq!(ring.send(&[0; 2000]), Ok(XENSTORE_RING_SIZE));
        assert_eq!(ring.word(offset_of!(Interface, error)).load(Ordering::SeqCst), xs::XENSTORE_ERROR_NONE);
        assert_eq!(ring.word(offset_of!(Interface, server_features)).load(Ordering::SeqCst), 3);
    }
}
