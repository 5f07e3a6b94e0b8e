//! A 64-bit ELF kernel: checked once, then read without surprises.

use arrayvec::ArrayVec;

use super::error::{ImageError, array_at, bytes_at, u16_at, u32_at, u64_at};

/// The most loadable segments a kernel may have (Linux has four).
const MAX_SEGMENTS: usize = 16;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const SHT_NOTE: u32 = 7;

/// A segment to load. `data` is its beginning; the rest up to `mem_size` is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub data: &'a [u8],
    pub paddr: u64,
    pub vaddr: u64,
    pub mem_size: u64,
}

/// A checked kernel.
#[derive(Clone, Debug)]
pub struct Elf<'a> {
    image: &'a [u8],
    entry: u64,
    segments: ArrayVec<Segment<'a>, MAX_SEGMENTS>,
    /// Contents of the note segments.
    notes: ArrayVec<&'a [u8], MAX_SEGMENTS>,
}

fn expect(what: &'static str, found: u64, wanted: u64, expected: &'static str) -> Result<(), ImageError> {
    if found == wanted { Ok(()) } else { Err(ImageError::Field { what, found, expected }) }
}

impl<'a> Elf<'a> {
    /// Checks the headers and where each segment lies.
    pub fn parse(image: &'a [u8]) -> Result<Elf<'a>, ImageError> {
        let ident: [u8; 16] = array_at(image, 0, "ELF header")?;
        let magic = u64::from(u32::from_be_bytes([ident[0], ident[1], ident[2], ident[3]]));
        expect("ELF magic", magic, 0x7f45_4c46, "\\x7fELF")?;
        expect("ELF EI_CLASS", u64::from(ident[4]), 2, "2 (64-bit; 32-bit PV kernels are not served)")?;
        expect("ELF EI_DATA", u64::from(ident[5]), 1, "1 (little-endian)")?;
        let kind = u64::from(u16_at(image, 16, "ELF e_type")?);
        if kind != 2 && kind != 3 {
            return Err(ImageError::Field { what: "ELF e_type", found: kind, expected: "ET_EXEC or ET_DYN" });
        }
        let machine = u64::from(u16_at(image, 18, "ELF e_machine")?);
        expect("ELF e_machine", machine, 62, "EM_X86_64 (0x3e)")?;
        let entry = u64_at(image, 24, "ELF e_entry")?;
        let phoff = u64_at(image, 32, "ELF e_phoff")?;
        let phentsize = u64::from(u16_at(image, 54, "ELF e_phentsize")?);
        let phnum = u64::from(u16_at(image, 56, "ELF e_phnum")?);
        expect("ELF e_phentsize", phentsize, 56, "56")?;

        let mut elf = Elf { image, entry, segments: ArrayVec::new(), notes: ArrayVec::new() };
        for i in 0..phnum {
            elf.program_header(phoff.saturating_add(i * phentsize))?;
        }
        if elf.segments.is_empty() {
            return Err(ImageError::Missing { what: "PT_LOAD segment", hint: "there is nothing to load" });
        }
        Ok(elf)
    }

    fn program_header(&mut self, at: u64) -> Result<(), ImageError> {
        let header = bytes_at(self.image, at, 56, "ELF program header")?;
        let kind = u32_at(header, 0, "p_type")?;
        if kind != PT_LOAD && kind != PT_NOTE {
            return Ok(());
        }
        let offset = u64_at(header, 8, "p_offset")?;
        let file_size = u64_at(header, 32, "p_filesz")?;
        let data = bytes_at(self.image, offset, file_size, "ELF segment")?;
        let too_many = ImageError::Field {
            what: "number of ELF segments",
            found: MAX_SEGMENTS as u64 + 1,
            expected: "at most 16 of a kind",
        };
        if kind == PT_NOTE {
            return self.notes.try_push(data).map_err(|_| too_many);
        }
        let mem_size = u64_at(header, 40, "p_memsz")?;
        let paddr = u64_at(header, 24, "p_paddr")?;
        if mem_size < file_size {
            return Err(ImageError::Field {
                what: "p_memsz",
                found: mem_size,
                expected: "at least p_filesz",
            });
        }
        if paddr.checked_add(mem_size).is_none() {
            return Err(ImageError::Field {
                what: "p_paddr",
                found: paddr,
                expected: "no overflow with p_memsz",
            });
        }
        if mem_size == 0 {
            return Ok(());
        }
        let segment = Segment { data, paddr, vaddr: u64_at(header, 16, "p_vaddr")?, mem_size };
        self.segments.try_push(segment).map_err(|_| too_many)
    }

    /// `e_entry`.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// What is to be loaded.
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// Contents of the note segments; each holds any number of notes.
    pub fn note_segments(&self) -> &[&'a [u8]] {
        &self.notes
    }

    /// Contents of the sections that hold notes, for kernels without a note segment.
    pub fn note_sections(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.sections().filter(|(kind, _, _)| *kind == SHT_NOTE).map(|(_, _, data)| data)
    }

    /// The contents of the section called `name`.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let index = u64::from(u16_at(self.image, 62, "e_shstrndx").ok()?);
        let (_, _, names) = self.section_header(index)?;
        self.sections().find_map(|(_, at, data)| {
            let rest = names.get(at as usize..)?;
            let this = rest.split(|b| *b == 0).next()?;
            (this == name.as_bytes()).then_some(data)
        })
    }

