//! Linux's bzImage: where in it the compressed kernel is.
//!
//! Fields and offsets are those of the x86 boot protocol (`Documentation/arch/x86/boot.rst`). A file
//! that starts with an ELF header is taken as the kernel itself.

use super::decompress::decompress;
use super::error::{ImageError, array_at, bytes_at, u16_at, u32_at};

const BOOT_FLAG: u64 = 0x1fe;
const MAGIC: u64 = 0x202;
const VERSION: u64 = 0x206;
const SETUP_SECTS: u64 = 0x1f1;
const LOADFLAGS: u64 = 0x211;
const PAYLOAD_OFFSET: u64 = 0x248;
const PAYLOAD_LENGTH: u64 = 0x24c;

/// The protocol that introduced `payload_offset`.
const MIN_VERSION: u16 = 0x0208;

/// What a kernel file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel<'a> {
    /// An uncompressed ELF file.
    Elf(&'a [u8]),
    /// A compressed ELF file out of a bzImage.
    Compressed(Compressed<'a>),
}

/// A compressed ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressed<'a> {
    payload: &'a [u8],
    size: u32,
}

impl Compressed<'_> {
    /// How long the ELF file in it is.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// Unpacks it into the beginning of `out`, which has at least [`Self::size`] bytes.
    pub fn unpack(&self, out: &mut [u8]) -> Result<(), ImageError> {
        let have = out.len() as u64;
        let out = out.get_mut(..self.size()).ok_or(ImageError::Truncated {
            what: "memory for the unpacked kernel",
            need: u64::from(self.size),
            have,
        })?;
        let found = decompress(self.payload, out)?;
        if found != self.size() {
            return Err(ImageError::Field {
                what: "length of the unpacked kernel",
                found: found as u64,
                expected: "the uncompressed size that follows the payload",
            });
        }
        Ok(())
    }
}

/// Finds the kernel in the file a boot loader brought.
pub fn open(file: &[u8]) -> Result<Kernel<'_>, ImageError> {
    if file.starts_with(b"\x7fELF") {
        return Ok(Kernel::Elf(file));
    }
    let magic: [u8; 4] = array_at(file, MAGIC, "bzImage setup header")?;
    if &magic != b"HdrS" {
        return Err(ImageError::Field {
            what: "bzImage header magic",
            found: u64::from(u32::from_le_bytes(magic)),
            expected: "\"HdrS\" (or a file that starts with \\x7fELF)",
        });
    }
    let boot_flag = u16_at(file, BOOT_FLAG, "bzImage boot_flag")?;
    if boot_flag != 0xaa55 {
        return Err(ImageError::Field {
            what: "bzImage boot_flag",
            found: u64::from(boot_flag),
            expected: "0xaa55",
        });
    }
    let version = u16_at(file, VERSION, "bzImage version")?;
    if version < MIN_VERSION {
        return Err(ImageError::Field {
            what: "bzImage boot protocol version",
            found: u64::from(version),
            expected: "0x208 or later",
        });
    }
    let [loadflags] = array_at(file, LOADFLAGS, "bzImage loadflags")?;
    if loadflags & 1 == 0 {
        return Err(ImageError::Field {
            what: "bzImage loadflags",
            found: u64::from(loadflags),
            expected: "LOADED_HIGH (bit 0) set: this is a zImage",
        });
    }
    let [sects] = array_at(file, SETUP_SECTS, "bzImage setup_sects")?;
    let setup = (u64::from(if sects == 0 { 4 } else { sects }) + 1) * 512;
    let offset = u64::from(u32_at(file, PAYLOAD_OFFSET, "bzImage payload_offset")?);
    let length = u64::from(u32_at(file, PAYLOAD_LENGTH, "bzImage payload_length")?);
    if offset == 0 || length < 8 {
        return Err(ImageError::Field {
            what: "bzImage payload_length",
            found: length,
            expected: "at least 8 at a payload_offset other than 0",
        });
    }
    let payload = bytes_at(file, setup + offset, length, "bzImage payload")?;
    if payload.starts_with(b"\x7fELF") {
        return Ok(Kernel::Elf(payload));
    }
    // Each compressor's output ends in the size of what was compressed: gzip's own trailer does,
    // and Linux's build appends the same four bytes to the others.
    let size = u32_at(payload, length - 4, "bzImage uncompressed size")?;
    // gzip's trailer is part of its stream; it is passed on whole.
    let payload = if payload.starts_with(&[0x1f, 0x8b]) { payload } else { &payload[..payload.len() - 4] };
    Ok(Kernel::Compressed(Compressed { payload, size }))
}

