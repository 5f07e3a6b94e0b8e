//! The page that a guest and its console share (`struct xencons_interface`): two rings of bytes.

use std::mem::offset_of;

use abi::io::console::{XENCONS_IN_SIZE, XENCONS_OUT_SIZE, XenconsInterface};
use xenctl::ring::ByteRing;

/// From the guest.
pub const OUT: ByteRing = ByteRing {
    at: offset_of!(XenconsInterface, out),
    size: XENCONS_OUT_SIZE,
    cons: offset_of!(XenconsInterface, out_cons),
    prod: offset_of!(XenconsInterface, out_prod),
};

/// To the guest.
pub const IN: ByteRing = ByteRing {
    at: offset_of!(XenconsInterface, in_),
    size: XENCONS_IN_SIZE,
    cons: offset_of!(XenconsInterface, in_cons),
    prod: offset_of!(XenconsInterface, in_prod),
};

#[cfg(test)]
pub mod tests {
    use std::ops::Deref;

    use super::*;
    use xenctl::Mapping;

    /// A page of this process, as the guest sees it.
    pub struct Paper(Mapping);

    impl Deref for Paper {
        type Target = Mapping;

        fn deref(&self) -> &Mapping {
            &self.0
        }
    }

    impl Paper {
        pub fn new() -> Self {
            Self(Mapping::anonymous(1).unwrap())
        }

        /// The guest writes: how many bytes found room.
        pub fn guest_says(&self, bytes: &[u8]) -> usize {
            let (_, prod) = OUT.indexes(self);
            let len = bytes.len().min(OUT.room(self, prod).unwrap());
            OUT.copy_in(self, prod, &bytes[..len]);
            OUT.put(self, prod.wrapping_add(len as u32));
            len
        }

        /// The guest reads what it was given.
        pub fn guest_hears(&self) -> Vec<u8> {
            let (cons, prod) = IN.indexes(self);
            let mut bytes = vec![0; prod.wrapping_sub(cons) as usize];
            IN.copy_out(self, cons, &mut bytes);
            IN.took(self, prod);
            bytes
        }
    }
}
