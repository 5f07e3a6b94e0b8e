//! Multiboot 1 information (Multiboot Specification 0.6.96, section 3.3), as QEMU's `-kernel` and GRUB's
//! `multiboot` leave it.

use super::info::{BootError, BootInfo, E820_RAM, copy_string, strip_name};
use super::video::Framebuffer;
use super::{PhysMem, le32, le64};

/// What the loader leaves in eax.
pub const MAGIC: u32 = 0x2bad_b002;

/// Reads the information at `info` into `out`, which is new.
///
/// # Errors
/// A structure that cannot be read, more modules than fit, or no memory map.
pub fn parse(info: u32, mem: &impl PhysMem, out: &mut BootInfo) -> Result<(), BootError> {
    let head = mem.bytes(info.into(), 88).ok_or(BootError::Unreadable("multiboot information"))?;
    let flags = le32(head, 0);
    let has = |bit: u32| flags & 1 << bit != 0;
    if has(9) {
        copy_string(mem, le32(head, 64).into(), &mut out.loader);
    }
    let named = out.passes_names();
    if has(2) {
        copy_string(mem, le32(head, 16).into(), &mut out.command_line);
        strip_name(&mut out.command_line, named);
    }
    if has(3) {
        let (count, table) = (le32(head, 20), le32(head, 24));
        for i in 0..count {
            let entry = mem
                .bytes(u64::from(table) + u64::from(i) * 16, 16)
                .ok_or(BootError::Unreadable("module list"))?;
            let range = (le32(entry, 0).into(), le32(entry, 4).into());
            out.add_module(mem, range, le32(entry, 8).into(), named)?;
        }
    }
    if has(6) {
        read_map(mem, le32(head, 48), le32(head, 44), out)?;
    } else if has(0) {
        out.add_memory(0, u64::from(le32(head, 4)) << 10, E820_RAM);
        out.add_memory(1 << 20, u64::from(le32(head, 8)) << 10, E820_RAM);
    }
    if has(12) {
        out.video = mem.bytes(u64::from(info) + 88, 28).and_then(|f| Framebuffer::read(f, &f[22..]));
    } else if has(11) {
        out.video = mem.bytes(le32(head, 76).into(), 256).and_then(Framebuffer::from_vbe);
    }
    out.finish()
}

/// Reads the memory map: entries of `{ size: u32, base: u64, length: u64, type: u32 }`, `size` not counting
/// itself.
fn read_map(mem: &impl PhysMem, addr: u32, len: u32, out: &mut BootInfo) -> Result<(), BootError> {
    let bytes = mem.bytes(addr.into(), len as usize).ok_or(BootError::Unreadable("memory map"))?;
    let mut at = 0;
    while at + 24 <= bytes.len() {
        out.add_memory(le64(bytes, at + 4), le64(bytes, at + 12), le32(bytes, at + 20));
        at += (le32(bytes, at) as usize).max(20) + 4;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::info::MemoryRange;
    use super::super::testing::Memory;
    use super::super::{parse, testing::random};
    use super::*;

    fn read(info: u32, mem: &Memory) -> Result<BootInfo, BootError> {
        let mut out = BootInfo::new();
        parse(MAGIC, info, mem, &mut out).map(|()| out)
    }

    fn sample(loader: &[u8]) -> Memory {
        let mut m = Memory::new(0x9000, 0x1000);
        m.put32(0x9000, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
        m.put32(0x9010, 0x9200);
        m.put(0x9200, b"xenolith  console=com1 loglvl=all \0");
        m.put32(0x9014, 2);
        m.put32(0x9018, 0x9100);
        for (i, w) in [0x40_0000, 0x50_0000, 0x9300, 0, 0x60_0000, 0x60_0010, 0, 0].iter().enumerate() {
            m.put32(0x9100 + 4 * i as u64, *w);
        }
        m.put(0x9300, b"vmlinuz root=/dev/sda console=hvc0\0");
        m.put32(0x902c, 48);
        m.put32(0x9030, 0x9400);
        for (i, (base, len, kind)) in
            [(0x10_0000u64, 0x7ff0_0000u64, 1u32), (0, 0x9fc00, 1)].iter().enumerate()
        {
            let at = 0x9400 + 24 * i as u64;
            m.put32(at, 20);
            m.put(at + 4, &base.to_le_bytes());
            m.put(at + 12, &len.to_le_bytes());
            m.put32(at + 20, *kind);
        }
        m.put32(0x9040, 0x9500);
        m.put(0x9500, loader);
        m
    }

    #[test]
    fn qemu_puts_the_names_first() {
        let b = read(0x9000, &sample(b"qemu\0")).unwrap();
        assert_eq!(&b.command_line[..], "console=com1 loglvl=all");
        assert_eq!(b.modules.len(), 2);
        assert_eq!(&b.modules[0].args[..], "root=/dev/sda console=hvc0");
        assert_eq!((b.modules[1].start, b.modules[1].end), (0x60_0000, 0x60_0010));
        assert_eq!(b.memory[0].end, 0x9fc00);
        assert_eq!(b.ram().total(), 0x7ff0_0000 + 0x9f000);
    }

    #[test]
    fn grub_2_passes_arguments_alone() {
        let b = read(0x9000, &sample(b"GRUB 2.06\0")).unwrap();
        assert_eq!(&b.command_line[..], "xenolith  console=com1 loglvl=all");
    }

    #[test]
    fn without_a_map_the_sizes_serve() {
        let mut m = sample(b"qemu\0");
        m.put32(0x9000, 1);
        m.put32(0x9004, 639);
        m.put32(0x9008, 1024);
        let b = read(0x9000, &m).unwrap();
        assert_eq!(b.memory[1], MemoryRange { start: 1 << 20, end: 2 << 20, kind: E820_RAM });
        m.put32(0x9000, 0);
        assert_eq!(read(0x9000, &m).unwrap_err(), BootError::NoMemoryMap);
    }

    #[test]
    fn a_frame_buffer_is_read_from_its_own_fields() {
        let mut m = sample(b"GRUB 2.06\0");
        assert_eq!(read(0x9000, &m).unwrap().video, None);
        m.put32(0x9000, 1 << 6 | 1 << 12);
        for (i, w) in [0xfd00_0000u32, 0, 3200, 800, 600, 0x0810_0120, 0x0800_0808].iter().enumerate() {
            m.put32(0x9058 + 4 * i as u64, *w);
        }
        let f = read(0x9000, &m).unwrap().video.unwrap();
        assert_eq!((f.base, f.bytes_per_line, f.width, f.height), (0xfd00_0000, 3200, 800, 600));
        assert_eq!((f.red.pos, f.red.size, f.green.pos, f.blue.pos, f.blue.size), (16, 8, 8, 0, 8));
    }

    #[test]
    fn refuses_what_is_unreadable() {
        let m = sample(b"qemu\0");
        assert!(matches!(read(0x1_0000, &m), Err(BootError::Unreadable(_))));
        let mut m = sample(b"qemu\0");
        m.put32(0x9014, 9);
        assert!(matches!(read(0x9000, &m), Err(BootError::Unreadable(_))));
    }

    #[test]
    fn hostile_information_ends_in_an_answer() {
        random::damage(&sample(b"qemu\0"), |m| read(0x9000, m));
    }
}
