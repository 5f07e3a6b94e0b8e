//! Moving bytes between a guest's ring and what serves it.
//!
//! Whoever takes requests out looks again after having said so: Linux tells the store of a request only where it finds all
//! that came before it taken (`xb_write()` of `drivers/xen/xenbus/xenbus_comms.c`), so that one which is put in meanwhile is
//! never told of. In the other direction Linux tells where the ring was full, and what has no room waits for that.

use std::ops::Deref;

use xenctl::Mapping;

use crate::ring::{Broken, Place, Ring};

/// How often requests are looked for before others have their turn.
const LOOKS: usize = 4;

/// What a guest's bytes come from and go to.
pub trait Service {
    type Error;

    /// How far this side is in the ring; `None` where there is nobody to serve any more.
    fn place(&self) -> Option<Place>;

    /// Whether requests may be looked at.
    fn may_ask(&self) -> bool;

    /// What is to go next; not empty.
    fn output(&self) -> Option<&[u8]>;

    /// Bytes came; the place is behind them then.
    fn came(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// So many bytes of the output are in the ring; the place is behind them then.
    fn went(&mut self, count: usize) -> Result<(), Self::Error>;
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Something moved: the guest is to be told.
    pub moved: bool,
    /// There may be more requests, of which the guest tells nobody.
    pub more: bool,
}

impl<P: Deref<Target = Mapping>> Ring<P> {
    /// Sends, and receives and answers until nothing is left, or others should have their turn.
    ///
    /// # Errors
    /// Of the service. [`Broken`] where the guest's indexes do not fit together.
    pub fn turn<S: Service>(&self, service: &mut S) -> Result<Result<Turn, Broken>, S::Error> {
        let mut turn = Turn { moved: false, more: true };
        for _ in 0..LOOKS {
            match self.send(service)? {
                Ok(sent) => turn.moved |= sent,
                Err(broken) => return Ok(Err(broken)),
            }
            turn.more = service.may_ask();
            let (true, Some(place)) = (turn.more, service.place()) else { return Ok(Ok(turn)) };
            let Ok(bytes) = self.received(place) else { return Ok(Err(Broken)) };
            turn.more = !bytes.is_empty();
            if !turn.more {
                return Ok(Ok(turn));
            }
            service.came(&bytes)?;
            self.follow(service);
            turn.moved = true;
        }
        let sent = self.send(service)?;
        Ok(sent.map(|_| turn))
    }

    /// Whether anything went.
    fn send<S: Service>(&self, service: &mut S) -> Result<Result<bool, Broken>, S::Error> {
        let mut moved = false;
        while let (Some(place), Some(output)) = (service.place(), service.output()) {
            match self.put(place, output) {
                Ok(0) => break,
                Ok(count) => service.went(count)?,
                Err(broken) => return Ok(Err(broken)),
            }
            self.follow(service);
            moved = true;
        }
        Ok(Ok(moved))
    }

    /// The page follows what the service has written down, never the other way round.
    fn follow<S: Service>(&self, service: &S) {
        if let Some(place) = service.place() {
            self.tell(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::testing::{Paper, guest_reads, guest_sends, ring};
    use std::convert::Infallible;

    /// Answers each request with as many bytes, and has a guest that goes on sending while it is served.
    struct Echo<'a> {
        ring: &'a Ring<Paper>,
        place: Place,
        output: Vec<u8>,
        came: Vec<u8>,
        /// What the guest sends while the bytes before are served, the last first.
        meanwhile: Vec<u8>,
        backlog: usize,
    }

    impl Service for Echo<'_> {
        type Error = Infallible;

        fn place(&self) -> Option<Place> {
            Some(self.place)
        }

        fn may_ask(&self) -> bool {
            self.output.len() < self.backlog
        }

        fn output(&self) -> Option<&[u8]> {
            (!self.output.is_empty()).then_some(&self.output)
        }

        fn came(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
            self.place.cons = self.place.cons.wrapping_add(bytes.len() as u32);
            self.came.extend_from_slice(bytes);
            self.output.extend_from_slice(bytes);
            if let Some(next) = self.meanwhile.pop() {
                guest_sends(self.ring, &[next]);
            }
            Ok(())
        }

        fn went(&mut self, count: usize) -> Result<(), Infallible> {
            self.place.prod = self.place.prod.wrapping_add(count as u32);
            self.output.drain(..count);
            Ok(())
        }
    }

    fn echo(ring: &Ring<Paper>) -> Echo<'_> {
        let place = Place::of(&ring.0);
        Echo { ring, place, output: Vec::new(), came: Vec::new(), meanwhile: Vec::new(), backlog: usize::MAX }
    }

    #[test]
    fn what_comes_while_a_request_is_served_is_served_as_well() {
        let ring = ring();
        let mut service = echo(&ring);
        service.meanwhile = vec![3, 2];
        guest_sends(&ring, &[1]);
        let Ok(turn) = ring.turn(&mut service);
        assert_eq!(turn, Ok(Turn { moved: true, more: false }));
        assert_eq!((&service.came[..], guest_reads(&ring)), (&[1, 2, 3][..], vec![1, 2, 3]));
    }

    #[test]
    fn a_guest_that_never_ends_leaves_others_their_turn() {
        let ring = ring();
        let mut service = echo(&ring);
        service.meanwhile = vec![7; 10 * LOOKS];
        guest_sends(&ring, &[7]);
        let mut turns = 0;
        loop {
            let before = service.came.len();
            let Ok(turn) = ring.turn(&mut service);
            turns += 1;
            assert!(service.came.len() - before <= LOOKS);
            assert_eq!(guest_reads(&ring).len(), service.came.len() - before, "all is answered");
            if !turn.unwrap().more {
                break;
            }
        }
        assert_eq!((service.came.len(), turns), (10 * LOOKS + 1, 11));
    }

    #[test]
    fn requests_wait_while_answers_have_no_room() {
        let ring = ring();
        let mut service = echo(&ring);
        service.output = vec![1; 2000];
        service.backlog = 900;
        guest_sends(&ring, &[2]);
        let Ok(turn) = ring.turn(&mut service);
        assert_eq!(turn, Ok(Turn { moved: true, more: false }));
        assert_eq!((service.came.len(), guest_reads(&ring).len()), (0, 1024));
        let Ok(turn) = ring.turn(&mut service);
        assert_eq!(turn, Ok(Turn { moved: true, more: false }));
        assert_eq!((service.came.len(), guest_reads(&ring).len()), (1, 977));
    }

    #[test]
    fn a_guest_whose_indexes_do_not_fit_is_found_out() {
        let ring = ring();
        guest_sends(&ring, &[0; 1024]);
        guest_sends(&ring, &[0]);
        let Ok(turn) = ring.turn(&mut echo(&ring));
        assert_eq!(turn, Err(Broken));
    }
}
