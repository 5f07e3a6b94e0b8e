//! Kernel images of PV guests: found in a bzImage, unpacked once, and checked before a guest is made.
//!
//! The parsers and decompressors are those the hypervisor starts dom0 with (`hypercore::dom0`); an error
//! names the field or note that is wrong. [`cache::Cache`] keeps what was unpacked.

pub mod cache;

use std::fmt;

use abi::features::XENFEAT_DOM0;
use hypercore::dom0::ImageError;
use hypercore::dom0::bzimage::{self, Kernel};
use hypercore::dom0::elf::Elf;
use hypercore::dom0::error::Excerpt;
use hypercore::dom0::notes::Notes;

/// The largest kernel that is unpacked, so that a damaged size does not take all memory.
const MAX_SIZE: usize = 1 << 30;

/// Why a file is no kernel a PV guest can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKernel(pub ImageError);

impl fmt::Display for NoKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for NoKernel {}

impl From<ImageError> for NoKernel {
    fn from(error: ImageError) -> NoKernel {
        NoKernel(error)
    }
}

/// The ELF file of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// Takes the kernel out of `file`: an ELF file, or a bzImage with one in it, compressed with gzip, bzip2,
    /// xz, lzma, zstd or lz4.
    ///
    /// # Errors
    /// The field that is wrong, or where the compressed kernel is damaged.
    pub fn unpack(file: &[u8]) -> Result<Image, NoKernel> {
        let bytes = match bzimage::open(file)? {
            Kernel::Elf(elf) => elf.to_vec(),
            Kernel::Compressed(kernel) if kernel.size() > MAX_SIZE => {
                let what = "size of the unpacked kernel";
                return Err(ImageError::Field {
                    what,
                    found: kernel.size() as u64,
                    expected: "at most 1 GiB",
                }
                .into());
            }
            Kernel::Compressed(kernel) => {
                let mut bytes = vec![0; kernel.size()];
                kernel.unpack(&mut bytes)?;
                bytes
            }
        };
        Ok(Image { bytes })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its segments, entry and notes, with the notes checked: the kernel can be a PV guest where `offered`
    /// (`XENFEAT` bits) is what there is.
    pub fn parse(&self, offered: u32) -> Result<(Elf<'_>, Notes), NoKernel> {
        let elf = Elf::parse(&self.bytes)?;
        let notes = Notes::read(&elf)?;
        check_guest(&notes, offered)?;
        Ok((elf, notes))
    }
}

/// Refuses a kernel that cannot run as an unprivileged PV guest.
fn check_guest(notes: &Notes, offered: u32) -> Result<(), ImageError> {
    // What dom0 needs, but for being dom0: a kernel may be built for guests only.
    let guest = Notes { lists_supported: false, ..notes.clone() };
    guest.check_pv_dom0(offered)?;
    if notes.required & 1 << XENFEAT_DOM0 != 0 {
        return Err(ImageError::Text {
            what: "ELF note FEATURES: required feature",
            found: Excerpt::of(b"dom0"),
            expected: "none that only the first domain has",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
