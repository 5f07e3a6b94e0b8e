//! Writes the 32-bit ELF container: header, program headers, page-aligned segments. No sections.

use crate::{Error, Segment};

const HEADER: usize = 52;
const PROGRAM_HEADER: usize = 32;
const PAGE: usize = 4096;

/// An executable of `segments` that starts at physical address `entry`.
///
/// The first segment begins at file offset 4096, so that a multiboot header at its start is within the 8 KiB
/// that loaders search.
pub fn write(entry: u64, segments: &[Segment]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    out.extend_from_slice(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut out, 2); // ET_EXEC
    half(&mut out, 3); // EM_386
    word(&mut out, 1); // EV_CURRENT
    word(&mut out, narrow("entry point", entry)?);
    word(&mut out, HEADER as u32); // e_phoff
    word(&mut out, 0); // e_shoff
    word(&mut out, 0); // e_flags
    half(&mut out, HEADER as u16);
    half(&mut out, PROGRAM_HEADER as u16);
    half(&mut out, segments.len() as u16);
    half(&mut out, 40); // e_shentsize
    half(&mut out, 0); // e_shnum
    half(&mut out, 0); // e_shstrndx

    let mut offset = PAGE.max((HEADER + PROGRAM_HEADER * segments.len()).next_multiple_of(PAGE));
    let mut offsets = Vec::new();
    for s in segments {
        let paddr = narrow("segment address", s.paddr)?;
        narrow("segment end", s.paddr + s.mem_size)?;
        word(&mut out, 1); // PT_LOAD
        word(&mut out, narrow("file offset", offset as u64)?);
        word(&mut out, paddr); // p_vaddr: loaders run us unpaged
        word(&mut out, paddr);
        word(&mut out, narrow("file size", s.data.len() as u64)?);
        word(&mut out, narrow("memory size", s.mem_size)?);
        word(&mut out, s.flags);
        word(&mut out, PAGE as u32);
        offsets.push(offset);
        offset = (offset + s.data.len()).next_multiple_of(PAGE);
    }
    for (s, at) in segments.iter().zip(offsets) {
        out.resize(at, 0);
        out.extend_from_slice(&s.data);
    }
    Ok(out)
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
        let image = write(0x20_0010, &[seg]).unwrap();
        assert_eq!(&image[..5], b"\x7fELF\x01");
        assert_eq!(image[24..28], 0x20_0010u32.to_le_bytes());
        assert_eq!(image[4096..4106], [0xaa; 10]);
        assert_eq!(image[HEADER + 16..HEADER + 24], [10, 0, 0, 0, 20, 0, 0, 0]);
    }

    #[test]
    fn addresses_above_4_gib_are_refused() {
        let seg = Segment { paddr: 0xffff_f000, data: vec![], mem_size: 0x2000, flags: 5 };
        assert!(matches!(write(0, &[seg]), Err(Error::TooHigh { .. })));
    }
}
