//! Turns the linked hypervisor (ELF64, high virtual addresses) into what boot loaders take: a 32-bit ELF
//! whose segments sit at their physical addresses, with headers of multiboot 1 and 2 near its start.
//!
//! QEMU's `-kernel` and GRUB's `multiboot` both refuse a 64-bit ELF that carries a multiboot-1 header, so the
//! container is rewritten; the bytes of the segments stay as they are. One segment is added: the symbol blob
//! ([`symbols`]), which the hypervisor finds at its own `__symbols_lma` and uses for backtraces.
//!
//! PVH loaders enter by an ELF note instead. QEMU looks for multiboot first, so that is a second image, 64-bit,
//! with the headers out of sight.
#![forbid(unsafe_code)]

mod container;
pub mod symbols;

use container::Container;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, elf};

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the hypervisor's ELF file: {0}")]
    Elf(#[from] object::read::Error),
    #[error("the ELF file has no loadable segment that holds its entry point {0:#x}")]
    NoEntry(u64),
    #[error("{what} {value:#x} does not fit a 32-bit ELF file")]
    TooHigh { what: &'static str, value: u64 },
    #[error("the symbol __symbols_lma, where the symbol blob goes, is missing (was the file stripped?)")]
    NoSymbolPlace,
    #[error("the symbol _start_pvh, where PVH loaders enter, is missing")]
    NoPvhEntry,
    #[error("no multiboot {0} header where loaders look for one")]
    NoMultibootHeader(u8),
}

/// One loadable segment: bytes at a physical address, zero-filled up to `mem_size`.
struct Segment {
    paddr: u64,
    data: Vec<u8>,
    mem_size: u64,
    flags: u32,
}

/// The images.
pub struct Images {
    /// For multiboot 1 and 2.
    pub multiboot: Vec<u8>,
    /// For PVH loaders.
    pub pvh: Vec<u8>,
}

/// Makes the images from the linked hypervisor `elf64`.
pub fn make(elf64: &[u8]) -> Result<Images, Error> {
    let file = ElfFile64::<Endianness>::parse(elf64)?;
    let endian = file.endian();
    let mut segments = Vec::new();
    let mut entry = None;
    let virt_entry = file.elf_header().e_entry(endian);
    for header in file.elf_program_headers() {
        if header.p_type(endian) != elf::PT_LOAD || header.p_memsz(endian) == 0 {
            continue;
        }
        let (virt, phys) = (header.p_vaddr(endian), header.p_paddr(endian));
        let mem_size = header.p_memsz(endian);
        if (virt..virt + mem_size).contains(&virt_entry) {
            entry = Some(phys + (virt_entry - virt));
        }
        let data = header.data(endian, elf64).unwrap_or(&[]).to_vec();
        segments.push(Segment { paddr: phys, data, mem_size, flags: header.p_flags(endian) });
    }
    let entry = entry.ok_or(Error::NoEntry(virt_entry))?;

    let (mut place, mut pvh_entry) = (None, None);
    for symbol in file.symbols() {
        match symbol.name() {
            Ok("__symbols_lma") => place = Some(symbol.address()),
            Ok("_start_pvh") => {
                pvh_entry = Some(entry.wrapping_add(symbol.address().wrapping_sub(virt_entry)));
            }
            _ => {}
        }
    }
    let blob = symbols::encode(code(&file));
    let paddr = place.ok_or(Error::NoSymbolPlace)?;
    segments.push(Segment { paddr, mem_size: blob.len() as u64, data: blob, flags: elf::PF_R });

    let multiboot = container::write(Container::Multiboot, entry, &segments)?;
    if !has_multiboot_header(&multiboot) {
        return Err(Error::NoMultibootHeader(1));
    }
    if !has_multiboot2_header(&multiboot) {
        return Err(Error::NoMultibootHeader(2));
    }
    let pvh = Container::Pvh { entry: pvh_entry.ok_or(Error::NoPvhEntry)? };
    Ok(Images { multiboot, pvh: container::write(pvh, entry, &segments)? })
}

/// The functions of the linked hypervisor `elf64`, and the labels of its assembly code: addresses and readable names.
pub fn functions(elf64: &[u8]) -> Result<Vec<(u64, String)>, Error> {
    Ok(code(&ElfFile64::<Endianness>::parse(elf64)?))
}

fn code(file: &ElfFile64<'_, Endianness>) -> Vec<(u64, String)> {
    let functions = file.symbols().filter(|symbol| is_code(file, symbol));
    functions
        .filter_map(|symbol| Some((symbol.address(), symbol.name().ok().filter(|name| !name.is_empty())?)))
        .map(|(address, name)| (address, format!("{:#}", rustc_demangle::demangle(name))))
        .collect()
}

/// Functions, and the labels of assembly code.
fn is_code<'a>(file: &ElfFile64<'a, Endianness>, symbol: &impl ObjectSymbol<'a>) -> bool {
    use object::{ObjectSection, SectionKind, SymbolKind};
    let in_text = || {
        let section = symbol.section_index().and_then(|i| file.section_by_index(i).ok());
        section.is_some_and(|s| s.kind() == SectionKind::Text)
    };
    match symbol.kind() {
        SymbolKind::Text => true,
        SymbolKind::Unknown | SymbolKind::Label => in_text(),
        _ => false,
    }
}

/// Whether a multiboot-1 header with a right checksum lies where loaders look for one.
fn has_multiboot_header(image: &[u8]) -> bool {
    (0..8192 - 12).step_by(4).any(|at| match (word(image, at), word(image, at + 4), word(image, at + 8)) {
        (Some(0x1bad_b002), Some(flags), Some(sum)) => {
            0x1bad_b002u32.wrapping_add(flags).wrapping_add(sum) == 0
        }
        _ => false,
    })
}

/// Whether a multiboot-2 header for i386 with a right checksum lies where loaders look for one.
fn has_multiboot2_header(image: &[u8]) -> bool {
    (0..32768 - 16).step_by(8).any(|at| {
        let header = [0, 4, 8, 12].map(|i| word(image, at + i));
        matches!(header, [Some(0xe852_50d6), Some(0), Some(len), Some(sum)]
            if 0xe852_50d6u32.wrapping_add(len).wrapping_add(sum) == 0)
    })
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    image.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_needs_a_right_checksum() {
        let mut image = vec![0u8; 8192];
        image[0x1000..0x1004].copy_from_slice(&0x1bad_b002u32.to_le_bytes());
        image[0x1004..0x1008].copy_from_slice(&3u32.to_le_bytes());
        assert!(!has_multiboot_header(&image));
        let sum = 0u32.wrapping_sub(0x1bad_b002 + 3);
        image[0x1008..0x100c].copy_from_slice(&sum.to_le_bytes());
        assert!(has_multiboot_header(&image));
    }

    #[test]
    fn the_second_header_is_found_up_to_32_kib() {
        let mut image = vec![0u8; 32768];
        let header = [0xe852_50d6, 0, 24, 0u32.wrapping_sub(0xe852_50d6 + 24)];
        for (i, word) in header.iter().enumerate() {
            image[0x4008 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
        }
        assert!(has_multiboot2_header(&image));
        image[0x400c] = 4;
        assert!(!has_multiboot2_header(&image), "an architecture that is not ours");
    }

    #[test]
    fn a_file_that_is_no_elf_is_refused() {
        assert!(matches!(make(b"MZ not an elf"), Err(Error::Elf(_))));
    }
}
