//! Typed, range-checked access to guest memory of the running vCPU.
//!
//! Every guest handle goes through here: an address in the hypervisor's area faults before any access. Copy in
//! once, validate the copy, use only the copy.

use crate::machine::{GuestFault, GuestVa};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The hypervisor's area of every address space: L4 slots 256..=271.
pub const HYPERVISOR_VIRT_START: u64 = 0xffff_8000_0000_0000;
pub const HYPERVISOR_VIRT_END: u64 = 0xffff_8800_0000_0000;

/// Whether `len` bytes at `va` lie wholly in guest-owned canonical space.
#[inline]
pub fn range_ok(va: u64, len: usize) -> bool {
    let Some(end) = va.checked_add(len as u64) else { return false };
    va >= HYPERVISOR_VIRT_END || end <= 0x0000_8000_0000_0000
}

#[inline]
pub fn read_bytes<M: GuestVa>(m: &M, va: u64, dst: &mut [u8]) -> Result<(), GuestFault> {
    if !range_ok(va, dst.len()) {
        return Err(GuestFault { va });
    }
    m.copy_from_guest(dst, va)
}

#[inline]
pub fn write_bytes<M: GuestVa>(m: &M, va: u64, src: &[u8]) -> Result<(), GuestFault> {
    if !range_ok(va, src.len()) {
        return Err(GuestFault { va });
    }
    m.copy_to_guest(va, src)
}

/// Copies a few words in.
#[inline]
pub fn load_words<M: GuestVa, const N: usize>(m: &M, va: u64) -> Result<[u64; N], GuestFault> {
    if range_ok(va, N * 8) { m.load_words(va) } else { Err(GuestFault { va }) }
}

/// Copies a few words out.
#[inline]
pub fn store_words<M: GuestVa, const N: usize>(m: &M, va: u64, words: [u64; N]) -> Result<(), GuestFault> {
    if range_ok(va, N * 8) { m.store_words(va, words) } else { Err(GuestFault { va }) }
}

/// Copies one `T` in.
#[inline]
pub fn read<M: GuestVa, T: FromBytes + IntoBytes>(m: &M, va: u64) -> Result<T, GuestFault> {
    let mut t = T::new_zeroed();
    read_bytes(m, va, t.as_mut_bytes())?;
    Ok(t)
}

/// Copies one `T` out.
#[inline]
pub fn write<M: GuestVa, T: IntoBytes + Immutable>(m: &M, va: u64, t: &T) -> Result<(), GuestFault> {
    write_bytes(m, va, t.as_bytes())
}

/// Address of element `i` of an array of `T` at `base`; a fault on overflow.
#[inline]
pub fn element<T>(base: u64, i: u64) -> Result<u64, GuestFault> {
    i.checked_mul(size_of::<T>() as u64).and_then(|o| base.checked_add(o)).ok_or(GuestFault { va: base })
}

/// Copies element `i` of an array of `T` at `base` in.
#[inline(always)]
pub fn read_at<M: GuestVa, T: FromBytes + IntoBytes>(m: &M, base: u64, i: u64) -> Result<T, GuestFault> {
    read(m, element::<T>(base, i)?)
}

/// Copies element `i` of an array of `T` at `base` out.
pub fn write_at<M: GuestVa, T: IntoBytes + Immutable>(
    m: &M,
    base: u64,
    i: u64,
    t: &T,
) -> Result<(), GuestFault> {
    write(m, element::<T>(base, i)?, t)
}
