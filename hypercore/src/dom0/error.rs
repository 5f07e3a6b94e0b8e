//! Why a kernel image cannot be started: every refusal names the field, section or note that is
//! wrong, what was found there and what was expected.

use core::fmt;

/// A few bytes of text taken out of a hostile image, made printable, to show in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; 24],
    len: u8,
    cut: bool,
}

impl Excerpt {
    /// The beginning of `text`, up to a terminating zero; what cannot be printed becomes `.`.
    pub fn of(text: &[u8]) -> Excerpt {
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let mut bytes = [0; 24];
        let len = end.min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(&text[..len]) {
            *to = if (0x20..0x7f).contains(from) { *from } else { b'.' };
        }
        Excerpt { bytes, len: len as u8, cut: end > len }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("");
        write!(f, "\"{text}\"{}", if self.cut { "..." } else { "" })
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The image ends before something it announces.
    Truncated { what: &'static str, need: u64, have: u64 },
    /// A number that cannot be.
    Field { what: &'static str, found: u64, expected: &'static str },
    /// A string that cannot be.
    Text { what: &'static str, found: Excerpt, expected: &'static str },
    /// Something a PV dom0 kernel must have is not there.
    Missing { what: &'static str, hint: &'static str },
    /// The compressed payload is damaged; `at` is the offset in it.
    Corrupt { format: &'static str, what: &'static str, at: u64 },
    /// A format or an option of one that is not served.
    Unsupported { what: &'static str, found: u64 },
    /// The domain is too small: pages needed and pages there.
    NoRoom { what: &'static str, need: u64, have: u64 },
    /// There was no memory for the tables of a decompressor.
    NoMemory { what: &'static str },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ImageError::Truncated { what, need, have } => {
                write!(f, "{what}: needs {need} bytes, the image has {have}")
            }
            ImageError::Field { what, found, expected } => {
                write!(f, "{what} is {found:#x}, expected {expected}")
            }
            ImageError::Text { what, found, expected } => {
                write!(f, "{what} is {found}, expected {expected}")
            }
            ImageError::Missing { what, hint } => write!(f, "{what} is missing: {hint}"),
            ImageError::Corrupt { format, what, at } => {
                write!(f, "{format} payload is damaged at byte {at:#x}: {what}")
            }
            ImageError::Unsupported { what, found } => write!(f, "{what} {found:#x} is not supported"),
            ImageError::NoRoom { what, need, have } => {
                write!(f, "{what}: {need} pages of memory needed, there are {have}")
            }
            ImageError::NoMemory { what } => write!(f, "no memory for {what}"),
        }
    }
}

/// `len` bytes of `image` at `at`, or the error that says what was cut off.
pub(super) fn bytes_at<'a>(
    image: &'a [u8],
    at: u64,
    len: u64,
    what: &'static str,
) -> Result<&'a [u8], ImageError> {
    let end = at.saturating_add(len);
    let truncated = ImageError::Truncated { what, need: end, have: image.len() as u64 };
    let (Ok(from), Ok(to)) = (usize::try_from(at), usize::try_from(end)) else { return Err(truncated) };
    image.get(from..to).ok_or(truncated)
}

/// The `N`-byte little-endian field of `image` at `at`.
pub(super) fn array_at<const N: usize>(
    image: &[u8],
    at: u64,
    what: &'static str,
) -> Result<[u8; N], ImageError> {
    let mut out = [0; N];
    out.copy_from_slice(bytes_at(image, at, N as u64, what)?);
    Ok(out)
}

/// The 16-bit little-endian field of `image` at `at`.
pub(super) fn u16_at(image: &[u8], at: u64, what: &'static str) -> Result<u16, ImageError> {
    array_at(image, at, what).map(u16::from_le_bytes)
}

/// The 32-bit little-endian field of `image` at `at`.
pub(super) fn u32_at(image: &[u8], at: u64, what: &'static str) -> Result<u32, ImageError> {
    array_at(image, at, what).map(u32::from_le_bytes)
}

/// The 64-bit little-endian field of `image` at `at`.
pub(super) fn u64_at(image: &[u8], at: u64, what: &'static str) -> Result<u64, ImageError> {
    array_at(image, at, what).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn messages_name_the_field_and_the_value() {
        let e = ImageError::Field { what: "e_machine", found: 3, expected: "EM_X86_64 (0x3e)" };
        assert_eq!(format!("{e}"), "e_machine is 0x3, expected EM_X86_64 (0x3e)");
        let e = ImageError::Text { what: "LOADER", found: Excerpt::of(b"gru\x01b\0x"), expected: "generic" };
        assert_eq!(format!("{e}"), "LOADER is \"gru.b\", expected generic");
    }

    #[test]
    fn reading_past_the_end_is_refused_even_where_the_sum_overflows() {
        assert!(bytes_at(&[0; 8], u64::MAX, 2, "x").is_err());
        assert_eq!(u64_at(&[0; 8], 1, "x"), Err(ImageError::Truncated { what: "x", need: 9, have: 8 }));
        assert_eq!(u32_at(&[1, 2, 3, 4], 0, "x"), Ok(0x0403_0201));
    }
}
