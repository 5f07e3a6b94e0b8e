//! `struct hvm_start_info` (public header `xen/arch-x86/hvm/start_info.h`), with which a PVH loader enters at
//! the `XEN_ELFNOTE_PHYS32_ENTRY` note: ebx has its address. Such loaders pass no image or file names.

use super::info::{BootError, BootInfo, copy_string};
use super::{PhysMem, le32, le64};

/// First word of the structure; our entry code puts it into eax, where other protocols have theirs.
pub const MAGIC: u32 = 0x336e_c578;

/// The structure of version 1, the first with a memory map.
const LEN: usize = 56;

/// Reads the information at `info` into `out`, which is new.
///
/// # Errors
/// A structure that cannot be read or is none, more modules than fit, or no memory map.
pub fn parse(info: u32, mem: &impl PhysMem, out: &mut BootInfo) -> Result<(), BootError> {
    let head = mem.bytes(info.into(), LEN).ok_or(BootError::Unreadable("hvm_start_info"))?;
    if le32(head, 0) != MAGIC {
        return Err(BootError::Unreadable("hvm_start_info (its magic number is wrong)"));
    }
    if le32(head, 4) < 1 {
        return Err(BootError::NoMemoryMap);
    }
    out.loader.push_str("PVH");
    copy_string(mem, le64(head, 24), &mut out.command_line);
    out.rsdp = Some(le64(head, 32)).filter(|&at| at != 0);
    let list = le64(head, 16);
    for i in 0..le32(head, 12) {
        let entry = mem
            .bytes(list.saturating_add(u64::from(i) * 32), 32)
            .ok_or(BootError::Unreadable("module list"))?;
        let start = le64(entry, 0);
        let end = start
            .checked_add(le64(entry, 8))
            .ok_or(BootError::Unreadable("module list (size of a module)"))?;
        out.add_module(mem, (start, end), le64(entry, 16), false)?;
    }
    let (map, entries) = (le64(head, 40), le32(head, 48) as usize);
    let map = mem.bytes(map, entries * 24).ok_or(BootError::Unreadable("memory map"))?;
    for e in map.chunks_exact(24) {
        out.add_memory(le64(e, 0), le64(e, 8), le32(e, 16));
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::super::info::{E820_RAM, MemoryRange};
    use super::super::parse;
    use super::super::testing::{Memory, random};
    use super::*;

    fn read(mem: &Memory) -> Result<BootInfo, BootError> {
        let mut out = BootInfo::new();
        parse(MAGIC, 0x9000, mem, &mut out).map(|()| out)
    }

    fn sample() -> Memory {
        let mut m = Memory::new(0x9000, 0x1000);
        let words = [MAGIC, 1, 0, 1, 0x9100, 0, 0x9200, 0, 0xf_5000, 0, 0x9400, 0, 2, 0];
        for (i, w) in words.iter().enumerate() {
            m.put32(0x9000 + 4 * i as u64, *w);
        }
        for (i, w) in [0x40_0000, 0, 0x10_0000, 0, 0x9300, 0, 0, 0].iter().enumerate() {
            m.put32(0x9100 + 4 * i as u64, *w);
        }
        m.put(0x9200, b"console=com1 -- root=/dev/sda\0");
        m.put(0x9300, b"quiet\0");
        let map = [0x10_0000, 0, 0x7ff0_0000, 0, 1, 0, 0, 0, 0x9fc00, 0, 1, 0];
        for (i, w) in map.iter().enumerate() {
            m.put32(0x9400 + 4 * i as u64, *w);
        }
        m
    }

    #[test]
    fn strings_are_taken_whole() {
        let b = read(&sample()).unwrap();
        assert_eq!(&b.command_line[..], "console=com1 -- root=/dev/sda");
        assert_eq!(&b.modules[0].args[..], "quiet");
        assert_eq!((b.modules[0].start, b.modules[0].end), (0x40_0000, 0x50_0000));
        assert_eq!(b.rsdp, Some(0xf_5000));
        assert_eq!(b.memory[0], MemoryRange { start: 0, end: 0x9fc00, kind: E820_RAM });
    }

    #[test]
    fn version_0_has_no_memory_map() {
        let mut m = sample();
        m.put32(0x9004, 0);
        assert_eq!(read(&m).unwrap_err(), BootError::NoMemoryMap);
        m.put32(0x9000, 7);
        assert!(matches!(read(&m), Err(BootError::Unreadable(_))));
    }

    #[test]
    fn hostile_information_ends_in_an_answer() {
        random::damage(&sample(), read);
    }
}
