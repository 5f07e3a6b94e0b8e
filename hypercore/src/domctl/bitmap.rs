//! Bitmaps as tools pass them: any length, little-endian bytes.

use crate::cpumask::CpuMask;
use crate::guest;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Xen;
use abi::Errno;
use abi::xen::XenctlBitmap;

/// Bytes of the largest set kept here.
const BYTES: usize = crate::cpumask::MAX_CPUS / 8;

/// Reads a set; members beyond what this build manages do not count.
pub fn read<M: Machine>(xen: &Xen<M>, b: &XenctlBitmap) -> Result<CpuMask, Errno> {
    let mut bytes = [0; BYTES];
    let given = (b.nr_bits.div_ceil(8) as usize).min(BYTES);
    let fault = |_| refuse!(xen, Errno::EFAULT, "the bitmap at {:x} cannot be read", b.bitmap.addr());
    guest::read_bytes(&xen.m, b.bitmap.addr(), &mut bytes[..given]).map_err(fault)?;
    // Bits of the last byte beyond the length are not the tool's.
    if let Some(last) = bytes[..given].last_mut()
        && b.nr_bits as usize <= BYTES * 8
        && !b.nr_bits.is_multiple_of(8)
    {
        *last &= (1 << (b.nr_bits % 8)) - 1;
    }
    Ok(CpuMask::from_bytes(&bytes))
}

/// Writes as much of a set as there is room for, and zeros in the rest of the room.
pub fn write<M: Machine>(xen: &Xen<M>, b: &XenctlBitmap, set: &CpuMask) -> Result<(), Errno> {
    let m = &xen.m;
    let fault = |_| refuse!(xen, Errno::EFAULT, "the bitmap at {:x} cannot be written", b.bitmap.addr());
    let room = b.nr_bits.div_ceil(8) as usize;
    let bytes = set.to_bytes();
    let n = room.min(BYTES);
    guest::write_bytes(m, b.bitmap.addr(), &bytes[..n]).map_err(fault)?;
    let zeros = [0; 64];
    let mut at = n;
    // A tool's room is bounded: no set is larger than a page.
    while at < room.min(4096) {
        let n = (room.min(4096) - at).min(zeros.len());
        guest::write_bytes(m, b.bitmap.addr().wrapping_add(at as u64), &zeros[..n]).map_err(fault)?;
        at += n;
    }
    Ok(())
}