    /// Type, offset of the name and contents of each section that has contents in the file.
    fn sections(&self) -> impl Iterator<Item = (u32, u32, &'a [u8])> + '_ {
        let count = u16_at(self.image, 60, "e_shnum").unwrap_or(0);
        (0..u64::from(count)).filter_map(|i| self.section_header(i))
    }

    fn section_header(&self, index: u64) -> Option<(u32, u32, &'a [u8])> {
        let at = u64_at(self.image, 40, "e_shoff").ok()?.checked_add(index * 64)?;
        let header = bytes_at(self.image, at, 64, "section header").ok()?;
        let name = u32_at(header, 0, "sh_name").ok()?;
        let kind = u32_at(header, 4, "sh_type").ok()?;
        let offset = u64_at(header, 24, "sh_offset").ok()?;
        let size = u64_at(header, 32, "sh_size").ok()?;
        Some((kind, name, bytes_at(self.image, offset, size, "section").ok()?))
    }
}

/// Small kernels for tests.
#[cfg(any(test, feature = "testing"))]
pub mod synthetic {
    use std::vec::Vec;

    /// One note of owner "Xen".
    pub fn note(kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&4u32.to_le_bytes());
        out.extend_from_slice(&(desc.len() as u32).to_le_bytes());
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(b"Xen\0");
        out.extend_from_slice(desc);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    /// An ELF file with `segments` of (paddr, vaddr, mem_size, data) and a note segment.
    pub fn elf(entry: u64, segments: &[(u64, u64, u64, &[u8])], notes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        out.extend_from_slice(&2u16.to_le_bytes());
        out.extend_from_slice(&62u16.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        for word in [entry, 64, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        for half in [64u16, 56, segments.len() as u16 + 1, 64, 0, 0] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        let mut offset = 64 + 56 * (segments.len() + 1);
        let note_segment = (0, 0, notes.len() as u64, notes);
        for (i, (paddr, vaddr, mem, data)) in segments.iter().chain([&note_segment]).enumerate() {
            let kind = if i == segments.len() { super::PT_NOTE } else { super::PT_LOAD };
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&7u32.to_le_bytes());
            for word in [offset as u64, *vaddr, *paddr, data.len() as u64, *mem, 4096] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            offset += data.len();
        }
        for (_, _, _, data) in segments.iter().chain([&note_segment]) {
            out.extend_from_slice(data);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::synthetic::{elf, note};
    use super::*;

    #[test]
    fn segments_and_notes_are_found() {
        let notes = note(6, b"linux\0");
        let image = elf(0x1234, &[(0x1000, 0xffff_8000, 0x3000, b"code"), (0x8000, 0, 2, b"xy")], &notes);
        let elf = Elf::parse(&image).unwrap();
        assert_eq!(elf.entry(), 0x1234);
        assert_eq!(
            elf.segments(),
            [
                Segment { data: b"code", paddr: 0x1000, vaddr: 0xffff_8000, mem_size: 0x3000 },
                Segment { data: b"xy", paddr: 0x8000, vaddr: 0, mem_size: 2 },
            ]
        );
        assert_eq!(elf.note_segments(), [&notes[..]]);
        assert_eq!(elf.section(".notes"), None);
    }

    #[test]
    fn wrong_headers_are_named() {
        let good = elf(0, &[(0, 0, 4, b"code")], b"");
        for (at, value, name) in
            [(0, 0, "ELF magic"), (4, 1, "ELF EI_CLASS"), (16, 1, "ELF e_type"), (18, 3, "ELF e_machine")]
        {
            let mut bad = good.clone();
            bad[at] = value;
            let Err(ImageError::Field { what, .. }) = Elf::parse(&bad) else { panic!("{name} was accepted") };
            assert_eq!(what, name);
        }
        let mut cut = good.clone();
        cut.pop();
        assert!(matches!(Elf::parse(&cut), Err(ImageError::Truncated { what: "ELF segment", .. })));
        let small = elf(0, &[(0, 0, 3, b"code")], b"");
        assert!(matches!(Elf::parse(&small), Err(ImageError::Field { what: "p_memsz", .. })));
        let wraps = elf(0, &[(u64::MAX, 0, 4, b"code")], b"");
        assert!(matches!(Elf::parse(&wraps), Err(ImageError::Field { what: "p_paddr", .. })));
    }
}
