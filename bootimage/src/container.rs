//! Writes the ELF container: header, program headers, page-aligned segments. No sections.

use crate::{Error, Segment};

const PAGE: usize = 4096;
/// Multiboot loaders search this much of the file's beginning for the header of version 2, and less for 1.
const SEARCHED: usize = 32768;

/// What kind of file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// 32-bit; the first segment is at file offset 4096, so that multiboot headers at its start are found.
    Multiboot,
    /// 64-bit, with the PVH note that names this entry point; multiboot headers are where none is looked for.
    Pvh { entry: u64 },
}

/// An executable of `segments` that starts at physical address `entry`.
pub fn write(kind: Container, entry: u64, segments: &[Segment]) -> Result<Vec<u8>, Error> {
    let (wide, first, note) = match kind {
        Container::Multiboot => (false, PAGE, None),
        Container::Pvh { entry } => (true, SEARCHED + PAGE, Some(note(narrow("PVH entry point", entry)?))),
    };
    let (header, program_header) = if wide { (64, 56) } else { (52, 32) };
    let count = segments.len() + usize::from(note.is_some());
    let mut out = Vec::new();
    out.extend_from_slice(if wide { b"\x7fELF\x02\x01\x01\0" } else { b"\x7fELF\x01\x01\x01\0" });
    out.extend_from_slice(&[0; 8]);
    half(&mut out, 2); // ET_EXEC
    half(&mut out, if wide { 62 } else { 3 }); // EM_X86_64, EM_386
    word(&mut out, 1); // EV_CURRENT
    let address = |out: &mut Vec<u8>, value: u32| {
        word(out, value);
        if wide {
            word(out, 0);
        }
    };
    address(&mut out, narrow("entry point", entry)?);
    address(&mut out, header); // e_phoff
    address(&mut out, 0); // e_shoff
    word(&mut out, 0); // e_flags
    half(&mut out, header as u16);
    half(&mut out, program_header);
    half(&mut out, count as u16);
    half(&mut out, if wide { 64 } else { 40 }); // e_shentsize
    half(&mut out, 0); // e_shnum
    half(&mut out, 0); // e_shstrndx

    let headers = header as usize + usize::from(program_header) * count;
    let mut offset = first.max((headers + NOTE).next_multiple_of(PAGE));
    let mut offsets = Vec::new();
    let mut program = |kind: u32, flags: u32, offset: u32, paddr: u32, file: u32, mem: u32, align: u32| {
        word(&mut out, kind);
        if wide {
            word(&mut out, flags);
        }
        // Address twice: loaders run us unpaged, so the virtual one is the physical.
        for value in [offset, paddr, paddr, file, mem] {
            address(&mut out, value);
        }
        if !wide {
            word(&mut out, flags);
        }
        address(&mut out, align);
    };
    if let Some(note) = &note {
        program(4, 4, headers as u32, 0, note.len() as u32, note.len() as u32, 4); // PT_NOTE
    }
    for s in segments {
        narrow("segment end", s.paddr + s.mem_size)?;
        program(
            1, // PT_LOAD
            s.flags,
            narrow("file offset", offset as u64)?,
            narrow("segment address", s.paddr)?,
            narrow("file size", s.data.len() as u64)?,
            narrow("memory size", s.mem_size)?,
            PAGE as u32,
        );
        offsets.push(offset);
        offset = (offset + s.data.len()).next_multiple_of(PAGE);
    }
    out.extend_from_slice(&note.unwrap_or_default());
    for (s, at) in segments.iter().zip(offsets) {
        out.resize(at, 0);
        out.extend_from_slice(&s.data);
    }
    Ok(out)
}

/// Length of the note.
const NOTE: usize = 24;

/// `XEN_ELFNOTE_PHYS32_ENTRY` (public header `xen/elfnote.h`) with an 8-byte address, as QEMU reads it.
fn note(entry: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for value in [4, 8, 18] {
        word(&mut out, value);
    }
    out.extend_from_slice(b"Xen\0");
    word(&mut out, entry);
    word(&mut out, 0);
    out
}

fn narrow(what: &'static str, value: u64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::TooHigh { what, value })
}

fn half(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_segment_is_within_the_searched_bytes() {
        let seg = Segment { paddr: 0x20_0000, data: vec![0xaa; 10], mem_size: 20, flags: 5 };
        let image = write(Container::Multiboot, 0x20_0010, &[seg]).unwrap();
        assert_eq!(&image[..5], b"\x7fELF\x01");
        assert_eq!(image[24..28], 0x20_0010u32.to_le_bytes());
        assert_eq!(image[4096..4106], [0xaa; 10]);
        assert_eq!(image[52 + 16..52 + 24], [10, 0, 0, 0, 20, 0, 0, 0]);
    }

    #[test]
    fn addresses_above_4_gib_are_refused() {
        let seg = Segment { paddr: 0xffff_f000, data: vec![], mem_size: 0x2000, flags: 5 };
        assert!(matches!(write(Container::Multiboot, 0, &[seg]), Err(Error::TooHigh { .. })));
    }

    #[test]
    fn the_pvh_note_names_the_entry() {
        let seg = Segment { paddr: 0x20_0000, data: vec![0xaa; 10], mem_size: 20, flags: 5 };
        let image = write(Container::Pvh { entry: 0x20_0004 }, 0x20_0010, &[seg]).unwrap();
        assert_eq!(&image[..5], b"\x7fELF\x02");
        let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&image[..]).unwrap();
        use object::read::elf::ProgramHeader;
        let headers = file.elf_program_headers();
        let mut notes = headers[0].notes(object::Endianness::Little, &image[..]).unwrap().unwrap();
        let note = notes.next().unwrap().unwrap();
        assert_eq!(note.name(), b"Xen");
        assert_eq!(note.n_type(object::Endianness::Little), 18);
        assert_eq!(note.desc(), 0x20_0004u64.to_le_bytes());
        assert_eq!(headers[1].p_paddr(object::Endianness::Little), 0x20_0000);
        assert_eq!(headers[1].data(object::Endianness::Little, &image[..]), Ok(&[0xaa; 10][..]));
        assert!(image[..SEARCHED].iter().all(|b| *b != 0xaa));
    }
}
