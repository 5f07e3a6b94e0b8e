//! Copies between hypervisor memory and addresses of the running guest.
//!
//! The guest's own tables translate; a fault ends the copy where it happened. Callers have checked that the
//! range lies outside the hypervisor's area (`hypercore::guest`).

use core::arch::asm;

use hypercore::machine::GuestFault;
use zerocopy::IntoBytes;

use crate::{asm_clac, asm_ex_table, asm_stac};

/// A function that copies `len` units of its instruction and answers how many it did not.
macro_rules! string_copy {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline]
        unsafe fn $name(dst: u64, src: u64, len: usize) -> usize {
            let left: usize;
            // SAFETY: by the contract, plus the exception table: a fault at label 2 goes on at label 3 with RCX left.
            unsafe {
                asm!(
                    asm_stac!(),
                    concat!("2: ", $instruction),
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
    };
}

string_copy!(
    /// Copies bytes.
    ///
    /// # Safety
    /// One side is `len` bytes of the hypervisor's own memory, valid for the access; the other is outside the
    /// hypervisor's area.
    copy, "rep movsb");

string_copy!(
    /// As [`copy`], by words of eight bytes: most arguments of hypercalls. A fault within a word leaves the whole of
    /// it uncopied.
    ///
    /// # Safety
    /// As [`copy`].
    copy_words, "rep movsq");

/// By words where the length allows.
///
/// # Safety
/// As [`copy`].
#[inline]
unsafe fn copy_any(dst: u64, src: u64, len: usize) -> usize {
    // SAFETY: by the contract.
    unsafe { if len.is_multiple_of(8) { copy_words(dst, src, len / 8) * 8 } else { copy(dst, src, len) } }
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

/// Stores words one after another at `$va`; `$fault` is what is done when that faults.
macro_rules! store_each {
    ($va:expr, $fault:block, $($name:ident: $offset:literal = $word:expr),+) => {
        asm!(
            asm_stac!(),
            $(concat!("2: mov [{va} + ", $offset, "], {", stringify!($name), "}"), asm_ex_table!("2b", "9f"),)+
            asm_clac!(),
            ".pushsection .text.fault, \"ax\"",
            "9:",
            asm_clac!(),
            "jmp {fault}",
            ".popsection",
            va = in(reg) $va,
            $($name = in(reg) $word,)+
            fault = label $fault,
            options(nostack, preserves_flags)
        )
    };
}

/// Stores words at guest address `va`. Frames of traps (7 words, 8 with an error code) go straight from registers.
#[inline(always)]
pub fn store_words<const N: usize>(va: u64, words: [u64; N]) -> Result<(), GuestFault> {
    if let Ok(w) = <&[u64; 7]>::try_from(&words[..]) {
        // SAFETY: the caller has range-checked `va`; a fault goes on at label 9, and nothing else is touched.
        unsafe {
            store_each!(va, { return Err(GuestFault { va }) },
                a: 0 = w[0], b: 8 = w[1], c: 16 = w[2], d: 24 = w[3], e: 32 = w[4], f: 40 = w[5], g: 48 = w[6])
        }
        return Ok(());
    }
    if let Ok(w) = <&[u64; 8]>::try_from(&words[..]) {
        // SAFETY: as above.
        unsafe {
            store_each!(va, { return Err(GuestFault { va }) },
                a: 0 = w[0], b: 8 = w[1], c: 16 = w[2], d: 24 = w[3], e: 32 = w[4], f: 40 = w[5], g: 48 = w[6],
                h: 56 = w[7])
        }
        return Ok(());
    }
    copy_to(va, words.as_bytes())
}

/// Loads words from guest address `va`. The frame of `iret` (9 words) goes straight to registers.
#[inline(always)]
pub fn load_words<const N: usize>(va: u64) -> Result<[u64; N], GuestFault> {
    let mut words = [0; N];
    let Ok(w) = <&mut [u64; 9]>::try_from(&mut words[..]) else {
        copy_from(words.as_mut_bytes(), va)?;
        return Ok(words);
    };
    let ok: u32;
    // SAFETY: the caller has range-checked `va`; a fault goes on at label 9 with `ok` still 0, and the words, which
    // may be anything then, are not used.
    unsafe {
        asm!(
            "xor {ok:e}, {ok:e}",
            asm_stac!(),
            "2: mov {a}, [{va}]", asm_ex_table!("2b", "9f"),
            "2: mov {b}, [{va} + 8]", asm_ex_table!("2b", "9f"),
            "2: mov {c}, [{va} + 16]", asm_ex_table!("2b", "9f"),
            "2: mov {d}, [{va} + 24]", asm_ex_table!("2b", "9f"),
            "2: mov {e}, [{va} + 32]", asm_ex_table!("2b", "9f"),
            "2: mov {f}, [{va} + 40]", asm_ex_table!("2b", "9f"),
            "2: mov {g}, [{va} + 48]", asm_ex_table!("2b", "9f"),
            "2: mov {h}, [{va} + 56]", asm_ex_table!("2b", "9f"),
            "2: mov {va}, [{va} + 64]", asm_ex_table!("2b", "9f"),
            "mov {ok:e}, 1",
            "9:",
            asm_clac!(),
            va = inout(reg) va => w[8],
            a = out(reg) w[0], b = out(reg) w[1], c = out(reg) w[2], d = out(reg) w[3], e = out(reg) w[4],
            f = out(reg) w[5], g = out(reg) w[6], h = out(reg) w[7],
            ok = out(reg) ok,
            options(nostack)
        );
    }
    if ok != 0 { Ok(words) } else { Err(GuestFault { va }) }
}
