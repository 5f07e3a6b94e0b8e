//! Copies between hypervisor memory and addresses of the running guest.
//!
//! The guest's own tables translate; a fault ends the copy where it happened. Callers have checked that the
//! range lies outside the hypervisor's area (`hypercore::guest`).

use core::arch::asm;

use hypercore::machine::GuestFault;

use crate::{asm_clac, asm_ex_table, asm_stac};

/// Copies `len` bytes; answers how many were not copied.
///
/// # Safety
/// One side is `len` bytes of the hypervisor's own memory, valid for the access; the other is outside the
/// hypervisor's area.
#[inline]
unsafe fn copy(dst: u64, src: u64, len: usize) -> usize {
    let left: usize;
    // SAFETY: by the contract, plus the exception table: a fault at label 2 goes on at label 3 with RCX left.
    unsafe {
        asm!(
            asm_stac!(),
            "2: rep movsb",
            "3:",
            asm_clac!(),
            asm_ex_table!("2b", "3b"),
            inout("rcx") len => left,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags)
        );
    }
    left
}

/// As [`copy`] for a multiple of eight bytes, by words: frames of traps and most arguments of hypercalls. A fault
/// within a word leaves the whole of it uncopied.
///
/// # Safety
/// As [`copy`], with `len` a multiple of 8.
#[inline]
unsafe fn copy_words(dst: u64, src: u64, len: usize) -> usize {
    let left: usize;
    // SAFETY: as in `copy`.
    unsafe {
        asm!(
            asm_stac!(),
            "2: rep movsq",
            "3:",
            asm_clac!(),
            asm_ex_table!("2b", "3b"),
            inout("rcx") len / 8 => left,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags)
        );
    }
    left * 8
}

/// By words where the length allows.
///
/// # Safety
/// As [`copy`].
#[inline]
unsafe fn copy_any(dst: u64, src: u64, len: usize) -> usize {
    // SAFETY: by the contract.
    unsafe { if len.is_multiple_of(8) { copy_words(dst, src, len) } else { copy(dst, src, len) } }
}

/// Copies eight bytes; false if they could not be.
///
/// # Safety
/// As [`copy`], with `len` 8.
#[inline]
unsafe fn copy8(dst: u64, src: u64) -> bool {
    let ok: u32;
    // SAFETY: as in `copy`: faults at 2 or 3 go on at 4 with `ok` still 0.
    unsafe {
        asm!(
            "xor {ok:e}, {ok:e}",
            asm_stac!(),
            "2: mov {tmp}, [{src}]",
            "3: mov [{dst}], {tmp}",
            "mov {ok:e}, 1",
            "4:",
            asm_clac!(),
            asm_ex_table!("2b", "4b"),
            asm_ex_table!("3b", "4b"),
            src = in(reg) src,
            dst = in(reg) dst,
            tmp = out(reg) _,
            ok = out(reg) ok,
            options(nostack)
        );
    }
    ok != 0
}

/// Copies in from guest address `va`.
#[inline]
pub fn copy_from(dst: &mut [u8], va: u64) -> Result<(), GuestFault> {
    if dst.len() == 8 {
        // SAFETY: `dst` is eight bytes of ours; the caller has range-checked `va`.
        return if unsafe { copy8(dst.as_mut_ptr() as u64, va) } { Ok(()) } else { Err(GuestFault { va }) };
    }
    // SAFETY: `dst` is ours; the caller has range-checked `va`.
    match unsafe { copy_any(dst.as_mut_ptr() as u64, va, dst.len()) } {
        0 => Ok(()),
        left => Err(GuestFault { va: va + (dst.len() - left) as u64 }),
    }
}

/// Copies out to guest address `va`.
#[inline]
pub fn copy_to(va: u64, src: &[u8]) -> Result<(), GuestFault> {
    if src.len() == 8 {
        // SAFETY: `src` is eight bytes of ours; the caller has range-checked `va`.
        return if unsafe { copy8(va, src.as_ptr() as u64) } { Ok(()) } else { Err(GuestFault { va }) };
    }
    // SAFETY: `src` is ours; the caller has range-checked `va`.
    match unsafe { copy_any(va, src.as_ptr() as u64, src.len()) } {
        0 => Ok(()),
        left => Err(GuestFault { va: va + (src.len() - left) as u64 }),
    }
}
