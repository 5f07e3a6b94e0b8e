//! Multiboot 2 information (Multiboot2 Specification 2.0, section 3.6), as GRUB's `multiboot2` leaves it: a
//! list of tags, each `{ type: u32, size: u32 }` and its content, aligned to 8 bytes.

use super::info::{BootError, BootInfo, E820_RAM, copy_string, strip_name};
use super::video::Framebuffer;
use super::{PhysMem, le32, le64};

/// What the loader leaves in eax.
pub const MAGIC: u32 = 0x36d7_6289;

const TAG_END: u32 = 0;
const TAG_COMMAND_LINE: u32 = 1;
const TAG_LOADER: u32 = 2;
const TAG_MODULE: u32 = 3;
const TAG_MEMORY_SIZES: u32 = 4;
const TAG_MEMORY_MAP: u32 = 6;
const TAG_FRAMEBUFFER: u32 = 8;
const TAG_ACPI_OLD: u32 = 14;
const TAG_ACPI_NEW: u32 = 15;

/// One tag: where it is, and its bytes from the type on.
#[derive(Clone, Copy)]
struct Tag<'a> {
    at: u64,
    kind: u32,
    bytes: &'a [u8],
}

/// Reads the information at `info` into `out`, which is new.
///
/// # Errors
/// A structure that cannot be read, more modules than fit, or no memory map.
pub fn parse(info: u32, mem: &impl PhysMem, out: &mut BootInfo) -> Result<(), BootError> {
    let at = u64::from(info);
    let total = mem.word(at).ok_or(BootError::Unreadable("multiboot2 information"))? as usize;
    let bytes = mem.bytes(at, total.max(8)).ok_or(BootError::Unreadable("multiboot2 information"))?;
    // The loader's name says what the strings of the others are like, so it is looked for first.
    if let Some(tag) = tags(at, bytes).find(|t| t.kind == TAG_LOADER) {
        copy_string(&tag, tag.at + 8, &mut out.loader);
    }
    let named = out.passes_names();
    let mut sizes = None;
    for tag in tags(at, bytes) {
        match (tag.kind, tag.bytes.len()) {
            (TAG_COMMAND_LINE, _) => {
                out.command_line.clear();
                copy_string(&tag, tag.at + 8, &mut out.command_line);
                strip_name(&mut out.command_line, named);
            }
            (TAG_MODULE, 16..) => {
                let range = (le32(tag.bytes, 8).into(), le32(tag.bytes, 12).into());
                out.add_module(&tag, range, tag.at + 16, named)?;
            }
            (TAG_MODULE, _) => return Err(BootError::Unreadable("module tag")),
            (TAG_MEMORY_SIZES, 16..) => sizes = Some((le32(tag.bytes, 8), le32(tag.bytes, 12))),
            (TAG_MEMORY_MAP, 16..) => read_map(tag.bytes, out),
            (TAG_FRAMEBUFFER, 38..) => out.video = Framebuffer::read(&tag.bytes[8..], &tag.bytes[32..]),
            // A copy of the root pointer; of two, the newer names the wider table.
            (TAG_ACPI_NEW, 44..) => out.rsdp = Some(tag.at + 8),
            (TAG_ACPI_OLD, 28..) => out.rsdp = out.rsdp.or(Some(tag.at + 8)),
            _ => {}
        }
    }
    if let (true, Some((lower, upper))) = (out.memory.is_empty(), sizes) {
        out.add_memory(0, u64::from(lower) << 10, E820_RAM);
        out.add_memory(1 << 20, u64::from(upper) << 10, E820_RAM);
    }
    out.finish()
}

/// The tags before the one that ends them; a size that cannot be ends them too.
fn tags(info: u64, bytes: &[u8]) -> impl Iterator<Item = Tag<'_>> {
    let mut at = 8usize;
    core::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| rest.len() >= 8)?;
        let (kind, size) = (le32(rest, 0), le32(rest, 4) as usize);
        let tag = Tag { at: info + at as u64, kind, bytes: rest.get(..size).filter(|_| size >= 8)? };
        at += size.next_multiple_of(8);
        (kind != TAG_END).then_some(tag)
    })
}

/// Entries of `{ base: u64, length: u64, type: u32, zero: u32 }`; the tag says how far apart they are.
fn read_map(tag: &[u8], out: &mut BootInfo) {
    let entry_size = le32(tag, 8) as usize;
    if entry_size < 24 {
        return;
    }
    for e in tag[16..].chunks_exact(entry_size) {
        out.add_memory(le64(e, 0), le64(e, 8), le32(e, 16));
    }
}