/// A bzImage around `payload`, as small as it can be.
#[cfg(test)]
pub(super) fn test_image(payload: &[u8]) -> std::vec::Vec<u8> {
    let mut image = std::vec![0; 2 * 512 + 16];
    image[SETUP_SECTS as usize] = 1;
    image[BOOT_FLAG as usize..][..2].copy_from_slice(&[0x55, 0xaa]);
    image[MAGIC as usize..][..4].copy_from_slice(b"HdrS");
    image[VERSION as usize..][..2].copy_from_slice(&0x020fu16.to_le_bytes());
    image[LOADFLAGS as usize] = 1;
    image[PAYLOAD_OFFSET as usize..][..4].copy_from_slice(&16u32.to_le_bytes());
    image[PAYLOAD_LENGTH as usize..][..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend_from_slice(payload);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_found_and_its_size_taken_off() {
        let image = test_image(b"\xfd7zXZ\0body\x10\x27\0\0");
        assert_eq!(
            open(&image),
            Ok(Kernel::Compressed(Compressed { payload: b"\xfd7zXZ\0body", size: 10_000 }))
        );
    }

    #[test]
    fn gzip_keeps_its_trailer() {
        let image = test_image(b"\x1f\x8bxxxx\x05\0\0\0");
        assert_eq!(
            open(&image),
            Ok(Kernel::Compressed(Compressed { payload: b"\x1f\x8bxxxx\x05\0\0\0", size: 5 }))
        );
    }

    #[test]
    fn unpacking_checks_the_size() {
        // lz4's legacy frame with one block of the five literals "hello".
        let block = b"\x02\x21\x4c\x18\x06\0\0\0\x50hello";
        let unpack = |size: u32, room: usize| {
            let image = test_image(&[&block[..], &size.to_le_bytes()].concat());
            let Ok(Kernel::Compressed(kernel)) = open(&image) else { panic!() };
            let mut out = std::vec![0; room];
            kernel.unpack(&mut out).map(|()| out)
        };
        assert_eq!(unpack(5, 7).unwrap(), b"hello\0\0");
        assert!(matches!(unpack(6, 7), Err(ImageError::Field { found: 5, .. })));
        assert!(matches!(unpack(4, 7), Err(ImageError::Corrupt { .. })));
        assert!(matches!(unpack(5, 4), Err(ImageError::Truncated { .. })));
    }

    #[test]
    fn wrong_fields_are_named() {
        let mut image = test_image(b"12345678");
        image[VERSION as usize] = 7;
        assert!(matches!(
            open(&image),
            Err(ImageError::Field { what: "bzImage boot protocol version", found: 0x207, .. })
        ));
        let mut image = test_image(b"12345678");
        image.truncate(image.len() - 1);
        assert!(matches!(open(&image), Err(ImageError::Truncated { what: "bzImage payload", .. })));
        assert!(matches!(open(&[0; 1024]), Err(ImageError::Field { what: "bzImage header magic", .. })));
        assert!(matches!(open(b"short"), Err(ImageError::Truncated { .. })));
    }

    #[test]
    fn an_elf_file_is_taken_as_it_is() {
        assert_eq!(open(b"\x7fELF..."), Ok(Kernel::Elf(b"\x7fELF...")));
    }
}