/// A tag as memory of its own, so that its string ends where it does.
impl PhysMem for Tag<'_> {
    fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(addr.checked_sub(self.at)?).ok()?;
        self.bytes.get(at..at.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::info::MemoryRange;
    use super::super::parse;
    use super::super::testing::{Memory, random};
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn read(mem: &Memory) -> Result<BootInfo, BootError> {
        let mut out = BootInfo::new();
        parse(MAGIC, 0x9000, mem, &mut out).map(|()| out)
    }

    fn tag(to: &mut Vec<u8>, kind: u32, content: &[u8]) {
        to.extend_from_slice(&kind.to_le_bytes());
        to.extend_from_slice(&(8 + content.len() as u32).to_le_bytes());
        to.extend_from_slice(content);
        to.resize(to.len().next_multiple_of(8), 0);
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn memory(tags: Vec<u8>) -> Memory {
        let mut m = Memory::new(0x9000, 0x1000);
        m.put32(0x9000, 8 + tags.len() as u32);
        m.put(0x9008, &tags);
        m
    }

    fn sample(loader: &[u8]) -> Vec<u8> {
        let mut t = Vec::new();
        tag(&mut t, 1, b"placeholder console=com1\0");
        tag(&mut t, 2, loader);
        tag(&mut t, 3, &[words(&[0x40_0000, 0x50_0000]), b"placeholder root=/dev/sda\0".into()].concat());
        tag(&mut t, 3, &[words(&[0x60_0000, 0x60_0010]), b"\0".into()].concat());
        tag(&mut t, 4, &words(&[639, 1024]));
        let map = [24, 0, 0x10_0000, 0, 0x7ff0_0000, 0, 1, 0, 0, 0, 0x9fc00, 0, 1, 0];
        tag(&mut t, 6, &words(&map));
        tag(&mut t, 15, &[1; 36]);
        tag(&mut t, 14, &[2; 20]);
        tag(&mut t, 0, &[]);
        t
    }

    #[test]
    fn grub_2_passes_arguments_alone() {
        let m = memory(sample(b"GRUB 2.06-13+deb12u2\0"));
        let b = read(&m).unwrap();
        assert_eq!(&b.command_line[..], "placeholder console=com1");
        assert_eq!(&b.modules[0].args[..], "placeholder root=/dev/sda");
        assert_eq!((b.modules[1].start, b.modules[1].end), (0x60_0000, 0x60_0010));
        assert_eq!(&b.modules[1].args[..], "");
        assert_eq!(b.memory[0], MemoryRange { start: 0, end: 0x9fc00, kind: E820_RAM });
        assert_eq!(b.ram().total(), 0x7ff0_0000 + 0x9f000);
        assert_eq!(m.bytes(b.rsdp.unwrap(), 36), Some(&[1; 36][..]));
    }

    #[test]
    fn other_loaders_put_the_names_first() {
        let b = read(&memory(sample(b"other\0"))).unwrap();
        assert_eq!(&b.command_line[..], "console=com1");
        assert_eq!(&b.modules[0].args[..], "root=/dev/sda");
    }

    #[test]
    fn without_a_map_the_sizes_serve() {
        let mut t = Vec::new();
        tag(&mut t, 0, &[]);
        assert_eq!(read(&memory(t)).unwrap_err(), BootError::NoMemoryMap);
        let mut t = Vec::new();
        tag(&mut t, 4, &words(&[639, 1024]));
        let b = read(&memory(t)).unwrap();
        assert_eq!(b.memory[1], MemoryRange { start: 1 << 20, end: 2 << 20, kind: E820_RAM });
    }

    #[test]
    fn a_frame_buffer_is_a_tag() {
        let mut t = sample(b"GRUB 2.06\0");
        t.truncate(t.len() - 8);
        tag(&mut t, 8, &words(&[0xfd00_0000, 0, 4096, 1024, 768, 0x120, 0x0808_0810, 0x0800]));
        tag(&mut t, 0, &[]);
        let f = read(&memory(t)).unwrap().video.unwrap();
        assert_eq!((f.base, f.bytes_per_line, f.width, f.height), (0xfd00_0000, 4096, 1024, 768));
        assert_eq!((f.bits_per_pixel, f.red.pos, f.green.pos, f.blue.size), (32, 16, 8, 8));
    }

    #[test]
    fn a_string_ends_with_its_tag() {
        let mut t = Vec::new();
        tag(&mut t, 2, b"GRUB 2.0");
        tag(&mut t, 4, &words(&[639, 1024]));
        assert_eq!(&read(&memory(t)).unwrap().loader[..], "GRUB 2.0");
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let mut m = memory(sample(b"GRUB 2.06\0"));
        m.put32(0x9000, 0x2000);
        assert!(matches!(read(&m), Err(BootError::Unreadable(_))));
        let mut t = Vec::new();
        (0..9).for_each(|_| tag(&mut t, 3, &words(&[0, 0, 0])));
        assert!(matches!(read(&memory(t)), Err(BootError::Unreadable(_))));
        let mut out = BootInfo::new();
        assert_eq!(parse(7, 0x9000, &m, &mut out), Err(BootError::UnknownLoader(7)));
    }

    #[test]
    fn hostile_information_ends_in_an_answer() {
        random::damage(&memory(sample(b"GRUB 2.06\0")), read);
    }
}
